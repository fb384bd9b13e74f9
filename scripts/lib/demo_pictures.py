"""Brings the demo's pictures to where Home Assistant may read them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
import re
import shutil
from urllib.parse import unquote, urlsplit

from demo_errors import DemoError


@dataclass(frozen=True)
class Picture:
    """A picture as the action gets it: what it is called and where it is."""

    name: str
    url: str


def prepare(places: Iterable[str], www: Path) -> list[Picture]:
    """Return the pictures at places, which are files or URLs; files are copied to the folder that is `/local/`."""
    return [_picture(place, number, www) for number, place in enumerate(places, start=1)]


def _picture(place: str, number: int, www: Path) -> Picture:
    if re.match(r"(?i)https?://", place):
        return Picture(_name(unquote(urlsplit(place).path), number), place)
    source = Path(place)
    copy = www / f"{number}{source.suffix.lower()}"
    www.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, copy)
    except OSError as err:
        raise DemoError(f"{place} cannot be read: {err.strerror}.") from err
    return Picture(_name(source.name, number), f"/local/{copy.name}")


def _name(path: str, number: int) -> str:
    """Return a name for a person to read: of front-door.jpg, "Front door"."""
    words = re.sub(r"[\W_]+", " ", Path(path).stem).strip()
    return words[:1].upper() + words[1:] if words else f"Picture {number}"
