"""Buttons that have an Ollama server load or unload the device's models."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast, override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import Role
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator
from .entity import DeviceEntity
from .faults import from_server_error
from .model_server.errors import ModelServerError
from .model_server.models import Api, ModelManager

PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class ModelButtonDescription(ButtonEntityDescription):
    """A button for the model of one role."""

    role: Role
    press_fn: Callable[[ModelManager, OllamaVisionCoordinator, Role], Awaitable[None]]


def _load(server: ModelManager, coordinator: OllamaVisionCoordinator, role: Role) -> Awaitable[None]:
    return coordinator.async_load(role, server, coordinator.model(role))


def _unload(server: ModelManager, coordinator: OllamaVisionCoordinator, role: Role) -> Awaitable[None]:
    return server.unload(coordinator.model(role))


BUTTONS = tuple(
    ModelButtonDescription(
        key=f"{verb}_{role}_model",
        translation_key=f"{verb}_{role}_model",
        entity_category=EntityCategory.CONFIG,
        role=role,
        press_fn=press,
    )
    for role in Role
    for verb, press in (("load", _load), ("unload", _unload))
)


async def async_setup_entry(
    _: HomeAssistant,
    entry: OllamaVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the buttons for the models of Ollama servers; others load by themselves."""
    coordinator = entry.runtime_data
    async_add_entities(
        ModelButton(coordinator, description)
        for description in BUTTONS
        if (connection := coordinator.connections.get(description.role)) and connection.server.api is Api.OLLAMA
    )


class ModelButton(DeviceEntity, ButtonEntity):
    """Loads or unloads one of the device's models."""

    entity_description: ModelButtonDescription

    def __init__(self, coordinator: OllamaVisionCoordinator, description: ModelButtonDescription) -> None:
        """Name the button by what it does."""
        super().__init__(coordinator, description.key)
        self.entity_description = description

    @override
    async def async_press(self) -> None:
        coordinator, role = self.coordinator, self.entity_description.role
        server = cast("ModelManager", coordinator.connections[role].server)
        try:
            await self.entity_description.press_fn(server, coordinator, role)
        except ModelServerError as err:
            coordinator.async_report_error(role, err)
            raise from_server_error(
                err, device=coordinator.name, server=str(server.url), model=coordinator.model(role), models="–"
            ) from err
        await coordinator.async_refresh()
