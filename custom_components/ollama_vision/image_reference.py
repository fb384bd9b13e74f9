"""What a user names as a picture -> what it stands for; nothing is fetched here."""

from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import ip_address
from pathlib import Path
import posixpath
import re
from typing import Final
from urllib.parse import unquote

from homeassistant.core import HomeAssistant, split_entity_id, valid_entity_id
from homeassistant.helpers.network import is_hass_url
from yarl import URL

from .const import DOMAIN, AnalysisFault
from .image_errors import MAX_BYTES, ImageSourceError, too_large
from .public_url import public_url

# A password with one of these signs, not encoded: what comes before it would pass for a host and a port.
_CUT_USERINFO: Final = re.compile(r"https?://(?:[^/?#]*\?|[^#]*#).*@", re.IGNORECASE)
_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_SHOWN: Final = 200

_DATA_URL: Final = re.compile(r"data:image/[\w.+-]{1,40}(?:;[\w.=+-]{1,40}){0,3};base64,", re.IGNORECASE)
_BASE64_OVERHEAD: Final = 1.4  # a third, and line breaks

_ENTITY_MEDIA: Final = re.compile(r"media-source://(camera|image)/(.*)")
_LOCAL_MEDIA: Final = re.compile(r"media-source://media_source/(.*)")
_KEPT_MEDIA: Final = f"media-source://{DOMAIN}/"
_KEPT_PATH: Final = f"/api/{DOMAIN}/"

_ENTITY_PATH: Final = re.compile(r"/api/(camera|image)_proxy(?:_stream)?/(.*)")

# Frigate announces an event before its pictures can be had.
_FRIGATE_PATHS: Final = ("/api/events/", "/api/frigate/")


class Kind(Enum):
    """What a reference stands for, and what its `value` then is."""

    ENTITY = auto()  # an entity id
    URL = auto()  # a URL of somebody else's
    HOME_ASSISTANT = auto()  # a path of this Home Assistant, with its query
    FILE = auto()  # a path on disk
    MEDIA = auto()  # a media source's id
    MEDIA_FILE = auto()  # a path on disk that a media source vouches for
    DATA = auto()  # a data: URL, of which `public_url` is all but the base64


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A reference to a picture. `public_url` is the form for events; `value` may hold secrets.

    `patient` is set for one whose picture can come a moment after it was announced, `kept` for one that this
    integration keeps of an earlier analysis.
    """

    kind: Kind
    value: str = field(repr=False)
    public_url: str
    entity_id: str | None = None
    patient: bool = False
    kept: bool = False

    @property
    def shown(self) -> str:
        """Return what an error calls it."""
        return _shortened(self.entity_id or self.public_url)

    def error(self, fault: AnalysisFault, translation_key: str, **placeholders: str) -> ImageSourceError:
        """Return an error that names it."""
        return ImageSourceError(fault, translation_key, source=self.shown, **placeholders)


def entity_source(entity_id: str) -> ImageSource:
    """Return the picture of a camera or image entity."""
    path = f"/api/{split_entity_id(entity_id)[0]}_proxy/{entity_id}"
    return ImageSource(Kind.ENTITY, entity_id, path, entity_id=entity_id)


def file_source(path: Path, media_id: str) -> ImageSource:
    """Return the picture in a file that somebody else has found for a media source's id."""
    return ImageSource(Kind.MEDIA_FILE, str(path), public_url(media_id))


def parse_source(hass: HomeAssistant, value: str) -> ImageSource:
    """Return what a URL, a path or a media id stands for; raise ImageSourceError where it is none of them."""
    text = value.strip()
    if text[:5].lower() == "data:":
        return _parse_data(text)
    if _CONTROL_CHARACTER.search(unquote(text)):
        raise _no_source(text)
    if text.startswith("media-source://"):
        return _parse_media(hass, text)
    if text.lower().startswith(("http://", "https://")):
        return _parse_url(hass, text)
    if text.startswith("www/"):
        text = f"/local/{text.removeprefix('www/')}"
    if text.startswith("/"):
        return _parse_path(hass, text)
    raise _no_source(text)


def _parse_data(text: str) -> ImageSource:
    match = _DATA_URL.match(text)
    if match is None or match.end() == len(text):
        raise ImageSourceError(AnalysisFault.NOT_AN_IMAGE, "image_data_url_invalid", source="data:")
    if len(text) > MAX_BYTES * _BASE64_OVERHEAD:
        raise too_large(match[0])
    return ImageSource(Kind.DATA, text, match[0])


