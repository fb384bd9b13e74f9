"""Where a picture comes from: URL, path, entity or media id -> bytes, with permissions and limits."""

import asyncio
from binascii import a2b_base64
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from homeassistant.auth.permissions.const import POLICY_READ
from homeassistant.components import camera, image, media_source
from homeassistant.components.http.auth import async_sign_path
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import Unauthorized, UnknownUser
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from yarl import URL

from .const import AnalysisFault
from .image_download import download
from .image_errors import MAX_BYTES, ImageSourceError, too_large
from .image_reference import ImageSource, Kind, entity_source, file_source, parse_source

__all__ = [
    "ImageSource",
    "ImageSourceError",
    "check_permission",
    "entity_source",
    "fetch",
    "file_source",
    "parse_source",
]

TOTAL_SECONDS: Final = 30
LATE_DELAYS: Final = (0.5, 1, 1.5, 2)

# Decoding holds the interpreter and with it the event loop, even from another thread: a piece takes a millisecond.
_BASE64_PIECE: Final = 128 * 1024

_SIGNATURE: Final = "authSig"
_SIGNATURE_LIFE: Final = timedelta(seconds=60)
_LOOPBACK: Final = "127.0.0.1"
_LOOPBACK_OF_WILDCARD: Final = {"0.0.0.0": _LOOPBACK, "::": "::1"}  # noqa: S104  (nothing binds to it here)


async def check_permission(hass: HomeAssistant, context: Context, sources: Iterable[ImageSource]) -> None:
    """Raise Unauthorized where whoever calls may not read a camera or image entity among the sources.

    What was seen earlier is for those who may read all. An automation of its own has no user, and may.
    Raises UnknownUser for a user who is gone.
    """
    if context.user_id is None:
        return
    user = await hass.auth.async_get_user(context.user_id)
    if user is None:
        raise UnknownUser(context=context)
    for source in sources:
        if source.entity_id and not user.permissions.check_entity(source.entity_id, POLICY_READ):
            raise Unauthorized(context=context, entity_id=source.entity_id, permission=POLICY_READ)
        if source.kept and not user.permissions.access_all_entities(POLICY_READ):
            raise Unauthorized(context=context, permission=POLICY_READ)


async def fetch(hass: HomeAssistant, source: ImageSource) -> bytes:
    """Return the bytes of a picture, 1 to 20 MB that may be anything; raise ImageSourceError within TOTAL_SECONDS."""
    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            if source.kind is Kind.MEDIA:
                source = await _resolve(hass, source)
            return await _fetch_patiently(hass, source)
    except TimeoutError:
        raise source.error(AnalysisFault.IMAGE_UNREACHABLE, "image_timed_out", seconds=str(TOTAL_SECONDS)) from None


async def _fetch_patiently(hass: HomeAssistant, source: ImageSource) -> bytes:
    """Ask again for a picture that is not there yet: Frigate announces an event before its pictures can be had."""
    for delay in LATE_DELAYS if source.patient else ():
        try:
            return await _fetch_once(hass, source)
        except ImageSourceError as err:
            if err.fault is not AnalysisFault.IMAGE_NOT_FOUND:
                raise
        await asyncio.sleep(delay)
    return await _fetch_once(hass, source)


async def _fetch_once(hass: HomeAssistant, source: ImageSource) -> bytes:
    match source.kind:
        case Kind.ENTITY:
            return await _ask_entity(hass, source)
        case Kind.HOME_ASSISTANT:
            return await _ask_home_assistant(hass, source)
        case Kind.FILE | Kind.MEDIA_FILE:
            return await hass.async_add_executor_job(_read_file, hass, source)
        case Kind.DATA:
            return await hass.async_add_executor_job(_decode, source)
        case _:
            return await download(async_get_clientsession(hass), URL(source.value), source.shown)


