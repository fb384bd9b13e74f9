"""Image entities: the picture that was last looked at under each image name."""

import asyncio
from datetime import datetime
from itertools import batched
from typing import Final, override

from homeassistant.components.image import DEFAULT_CONTENT_TYPE, ImageEntity
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.start import async_at_started
from homeassistant.util import dt as dt_util

from .const import DOMAIN
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator
from .entity import NamedPictureEntity, async_setup_named_entities
from .result import AnalysisResult

PARALLEL_UPDATES = 0

# So many are added before the event loop has its turn again.
A_FEW: Final = 50


async def async_setup_entry(
    hass: HomeAssistant,
    entry: OllamaVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add an image for each image name; thousands of earlier ones wait until Home Assistant has started."""
    known = async_setup_named_entities(hass, entry, Platform.IMAGE, async_add_entities, AnalyzedImage)

    async def add_known() -> None:
        for some in batched(known(), A_FEW, strict=False):
            async_add_entities(some)
            await asyncio.sleep(0)

    @callback
    def on_started(_: HomeAssistant) -> None:
        entry.async_create_background_task(hass, add_known(), f"{DOMAIN} images")

    entry.async_on_unload(async_at_started(hass, on_started))


class AnalyzedImage(NamedPictureEntity, ImageEntity):
    """The picture that was last looked at under one image name."""

    def __init__(self, coordinator: OllamaVisionCoordinator, slug: str, name: str) -> None:
        """Show nothing until a result is there."""
        NamedPictureEntity.__init__(self, coordinator, slug, name)
        ImageEntity.__init__(self, coordinator.hass)
        self._result_id = ""

    @override
    def show(self, result: AnalysisResult) -> None:
        super().show(result)
        self._result_id = result.result_id
        _, mime_type = self.coordinator.history.picture_file(result.result_id) or (None, DEFAULT_CONTENT_TYPE)
        self._attr_content_type = mime_type
        self._attr_image_last_updated = dt_util.as_utc(datetime.fromisoformat(result.timestamp))
        super().async_update_token()

    @override
    @callback
    def async_update_token(self) -> None:
        """Leave the token alone when the clock asks for another: each new one is a row in the database."""
        if not self.access_tokens:
            super().async_update_token()

    @override
    async def async_image(self) -> bytes | None:
        picture = await self.coordinator.history.async_picture(self._result_id)
        return picture[0] if picture else None
