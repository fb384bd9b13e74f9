"""The last resort: an AI Task entity of another integration, asked only where a device's option names it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any, Final

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.json import json_dumps
from homeassistant.util.hass_dict import HassKey

from .asking import Reply
from .const import CONF_FALLBACK_AI_TASK, DOMAIN, AnalysisFault
from .coordinator import OllamaVisionCoordinator
from .look import LookRequest
from .model_server.answer_text import LONGEST_ANSWER, visible
from .model_server.models import Answer
from .preprocessing import PreparedImage
from .structure import StructureMismatchError

FALLBACK_SECONDS: Final = 120

# An AI task takes files that a media source finds. These are found under `lent/<key>`, while somebody looks at them.
LENT: Final = "lent"
_LENT: HassKey[dict[str, tuple[Path, str]]] = HassKey(f"{DOMAIN}_lent")


class FallbackError(Exception):
    """An AI task has failed; the message is for the log."""

    def __init__(self, fault: AnalysisFault, message: str) -> None:
        """Keep the fault's name beside the message."""
        super().__init__(message)
        self.fault = fault


def fallback_entity(coordinator: OllamaVisionCoordinator) -> str | None:
    """Return the AI Task entity that a device's option names; never an own one, which would ask in a circle."""
    entity_id: str | None = coordinator.config_entry.options.get(CONF_FALLBACK_AI_TASK)
    entity = er.async_get(coordinator.hass).async_get(entity_id) if entity_id else None
    return None if entity and entity.platform == DOMAIN else entity_id


async def async_ask_fallback(
    hass: HomeAssistant, entity_id: str, request: LookRequest, pictures: Sequence[PreparedImage]
) -> Reply:
    """Have an AI Task entity look at prepared pictures; the reply's model is the entity. Raises FallbackError."""
    if "ai_task" not in hass.config.components:
        raise FallbackError(AnalysisFault.CANNOT_CONNECT, "AI tasks are not set up")
    # A home without voice commands may lack what the component needs, and its analyses must not.
    from homeassistant.components import ai_task  # noqa: PLC0415  (as above)

    structure = request.structure
    try:
        async with asyncio.timeout(FALLBACK_SECONDS), _lent(hass, pictures) as attachments:
            # Without the caller's context: that this entity is asked is the choice of who set the option.
            result = await ai_task.async_generate_data(
                hass,
                task_name=DOMAIN,
                entity_id=entity_id,
                instructions=request.prompt,
                structure=structure.schema if structure else None,
                attachments=attachments,
            )
        if structure is None:
            return Reply(Answer(text=_text(result.data), model=entity_id), None, cached=False)
        data = structure.check(result.data)
        return Reply(Answer(text=json_dumps(data), model=entity_id), data, cached=False)
    except TimeoutError as err:
        raise FallbackError(AnalysisFault.TIMEOUT, "no answer in time") from err
    except StructureMismatchError as err:
        raise FallbackError(AnalysisFault.STRUCTURE_MISMATCH, str(err)) from err
    except FallbackError:
        raise
    except Exception as err:  # (other people's code, whose errors' texts may hold anything but what is for users)
        words = str(err) if isinstance(err, HomeAssistantError) else ""
        raise FallbackError(AnalysisFault.BAD_RESPONSE, words or type(err).__name__) from err


def _text(data: Any) -> str:
    if text := visible(str(data)[:LONGEST_ANSWER]):
        return text
    raise FallbackError(AnalysisFault.EMPTY_ANSWER, "an empty answer")


def lent_picture(hass: HomeAssistant, key: str) -> tuple[Path, str] | None:
    """Return the file of a picture that is lent now, and its MIME type."""
    return hass.data.get(_LENT, {}).get(key)


@asynccontextmanager
async def _lent(hass: HomeAssistant, pictures: Sequence[PreparedImage]) -> AsyncIterator[list[dict[str, str]]]:
    """Have a media source find the pictures for the block, which gets them as attachments; no file of them stays."""
    folder, files = await hass.async_add_executor_job(_write, pictures)
    lent = hass.data.setdefault(_LENT, {})
    lent.update(files)
    try:
        yield [
            {"media_content_id": f"media-source://{DOMAIN}/{LENT}/{key}", "media_content_type": mime_type}
            for key, (_, mime_type) in files.items()
        ]
    finally:
        for key in files:
            del lent[key]
        await hass.async_add_executor_job(folder.cleanup)


def _write(pictures: Sequence[PreparedImage]) -> tuple[TemporaryDirectory[str], Mapping[str, tuple[Path, str]]]:
    folder = TemporaryDirectory(prefix=f"{DOMAIN}_", ignore_cleanup_errors=True)
    files: dict[str, tuple[Path, str]] = {}
    for picture in pictures:
        key = token_hex()
        path = Path(folder.name, f"{key}.{picture.mime_type.removeprefix('image/')}")
        path.write_bytes(picture.data)
        files[key] = path, picture.mime_type
    return folder, files
