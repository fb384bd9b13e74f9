"""What a picture's name stands for, what of it may be shown, and who may see it."""

from pathlib import Path

from homeassistant.auth.models import User
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import Unauthorized, UnknownUser
import pytest
from pytest_homeassistant_custom_component.common import MockUser

from custom_components.ollama_vision.const import AnalysisFault
from custom_components.ollama_vision.image_source import (
    ImageSourceError,
    check_permission,
    entity_source,
    parse_source,
)

from .image_sources import everything_printed, sentence, set_up_home


@pytest.fixture(autouse=True)
async def _home(hass: HomeAssistant, tmp_path: Path) -> None:
    """Have Home Assistant's folders and addresses."""
    await set_up_home(hass, tmp_path)


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
        ("http://cam/x.jpg?mail=a@b.org#c", "http://cam/x.jpg?mail=a@b.org"),
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


@pytest.mark.parametrize(
    "value",
    [
        "/api/ollama_vision/picture/01ENTRY/01RESULT",
        "/api//x/../ollama%5Fvision/picture/01ENTRY/01RESULT?width=1",
        "http://ha.test:8123/api/ollama_vision/picture/01ENTRY/01RESULT",
        "media-source://ollama_vision/01ENTRY/picture/01RESULT",
    ],
)
async def test_what_was_seen_earlier_needs_permission_for_all(
    hass: HomeAssistant, hass_admin_user: MockUser, value: str
) -> None:
    """It may show what a user's cameras do not."""
    sources = [parse_source(hass, value)]
    for user in (await stranger(hass), await allowed_to_read(hass, "camera.porch")):
        with pytest.raises(Unauthorized):
            await check_permission(hass, Context(user_id=user.id), sources)
    await check_permission(hass, Context(user_id=hass_admin_user.id), sources)
    await check_permission(hass, Context(), sources)


async def test_other_pictures_need_no_permission(hass: HomeAssistant) -> None:
    """Whoever may call the action may have them looked at; the camera is another Home Assistant's."""
    others = (
        "http://cam/x.jpg",
        "/local/x.jpg",
        "/api/frigate/x.jpg",
        "http://192.0.2.9:8123/api/camera_proxy/camera.porch",
    )
    sources = [parse_source(hass, value) for value in others]
    await check_permission(hass, Context(user_id=(await stranger(hass)).id), sources)


async def test_a_user_who_is_gone_may_nothing(hass: HomeAssistant) -> None:
    """A context can outlive its user."""
    with pytest.raises(UnknownUser):
        await check_permission(hass, Context(user_id="gone"), [])


async def stranger(hass: HomeAssistant) -> User:
    """Return a user without any right."""
    user: User = MockUser().add_to_hass(hass)
    return user


async def allowed_to_read(hass: HomeAssistant, entity_id: str) -> MockUser:
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
        "http://user:hunter2#1@cam/x.jpg",
        "http://user:hunter2?1@cam/x.jpg",
        "HTTP://user:12#hunter2@cam/x.jpg",
        "http://user:12?hunter2@cam/x.jpg",
        "http://user:12/hunter2#3@cam/x.jpg",
        "//user:hunter2@cam/x.jpg",
        "http://user:hunter2\n@cam/x.jpg",
        "/\0hunter2@cam/x.jpg",
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
