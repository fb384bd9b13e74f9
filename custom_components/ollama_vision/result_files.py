"""A device's results as files: each its own, so that nothing big is rewritten and damage costs one result."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from hashlib import sha256
import logging
import os
from pathlib import Path
import re
import shutil
from types import UnionType
from typing import Any, Final

from homeassistant.helpers.json import json_bytes
from homeassistant.util.json import json_loads_object
from homeassistant.util.ulid import ulid_to_bytes

from .result import AnalysisResult

_LOGGER = logging.getLogger(__name__)

_SUFFIXES: Final = {"image/jpeg": ".jpg", "image/png": ".png"}
_MIME_TYPES: Final = {suffix: mime_type for mime_type, suffix in _SUFFIXES.items()}

# A ULID of this millennium: it sorts by time, and no other file has such a name.
_RESULT_ID: Final = re.compile(r"0[0-9A-HJKMNP-TV-Z]{25}")
_ID_LENGTH: Final = 26
# The forms of `folder_name`; a slug has neither "-" nor ".", so that they and the suffixes below never meet.
_FOLDER: Final = re.compile(r"[a-z0-9_]+(?:-[0-9a-f]{12})?")
_LONGEST_SLUG: Final = 80
_FORGOTTEN: Final = ".forgotten"
_UNFINISHED: Final = ".tmp"

_UNREADABLE: Final = (OSError, KeyError, TypeError, ValueError)
_TYPES: Final = {
    each.name: each.type
    for each in fields(AnalysisResult)
    if each.type is not Any and isinstance(each.type, type | UnionType)
}


@dataclass(slots=True)
class StoredResult:
    """What is known of a stored result without reading it; `mime_type` is its picture's, None without one."""

    result_id: str
    slug: str
    folder: Path
    mime_type: str | None = None
    picture_bytes: int = 0
    damaged: bool = field(default=False, init=False)

    @property
    def time(self) -> datetime:
        """Return when the result was made."""
        milliseconds = int.from_bytes(ulid_to_bytes(self.result_id)[:6])
        return datetime.fromtimestamp(milliseconds / 1000, UTC)

    @property
    def path(self) -> Path:
        """Return where the result is."""
        return self.folder / f"{self.result_id}.json"

    @property
    def picture_path(self) -> Path | None:
        """Return where its picture is."""
        return self.path.with_suffix(_SUFFIXES[self.mime_type]) if self.mime_type else None


@dataclass(frozen=True, slots=True)
class LoadedResults:
    """All stored results by id, the latest of each name by slug, forgotten names' folders, and what went wrong."""

    stored: dict[str, StoredResult] = field(default_factory=dict)
    latest: dict[str, AnalysisResult] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


class ResultFiles:
    """Reads and writes the files of one device's results. It blocks: every call belongs in the executor.

    Each name has a folder, and in it a result has `<id>.json` and mostly `<id>.jpg` or `<id>.png`. A folder whose
    name ends in `.forgotten` remembers that a name was forgotten.
    """

    def __init__(self, root: Path) -> None:
        """Use a folder, which need not be there yet."""
        self._root = root
        self._failing = False

    def load(self) -> LoadedResults:
        """Read the latest result of each name, list the others, and remove what a crash left behind."""
        loaded = LoadedResults()
        for folder in self._folders():
            if not folder.name.endswith(_FORGOTTEN):
                _load_name(folder, loaded)
            elif folder.with_suffix("").is_dir():
                # The name was used again since.
                shutil.rmtree(folder, ignore_errors=True)
            else:
                _empty(folder)
                loaded.forgotten.add(folder.stem)
        if problems := loaded.problems:
            _LOGGER.warning("%d results cannot be read and are left out; the first is %s", len(problems), problems[0])
        return loaded

    def _folders(self) -> list[Path]:
        try:
            with os.scandir(self._root) as found:
                return [
                    Path(each.path)
                    for each in found
                    if each.is_dir(follow_symlinks=False) and _FOLDER.fullmatch(each.name.removesuffix(_FORGOTTEN))
                ]
        except FileNotFoundError:
            return []
        except OSError as err:
            _LOGGER.warning("Cannot list what was seen in %s: %s", self._root, err)
            return []

    def write(self, result: AnalysisResult, picture: bytes | None, mime_type: str | None) -> StoredResult:
        """Store a result and its picture; what cannot be stored is left out, and logged until all goes well again."""
        stored = StoredResult(result.result_id, result.slug, self._root / folder_name(result.slug))
        problem = None
        if picture and mime_type in _SUFFIXES:
            problem = _replace(stored.path.with_suffix(_SUFFIXES[mime_type]), picture)
            if not problem:
                stored.mime_type, stored.picture_bytes = mime_type, len(picture)
        # The picture comes first: a result that is there after a crash has its picture.
        problem = _replace(stored.path, json_bytes(result.as_dict())) or problem
        if problem and not self._failing:
            _LOGGER.warning("Cannot store all of what was seen as %s: %s", result.image_name, problem)
        self._failing = problem is not None
        return stored

    def remove(self, results: Iterable[StoredResult], pictures: Iterable[StoredResult]) -> None:
        """Remove some results with their pictures, and the pictures alone of others."""
        for stored in results:
            _unlink(stored.path)
            _unlink(stored.picture_path)
        for stored in pictures:
            _unlink(stored.picture_path)

    def forget(self, slug: str) -> None:
        """Remove all of a name and remember that, or raise OSError and have removed nothing."""
        forgotten = self._forgotten(slug)
        shutil.rmtree(forgotten, ignore_errors=True)
        try:
            (self._root / folder_name(slug)).rename(forgotten)
        except FileNotFoundError:
            forgotten.mkdir(parents=True)
        _empty(forgotten)

    def end_forgetting(self, folder_names: Iterable[str]) -> None:
        """Stop remembering that names were forgotten."""
        for name in folder_names:
            shutil.rmtree(self._root / f"{name}{_FORGOTTEN}", ignore_errors=True)

    def remove_all(self) -> None:
        """Remove everything, and the folder that all devices share with its last one."""
        shutil.rmtree(self._root, ignore_errors=True)
        with suppress(OSError):
            self._root.parent.rmdir()

    def _forgotten(self, slug: str) -> Path:
        return self._root / f"{folder_name(slug)}{_FORGOTTEN}"


