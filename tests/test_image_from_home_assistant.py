"""Pictures that Home Assistant serves itself, asked of its real server with authentication on."""

from http import HTTPStatus
import logging
from pathlib import Path
import socket

from aiohttp import web
from homeassistant.components.http import KEY_AUTHENTICATED, HomeAssistantView
from homeassistant.components.http.server import HomeAssistantHTTP
from homeassistant.core import HomeAssistant
from homeassistant.core_config import async_process_ha_core_config
from homeassistant.setup import async_setup_component
import pytest
from yarl import URL

from custom_components.ollama_vision import image_source
from custom_components.ollama_vision.const import AnalysisFault
from custom_components.ollama_vision.image_source import ImageSourceError

from .image_sources import PICTURE, everything_printed, failure, get, picture_at, response
from .servers.certificates import self_signed
from .servers.faulty import FaultyServer

# The test plugin replaces both while a test runs; here the real ones are wanted.
BIND, START = HomeAssistantHTTP.async_bind, HomeAssistantHTTP.start


class PictureView(HomeAssistantView):
    """A view that gives what it is told, one answer after the other, the last one again and again."""

    name = "api:picture"

    def __init__(self, url: str, *answers: bytes | HTTPStatus, requires_auth: bool = True) -> None:
        """Take the path and the answers."""
        self.url = url
        self.requires_auth = requires_auth
        self.requests: list[web.Request] = []
        self._answers = list(answers or (PICTURE,))

    async def get(self, request: web.Request, **_: str) -> web.Response:
        """Answer, and keep what was asked."""
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer == HTTPStatus.FOUND:
            return web.Response(status=answer, headers={"Location": "/api/elsewhere"})
        return web.Response(body=answer) if isinstance(answer, bytes) else web.Response(status=answer)


@pytest.fixture
async def http(
    hass: HomeAssistant, socket_enabled: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Set up the HTTP component for a free port of 127.0.0.1, with authentication and nothing listening yet."""
    caplog.set_level(logging.WARNING, "aiohttp.access")  # as Home Assistant starts
    monkeypatch.setattr(image_source, "LATE_DELAYS", (0.01, 0.01, 0.01))
    assert await async_setup_component(hass, "http", {})
    with socket.create_server(("127.0.0.1", 0)) as free:
        hass.http.server_port = free.getsockname()[1]
    hass.http.server_host = ["127.0.0.1"]


@pytest.fixture
async def home(hass: HomeAssistant, http: None) -> str:
    """Start Home Assistant's own server; return its address. It stops with Home Assistant."""
    await BIND(hass.http)
    await START(hass.http)
    return f"http://127.0.0.1:{hass.http.server_port}"


@pytest.mark.parametrize("requires_auth", [True, False])
@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("/api/frigate/notifications/1607123955.475377-mxklsc/thumbnail.jpg", {"event": "1607123955.475377-mxklsc"}),
        ("/api/frigate/notifications/a%20b/thumbnail.jpg", {"event": "a b"}),
        ("/api/frigate/notifications/a%2Fb%252F/thumbnail.jpg", {"event": "a/b%2F"}),
        ("/api/frigate/notifications/a b/thumbnail.jpg?x=c d&x=e%26f&width=3&y=", {"event": "a b"}),
        ("/api/frigate/notifications/ü/thumbnail.jpg?authSig=expired", {"event": "ü"}),
    ],
)
async def test_a_path_is_asked_of_this_home_assistant(
    hass: HomeAssistant, home: str, path: str, match: dict[str, str], requires_auth: bool
) -> None:
    """As a user who is logged in, from an automation that has none, without an internal URL."""
    view = PictureView("/api/frigate/notifications/{event}/thumbnail.jpg", requires_auth=requires_auth)
    hass.http.register_view(view)
    assert await get(hass, path) == PICTURE
    (request,) = view.requests
    assert request[KEY_AUTHENTICATED]
    assert dict(request.match_info) == match
    if "x=c" in path:
        assert [item for item in request.query.items() if item[0] != "authSig"] == [
            ("x", "c d"),
            ("x", "e&f"),
            ("width", "3"),
            ("y", ""),
        ]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:{port}", "user:hunter2@127.0.0.1:{port}", "127.0.0.2:{port}", "localhost:{port}", "ha.test:8123"],
)
async def test_its_own_url_is_asked_of_itself(hass: HomeAssistant, home: str, host: str) -> None:
    """Also where the internal URL leads nowhere from here."""
    await async_process_ha_core_config(hass, {"internal_url": "http://ha.test:8123"})
    view = PictureView("/api/picture")
    hass.http.register_view(view)
    assert await get(hass, f"http://{host.format(port=hass.http.server_port)}/api/picture") == PICTURE
    assert "Authorization" not in view.requests[0].headers


