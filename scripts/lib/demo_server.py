"""The model server of the demo: the user's own, or the real llama.cpp server with the tiny model."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.servers.llama_server import LlamaServer
from tests.servers.ollama_front import OllamaFrontProcess


@dataclass(frozen=True)
class Server:
    """What the config flow is told; `api` is `detect`, `ollama` or `openai`, and no `model` means the suggested one."""

    host: str
    api: str
    api_key: str | None
    model: str | None


@contextmanager
def model_server(arguments: argparse.Namespace) -> Iterator[Server]:
    """Run what has to run, and yield how it is reached."""
    with ExitStack() as servers:
        host, api_key = arguments.server, arguments.api_key
        if host is None:
            api_key = None
            host = servers.enter_context(LlamaServer()).url
            if arguments.protocol != "openai":
                host = servers.enter_context(OllamaFrontProcess(host)).url
        yield Server(host, arguments.protocol or "detect", api_key, arguments.model)
