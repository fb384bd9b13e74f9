"""What the tests of picture sources share: responses, and the sentence a user reads."""

from collections.abc import Awaitable
import json
from pathlib import Path
import traceback

from homeassistant.core import HomeAssistant
from homeassistant.core_config import async_process_ha_core_config
from homeassistant.setup import async_setup_component
import pytest

import custom_components.ollama_vision
from custom_components.ollama_vision.const import AnalysisFault
from custom_components.ollama_vision.image_source import ImageSourceError, fetch, parse_source

from .servers.faulty import FaultyServer, head

PICTURE = (Path(__file__).parent / "pictures" / "red.jpg").read_bytes()

_TRANSLATIONS = json.loads(
    (Path(custom_components.ollama_vision.__file__).parent / "translations" / "en.json").read_text()
)


def sentence(error: ImageSourceError) -> str:
    """Return what a user reads."""
    message: str = _TRANSLATIONS["exceptions"][error.translation_key]["message"]
    return message.format(**error.placeholders)


async def set_up_home(hass: HomeAssistant, root: Path) -> None:
    """Give Home Assistant folders, as its configuration does, and addresses at which nothing listens."""
    for folder in ("config/www", "config/media/cam", "share", "private"):
        (root / folder).mkdir(parents=True)
    hass.config.config_dir = str(root / "config")
    await async_process_ha_core_config(
        hass,
        {
            "allowlist_external_dirs": [str(root / "share")],
            "media_dirs": {"local": str(root / "config" / "media"), "share": str(root / "share")},
            "internal_url": "http://ha.test:8123",
            "external_url": "https://ha.example.com",
        },
    )
    assert await async_setup_component(hass, "http", {})
    hass.http.server_port = 8123


async def get(hass: HomeAssistant, value: str) -> bytes:
    """Fetch as the action does."""
    return await fetch(hass, parse_source(hass, value))


async def failure(fetching: Awaitable[bytes]) -> tuple[AnalysisFault, str]:
    """Return the fault and the sentence with which fetching ends."""
    with pytest.raises(ImageSourceError) as caught:
        await fetching
    return caught.value.fault, sentence(caught.value)


def everything_printed(error: ImageSourceError) -> str:
    """Return all that a log could hold of an error."""
    return "\n".join((sentence(error), str(error), repr(error), *traceback.format_exception(error)))


def response(body: bytes = PICTURE, *, status: int = 200, content_type: str = "image/jpeg", **headers: str) -> bytes:
    """Return a whole HTTP response; `Content_Length="10"` is a header, here one that lies."""
    return head(status, content_type, **({"Content_Length": str(len(body))} | headers)) + body


def picture_at(server: FaultyServer, path: str = "/picture.jpg", *, user: str = "") -> str:
    """Return the address of a path, with `user:password` if given."""
    return (f"{server.url}{path}").replace("://", f"://{user}@" if user else "://")
