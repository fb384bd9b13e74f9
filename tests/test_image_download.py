"""Pictures over HTTP from servers that break every rule, on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, repeat
import socket
import ssl
import tracemalloc
import zlib

from aiohttp.abc import AbstractResolver, ResolveResult
from homeassistant.core import HomeAssistant
from homeassistant.helpers import aiohttp_client
from homeassistant.setup import async_setup_component
import pytest
from yarl import URL

from custom_components.ollama_vision import image_download, image_source
from custom_components.ollama_vision.const import AnalysisFault
from custom_components.ollama_vision.image_errors import ImageSourceError
from custom_components.ollama_vision.image_source import fetch, parse_source

from .image_sources import PICTURE, everything_printed, failure, get, picture_at, response
from .servers.certificates import self_signed
from .servers.faulty import FaultyServer, Part, Script, Step, chunk, head

MEGABYTE = 1024 * 1024
CHUNKED = head(Transfer_Encoding="chunked")


def redirect(location: str) -> bytes:
    """Return a response that sends on."""
    return response(b"", status=302, Location=location)


@pytest.fixture(autouse=True)
async def _home(hass: HomeAssistant, socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Home Assistant know its own address, and shrink the waits that a test would wait out."""
    assert await async_setup_component(hass, "http", {})
    monkeypatch.setattr(image_source, "LATE_DELAYS", (0.01, 0.01, 0.01))


async def test_a_picture_comes_byte_for_byte_whatever_the_header_says(hass: HomeAssistant) -> None:
    """Cheap cameras say text/html."""
    async with FaultyServer([response(content_type="text/html")]) as server:
        assert await get(hass, picture_at(server)) == PICTURE


async def test_a_packed_answer_is_unpacked(hass: HomeAssistant) -> None:
    """A proxy may pack what it passes on."""
    packed = zlib.compress(PICTURE, wbits=31)
    async with FaultyServer([response(packed, Content_Encoding="gzip")]) as server:
        assert await get(hass, picture_at(server)) == PICTURE


async def test_user_and_password_go_to_their_host_only(hass: HomeAssistant) -> None:
    """A redirect to another server does not take them along."""
    async with (
        FaultyServer([response()]) as other,
        FaultyServer([redirect(picture_at(other))]) as server,
    ):
        assert await get(hass, picture_at(server, user="admin:hunter2")) == PICTURE
        assert server.requests[0].headers["Authorization"] == "Basic YWRtaW46aHVudGVyMg=="
        assert "Authorization" not in other.requests[0].headers


@pytest.mark.parametrize(
    ("answer", "fault", "said"),
    [
        (response(b"no", status=404), AnalysisFault.IMAGE_NOT_FOUND, "There is no picture at"),
        (response(b""), AnalysisFault.IMAGE_NOT_FOUND, "is empty"),
        (response(b"no", status=401), AnalysisFault.IMAGE_FORBIDDEN, "refuses access (status 401)"),
        (response(b"no", status=403), AnalysisFault.IMAGE_FORBIDDEN, "refuses access (status 403)"),
        (response(b"no", status=500), AnalysisFault.IMAGE_UNREACHABLE, "answers with the status 500"),
        (response(PICTURE, status=206), AnalysisFault.IMAGE_UNREACHABLE, "answers with the status 206"),
        (
            response(b"\xef\xbb\xbf \n<!-- hi --><!DOCTYPE html><html>Log in", content_type="image/jpeg"),
            AnalysisFault.NOT_AN_IMAGE,
            "is a web page",
        ),
        (response(b"<HTML>Log in"), AnalysisFault.NOT_AN_IMAGE, "is a web page"),
        (response(PICTURE[:99], Content_Length="999"), AnalysisFault.IMAGE_UNREACHABLE, "broke off"),
        (response(b"plain" * 99, Content_Encoding="gzip"), AnalysisFault.IMAGE_UNREACHABLE, "broke off"),
        (b"", AnalysisFault.IMAGE_UNREACHABLE, "broke off"),
        (b"SSH-2.0-OpenSSH_10.0\r\n", AnalysisFault.IMAGE_UNREACHABLE, "does not keep to HTTP"),
        (redirect("/picture.jpg"), AnalysisFault.IMAGE_UNREACHABLE, "in circles"),
        (
            redirect("ftp://127.0.0.1/x"),
            AnalysisFault.IMAGE_FORBIDDEN,
            "redirects to where no",
        ),
        (redirect("http://[bad"), AnalysisFault.IMAGE_FORBIDDEN, "redirects to where no"),
        (redirect("file:///etc/passwd"), AnalysisFault.IMAGE_FORBIDDEN, "redirects to where"),
    ],
)
async def test_each_failure_has_its_name_and_sentence(
    hass: HomeAssistant, answer: bytes, fault: AnalysisFault, said: str
) -> None:
    """An automation can tell them apart, and a person knows what to do."""
    async with FaultyServer([answer]) as server:
        kind, text = await failure(get(hass, picture_at(server)))
    assert kind is fault
    assert said in text
    assert picture_at(server) in text


