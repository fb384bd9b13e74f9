"""Whether the device's model servers can be reached."""

from typing import override

from homeassistant.components.binary_sensor import BinarySensorDeviceClass, BinarySensorEntity
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import Role
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator
from .entity import DeviceEntity

PARALLEL_UPDATES = 0


async def async_setup_entry(
    _: HomeAssistant,
    entry: OllamaVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a sensor for each of the device's servers."""
    coordinator = entry.runtime_data
    async_add_entities(ReachableSensor(coordinator, role) for role in coordinator.connections)


class ReachableSensor(DeviceEntity, BinarySensorEntity):
    """Whether one of the model servers can be reached."""

    _attr_device_class = BinarySensorDeviceClass.CONNECTIVITY
    _attr_entity_category = EntityCategory.DIAGNOSTIC

    def __init__(self, coordinator: OllamaVisionCoordinator, role: Role) -> None:
        """Speak of the server of one role."""
        super().__init__(coordinator, f"{role}_reachable")
        self._role = role
        self._attr_translation_key = f"{role}_reachable"

    @property
    @override
    def is_on(self) -> bool:
        return self.coordinator.data[self._role].reachable
