"""A question by voice: the tool of Assist, as a conversation agent finds and calls it, with the real model."""

import asyncio
from typing import Any, override

from homeassistant.components import camera, image
from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.core import Context, HomeAssistant
from homeassistant.helpers import entity_registry as er, llm
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockUser, async_capture_events

from custom_components.ollama_vision import llm as our_llm
from custom_components.ollama_vision.const import EVENT_ANALYSIS_FAILED, EVENT_IMAGE_ANALYZED, Role

from .common import add_device, entry_data, picture
from .servers.ollama_front import OllamaFront

TOOL = "ollama_vision__look_at_camera"
AWAY = "http://127.0.0.1:9"


class ColourCamera(camera.Camera):
    """A camera that shows one colour."""

    def __init__(self, key: str, name: str, colour: str | None) -> None:
        super().__init__()
        self._attr_unique_id = key
        self._attr_name = name
        self._picture = picture(colour) if colour else None

    @override
    async def async_camera_image(self, width: int | None = None, height: int | None = None) -> bytes | None:
        return self._picture


class ColourImage(image.ImageEntity):
    """An image entity that shows green."""

    _attr_name = "Doorbell"
    _attr_content_type = "image/jpeg"

    @override
    async def async_image(self) -> bytes | None:
        return picture("lime")


@pytest.fixture
async def house(hass: HomeAssistant) -> None:
    """Set up Assist, a red, a blue and a broken camera and a green image, which are exposed, and a hidden camera."""
    for component in ("homeassistant", "conversation", "camera", "image"):
        assert await async_setup_component(hass, component, {})
    cameras = [
        ColourCamera("front_door", "Front door", "red"),
        ColourCamera("garden", "Garden", "blue"),
        ColourCamera("broken", "Broken", None),
        ColourCamera("bedroom", "Bedroom", "red"),
    ]
    await hass.data[camera.const.DATA_COMPONENT].async_add_entities(cameras)
    await hass.data[image.const.DATA_COMPONENT].async_add_entities([ColourImage(hass)])
    for entity_id in ("camera.front_door", "camera.garden", "camera.broken", "image.doorbell"):
        async_expose_entity(hass, "conversation", entity_id, should_expose=True)


def asked_by(user: MockUser | None = None) -> llm.LLMContext:
    """Return what a conversation agent knows of who asks."""
    context = Context(user_id=user.id if user else None)
    return llm.LLMContext("some_agent", context, "en", "conversation", None)


async def assist(hass: HomeAssistant, context: llm.LLMContext | None = None) -> llm.APIInstance:
    """Return Assist as a conversation agent gets it."""
    return await llm.async_get_api(hass, "assist", context or asked_by())


async def ask(
    hass: HomeAssistant, camera_name: str = "Front door", *, user: MockUser | None = None, **arguments: Any
) -> llm.ToolResult:
    """Call the tool as a conversation agent does."""
    api = await assist(hass, asked_by(user))
    arguments = {"camera": camera_name, "question": "What is there?"} | arguments
    return await api.async_call_tool(llm.ToolInput(TOOL, arguments))


def pictures_sent(front: OllamaFront) -> int:
    """Return how many pictures a server was asked about."""
    return len([body for body in front.bodies() if body["messages"]])


@pytest.mark.parametrize(
    ("name", "entity_id", "colour"),
    [
        ("Front door", "camera.front_door", "red"),
        (" front DOOR ", "camera.front_door", "red"),
        ("porch", "camera.front_door", "red"),
        ("camera.garden", "camera.garden", "blue"),
        ("Doorbell", "image.doorbell", "green"),
    ],
)
async def test_a_camera_is_looked_through(
    hass: HomeAssistant, house: None, ollama_front: OllamaFront, name: str, entity_id: str, colour: str
) -> None:
    """It is no result: there is no event of it, no sensor and no picture that stays."""
    entry = await add_device(hass, entry_data(ollama_front.url))
    er.async_get(hass).async_update_entity("camera.front_door", aliases=[er.COMPUTED_NAME, "Porch"])
    events = async_capture_events(hass, EVENT_IMAGE_ANALYZED)
    before = set(hass.states.async_entity_ids())

    result = await ask(hass, name, question="Who is at the door?")
    await hass.async_block_till_done()

    assert result == llm.ToolResult({"camera": entity_id, "answer": f"The picture is mostly {colour}."})
    assert ollama_front.bodies()[-1]["messages"][0]["content"].startswith("Who is at the door?\n")
    assert not events
    assert set(hass.states.async_entity_ids()) == before
    assert not entry.runtime_data.history.latest


async def test_the_agent_is_told_which_cameras_there_are(
    hass: HomeAssistant, house: None, ollama_front: OllamaFront, caplog: pytest.LogCaptureFixture
) -> None:
    """And nobody has to be told that this integration does something outdated."""
    await add_device(hass, entry_data(ollama_front.url))

    api = await assist(hass)

    (tool,) = [tool for tool in api.tools if tool.name == TOOL]
    assert tool.integration == "ollama_vision"
    (named,) = [key.description for key in tool.parameters.schema if key == "camera"]
    assert "Front door (camera.front_door)" in named
    assert "Doorbell (image.doorbell)" in named
    assert "Bedroom" not in named
    assert TOOL in api.api_prompt
    assert "never instructions" in api.api_prompt
    assert "custom integration 'ollama_vision'" not in caplog.text


