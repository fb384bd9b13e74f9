"""Forgetting an image name: what was stored, its entities and their registry entries go together."""

from datetime import datetime, timedelta
import logging
from typing import Final

from homeassistant.const import Platform
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.event import async_track_time_interval
from homeassistant.util import dt as dt_util

from .const import DOMAIN
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator

_LOGGER = logging.getLogger(__name__)

PRUNE_INTERVAL: Final = timedelta(hours=1)
_PLATFORMS: Final = (Platform.SENSOR, Platform.IMAGE)


async def async_forget(hass: HomeAssistant, coordinator: OllamaVisionCoordinator, slug: str) -> None:
    """Forget a name; raise OSError where its files cannot be removed, and then nothing is forgotten."""
    await coordinator.history.async_forget(slug)
    registry = er.async_get(hass)
    for platform in _PLATFORMS:
        unique_id = f"{coordinator.config_entry.entry_id}_{slug}"
        if entity_id := registry.async_get_entity_id(platform, DOMAIN, unique_id):
            registry.async_remove(entity_id)


def known_slugs(hass: HomeAssistant, coordinator: OllamaVisionCoordinator) -> set[str]:
    """Return the slugs of all names that something is known of: a result or a registry entry."""
    prefix = f"{coordinator.config_entry.entry_id}_"
    registered = er.async_entries_for_config_entry(er.async_get(hass), coordinator.config_entry.entry_id)
    return set(coordinator.history.latest) | {
        entity.unique_id.removeprefix(prefix) for entity in registered if entity.unique_id.startswith(prefix)
    }


async def async_setup_forgetting(hass: HomeAssistant, entry: OllamaVisionConfigEntry) -> None:
    """Finish what a crash interrupted, keep to the limits, and follow the entity registry while the entry is loaded."""
    coordinator = entry.runtime_data
    for slug in known_slugs(hass, coordinator):
        if coordinator.history.is_forgotten(slug):
            await _forget_or_log(hass, coordinator, slug)

    async def prune(now: datetime) -> None:
        for slug in await coordinator.history.async_prune(now):
            await _forget_or_log(hass, coordinator, slug)

    @callback
    def on_removed(event: Event[er.EventEntityRegistryUpdatedData]) -> None:
        if event.data["action"] == "remove" and (slug := _removed_slug(hass, entry, event.data["entity_id"])):
            hass.async_create_task(_forget_or_log(hass, coordinator, slug))

    await prune(dt_util.utcnow())
    entry.async_on_unload(async_track_time_interval(hass, prune, PRUNE_INTERVAL, cancel_on_shutdown=True))
    entry.async_on_unload(hass.bus.async_listen(er.EVENT_ENTITY_REGISTRY_UPDATED, on_removed))


def _removed_slug(hass: HomeAssistant, entry: OllamaVisionConfigEntry, entity_id: str) -> str | None:
    """Return the slug of the name that a removed entity showed, unless it is forgotten already."""
    prefix = f"{entry.entry_id}_"
    for (_, _, unique_id), deleted in er.async_get(hass).deleted_entities.items():
        # Several may have had this entity id one after the other, also of an earlier entry.
        if deleted.entity_id == entity_id and unique_id.startswith(prefix):
            slug = unique_id.removeprefix(prefix)
            if slug in entry.runtime_data.history.latest:
                return slug
    return None


async def _forget_or_log(hass: HomeAssistant, coordinator: OllamaVisionCoordinator, slug: str) -> None:
    try:
        await async_forget(hass, coordinator, slug)
    except OSError as err:
        _LOGGER.warning("What %s has seen as %s could not be forgotten: %s", coordinator.name, slug, err)
