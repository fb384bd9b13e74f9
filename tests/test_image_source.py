"""What a picture's name stands for, who may see it, and how it comes from disk, entities, media sources and itself."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
import os
from pathlib import Path
from typing import override
from unittest.mock import Mock

from homeassistant.auth.models import User
from homeassistant.components import camera, image
from homeassistant.components.media_source import MediaSource, MediaSourceItem, PlayMedia, Unresolvable
from homeassistant.core import Context, HomeAssistant
from homeassistant.core_config import async_process_ha_core_config
from homeassistant.exceptions import HomeAssistantError, Unauthorized, UnknownUser
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockModule, MockUser, mock_integration, mock_platform

from custom_components.ollama_vision import image_source
from custom_components.ollama_vision.const import AnalysisFault
from custom_components.ollama_vision.image_source import (
    ImageSource,
    ImageSourceError,
    check_permission,
    entity_source,
    fetch,
    parse_source,
)

from .image_sources import PICTURE, everything_printed, failure, sentence

MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
async def _home(hass: HomeAssistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Home Assistant its folders, as its configuration does, and no time to wait for late files."""
    monkeypatch.setattr(image_source, "LATE_DELAYS", (0.01, 0.01, 0.01))
    for folder in ("config/www", "config/media/cam", "share", "private"):
        (tmp_path / folder).mkdir(parents=True)
    hass.config.config_dir = str(tmp_path / "config")
    await async_process_ha_core_config(
        hass,
        {
            "allowlist_external_dirs": [str(tmp_path / "share")],
            "media_dirs": {"local": str(tmp_path / "config" / "media"), "share": str(tmp_path / "share")},
            "internal_url": "http://ha.test:8123",
            "external_url": "https://ha.example.com",
        },
    )
    assert await async_setup_component(hass, "http", {})
    hass.http.server_port = 8123


async def get(hass: HomeAssistant, value: str) -> bytes:
    """Fetch as the action does."""
    return await fetch(hass, parse_source(hass, value))


def refusal(hass: HomeAssistant, value: str) -> ImageSourceError:
    """Return the error with which a value is refused before anything is fetched."""
    with pytest.raises(ImageSourceError) as caught:
        parse_source(hass, value)
    return caught.value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://cam/x.jpg?w=1", "http://cam/x.jpg?w=1"),
        (" https://user:hunter2@cam/x.jpg#hunter2 ", "https://cam/x.jpg"),
        ("/api/frigate/notifications/1.2-ab/thumbnail.jpg", "/api/frigate/notifications/1.2-ab/thumbnail.jpg"),
        ("/api/frigate/x.jpg?authSig=hunter2&h=3", "/api/frigate/x.jpg?h=3"),
        ("/local/a b.jpg?v=1", "/local/a b.jpg?v=1"),
        ("www/x.jpg", "/local/x.jpg"),
        ("/config/www/x#1.jpg", "/config/www/x#1.jpg"),
        ("media-source://media_source/local/x.jpg", "media-source://media_source/local/x.jpg"),
        ("media-source://camera/camera.porch", "media-source://camera/camera.porch"),
        ("data:image/png;base64,aHVudGVyMg==", "data:image/png;base64,"),
        ("data:image/svg+xml;charset=utf-8;base64,aHVudGVyMg==", "data:image/svg+xml;charset=utf-8;base64,"),
        (
            "http://ha.test:8123/api/camera_proxy/camera.porch?token=hunter2",
            "http://ha.test:8123/api/camera_proxy/camera.porch",
        ),
    ],
)
async def test_the_public_form_is_what_was_given_without_its_secrets(
    hass: HomeAssistant, value: str, shown: str
) -> None:
    """Events and sensors show it; the reference prints as little."""
    source = parse_source(hass, value)
    assert source.public_url == shown
    assert "hunter2" not in repr(source)
    assert "aHVudGVyMg" not in repr(source)


@pytest.mark.parametrize(
    ("entity_id", "path"), [("camera.a", "/api/camera_proxy/camera.a"), ("image.b", "/api/image_proxy/image.b")]
)
async def test_the_public_form_of_an_entity_is_its_proxy_path(entity_id: str, path: str) -> None:
    """A phone can show it."""
    assert entity_source(entity_id).public_url == path


