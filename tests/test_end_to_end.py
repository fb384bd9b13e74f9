"""As in a house: Frigate tells over MQTT, the README's automation runs, and all that shows the result agrees."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
import shutil
from typing import Any

import pytest

from .automations import frigate_event
from .readme import block
from .real_home_assistant import RealHomeAssistant
from .servers.llama_server import LlamaServer
from .servers.mosquitto import Mosquitto
from .servers.ollama_front import OllamaFrontProcess

TESTS = Path(__file__).parent
FRONT_DOOR = TESTS.parent / "scripts/lib/front-door.jpg"
AUTOMATION = "who_is_at_the_door"
EVENT_ID = "1607123955.475377-mxklsc"
RED = "The picture is mostly red."
SECONDS_TO_SEE = 30


@pytest.fixture
async def house(tmp_path: Path, socket_enabled: None) -> AsyncIterator[RealHomeAssistant]:
    """Run a Home Assistant with Frigate's pictures, a phone, and automations that a user may add."""
    shutil.copytree(TESTS / "house", tmp_path / "custom_components")
    shutil.copy(FRONT_DOOR, tmp_path)
    (tmp_path / "automations.yaml").write_text("[]")
    configuration = "automation: !include automations.yaml\nfrigate:\nphone:\n"
    async with RealHomeAssistant(tmp_path, configuration=configuration) as started:
        yield started


async def add_device(house: RealHomeAssistant, server: str) -> None:
    """Add a device by its form."""
    step = await house.start_flow("ollama_vision")
    step = await house.answer(step, {"name": "Ollama Vision", "vision_host": server, "connection": {}})
    step = await house.answer(step, {"vision_model": "tiny-vision"})
    assert step["type"] == "create_entry", step


async def add_mqtt(house: RealHomeAssistant, broker: Mosquitto) -> None:
    """Connect Home Assistant to a broker by its form."""
    step = await house.start_flow("mqtt")
    more = {"set_client_cert": False, "set_ca_cert": "off"}
    address = {"broker": "127.0.0.1", "port": broker.port, "protocol": "5", "other_settings": more}
    step = await house.answer(step, address)
    assert step["type"] == "create_entry", step


async def hears(house: RealHomeAssistant, broker: Mosquitto) -> None:
    """Return when the automation hears the broker: until then Frigate tells of somebody whom it saw before."""
    while not await house.command("trace/list", domain="automation", item_id=AUTOMATION):
        await asyncio.to_thread(broker.publish, "frigate/events", frigate_event("update"))
        await asyncio.sleep(0.2)


async def logged(house: RealHomeAssistant, entity_id: str) -> list[dict[str, Any]]:
    """Return an entity's entries of the logbook as soon as there are any; the recorder writes once a second."""
    since = (datetime.now(UTC) - timedelta(minutes=5)).isoformat().replace("+", "%2B")
    async with asyncio.timeout(SECONDS_TO_SEE):
        while True:
            entries = await house.get(f"/api/logbook/{since}?entity={entity_id}")
            if told := [entry for entry in entries if entry.get("domain") == "ollama_vision"]:
                return told
            await asyncio.sleep(0.2)


async def state_of(house: RealHomeAssistant, entity_id: str) -> dict[str, Any]:
    """Return state and attributes in one."""
    state = await house.get(f"/api/states/{entity_id}")
    return {"state": state["state"], **state["attributes"]}


@pytest.mark.skipif(not shutil.which("mosquitto"), reason="there is no mosquitto here, and scripts/test could get none")
async def test_frigate_sees_somebody_and_all_that_tells_of_it_agrees(
    house: RealHomeAssistant, llama_server: LlamaServer
) -> None:
    with Mosquitto() as broker, OllamaFrontProcess(llama_server.url) as server:
        await add_mqtt(house, broker)
        await add_device(house, server.url)
        await house.post(f"/api/config/automation/config/{AUTOMATION}", block("Who is at the door").config)
        async with asyncio.timeout(SECONDS_TO_SEE), house.events("ollama_vision_image_analyzed", "phone_shows") as told:
            await hears(house, broker)
            await asyncio.to_thread(broker.publish, "frigate/events", frigate_event(event_id=EVENT_ID))
            analyzed = (await anext(told))["data"]
            notification = (await anext(told))["data"]

    assert analyzed["final_description"] == RED
    assert analyzed["image_url"] == f"/api/frigate/notifications/{EVENT_ID}/thumbnail.jpg"
    assert notification == {
        "title": "At the front door",
        "message": RED,
        "data": {"image": analyzed["picture"], "tag": EVENT_ID},
    }
    assert await house.get_bytes(analyzed["picture"]) == FRONT_DOOR.read_bytes()

    sensor = await state_of(house, analyzed["entity_id"])
    assert sensor["state"] == RED
    image = await state_of(house, analyzed["image_entity_id"])
    assert await house.get_bytes(image["entity_picture"]) == FRONT_DOOR.read_bytes()
    event = await state_of(house, "event.ollama_vision_analysis")
    assert (event["event_type"], event["image_name"], event["text"]) == ("analyzed", "Front door", RED)
    assert event["picture"] == analyzed["picture"]
    (entry,) = await logged(house, analyzed["entity_id"])
    assert (entry["name"], entry["message"]) == ("Front door", f"was analyzed: {RED}")
