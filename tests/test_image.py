"""The image entities: the picture that was last looked at under each name."""

from datetime import timedelta
from shutil import rmtree

from homeassistant.components import image
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
    async_fire_time_changed,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.ollama_vision.const import DOMAIN, EVENT_IMAGE_ANALYZED

from .common import add_device, analyze, data_url, entry_data, picture
from .servers.ollama_front import OllamaFront

RED, BLUE = picture("red", (64, 48)), picture("blue", (64, 48), "PNG")
ENTITY_ID = "image.ollama_vision_front_door"


@pytest.fixture
async def entry(hass: HomeAssistant, ollama_front: OllamaFront) -> MockConfigEntry:
    """Return a device."""
    return await add_device(hass, entry_data(ollama_front.url))


def token(hass: HomeAssistant) -> str:
    """Return the token in the state."""
    state = hass.states.get(ENTITY_ID)
    assert state is not None
    return str(state.attributes["access_token"])


async def test_the_first_event_finds_the_picture(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    events = async_capture_events(hass, EVENT_IMAGE_ANALYZED)
    result = await analyze(hass, image_url=data_url(RED), image_name="Front DOOR")

    assert events[0].data["image_entity_id"] == result["image_entity_id"] == ENTITY_ID
    state = hass.states.get(ENTITY_ID)
    assert state is not None
    assert dt_util.parse_datetime(state.state) == dt_util.parse_datetime(result["timestamp"])
    assert state.name == "Ollama Vision Front DOOR"
    assert (await image.async_get_image(hass, ENTITY_ID)).content == RED
    registered = er.async_get(hass).async_get(ENTITY_ID)
    assert registered is not None
    assert registered.unique_id == f"{entry.entry_id}_front_door"
    assert registered.device_id == result["device_id"]


async def test_the_latest_picture_and_spelling_are_shown(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    await analyze(hass, image_url=data_url(RED))
    await analyze(hass, image_url=data_url(BLUE), image_name="front door")
    await analyze(hass, image_url=data_url(RED), image_name="Garden")

    shown = await image.async_get_image(hass, ENTITY_ID)
    assert (shown.content, shown.content_type) == (BLUE, "image/png")
    state = hass.states.get(ENTITY_ID)
    assert state is not None
    assert state.name == "Ollama Vision front door"
    assert len(hass.states.async_entity_ids("image")) == 2


async def test_a_browser_fetches_it_by_its_token(
    hass: HomeAssistant, entry: MockConfigEntry, hass_client_no_auth: ClientSessionGenerator
) -> None:
    await analyze(hass, image_url=data_url(RED))
    state = hass.states.get(ENTITY_ID)
    assert state is not None
    client = await hass_client_no_auth()
    response = await client.get(state.attributes["entity_picture"])
    assert (response.status, response.content_type, await response.read()) == (200, "image/jpeg", RED)
    assert (await client.get(f"/api/image_proxy/{ENTITY_ID}")).status == 403


async def test_the_token_changes_with_the_picture_and_not_with_the_clock(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    await analyze(hass, image_url=data_url(RED))
    first = token(hass)
    changes = async_capture_events(hass, "state_changed")

    for minutes in range(5, 31, 5):
        async_fire_time_changed(hass, dt_util.utcnow() + timedelta(minutes=minutes))
        await hass.async_block_till_done()
    assert token(hass) == first
    assert [event for event in changes if event.data["entity_id"] == ENTITY_ID] == []

    await analyze(hass, image_url=data_url(BLUE))
    assert token(hass) != first


async def test_the_picture_is_there_again_after_a_reload(
    hass: HomeAssistant, entry: MockConfigEntry, ollama_front: OllamaFront
) -> None:
    await analyze(hass, image_url=data_url(BLUE))
    before = hass.states.get(ENTITY_ID)
    assert before is not None

    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()

    after = hass.states.get(ENTITY_ID)
    assert after is not None
    assert after.state == before.state
    shown = await image.async_get_image(hass, ENTITY_ID)
    assert (shown.content, shown.content_type) == (BLUE, "image/png")


async def test_a_name_of_which_nothing_is_stored_any_more_is_unknown(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """As after a backup was brought back in part."""
    await analyze(hass, image_url=data_url(RED))
    assert await hass.config_entries.async_unload(entry.entry_id)
    rmtree(hass.config.path(".storage", DOMAIN))

    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()

    for entity_id in (ENTITY_ID, "sensor.ollama_vision_front_door"):
        state = hass.states.get(entity_id)
        assert state is not None
        assert (state.state, state.name) == ("unknown", "Ollama Vision Front door")


async def test_without_a_stored_picture_there_is_none(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    result = await analyze(hass, image_url=data_url(RED))
    entry.runtime_data.history.picture_file(result["picture"].rpartition("/")[2])[0].unlink()
    with pytest.raises(HomeAssistantError):
        await image.async_get_image(hass, ENTITY_ID)


async def test_two_devices_keep_their_pictures_apart(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    first = await add_device(hass, entry_data(ollama_front.url, name="Up"))
    await add_device(hass, entry_data(ollama_front.url, name="Down"))
    await analyze(hass, image_url=data_url(RED))
    assert hass.states.async_entity_ids("image") == ["image.up_front_door"]
    state = hass.states.get("image.up_front_door")
    entity = er.async_get(hass).async_get("image.up_front_door")
    assert state is not None
    assert entity is not None
    assert state.attributes["friendly_name"] == "Up Front door"
    assert entity.config_entry_id == first.entry_id