NAMES_OF_A_CAMERA = [
    "/api/camera_proxy/camera.porch",
    "/api/camera_proxy/camera.porch?token=abc&width=640",
    "/api/camera_proxy_stream/camera.porch",
    "/api//camera_proxy///camera.porch/",
    "/api/./x/../camera_proxy/camera.porch",
    "/local/../api/camera_proxy/camera.porch",
    "/api%2Fcamera_proxy%2Fcamera.porch",
    "/api/camera%5Fproxy/camera%2Eporch",
    "/api/%63amera_proxy/camera.porch",
    "/api/x%2F..%2Fcamera_proxy/camera.porch",
    "http://ha.test:8123/api/camera_proxy/camera.porch",
    "http://HA.test:8123/api//camera_proxy/camera.porch?token=abc",
    "http://user:pw@ha.test:8123/api/x/%2e%2e/camera_proxy/camera.porch",
    "https://ha.example.com/api/camera_proxy/camera.porch",
    "https://ha.example.com:443/api/camera_proxy/camera.porch",
    "http://127.0.0.1:8123/api/camera_proxy/camera.porch",
    "http://127.9.9.9:8123/api/camera_proxy/camera.porch",
    "http://0.0.0.0:8123/api/camera_proxy/camera.porch",
    "http://[::1]:8123/api/camera_proxy/camera.porch",
    "http://localhost:8123/api/camera_proxy/camera.porch",
    "media-source://camera/camera.porch",
]


@pytest.mark.parametrize("value", [*NAMES_OF_A_CAMERA, "entity"])
async def test_a_camera_needs_permission_however_it_is_named(
    hass: HomeAssistant, hass_admin_user: MockUser, value: str
) -> None:
    """A user who may not see a camera does not get it by another name; all others do."""
    sources = [entity_source("camera.porch") if value == "entity" else parse_source(hass, value)]
    for user in (await stranger(hass), await allowed_to_read(hass, "camera.other")):
        with pytest.raises(Unauthorized) as caught:
            await check_permission(hass, Context(user_id=user.id), sources)
        assert caught.value.entity_id == "camera.porch"
    await check_permission(hass, Context(user_id=(await allowed_to_read(hass, "camera.porch")).id), sources)
    await check_permission(hass, Context(user_id=hass_admin_user.id), sources)
    await check_permission(hass, Context(), sources)


@pytest.mark.parametrize(
    "value", ["/api/image_proxy/image.map", "/api/image_proxy_stream/image.map", "media-source://image/image.map"]
)
async def test_an_image_entity_needs_permission_too(hass: HomeAssistant, value: str) -> None:
    """Among other pictures that need none."""
    sources = [parse_source(hass, "http://cam/x.jpg"), parse_source(hass, value)]
    with pytest.raises(Unauthorized):
        await check_permission(hass, Context(user_id=(await stranger(hass)).id), sources)


async def test_other_pictures_need_no_permission(hass: HomeAssistant) -> None:
    """Whoever may call the action may have them looked at."""
    sources = [parse_source(hass, value) for value in ("http://cam/x.jpg", "/local/x.jpg", "/api/frigate/x.jpg")]
    await check_permission(hass, Context(user_id=(await stranger(hass)).id), sources)


async def test_a_user_who_is_gone_may_nothing(hass: HomeAssistant) -> None:
    """A context can outlive its user."""
    with pytest.raises(UnknownUser):
        await check_permission(hass, Context(user_id="gone"), [])


async def stranger(hass: HomeAssistant) -> User:
    """Return a user without any right."""
    return MockUser().add_to_hass(hass)


async def allowed_to_read(hass: HomeAssistant, entity_id: str) -> User:
    """Return a user who may read this entity, and no other."""
    user = MockUser().add_to_hass(hass)
    user.mock_policy({"entities": {"entity_ids": {entity_id: {"read": True}}}})
    return user


