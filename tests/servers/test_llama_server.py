"""The real llama.cpp server with the tiny model: it looks, it asks for its key, and it goes away."""

import base64
from pathlib import Path
from typing import Any

from aiohttp import ClientConnectorError, ClientResponse, ClientSession
import pytest

from .llama_server import LlamaServer
from .process import ServerError

PICTURES = Path(__file__).parents[1] / "pictures"


async def ask(
    session: ClientSession, server: LlamaServer, picture: str, headers: dict[str, str] | None = None
) -> ClientResponse:
    """Ask what is on a picture."""
    encoded = base64.b64encode((PICTURES / picture).read_bytes()).decode()
    content = [
        {"type": "text", "text": "What is on the picture?"},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}},
    ]
    body = {"messages": [{"role": "user", "content": content}], "temperature": 0}
    return await session.post(f"{server.url}/v1/chat/completions", json=body, headers=headers)


@pytest.mark.parametrize(("picture", "colour"), [("red.jpg", "red"), ("blue.jpg", "blue")])
async def test_it_sees_the_colour(socket_enabled: None, llama_server: LlamaServer, picture: str, colour: str) -> None:
    """The answer depends on the picture."""
    async with ClientSession() as session:
        answer: dict[str, Any] = await (await ask(session, llama_server, picture)).json()
    assert answer["choices"][0]["message"]["content"] == f"The picture is mostly {colour}."
    assert answer["model"] == "tiny-vision"


async def test_a_key_is_asked_for_and_a_text_model_is_blind(socket_enabled: None) -> None:
    """Both kinds of server that are not the default one."""
    with LlamaServer(alias="words", api_key="secret", vision=False) as server:
        async with ClientSession() as session:
            assert (await ask(session, server, "red.jpg")).status == 401
            refused = await ask(session, server, "red.jpg", {"Authorization": "Bearer secret"})
            assert refused.status == 500
            assert "image input is not supported" in await refused.text()


async def test_it_ends_when_it_is_told_to(socket_enabled: None) -> None:
    """Nothing listens afterwards, whichever way it ended."""
    async with ClientSession() as session:
        for end in ("stop", "kill"):
            with LlamaServer() as server:
                assert (await session.get(f"{server.url}/health")).status == 200
                getattr(server, end)()
                with pytest.raises(ClientConnectorError):
                    await session.get(f"{server.url}/health")


def test_a_port_that_is_taken_is_an_error(llama_server: LlamaServer) -> None:
    """A server that does not come up says why, and does not hang."""
    port = int(llama_server.url.rpartition(":")[2])
    with pytest.raises(ServerError, match="Failed to init server"):
        LlamaServer(port=port).start()
