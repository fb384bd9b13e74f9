"""The servers as pytest fixtures; `conftest.py` loads this as a plugin.

pytest-homeassistant-custom-component forbids sockets in tests that do not ask for the fixture `socket_enabled`. Servers
in processes of their own start and stop without a socket in the test's process; a test that talks to them has to ask.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from .llama_server import LlamaServer
from .ollama_front import OllamaFront


@pytest.fixture(scope="session")
def llama_server() -> Iterator[LlamaServer]:
    """Run the real llama.cpp server with the tiny model, one for all tests; it sees and needs no key."""
    with LlamaServer() as server:
        yield server


@pytest.fixture
async def ollama_front(socket_enabled: None, llama_server: LlamaServer) -> AsyncIterator[OllamaFront]:
    """Run an Ollama front of the test's own over that server, in the test's process, without a wait for loading."""
    async with OllamaFront(llama=llama_server.url) as front:
        yield front
