"""The event entity tells of successes and failures."""

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
import pytest

from .common import add_device, analyze, entry_data
from .servers.ollama_front import OllamaFront
from .test_services import A_PICTURE

EVENT = "event.ollama_vision_analysis"


async def test_it_tells_of_analyses_and_failures(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    other = await add_device(hass, entry_data(ollama_front.url, name="Other"))
    await hass.config_entries.async_unload(other.entry_id)
    await add_device(hass, entry_data(ollama_front.url))
    state = hass.states.get(EVENT)
    assert state is not None
    assert state.state == "unknown"

    response = await analyze(hass, image_url=A_PICTURE)
    analyzed = hass.states.get(EVENT)
    assert analyzed is not None
    assert analyzed.attributes["event_type"] == "analyzed"
    assert analyzed.attributes["image_name"] == "Front door"
    assert analyzed.attributes["text"] == response["final_description"]
    assert analyzed.attributes["picture"] == response["picture"]

    with pytest.raises(HomeAssistantError) as raised:
        await analyze(hass, image_url=A_PICTURE, model="gone")
    failed = hass.states.get(EVENT)
    assert failed is not None
    assert failed.attributes["event_type"] == "failed"
    assert failed.attributes["error"] == "model_not_found"
    assert failed.attributes["text"] == str(raised.value)
    assert "picture" not in failed.attributes
    assert failed.state > analyzed.state


async def test_what_was_said_does_not_come_back_with_the_event(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))
    await analyze(hass, image_url=A_PICTURE)
    before = hass.states.get(EVENT)

    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()

    after = hass.states.get(EVENT)
    assert before is not None
    assert after is not None
    assert (after.state, after.attributes["image_name"]) == (before.state, "Front door")
    assert "text" not in after.attributes