async def test_a_server_that_sends_for_ever_is_left_at_20_megabytes(hass: HomeAssistant) -> None:
    """The limit counts what arrives, and the memory stays bounded."""
    async with FaultyServer(chain([CHUNKED], repeat(chunk(bytes(0x10000))))) as server, bounded_memory(64):
        kind, text = await failure(get(hass, picture_at(server)))
    assert kind is AnalysisFault.IMAGE_TOO_LARGE
    assert "larger than 20 MB" in text


async def test_twenty_megabytes_are_taken_and_a_byte_more_is_not(hass: HomeAssistant) -> None:
    """The limit is what it says."""
    async with FaultyServer([response(bytes(20 * MEGABYTE))], [response(bytes(20 * MEGABYTE + 1))]) as server:
        assert len(await get(hass, picture_at(server))) == 20 * MEGABYTE
        assert (await failure(get(hass, picture_at(server))))[0] is AnalysisFault.IMAGE_TOO_LARGE


@pytest.mark.parametrize("pause", [0, 0.05])
async def test_a_server_that_says_10_bytes_and_sends_30_megabytes(hass: HomeAssistant, pause: float) -> None:
    """What it said is believed, or the server is not: what comes after is not read in either case."""
    sent = 0

    def script() -> Script:
        nonlocal sent
        yield response(PICTURE, Content_Length="10")
        for _ in range(30):
            yield pause
            yield bytes(MEGABYTE)
            sent += 1

    async with FaultyServer(script()) as server, bounded_memory(20):
        kind, text = await failure(get(hass, picture_at(server)))
    assert kind is AnalysisFault.IMAGE_UNREACHABLE
    assert "does not keep to HTTP" in text
    assert sent < 30


