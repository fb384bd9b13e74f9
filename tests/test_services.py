"""What the actions take and refuse."""

import asyncio
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_capture_events
import voluptuous as vol

from custom_components.ollama_vision.const import DOMAIN, EVENT_ANALYSIS_FAILED, EVENT_IMAGE_ANALYZED
from custom_components.ollama_vision.tasks import DEFAULT_PROMPT, TASKS

from .common import add_device, analyze, entry_data, picture, picture_server
from .servers.ollama_front import OllamaFront

A_PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


def device_of(hass: HomeAssistant, entry: MockConfigEntry) -> str:
    """Return the id of an entry's device."""
    return dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)[0].id


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"image_url": ""},
        {"image_url": [], "image_entity": []},
        {"image_url": A_PICTURE, "image_name": ""},
        {"image_url": A_PICTURE, "image_name": "x" * 101},
        {"image_url": A_PICTURE, "image_entity": "light.porch"},
        {"image_url": A_PICTURE, "task": "dance"},
        {"image_url": A_PICTURE, "structure": {"people": "number"}},
        {"image_url": A_PICTURE, "unknown": 1},
        {"image_url": {"url": A_PICTURE}},
    ],
)
async def test_what_makes_no_sense_is_refused(
    hass: HomeAssistant, ollama_front: OllamaFront, data: dict[str, Any]
) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    with pytest.raises(vol.Invalid):
        await analyze(hass, **data)


async def test_fields_that_the_form_leaves_empty_count_as_left_out(
    hass: HomeAssistant, ollama_front: OllamaFront
) -> None:
    await add_device(hass, entry_data(ollama_front.url))

    response = await analyze(
        hass,
        image_url=["", A_PICTURE],
        image_entity=[""],
        prompt="",
        device_id=["", None],
        text_prompt="",
        context="",
        structure={},
    )

    assert response["prompt"] == DEFAULT_PROMPT
    assert response["data"] is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"image_url": A_PICTURE, "image_name": "!?"}, "!?"),
        ({"image_url": A_PICTURE, "image_name": "ⴰⵣⵓⵍ"}, "ⴰⵣⵓⵍ"),
        ({"image_url": A_PICTURE, "device_id": "nobody"}, "nobody"),
        ({"image_url": A_PICTURE, "device_id": ["nobody"]}, "nobody"),
        ({"image_url": "ftp://example.com/a.jpg"}, "ftp"),
    ],
)
async def test_what_cannot_be_done_is_said_at_once(
    hass: HomeAssistant, ollama_front: OllamaFront, data: dict[str, Any], words: str
) -> None:
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    await add_device(hass, entry_data(ollama_front.url))
    for wait in (True, False):
        with pytest.raises(ServiceValidationError, match=words):
            await analyze(hass, **data, wait=wait)
    await hass.async_block_till_done()
    assert not failed
    assert not ollama_front.bodies()


async def test_another_integrations_device_is_none_of_ours(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    other = MockConfigEntry(domain="other")
    other.add_to_hass(hass)
    device = dr.async_get(hass).async_get_or_create(config_entry_id=other.entry_id, identifiers={("other", "lamp")})

    with pytest.raises(ServiceValidationError, match=device.id):
        await analyze(hass, image_url=A_PICTURE, device_id=device.id)


async def test_without_a_device_it_says_how_to_get_one(hass: HomeAssistant) -> None:
    assert await async_setup_component(hass, DOMAIN, {})
    with pytest.raises(ServiceValidationError, match="Add, enable or reload one"):
        await analyze(hass, image_url=A_PICTURE)


async def test_a_device_that_is_not_loaded_is_said(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url, name="Porch"))
    await add_device(hass, entry_data(ollama_front.url, name="Other"))
    device = device_of(hass, entry)
    await hass.config_entries.async_unload(entry.entry_id)

    with pytest.raises(ServiceValidationError, match="Porch"):
        await analyze(hass, image_url=A_PICTURE, device_id=device)


async def test_the_named_device_is_asked(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(ollama_front.url, name="First"))
    second = await add_device(hass, entry_data(ollama_front.url, name="Second"))

    response = await analyze(hass, image_url=A_PICTURE, device_id=device_of(hass, second))

    assert response["integration_id"] == second.entry_id


@pytest.mark.parametrize("task", TASKS)
async def test_each_task_sends_its_prompt(hass: HomeAssistant, ollama_front: OllamaFront, task: str) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    try:
        await analyze(hass, image_url=A_PICTURE, task=task)
    except HomeAssistantError:
        # The tiny model writes a sentence into every field, also where a number belongs.
        assert TASKS[task].structure
    assert ollama_front.bodies()[-1]["messages"][0]["content"] == TASKS[task].prompt


async def test_an_own_prompt_beats_the_tasks(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    response = await analyze(hass, image_url=A_PICTURE, task="ocr", prompt="Which number is on the bus?")
    assert response["prompt"] == "Which number is on the bus?"
    assert response["data"] is None


async def test_another_model_can_be_asked_for_one_call(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    response = await analyze(hass, image_url=A_PICTURE, model="tiny-think")
    assert response["model"] == "tiny-think"
    assert ollama_front.bodies()[-1]["think"] is False


async def test_several_pictures_are_one_question(
    hass: HomeAssistant, ollama_front: OllamaFront, socket_enabled: None
) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    async with picture_server(red=picture("red"), blue=picture("blue")) as url:
        response = await analyze(hass, image_url=[f"{url}/red.jpg", f"{url}/blue.jpg"], task="compare")

    assert response["image_urls"] == [f"{url}/red.jpg", f"{url}/blue.jpg"]
    assert response["image_url"] == f"{url}/red.jpg"
    assert len(ollama_front.bodies()[-1]["messages"][0]["images"]) == 2


async def test_a_full_queue_is_refused_at_once(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(ollama_front.url), options={"cache_minutes": 0})
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    analyzed = async_capture_events(hass, EVENT_IMAGE_ANALYZED)
    ollama_front.gate.clear()

    for number in range(101):  # one is asked, a hundred wait
        await analyze(hass, image_url=A_PICTURE, prompt=f"Question {number}", wait=False)
    for wait in (True, False):
        with pytest.raises(HomeAssistantError, match="Too many requests"):
            await analyze(hass, image_url=A_PICTURE, wait=wait)
    assert not failed
    ollama_front.gate.set()
    async with asyncio.timeout(30):
        while len(analyzed) < 101:
            await asyncio.sleep(0.01)
    assert sorted(int(event.data["prompt"].removeprefix("Question ")) for event in analyzed) == list(range(101))
