"""A device as an AI Task entity: through Home Assistant's own action, with the real model."""

import asyncio
from pathlib import Path
import subprocess
import sys
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.core_config import async_process_ha_core_config
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import async_capture_events

from custom_components.ollama_vision.const import EVENT_ANALYSIS_FAILED, EVENT_IMAGE_ANALYZED

from .common import add_device, entry_data, picture, text_model
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFront
from .test_look import longest_edge

ENTITY_ID = "ai_task.ollama_vision"
COLOUR = {"colour": {"selector": {"text": {}}, "required": True}}


@pytest.fixture
async def media(hass: HomeAssistant, tmp_path: Path) -> None:
    """Set up what most installations have, with two pictures and two files that are none in the media folder."""
    (tmp_path / "red.jpg").write_bytes(picture("red", (1600, 1200)))
    (tmp_path / "blue.png").write_bytes(picture("blue", kind="PNG"))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "manual.pdf").write_bytes(b"%PDF-1.7")
    await async_process_ha_core_config(hass, {"media_dirs": {"local": str(tmp_path)}})
    for component in ("homeassistant", "conversation", "media_source"):
        assert await async_setup_component(hass, component, {})


@pytest.fixture(params=["ollama", "openai"])
def server(request: pytest.FixtureRequest, ollama_front: OllamaFront, llama_server: LlamaServer) -> dict[str, Any]:
    """Return the data of a device whose real model is asked through each of the protocols."""
    url = ollama_front.url if request.param == "ollama" else llama_server.url
    return entry_data(url, api=request.param)


def attached(*names: str) -> list[dict[str, str]]:
    """Return files of the media folder, as the action takes them."""
    kinds = {"jpg": "image/jpeg", "png": "image/png", "pdf": "application/pdf"}
    return [
        {
            "media_content_id": f"media-source://media_source/local/{name}",
            "media_content_type": kinds[name.rpartition(".")[2]],
        }
        for name in names
    ]


async def generate(hass: HomeAssistant, **data: Any) -> Any:
    """Call Home Assistant's action and return the data it answers with."""
    task = {"task_name": "look", "entity_id": ENTITY_ID, "instructions": "What colour is it?"}
    response = await hass.services.async_call(
        "ai_task", "generate_data", task | data, blocking=True, return_response=True
    )
    assert isinstance(response, dict)
    return response["data"]


async def test_a_picture_is_described(hass: HomeAssistant, media: None, server: dict[str, Any]) -> None:
    """It is no result: there is no event of it and no sensor."""
    entry = await add_device(hass, server)
    events = async_capture_events(hass, EVENT_IMAGE_ANALYZED)
    before = set(hass.states.async_entity_ids())

    assert await generate(hass, attachments=attached("red.jpg")) == "The picture is mostly red."
    await hass.async_block_till_done()

    assert not events
    assert set(hass.states.async_entity_ids()) == before
    assert not entry.runtime_data.history.latest
    entity = er.async_get(hass).async_get(ENTITY_ID)
    assert entity is not None
    assert entity.unique_id == f"ollama_vision_{entry.entry_id}_ai_task"


async def test_a_structure_becomes_data(hass: HomeAssistant, media: None, server: dict[str, Any]) -> None:
    await add_device(hass, server)
    data = await generate(hass, attachments=attached("blue.png"), structure=COLOUR)
    assert data == {"colour": "The picture is mostly blue."}


async def test_several_pictures_are_prepared_and_sent_with_one_question(
    hass: HomeAssistant, media: None, ollama_front: OllamaFront
) -> None:
    await add_device(hass, entry_data(ollama_front.url), options={"picture_size": 512})

    await generate(hass, instructions="Compare them.", attachments=attached("red.jpg", "blue.png"))

    question = ollama_front.bodies()[-1]
    (message,) = question["messages"]
    assert message["content"] == "Compare them."
    assert len(message["images"]) == 2
    assert longest_edge(question) == 512


async def test_without_a_picture_the_text_model_is_asked(
    hass: HomeAssistant, media: None, ollama_front: OllamaFront
) -> None:
    await add_device(hass, entry_data(ollama_front.url, **text_model(ollama_front.url)))

    for _ in range(2):  # a second text is a new one and not the first from memory
        assert await generate(hass, instructions="Greet me.") == "No photo was given."

    questions = [body for body in ollama_front.bodies() if body["messages"]]
    assert [question["model"] for question in questions] == ["tiny-text", "tiny-text"]
    assert questions[0]["messages"] == [{"role": "user", "content": "Greet me."}]


async def test_without_a_text_model_the_vision_model_is_asked(
    hass: HomeAssistant, media: None, ollama_front: OllamaFront
) -> None:
    await add_device(hass, entry_data(ollama_front.url))

    assert await generate(hass, structure=COLOUR) == {"colour": "No photo was given."}
    assert ollama_front.bodies()[-1]["model"] == "tiny-vision"


@pytest.mark.parametrize(
    ("changes", "file", "words"),
    [
        ({"vision_model": "gone"}, "red.jpg", "does not have the model gone"),
        ({"vision_model": "tiny-text"}, "red.jpg", "tiny-text cannot see pictures"),
        ({"vision_host": "http://127.0.0.1:9"}, "red.jpg", "cannot be reached"),
        ({"vision_host": "http://127.0.0.1:9"}, None, "cannot be reached"),
        ({}, "manual.pdf", "local/manual.pdf is no picture but application/pdf"),
        ({}, "broken.jpg", "local/broken.jpg is not a picture"),
    ],
)
async def test_a_failure_is_a_sentence(
    hass: HomeAssistant, media: None, ollama_front: OllamaFront, changes: dict[str, Any], file: str | None, words: str
) -> None:
    await add_device(hass, entry_data(ollama_front.url) | changes)
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)

    with pytest.raises(HomeAssistantError, match=words):
        await generate(hass, **({"attachments": attached(file)} if file else {}))
    await hass.async_block_till_done()

    assert not failed


async def test_a_task_waits_its_turn_and_ends_with_its_device(
    hass: HomeAssistant, media: None, ollama_front: OllamaFront
) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))
    ollama_front.gate.clear()
    tasks = [
        hass.async_create_task(generate(hass, attachments=attached("red.jpg"))),
        hass.async_create_task(generate(hass)),
    ]
    await ollama_front.received(1)
    queue = entry.runtime_data.connections["vision"].queue
    async with asyncio.timeout(5):
        while queue.waiting < 1:
            await asyncio.sleep(0.01)

    assert await hass.config_entries.async_unload(entry.entry_id)

    for task in tasks:
        with pytest.raises(HomeAssistantError, match="unloaded"):
            await task
    assert queue.waiting == 0
    ollama_front.gate.set()


async def test_a_home_without_conversation_has_no_such_entity(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    """Voice commands are not set up behind its back, and setting them up later does not disturb."""
    entry = await add_device(hass, entry_data(ollama_front.url))
    assert hass.states.get(ENTITY_ID) is None
    assert "conversation" not in hass.config.components

    for component in ("homeassistant", "conversation"):
        assert await async_setup_component(hass, component, {})
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()

    assert hass.states.get(ENTITY_ID) is not None
    assert await hass.config_entries.async_unload(entry.entry_id)


def test_a_home_that_lacks_what_voice_commands_need_can_load_the_rest() -> None:
    """The packages of Home Assistant's conversation component are not always there."""
    program = "import homeassistant, sys; sys.modules['hassil'] = None; import custom_components.ollama_vision"
    subprocess.run((sys.executable, "-c", program), check=True, timeout=60, cwd=Path(__file__).parents[1])  # noqa: S603  (a program of this file)