async def test_a_gzip_that_unpacks_to_gigabytes_is_left_at_20_megabytes(hass: HomeAssistant) -> None:
    """It is unpacked a piece at a time: 4 GB in 4 MB."""
    packer = zlib.compressobj(9, wbits=31)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush the stream knows nothing of what came before, so one piece can be sent again and again.
    packer.compress(bytes(MEGABYTE))
    packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(16 * MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    body = start + piece * 256
    async with FaultyServer([response(body, Content_Encoding="gzip")]) as server, bounded_memory(64):
        kind, text = await failure(get(hass, picture_at(server)))
    assert len(body) < 5 * MEGABYTE
    assert kind is AnalysisFault.IMAGE_TOO_LARGE
    assert "larger than 20 MB" in text


# Each goes on for as long as the test waits for its failure.
SLOW = {
    "stops in the middle": (response(PICTURE[:99], Content_Length="999"), Step.HANG),
    "a byte now and then, which no limit of silence would notice": (CHUNKED, *(chunk(b"x"), 0.02) * 500),
    "never comes to the body": (CHUNKED.removesuffix(b"\r\n"), *(b"X: y\r\n", 0.02) * 500),
    "says nothing": (Step.HANG,),
}


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW)
async def test_the_time_in_all_is_limited(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    """However slowly a server goes on."""
    monkeypatch.setattr(image_source, "TOTAL_SECONDS", 0.3)
    async with FaultyServer(script) as server, asyncio.timeout(10):
        kind, text = await failure(get(hass, picture_at(server)))
    assert kind is AnalysisFault.IMAGE_UNREACHABLE
    assert "has not given a picture within 0.3 seconds" in text


async def test_the_time_to_connect_is_limited(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that drops packets answers nothing at all: here one whose queue of connections is full."""
    monkeypatch.setattr(image_download, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.settimeout(0)
            client.connect_ex(address)
        await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            kind, text = await failure(get(hass, f"http://127.0.0.1:{address[1]}/x.jpg"))
        for client in waiting:
            client.close()
    assert kind is AnalysisFault.IMAGE_UNREACHABLE
    assert "cannot be reached" in text


async def test_a_closed_port_cannot_be_reached(hass: HomeAssistant) -> None:
    """The device is off, or the port is wrong."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kind, text = await failure(get(hass, f"http://127.0.0.1:{port}/x.jpg"))
    assert kind is AnalysisFault.IMAGE_UNREACHABLE
    assert "cannot be reached" in text


class Resolver(AbstractResolver):
    """A name server of the test's own: it knows addresses by name and port, and nothing else."""

    def __init__(self, known: dict[tuple[str, int], str]) -> None:
        """Take the addresses."""
        self._known = known

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> list[ResolveResult]:
        """Answer as a name server does."""
        if (address := self._known.get((host, port))) is None:
            raise OSError(None, f"no such name: {host}")
        return [{"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Have nothing to close."""

    real_close = close


async def test_a_host_that_does_not_resolve_is_named(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt name is not a device that is off."""
    monkeypatch.setattr(aiohttp_client, "_async_make_resolver", lambda _: Resolver({}))
    kind, text = await failure(get(hass, "http://user:hunter2@frigat.test/x.jpg"))
    assert kind is AnalysisFault.IMAGE_UNREACHABLE
    assert "The name of the host in http://frigat.test/x.jpg cannot be found" in text


@pytest.mark.parametrize(
    ("host", "fault", "said"),
    [
        ("%20", AnalysisFault.IMAGE_UNREACHABLE, "cannot be found"),
        ("a..b", AnalysisFault.IMAGE_UNREACHABLE, "cannot be found"),
        ("x" * 300, AnalysisFault.IMAGE_UNREACHABLE, "cannot be found"),
        ("999.999.999.999", AnalysisFault.IMAGE_FORBIDDEN, "is no place a picture can come from"),
    ],
)
async def test_a_host_that_cannot_be_one_is_told(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, host: str, fault: AnalysisFault, said: str
) -> None:
    """Whichever part of the HTTP client finds out."""
    monkeypatch.setattr(aiohttp_client, "_async_make_resolver", lambda _: Resolver({}))
    kind, text = await failure(get(hass, f"http://user:hunter2@{host}/x.jpg"))
    assert kind is fault
    assert said in text
    assert "hunter2" not in text


async def test_a_redirect_from_elsewhere_into_this_machine_is_refused(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's server does not get at what listens only here.

    The name has an outside address for Home Assistant's guard, which asks for port 0, and the test's own for the rest.
    """
    async with (
        FaultyServer([response()]) as inside,
        FaultyServer([redirect(picture_at(inside))]) as server,
    ):
        port = URL(server.url).port
        assert port
        names = Resolver({("outside.test", 0): "203.0.113.7", ("outside.test", port): "127.0.0.1"})
        monkeypatch.setattr(aiohttp_client, "_async_make_resolver", lambda _: names)
        kind, text = await failure(get(hass, f"http://outside.test:{port}/x.jpg"))
        assert kind is AnalysisFault.IMAGE_FORBIDDEN
        assert "redirects to where no picture is fetched: to this machine" in text
        assert inside.requests == []


@pytest.fixture
def tls() -> ssl.SSLContext:
    """Return what a server with a certificate of its own making presents."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with self_signed("127.0.0.1") as files:
        context.load_cert_chain(*files)
    return context


async def test_a_certificate_that_does_not_verify_is_told(hass: HomeAssistant, tls: ssl.SSLContext) -> None:
    """Nobody is asked to trust whoever answers."""
    async with FaultyServer([response()], tls=tls) as server:
        kind, text = await failure(get(hass, picture_at(server)))
        assert server.requests == []
    assert kind is AnalysisFault.IMAGE_UNREACHABLE
    assert f"no secure connection with {picture_at(server)}: its certificate" in text


async def test_https_on_a_port_without_tls_is_told(hass: HomeAssistant) -> None:
    """The most common slip with https."""
    async with FaultyServer([response()]) as server:
        kind, text = await failure(get(hass, picture_at(server).replace("http", "https")))
    assert kind is AnalysisFault.IMAGE_UNREACHABLE
    assert "does not speak TLS" in text


@pytest.mark.parametrize("late", [response(b"no", status=404), response(b"")])
@pytest.mark.parametrize("path", ["/api/events/1607123955.4-mx/snapshot.jpg", "/prefix/api/frigate/x/thumbnail.jpg"])
async def test_frigates_picture_may_be_a_moment_late(hass: HomeAssistant, late: bytes, path: str) -> None:
    """Frigate announces an event before its pictures can be had."""
    async with FaultyServer([late], [late], [response()]) as server:
        assert await get(hass, picture_at(server, path)) == PICTURE
        assert len(server.requests) == 3


async def test_frigates_picture_that_never_comes_is_not_found(hass: HomeAssistant) -> None:
    """It is asked for a few times, and not for ever."""
    async with FaultyServer([response(b"no", status=404)]) as server:
        kind, _ = await failure(get(hass, picture_at(server, "/api/events/1/snapshot.jpg")))
        assert kind is AnalysisFault.IMAGE_NOT_FOUND
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("status", "path"), [(401, "/api/events/1/snapshot.jpg"), (500, "/api/events/1/snapshot.jpg"), (404, "/x.jpg")]
)
async def test_nothing_else_is_asked_for_again(hass: HomeAssistant, status: int, path: str) -> None:
    """A wrong password is not tried until the account is locked, and another server's 404 is an answer."""
    async with FaultyServer([response(b"no", status=status)]) as server:
        await failure(get(hass, picture_at(server, path)))
        assert len(server.requests) == 1


SECRET_ANSWERS: list[Part] = [
    response(b"no", status=404),
    response(b"no", status=500),
    response(b""),
    response(b"<html>"),
    response(PICTURE[:9], Content_Length="99"),
    response(b"plain" * 99, Content_Encoding="gzip"),
    b"SSH-2.0\r\n",
    b"",
    redirect("/picture.jpg?token=hunter2"),
    redirect("ftp://u:hunter2@127.0.0.1/"),
    redirect("http://u:hunter2@[bad/"),
    Step.HANG,
]


@pytest.mark.parametrize("answer", SECRET_ANSWERS)
async def test_no_secret_is_told(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer: Part
) -> None:
    """Neither a sentence, a traceback, an event nor a log line holds what is secret in a URL."""
    monkeypatch.setattr(image_source, "TOTAL_SECONDS", 0.5 if answer is Step.HANG else 10)
    async with FaultyServer([answer]) as server:
        source = parse_source(hass, picture_at(server, "/picture.jpg?token=hunter2&w=1", user="admin:hunter2"))
        with pytest.raises(ImageSourceError) as caught:
            await fetch(hass, source)
        assert "hunter2" in server.requests[0].query
    assert "hunter2" not in everything_printed(caught.value) + repr(source) + source.public_url + caplog.text
    assert "/picture.jpg?w=1" in everything_printed(caught.value)


@asynccontextmanager
async def bounded_memory(megabytes: int) -> AsyncIterator[None]:
    """Fail where Python's memory grows by more than this within."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < megabytes * MEGABYTE
