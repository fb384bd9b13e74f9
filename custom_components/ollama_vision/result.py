"""What an analysis ends with, in the forms in which it is stored, fired and shown."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any, Self

from homeassistant.helpers.json import json_bytes
from homeassistant.util import slugify
from homeassistant.util.signal_type import SignalType

from .const import DOMAIN

# Home Assistant's recorder stores at most 32 KiB of an event and 16 KiB of a state's attributes, and drops the rest
# of a longer one as a whole. Its own fields and the entity's other attributes need room beside ours.
EVENT_BYTES = 30 * 1024
ATTRIBUTE_BYTES = 14 * 1024

PICTURE_PATH = "/api/ollama_vision/picture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A device that was asked before the one that answered, and the fault that passed it over."""

    device_id: str | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisResult:
    """The result of one analysis.

    `result_id` names it in the history and in its picture's path. `timestamp` is ISO 8601 with an offset,
    `processing_time` in seconds. `image_urls` are the sources in a form without secrets.
    """

    result_id: str
    integration_id: str
    image_name: str
    image_urls: tuple[str, ...]
    prompt: str
    description: str
    final_description: str
    used_text_model: bool
    text_prompt: str | None
    model: str
    text_model: str | None
    text_model_error: str | None
    data: Any
    truncated: bool
    cached: bool
    processing_time: float
    timestamp: str
    attempts: tuple[Attempt, ...] = ()

    @property
    def slug(self) -> str:
        """Return what unique ids hold of the image's name."""
        return _slug(self.image_name)

    @property
    def picture(self) -> str:
        """Return the path of this result's own picture."""
        return f"{PICTURE_PATH}/{self.integration_id}/{self.result_id}"

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuild a result from `as_dict`; raise KeyError or TypeError where it is not one."""
        values = {field.name: stored[field.name] for field in fields(cls)}
        values["image_urls"] = tuple(values["image_urls"])
        values["attempts"] = tuple(Attempt(**attempt) for attempt in values["attempts"])
        return cls(**values)

    def as_event(self, **entities: str | None) -> dict[str, Any]:
        """Return the event's data; `entities` are the ids that only Home Assistant's registries know."""
        event = self.as_dict() | {
            "image_url": self.image_urls[0],
            "image_urls": list(self.image_urls),
            "attempts": [asdict(attempt) for attempt in self.attempts],
            "picture": self.picture,
            **entities,
        }
        del event["result_id"]
        return fitted(event, EVENT_BYTES)

    def as_attributes(self) -> dict[str, Any]:
        """Return the sensor's recorded attributes."""
        attributes = {
            "integration_id": self.integration_id,
            "image_url": self.image_urls[0],
            "prompt": self.prompt,
            "description": self.description,
            "final_description": self.final_description,
            "used_text_model": self.used_text_model,
            "text_prompt": self.text_prompt,
            "model": self.model,
            "data": self.data,
            "timestamp": self.timestamp,
            "processing_time": self.processing_time,
        }
        return fitted(attributes, ATTRIBUTE_BYTES)


@dataclass(frozen=True, slots=True)
class Publication:
    """A result on its way out; whoever needs time to show it leaves a future that is done when it shows."""

    result: AnalysisResult
    pending: list[asyncio.Future[None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An analysis that failed: `error` from the closed list, `message` for people."""

    image_name: str
    error: str
    message: str


def failure_signal(entry_id: str) -> SignalType[Failure]:
    """Return the signal on which the failures of one entry go out."""
    return SignalType(f"{DOMAIN}_{entry_id}_failure")


def result_signal(entry_id: str) -> SignalType[Publication]:
    """Return the signal on which the results of one entry go out."""
    return SignalType(f"{DOMAIN}_{entry_id}_result")


@lru_cache(maxsize=4096)
def _slug(image_name: str) -> str:
    """Return a name's slug; every entity of a device asks for it at every result."""
    return slugify(image_name)


def has_slug(image_name: str) -> bool:
    """Return whether a name has a letter or a digit that an entity could be named by.

    Of scripts that Home Assistant cannot write in Latin letters, all names would have the slug "unknown". After an "x"
    such a name adds nothing, and one that was typed "unknown" does.
    """
    return any(character.isalnum() for character in image_name) and slugify(f"x{image_name}") != "x"


def shortened(text: str, length: int) -> str:
    """Return `text` cut to `length` characters, on a word, with an ellipsis where something is missing."""
    if len(text) <= length:
        return text
    cut = text[: length - 1]
    on_a_word = cut.rsplit(maxsplit=1)[0] if not text[length - 1].isspace() and " " in cut.strip() else cut
    return on_a_word.rstrip() + "…"


def fitted(values: dict[str, Any], limit: int) -> dict[str, Any]:
    """Return `values` with the longest ones shortened, all to one length, so that their JSON has `limit` bytes."""
    sizes = {key: len(json_bytes(value)) for key, value in values.items()}
    left = limit - sum(len(json_bytes(key)) + 2 for key in values)
    share = left
    for position, size in enumerate(sorted(sizes.values())):
        share = left // (len(sizes) - position)
        if size > share:
            break
        left -= size
    else:
        return values
    return {key: value if sizes[key] <= share else _smaller(value, share) for key, value in values.items()}


def _smaller(value: Any, size: int) -> Any:
    """Return a text or a list cut to `size` bytes of JSON; anything else that is longer is left out."""
    if isinstance(value, str):
        while len(json_bytes(value)) > size:
            value = shortened(value, len(value) * 3 // 4)
        return value
    if isinstance(value, list):
        while len(json_bytes(value)) > size:
            value = value[: len(value) * 3 // 4]
        return value
    return None