@pytest.mark.parametrize(
    "value",
    [
        "",
        "front door",
        "camera.porch",
        "x.jpg",
        "../www/x.jpg",
        "ftp://cam/x.jpg",
        "file:///config/www/x.jpg",
        "rtsp://cam/stream",
        "javascript:alert(1)",
        "http://",
        "http:///x.jpg",
        "http://[::1/x.jpg",
        "http://cam:99999/x.jpg",
        "http://cam/\r\nHost: other",
        "/local/a%00b.jpg",
        "/local/a\0b.jpg",
        "//[/x.jpg",
        "http://ha.test:8123//cam/x.jpg",
        "http://ha.test:8123//api/camera_proxy/camera.porch",
        "MEDIA-SOURCE://x/y",
    ],
)
async def test_nonsense_is_refused_at_once(hass: HomeAssistant, value: str) -> None:
    """With the list of what would do."""
    error = refusal(hass, value)
    assert error.fault is AnalysisFault.IMAGE_FORBIDDEN
    assert "is no place a picture can come from. Give an http or https URL" in sentence(error)
    assert not {"\r", "\n", "\0"} & set(error.placeholders["source"])


@pytest.mark.parametrize(
    "value",
    [
        "ftp://user:hunter2@cam/x.jpg",
        "file://hunter2@cam/x.jpg",
        "htp://user:hunter2@cam/?token=hunter2",
        "http://user:hunter2/@cam:port/x.jpg",
        "http://user:hunter2@cam:99999/x.jpg",
        "http://cam:99999/x.jpg?token=hunter2",
        "http://user:hunter2@/x.jpg",
        "user:hunter2@cam/x.jpg",
        "cam/x.jpg?token=hunter2",
    ],
)
async def test_a_refusal_tells_no_secret(hass: HomeAssistant, value: str) -> None:
    """Not even where nobody can tell where a password ends."""
    assert "hunter2" not in everything_printed(refusal(hass, value))


async def test_a_long_value_is_shown_in_part(hass: HomeAssistant) -> None:
    """A sentence stays one."""
    assert len(refusal(hass, "x" * 100_000).placeholders["source"]) == 200


@pytest.mark.parametrize("value", ["data:", "data:image/png,x", "data:text/html;base64,eA==", "data:image/png;base64,"])
async def test_a_data_url_without_a_picture_is_refused(hass: HomeAssistant, value: str) -> None:
    """Only pictures in base64 are taken."""
    error = refusal(hass, value)
    assert error.fault is AnalysisFault.NOT_AN_IMAGE
    assert "starts with data:image/jpeg;base64," in sentence(error)


async def test_a_data_url_is_decoded(hass: HomeAssistant) -> None:
    """As programs write it, in one line or in many."""
    picture = PICTURE * 200
    payload = b64encode(picture).decode()
    lines = "\n".join(payload[start : start + 76] for start in range(0, len(payload), 76))
    assert await get(hass, f"data:image/jpeg;base64,{payload}") == picture
    assert await get(hass, f"DATA:image/jpeg;base64,{lines}\n") == picture


@pytest.mark.parametrize("payload", ["a", "a" * 9, "a" * 200_001, "ä" * 8])
async def test_broken_base64_is_told(hass: HomeAssistant, payload: str) -> None:
    """Which nobody sees before it is decoded."""
    kind, text = await failure(get(hass, f"data:image/png;base64,{payload}"))
    assert kind is AnalysisFault.NOT_AN_IMAGE
    assert "The data: URL holds no picture" in text


async def test_a_data_url_has_the_limit_of_all_pictures(hass: HomeAssistant) -> None:
    """Whether it shows before it is decoded or after."""
    just_over = b64encode(bytes(20 * MEGABYTE + 1)).decode()
    kind, text = await failure(get(hass, f"data:image/png;base64,{just_over}"))
    assert kind is AnalysisFault.IMAGE_TOO_LARGE
    assert text.startswith("data:image/png;base64, is larger than 20 MB")
    assert refusal(hass, f"data:image/png;base64,{just_over * 2}").fault is AnalysisFault.IMAGE_TOO_LARGE


