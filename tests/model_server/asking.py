"""Short ways to ask a server and to see how that fails."""

from aiohttp import ClientSession
import pytest

from custom_components.ollama_vision.model_server.address import parse_address
from custom_components.ollama_vision.model_server.errors import ModelServerError
from custom_components.ollama_vision.model_server.models import Answer, Silence
from custom_components.ollama_vision.model_server.ollama import OllamaServer
from custom_components.ollama_vision.model_server.openai_compatible import OpenAIServer
from custom_components.ollama_vision.model_server.transport import Transport
from tests.servers.faulty import FaultyServer, Script, answer

from .calls import QUESTION

TOKEN = b'{"message":{"content":"A"},"done":false}\n'
DONE = b'{"message":{"content":" door."},"done":true,"done_reason":"stop"}\n'
VERSION = answer(body=b'{"version":"0.32.15"}')
SHORT = Silence(first_token=0.4, next_token=0.3)


def ollama_client(session: ClientSession, url: str, api_key: str | None = None) -> OllamaServer:
    """Return a client of Ollama's protocol for an address."""
    return OllamaServer(Transport(session, parse_address(url, 80), api_key))


def openai_client(session: ClientSession, url: str, api_key: str | None = None) -> OpenAIServer:
    """Return a client of OpenAI's protocol for an address."""
    return OpenAIServer(Transport(session, parse_address(url, 80), api_key))


async def ask(session: ClientSession, url: str, silence: Silence = SHORT, api_key: str | None = None) -> Answer:
    """Ask Ollama at an address."""
    return await ollama_client(session, url, api_key).ask(QUESTION, silence)


async def version(session: ClientSession, url: str, api_key: str | None = None) -> str:
    """Ask Ollama for its version, which needs no model."""
    return await ollama_client(session, url, api_key).version()


async def failure(session: ClientSession, script: Script) -> tuple[type[ModelServerError], str]:
    """Return what a question to a server with that script fails with."""
    async with FaultyServer(script) as server:
        with pytest.raises(ModelServerError) as err:
            pytest.fail(str(await ask(session, server.url)))
        return type(err.value), str(err.value).replace(server.url, "{url}")
