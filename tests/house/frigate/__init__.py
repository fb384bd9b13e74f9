"""Serves the pictures of Frigate's events at the path where Frigate's own integration does; see tests/house."""

from aiohttp import web
from homeassistant.components.http import HomeAssistantView
from homeassistant.core import HomeAssistant
from homeassistant.helpers.typing import ConfigType


async def async_setup(hass: HomeAssistant, _: ConfigType) -> bool:
    """Serve `front-door.jpg` of the configuration's folder for every event."""
    hass.http.register_view(ThumbnailView(hass.config.path("front-door.jpg")))
    return True


class ThumbnailView(HomeAssistantView):
    """Answers 404 to the first request for an event, as Frigate does while its picture is not written yet."""

    name = "api:frigate:notifications"
    url = "/api/frigate/notifications/{event_id}/thumbnail.jpg"
    requires_auth = False

    def __init__(self, picture: str) -> None:
        """Know of no event."""
        self._picture = picture
        self._asked: set[str] = set()

    async def get(self, _: web.Request, event_id: str) -> web.FileResponse:
        """Return the picture."""
        if event_id not in self._asked:
            self._asked.add(event_id)
            raise web.HTTPNotFound
        return web.FileResponse(self._picture)
