"""What automations need in a test: pictures of a house, a phone that hears, and what Frigate tells."""

from collections.abc import AsyncIterator
import json
from pathlib import Path
import socket
from typing import Any
from unittest.mock import Mock

from aiohttp import web
from homeassistant.components import camera
from homeassistant.components.http import HomeAssistantView
from homeassistant.components.http.server import HomeAssistantHTTP
from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.exceptions import HomeAssistantError
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import async_mock_service

from .common import picture

BLUEPRINTS = Path(__file__).parents[1] / "blueprints/automation/ollama_vision"
PHONE = "notify.mobile_app_phone"

# The test plugin replaces both while a test runs; here the real ones are wanted.
_BIND, _START = HomeAssistantHTTP.async_bind, HomeAssistantHTTP.start


class PictureCamera(camera.Camera):
    """A camera that shows one colour."""

    def __init__(self, entity_id: str, colour: str) -> None:
        super().__init__()
        self.entity_id = entity_id
        self.colour = colour

    async def async_camera_image(self, width: int | None = None, height: int | None = None) -> bytes | None:
        """Return the picture."""
        return picture(self.colour)


async def add_camera(hass: HomeAssistant, entity_id: str = "camera.porch", colour: str = "red") -> PictureCamera:
    """Add a camera."""
    assert await async_setup_component(hass, "camera", {})
    added = PictureCamera(entity_id, colour)
    await hass.data[camera.const.DATA_COMPONENT].async_add_entities([added])
    return added


class FrigateView(HomeAssistantView):
    """Serve what Frigate's integration serves, at its path; a visitor's picture is green and a client's blue."""

    name = "api:frigate"
    url = "/api/frigate/notifications/{event}/{kind}.jpg"
    extra_urls = ["/api/frigate/{client}/notifications/{event}/{kind}.jpg"]
    requires_auth = False

    async def get(self, request: web.Request, event: str, kind: str, client: str = "") -> web.Response:
        """Return the picture of an event."""
        return web.Response(body=picture("blue" if client else "lime"))


async def start_frigate(hass: HomeAssistant) -> None:
    """Start Home Assistant's own web server, with Frigate's pictures on it; it stops with Home Assistant."""
    assert await async_setup_component(hass, "http", {})
    with socket.create_server(("127.0.0.1", 0)) as free:
        hass.http.server_port = free.getsockname()[1]
    hass.http.server_host = ["127.0.0.1"]
    hass.http.register_view(FrigateView())
    await _BIND(hass.http)
    await _START(hass.http)


def frigate_event(kind: str = "new", *, event_id: str = "1607123955.475377-mxklsc", **after: Any) -> str:
    """Return a message of the topic `frigate/events`, with the fields that Frigate documents."""
    seen = {
        "id": event_id,
        "camera": "front_door",
        "frame_time": 1607123961.837752,
        "snapshot_time": 1607123961.837752,
        "label": "person",
        "top_score": 0.958984375,
        "false_positive": False,
        "start_time": 1607123955.475377,
        "end_time": None,
        "score": 0.87890625,
        "box": [424, 500, 536, 712],
        "area": 23744,
        "region": [264, 450, 667, 853],
        "current_zones": ["driveway"],
        "entered_zones": ["yard", "driveway"],
        "thumbnail": None,
        "has_snapshot": True,
        "has_clip": False,
        "stationary": False,
        "motionless_count": 0,
        "position_changes": 2,
    }
    before = seen | {"entered_zones": [], "current_zones": [], "top_score": 0.5}
    return json.dumps({"type": kind, "before": before, "after": seen | after})


@pytest.fixture
async def mqtt(hass: HomeAssistant, mqtt_client_mock: Any, mqtt_mock: Any) -> AsyncIterator[None]:
    """Connect Home Assistant's MQTT to a broker that only the test talks to."""
    yield
    # The real client says so when it is disconnected, and ends the timer of its connection.
    mqtt_client_mock.on_socket_close(mqtt_client_mock, None, Mock(**{"fileno.return_value": -1}))


def phone(hass: HomeAssistant, *, fails: bool = False) -> list[ServiceCall]:
    """Return the notifications that are sent to the phone, as they come; each may fail."""
    domain, action = PHONE.split(".")
    error = HomeAssistantError("The phone is gone") if fails else None
    notifications: list[ServiceCall] = async_mock_service(hass, domain, action, raise_exception=error)
    return notifications


def message(notification: ServiceCall) -> tuple[Any, Any]:
    """Return the two lines that a phone shows."""
    return notification.data["title"], notification.data["message"]


async def add_automation(hass: HomeAssistant, config: dict[str, Any]) -> str:
    """Set up an automation; return its entity id. It has to be one that Home Assistant takes."""
    assert await async_setup_component(hass, "automation", {"automation": [config]})
    await hass.async_block_till_done()
    (entity_id,) = hass.states.async_entity_ids("automation")
    state = hass.states.get(entity_id)
    assert state is not None
    assert state.state == "on", state
    return entity_id


async def turn_off(hass: HomeAssistant) -> None:
    """End the automations; one that waits for a time would leave its timer behind."""
    await hass.services.async_call("automation", "turn_off", {"entity_id": "all"}, blocking=True)


async def add_blueprint(hass: HomeAssistant, name: str, **inputs: Any) -> str:
    """Put a blueprint of ours where Home Assistant looks for it, and set up an automation of it."""
    folder = Path(hass.config.path("blueprints/automation/ollama_vision"))

    def copy() -> None:
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_bytes((BLUEPRINTS / f"{name}.yaml").read_bytes())

    await hass.async_add_executor_job(copy)
    return await add_automation(
        hass,
        {"id": "ours", "alias": "Ours", "use_blueprint": {"path": f"ollama_vision/{name}.yaml", "input": inputs}},
    )
