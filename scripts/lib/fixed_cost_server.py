"""A server of fixed cost for the benchmarks: a model server that speaks Ollama's protocol, and pictures.

It says its address when it is ready and ends when its standard input does. A model does one thing at a time, as a
GPU does; GET /journal/MODEL tells what it did. A picture of a number is always the same, and another one for each
number; it comes after `?delay=` seconds.
"""

import asyncio
from dataclasses import asdict, dataclass, field
import io
import json
import random
import sys
import time
from typing import Any

from aiohttp import web
from PIL import Image, ImageChops

SIZES = {"hd": (1920, 1080), "thumbnail": (175, 175)}
PIXELS_A_SPOT = 12


@dataclass(frozen=True, slots=True)
class Call:
    """One question: when its headers came, when work on it began and when its answer was out, in seconds."""

    arrived: float
    begun: float
    ended: float


@dataclass(slots=True)
class Model:
    """A model, and what it costs in seconds to load it and to answer with it."""

    load: float
    answer: float
    loaded: bool = False
    calls: list[Call] = field(default_factory=list)
    slot: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def work(self, *, question: bool) -> None:
        """Take the time that it takes; to be called in the slot."""
        if not self.loaded:
            await asyncio.sleep(self.load)
            self.loaded = True
        if question and self.answer:
            await asyncio.sleep(self.answer)


MODELS = {
    "steady": Model(load=0.0, answer=0.1, loaded=True),
    "shared": Model(load=0.0, answer=0.1, loaded=True),
    "cold": Model(load=2.0, answer=0.1),
    "instant": Model(load=0.0, answer=0.0, loaded=True),
}
PICTURES: dict[tuple[str, int], bytes] = {}


def main() -> None:
    """Serve until standard input ends."""
    asyncio.run(serve())


async def serve() -> None:
    """Serve on a free port."""
    draw_pictures()
    application = web.Application(client_max_size=2**26)
    application.add_routes(
        [
            web.get("/api/version", version),
            web.get("/api/tags", tags),
            web.get("/api/ps", running),
            web.post("/api/show", show),
            web.post("/api/chat", chat),
            web.get("/journal/{model}", journal),
            web.get("/pictures/{size}/{number}.jpg", picture),
        ]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def draw_pictures() -> None:
    """Draw something with edges everywhere, as large as a camera's (HD: 400 KB), and shift it for each number."""
    dice = random.Random(0)  # noqa: S311  (a picture is no secret)
    for size, (width, height) in SIZES.items():
        columns, rows = width // PIXELS_A_SPOT, height // PIXELS_A_SPOT
        spots = Image.frombytes("RGB", (columns, rows), dice.randbytes(columns * rows * 3))
        scene = spots.resize((width, height), Image.Resampling.BICUBIC)
        for number in range(30 if size == "hd" else 250):
            out = io.BytesIO()
            ImageChops.offset(scene, number % width, number // width).save(out, "JPEG", quality=85)
            PICTURES[size, number] = out.getvalue()


async def version(_: web.Request) -> web.Response:
    """Answer as Ollama does."""
    return web.json_response({"version": "0.32.15"})


async def tags(_: web.Request) -> web.Response:
    """List the models."""
    return web.json_response({"models": [entry(name) for name in MODELS]})


async def running(_: web.Request) -> web.Response:
    """List the models that are loaded."""
    return web.json_response({"models": [entry(name) for name, model in MODELS.items() if model.loaded]})


def entry(name: str) -> dict[str, Any]:
    """Return a model's line in a list."""
    return {"name": f"{name}:latest", "model": f"{name}:latest", "digest": name, "size": 1_000_000}


async def show(_: web.Request) -> web.Response:
    """Say that a model sees; all of them do."""
    return web.json_response({"capabilities": ["completion", "vision"]})


async def chat(request: web.Request) -> web.StreamResponse:
    """Answer a question when it is its turn, or load the model where nothing is asked."""
    arrived = time.monotonic()
    body = await request.json()
    name, question = body["model"].partition(":")[0], bool(body["messages"])
    model = MODELS[name]
    async with model.slot:
        begun = time.monotonic()
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await model.work(question=question)
        await response.prepare(request)
        if question:
            await response.write(line(name, content=f"Picture {len(model.calls)}", done=False))
        last = line(name, content="", done=True, done_reason="stop" if question else "load", eval_count=2)
        await response.write(last)
        if question:
            model.calls.append(Call(arrived, begun, time.monotonic()))
    return response


def line(name: str, *, content: str, **rest: Any) -> bytes:
    """Return a line of the stream."""
    message = {"role": "assistant", "content": content}
    return json.dumps({"model": name, "message": message, **rest}).encode() + b"\n"


async def journal(request: web.Request) -> web.Response:
    """Tell what a model was asked."""
    return web.json_response([asdict(call) for call in MODELS[request.match_info["model"]].calls])


async def picture(request: web.Request) -> web.Response:
    """Send a picture, after a delay."""
    await asyncio.sleep(float(request.query.get("delay", 0)))
    key = request.match_info["size"], int(request.match_info["number"])
    return web.Response(body=PICTURES[key], content_type="image/jpeg")


if __name__ == "__main__":
    main()