async def test_without_an_exposed_camera_there_is_no_tool(
    hass: HomeAssistant, house: None, ollama_front: OllamaFront
) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    for entity_id in ("camera.front_door", "camera.garden", "camera.broken", "image.doorbell"):
        async_expose_entity(hass, "conversation", entity_id, should_expose=False)
    assert TOOL not in [tool.name for tool in (await assist(hass)).tools]


async def test_without_a_device_there_is_no_tool(hass: HomeAssistant, house: None, ollama_front: OllamaFront) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))
    assert TOOL in [tool.name for tool in (await assist(hass)).tools]
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert TOOL not in [tool.name for tool in (await assist(hass)).tools]


async def test_other_apis_get_no_tool(hass: HomeAssistant, house: None, ollama_front: OllamaFront) -> None:
    """Home Assistant 2026.11 asks for one more."""
    await add_device(hass, entry_data(ollama_front.url))
    assert our_llm.async_get_tools(hass, asked_by(), "assist") is not None
    assert our_llm.async_get_tools(hass, asked_by(), "homeassistant") is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"camera": "Bedroom"}, "no such camera"),
        ({"camera": "camera.bedroom"}, "no such camera"),
        ({"camera": "sensor.ollama_vision_analyses"}, "no such camera"),
        ({"camera": "Same"}, "camera.front_door, camera.garden"),
        ({"camera": ["Garden"]}, "camera"),
        ({"camera": None}, "camera"),
        ({"question": " "}, "question"),
        ({"prompt": "Look."}, "prompt"),
        ({"camera": "Broken"}, "camera.broken has not given a picture"),
    ],
)
async def test_what_cannot_be_looked_at_is_a_sentence(
    hass: HomeAssistant, house: None, ollama_front: OllamaFront, arguments: dict[str, Any], words: str
) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    for entity_id in ("camera.front_door", "camera.garden"):
        er.async_get(hass).async_update_entity(entity_id, aliases=[er.COMPUTED_NAME, "Same"])

    result = await ask(hass, **arguments) if "camera" not in arguments else await ask(hass, arguments.pop("camera"))

    assert result.error is True
    assert words in str(result.data["error"])
    assert "Bedroom" not in str(result.data["error"])
    assert pictures_sent(ollama_front) == 0


async def test_a_camera_that_was_exposed_no_longer_is_not_looked_through(
    hass: HomeAssistant, house: None, ollama_front: OllamaFront
) -> None:
    """Also by an agent that still has the tool from before."""
    await add_device(hass, entry_data(ollama_front.url))
    api = await assist(hass)
    async_expose_entity(hass, "conversation", "camera.garden", should_expose=False)

    result = await api.async_call_tool(llm.ToolInput(TOOL, {"camera": "camera.garden", "question": "Who?"}))

    assert result.error is True
    assert pictures_sent(ollama_front) == 0


async def test_who_asks_needs_permission_to_see(hass: HomeAssistant, house: None, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    user = MockUser().add_to_hass(hass)
    user.mock_policy({"entities": {"entity_ids": {"camera.front_door": {"read": True}}}})

    allowed, refused = await ask(hass, user=user), await ask(hass, "Garden", user=user)
    gone = await ask(hass, user=MockUser(id="gone"))

    assert allowed.data["answer"] == "The picture is mostly red."
    assert [result.error for result in (allowed, refused, gone)] == [False, True, True]
    assert refused.data == gone.data == {"error": "The user may not see what this camera shows."}
    assert pictures_sent(ollama_front) == 1


async def test_an_answer_that_would_come_too_late_leaves_the_line(
    hass: HomeAssistant, house: None, ollama_front: OllamaFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(our_llm, "ANSWER_SECONDS", 0.5)
    entry = await add_device(hass, entry_data(ollama_front.url))
    queue = entry.runtime_data.connections[Role.VISION].queue
    ollama_front.gate.clear()

    async with asyncio.timeout(5):
        results = await asyncio.gather(ask(hass), ask(hass, "Garden"))

    assert [result.error for result in results] == [True, True]
    assert all("no answer after 0.5 seconds" in str(result.data["error"]) for result in results)
    assert pictures_sent(ollama_front) == 1
    assert queue.waiting == 0
    monkeypatch.setattr(our_llm, "ANSWER_SECONDS", 20)
    ollama_front.gate.set()
    assert (await ask(hass, "Garden")).data["answer"] == "The picture is mostly blue."


async def test_another_device_takes_over(hass: HomeAssistant, house: None, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(AWAY, name="Away"))
    assert "model server of Away at http://127.0.0.1:9 cannot be reached" in str((await ask(hass)).data["error"])
    await add_device(hass, entry_data(ollama_front.url, name="There"))
    assert (await ask(hass)).data["answer"] == "The picture is mostly red."


async def test_a_failure_is_not_another_devices_to_try(
    hass: HomeAssistant, house: None, ollama_front: OllamaFront
) -> None:
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    await add_device(hass, entry_data(ollama_front.url, model="tiny-text", name="Blind"))
    await add_device(hass, entry_data(ollama_front.url, name="Seeing"))

    result = await ask(hass)

    assert result.error is True
    assert "tiny-text cannot see pictures" in str(result.data["error"])
    assert pictures_sent(ollama_front) == 0
    assert not failed
