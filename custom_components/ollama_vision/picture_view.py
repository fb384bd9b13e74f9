"""Serves each result's own picture, so that a notification shows the right one for as long as it is kept."""

from aiohttp import hdrs, web
from homeassistant.auth.models import User
from homeassistant.auth.permissions.const import POLICY_READ
from homeassistant.components.http import KEY_AUTHENTICATED, KEY_HASS, KEY_HASS_USER, HomeAssistantView
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er

from .const import DOMAIN
from .coordinator import OllamaVisionConfigEntry
from .result import PICTURE_PATH

# A picture never changes, but it can be forgotten: a day is enough for a phone that shows it again.
CACHE_CONTROL = "private, max-age=86400, immutable"


class PictureView(HomeAssistantView):
    """Serves a picture to a logged-in user or a signed link."""

    url = f"{PICTURE_PATH}/{{entry_id}}/{{result_id}}"
    name = "api:ollama_vision:picture"
    # Checked below: Home Assistant's own check would count a link that has expired as a failed login.
    requires_auth = False

    async def get(self, request: web.Request, entry_id: str, result_id: str) -> web.Response:
        """Answer with the picture, 403 without permission, 404 where it is not kept."""
        if not request[KEY_AUTHENTICATED]:
            raise web.HTTPUnauthorized if hdrs.AUTHORIZATION in request.headers else web.HTTPForbidden
        hass = request.app[KEY_HASS]
        entries: list[OllamaVisionConfigEntry] = hass.config_entries.async_loaded_entries(DOMAIN)
        history = next((entry.runtime_data.history for entry in entries if entry.entry_id == entry_id), None)
        if history is None or (slug := history.slug(result_id)) is None:
            raise web.HTTPNotFound
        if not _may_see(hass, request[KEY_HASS_USER], f"{entry_id}_{slug}"):
            raise web.HTTPForbidden
        if (picture := await history.async_picture(result_id)) is None:
            raise web.HTTPNotFound
        content, mime_type = picture
        return web.Response(body=content, content_type=mime_type, headers={hdrs.CACHE_CONTROL: CACHE_CONTROL})


def _may_see(hass: HomeAssistant, user: User, unique_id: str) -> bool:
    """Return whether a user may read an entity that shows the picture's name, or all where there is none."""
    registry = er.async_get(hass)
    entity_ids = [
        registry.async_get_entity_id(domain, DOMAIN, unique_id) for domain in (Platform.IMAGE, Platform.SENSOR)
    ]
    shown = [entity_id for entity_id in entity_ids if entity_id]
    if not shown:
        return user.permissions.access_all_entities(POLICY_READ)
    return any(user.permissions.check_entity(entity_id, POLICY_READ) for entity_id in shown)
