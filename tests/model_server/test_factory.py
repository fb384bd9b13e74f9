"""Telling servers apart by asking them."""

from aiohttp import ClientSession
import pytest

from custom_components.ollama_vision.model_server.address import parse_address
from custom_components.ollama_vision.model_server.errors import (
    BadResponseError,
    ModelServerAuthenticationError,
    ModelServerBusyError,
    ModelServerConnectionError,
    ModelServerError,
)
from custom_components.ollama_vision.model_server.factory import connect, detect_api
from custom_components.ollama_vision.model_server.models import Api
from custom_components.ollama_vision.model_server.ollama import OllamaServer
from custom_components.ollama_vision.model_server.openai_compatible import OpenAIServer
from tests.servers.faulty import refusing
from tests.servers.llama_server import LlamaServer
from tests.servers.ollama_front import OllamaFront

from .captures import ReplayServer, Reply, load

JSON = {"Content-Type": "application/json"}


async def detected(session: ClientSession, replies: dict[str, Reply]) -> Api:
    """Detect the protocol of a server with those replies."""
    async with ReplayServer(replies) as replay:
        return await detect_api(session, parse_address(replay.url, 80))


async def test_real_servers(session: ClientSession, ollama_front: OllamaFront, llama_server: LlamaServer) -> None:
    """Ollama is known as Ollama though it answers OpenAI's list too; llama.cpp as OpenAI-compatible."""
    for url, kind in ((ollama_front.url, OllamaServer), (llama_server.url, OpenAIServer)):
        server = await connect(session, parse_address(url, 80))
        assert type(server) is kind
        assert str(server.url) == url


@pytest.mark.parametrize("version", ["ollama-0.24.0", "ollama-0.32.15"])
async def test_captured_servers(session: ClientSession, version: str) -> None:
    """Both versions of Ollama are known, as is one without a model."""
    replies = {
        "/api/version": load(f"{version}/003-version.json").reply,
        "/api/tags": load(f"{version}/004-tags.json").reply,
        "/v1/models": load(f"{version}/234-v1-models.json").reply,
    }
    assert await detected(session, replies) is Api.OLLAMA
    empty = {"/api/tags": load("ollama-0.32.15-extra/tags-empty.json").reply}
    assert await detected(session, replies | empty) is Api.OLLAMA


async def test_lookalikes(session: ClientSession) -> None:
    """Servers that answer one of Ollama's paths, or all paths with 200, are what their list of models says."""
    models = Reply(headers=JSON, body=b'{"object":"list","data":[{"id":"x"}]}')
    own_version = Reply(headers=JSON, body=b'{"version":"0.6.5"}')
    unknown = Reply(headers=JSON, body=b'{"error":"Unexpected endpoint or method. (GET /api/version)"}')
    page = Reply(headers={"Content-Type": "text/html"}, body=b"<!DOCTYPE html>")
    for other in (
        {"/api/version": own_version},
        {"/api/version": own_version, "/api/tags": page},
        {"/api/version": unknown, "/api/tags": unknown},
        {"/api/version": page},
        {"/api/version": Reply(status=401)},
        {"/api/version": Reply(status=403)},
    ):
        assert await detected(session, {"/v1/models": models} | other) is Api.OPENAI


async def test_servers_that_do_not_tell(session: ClientSession) -> None:
    """What stands in the way is said: the key before everything else, then that it is busy, then what it is."""
    page = Reply(headers={"Content-Type": "text/html"}, body=b"<!DOCTYPE html>")
    denied, busy, missing = (
        Reply(status=401, body=b"no token"),
        Reply(status=503, body=b"Loading model"),
        Reply(status=404),
    )
    cases: list[tuple[Reply, Reply, type[ModelServerError], str]] = [
        (denied, denied, ModelServerAuthenticationError, "no token"),
        (denied, missing, ModelServerAuthenticationError, "no token"),
        (missing, denied, ModelServerAuthenticationError, "no token"),
        (busy, denied, ModelServerAuthenticationError, "no token"),
        (busy, busy, ModelServerBusyError, "Loading model"),
        (missing, busy, ModelServerBusyError, "Loading model"),
        (missing, missing, BadResponseError, "This is neither Ollama nor an OpenAI-compatible server: .* status 404"),
        (page, page, BadResponseError, "This is neither Ollama nor an OpenAI-compatible server: .* a web page"),
    ]
    for ollama, openai, error, words in cases:
        with pytest.raises(error, match=words):
            await detected(session, {"/api/version": ollama, "/v1/models": openai})
    with refusing() as url, pytest.raises(ModelServerConnectionError, match="connection refused"):
        await detect_api(session, parse_address(url, 80))


async def test_a_key_is_used(session: ClientSession) -> None:
    """A server with a key is known with it."""
    with LlamaServer(api_key="sk-right") as llama:
        address = parse_address(llama.url, 80)
        with pytest.raises(ModelServerAuthenticationError, match="Invalid API Key"):
            await connect(session, address, api_key="sk-wrong")
        server = await connect(session, address, api_key="sk-right")
        assert [model.name for model in await server.models()] == ["tiny-vision"]


async def test_nobody_is_asked_without_need(session: ClientSession) -> None:
    """Where the protocol is known, a server that is off gets its client all the same."""
    with refusing() as url:
        for api, kind in ((Api.OLLAMA, OllamaServer), (Api.OPENAI, OpenAIServer)):
            server = await connect(session, parse_address(url, 80), api=api)
            assert type(server) is kind
            assert server.api is api
