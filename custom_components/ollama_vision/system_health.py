"""How the integration is, on Home Assistant's page of system information."""

from typing import Any

from homeassistant.components.system_health import SystemHealthRegistration
from homeassistant.core import HomeAssistant, callback

from .const import DOMAIN
from .coordinator import OllamaVisionConfigEntry


@callback
def async_register(_: HomeAssistant, register: SystemHealthRegistration) -> None:
    """Offer the information."""
    register.async_register_info(_async_info)


async def _async_info(hass: HomeAssistant) -> dict[str, Any]:
    entries: list[OllamaVisionConfigEntry] = hass.config_entries.async_loaded_entries(DOMAIN)
    devices = [entry.runtime_data for entry in entries]
    servers = {
        str(connection.server.url): (device.data[role].reachable, connection.queue)
        for device in devices
        for role, connection in device.connections.items()
    }
    return {
        "devices": len(devices),
        "servers_reachable": f"{sum(reachable for reachable, _ in servers.values())} / {len(servers)}",
        "requests_waiting": sum(queue.waiting for _, queue in servers.values()),
        "analyses": sum(device.statistics.analyses for device in devices),
        "failures": sum(device.statistics.failures for device in devices),
    }