def folder_name(slug: str) -> str:
    """Return the name of a slug's folder, which a file system can take however long the slug is."""
    if len(slug) <= _LONGEST_SLUG:
        return slug
    return f"{slug[:_LONGEST_SLUG]}-{sha256(slug.encode()).hexdigest()[:12]}"


def read_result(stored: StoredResult) -> AnalysisResult | None:
    """Return a stored result, or None where it is gone or damaged; damage is logged once."""
    if stored.damaged:
        return None
    try:
        return _read(stored)
    except FileNotFoundError:
        return None
    except _UNREADABLE as err:
        stored.damaged = True
        _LOGGER.warning("A result cannot be read and is left out: %s: %r", stored.path, err)
        return None


def _read(stored: StoredResult) -> AnalysisResult:
    return _checked(AnalysisResult.from_dict(json_loads_object(stored.path.read_bytes())), stored)


def _checked(result: AnalysisResult, stored: StoredResult) -> AnalysisResult:
    """Return what was read from a result's file if it can be what was stored there, else raise ValueError."""
    wrong = [name for name, kind in _TYPES.items() if not isinstance(getattr(result, name), kind)]
    if not result.image_urls or not all(isinstance(url, str) for url in result.image_urls):
        wrong.append("image_urls")
    if wrong or not datetime.fromisoformat(result.timestamp).tzinfo:
        raise ValueError(f"wrong {', '.join(wrong) or 'timestamp'}")
    if result.result_id != stored.result_id or folder_name(result.slug) != stored.folder.name:
        raise ValueError("not its place")
    return result


def _load_name(folder: Path, loaded: LoadedResults) -> None:
    """Add a name's results: the latest that can be read is the name's, and where none can the limits reach them."""
    try:
        listed = _listed(folder)
    except OSError as err:
        loaded.problems.append(f"{folder}: {err!r}")
        return
    slug = folder.name
    for stored in listed[::-1]:
        try:
            result = _read(stored)
        except _UNREADABLE as err:
            loaded.problems.append(f"{stored.path}: {err!r}")
            stored.damaged = not isinstance(err, OSError)
            if not stored.damaged:
                # At another start it may be the name's latest: until then out of the limits' reach.
                listed.remove(stored)
            continue
        slug = result.slug
        loaded.latest[slug] = result
        break
    for stored in listed:
        stored.slug = slug
        loaded.stored[stored.result_id] = stored


def _listed(folder: Path) -> list[StoredResult]:
    """Return a name's results by age; remove pictures without a result and files that were never finished."""
    results: list[StoredResult] = []
    pictures: dict[str, os.DirEntry[str]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            result_id, suffix = entry.name[:_ID_LENGTH], entry.name[_ID_LENGTH:]
            if not _RESULT_ID.fullmatch(result_id) or not entry.is_file(follow_symlinks=False):
                continue
            if suffix == ".json":
                results.append(StoredResult(result_id, folder.name, folder))
            elif suffix in _MIME_TYPES:
                pictures[result_id] = entry
            elif suffix.endswith(_UNFINISHED):
                _unlink(Path(entry.path))
    for stored in results:
        picture = pictures.pop(stored.result_id, None)
        if picture and (size := picture.stat().st_size):
            stored.mime_type, stored.picture_bytes = _MIME_TYPES[picture.name[_ID_LENGTH:]], size
    for orphan in pictures.values():
        _unlink(Path(orphan.path))
    return sorted(results, key=lambda stored: stored.result_id)


def _replace(path: Path, content: bytes) -> OSError | None:
    """Write a file in one step, so that nobody ever sees half of it; return what prevented it."""
    unfinished = path.with_name(f"{path.name}{_UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as err:
        _unlink(unfinished)
        return err
    return None


def _unlink(path: Path | None) -> None:
    """Remove a file if it is there; one that cannot be removed now is found again at the next start."""
    if path:
        with suppress(OSError):
            path.unlink()


def _empty(folder: Path) -> None:
    """Remove what is in a folder; what cannot be removed now is found again at the next start."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir(follow_symlinks=False):
                shutil.rmtree(path, ignore_errors=True)
            else:
                _unlink(path)