async def _resolve(hass: HomeAssistant, source: ImageSource) -> ImageSource:
    """Return the file or the URL that a media source names."""
    try:
        media = await media_source.async_resolve_media(hass, source.value, None)
    except Exception:  # noqa: BLE001  (media sources are other people's code, and so are their errors' texts)
        raise source.error(AnalysisFault.IMAGE_NOT_FOUND, "image_media_unknown") from None
    if media.path:
        return ImageSource(Kind.MEDIA_FILE, str(media.path), source.public_url, patient=True)
    # A path is one of Home Assistant's here, whatever it begins with.
    url = f"http://{_LOOPBACK}:{hass.http.server_port}{media.url}" if media.url.startswith("/") else media.url
    resolved = parse_source(hass, url)
    if resolved.kind not in (Kind.HOME_ASSISTANT, Kind.FILE, Kind.URL) or resolved.kept:
        # An entity or an earlier picture behind another name is one that nobody was asked for permission to read.
        raise source.error(AnalysisFault.IMAGE_NOT_FOUND, "image_media_unknown")
    return replace(resolved, public_url=source.public_url)


async def _ask_home_assistant(hass: HomeAssistant, source: ImageSource) -> bytes:
    """Fetch a path of this Home Assistant where its server is bound, signed for a minute."""
    server = hass.http
    host = server.server_host[0] if server.server_host else _LOOPBACK
    base = URL.build(
        scheme="https" if server.ssl_certificate else "http",
        host=_LOOPBACK_OF_WILDCARD.get(host, host),
        port=server.server_port,
    )
    url = base.join(URL(source.value)).without_query_params(_SIGNATURE)
    signed = async_sign_path(hass, str(url.relative()), _SIGNATURE_LIFE, use_content_user=True)
    # Only the signature is taken: the path comes back decoded.
    url = url.extend_query({_SIGNATURE: signed.rpartition(f"{_SIGNATURE}=")[2]})
    session = async_get_clientsession(hass, verify_ssl=False)
    return await download(session, url, source.shown, follow_redirects=False)


async def _ask_entity(hass: HomeAssistant, source: ImageSource) -> bytes:
    entity_id = source.value
    state = hass.states.get(entity_id)
    if state is None:
        raise source.error(AnalysisFault.IMAGE_NOT_FOUND, "image_entity_unknown")
    if state.state == STATE_UNAVAILABLE:
        raise source.error(AnalysisFault.IMAGE_UNREACHABLE, "image_entity_unavailable")
    get_image = camera.async_get_image if entity_id.startswith("camera.") else image.async_get_image
    try:
        # `fetch` limits the time: a camera that has to wake up needs more than the ten seconds of a dashboard.
        picture = await get_image(hass, entity_id, timeout=TOTAL_SECONDS + 1)
    except Exception:  # noqa: BLE001  (cameras are other people's code, and their errors' texts hold URLs)
        raise source.error(AnalysisFault.IMAGE_UNREACHABLE, "image_entity_no_picture") from None
    return _limited(picture.content, source)


def _read_file(hass: HomeAssistant, source: ImageSource) -> bytes:
    path = Path(source.value)
    try:
        # Resolves symlinks and dots. What is not there and what may not be read get the same answer.
        if source.kind is Kind.FILE and not hass.config.is_allowed_path(source.value):
            raise source.error(AnalysisFault.IMAGE_FORBIDDEN, "image_path_not_allowed")
        # A pipe would wait and a device would not end.
        if path.exists() and not path.is_file():
            raise source.error(AnalysisFault.IMAGE_FORBIDDEN, "image_not_a_file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError, NotADirectoryError:
        raise source.error(AnalysisFault.IMAGE_NOT_FOUND, "image_missing") from None
    except OSError, ValueError:
        raise source.error(AnalysisFault.IMAGE_FORBIDDEN, "image_file_unreadable") from None
    if not content:
        raise source.error(AnalysisFault.IMAGE_NOT_FOUND, "image_empty")
    return _limited(content, source)


def _decode(source: ImageSource) -> bytes:
    content, rest = bytearray(), ""
    try:
        for start in range(len(source.public_url), len(source.value), _BASE64_PIECE):
            piece = rest + "".join(source.value[start : start + _BASE64_PIECE].split())
            whole = len(piece) - len(piece) % 4
            content += a2b_base64(piece[:whole])
            rest = piece[whole:]
        content += a2b_base64(rest)
    except ValueError:
        raise source.error(AnalysisFault.NOT_AN_IMAGE, "image_data_url_invalid") from None
    return _limited(bytes(content), source)


def _limited(content: bytes, source: ImageSource) -> bytes:
    if len(content) > MAX_BYTES:
        raise too_large(source.shown)
    return content
