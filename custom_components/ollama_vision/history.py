"""What a device has seen: the only store of results and their pictures, its limits, and forgetting."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
import time
from types import MappingProxyType
from typing import Any, Final

from homeassistant.core import HomeAssistant
from homeassistant.helpers.storage import STORAGE_DIR
from homeassistant.util import dt as dt_util, slugify
from homeassistant.util.hass_dict import HassKey
from homeassistant.util.ulid import ulid_at_time

from .const import (
    DEFAULT_FORGET_AFTER_DAYS,
    DEFAULT_HISTORY_DAYS,
    DEFAULT_HISTORY_MEGABYTES,
    DEFAULT_HISTORY_RESULTS,
    DOMAIN,
)
from .result import AnalysisResult
from .result_files import ResultFiles, StoredResult, folder_name, read_result

# Home Assistant writes its entity registry ten seconds after a change. A name is remembered as forgotten for longer,
# so that a crash between the two does not bring its entities back.
FORGETTING: Final = timedelta(hours=1)
# How far the time in a result's id can be from its timestamp: before it by rounding, and after it where the clock was
# put back. A clock that was further ahead than that is not kept up with.
ID_PRECISION: Final = timedelta(seconds=1)
LONGEST_AHEAD: Final = timedelta(days=1)

_LOCKS: HassKey[defaultdict[str, asyncio.Lock]] = HassKey(f"{DOMAIN}_history_locks")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLimits:
    """What is kept beside the latest result of each name; `forget_after_days` is for these too, 0 is never."""

    days: int = DEFAULT_HISTORY_DAYS
    results: int = DEFAULT_HISTORY_RESULTS
    megabytes: int = DEFAULT_HISTORY_MEGABYTES
    forget_after_days: int = DEFAULT_FORGET_AFTER_DAYS


class History:
    """Holds the latest result of each name, and knows where all the others are.

    Every result is on disk when `async_add` returns. What cannot be stored or read costs that result only, and is
    logged.
    """

    def __init__(self, hass: HomeAssistant, entry_id: str, limits: HistoryLimits) -> None:
        """Know of nothing before `async_load`."""
        self._hass = hass
        self._limits = limits
        self._files = ResultFiles(_folder(hass, entry_id))
        # Shared with the history that a reload replaces, whose last result may still be on its way.
        self._lock = hass.data.setdefault(_LOCKS, defaultdict(asyncio.Lock))[entry_id]
        self._stored: dict[str, StoredResult] = {}
        self._latest: dict[str, AnalysisResult] = {}
        self._forgotten: dict[str, datetime] = {}
        self._last_id_time = 0

    @property
    def latest(self) -> Mapping[str, AnalysisResult]:
        """Return the latest result of each name by its slug."""
        return MappingProxyType(self._latest)

    def is_forgotten(self, slug: str) -> bool:
        """Return whether a name was forgotten of late: a registry entry of it is what a crash left behind."""
        return folder_name(slug) in self._forgotten

    def new_result_id(self) -> str:
        """Return an id that sorts after all those before, also after one of the same millisecond.

        It does, too, after those of a clock that has been put back since.
        """
        now = int(time.time() * 1000)
        is_ahead = timedelta() <= timedelta(milliseconds=self._last_id_time - now) < LONGEST_AHEAD
        self._last_id_time = self._last_id_time + 1 if is_ahead else now
        return ulid_at_time((self._last_id_time + 0.5) / 1000)

    async def async_load(self) -> None:
        """Read what is stored; once, before anything else."""
        async with self._lock:
            loaded = await self._hass.async_add_executor_job(self._files.load)
        self._stored, self._latest = loaded.stored, loaded.latest
        self._forgotten = dict.fromkeys(loaded.forgotten, dt_util.utcnow())
        if self._stored:
            self._last_id_time = round(self._stored[max(self._stored)].time.timestamp() * 1000)

    async def async_add(self, result: AnalysisResult, picture: bytes | None, mime_type: str | None) -> None:
        """Store a result with its prepared picture, a JPEG or PNG, as the latest of its name."""
        await self._undisturbed(self._add(result, picture, mime_type))

    async def _add(self, result: AnalysisResult, picture: bytes | None, mime_type: str | None) -> None:
        stored = await self._hass.async_add_executor_job(self._files.write, result, picture, mime_type)
        self._stored[result.result_id] = stored
        self._latest[result.slug] = result
        self._forgotten.pop(folder_name(result.slug), None)
        await self._keep_to_limits(dt_util.utcnow())

    async def async_forget(self, slug: str) -> None:
        """Forget all of a name, or raise OSError and have forgotten nothing. Its registry entries are the caller's."""
        await self._undisturbed(self._forget(slug))

    async def _forget(self, slug: str) -> None:
        await self._hass.async_add_executor_job(self._files.forget, slug)
        self._latest.pop(slug, None)
        self._stored = {key: stored for key, stored in self._stored.items() if stored.slug != slug}
        self._forgotten[folder_name(slug)] = dt_util.utcnow()

    async def async_prune(self, now: datetime) -> list[str]:
        """Keep to the limits; return the slugs that nobody has used for so long that they are to be forgotten."""
        await self._undisturbed(self._prune(now))
        if not self._limits.forget_after_days:
            return []
        unused = now - timedelta(days=self._limits.forget_after_days)
        return [slug for slug, result in self._latest.items() if self._stored[result.result_id].time < unused]

    async def _prune(self, now: datetime) -> None:
        await self._keep_to_limits(now)
        ended = [name for name, since in self._forgotten.items() if now - since >= FORGETTING]
        await self._hass.async_add_executor_job(self._files.end_forgetting, ended)
        for name in ended:
            del self._forgotten[name]

    async def _undisturbed(self, change: Coroutine[Any, Any, None]) -> None:
        """Make a change after those before it, and to its end even when nobody waits for it any more."""

        async def in_turn() -> None:
            async with self._lock:
                await change

        await asyncio.shield(self._hass.async_create_task(in_turn()))

    async def _keep_to_limits(self, now: datetime) -> None:
        results, pictures = await self._hass.async_add_executor_job(self._remove_excess, now)
        for stored in results:
            del self._stored[stored.result_id]
        for stored in pictures:
            stored.mime_type, stored.picture_bytes = None, 0

    def _remove_excess(self, now: datetime) -> tuple[list[StoredResult], list[StoredResult]]:
        """Remove results, and pictures alone, over the limits; all count, the latest of a name stays. Blocks."""
        latest = {result.result_id for result in self._latest.values()}
        # Ids sort by time; reading the time out of hundreds of them would take longer than all the rest.
        oldest = ulid_at_time((now - timedelta(days=self._limits.days)).timestamp())
        results: list[StoredResult] = []
        pictures: list[StoredResult] = []
        picture_bytes = 0
        for rank, result_id in enumerate(sorted(self._stored, reverse=True)):
            stored = self._stored[result_id]
            picture_bytes += stored.picture_bytes
            if result_id in latest:
                continue
            if rank >= self._limits.results or result_id < oldest:
                results.append(stored)
            elif stored.mime_type and picture_bytes > self._limits.megabytes * 1_000_000:
                pictures.append(stored)
        self._files.remove(results, pictures)
        return results, pictures

    async def async_results(
        self,
        *,
        image_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        limit: int | None = None,
    ) -> list[AnalysisResult]:
        """Return results, newest first: of a name, from `since` to before `until`, with `text` in name or words."""
        slug = slugify(image_name) if image_name else None
        wanted = text.casefold() if text else ""

        def is_wanted(result: AnalysisResult) -> bool:
            made = datetime.fromisoformat(result.timestamp)
            words = f"{result.image_name}\n{result.description}\n{result.final_description}"
            return (not since or made >= since) and (not until or made < until) and wanted in words.casefold()

        def can_be_wanted(stored: StoredResult) -> bool:
            return (
                (not slug or stored.slug == slug)
                and (not since or stored.time > since - ID_PRECISION)
                and (not until or stored.time < until + LONGEST_AHEAD)
            )

        def find(listed: list[StoredResult]) -> list[AnalysisResult]:
            listed.sort(key=lambda stored: stored.result_id, reverse=True)
            read = (self._read(stored) for stored in listed if can_be_wanted(stored))
            return list(islice((result for result in read if result and is_wanted(result)), limit))

        return await self._hass.async_add_executor_job(find, list(self._stored.values()))

    def _read(self, stored: StoredResult) -> AnalysisResult | None:
        """Return a result, from memory where it is the latest of its name. Blocks."""
        latest = self._latest.get(stored.slug)
        return latest if latest and latest.result_id == stored.result_id else read_result(stored)

    async def async_days(self) -> list[date]:
        """Return the local days of which there are results, newest first."""

        def days(listed: list[StoredResult]) -> list[date]:
            made = {dt_util.as_local(stored.time).date() for stored in listed if not stored.damaged}
            return sorted(made, reverse=True)

        return await self._hass.async_add_executor_job(days, list(self._stored.values()))

    def slug(self, result_id: str) -> str | None:
        """Return the slug of a result's name; None for an unknown id."""
        stored = self._stored.get(result_id)
        return stored.slug if stored else None

    def picture_file(self, result_id: str) -> tuple[Path, str] | None:
        """Return where a result's picture is and its MIME type; None where there is none."""
        stored = self._stored.get(result_id)
        if not stored or not stored.mime_type or not stored.picture_path:
            return None
        return stored.picture_path, stored.mime_type

    async def async_picture(self, result_id: str) -> tuple[bytes, str] | None:
        """Return a result's picture and its MIME type; None where there is none."""
        if not (file := self.picture_file(result_id)):
            return None
        path, mime_type = file
        try:
            return await self._hass.async_add_executor_job(path.read_bytes), mime_type
        except OSError:
            return None

    @staticmethod
    async def async_remove_entry(hass: HomeAssistant, entry_id: str) -> None:
        """Remove all that is stored for an entry."""
        await hass.async_add_executor_job(ResultFiles(_folder(hass, entry_id)).remove_all)


def _folder(hass: HomeAssistant, entry_id: str) -> Path:
    return Path(hass.config.path(STORAGE_DIR, DOMAIN, entry_id))
