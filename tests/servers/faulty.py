"""A server that follows a script, byte by byte: for what no real server can be made to do.

    async with FaultyServer([head(), chunk(b"{}"), Step.HANG]) as server:
        ...

A script is bytes to send, seconds to wait and steps; after the last one the connection is closed.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
import socket
import struct
from typing import Self


class Step(Enum):
    """What a script can hold beside bytes and seconds."""

    HANG = auto()  # say nothing more, and stay
    RESET = auto()  # as the last step: break the connection instead of closing it


type Script = Sequence[bytes | float | Step]

END = b"0\r\n\r\n"  # of a chunked body


def answer(
    status: int = 200,
    body: bytes = b"",
    content_type: str = "application/json; charset=utf-8",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return a whole answer."""
    return head(status, content_type, {"Content-Length": str(len(body)), **(headers or {})}) + body


def head(
    status: int = 200, content_type: str = "application/x-ndjson", headers: Mapping[str, str] | None = None
) -> bytes:
    """Return an answer's headers; without a Content-Length its body comes in chunks."""
    lines = {"Content-Type": content_type, "Connection": "close", **(headers or {})}
    if "Content-Length" not in lines:
        lines["Transfer-Encoding"] = "chunked"
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{text}\r\n".encode()


def chunk(data: bytes) -> bytes:
    """Return a piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def drip(data: bytes, pause: float) -> Script:
    """Return a script that sends a byte at a time, with seconds between them."""
    return [step for byte in data for step in (bytes([byte]), pause)]


@contextmanager
def refusing() -> Iterator[str]:
    """Give the address of a port that refuses connections and that nobody else can take."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@dataclass(frozen=True)
class FaultyRequest:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class FaultyServer:
    """An async context manager; `url` is its address, `requests` are those that came.

    The first request is answered by the first script, the next one by the next, and all further ones by the last. A
    path that `paths` names always has the script given there.
    """

    def __init__(self, *scripts: Script, paths: Mapping[str, Script] | None = None) -> None:
        self.url = ""
        self.requests: list[FaultyRequest] = []
        self._scripts = list(scripts)
        self._paths = paths or {}
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        """Drop whoever is still connected."""
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            self.requests.append(request)
            for step in self._script(request.path):
                await _perform(step, writer)
        except ConnectionError, asyncio.IncompleteReadError:
            pass  # the client has gone
        finally:
            writer.close()

    def _script(self, path: str) -> Script:
        if path in self._paths:
            return self._paths[path]
        return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]


async def _read(reader: asyncio.StreamReader) -> FaultyRequest:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.title(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("Content-Length", "0")))
    return FaultyRequest(method, target.partition("?")[0], headers, body)


async def _perform(step: bytes | float | Step, writer: asyncio.StreamWriter) -> None:
    if isinstance(step, bytes):
        writer.write(step)
        await writer.drain()
    elif step is Step.HANG:
        await asyncio.Event().wait()
    elif step is Step.RESET:
        # A linger of zero makes a reset of the close that follows.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        await asyncio.sleep(step)
