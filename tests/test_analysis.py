"""The main job, from the action to the event, with the real model behind both protocols."""

import asyncio
from collections.abc import AsyncIterator
import threading
from typing import Any

from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
import pytest
from pytest_homeassistant_custom_component.common import async_capture_events

from custom_components.ollama_vision.const import EVENT_ANALYSIS_FAILED, EVENT_IMAGE_ANALYZED
from custom_components.ollama_vision.result_files import ResultFiles
from custom_components.ollama_vision.tasks import DEFAULT_PROMPT

from .common import add_device, analyze, entry_data, picture, picture_server, text_model
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFront

COLOURS = ("red", "green", "blue")


@pytest.fixture
async def pictures(socket_enabled: None) -> AsyncIterator[str]:
    """Serve a red, a green and a blue picture, and one that is none."""
    async with picture_server(
        red=picture("red"), green=picture("lime"), blue=picture("blue"), text=b"no picture"
    ) as url:
        yield url


@pytest.fixture(params=["ollama", "openai"])
def server(request: pytest.FixtureRequest, ollama_front: OllamaFront, llama_server: LlamaServer) -> dict[str, Any]:
    """Return the data of a device whose real model is asked through each of the protocols."""
    url = ollama_front.url if request.param == "ollama" else llama_server.url
    return entry_data(url, api=request.param)


@pytest.mark.parametrize("colour", COLOURS)
async def test_a_picture_is_described(hass: HomeAssistant, server: dict[str, Any], pictures: str, colour: str) -> None:
    entry = await add_device(hass, server)
    events = async_capture_events(hass, EVENT_IMAGE_ANALYZED)

    response = await analyze(hass, image_url=f"{pictures}/{colour}.jpg")
    await hass.async_block_till_done()

    assert response["description"] == f"The picture is mostly {colour}."
    assert [event.data for event in events] == [response]
    device = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)[0]
    assert (
        response
        | {
            "integration_id": entry.entry_id,
            "device_id": device.id,
            "entity_id": "sensor.ollama_vision_front_door",
            "image_name": "Front door",
            "image_url": f"{pictures}/{colour}.jpg",
            "prompt": DEFAULT_PROMPT,
            "final_description": f"The picture is mostly {colour}.",
            "used_text_model": False,
            "text_prompt": None,
            "text_model": None,
            "text_model_error": None,
            "data": None,
            "truncated": False,
            "cached": False,
            "attempts": [],
        }
        == response
    )
    state = hass.states.get("sensor.ollama_vision_front_door")
    assert state is not None
    assert state.state == f"The picture is mostly {colour}."
    assert state.attributes["description"] == state.attributes["full_description"] == response["description"]


async def test_the_sensor_is_there_when_its_first_event_is(
    hass: HomeAssistant, ollama_front: OllamaFront, pictures: str
) -> None:
    seen: list[str] = []

    @callback
    def look(event: Event) -> None:
        state = hass.states.get(event.data["entity_id"])
        assert state is not None
        seen.append(state.state)

    hass.bus.async_listen(EVENT_IMAGE_ANALYZED, look)
    await add_device(hass, entry_data(ollama_front.url))

    await analyze(hass, image_url=f"{pictures}/red.jpg")
    await hass.async_block_till_done()

    assert seen == ["The picture is mostly red."]


async def test_a_text_model_rewrites_the_description(
    hass: HomeAssistant, ollama_front: OllamaFront, pictures: str
) -> None:
    await add_device(hass, entry_data(ollama_front.url, **text_model(ollama_front.url)))

    response = await analyze(
        hass,
        image_url=f"{pictures}/red.jpg",
        use_text_model=True,
        text_prompt="Say {x} it in {{braces}}: {description}",
    )

    assert response["used_text_model"] is True
    assert response["description"] == "The picture is mostly red."
    assert response["text_prompt"] == "Say {x} it in {{braces}}: The picture is mostly red."
    assert response["final_description"] == "No photo was given."
    assert ollama_front.bodies()[-1]["messages"][0]["content"] == response["text_prompt"]


async def test_a_text_step_goes_before_the_questions_that_wait(
    hass: HomeAssistant, ollama_front: OllamaFront, pictures: str
) -> None:
    await add_device(hass, entry_data(ollama_front.url, **text_model(ollama_front.url)))
    events = async_capture_events(hass, EVENT_IMAGE_ANALYZED)
    ollama_front.gate.clear()
    for colour in COLOURS:
        await analyze(hass, image_url=f"{pictures}/{colour}.jpg", use_text_model=True, wait=False)
    await ollama_front.received(1)
    ollama_front.gate.set()
    async with asyncio.timeout(10):
        while len(events) < len(COLOURS):
            await asyncio.sleep(0.01)

    asked = [body["model"] for body in ollama_front.bodies() if body["messages"]]
    # The second question has its turn while the first one's text step comes to the line; the third has to wait.
    assert asked == ["tiny-vision", "tiny-vision", "tiny-text", "tiny-text", "tiny-vision", "tiny-text"]


