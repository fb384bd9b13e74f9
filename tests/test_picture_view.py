"""Each result's own picture, for those who may see it."""

from datetime import timedelta
from typing import Any

from aiohttp.test_utils import TestClient
from homeassistant.auth.models import Group
from homeassistant.auth.permissions.types import PolicyType
from homeassistant.components.http.auth import async_sign_path
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, MockUser
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator
from yarl import URL

from .common import add_device, analyze, data_url, entry_data, picture
from .results import add
from .servers.ollama_front import OllamaFront

RED, BLUE = picture("red", (64, 48)), picture("blue", (64, 48), "PNG")


@pytest.fixture
async def entry(hass: HomeAssistant, ollama_front: OllamaFront) -> MockConfigEntry:
    """Return a device."""
    await async_setup_component(hass, "http", {})
    return await add_device(hass, entry_data(ollama_front.url))


async def test_each_result_has_its_own_picture_byte_for_byte(
    hass: HomeAssistant, entry: MockConfigEntry, hass_client: ClientSessionGenerator
) -> None:
    first = await analyze(hass, image_url=data_url(RED))
    second = await analyze(hass, image_url=data_url(BLUE))
    client = await hass_client()

    assert first["picture"] != second["picture"]
    for result, content, kind in ((first, RED, "image/jpeg"), (second, BLUE, "image/png")):
        response = await client.get(result["picture"])
        assert response.status == 200
        assert response.content_type == kind
        assert response.headers["Cache-Control"].startswith("private")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert await response.read() == content


async def test_the_picture_is_there_after_a_reload_and_gone_when_forgotten(
    hass: HomeAssistant, entry: MockConfigEntry, hass_client: ClientSessionGenerator
) -> None:
    path = (await analyze(hass, image_url=data_url(RED)))["picture"]
    client = await hass_client()

    assert await hass.config_entries.async_unload(entry.entry_id)
    assert (await client.get(path)).status == 404
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    response = await client.get(path)
    assert (response.status, await response.read()) == (200, RED)

    await hass.services.async_call("ollama_vision", "forget_image", {"image_name": "Front door"}, blocking=True)
    assert (await client.get(path)).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "{entry}/01KCZ0000000000000000000ZZ",
        "{entry}/%2Fetc%2Fpasswd",
        "{entry}/",
        "{entry}",
        "nobody/{result}",
        "{entry}/{result}.jpg",
        "{entry}/{result}%00",
    ],
)
async def test_what_is_not_kept_is_not_found(
    hass: HomeAssistant, entry: MockConfigEntry, hass_client: ClientSessionGenerator, path: str
) -> None:
    result = URL((await analyze(hass, image_url=data_url(RED)))["picture"]).name
    client = await hass_client()
    path = path.format(entry=entry.entry_id, result=result)
    response = await client.get(URL(f"/api/ollama_vision/picture/{path}", encoded=True))
    assert response.status == 404


async def test_a_picture_that_could_not_be_stored_is_not_found(
    hass: HomeAssistant, entry: MockConfigEntry, hass_client: ClientSessionGenerator
) -> None:
    path = (await analyze(hass, image_url=data_url(RED)))["picture"]
    entry.runtime_data.history.picture_file(URL(path).name)[0].unlink()
    assert (await (await hass_client()).get(path)).status == 404


async def test_a_stranger_is_refused_and_a_dead_link_is_no_failed_login(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    hass_client_no_auth: ClientSessionGenerator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = (await analyze(hass, image_url=data_url(RED)))["picture"]
    client = await hass_client_no_auth()
    expired = async_sign_path(hass, path, timedelta(seconds=-1))

    for refused in (path, expired, f"{path}?authSig=nonsense", f"{path}x"):
        response = await client.get(refused)
        assert response.status == 403
        assert RED not in await response.read()
    assert "Login attempt" not in caplog.text

    assert (await client.get(path, headers={"Authorization": "Bearer guessed"})).status == 401
    assert "Login attempt" in caplog.text


async def test_a_signed_link_needs_no_login(
    hass: HomeAssistant, entry: MockConfigEntry, hass_client_no_auth: ClientSessionGenerator
) -> None:
    first = (await analyze(hass, image_url=data_url(RED)))["picture"]
    second = (await analyze(hass, image_url=data_url(BLUE)))["picture"]
    client = await hass_client_no_auth()

    signed = async_sign_path(hass, first, timedelta(minutes=1))
    response = await client.get(signed)
    assert (response.status, await response.read()) == (200, RED)
    assert (await client.get(signed.replace(first, second))).status == 403


async def get_as_guest(hass: HomeAssistant, client: TestClient[Any, Any], path: str, policy: PolicyType) -> int:
    """Return what a user with a policy of his own is answered."""
    user = MockUser(groups=[Group(name="Guests", policy=policy)]).add_to_hass(hass)
    refresh_token = await hass.auth.async_create_refresh_token(user, "https://example.com/")
    token = hass.auth.async_create_access_token(refresh_token)
    return (await client.get(path, headers={"Authorization": f"Bearer {token}"})).status


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        ({"entities": True}, 200),
        ({"entities": {"domains": {"image": {"read": True}}}}, 200),
        ({"entities": {"entity_ids": {"sensor.ollama_vision_front_door": {"read": True}}}}, 200),
        ({"entities": {"entity_ids": {"sensor.ollama_vision_front_door": {"control": True}}}}, 403),
        ({"entities": {"entity_ids": {"image.ollama_vision_garden": True}}}, 403),
        ({"entities": {"domains": {"light": True}}}, 403),
        ({}, 403),
    ],
)
async def test_a_user_sees_what_he_may_read(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    hass_client_no_auth: ClientSessionGenerator,
    policy: PolicyType,
    status: int,
) -> None:
    path = (await analyze(hass, image_url=data_url(RED)))["picture"]
    assert await get_as_guest(hass, await hass_client_no_auth(), path, policy) == status


@pytest.mark.parametrize(
    ("policy", "status"), [({"entities": True}, 200), ({"entities": {"domains": {"image": True, "sensor": True}}}, 403)]
)
async def test_a_picture_that_no_entity_shows_is_for_those_who_may_read_all(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    hass_client_no_auth: ClientSessionGenerator,
    policy: PolicyType,
    status: int,
) -> None:
    result = await add(entry.runtime_data.history, integration_id=entry.entry_id)
    assert await get_as_guest(hass, await hass_client_no_auth(), result.picture, policy) == status
