"""Sensors: what was seen, one for each image name, and how the device does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import MAX_LENGTH_STATE_STATE, EntityCategory, Platform, UnitOfTime
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.typing import StateType

from .const import Role
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator
from .entity import DeviceEntity, NamedPictureEntity, async_setup_named_entities
from .result import AnalysisResult, shortened

PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class DeviceSensorDescription(SensorEntityDescription):
    """A sensor about the device; it exists where its role does."""

    value_fn: Callable[[OllamaVisionCoordinator], StateType]
    role: Role = Role.VISION


def _model_at_host(role: Role) -> Callable[[OllamaVisionCoordinator], str]:
    return lambda coordinator: f"{coordinator.model(role)} @ {coordinator.connections[role].server.url.host}"


SENSORS = (
    DeviceSensorDescription(
        key="vision_info",
        translation_key="vision_info",
        entity_category=EntityCategory.DIAGNOSTIC,
        value_fn=_model_at_host(Role.VISION),
    ),
    DeviceSensorDescription(
        key="text_info",
        translation_key="text_info",
        entity_category=EntityCategory.DIAGNOSTIC,
        value_fn=_model_at_host(Role.TEXT),
        role=Role.TEXT,
    ),
    DeviceSensorDescription(
        key="analyses",
        translation_key="analyses",
        entity_category=EntityCategory.DIAGNOSTIC,
        state_class=SensorStateClass.TOTAL_INCREASING,
        value_fn=lambda coordinator: coordinator.statistics.analyses,
    ),
    DeviceSensorDescription(
        key="failures",
        translation_key="failures",
        entity_category=EntityCategory.DIAGNOSTIC,
        state_class=SensorStateClass.TOTAL_INCREASING,
        value_fn=lambda coordinator: coordinator.statistics.failures,
    ),
    DeviceSensorDescription(
        key="requests_waiting",
        translation_key="requests_waiting",
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda coordinator: coordinator.connections[Role.VISION].queue.waiting,
    ),
    DeviceSensorDescription(
        key="processing_time",
        translation_key="processing_time",
        entity_category=EntityCategory.DIAGNOSTIC,
        device_class=SensorDeviceClass.DURATION,
        native_unit_of_measurement=UnitOfTime.SECONDS,
        suggested_display_precision=1,
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda coordinator: coordinator.statistics.processing_time,
    ),
    DeviceSensorDescription(
        key="waiting_time",
        translation_key="waiting_time",
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        device_class=SensorDeviceClass.DURATION,
        native_unit_of_measurement=UnitOfTime.SECONDS,
        suggested_display_precision=1,
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda coordinator: coordinator.statistics.waiting_time,
    ),
    DeviceSensorDescription(
        key="words_per_second",
        translation_key="words_per_second",
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        suggested_display_precision=1,
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda coordinator: coordinator.statistics.words_per_second,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: OllamaVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the device's sensors and one for each image name."""
    coordinator = entry.runtime_data
    async_add_entities(
        DeviceSensor(coordinator, description) for description in SENSORS if description.role in coordinator.connections
    )
    known = async_setup_named_entities(hass, entry, Platform.SENSOR, async_add_entities, DescriptionSensor)
    async_add_entities(known())


class DeviceSensor(DeviceEntity, SensorEntity):
    """How the device does."""

    entity_description: DeviceSensorDescription

    def __init__(self, coordinator: OllamaVisionCoordinator, description: DeviceSensorDescription) -> None:
        """Follow the coordinator, and the queue, which more than this device moves."""
        super().__init__(coordinator, description.key)
        self.entity_description = description

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        if self.entity_description.key == "requests_waiting":
            queue = self.coordinator.connections[Role.VISION].queue
            self.async_on_remove(queue.add_listener(self._async_on_queue))

    @callback
    def _async_on_queue(self) -> None:
        self.async_write_ha_state()

    @property
    @override
    def native_value(self) -> StateType:
        return self.entity_description.value_fn(self.coordinator)


class DescriptionSensor(NamedPictureEntity, SensorEntity):
    """What was last seen under one image name."""

    _attr_translation_key = "description"
    # It says the same as `description`, for automations of the 1.0 series.
    _unrecorded_attributes = frozenset({"full_description"})

    @override
    def show(self, result: AnalysisResult) -> None:
        super().show(result)
        self._attr_native_value = shortened(result.final_description, MAX_LENGTH_STATE_STATE)
        attributes: dict[str, Any] = result.as_attributes()
        self._attr_extra_state_attributes = attributes | {"full_description": result.description}