async def test_a_device_without_a_text_model_says_so(
    hass: HomeAssistant, ollama_front: OllamaFront, pictures: str
) -> None:
    await add_device(hass, entry_data(ollama_front.url))

    response = await analyze(hass, image_url=f"{pictures}/red.jpg", use_text_model=True)

    assert response["used_text_model"] is False
    assert response["text_model_error"] == "no_text_model"
    assert response["final_description"] == "The picture is mostly red."


async def test_a_text_model_that_fails_leaves_the_vision_models_words(
    hass: HomeAssistant, ollama_front: OllamaFront, pictures: str
) -> None:
    await add_device(hass, entry_data(ollama_front.url, **text_model(ollama_front.url, model="gone")))

    response = await analyze(hass, image_url=f"{pictures}/red.jpg", use_text_model=True)

    assert response["used_text_model"] is False
    assert response["text_model_error"] == "model_not_found"
    assert response["final_description"] == "The picture is mostly red."


@pytest.mark.parametrize(
    ("name", "changes", "error", "words"),
    [
        ("red", {"vision_model": "gone"}, "model_not_found", "gone"),
        ("red", {"vision_model": "tiny-text"}, "cannot_see", "tiny-vision"),
        ("red", {"vision_host": "http://127.0.0.1:9"}, "cannot_connect", "127.0.0.1:9"),
        ("text", {}, "not_an_image", "picture"),
        ("missing", {}, "image_not_found", "missing.jpg"),
    ],
)
async def test_a_failure_has_a_name_a_sentence_and_an_event(
    hass: HomeAssistant,
    ollama_front: OllamaFront,
    pictures: str,
    name: str,
    changes: dict[str, Any],
    error: str,
    words: str,
) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url) | changes)
    failed, analyzed = (
        async_capture_events(hass, EVENT_ANALYSIS_FAILED),
        async_capture_events(hass, EVENT_IMAGE_ANALYZED),
    )

    with pytest.raises(HomeAssistantError) as raised:
        await analyze(hass, image_url=f"{pictures}/{name}.jpg")
    await hass.async_block_till_done()

    assert words in str(raised.value)
    assert not analyzed
    assert [event.data["error"] for event in failed] == [error]
    assert failed[0].data["integration_id"] == entry.entry_id
    assert failed[0].data["message"] == str(raised.value)
    assert failed[0].data["image_url"] == f"{pictures}/{name}.jpg"


async def test_a_structure_becomes_data(hass: HomeAssistant, server: dict[str, Any], pictures: str) -> None:
    await add_device(hass, server)

    response = await analyze(
        hass,
        image_url=f"{pictures}/red.jpg",
        structure={"colour": {"selector": {"text": {}}, "required": True}},
    )

    assert response["data"] == {"colour": "The picture is mostly red."}
    assert response["final_description"] == "Colour: The picture is mostly red."


async def test_reading_text_answers_with_the_text_alone(
    hass: HomeAssistant, server: dict[str, Any], pictures: str
) -> None:
    await add_device(hass, server)

    response = await analyze(hass, image_url=f"{pictures}/blue.jpg", task="ocr")

    assert response["final_description"] == "The picture is mostly blue."
    assert response["data"] == {"text": "The picture is mostly blue."}


async def test_context_comes_before_the_question(hass: HomeAssistant, ollama_front: OllamaFront, pictures: str) -> None:
    await add_device(hass, entry_data(ollama_front.url))

    response = await analyze(hass, image_url=f"{pictures}/red.jpg", context="A porch.", prompt="Who?")

    assert response["prompt"] == "A porch.\n\nWho?"
    assert ollama_front.bodies()[-1]["messages"][0]["content"] == "A porch.\n\nWho?"


async def test_the_same_question_is_answered_from_memory(
    hass: HomeAssistant, ollama_front: OllamaFront, pictures: str
) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    url = f"{pictures}/red.jpg"

    first = await analyze(hass, image_url=url)
    second = await analyze(hass, image_url=url)
    third = await analyze(hass, image_url=url, cache=False)
    other = await analyze(hass, image_url=f"{pictures}/blue.jpg")

    assert [first["cached"], second["cached"], third["cached"], other["cached"]] == [False, True, False, False]
    assert other["description"] == "The picture is mostly blue."
    assert first["timestamp"] < second["timestamp"] < third["timestamp"]
    questions = [body for body in ollama_front.bodies() if body["messages"]]
    assert len(questions) == 3