def _parse_media(hass: HomeAssistant, text: str) -> ImageSource:
    shown = public_url(text)
    if match := _ENTITY_MEDIA.fullmatch(text):
        return _proxied_entity(match, shown)
    if (match := _LOCAL_MEDIA.fullmatch(text)) and (file := _served_file(hass, _normalized(f"/media/{match[1]}"))):
        return ImageSource(Kind.FILE, file, shown, patient=True)
    return ImageSource(Kind.MEDIA, text, shown, kept=text.startswith(_KEPT_MEDIA))


def _parse_url(hass: HomeAssistant, text: str) -> ImageSource:
    if _CUT_USERINFO.match(text):
        raise _no_source(text)
    without_fragment = text.partition("#")[0]
    try:
        url = URL(without_fragment)
        is_own = _is_own(hass, url)
    except ValueError:
        raise _no_source(text) from None
    shown = public_url(without_fragment)
    if is_own:
        return _home_assistant_source(hass, url, shown)
    return ImageSource(Kind.URL, without_fragment, shown, patient=any(path in url.path for path in _FRIGATE_PATHS))


def _parse_path(hass: HomeAssistant, text: str) -> ImageSource:
    """Tell a path of Home Assistant's, which is a part of a URL, from one on disk, which is taken letter by letter."""
    without_fragment = text.partition("#")[0]
    try:
        url = URL(without_fragment)
    except ValueError:
        raise _no_source(text) from None
    if url.user is not None:
        raise _no_source(text)
    path = _normalized(url.path)
    if not url.absolute and (path.startswith("/api/") or _served_file(hass, path)):
        return _home_assistant_source(hass, url, public_url(without_fragment))
    return ImageSource(Kind.FILE, text, public_url(text))


def _home_assistant_source(hass: HomeAssistant, url: URL, shown: str) -> ImageSource:
    """Return what a URL or path of this Home Assistant stands for: an entity, a file that it serves, or itself."""
    if url.raw_path.startswith("//"):
        # Taken by itself, such a path begins with the name of another host.
        raise _no_source(shown)
    path = _normalized(url.path)
    if match := _ENTITY_PATH.fullmatch(path):
        return _proxied_entity(match, shown)
    if file := _served_file(hass, path):
        return ImageSource(Kind.FILE, file, shown, patient=True)
    value = str(url.relative() if url.absolute else url)
    return ImageSource(Kind.HOME_ASSISTANT, value, shown, patient=True, kept=path.startswith(_KEPT_PATH))


def _is_own(hass: HomeAssistant, url: URL) -> bool:
    """Return whether a URL is this Home Assistant's own; raise ValueError where its port is none."""
    # The comparison is of whole authorities, and a user does not make it another host.
    if is_hass_url(hass, str(url.with_user(None))):
        return True
    return url.port == hass.http.server_port and _is_loopback(url.host or "")


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def _proxied_entity(match: re.Match[str], shown: str) -> ImageSource:
    domain, entity_id = match.groups()
    if not valid_entity_id(entity_id) or split_entity_id(entity_id)[0] != domain:
        raise ImageSourceError(AnalysisFault.IMAGE_NOT_FOUND, "image_entity_unknown", source=_shortened(shown))
    return ImageSource(Kind.ENTITY, entity_id, shown, entity_id=entity_id)


def _served_file(hass: HomeAssistant, path: str) -> str | None:
    """Return the path on disk of what is served under `/local` and `/media`; None for any other path."""
    root, _, location = path.removeprefix("/").partition("/")
    if root == "local" and location:
        return hass.config.path("www", location)
    folder, _, location = location.partition("/")
    if root == "media" and folder in hass.config.media_dirs:
        return posixpath.join(hass.config.media_dirs[folder], location)
    return None


def _normalized(path: str) -> str:
    """Return a decoded path with one slash for many, and without `.` and `..`."""
    return posixpath.normpath(re.sub("/+", "/", path))


def _no_source(text: str) -> ImageSourceError:
    # Nobody knows where a password ends in what cannot be parsed.
    masked = re.sub(r"^([a-z]+://)?.*@.*$", r"\1…", _CONTROL_CHARACTER.sub(" ", text))
    shown = public_url(masked)
    return ImageSourceError(AnalysisFault.IMAGE_FORBIDDEN, "image_not_a_source", source=_shortened(shown))


def _shortened(shown: str) -> str:
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[: _LONGEST_SHOWN - 1]}…"
