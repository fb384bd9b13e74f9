"""The only place that speaks HTTP to model servers."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from io import BytesIO
import json
import os
from typing import Any, Final, Self

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
)
from yarl import URL

from .address import ServerAddress
from .errors import (
    BadResponseError,
    IncompleteAnswerError,
    ModelServerConnectionError,
    ModelServerError,
    ModelServerTimeoutError,
)
from .replies import decode_object, refusal, web_page

CONNECT_SECONDS: Final = 10.0
# For what is answered without a model: versions, lists.
SMALL_TALK_SECONDS: Final = 30.0
LARGEST_REPLY: Final = 4 * 1024 * 1024
_LARGEST_STREAM: Final = 64 * 1024 * 1024
_LARGEST_REFUSAL: Final = 64 * 1024
_SHORTEST_SECRET: Final = 4

type Body = Mapping[str, Any]


class Lines:
    """The lines of a streamed answer, without blank ones and without comments (which proxies send to stay connected).

    `silence` is how many seconds may pass after the request, or after what was `heard` last. Lines alone do not count:
    a server can go on saying that it has nothing to say.
    """

    def __init__(self, response: ClientResponse, since: float, silence: float) -> None:
        self._silence = silence
        self._response = response
        self._since = since
        self._buffer = bytearray()
        self._size = 0
        self._cut = False

    @property
    def content_type(self) -> str:
        """Return what the server calls the answer: application/x-ndjson, text/event-stream, application/json."""
        return self._response.content_type

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next line; raise ModelServerTimeoutError where it does not come in time."""
        try:
            async with asyncio.timeout_at(self._since + self._silence):
                line = await self._next_line()
        except TimeoutError:
            raise _silent(self._silence) from None
        if line is None:
            raise StopAsyncIteration
        return line

    def heard(self, silence: float) -> None:
        """Take it that the server has said something just now, and limit the silence from here on."""
        self._since, self._silence = asyncio.get_running_loop().time(), silence

    async def _next_line(self) -> bytes | None:
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched)
            if end >= 0:
                line = bytes(self._buffer[:end]).strip()
                del self._buffer[: end + 1]
                searched = 0
                if line and not line.startswith(b":"):
                    return line
                continue
            searched = len(self._buffer)
            piece = await self._response.content.readany()
            if not piece:
                line, self._cut = bytes(self._buffer).strip(), True
                self._buffer.clear()
                return line or None
            self._buffer += piece
            self._size += len(piece)
            _check_size(len(self._buffer), LARGEST_REPLY)
            _check_size(self._size, _LARGEST_STREAM)

    def decode(self, raw: bytes) -> dict[str, Any]:
        """Return the object in a line; raise IncompleteAnswerError where the line is the beginning of one."""
        try:
            return decode_object(raw)
        except BadResponseError:
            if self._cut and raw.startswith(b"{"):
                raise IncompleteAnswerError("The answer broke off.") from None
            raise


