"""What the tests of the whole integration share."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import io
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from homeassistant.core import HomeAssistant
from PIL import Image
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.ollama_vision.const import DOMAIN


def picture(colour: str, size: tuple[int, int] = (320, 240), kind: str = "JPEG") -> bytes:
    """Return a real picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def data_url(content: bytes) -> str:
    """Return a picture as the action takes it without any server."""
    return f"data:image/jpeg;base64,{b64encode(content).decode()}"


@asynccontextmanager
async def picture_server(**pictures: bytes) -> AsyncIterator[str]:
    """Serve pictures by their names on a real socket; yield the server's address."""

    async def serve(request: web.Request) -> web.Response:
        try:
            return web.Response(body=pictures[request.match_info["name"]])
        except KeyError:
            return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{name}.jpg", serve)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")


def entry_data(url: str, *, api: str = "ollama", model: str = "tiny-vision", **changes: Any) -> dict[str, Any]:
    """Return the data of an entry as the config flow makes it."""
    return {
        "name": "Ollama Vision",
        "vision_host": url,
        "vision_port": 11434,
        "vision_api": api,
        "vision_verify_ssl": True,
        "vision_model": model,
        "vision_keep_alive": "-1",
        "text_model_enabled": False,
    } | changes


def text_model(url: str, *, api: str = "ollama", model: str = "tiny-text") -> dict[str, Any]:
    """Return what a text model adds to an entry's data."""
    return {
        "text_model_enabled": True,
        "text_host": url,
        "text_port": 11434,
        "text_api": api,
        "text_verify_ssl": True,
        "text_model": model,
        "text_keep_alive": "-1",
    }


async def add_device(
    hass: HomeAssistant,
    data: dict[str, Any],
    *,
    options: dict[str, Any] | None = None,
    loads: bool = True,
) -> MockConfigEntry:
    """Add a device and wait until it is loaded."""
    entry = MockConfigEntry(domain=DOMAIN, title=data["name"], data=data, options=options or {}, version=2)
    entry.add_to_hass(hass)
    assert await hass.config_entries.async_setup(entry.entry_id) is loads
    await hass.async_block_till_done()
    return entry


async def analyze(hass: HomeAssistant, **data: Any) -> dict[str, Any]:
    """Call the action and return its response."""
    response = await hass.services.async_call(
        DOMAIN, "analyze_image", {"image_name": "Front door"} | data, blocking=True, return_response=True
    )
    assert isinstance(response, dict)
    return response
