"""The media browser's way to what was seen: by device, then by day or by name.

Identifiers are `<entry id>`, followed by `/day[/<date>]`, `/name[/<slug>]` or `/picture/<result id>`.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, override

from homeassistant.components.media_player import BrowseError, MediaClass
from homeassistant.components.media_source import (
    BrowseMediaSource,
    MediaSource,
    MediaSourceItem,
    PlayMedia,
    Unresolvable,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers.translation import async_get_translations
from homeassistant.util import dt as dt_util

from . import fallback
from .const import DEFAULT_NAME, DOMAIN
from .coordinator import OllamaVisionConfigEntry
from .history import History
from .result import PICTURE_PATH, AnalysisResult, shortened

LONGEST_TITLE: Final = 120


async def async_get_media_source(hass: HomeAssistant) -> MediaSource:
    """Return the media source of all devices."""
    return OllamaVisionMediaSource(hass)


class OllamaVisionMediaSource(MediaSource):
    """Shows the pictures that are kept, each with what was seen on it."""

    name = DEFAULT_NAME

    def __init__(self, hass: HomeAssistant) -> None:
        """Serve all devices that are loaded."""
        super().__init__(DOMAIN)
        self.hass = hass

    @override
    async def async_resolve_media(self, item: MediaSourceItem) -> PlayMedia:
        match item.identifier.split("/"):
            case [fallback.LENT, key] if file := fallback.lent_picture(self.hass, key):
                path, mime_type = file
                return PlayMedia("", mime_type, path=path)  # for who reads files, and so without an address
            case [entry_id, "picture", result_id] if entry := self._entry(entry_id):
                if file := entry.runtime_data.history.picture_file(result_id):
                    path, mime_type = file
                    return PlayMedia(f"{PICTURE_PATH}/{entry_id}/{result_id}", mime_type, path=path)
        raise Unresolvable(**_not_found(item))

    @override
    async def async_browse_media(self, item: MediaSourceItem) -> BrowseMediaSource:
        if not item.identifier:
            return _folder("", DEFAULT_NAME, (_folder(entry.entry_id, entry.title) for entry in self._entries()))
        entry_id, *way = item.identifier.split("/")
        if (entry := self._entry(entry_id)) and (folder := await self._browse(entry, way)):
            return folder
        raise BrowseError(**_not_found(item))

    async def _browse(self, entry: OllamaVisionConfigEntry, way: list[str]) -> BrowseMediaSource | None:
        """Return the folder at the end of the way from a device; None where there is none."""
        history, identifier = entry.runtime_data.history, "/".join((entry.entry_id, *way))
        match way:
            case []:
                kinds = [_folder(f"{identifier}/{kind}", await self._title(kind)) for kind in ("day", "name")]
                return _folder(identifier, entry.title, kinds)
            case ["day"]:
                days = [_folder(f"{identifier}/{day}", str(day)) for day in await history.async_days()]
                return _folder(identifier, await self._title("day"), days)
            case ["day", text] if (day := dt_util.parse_date(text)) and day in await history.async_days():
                start, end = (dt_util.start_of_local_day(day + timedelta(days=days)) for days in (0, 1))
                results = await history.async_results(since=start, until=end)
                pictures = (_picture(history, each, f"{_time(each):%H:%M}", each.image_name) for each in results)
                return _folder(identifier, text, pictures)
            case ["name"]:
                latest = sorted(history.latest.values(), key=lambda result: result.image_name.casefold())
                names = (_name_folder(history, result) for result in latest)
                return _folder(identifier, await self._title("name"), names)
            case ["name", slug] if slug in history.latest:
                name = history.latest[slug].image_name
                results = await history.async_results(image_name=name)
                pictures = (_picture(history, each, f"{_time(each):%Y-%m-%d %H:%M}") for each in results)
                return _folder(identifier, name, pictures)
        return None

    async def _title(self, kind: str) -> str:
        titles = await async_get_translations(self.hass, self.hass.config.language, "common", [DOMAIN])
        return titles[f"component.{DOMAIN}.common.media_by_{kind}"]

    def _entries(self) -> list[OllamaVisionConfigEntry]:
        return self.hass.config_entries.async_loaded_entries(DOMAIN)

    def _entry(self, entry_id: str) -> OllamaVisionConfigEntry | None:
        return next((entry for entry in self._entries() if entry.entry_id == entry_id), None)


def _not_found(item: MediaSourceItem) -> dict[str, Any]:
    return {
        "translation_domain": DOMAIN,
        "translation_key": "media_not_found",
        "translation_placeholders": {"media": item.identifier},
    }


def _folder(
    identifier: str, title: str, children: Iterable[BrowseMediaSource] | None = None, *, thumbnail: str | None = None
) -> BrowseMediaSource:
    """Return a folder, with children when it is the one that is shown."""
    return BrowseMediaSource(
        domain=DOMAIN,
        identifier=identifier,
        media_class=MediaClass.DIRECTORY,
        media_content_type=MediaClass.IMAGE,
        title=title,
        can_play=False,
        can_expand=True,
        thumbnail=thumbnail,
        children=None if children is None else list(children),
    )


def _name_folder(history: History, result: AnalysisResult) -> BrowseMediaSource:
    """Return the folder of a name, which shows its latest picture."""
    identifier = f"{result.integration_id}/name/{result.slug}"
    return _folder(identifier, result.image_name, thumbnail=_thumbnail(history, result))


def _picture(history: History, result: AnalysisResult, *heading: str) -> BrowseMediaSource:
    """Return a result's picture, titled with what was seen; without a picture the title is all there is."""
    file = history.picture_file(result.result_id)
    words = " ".join(result.final_description.split())
    return BrowseMediaSource(
        domain=DOMAIN,
        identifier=f"{result.integration_id}/picture/{result.result_id}",
        media_class=MediaClass.IMAGE,
        media_content_type=file[1] if file else "image/jpeg",
        title=shortened(f"{' '.join(heading)}: {words}", LONGEST_TITLE),
        can_play=file is not None,
        can_expand=False,
        thumbnail=_thumbnail(history, result),
    )


def _thumbnail(history: History, result: AnalysisResult) -> str | None:
    return result.picture if history.picture_file(result.result_id) else None


def _time(result: AnalysisResult) -> datetime:
    return dt_util.as_local(datetime.fromisoformat(result.timestamp))
