"""A picture over HTTP, within limits of size and time that do not trust the server."""

from http import HTTPStatus
import re
from typing import Final

import aiohttp
from homeassistant.helpers.aiohttp_client import SSRFRedirectError
from yarl import URL

from .const import AnalysisFault
from .image_errors import MAX_BYTES, ImageSourceError, too_large

CONNECT_SECONDS: Final = 10
_CHUNK_BYTES: Final = 64 * 1024

# Some cameras send pictures as text/html, and some login pages come as image/jpeg: the type that a server names is
# not asked.
_PAGE: Final = re.compile(rb"[\s\xef\xbb\xbf]*<.*?(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_PAGE_START_BYTES: Final = 1024

# The first class that fits names the fault and its sentence: subclasses stand before their parents.
_CLIENT_FAULTS: Final[tuple[tuple[type[Exception], AnalysisFault, str], ...]] = (
    (SSRFRedirectError, AnalysisFault.IMAGE_FORBIDDEN, "image_redirect_refused"),
    (aiohttp.RedirectClientError, AnalysisFault.IMAGE_FORBIDDEN, "image_redirect_refused"),
    (aiohttp.TooManyRedirects, AnalysisFault.IMAGE_UNREACHABLE, "image_redirect_loop"),
    (aiohttp.ClientConnectorDNSError, AnalysisFault.IMAGE_UNREACHABLE, "image_host_unknown"),
    (aiohttp.ClientSSLError, AnalysisFault.IMAGE_UNREACHABLE, "image_certificate"),
    (aiohttp.ConnectionTimeoutError, AnalysisFault.IMAGE_UNREACHABLE, "image_cannot_connect"),
    (aiohttp.ClientConnectorError, AnalysisFault.IMAGE_UNREACHABLE, "image_cannot_connect"),
    (aiohttp.ClientResponseError, AnalysisFault.IMAGE_UNREACHABLE, "image_no_web_server"),
    # No URL to the HTTP client, which is stricter than what parsed it.
    (ValueError, AnalysisFault.IMAGE_FORBIDDEN, "image_not_a_source"),
    (Exception, AnalysisFault.IMAGE_UNREACHABLE, "image_cut_short"),
)


async def download(session: aiohttp.ClientSession, url: URL, shown: str, *, follow_redirects: bool = True) -> bytes:
    """Return what a server answers with.

    A user and password in `url` are sent to its host as basic authentication. `shown` is the URL as it may be shown.
    Raises ImageSourceError where that is not a picture's 1 to 20 MB: refused, a page of HTML, cut short, and so on.
    The caller limits the time in all.
    """
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS)
    try:
        async with session.get(url, timeout=timeout, allow_redirects=follow_redirects) as response:
            _require_success(response.status, shown)
            body = await _read(response, shown)
    except (aiohttp.ClientError, OSError, ValueError) as err:
        fault, key = next((fault, key) for kind, fault, key in _CLIENT_FAULTS if isinstance(err, kind))
        raise ImageSourceError(fault, key, source=shown) from None
    if not body:
        raise ImageSourceError(AnalysisFault.IMAGE_NOT_FOUND, "image_empty", source=shown)
    if _PAGE.match(body[:_PAGE_START_BYTES]):
        raise ImageSourceError(AnalysisFault.NOT_AN_IMAGE, "image_web_page", source=shown)
    return body


def _require_success(status: int, shown: str) -> None:
    match status:
        case HTTPStatus.OK:
            return
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            fault, key = AnalysisFault.IMAGE_NOT_FOUND, "image_missing"
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            fault, key = AnalysisFault.IMAGE_FORBIDDEN, "image_access_refused"
        case _:
            fault, key = AnalysisFault.IMAGE_UNREACHABLE, "image_bad_status"
    raise ImageSourceError(fault, key, source=shown, status=str(status))


async def _read(response: aiohttp.ClientResponse, shown: str) -> bytes:
    """Read the body, which the HTTP client unpacks a chunk at a time, so that its size is known before it is there."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_BYTES:
            raise too_large(shown)
    return bytes(body)