@pytest.mark.parametrize("bound", [None, ["0.0.0.0", "::"]])  # noqa: S104  (nothing binds)
async def test_a_server_bound_to_everything_is_asked_over_loopback(
    hass: HomeAssistant, home: str, bound: list[str] | None
) -> None:
    """As installed."""
    hass.http.register_view(PictureView("/api/picture"))
    hass.http.server_host = bound
    assert await get(hass, "/api/picture") == PICTURE


async def test_its_own_server_may_speak_tls_with_any_certificate(
    hass: HomeAssistant, http: None, tmp_path: Path
) -> None:
    """It is bound to the name of the outside, and is asked at 127.0.0.1."""
    with self_signed("127.0.0.1") as (certificate, key):
        hass.http.ssl_certificate, hass.http.ssl_key = str(certificate), str(key)
        await BIND(hass.http)
    await START(hass.http)
    hass.http.register_view(PictureView("/api/picture"))
    assert await get(hass, "/api/picture") == PICTURE
    assert await get(hass, f"https://127.0.0.1:{hass.http.server_port}/api/picture") == PICTURE


@pytest.mark.parametrize("late", [HTTPStatus.NOT_FOUND, b""])
async def test_its_picture_may_be_a_moment_late(hass: HomeAssistant, home: str, late: bytes | HTTPStatus) -> None:
    """Frigate announces an event before its pictures can be had."""
    view = PictureView("/api/frigate/late.jpg", late, late, PICTURE, requires_auth=False)
    hass.http.register_view(view)
    assert await get(hass, "/api/frigate/late.jpg") == PICTURE
    assert len(view.requests) == 3


@pytest.mark.parametrize(
    ("answer", "requests", "fault", "said"),
    [
        (HTTPStatus.NOT_FOUND, 4, AnalysisFault.IMAGE_NOT_FOUND, "There is no picture at /api/picture."),
        (b"", 4, AnalysisFault.IMAGE_NOT_FOUND, "/api/picture is empty."),
        (HTTPStatus.UNAUTHORIZED, 1, AnalysisFault.IMAGE_FORBIDDEN, "/api/picture refuses access (status 401)"),
        (HTTPStatus.SERVICE_UNAVAILABLE, 1, AnalysisFault.IMAGE_UNREACHABLE, "with the status 503"),
        (HTTPStatus.FOUND, 1, AnalysisFault.IMAGE_UNREACHABLE, "with the status 302"),
        (b"<!DOCTYPE html>", 1, AnalysisFault.NOT_AN_IMAGE, "/api/picture is a web page"),
    ],
)
async def test_its_failures_are_told(
    hass: HomeAssistant,
    home: str,
    caplog: pytest.LogCaptureFixture,
    answer: bytes | HTTPStatus,
    requests: int,
    fault: AnalysisFault,
    said: str,
) -> None:
    """A refused login is never tried again, for it would get this machine banned; a redirect is not followed."""
    view = PictureView("/api/picture", answer)
    elsewhere = PictureView("/api/elsewhere")
    hass.http.register_view(view)
    hass.http.register_view(elsewhere)
    with pytest.raises(ImageSourceError) as caught:
        await get(hass, "/api/picture")
    assert (len(view.requests), elsewhere.requests) == (requests, [])
    assert caught.value.fault is fault
    printed = everything_printed(caught.value)
    assert said in printed
    signature = view.requests[0].query["authSig"]
    assert signature not in printed + caplog.text


async def test_a_server_that_is_not_up_yet_is_told(hass: HomeAssistant, http: None) -> None:
    """An automation can run before it."""
    kind, text = await failure(get(hass, "/api/picture"))
    assert kind is AnalysisFault.IMAGE_UNREACHABLE
    assert "/api/picture cannot be reached" in text


@pytest.mark.parametrize(
    "path",
    ["/api/picture", "/api/camera_proxy/camera.porch", "/local/x.jpg", "/api/frigate/notifications/1/thumbnail.jpg"],
)
async def test_nothing_of_this_home_assistant_goes_to_another_host(hass: HomeAssistant, home: str, path: str) -> None:
    """A path that looks like one of its own is asked of whoever is named, as a stranger."""
    async with FaultyServer([response()]) as other:
        assert await get(hass, picture_at(other, path)) == PICTURE
        (request,) = other.requests
        assert (request.method, request.path, request.query) == ("GET", path, "")
        assert not {"Authorization", "Cookie"} & set(request.headers)


@pytest.mark.parametrize("path", ["//127.0.0.1:{port}/api/picture", "/%2F127.0.0.1:{port}/api/picture"])
@pytest.mark.parametrize("start", ["", "{home}", "{home}/api/.."])
async def test_no_path_leads_to_another_host(hass: HomeAssistant, home: str, start: str, path: str) -> None:
    """Two slashes begin the name of a host."""
    async with FaultyServer([response()]) as other:
        await failure(get(hass, start.format(home=home) + path.format(port=URL(other.url).port)))
        assert other.requests == []
