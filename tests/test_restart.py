"""What was seen is there again after a shutdown and after a power cut, and what was forgotten is not."""

from pathlib import Path
from typing import Any

import pytest

from .common import data_url, entry_data, picture
from .real_home_assistant import RealHomeAssistant
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFrontProcess

SENSOR = "sensor.ollama_vision_front_door"


async def set_up(house: RealHomeAssistant, server: str) -> None:
    """Add a device through its form."""
    flow = await house.start_flow("ollama_vision")
    data = entry_data(server)
    host = {"name": data["name"], "vision_host": data["vision_host"], "vision_port": 11434, "connection": {}}
    flow = await house.answer(flow, host)
    flow = await house.answer(
        flow, {"vision_model": "tiny-vision", "vision_keep_alive": "-1", "text_model_enabled": False}
    )
    assert flow["type"] == "create_entry", flow


async def see(house: RealHomeAssistant, colour: str, name: str = "Front door") -> dict[str, Any]:
    """Analyze a picture of one colour."""
    return await house.call_action(
        "ollama_vision", "analyze_image", {"image_url": data_url(picture(colour)), "image_name": name}
    )


async def state_of(house: RealHomeAssistant, entity_id: str) -> tuple[str, dict[str, Any]]:
    """Return state and attributes."""
    state = await house.get(f"/api/states/{entity_id}")
    return state["state"], state["attributes"]


@pytest.mark.usefixtures("socket_enabled")
async def test_what_was_seen_outlives_shutdowns_and_power_cuts(tmp_path: Path, llama_server: LlamaServer) -> None:
    house = RealHomeAssistant(tmp_path)
    with OllamaFrontProcess(llama_server.url) as server:
        async with house:
            await set_up(house, server.url)
            await see(house, "red")
            before = await state_of(house, SENSOR)
            assert before[0] == "The picture is mostly red."
        async with house:
            assert await state_of(house, SENSOR) == before

            seen = await see(house, "blue")
            after = await state_of(house, SENSOR)
            await see(house, "lime", "Garden")
            await house.kill()
        async with house:
            assert await state_of(house, SENSOR) == after
            assert after[0] == "The picture is mostly blue."
            assert (await house.get_bytes(seen["picture"])).startswith(b"\xff\xd8")
            history = await house.call_action("ollama_vision", "get_history", {})
            assert [result["image_name"] for result in history["results"]] == ["Garden", "Front door", "Front door"]

            await house.post("/api/services/ollama_vision/forget_image", {"image_name": "Front door"})
            await house.kill()
        async with house:
            states = [state["entity_id"] for state in await house.get("/api/states")]
            assert not [entity_id for entity_id in states if "front_door" in entity_id]
            assert "sensor.ollama_vision_garden" in states
            registered = await house.command("config/entity_registry/list")
            assert not [entity for entity in registered if "front_door" in entity["entity_id"]]
