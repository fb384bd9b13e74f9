"""Ollama's protocol in front of the real llama.cpp server: it accepts, refuses and words things as Ollama 0.32.15 does.

What it knows of Ollama comes from the captures below `tests/captures`, which `test_ollama_front.py` replays; how a pull
reports its progress comes from Ollama's published API documentation.

As a program: `python -m tests.servers.ollama_front --llama URL`.
"""

import argparse
import asyncio
from dataclasses import dataclass
import sys
from typing import Any, Self

from aiohttp import ClientSession, web

from .ollama_engine import Engine
from .ollama_routes import Routes
from .process import ServerProcess


@dataclass(kw_only=True)
class OllamaFront(Engine):
    """An async context manager; `url` is its address while it runs.

    `llama` is the address of a llama.cpp server. It has the models `names` (`tiny-think2`, which thinks until the guard
    against repetition stops it, and `tiny-broken`, which does not load, are there for the asking) and can pull those
    of `pullable`. Loading takes `load_seconds`, pulling `pull_seconds`. One request is answered at a time; where
    `max_queue` wait, the next one is refused. While `gate` is cleared, answers wait for it. `requests` are those that
    came, in order; `models` is what is on its disk and in its memory.
    """

    port: int = 0
    url: str = ""

    def bodies(self, path: str = "/api/chat") -> list[Any]:
        """Return the JSON of the requests to a path, in order."""
        return [request.body for request in self.requests if request.path == path]

    async def received(self, count: int, path: str = "/api/chat") -> None:
        """Return when that many requests to a path have come, answered or not; raise TimeoutError after ten seconds."""
        async with asyncio.timeout(10):
            while len(self.bodies(path)) < count:
                self.arrival.clear()
                await self.arrival.wait()

    async def __aenter__(self) -> Self:
        """Listen."""
        self.session = ClientSession()
        self._runner = web.AppRunner(Routes(self).application(), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close every connection."""
        await self._runner.cleanup()
        await self.session.close()


class OllamaFrontProcess(ServerProcess):
    """The front in a process of its own, a context manager; `url` is its address."""

    def __init__(self, llama: str, *, load_seconds: float = 0.0, port: int = 0) -> None:
        super().__init__(
            "tests.servers.ollama_front", f"--llama={llama}", f"--load-seconds={load_seconds}", f"--port={port}"
        )


async def _serve() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama", required=True, help="address of the llama.cpp server")
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0)
    async with OllamaFront(**vars(parser.parse_args())) as front:
        print(front.url, flush=True)  # noqa: T201  (this is what the starter waits for)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
