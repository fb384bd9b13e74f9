"""What the device's entities have in common."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import override

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.entity import Entity
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .const import DOMAIN, Role
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator
from .model_server.models import Api
from .result import AnalysisResult, Publication, result_signal

MANUFACTURER = "Ollama Vision"


def device_info(coordinator: OllamaVisionCoordinator) -> DeviceInfo:
    """Return the device of an entry."""
    return DeviceInfo(
        identifiers={(DOMAIN, coordinator.config_entry.entry_id)},
        name=coordinator.config_entry.title,
        manufacturer=MANUFACTURER,
        entry_type=DeviceEntryType.SERVICE,
    )


class DeviceEntity(CoordinatorEntity[OllamaVisionCoordinator]):
    """One entity about the device itself; it says what is last known, so it stays when a server is away."""

    _attr_has_entity_name = True

    def __init__(self, coordinator: OllamaVisionCoordinator, key: str) -> None:
        """Name the entity by its key."""
        super().__init__(coordinator)
        self._attr_unique_id = f"{DOMAIN}_{coordinator.config_entry.entry_id}_{key}"
        self._attr_device_info = device_info(coordinator)


@callback
def async_remove_unoffered(hass: HomeAssistant, coordinator: OllamaVisionCoordinator) -> None:
    """Remove the entities of a model that is switched off, and buttons that its server has no use for."""
    registry, entry_id = er.async_get(hass), coordinator.config_entry.entry_id
    prefix = f"{DOMAIN}_{entry_id}_"
    for entity in er.async_entries_for_config_entry(registry, entry_id):
        words = entity.unique_id.removeprefix(prefix).split("_") if entity.unique_id.startswith(prefix) else []
        for role in Role:
            connection = coordinator.connections.get(role)
            offered = connection and (entity.domain != Platform.BUTTON or connection.server.api is Api.OLLAMA)
            if role in words and not offered:
                registry.async_remove(entity.entity_id)


class NamedPictureEntity(Entity):
    """One entity about what was seen under one image name."""

    _attr_has_entity_name = True
    _attr_should_poll = False

    def __init__(self, coordinator: OllamaVisionCoordinator, slug: str, name: str) -> None:
        """Show nothing until a result is there."""
        self.coordinator = coordinator
        self.on_gone: Callable[[], None] | None = None
        self._shown: asyncio.Future[None] | None = None
        self._attr_name = name
        self._attr_unique_id = f"{coordinator.config_entry.entry_id}_{slug}"
        self._attr_device_info = device_info(coordinator)

    def show(self, result: AnalysisResult) -> None:
        """Take over a result's values."""
        self._attr_name = result.image_name

    def until_shown(self) -> asyncio.Future[None]:
        """Return what is done as soon as the entity is there, or is known not to be wanted."""
        if self._shown is None:
            self._shown = self.coordinator.hass.loop.create_future()
        return self._shown

    @callback
    def async_take(self, publication: Publication) -> None:
        """Show a new result at once, or as soon as the entity is there."""
        self.show(publication.result)
        if self.hass:
            self.async_write_ha_state()
        else:
            publication.pending.append(self.until_shown())

    @override
    async def add_to_platform_finish(self) -> None:
        await super().add_to_platform_finish()
        self._set_shown()

    @override
    @callback
    def add_to_platform_abort(self) -> None:
        super().add_to_platform_abort()
        self._set_shown()

    @override
    async def async_removed_from_registry(self) -> None:
        """Have the next result make a new entity; one that is only renamed is added again as it is."""
        if self.on_gone:
            self.on_gone()

    def _set_shown(self) -> None:
        if self._shown and not self._shown.done():
            self._shown.set_result(None)


@callback
def async_setup_named_entities(
    hass: HomeAssistant,
    entry: OllamaVisionConfigEntry,
    domain: str,
    async_add_entities: AddConfigEntryEntitiesCallback,
    make: Callable[[OllamaVisionCoordinator, str, str], NamedPictureEntity],
) -> Callable[[], Iterator[NamedPictureEntity]]:
    """Add an entity for each further image name on its first use; return what makes those of names used before."""
    coordinator = entry.runtime_data
    present: dict[str, NamedPictureEntity] = {}

    def build(slug: str, name: str) -> NamedPictureEntity:
        entity = present[slug] = make(coordinator, slug, name)
        entity.on_gone = partial(_discard, present, slug)
        if result := coordinator.history.latest.get(slug):
            entity.show(result)
        return entity

    @callback
    def hand_on(publication: Publication) -> None:
        # One listener for all: a house may have thousands of names.
        slug = publication.result.slug
        entity = present.get(slug)
        # Home Assistant has removed one that is disabled, and does not say when the user deletes it for good.
        if entity and not (entity.registry_entry and entity.registry_entry.disabled):
            entity.async_take(publication)
            return
        entity = build(slug, publication.result.image_name)
        publication.pending.append(entity.until_shown())
        async_add_entities([entity])

    def known() -> Iterator[NamedPictureEntity]:
        names = _registered_names(hass, entry, domain)
        names |= {slug: result.image_name for slug, result in coordinator.history.latest.items()}
        for slug, name in names.items():
            if slug not in present:
                yield build(slug, name)

    entry.async_on_unload(async_dispatcher_connect(hass, result_signal(entry.entry_id), hand_on))
    return known


def _discard(present: dict[str, NamedPictureEntity], slug: str) -> None:
    present.pop(slug, None)


def _registered_names(hass: HomeAssistant, entry: OllamaVisionConfigEntry, domain: str) -> dict[str, str]:
    """Return the image names that the registry knows by their slugs: also those of which nothing is stored."""
    prefix = f"{entry.entry_id}_"
    return {
        entity.unique_id.removeprefix(prefix): entity.original_name or entity.unique_id.removeprefix(prefix)
        for entity in er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
        if entity.domain == domain and entity.unique_id.startswith(prefix)
    }
