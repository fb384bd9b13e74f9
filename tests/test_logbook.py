"""What was seen, as sentences in the logbook of a real recorder."""

from datetime import timedelta
from typing import Any

from homeassistant.components.recorder import Recorder
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.components.recorder.common import async_wait_recording_done
from pytest_homeassistant_custom_component.typing import RecorderInstanceContextManager, WebSocketGenerator

from custom_components.ollama_vision.const import EVENT_ANALYSIS_FAILED, EVENT_IMAGE_ANALYZED

from .common import add_device, analyze, data_url, entry_data, picture
from .servers.ollama_front import OllamaFront


@pytest.fixture
def mock_recorder_before_hass(async_test_recorder: RecorderInstanceContextManager) -> None:
    """Prepare the recorder before Home Assistant, as the plugin wants it."""


@pytest.fixture
async def entry(recorder_mock: Recorder, hass: HomeAssistant, ollama_front: OllamaFront) -> MockConfigEntry:
    """Return a device in a Home Assistant with a logbook."""
    assert await async_setup_component(hass, "logbook", {})
    return await add_device(hass, entry_data(ollama_front.url))


async def logged(hass: HomeAssistant, hass_ws_client: WebSocketGenerator, **query: Any) -> list[dict[str, Any]]:
    """Return what the logbook shows of this integration."""
    await hass.async_block_till_done()
    await async_wait_recording_done(hass)
    client = await hass_ws_client(hass)
    start = dt_util.utcnow() - timedelta(hours=1)
    await client.send_json_auto_id({"type": "logbook/get_events", "start_time": start.isoformat(), **query})
    answer = await client.receive_json()
    return [entry for entry in answer["result"] if entry.get("domain") == "ollama_vision"]


async def test_an_analysis_is_a_sentence_at_its_sensor(
    hass: HomeAssistant, entry: MockConfigEntry, hass_ws_client: WebSocketGenerator
) -> None:
    await analyze(hass, image_url=data_url(picture("red")))
    for query in ({}, {"entity_ids": ["sensor.ollama_vision_front_door"]}):
        (line,) = await logged(hass, hass_ws_client, **query)
        assert f"{line['name']} {line['message']}" == "Front door was analyzed: The picture is mostly red."
        assert line["entity_id"] == "sensor.ollama_vision_front_door"


async def test_a_failure_is_a_sentence(
    hass: HomeAssistant, entry: MockConfigEntry, hass_ws_client: WebSocketGenerator
) -> None:
    hass.bus.async_fire(
        EVENT_ANALYSIS_FAILED, {"image_name": "Garden", "error": "timeout", "message": "The server was silent."}
    )
    (line,) = await logged(hass, hass_ws_client)
    assert f"{line['name']} {line['message']}" == "Garden could not be analyzed: The server was silent."


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (EVENT_IMAGE_ANALYZED, "A picture was analyzed"),
        (EVENT_ANALYSIS_FAILED, "A picture could not be analyzed"),
    ],
)
async def test_an_event_that_was_too_big_for_the_recorder_is_still_told(
    hass: HomeAssistant, entry: MockConfigEntry, hass_ws_client: WebSocketGenerator, event: str, sentence: str
) -> None:
    hass.bus.async_fire(event, {"image_name": "Garden", "final_description": "x" * 40_000, "message": "x" * 40_000})
    (line,) = await logged(hass, hass_ws_client)
    assert f"{line['name']} {line['message']}" == sentence


async def test_a_long_text_is_one_short_line(
    hass: HomeAssistant, entry: MockConfigEntry, hass_ws_client: WebSocketGenerator
) -> None:
    hass.bus.async_fire(EVENT_IMAGE_ANALYZED, {"image_name": "Garden", "final_description": "A fox\n" * 500})
    (line,) = await logged(hass, hass_ws_client)
    assert line["message"].startswith("was analyzed: A fox A fox")
    assert line["message"].endswith("…")
    assert len(line["message"]) < 300
