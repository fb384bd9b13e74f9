"""A device's life: loading, unloading, coming back, going."""

import asyncio
from pathlib import Path

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr, entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_capture_events

from custom_components.ollama_vision.const import DOMAIN, EVENT_ANALYSIS_FAILED

from .common import add_device, analyze, entry_data, text_model
from .flows import submit
from .results import add
from .servers.faulty import FaultyServer, Step
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFront
from .test_services import A_PICTURE


async def test_a_device_loads_while_its_server_is_off(hass: HomeAssistant, socket_enabled: None) -> None:
    entry = await add_device(hass, entry_data("http://127.0.0.1:9"))
    assert entry.state is ConfigEntryState.LOADED


async def test_a_device_loads_while_its_server_says_nothing(
    hass: HomeAssistant, socket_enabled: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("custom_components.ollama_vision.coordinator.POLL_SECONDS", 0.1)
    async with FaultyServer([Step.HANG]) as server:
        entry = await add_device(hass, entry_data(server.url))
    assert entry.state is ConfigEntryState.LOADED
    assert f"{server.url} cannot be reached: no answer" in caplog.text


async def test_a_host_that_is_none_is_said_and_can_be_mended(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    """Version 1.0 took whatever was typed."""
    entry = await add_device(hass, entry_data("my computer"), loads=False)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert entry.error_reason_translation_key == "invalid_host"
    assert entry.reason
    assert entry.reason.startswith("my computer is not an address. Choose Reconfigure")

    form = await entry.start_reconfigure_flow(hass)
    form = await submit(hass, form, name="Ollama Vision", vision_host=ollama_front.url, connection={})
    await submit(hass, form, vision_model="tiny-vision")
    await hass.async_block_till_done()
    assert hass.config_entries.async_loaded_entries(DOMAIN) == [entry]


async def test_what_a_device_offers_no_longer_is_gone(
    hass: HomeAssistant, llama_server: LlamaServer, ollama_front: OllamaFront
) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url, **text_model(ollama_front.url)))
    await analyze(hass, image_url=A_PICTURE, image_name="Text model")
    registry = er.async_get(hass)
    disabled = "sensor.ollama_vision_requests_waiting"
    before = {entity.entity_id for entity in er.async_entries_for_config_entry(registry, entry.entry_id)}

    hass.config_entries.async_update_entry(entry, data=entry.data | {"text_model_enabled": False})
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    after = {entity.entity_id for entity in er.async_entries_for_config_entry(registry, entry.entry_id)}
    assert {entity_id.partition(".ollama_vision_")[2] for entity_id in before - after} == {
        "load_text_model",
        "unload_text_model",
        "text_model",
        "text_model_info",
        "text_server_reachable",
    }
    assert {"sensor.ollama_vision_text_model", "image.ollama_vision_text_model", disabled} <= after

    hass.config_entries.async_update_entry(
        entry, data=entry.data | {"vision_host": llama_server.url, "vision_api": "openai"}
    )
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    last = {entity.entity_id for entity in er.async_entries_for_config_entry(registry, entry.entry_id)}
    assert after - last == {"button.ollama_vision_load_vision_model", "button.ollama_vision_unload_vision_model"}


async def test_what_was_seen_is_there_again_after_a_reload(
    hass: HomeAssistant, hass_config_dir: str, ollama_front: OllamaFront
) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))
    await analyze(hass, image_url=A_PICTURE)
    before = hass.states.get("sensor.ollama_vision_front_door")
    registry_changes = async_capture_events(hass, er.EVENT_ENTITY_REGISTRY_UPDATED)

    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()

    after = hass.states.get("sensor.ollama_vision_front_door")
    assert before is not None
    assert after is not None
    assert (after.state, after.attributes) == (before.state, before.attributes)
    assert not registry_changes


async def test_what_was_seen_just_before_a_crash_is_shown(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    """Results are stored at once, and the registry's entries some seconds later."""
    entry = await add_device(hass, entry_data(ollama_front.url))
    result = await add(entry.runtime_data.history, integration_id=entry.entry_id)

    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()

    state = hass.states.get("sensor.ollama_vision_front_door")
    assert state is not None
    assert state.state == result.final_description


async def test_what_was_seen_stays_while_the_server_is_off(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))
    await analyze(hass, image_url=A_PICTURE)
    hass.config_entries.async_update_entry(entry, data=entry.data | {"vision_host": "http://127.0.0.1:9"})

    assert await hass.config_entries.async_reload(entry.entry_id)
    with pytest.raises(HomeAssistantError):
        await analyze(hass, image_url=A_PICTURE)

    state = hass.states.get("sensor.ollama_vision_front_door")
    assert state is not None
    assert state.state.startswith("The picture is mostly")


