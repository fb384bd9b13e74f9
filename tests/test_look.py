"""What becomes of the pictures between their fetching and the answer."""

import asyncio
from base64 import b64decode
import io
from itertools import chain, cycle
from pathlib import Path
import tracemalloc
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from PIL import Image
import pytest

from .common import add_device, analyze, entry_data, picture
from .servers.faulty import FaultyServer, Step, head
from .servers.ollama_front import OllamaFront
from .test_asking import HEALTHY
from .test_fallback import AWAY


class Camera:
    """A camera that shows another moment each time; `url` is its address while it runs."""

    def __init__(self) -> None:
        self.moments = [picture(colour, (1600, 1200)) for colour in ("red", "lime", "blue")]
        app = web.Application()
        app.router.add_get("/now.jpg", self._show)
        self._server = TestServer(app, host="127.0.0.1")

    async def _show(self, _: web.Request) -> web.Response:
        return web.Response(body=self.moments.pop(0))

    async def __aenter__(self) -> str:
        """Listen; return the address of its picture."""
        await self._server.start_server()
        return str(self._server.make_url("/now.jpg"))

    async def __aexit__(self, *error: object) -> None:
        """Close."""
        await self._server.close()


def longest_edge(question: dict[str, Any]) -> int:
    """Return the size in which the model got the first picture."""
    with Image.open(io.BytesIO(b64decode(question["messages"][0]["images"][0]))) as seen:
        return max(seen.size)


async def test_requests_that_wait_keep_the_prepared_picture_alone(
    hass: HomeAssistant, socket_enabled: None, tmp_path: Path
) -> None:
    """A machine with little memory can have a hundred that wait."""
    file = tmp_path / "large.bmp"
    file.write_bytes(picture("red", (2000, 1500), "BMP"))
    hass.config.allowlist_external_dirs = {str(tmp_path)}
    async with FaultyServer([Step.HANG], paths=HEALTHY) as server:
        entry = await add_device(hass, entry_data(server.url), options={"concurrency": 4})
        tracemalloc.start()
        try:
            for number in range(4):
                await analyze(hass, image_url=str(file), prompt=f"Question {number}?", wait=False)
            async with asyncio.timeout(10):
                while [request.path for request in server.requests].count("/api/chat") < 4:
                    await asyncio.sleep(0.02)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert await hass.config_entries.async_unload(entry.entry_id)

    assert held < file.stat().st_size


async def test_a_picture_that_nobody_waits_for_any_more_is_left(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    async with FaultyServer(chain([head()], cycle([b"x", 0.02]))) as camera:
        entry = await add_device(hass, entry_data(ollama_front.url))
        analysis = hass.async_create_task(analyze(hass, image_url=f"{camera.url}/now.jpg"))
        async with asyncio.timeout(5):
            while not camera.requests:
                await asyncio.sleep(0.01)
        assert await hass.config_entries.async_unload(entry.entry_id)
        with pytest.raises(HomeAssistantError, match="unloaded"):
            await analysis

        async with asyncio.timeout(5):
            await camera.left.wait()


@pytest.mark.parametrize("size", [512, 1024])
async def test_the_next_device_sees_the_same_moment_in_its_own_size(
    hass: HomeAssistant, ollama_front: OllamaFront, size: int
) -> None:
    await add_device(hass, entry_data(AWAY, name="Away"))
    await add_device(hass, entry_data(ollama_front.url, name="There"), options={"picture_size": size})

    async with Camera() as url:
        response = await analyze(hass, image_url=url)

    assert response["description"] == "The picture is mostly red."
    (question,) = [body for body in ollama_front.bodies() if body["messages"]]
    assert longest_edge(question) == size


@pytest.mark.parametrize(
    ("task", "options", "edge"),
    [
        ("brief", {}, 1024),
        ("ocr", {}, 1536),
        ("ocr", {"picture_size": 512}, 1536),
        ("ocr", {"picture_size": 1550}, 1550),
    ],
)
async def test_small_things_are_seen_in_more_detail(
    hass: HomeAssistant, ollama_front: OllamaFront, task: str, options: dict[str, int], edge: int
) -> None:
    await add_device(hass, entry_data(ollama_front.url), options=options)

    async with Camera() as url:
        await analyze(hass, image_url=url, task=task)

    (question,) = [body for body in ollama_front.bodies() if body["messages"]]
    assert longest_edge(question) == edge
