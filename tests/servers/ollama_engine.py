"""What stands behind the Ollama front's answers: its models, its one slot and llama.cpp."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
import hashlib
import time
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientSession

from .ollama_http import Lines, Request
from .ollama_models import Model, Models, Refusal, full_name

BUSY = "server busy, please try again.  maximum pending requests exceeded"
LOAD_FAILURE = "error loading model: check_tensor_dims: tensor 'blk.0.ffn_down.weight' not found"
LAYERS = (603_753, 59)  # bytes of a model that can be pulled: its weights and its template
REPORTS_A_LAYER = 4


@dataclass(kw_only=True)
class Engine:
    """Loads, pulls and queues; the settings are those of `OllamaFront`."""

    llama: str
    names: tuple[str, ...] = ("tiny-vision", "tiny-text", "tiny-think")
    pullable: tuple[str, ...] = ("tiny-pull",)
    load_seconds: float = 0.0
    pull_seconds: float = 0.1
    max_queue: int = 512
    requests: list[Request] = field(default_factory=list)
    session: ClientSession = field(init=False)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Have the models, and the gate open."""
        self.models = Models(self.names)
        self.gate.set()
        self._slot = asyncio.Lock()
        self._waiting = 0

    def note(self, request: Request) -> None:
        """Keep a request that came."""
        self.requests.append(request)
        self.arrival.set()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the one slot; raise the refusal where too many do."""
        if self._slot.locked() and self._waiting >= self.max_queue:
            raise Refusal(503, BUSY)
        self._waiting += 1
        try:
            await self._slot.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slot.release()

    async def load(self, model: Model, context: int, keep_alive: float | None) -> int:
        """Have a model in memory; return how many nanoseconds that took."""
        start = time.perf_counter_ns()
        if not self.models.is_ready(model, context):
            await asyncio.sleep(self.load_seconds)
        if model.name.startswith("tiny-broken"):
            message = f"llama-server process has terminated: exit status 1: {LOAD_FAILURE}\n{LOAD_FAILURE}"
            raise Refusal(500, message)
        self.models.use(model, context, keep_alive)
        return time.perf_counter_ns() - start

    async def pull(self, name: str, *, insecure: bool) -> Lines:
        """Yield the progress of a pull: a model of `pullable` comes in two layers, others are not to be had."""
        yield {"status": "pulling manifest"}
        if "://" in name:
            yield {"error": _unreachable_registry(name, insecure=insecure)}
            return
        if full_name(name) not in (*map(full_name, self.pullable), *self.models.stored):
            yield {"error": "pull model manifest: file does not exist"}
            return
        for size in LAYERS:
            async for report in self._layer(name, size):
                yield report
        for status in ("verifying sha256 digest", "writing manifest"):
            yield {"status": status}
        if full_name(name) not in self.models.stored:
            self.models.add(name)
        yield {"status": "success"}

    async def _layer(self, name: str, size: int) -> Lines:
        digest = hashlib.sha256(f"{name} {size}".encode()).hexdigest()
        report: dict[str, Any] = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": size}
        yield report  # Go leaves out a `completed` of 0
        for part in range(1, REPORTS_A_LAYER + 1):
            await asyncio.sleep(self.pull_seconds / len(LAYERS) / REPORTS_A_LAYER)
            yield report | {"completed": size * part // REPORTS_A_LAYER}


def _unreachable_registry(name: str, *, insecure: bool) -> str:
    address = urlsplit(name if insecure else name.replace("http:", "https:", 1))
    manifest = f"{address.scheme}://{address.netloc}/v2{address.path}/manifests/latest"
    return f'pull model manifest: Get "{manifest}": dial tcp {address.netloc}: connect: connection refused'
