"""The device's own entities: health, models, numbers."""

from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import async_fire_time_changed

from custom_components.ollama_vision.const import Role
from custom_components.ollama_vision.coordinator import POLL_INTERVAL

from .common import add_device, analyze, entry_data, text_model
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFront
from .test_services import A_PICTURE


def value(hass: HomeAssistant, entity_id: str) -> str:
    """Return an entity's state."""
    state = hass.states.get(entity_id)
    assert state is not None, entity_id
    return state.state


async def poll(hass: HomeAssistant) -> None:
    """Let the coordinator's time come."""
    async_fire_time_changed(hass, dt_util.utcnow() + POLL_INTERVAL * 2)
    await hass.async_block_till_done(wait_background_tasks=True)


async def press(hass: HomeAssistant, entity_id: str) -> None:
    """Press a button."""
    await hass.services.async_call("button", "press", {"entity_id": entity_id}, blocking=True)


async def test_a_server_that_goes_and_comes_back_is_said_once_each(
    hass: HomeAssistant, llama_server: LlamaServer, socket_enabled: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with OllamaFront(llama=llama_server.url) as front:
        port = int(front.url.rpartition(":")[2])
        await add_device(hass, entry_data(front.url))
        assert value(hass, "binary_sensor.ollama_vision_vision_server_reachable") == "on"
    caplog.clear()

    for _ in range(2):
        await poll(hass)
        assert value(hass, "binary_sensor.ollama_vision_vision_server_reachable") == "off"
        assert value(hass, "select.ollama_vision_vision_model") == "tiny-vision"
        assert len([record for record in caplog.records if "cannot be reached" in record.message]) == 1

    async with OllamaFront(llama=llama_server.url, port=port):
        for _ in range(2):
            await poll(hass)
            assert value(hass, "binary_sensor.ollama_vision_vision_server_reachable") == "on"
            assert len([record for record in caplog.records if "is back" in record.message]) == 1


async def test_an_analysis_tells_at_once_how_the_server_is(
    hass: HomeAssistant, llama_server: LlamaServer, socket_enabled: None
) -> None:
    async with OllamaFront(llama=llama_server.url) as front:
        port = int(front.url.rpartition(":")[2])
        await add_device(hass, entry_data(front.url))
    with pytest.raises(HomeAssistantError):
        await analyze(hass, image_url=A_PICTURE)
    assert value(hass, "binary_sensor.ollama_vision_vision_server_reachable") == "off"
    assert value(hass, "sensor.ollama_vision_failures") == "1"

    async with OllamaFront(llama=llama_server.url, port=port):
        await analyze(hass, image_url=A_PICTURE)
        assert value(hass, "binary_sensor.ollama_vision_vision_server_reachable") == "on"
        assert value(hass, "sensor.ollama_vision_analyses") == "1"


async def test_the_numbers_count(
    hass: HomeAssistant, ollama_front: OllamaFront, entity_registry_enabled_by_default: None
) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    await analyze(hass, image_url=A_PICTURE)
    await analyze(hass, image_url=A_PICTURE, cache=False)

    assert value(hass, "sensor.ollama_vision_analyses") == "2"
    assert value(hass, "sensor.ollama_vision_failures") == "0"
    assert value(hass, "sensor.ollama_vision_requests_waiting") == "0"
    for sensor in ("last_processing_time", "last_waiting_time"):
        assert 0 <= float(value(hass, f"sensor.ollama_vision_{sensor}")) < 10


async def test_the_requests_that_wait_are_counted_as_they_come(
    hass: HomeAssistant, ollama_front: OllamaFront, entity_registry_enabled_by_default: None
) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    ollama_front.gate.clear()
    for number in range(3):
        await analyze(hass, image_url=A_PICTURE, prompt=f"Question {number}", wait=False)
    await ollama_front.received(1)
    assert value(hass, "sensor.ollama_vision_requests_waiting") == "2"

    ollama_front.gate.set()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert value(hass, "sensor.ollama_vision_requests_waiting") == "0"


async def test_the_devices_page_shows_what_matters_first(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    """What it does stands before its settings and its numbers, of which three are for the curious."""
    entry = await add_device(hass, entry_data(ollama_front.url, **text_model(ollama_front.url)))
    entities = er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)

    def named(category: EntityCategory | None) -> set[str]:
        return {
            entity.entity_id.replace("ollama_vision_", "") for entity in entities if entity.entity_category is category
        }

    assert named(None) == {"event.analysis"}
    assert named(EntityCategory.CONFIG) == {
        *(f"button.{verb}_{role}_model" for verb in ("load", "unload") for role in Role),
        *(f"select.{role}_model" for role in Role),
    }
    numbers = {
        "sensor.analyses": ("total_increasing", None, "analyses", True),
        "sensor.failures": ("total_increasing", None, "failures", True),
        "sensor.requests_waiting": ("measurement", None, "requests", False),
        "sensor.last_processing_time": ("measurement", "duration", "s", True),
        "sensor.last_waiting_time": ("measurement", "duration", "s", False),
        "sensor.words_a_second": ("measurement", None, "words/s", False),
    }
    assert named(EntityCategory.DIAGNOSTIC) == {
        *(f"binary_sensor.{role}_server_reachable" for role in Role),
        *(f"sensor.{role}_model_info" for role in Role),
        *numbers,
    }
    assert {
        entity.entity_id.replace("ollama_vision_", ""): (
            entity.capabilities["state_class"],
            entity.original_device_class,
            entity.unit_of_measurement,
            entity.disabled_by is None,
        )
        for entity in entities
        if entity.capabilities and "state_class" in entity.capabilities
    } == numbers


async def test_the_info_sensors_name_model_and_host(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    url = ollama_front.url.replace("//", "//user:secret@")
    entry = await add_device(hass, entry_data(url, **text_model(url)))

    assert value(hass, "sensor.ollama_vision_vision_model_info") == "tiny-vision @ 127.0.0.1"
    assert value(hass, "sensor.ollama_vision_text_model_info") == "tiny-text @ 127.0.0.1"
    registry = er.async_get(hass)
    for role in ("vision", "text"):
        unique_id = f"ollama_vision_{entry.entry_id}_{role}_info"
        assert registry.async_get_entity_id("sensor", "ollama_vision", unique_id)


async def test_choosing_a_model_takes_effect_at_once_and_is_kept(
    hass: HomeAssistant, ollama_front: OllamaFront
) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))
    state = hass.states.get("select.ollama_vision_vision_model")
    assert state is not None
    assert state.attributes["options"] == ["tiny-think:latest", "tiny-vision"]  # tiny-text cannot see

    await hass.services.async_call(
        "select",
        "select_option",
        {"entity_id": "select.ollama_vision_vision_model", "option": "tiny-think:latest"},
        blocking=True,
    )

    assert value(hass, "select.ollama_vision_vision_model") == "tiny-think:latest"
    assert value(hass, "sensor.ollama_vision_vision_model_info") == "tiny-think:latest @ 127.0.0.1"
    assert entry.data["vision_model"] == "tiny-think:latest"
    assert (await analyze(hass, image_url=A_PICTURE))["model"] == "tiny-think:latest"