@pytest.mark.parametrize(
    ("value", "file"),
    [
        ("/local/x.jpg", "config/www/x.jpg"),
        ("/local/x.jpg?v=12#now", "config/www/x.jpg"),
        ("/local/sub%20folder/%C3%BC.jpg", "config/www/sub folder/ü.jpg"),
        ("/local/sub folder/ü.jpg", "config/www/sub folder/ü.jpg"),
        ("/local/100%.jpg", "config/www/100%.jpg"),
        ("www/x.jpg", "config/www/x.jpg"),
        ("http://ha.test:8123/local/x.jpg", "config/www/x.jpg"),
        ("/media/local/cam/x.jpg", "config/media/cam/x.jpg"),
        ("/media/share/x.jpg", "share/x.jpg"),
        ("media-source://media_source/local/cam/x.jpg", "config/media/cam/x.jpg"),
        ("media-source://media_source/local/cam/a%20b", "config/media/cam/a%20b"),
        ("{root}/share/x.jpg", "share/x.jpg"),
        ("{root}/share/a%20b?c#d.jpg", "share/a%20b?c#d.jpg"),
        ("{root}/private/../share/x.jpg", "share/x.jpg"),
        ("{root}/config/www/x", "config/www/x"),
    ],
)
async def test_a_file_is_read(hass: HomeAssistant, tmp_path: Path, value: str, file: str) -> None:
    """By its path in Home Assistant, which is part of a URL, by its media id or by its path on disk, which are not."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(PICTURE)
    assert await get(hass, value.format(root=tmp_path)) == PICTURE


@pytest.mark.parametrize(
    "value",
    [
        "{root}/private/x.jpg",
        "{root}/private/missing.jpg",
        "{root}/share/../private/x.jpg",
        "{root}/share/link.jpg",
        "{root}/share/folder/x.jpg",
        "{root}/config/secrets.yaml",
        "/etc/passwd",
        "/local/../secrets.yaml",
        "/local/%2e%2e/secrets.yaml",
        "/local/..%2Fsecrets.yaml",
        "/local/x/../../secrets.yaml",
        "/media/local/../../secrets.yaml",
        "/media/unknown/x.jpg",
        "/api/../../etc/passwd",
        "//etc/passwd",
        "www/../secrets.yaml",
        "/local/link.jpg",
        "/media/share/link.jpg",
        "media-source://media_source/share/link.jpg",
        "http://ha.test:8123/local/link.jpg",
        "//127.0.0.1:8123/local/x.jpg",
    ],
)
async def test_what_is_outside_the_allowed_folders_is_not_read(hass: HomeAssistant, tmp_path: Path, value: str) -> None:
    """Neither by dots nor by symlinks, and nobody learns what is there."""
    for file in ("private/x.jpg", "config/secrets.yaml", "config/www/x.jpg"):
        (tmp_path / file).write_bytes(PICTURE)
    for link in ("share/link.jpg", "config/www/link.jpg"):
        (tmp_path / link).symlink_to(tmp_path / "private" / "x.jpg")
    (tmp_path / "share" / "folder").symlink_to(tmp_path / "private")
    kind, text = await failure(get(hass, value.format(root=tmp_path)))
    assert kind is AnalysisFault.IMAGE_FORBIDDEN
    assert "Add its folder to allowlist_external_dirs" in text


async def test_a_symlink_inside_the_allowed_folders_is_followed(hass: HomeAssistant, tmp_path: Path) -> None:
    """As for a "latest" picture."""
    (tmp_path / "share" / "1.jpg").write_bytes(PICTURE)
    (tmp_path / "config" / "www" / "latest.jpg").symlink_to(tmp_path / "share" / "1.jpg")
    assert await get(hass, "/local/latest.jpg") == PICTURE


async def test_what_is_not_a_file_is_refused(hass: HomeAssistant, tmp_path: Path) -> None:
    """A folder, a pipe that would wait, a device that would not end."""
    hass.config.allowlist_external_dirs.add("/dev")
    os.mkfifo(tmp_path / "share" / "pipe")
    async with asyncio.timeout(1):
        for value in (f"{tmp_path}/share", "/media/local", f"{tmp_path}/share/pipe", "/dev/zero"):
            kind, text = await failure(get(hass, value))
            assert kind is AnalysisFault.IMAGE_FORBIDDEN
            assert f"{value} is not a file" in text


async def test_a_file_that_cannot_be_read_is_told(hass: HomeAssistant, tmp_path: Path) -> None:
    """A broken drive, here a process' memory at address 0, or a name that no drive takes."""
    hass.config.allowlist_external_dirs.add("/proc")
    for value in (f"/proc/{os.getpid()}/mem", f"{tmp_path}/share/{'x' * 300}", f"{tmp_path}/share/\ud800"):
        kind, text = await failure(get(hass, value))
        assert kind is AnalysisFault.IMAGE_FORBIDDEN
        assert "cannot be read. Check the permissions" in text