async def test_a_device_may_remember_no_answers(hass: HomeAssistant, ollama_front: OllamaFront, pictures: str) -> None:
    await add_device(hass, entry_data(ollama_front.url), options={"cache_minutes": 0})
    responses = [await analyze(hass, image_url=f"{pictures}/red.jpg") for _ in range(2)]
    assert [response["cached"] for response in responses] == [False, False]


async def test_without_waiting_the_event_tells(hass: HomeAssistant, ollama_front: OllamaFront, pictures: str) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    events = async_capture_events(hass, EVENT_IMAGE_ANALYZED)

    response = await analyze(hass, image_url=f"{pictures}/red.jpg", wait=False)
    assert response == {"queued": True, "image_name": "Front door"}
    assert not events
    await hass.async_block_till_done(wait_background_tasks=True)

    assert [event.data["description"] for event in events] == ["The picture is mostly red."]


async def test_another_device_takes_over(hass: HomeAssistant, ollama_front: OllamaFront, pictures: str) -> None:
    away = await add_device(hass, entry_data("http://127.0.0.1:9", name="Away"))
    there = await add_device(hass, entry_data(ollama_front.url, name="There"))

    response = await analyze(hass, image_url=f"{pictures}/red.jpg")

    assert response["integration_id"] == there.entry_id
    assert response["entity_id"] == "sensor.there_front_door"
    device = dr.async_entries_for_config_entry(dr.async_get(hass), away.entry_id)[0]
    assert response["attempts"] == [{"device_id": device.id, "error": "cannot_connect"}]
    with pytest.raises(HomeAssistantError, match=r"127\.0\.0\.1:9"):
        await analyze(hass, image_url=f"{pictures}/red.jpg", device_id=device.id)


async def test_a_picture_is_never_sent_to_a_model_that_cannot_see(
    hass: HomeAssistant, ollama_front: OllamaFront, pictures: str
) -> None:
    await add_device(hass, entry_data(ollama_front.url, vision_model="tiny-text"))
    with pytest.raises(HomeAssistantError, match="cannot see"):
        await analyze(hass, image_url=f"{pictures}/red.jpg")
    assert not [body for body in ollama_front.bodies() if body["messages"]]


async def test_a_device_that_lacks_the_model_is_passed_over(
    hass: HomeAssistant, ollama_front: OllamaFront, pictures: str
) -> None:
    await add_device(hass, entry_data(ollama_front.url, name="Without", vision_model="gone"))
    await add_device(hass, entry_data(ollama_front.url, name="With"))

    response = await analyze(hass, image_url=f"{pictures}/red.jpg")

    assert response["entity_id"] == "sensor.with_front_door"
    assert [attempt["error"] for attempt in response["attempts"]] == ["model_not_found"]


class SlowDisk:
    """A disk that takes as long to write a result as it is told to; `writing` says that it has begun."""

    def __init__(self, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writing = asyncio.Event()
        self.done = threading.Event()
        write = ResultFiles.write

        def write_slowly(*args: Any) -> Any:
            hass.loop.call_soon_threadsafe(self.writing.set)
            self.done.wait(10)
            return write(*args)

        monkeypatch.setattr(ResultFiles, "write", write_slowly)


@pytest.fixture
def slow_disk(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    """Slow the disk down."""
    return SlowDisk(hass, monkeypatch)


@pytest.mark.parametrize("unloads", [False, True])
async def test_what_is_stored_is_told_also_when_its_automation_starts_again(
    hass: HomeAssistant, ollama_front: OllamaFront, pictures: str, slow_disk: SlowDisk, *, unloads: bool
) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))
    events = async_capture_events(hass, EVENT_IMAGE_ANALYZED)
    analysis = hass.async_create_task(analyze(hass, image_url=f"{pictures}/red.jpg"))
    async with asyncio.timeout(10):
        await slow_disk.writing.wait()

    analysis.cancel()
    with pytest.raises(asyncio.CancelledError):
        await analysis
    hass.loop.call_later(0.1, slow_disk.done.set)
    if unloads:
        assert await hass.config_entries.async_unload(entry.entry_id)
    else:
        await hass.async_block_till_done()

    assert [event.data["description"] for event in events] == ["The picture is mostly red."]
    if not unloads:
        state = hass.states.get("sensor.ollama_vision_front_door")
        assert state is not None
        assert state.state == "The picture is mostly red."


async def test_what_is_stored_while_home_assistant_stops_is_no_failure(
    hass: HomeAssistant, ollama_front: OllamaFront, pictures: str, slow_disk: SlowDisk
) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    await analyze(hass, image_url=f"{pictures}/red.jpg", wait=False)
    async with asyncio.timeout(10):
        await slow_disk.writing.wait()
    hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, lambda _: slow_disk.done.set())

    await hass.async_stop(force=True)

    assert not failed
