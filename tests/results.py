"""Results of analyses, and a device's history of them, as the tests of history and its doors make them."""

from datetime import UTC, datetime, timedelta
import io
from pathlib import Path
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.util.ulid import ulid_at_time
from PIL import Image

from custom_components.ollama_vision.history import History, HistoryLimits
from custom_components.ollama_vision.result import AnalysisResult

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
EVERYTHING = HistoryLimits(days=3650, results=100_000, megabytes=1000)


def _picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), "red").save(buffer, kind)
    return buffer.getvalue()


JPEG = _picture("JPEG")
PNG = _picture("PNG")


def a_result(name: str = "Front door", time: datetime = NOW, **changes: Any) -> AnalysisResult:
    """Return a result as an analysis makes one at that time."""
    words = f"A person at the {name.lower()}."
    values: dict[str, Any] = {
        "result_id": ulid_at_time(time.timestamp()),
        "integration_id": "entry",
        "image_name": name,
        "image_urls": ("http://camera/front.jpg",),
        "prompt": "What is there?",
        "description": words,
        "final_description": words,
        "used_text_model": False,
        "text_prompt": None,
        "model": "moondream",
        "text_model": None,
        "text_model_error": None,
        "data": None,
        "truncated": False,
        "cached": False,
        "processing_time": 1.5,
        "timestamp": time.isoformat(),
    }
    return AnalysisResult(**values | changes)


async def add(
    history: History, name: str = "Front door", *, age: timedelta = timedelta(), **changes: Any
) -> AnalysisResult:
    """Add a result with a picture to a history; return it."""
    result = a_result(name, NOW - age, **changes)
    await history.async_add(result, JPEG, "image/jpeg")
    return result


async def a_history(hass: HomeAssistant, limits: HistoryLimits = EVERYTHING) -> History:
    """Return a device's history as a start of Home Assistant loads it."""
    history = History(hass, "entry", limits)
    await history.async_load()
    return history


async def texts(history: History, **filters: Any) -> list[str]:
    """Return what was seen."""
    return [result.final_description for result in await history.async_results(**filters)]


def files(folder: Path) -> set[str]:
    """Return the names of all files and empty folders below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or not any(path.iterdir())}
