"""What a maintainer needs in a report of a fault, and nothing that is nobody else's business."""

from dataclasses import asdict
from typing import Any, Final

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.core import HomeAssistant

from .const import (
    CONF_TEXT_API_KEY,
    CONF_TEXT_HOST,
    CONF_VISION_API_KEY,
    CONF_VISION_HOST,
    Role,
)
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator

# Hosts may hold a user name and a password; the address below is shown without them.
_SECRETS: Final = {CONF_VISION_API_KEY, CONF_TEXT_API_KEY, CONF_VISION_HOST, CONF_TEXT_HOST}


async def async_get_config_entry_diagnostics(_: HomeAssistant, entry: OllamaVisionConfigEntry) -> dict[str, Any]:
    """Return settings, health and numbers; no key, credential, prompt, answer or picture."""
    coordinator = entry.runtime_data
    return {
        "data": async_redact_data(dict(entry.data), _SECRETS),
        "options": dict(entry.options),
        "servers": {role: _server(coordinator, role) for role in coordinator.connections},
        "statistics": asdict(coordinator.statistics),
        "image_names": len(coordinator.history.latest),
    }


def _server(coordinator: OllamaVisionCoordinator, role: Role) -> dict[str, Any]:
    connection = coordinator.connections[role]
    return {
        "url": str(connection.server.url),
        "api": connection.server.api,
        "requests_waiting": connection.queue.waiting,
        **asdict(coordinator.data[role]),
    }
