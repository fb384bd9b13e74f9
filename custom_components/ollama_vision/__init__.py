"""Ollama Vision: what a vision model at home sees in a picture."""

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.typing import ConfigType

from .const import DOMAIN
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator
from .entity import async_remove_unoffered
from .forgetting import async_setup_forgetting
from .history import History
from .migration import from_version_1
from .picture_view import PictureView
from .repairs import async_watch_models
from .services import async_setup_services

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)

PLATFORMS = [Platform.BINARY_SENSOR, Platform.BUTTON, Platform.EVENT, Platform.IMAGE, Platform.SELECT, Platform.SENSOR]


async def async_setup(hass: HomeAssistant, _: ConfigType) -> bool:
    """Register the actions, which tell by themselves where no device is loaded, and the pictures' address."""
    async_setup_services(hass)
    hass.http.register_view(PictureView())
    return True


async def async_setup_entry(hass: HomeAssistant, entry: OllamaVisionConfigEntry) -> bool:
    """Load a device, whether or not its servers are there."""
    coordinator = await OllamaVisionCoordinator.async_create(hass, entry)
    await coordinator.history.async_load()
    await coordinator.async_refresh()
    entry.runtime_data = coordinator
    async_remove_unoffered(hass, coordinator)
    await async_setup_forgetting(hass, entry)
    coordinator.platforms = PLATFORMS
    if "conversation" in hass.config.components:
        # What AI tasks need would be set up with the platform, and with it all voice commands, which nobody asked for.
        coordinator.platforms = [*PLATFORMS, Platform.AI_TASK]
    await hass.config_entries.async_forward_entry_setups(entry, coordinator.platforms)
    async_watch_models(hass, entry)
    return True


async def async_migrate_entry(hass: HomeAssistant, entry: OllamaVisionConfigEntry) -> bool:
    """Bring an entry of the 1.0 series to today's form; what its entities are called stays."""
    if entry.version == 1:
        data = from_version_1(entry.data, entry.options)
        hass.config_entries.async_update_entry(entry, data=data, options={}, version=2)
    return True


async def async_unload_entry(hass: HomeAssistant, entry: OllamaVisionConfigEntry) -> bool:
    """Unload a device; its requests end by themselves."""
    return await hass.config_entries.async_unload_platforms(entry, entry.runtime_data.platforms)


async def async_remove_entry(hass: HomeAssistant, entry: OllamaVisionConfigEntry) -> None:
    """Remove what was stored for a device."""
    await History.async_remove_entry(hass, entry.entry_id)
