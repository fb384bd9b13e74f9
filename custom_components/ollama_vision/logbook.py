"""Readable sentences for what a device has seen in Home Assistant's logbook."""

from collections.abc import Callable
from typing import Any, Final

from homeassistant.components.logbook import (
    LOGBOOK_ENTRY_ENTITY_ID,
    LOGBOOK_ENTRY_MESSAGE,
    LOGBOOK_ENTRY_NAME,
    LazyEventPartialState,
)
from homeassistant.core import HomeAssistant, callback

from .const import DOMAIN, EVENT_ANALYSIS_FAILED, EVENT_IMAGE_ANALYZED
from .result import shortened

LONGEST_TEXT: Final = 255


@callback
def async_describe_events(
    hass: HomeAssistant,  # noqa: ARG001  (Home Assistant's hook)
    async_describe_event: Callable[[str, str, Callable[[LazyEventPartialState], dict[str, Any]]], None],
) -> None:
    """Describe the events; any field can be missing: the recorder drops the data of an event that is too big."""

    @callback
    def describe_analyzed(event: LazyEventPartialState) -> dict[str, Any]:
        return _entry(event, "was analyzed", event.data.get("final_description"))

    @callback
    def describe_failed(event: LazyEventPartialState) -> dict[str, Any]:
        return _entry(event, "could not be analyzed", event.data.get("message"))

    async_describe_event(DOMAIN, EVENT_IMAGE_ANALYZED, describe_analyzed)
    async_describe_event(DOMAIN, EVENT_ANALYSIS_FAILED, describe_failed)


def _entry(event: LazyEventPartialState, what: str, text: object) -> dict[str, Any]:
    return {
        LOGBOOK_ENTRY_NAME: event.data.get("image_name") or "A picture",
        LOGBOOK_ENTRY_MESSAGE: f"{what}: {shortened(' '.join(str(text).split()), LONGEST_TEXT)}" if text else what,
        LOGBOOK_ENTRY_ENTITY_ID: event.data.get("entity_id"),
    }