class Transport:
    """Speaks to one server, on a session that belongs to someone else. Raises ModelServerErrors and nothing else."""

    def __init__(self, session: ClientSession, address: ServerAddress, api_key: str | None = None) -> None:
        """Use the key as a bearer token, else the credentials of the address."""
        self.url = address.url
        self._session = session
        self._headers = {
            "Accept-Encoding": "identity",  # compression would hold tokens back
            # llama.cpp hangs up after each answer, just when the next question is sent, which is then lost.
            "Connection": "close",
        }
        # A pasted key brings blanks and line ends, which no header may hold.
        secret = api_key = "".join(char for char in api_key or "" if char.isprintable() and char != " ")
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        elif address.username is not None:
            secret = address.password or ""
            credentials = f"{address.username}:{secret}".encode()
            self._headers["Authorization"] = f"Basic {b64encode(credentials).decode()}"
        self._secret = secret if len(secret) >= _SHORTEST_SECRET else None

    async def call(self, method: str, path: str, body: Body | None = None) -> dict[str, Any]:
        """Ask for something that needs no model and return the JSON object of the reply."""
        since = asyncio.get_running_loop().time()
        data = None if body is None else _dump(lambda: body)
        async with self._respond(method, path, data, since, SMALL_TALK_SECONDS) as response:
            async with asyncio.timeout_at(since + SMALL_TALK_SECONDS):
                raw = await _read(response, LARGEST_REPLY)
                _check_size(len(raw), LARGEST_REPLY)
            return decode_object(raw)

    @asynccontextmanager
    async def stream(
        self, path: str, build: Callable[[], Body], silence: float, *, in_executor: bool = False
    ) -> AsyncIterator[Lines]:
        """Post what `build` returns and give the lines of the answer.

        `silence` limits the seconds before the first line. A body with pictures is built and written in an executor.
        """
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(None, _dump, build) if in_executor else _dump(build)
        since = loop.time()
        async with self._respond("POST", path, data, since, silence) as response:
            yield Lines(response, since, silence)

    @asynccontextmanager
    async def _respond(
        self, method: str, path: str, data: bytes | None, since: float, silence: float
    ) -> AsyncIterator[ClientResponse]:
        response = None
        body = None if data is None else BytesIO(data)
        try:
            async with asyncio.timeout_at(since + silence):
                response = await self._session.request(
                    method,
                    self.url / path,
                    data=body,
                    headers=self._headers if data is None else self._headers | {"Content-Type": "application/json"},
                    timeout=ClientTimeout(total=None, connect=CONNECT_SECONDS),
                    allow_redirects=False,  # the key stays with the host that it is meant for
                )
                await self._require_ok(response)
            yield response
        except ModelServerError as err:
            err.args = (self._without_secret(str(err)),)
            raise
        except (ClientError, OSError) as err:
            # Nothing of a body is read before the server is connected.
            connected = body is None or body.tell() > 0
            raise self._translated(err, silence, connected=connected) from err
        finally:
            if response is not None:
                response.close()

    async def _require_ok(self, response: ClientResponse) -> None:
        if response.status == 200:  # noqa: PLR2004  (the only good status of these protocols)
            if response.content_type == "text/html":
                raise web_page()
            return
        body = b""
        with suppress(ClientError):
            body = await _read(response, _LARGEST_REFUSAL)
        raise refusal(
            response.status,
            body,
            retry_after=response.headers.get("Retry-After"),
            location=self._target(response.headers.get("Location")),
        )

    def _target(self, location: str | None) -> str | None:
        """Return where a redirect leads, without credentials and query."""
        if location is None:
            return None
        try:
            return str(self.url.join(URL(location)).with_user(None).with_query(None).with_fragment(None))
        except ValueError:
            return "nowhere"

    def _without_secret(self, words: str) -> str:
        return words.replace(self._secret, "…") if self._secret else words

    def _translated(self, err: Exception, silence: float, *, connected: bool) -> ModelServerError:
        """Return our error for one of aiohttp's; its words may hold addresses, so they are not used."""
        match err:
            case TimeoutError() if isinstance(err, ConnectionTimeoutError) or not connected:
                seconds = min(silence, CONNECT_SECONDS)
                return ModelServerConnectionError(f"No connection to {self.url} within {seconds:g} s.")
            case TimeoutError():
                return _silent(silence)
            case ClientPayloadError():
                return IncompleteAnswerError("The answer broke off.")
            case ClientResponseError():
                return BadResponseError("The server does not speak HTTP.")
            case _:
                return ModelServerConnectionError(f"No connection to {self.url}: {_reason(err)}.")


def _reason(err: Exception) -> str:
    match err:
        case ClientConnectorDNSError():
            return "the name is not known"
        case ClientConnectorCertificateError():
            return f"its certificate is not trusted ({_ssl_words(err.certificate_error)})"
        case ClientConnectorSSLError():
            return f"TLS fails ({_ssl_words(err.os_error)})"
        case ClientConnectorError() if err.os_error.errno:
            return os.strerror(err.os_error.errno).lower()
        case _:
            return "it broke"


def _ssl_words(err: Exception) -> str:
    return getattr(err, "verify_message", None) or getattr(err, "reason", None) or type(err).__name__


def _silent(seconds: float) -> ModelServerTimeoutError:
    return ModelServerTimeoutError(f"The server was silent for {seconds:g} s.")


def _dump(build: Callable[[], Body]) -> bytes:
    return json.dumps(build()).encode()


def _check_size(size: int, largest: int) -> None:
    if size > largest:
        raise BadResponseError("The server's answer is too large.")


async def _read(response: ClientResponse, largest: int) -> bytes:
    """Return the body, or a little more than the first `largest` bytes of it."""
    body = bytearray()
    while len(body) <= largest and (piece := await response.content.readany()):
        body += piece
    return bytes(body)
