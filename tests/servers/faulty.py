"""A server that follows a script, byte by byte: for what no real server can be made to do.

    async with FaultyServer([head(), b'{"message":', Step.HANG]) as server:
        ...

A script holds bytes to send, seconds to wait, steps, and coroutine functions that make the bytes to send of the
request; after the last one the connection is closed. It may be endless.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from itertools import batched
import socket
import ssl
import struct
from typing import Self


class Step(Enum):
    """What a script can hold beside bytes, seconds and functions."""

    HANG = auto()  # say nothing more, and stay
    RESET = auto()  # as the last step: break the connection instead of closing it, as a machine that goes off does


@dataclass(frozen=True)
class FaultyRequest:
    """A request that came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


type Part = bytes | float | Step | Callable[[FaultyRequest], Awaitable[bytes]]
type Script = Iterable[Part]

END = b"0\r\n\r\n"  # of a chunked body
TLS_HANDSHAKE = b"\x16"


def answer(
    status: int = 200, body: bytes = b"", content_type: str = "application/json; charset=utf-8", **headers: str
) -> bytes:
    """Return a whole answer; `Retry_After="1"` is a header."""
    return head(status, content_type, Content_Length=str(len(body)), **headers) + body


def head(status: int = 200, content_type: str = "application/x-ndjson", **headers: str) -> bytes:
    """Return an answer's head; its body ends with the connection, where no header says otherwise."""
    lines = {"Content-Type": content_type, "Connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{text}\r\n".encode()


def chunk(data: bytes) -> bytes:
    """Return a piece of a body whose head has `Transfer_Encoding="chunked"`."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def drip(data: bytes, pause: float, size: int = 1) -> Script:
    """Return a script that sends a byte, or `size` of them, at a time, with seconds after each."""
    return [part for piece in batched(data, size, strict=True) for part in (bytes(piece), pause)]


@contextmanager
def refusing() -> Iterator[str]:
    """Give the address of a port that refuses connections and that nobody else can take."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


class FaultyServer:
    """An async context manager; `url` is its address, `requests` are those that came.

    The first request is answered by the first script, the next one by the next, and all further ones by the last. A
    path that `paths` names always has the script given there. Bodies stay unread where `reads_body` is False. `left`
    is set when a client has hung up before its script was at its end. A client that speaks TLS where `tls` is not given
    is told that this is no request.
    """

    def __init__(
        self,
        *scripts: Script,
        paths: Mapping[str, Script] | None = None,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        reads_body: bool = True,
    ) -> None:
        self.url = ""
        self.requests: list[FaultyRequest] = []
        self.left = asyncio.Event()
        self._scripts = list(scripts)
        self._paths = paths or {}
        self._host = host
        self._tls = tls
        self._reads_body = reads_body
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, self._host, 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        """Drop whoever is still connected."""
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._server.abort_clients()
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            start = await reader.readexactly(1)
            if start == TLS_HANDSHAKE:
                writer.write(answer(400))
                return
            request = await self._read(start, reader)
            self.requests.append(request)
            for part in self._script(request.path):
                await _perform(part, request, writer)
        except ConnectionError, asyncio.IncompleteReadError:
            self.left.set()
        finally:
            writer.close()

    async def _read(self, start: bytes, reader: asyncio.StreamReader) -> FaultyRequest:
        first, *lines = (start + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = first.split(" ", 2)
        path, _, query = target.partition("?")
        headers = {name.title(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("Content-Length", "0")) if self._reads_body else 0)
        return FaultyRequest(method, path, query, headers, body)

    def _script(self, path: str) -> Script:
        if path in self._paths:
            return self._paths[path]
        return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]


async def _perform(part: Part, request: FaultyRequest, writer: asyncio.StreamWriter) -> None:
    if callable(part):
        part = await part(request)
    if isinstance(part, bytes):
        writer.write(part)
        await writer.drain()
    elif part is Step.HANG:
        await asyncio.Event().wait()
    elif part is Step.RESET:
        # A linger of zero makes a reset of the close that follows.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        await asyncio.sleep(part)
