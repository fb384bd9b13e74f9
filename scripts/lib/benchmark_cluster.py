"""Two model servers behind LiteLLM's proxy, added as one OpenAI-compatible server, do almost twice the work of one.

The servers are llama.cpp with the tiny model, each made to take its time as a GPU does: one picture at a time, and no
faster than SECONDS_A_PICTURE. They are asked through the integration's own client and queue. Prints a Markdown table;
the exit status is 1 where the gain is too small.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import socket
import subprocess
import sys
from tempfile import TemporaryDirectory, TemporaryFile
import time

from aiohttp import ClientError, ClientSession, web

from custom_components.ollama_vision.model_server.address import parse_address
from custom_components.ollama_vision.model_server.factory import connect
from custom_components.ollama_vision.model_server.models import (
    Api,
    ModelServer,
    Picture,
    Question,
    Silence,
)
from custom_components.ollama_vision.request_queue import RequestQueue
from tests.servers.llama_server import LlamaServer

ROOT = Path(__file__).parents[2]
SECONDS_A_PICTURE = 0.5
PICTURES = 40
CONCURRENCY = 6  # of the cluster: each server has one that it answers and two that wait
LEAST_GAIN = 1.8
SECONDS_TO_START = 240
MODEL = "house"
KEY = "sk-benchmark"
LITELLM_ENVIRONMENT = {
    "LITELLM_MASTER_KEY": KEY,
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches a list of prices
    "LITELLM_LOG": "ERROR",
}
COLOURS = ("red", "blue")


@dataclass
class SlowServer:
    """A llama.cpp server behind a gate that lets one request in at a time and holds it for a while."""

    llama: str
    session: ClientSession
    url: str = ""
    answered: int = 0
    slot: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass a question on, and its answer back when the time is over."""
        body = await request.read()
        async with self.slot:
            free = time.monotonic() + SECONDS_A_PICTURE
            headers = {"Content-Type": "application/json"}
            async with self.session.post(self.llama + request.path, data=body, headers=headers) as answer:
                content = await answer.read()
            await asyncio.sleep(free - time.monotonic())
            self.answered += 1
            return web.Response(body=content, status=answer.status, content_type=answer.content_type)


@dataclass(frozen=True)
class Result:
    """How long a set-up took for all pictures."""

    name: str
    seconds: float
    shares: Sequence[int]

    @property
    def a_second(self) -> float:
        """Return the answers a second."""
        return PICTURES / self.seconds


async def main() -> int:
    """Measure, print and judge."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(ClientSession())
        servers = [await stack.enter_async_context(slow_server(session)) for _ in range(2)]
        one = await measure("one llama.cpp server", await client(session, servers[0].url), servers, 1)
        proxy = await stack.enter_async_context(litellm(session, [server.url for server in servers]))
        both = await measure("LiteLLM over two", await client(session, proxy), servers, CONCURRENCY)
    print(table([one, both]))
    gain = one.seconds / both.seconds
    print(f"\nTwo do {gain:.2f} times the work of one (at least {LEAST_GAIN}).")
    return 0 if gain >= LEAST_GAIN else 1


@asynccontextmanager
async def slow_server(session: ClientSession) -> AsyncIterator[SlowServer]:
    """Run a llama.cpp server that takes its time."""
    with LlamaServer() as llama:
        server = SlowServer(llama.url, session)
        application = web.Application(client_max_size=2**24)
        application.router.add_post("/v1/chat/completions", server.answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield server
        finally:
            await runner.cleanup()


async def client(session: ClientSession, url: str) -> ModelServer:
    """Return the integration's client of a server."""
    return await connect(session, parse_address(url, 80), api=Api.OPENAI, api_key=KEY)


async def measure(name: str, asked: ModelServer, servers: Sequence[SlowServer], concurrency: int) -> Result:
    """Ask about all pictures at once, as many at a time as `concurrency` says, and check every answer."""
    queue = RequestQueue()
    queue.attach(name, concurrency)

    async def describe(colour: str) -> None:
        picture = Picture(data=(ROOT / f"tests/pictures/{colour}.jpg").read_bytes(), mime_type="image/jpeg")
        question = Question(model=MODEL, prompt="What is on the picture?", pictures=(picture,))
        async with queue.ticket(name) as ticket, ticket.turn():
            answer = await asked.ask(question, Silence(first_token=300, next_token=60))
        if colour not in answer.text:
            raise RuntimeError(f"{name} said of a {colour} picture: {answer.text}")

    await asyncio.gather(*(describe(colour) for colour in COLOURS))  # warm up
    before = [server.answered for server in servers]
    start = time.perf_counter()
    await asyncio.gather(*(describe(COLOURS[number % len(COLOURS)]) for number in range(PICTURES)))
    seconds = time.perf_counter() - start
    shares = [server.answered - earlier for server, earlier in zip(servers, before, strict=True)]
    return Result(name, seconds, shares)


@asynccontextmanager
async def litellm(session: ClientSession, urls: Sequence[str]) -> AsyncIterator[str]:
    """Run LiteLLM's proxy over servers; give its address when it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    program = environment() / "bin/litellm"
    with TemporaryDirectory() as folder, TemporaryFile() as log:
        options = ("--config", write_configuration(folder, urls), "--host", "127.0.0.1", "--port", str(port))
        process = await asyncio.create_subprocess_exec(
            program, *options, env=os.environ | LITELLM_ENVIRONMENT, stdout=log, stderr=log, cwd=folder
        )
        try:
            print("Starting LiteLLM …", file=sys.stderr)
            if not await answers(session, f"{url}/health/liveliness", process):
                log.seek(0)
                raise RuntimeError(f"LiteLLM does not start:\n{log.read().decode()}")
            yield url
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def write_configuration(folder: str, urls: Sequence[str]) -> Path:
    """Write LiteLLM's configuration, one model that several servers have, and return its path."""
    parameters = [{"model": f"openai/{MODEL}", "api_base": f"{url}/v1", "api_key": "none"} for url in urls]
    configuration = {
        "model_list": [{"model_name": MODEL, "litellm_params": each} for each in parameters],
        "router_settings": {"routing_strategy": "least-busy"},
    }
    path = Path(folder) / "litellm.json"
    path.write_text(json.dumps(configuration))  # it reads YAML, which JSON is
    return path


def environment() -> Path:
    """Return LiteLLM's own virtual environment; the first time it is made."""
    script = 'source scripts/lib/environment.sh && ensure_venv litellm && printf %s "$VENV"'
    command = ["/usr/bin/env", "bash", "-c", script]
    made = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)  # noqa: S603  (our own script)
    return Path(made.stdout.decode())


async def answers(session: ClientSession, url: str, process: asyncio.subprocess.Process) -> bool:
    """Wait until a server answers; return whether it does before it ends or the time is over."""
    deadline = time.monotonic() + SECONDS_TO_START
    while process.returncode is None and time.monotonic() < deadline:
        with suppress(ClientError):
            async with session.get(url) as answer:
                if answer.ok:
                    return True
        await asyncio.sleep(0.2)
    return False


def table(results: Sequence[Result]) -> str:
    """Return the results as Markdown."""
    rows = [
        f"| {result.name} | {result.seconds:.1f} s | {result.a_second:.2f} | {' + '.join(map(str, result.shares))} |"
        for result in results
    ]
    title = f"| {PICTURES} pictures, {SECONDS_A_PICTURE} s each | time | answers a second | by server |"
    return "\n".join([title, "|---|---|---|---|", *rows])


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
