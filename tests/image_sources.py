"""What the tests of picture sources share: a server without manners, a certificate, and the sentence a user reads."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from ipaddress import ip_address
import json
from pathlib import Path
import ssl
import traceback
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from homeassistant.core import HomeAssistant
from homeassistant.core_config import async_process_ha_core_config
from homeassistant.setup import async_setup_component
import pytest

import custom_components.ollama_vision
from custom_components.ollama_vision.const import AnalysisFault
from custom_components.ollama_vision.image_source import ImageSourceError, fetch, parse_source

type Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

PICTURE = (Path(__file__).parent / "pictures" / "red.jpg").read_bytes()
TLS_HANDSHAKE = b"\x16"

_TRANSLATIONS = json.loads(
    (Path(custom_components.ollama_vision.__file__).parent / "translations" / "en.json").read_text()
)


def sentence(error: ImageSourceError) -> str:
    """Return what a user reads."""
    message: str = _TRANSLATIONS["exceptions"][error.translation_key]["message"]
    return message.format(**error.placeholders)


async def set_up_home(hass: HomeAssistant, root: Path) -> None:
    """Give Home Assistant folders, as its configuration does, and addresses at which nothing listens."""
    for folder in ("config/www", "config/media/cam", "share", "private"):
        (root / folder).mkdir(parents=True)
    hass.config.config_dir = str(root / "config")
    await async_process_ha_core_config(
        hass,
        {
            "allowlist_external_dirs": [str(root / "share")],
            "media_dirs": {"local": str(root / "config" / "media"), "share": str(root / "share")},
            "internal_url": "http://ha.test:8123",
            "external_url": "https://ha.example.com",
        },
    )
    assert await async_setup_component(hass, "http", {})
    hass.http.server_port = 8123


async def get(hass: HomeAssistant, value: str) -> bytes:
    """Fetch as the action does."""
    return await fetch(hass, parse_source(hass, value))


async def failure(fetching: Awaitable[bytes]) -> tuple[AnalysisFault, str]:
    """Return the fault and the sentence with which fetching ends."""
    with pytest.raises(ImageSourceError) as caught:
        await fetching
    return caught.value.fault, sentence(caught.value)


def everything_printed(error: ImageSourceError) -> str:
    """Return all that a log could hold of an error."""
    return "\n".join((sentence(error), str(error), repr(error), *traceback.format_exception(error)))


def response(body: bytes = PICTURE, *, status: int = HTTPStatus.OK, **headers: str) -> bytes:
    """Return a whole HTTP response; `Content_Type="image/jpeg"` is a header, and any other one replaces the length."""
    lines = {"Content-Length": str(len(body)), "Connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode() + body


def make_certificate(folder: Path) -> Path:
    """Return a file with a key and the certificate for it that nobody else vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "home")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    pem = serialization.Encoding.PEM
    file.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


class RawServer:
    """A server on 127.0.0.1 that writes what it is told, for what no well-behaved server does.

    Each connection gets one answer, in the order given, the last one again and again. `requests` are the heads that
    came.
    """

    def __init__(self, *answers: bytes | Answer, tls: ssl.SSLContext | None = None) -> None:
        """Take whole answers, or functions that write them."""
        self.requests: list[str] = []
        self.port = 0
        self._answers = list(answers)
        self._tls = tls
        self._connections: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/picture.jpg", *, user: str = "") -> str:
        """Return the address of a path, with `user:password` if given."""
        return f"{'https' if self._tls else 'http'}://{user and f'{user}@'}127.0.0.1:{self.port}{path}"

    async def __aenter__(self) -> Self:
        """Start listening."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and drop whoever still listens."""
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._server.abort_clients()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if connection := asyncio.current_task():
            self._connections.add(connection)
        try:
            start = await reader.readexactly(1)
            if start == TLS_HANDSHAKE:
                writer.write(response(b"", status=400))
                return
            self.requests.append((start + await reader.readuntil(b"\r\n\r\n")).decode())
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except OSError, EOFError:
            pass  # the client has had enough
        finally:
            writer.close()
