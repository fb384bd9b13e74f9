"""Which models the device uses; choosing another one takes effect at once."""

from typing import override

from homeassistant.components.select import SelectEntity
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import Role
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator
from .entity import DeviceEntity
from .model_server.names import same_model

PARALLEL_UPDATES = 0


async def async_setup_entry(
    _: HomeAssistant,
    entry: OllamaVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a select for each of the device's models."""
    coordinator = entry.runtime_data
    async_add_entities(ModelSelect(coordinator, role) for role in coordinator.connections)


class ModelSelect(DeviceEntity, SelectEntity):
    """The model of one role, among those that its server has and that can do its work."""

    _attr_entity_category = EntityCategory.CONFIG

    def __init__(self, coordinator: OllamaVisionCoordinator, role: Role) -> None:
        """Choose the model of one role."""
        super().__init__(coordinator, f"{role}_model")
        self._role = role
        self._attr_translation_key = f"{role}_model"

    @property
    @override
    def options(self) -> list[str]:
        """Return the server's models, and the one in use also where the server does not have it."""
        used = self.coordinator.model(self._role)
        models = [
            model.name
            for model in self.coordinator.data[self._role].models
            if not same_model(model.name, used) and (self._role is Role.TEXT or model.vision is not False)
        ]
        return sorted([used, *models], key=str.casefold)

    @property
    @override
    def current_option(self) -> str:
        return self.coordinator.model(self._role)

    @override
    async def async_select_option(self, option: str) -> None:
        self.coordinator.async_choose_model(self._role, option)
