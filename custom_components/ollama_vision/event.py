"""An event entity for each device, which Home Assistant's own event triggers understand."""

from typing import Any, Final, override

from homeassistant.components.event import EventEntity
from homeassistant.const import MAX_LENGTH_STATE_STATE
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator
from .entity import DeviceEntity
from .result import Failure, Publication, failure_signal, result_signal, shortened

PARALLEL_UPDATES = 0

ANALYZED: Final = "analyzed"
FAILED: Final = "failed"


async def async_setup_entry(
    _: HomeAssistant,
    entry: OllamaVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the device's event entity."""
    async_add_entities([AnalysisEvent(entry.runtime_data)])


class AnalysisEvent(DeviceEntity, EventEntity):
    """The analyses of a device, as they succeed or fail."""

    _attr_translation_key = "analysis"
    _attr_event_types = [ANALYZED, FAILED]

    def __init__(self, coordinator: OllamaVisionCoordinator) -> None:
        """Tell of nothing yet."""
        super().__init__(coordinator, "analysis")

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        entry_id = self.coordinator.config_entry.entry_id
        self.async_on_remove(async_dispatcher_connect(self.hass, result_signal(entry_id), self._async_on_result))
        self.async_on_remove(async_dispatcher_connect(self.hass, failure_signal(entry_id), self._async_on_failure))

    @callback
    def _async_on_result(self, publication: Publication) -> None:
        result = publication.result
        self._tell(ANALYZED, result.image_name, result.final_description, {"picture": result.picture})

    @callback
    def _async_on_failure(self, failure: Failure) -> None:
        self._tell(FAILED, failure.image_name, failure.message, {"error": failure.error})

    def _tell(self, event_type: str, image_name: str, text: str, more: dict[str, Any]) -> None:
        # What an event carries is restored after a restart; what was said is not, so that it can be forgotten.
        self._trigger_event(event_type, {"image_name": image_name})
        self._attr_extra_state_attributes = {"text": shortened(text, MAX_LENGTH_STATE_STATE), **more}
        self.async_write_ha_state()

    @override
    @callback
    def _handle_coordinator_update(self) -> None:
        """Say nothing about the servers' health."""
