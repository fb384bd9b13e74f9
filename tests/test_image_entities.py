"""Pictures of camera and image entities, and of media sources."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import override
from unittest.mock import Mock

from homeassistant.components import camera, image
from homeassistant.components.media_source import MediaSource, MediaSourceItem, PlayMedia, Unresolvable
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockModule, mock_integration, mock_platform

from custom_components.ollama_vision import image_source
from custom_components.ollama_vision.const import AnalysisFault
from custom_components.ollama_vision.image_source import ImageSourceError, entity_source, fetch, parse_source

from .image_sources import PICTURE, everything_printed, failure, get, sentence, set_up_home

MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
async def _home(hass: HomeAssistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Home Assistant's folders and addresses, and no time to wait for late files."""
    monkeypatch.setattr(image_source, "LATE_DELAYS", (0.01, 0.01, 0.01))
    await set_up_home(hass, tmp_path)


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


async def add_entities(hass: HomeAssistant, answer: Answer) -> tuple[PictureCamera, PictureImage]:
    """Add `camera.porch` and `image.porch`."""
    for domain in ("camera", "image"):
        assert await async_setup_component(hass, domain, {})
    cameras, images = hass.data[camera.const.DATA_COMPONENT], hass.data[image.const.DATA_COMPONENT]
    entities = PictureCamera("porch", answer), PictureImage(hass, "porch", answer)
    await cameras.async_add_entities([entities[0]])
    await images.async_add_entities([entities[1]])
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
    async with asyncio.timeout(10):
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


OTHER_MEDIA = {
    "kept": "/api/ollama_vision/picture/01ENTRY/01RESULT",
    "path": "/local/x.jpg",
    "late": "/local/late.jpg",
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
        "media-source://other/kept",
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


async def test_a_picture_is_missed_by_the_name_it_was_given(hass: HomeAssistant, other_media: None) -> None:
    """What a media source makes of it says nothing to whoever asked."""
    kind, text = await failure(get(hass, "media-source://other/late"))
    assert kind is AnalysisFault.IMAGE_NOT_FOUND
    assert "There is no picture at media-source://other/late." in text


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
    sources = [
        parse_source(hass, "/local/x.jpg"),
        parse_source(hass, f"data:image/png;base64,{b64encode(b'data').decode()}"),
        entity_source("camera.porch"),
        entity_source("image.porch"),
    ]
    assert await asyncio.gather(*(fetch(hass, source) for source in sources)) == [b"file", b"data", PICTURE, PICTURE]