async def test_files_that_are_missing_empty_or_too_large_are_told_apart(hass: HomeAssistant, tmp_path: Path) -> None:
    """Each has its own sentence."""
    (tmp_path / "share" / "empty.jpg").touch()
    with (tmp_path / "share" / "large.jpg").open("wb") as large:
        large.truncate(1024 * MEGABYTE)
    expected = {
        "missing.jpg": (AnalysisFault.IMAGE_NOT_FOUND, "There is no picture at"),
        "empty.jpg/x": (AnalysisFault.IMAGE_NOT_FOUND, "There is no picture at"),
        "empty.jpg": (AnalysisFault.IMAGE_NOT_FOUND, "is empty"),
        "large.jpg": (AnalysisFault.IMAGE_TOO_LARGE, "is larger than 20 MB"),
    }
    for name, (fault, said) in expected.items():
        kind, text = await failure(get(hass, f"{tmp_path}/share/{name}"))
        assert kind is fault
        assert said in text
        assert f"{tmp_path}/share/{name}" in text


@pytest.mark.parametrize("value", ["/local/late.jpg", "media-source://media_source/share/../local/late.jpg"])
async def test_a_file_of_home_assistants_may_be_a_moment_late(
    hass: HomeAssistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """An automation that saves a picture and asks about it at once."""
    monkeypatch.setattr(image_source, "LATE_DELAYS", (0.1, 0.1, 0.1))
    files = [tmp_path / "config" / folder / "late.jpg" for folder in ("www", "media")]
    fetching = asyncio.create_task(get(hass, value))
    await asyncio.sleep(0.05)
    for file in files:
        file.touch()
    await asyncio.sleep(0.1)
    for file in files:
        file.write_bytes(PICTURE)
    assert await fetching == PICTURE


type Answer = Callable[[], Awaitable[bytes | None]]


class PictureCamera(camera.Camera):
    """A camera whose picture is the test's."""

    def __init__(self, name: str, answer: Answer) -> None:
        """Take what it answers."""
        super().__init__()
        self._attr_name = name
        self._answer = answer

    @override
    async def async_camera_image(self, width: int | None = None, height: int | None = None) -> bytes | None:
        return await self._answer()


class PictureImage(image.ImageEntity):
    """An image entity whose picture is the test's."""

    def __init__(self, hass: HomeAssistant, name: str, answer: Answer) -> None:
        """Take what it answers."""
        super().__init__(hass)
        self._attr_name = name
        self._answer = answer

    @override
    async def async_image(self) -> bytes | None:
        return await self._answer()


async def add_entities(hass: HomeAssistant, answer: Answer) -> list[PictureCamera | PictureImage]:
    """Add `camera.porch` and `image.porch`."""
    for domain in ("camera", "image"):
        assert await async_setup_component(hass, domain, {})
    entities = [PictureCamera("porch", answer), PictureImage(hass, "porch", answer)]
    for entity, key in zip(entities, (camera.const.DATA_COMPONENT, image.const.DATA_COMPONENT), strict=True):
        await hass.data[key].async_add_entities([entity])
    return entities


async def answer_picture() -> bytes:
    """Answer as a camera does that works."""
    return PICTURE


async def answer_nothing() -> None:
    """Answer as a camera does that has no picture."""


async def answer_never() -> None:
    """Answer as a camera does that hangs."""
    await asyncio.sleep(30)


async def answer_known_error() -> None:
    """Answer as a camera does that knows what is wrong, and says too much."""
    raise HomeAssistantError("http://user:hunter2@cam/ is down")


async def answer_unknown_error() -> None:
    """Answer as a camera does that has a bug."""
    raise ZeroDivisionError("http://user:hunter2@cam/")


async def answer_too_much() -> bytes:
    """Answer as no camera should."""
    return bytes(20 * MEGABYTE + 1)


BOTH = pytest.mark.parametrize("entity_id", ["camera.porch", "image.porch"])


@BOTH
async def test_an_entity_gives_its_picture(hass: HomeAssistant, entity_id: str) -> None:
    """By every name that it has, and not over HTTP: no server is listening here."""
    await add_entities(hass, answer_picture)
    domain = entity_id.partition(".")[0]
    assert await fetch(hass, entity_source(entity_id)) == PICTURE
    assert await get(hass, f"/api/{domain}_proxy/{entity_id}?token=stale") == PICTURE
    assert await get(hass, f"http://ha.test:8123/api/{domain}_proxy_stream/{entity_id}") == PICTURE
    assert await get(hass, f"media-source://{domain}/{entity_id}") == PICTURE


@BOTH
@pytest.mark.parametrize(
    ("answer", "fault", "said"),
    [
        (answer_nothing, AnalysisFault.IMAGE_UNREACHABLE, "{} has not given a picture"),
        (answer_never, AnalysisFault.IMAGE_UNREACHABLE, "{} has not given a picture"),
        (answer_known_error, AnalysisFault.IMAGE_UNREACHABLE, "{} has not given a picture"),
        (answer_unknown_error, AnalysisFault.IMAGE_UNREACHABLE, "{} has not given a picture"),
        (answer_too_much, AnalysisFault.IMAGE_TOO_LARGE, "{} is larger than 20 MB"),
    ],
)
async def test_an_entity_that_gives_no_picture_is_told(
    hass: HomeAssistant,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    entity_id: str,
    answer: Answer,
    fault: AnalysisFault,
    said: str,
) -> None:
    """Within the time limit, and without what the camera's code said of its URL."""
    monkeypatch.setattr(image_source, "TOTAL_SECONDS", 0.2)
    await add_entities(hass, answer)
    async with asyncio.timeout(2):
        with pytest.raises(ImageSourceError) as caught:
            await fetch(hass, entity_source(entity_id))
    assert caught.value.fault is fault
    assert said.format(entity_id) in sentence(caught.value)
    assert "hunter2" not in everything_printed(caught.value) + caplog.text


@BOTH
async def test_an_entity_that_is_unavailable_or_off_is_told(hass: HomeAssistant, entity_id: str) -> None:
    """Before it is asked."""
    for entity in await add_entities(hass, answer_picture):
        entity._attr_available = False
        entity.async_write_ha_state()
    kind, text = await failure(fetch(hass, entity_source(entity_id)))
    assert kind is AnalysisFault.IMAGE_UNREACHABLE
    assert f"{entity_id} is unavailable" in text


async def test_a_camera_that_is_off_is_told(hass: HomeAssistant) -> None:
    """It is there, and has nothing to show."""
    off, _ = await add_entities(hass, answer_picture)
    off._attr_is_on = False
    kind, text = await failure(fetch(hass, entity_source("camera.porch")))
    assert kind is AnalysisFault.IMAGE_UNREACHABLE
    assert "Check that it is on" in text


@pytest.mark.parametrize("entity_id", ["camera.nowhere", "image.nowhere"])
async def test_an_entity_that_does_not_exist_is_told(hass: HomeAssistant, entity_id: str) -> None:
    """Also where no camera ever was."""
    kind, text = await failure(fetch(hass, entity_source(entity_id)))
    assert kind is AnalysisFault.IMAGE_NOT_FOUND
    assert f"There is no camera or image entity {entity_id}." in text


@pytest.mark.parametrize(
    "value",
    [
        "/api/camera_proxy/image.map",
        "/api/image_proxy/light.lamp",
        "/api/camera_proxy/nonsense",
        "media-source://camera/",
        "media-source://camera/image.map",
        "media-source://image/../secrets",
    ],
)
async def test_a_proxy_path_of_something_else_is_refused(hass: HomeAssistant, value: str) -> None:
    """Nothing that cannot be a camera or image entity is asked for as one."""
    error = refusal(hass, value)
    assert error.fault is AnalysisFault.IMAGE_NOT_FOUND
    assert "There is no camera or image entity" in sentence(error)


OTHER_MEDIA = {
    "path": "/local/x.jpg",
    "camera": "/api/camera_proxy/camera.porch",
    "own camera": "http://ha.test:8123/api/camera_proxy/camera.porch",
    "media": "media-source://other/media",
    "data": "data:image/png;base64,aHVudGVyMg==",
    "host": "//ha.test:8123/local/x.jpg",
    "script": "javascript:alert(1)",
    "bad": "http://[bad",
}


class OtherSource(MediaSource):
    """A media source of somebody else's; the identifier says how it behaves."""

    def __init__(self, folder: Path) -> None:
        """Take the folder that it serves."""
        super().__init__("other")
        self._folder = folder

    @override
    async def async_resolve_media(self, item: MediaSourceItem) -> PlayMedia:
        if item.identifier == "file":
            return PlayMedia("/other/x.jpg", "image/jpeg", path=self._folder / "x.jpg")
        if item.identifier == "hang":
            await asyncio.sleep(30)
        if item.identifier == "missing":
            raise Unresolvable("aHVudGVyMg")
        return PlayMedia(OTHER_MEDIA[item.identifier], "image/jpeg")


@pytest.fixture
async def other_media(hass: HomeAssistant, tmp_path: Path) -> None:
    """Set up media sources, with one of somebody else's."""

    async def async_get_media_source(_: HomeAssistant) -> MediaSource:
        return OtherSource(tmp_path / "private")

    mock_integration(hass, MockModule("other"))
    mock_platform(hass, "other.media_source", Mock(async_get_media_source=async_get_media_source))
    assert await async_setup_component(hass, "media_source", {})
    hass.config.components.add("other")
    for file in ("private/x.jpg", "config/www/x.jpg"):
        (tmp_path / file).write_bytes(PICTURE)


@pytest.mark.parametrize("identifier", ["file", "path"])
async def test_a_media_source_names_a_file_or_a_path(hass: HomeAssistant, other_media: None, identifier: str) -> None:
    """A file that a media source vouches for needs no place in the allowed folders."""
    assert await get(hass, f"media-source://other/{identifier}") == PICTURE


@pytest.mark.parametrize(
    "media_id",
    [
        "media-source://other/camera",
        "media-source://other/own camera",
        "media-source://other/media",
        "media-source://other/data",
        "media-source://other/bug",
        "media-source://other/missing",
        "media-source://nobody/x",
        "media-source://",
    ],
)
async def test_a_media_id_without_a_picture_is_told(
    hass: HomeAssistant, other_media: None, caplog: pytest.LogCaptureFixture, media_id: str
) -> None:
    """Also one that hides a camera, which would come without a permission."""
    await add_entities(hass, answer_picture)
    with pytest.raises(ImageSourceError) as caught:
        await get(hass, media_id)
    assert caught.value.fault is AnalysisFault.IMAGE_NOT_FOUND
    assert f"No media source has a picture at {media_id}." in sentence(caught.value)
    assert "KeyError" not in everything_printed(caught.value)
    assert "aHVudGVyMg" not in everything_printed(caught.value) + caplog.text


@pytest.mark.parametrize("identifier", ["host", "script", "bad"])
async def test_a_media_source_that_names_nonsense_is_told(
    hass: HomeAssistant, other_media: None, identifier: str
) -> None:
    """It is bound by the same rules as a user."""
    kind, text = await failure(get(hass, f"media-source://other/{identifier}"))
    assert kind is AnalysisFault.IMAGE_FORBIDDEN
    assert "is no place a picture can come from" in text


async def test_media_without_media_sources_is_told(hass: HomeAssistant) -> None:
    """An installation can go without them."""
    kind, text = await failure(get(hass, "media-source://other/file"))
    assert kind is AnalysisFault.IMAGE_NOT_FOUND
    assert "No media source has a picture" in text


async def test_a_media_source_that_hangs_is_left(
    hass: HomeAssistant, other_media: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the time in all."""
    monkeypatch.setattr(image_source, "TOTAL_SECONDS", 0.2)
    kind, text = await failure(get(hass, "media-source://other/hang"))
    assert kind is AnalysisFault.IMAGE_UNREACHABLE
    assert "media-source://other/hang has not given a picture within 0.2 seconds" in text


async def test_many_pictures_keep_their_order(hass: HomeAssistant, tmp_path: Path) -> None:
    """A list can mix all kinds."""
    await add_entities(hass, answer_picture)
    (tmp_path / "config" / "www" / "x.jpg").write_bytes(b"file")
    sources: list[ImageSource] = [
        parse_source(hass, "/local/x.jpg"),
        parse_source(hass, f"data:image/png;base64,{b64encode(b'data').decode()}"),
        entity_source("camera.porch"),
        entity_source("image.porch"),
    ]
    assert await asyncio.gather(*(fetch(hass, source) for source in sources)) == [b"file", b"data", PICTURE, PICTURE]
