"""A server that answers with bytes as they are told, and breaks off as real networks do."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
import re
import socket
import ssl
import struct
from typing import Self

type Script = Callable[["Connection"], Awaitable[None]]


def unused_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Connection:
    """One client, its request read."""

    request: str
    body: bytes
    _writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Send bytes at once."""
        self._writer.write(data)
        await self._writer.drain()

    def reset(self) -> None:
        """Break the connection as a machine that was switched off does."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@dataclass
class RawServer:
    """An async context manager; `script` answers each request on a connection of its own, which then is closed.

    `requests` are the heads of those that came; their bodies stay unread where `reads_body` is False.
    """

    script: Script
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    reads_body: bool = True
    url: str = ""
    requests: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        """Listen."""
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"{'https' if self.tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close every connection."""
        self._server.close()
        running = [task for task in self._tasks if task]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1]) if length and self.reads_body else 0)
            self.requests.append(head)
            await self.script(Connection(head, body, writer))
        except ConnectionError, asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()
            self._tasks.discard(asyncio.current_task())


def head(status: str = "200 OK", content_type: str = "application/x-ndjson", **headers: str) -> bytes:
    """Return the head of a reply that ends with the connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def says(*pieces: bytes) -> Script:
    """Return a script that sends pieces and closes the connection."""

    async def script(connection: Connection) -> None:
        for piece in pieces:
            await connection.send(piece)

    return script


def says_then_waits(*pieces: bytes) -> Script:
    """Return a script that sends pieces and then nothing more."""

    async def script(connection: Connection) -> None:
        for piece in pieces:
            await connection.send(piece)
        await asyncio.sleep(30)

    return script


def drips(data: bytes, seconds: float) -> Script:
    """Return a script that sends byte after byte with a pause after each, again and again."""

    async def script(connection: Connection) -> None:
        await connection.send(head())
        while True:
            for byte in data:
                await connection.send(bytes([byte]))
                await asyncio.sleep(seconds)

    return script


async def resets(connection: Connection) -> None:
    """Break the connection without an answer."""
    connection.reset()