async def test_names_with_the_same_slug_share_one_sensor(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))

    first = await analyze(hass, image_url=A_PICTURE, image_name="front door")
    second = await analyze(hass, image_url=A_PICTURE, image_name="Front Door")

    assert first["entity_id"] == second["entity_id"] == "sensor.ollama_vision_front_door"
    state = hass.states.get("sensor.ollama_vision_front_door")
    assert state is not None
    assert state.name == "Ollama Vision Front Door"
    sensor = er.async_get(hass).async_get("sensor.ollama_vision_front_door")
    assert sensor is not None
    assert sensor.unique_id == f"{entry.entry_id}_front_door"


async def test_a_renamed_sensor_keeps_being_the_one(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    await analyze(hass, image_url=A_PICTURE)
    er.async_get(hass).async_update_entity(
        "sensor.ollama_vision_front_door", new_entity_id="sensor.porch", name="Porch"
    )
    await hass.async_block_till_done()

    response = await analyze(hass, image_url=A_PICTURE, prompt="Again?")

    assert response["entity_id"] == "sensor.porch"
    state = hass.states.get("sensor.porch")
    assert state is not None
    assert state.attributes["prompt"] == "Again?"
    assert hass.states.get("sensor.ollama_vision_front_door") is None


async def test_a_disabled_sensor_does_not_hold_up_its_event(
    hass: HomeAssistant, ollama_front: OllamaFront, caplog: pytest.LogCaptureFixture
) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    await analyze(hass, image_url=A_PICTURE)
    er.async_get(hass).async_update_entity("sensor.ollama_vision_front_door", disabled_by=er.RegistryEntryDisabler.USER)
    await hass.async_block_till_done()

    async with asyncio.timeout(5):
        response = await analyze(hass, image_url=A_PICTURE)

    assert response["entity_id"] == "sensor.ollama_vision_front_door"
    assert hass.states.get("sensor.ollama_vision_front_door") is None
    assert "bug" not in caplog.text


async def test_two_devices_have_sensors_of_their_own_and_one_that_goes_leaves_nothing(
    hass: HomeAssistant, ollama_front: OllamaFront
) -> None:
    first = await add_device(hass, entry_data(ollama_front.url, name="First"))
    second = await add_device(hass, entry_data(ollama_front.url, name="Second"))
    for entry in (first, second):
        device = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)[0]
        await analyze(hass, image_url=A_PICTURE, device_id=device.id)
    stored = Path(hass.config.path(".storage", DOMAIN))
    assert (stored / first.entry_id).is_dir()

    await hass.config_entries.async_remove(first.entry_id)
    await hass.async_block_till_done()

    assert hass.states.get("sensor.first_front_door") is None
    assert hass.states.get("sensor.second_front_door") is not None
    assert not er.async_entries_for_config_entry(er.async_get(hass), first.entry_id)
    assert not dr.async_entries_for_config_entry(dr.async_get(hass), first.entry_id)
    assert not (stored / first.entry_id).exists()
    assert (stored / second.entry_id).is_dir()


@pytest.mark.parametrize("ending", ["unload", "stop"])
async def test_requests_that_wait_end_with_a_word(hass: HomeAssistant, ollama_front: OllamaFront, ending: str) -> None:
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    entry = await add_device(hass, entry_data(ollama_front.url), options={"cache_minutes": 0})
    ollama_front.gate.clear()
    for number in range(3):
        await analyze(hass, image_url=A_PICTURE, prompt=f"Question {number}", wait=False)
    waited_for = hass.async_create_task(analyze(hass, image_url=A_PICTURE, prompt="Question 3"))

    if ending == "unload":
        assert await hass.config_entries.async_unload(entry.entry_id)
    else:
        await hass.async_stop(force=True)
    async with asyncio.timeout(5):
        while len(failed) < 4:
            await asyncio.sleep(0)
    ollama_front.gate.set()

    with pytest.raises(HomeAssistantError, match="unloaded"):
        await waited_for
    assert [event.data["error"] for event in failed] == ["stopping"] * 4
    assert "unloaded" in failed[0].data["message"]


async def test_an_entry_of_the_1_0_series_is_taken_over(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    host, port = ollama_front.url.removeprefix("http://").split(":")
    data = {"name": "Porch", "host": host, "port": int(port), "model": "tiny-vision", "vision_keepalive": -1}
    entry = MockConfigEntry(domain=DOMAIN, title="Porch", data=data, options={"vision_keepalive": 0}, version=1)
    entry.add_to_hass(hass)

    assert await hass.config_entries.async_setup(entry.entry_id)
    response = await analyze(hass, image_url=A_PICTURE)

    assert (entry.version, entry.options) == (2, {})
    assert entry.data["vision_keep_alive"] == "0"
    assert response["entity_id"] == "sensor.porch_front_door"
    assert ollama_front.bodies()[-1]["keep_alive"] == 0