async def test_the_options_follow_the_server(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    ollama_front.models.add("tiny-new")
    await poll(hass)
    state = hass.states.get("select.ollama_vision_vision_model")
    assert state is not None
    assert "tiny-new:latest" in state.attributes["options"]


async def test_the_buttons_load_and_unload(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))
    coordinator = entry.runtime_data

    await press(hass, "button.ollama_vision_load_vision_model")
    known = coordinator.known_model("vision", "tiny-vision")
    assert known.loaded is True

    await press(hass, "button.ollama_vision_unload_vision_model")
    known = coordinator.known_model("vision", "tiny-vision")
    assert known.loaded is False


async def test_a_button_tells_at_once_that_the_server_is_away(
    hass: HomeAssistant, llama_server: LlamaServer, socket_enabled: None
) -> None:
    async with OllamaFront(llama=llama_server.url) as front:
        await add_device(hass, entry_data(front.url))
    with pytest.raises(HomeAssistantError, match="cannot be reached"):
        await press(hass, "button.ollama_vision_load_vision_model")
    assert value(hass, "binary_sensor.ollama_vision_vision_server_reachable") == "off"


async def test_a_button_that_cannot_load_says_why(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(ollama_front.url, vision_model="gone"))
    with pytest.raises(HomeAssistantError, match="does not have the model gone"):
        await press(hass, "button.ollama_vision_load_vision_model")


async def test_other_servers_have_no_buttons(
    hass: HomeAssistant, llama_server: LlamaServer, socket_enabled: None
) -> None:
    await add_device(hass, entry_data(llama_server.url, api="openai"))
    assert hass.states.async_entity_ids("button") == []
    assert value(hass, "select.ollama_vision_vision_model") == "tiny-vision"
