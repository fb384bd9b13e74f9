"""The last resort: another vendor's AI task is asked where an option says so, and nowhere else."""

import asyncio
import io
from pathlib import Path
from typing import Any, override

from homeassistant.components import media_source
from homeassistant.components.ai_task import AITaskEntity, AITaskEntityFeature, GenDataTask, GenDataTaskResult
from homeassistant.components.conversation import ChatLog
from homeassistant.config_entries import ConfigEntry, ConfigFlow
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.setup import async_setup_component
from PIL import Image
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    MockModule,
    MockPlatform,
    async_capture_events,
    mock_config_flow,
    mock_integration,
    mock_platform,
)

from custom_components.ollama_vision import asking, fallback
from custom_components.ollama_vision.const import EVENT_ANALYSIS_FAILED, EVENT_IMAGE_ANALYZED, Role

from .common import add_device, analyze, data_url, entry_data, picture, text_model
from .servers.faulty import FaultyServer, answer
from .servers.ollama_front import OllamaFront

AWAY = "http://127.0.0.1:9"
ELSEWHERE = {"fallback_ai_task": "ai_task.elsewhere"}
RED = data_url(picture("red", (1600, 1200)))
COLOUR = {"colour": {"selector": {"text": {}}, "required": True}}


class Elsewhere(AITaskEntity):
    """Another vendor's entity: it reads what it gets, as a cloud would, and answers as it is told."""

    _attr_has_entity_name = True
    _attr_name = None
    _attr_unique_id = "elsewhere"
    _attr_device_info = DeviceInfo(identifiers={("elsewhere", "cloud")}, name="Elsewhere")
    _attr_supported_features = AITaskEntityFeature.GENERATE_DATA | AITaskEntityFeature.SUPPORT_ATTACHMENTS

    def __init__(self) -> None:
        self.answer: Any = "A red one."
        self.tasks: list[GenDataTask] = []
        self.pictures: list[bytes] = []
        self.paths: list[Path] = []
        self.asked = asyncio.Event()

    @override
    async def _async_generate_data(self, task: GenDataTask, chat_log: ChatLog) -> GenDataTaskResult:
        self.tasks.append(task)
        for attachment in task.attachments or []:
            assert attachment.mime_type == "image/jpeg"
            self.paths.append(attachment.path)
            self.pictures.append(await self.hass.async_add_executor_job(attachment.path.read_bytes))
        self.asked.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            await asyncio.Event().wait()
        return GenDataTaskResult(chat_log.conversation_id, self.answer)


@pytest.fixture
async def elsewhere(hass: HomeAssistant, socket_enabled: None) -> Elsewhere:
    """Set up another vendor's integration with one entity, on a device of its own."""
    for component in ("homeassistant", "conversation", "media_source"):
        assert await async_setup_component(hass, component, {})
    entity = Elsewhere()

    async def set_up(hass: HomeAssistant, entry: ConfigEntry) -> bool:
        await hass.config_entries.async_forward_entry_setups(entry, ["ai_task"])
        return True

    async def add(_: HomeAssistant, __: ConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback) -> None:
        async_add_entities([entity])

    mock_integration(hass, MockModule("elsewhere", async_setup_entry=set_up), built_in=False)
    mock_platform(hass, "elsewhere.config_flow", None)
    mock_platform(hass, "elsewhere.ai_task", MockPlatform(async_setup_entry=add))
    entry = MockConfigEntry(domain="elsewhere")
    entry.add_to_hass(hass)
    with mock_config_flow("elsewhere", ConfigFlow):
        assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entity


def device_of(hass: HomeAssistant, entity_id: str) -> str | None:
    """Return the device of an entity."""
    entity = er.async_get(hass).async_get(entity_id)
    assert entity is not None
    return entity.device_id


async def test_the_named_entity_answers_when_the_server_is_away(hass: HomeAssistant, elsewhere: Elsewhere) -> None:
    """It gets the prepared picture, of which nothing stays behind, and the event says who answered."""
    entry = await add_device(hass, entry_data(AWAY), options=ELSEWHERE | {"picture_size": 512})
    events = async_capture_events(hass, EVENT_IMAGE_ANALYZED)
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)

    response = await analyze(hass, image_url=RED, prompt="What colour?")
    await hass.async_block_till_done()

    assert response["final_description"] == response["description"] == "A red one."
    assert response["model"] == "ai_task.elsewhere"
    assert response["integration_id"] == entry.entry_id
    assert response["entity_id"] == "sensor.ollama_vision_front_door"
    assert response["attempts"] == [{"device_id": device_of(hass, "ai_task.ollama_vision"), "error": "cannot_connect"}]
    assert [event.data for event in events] == [response]
    assert not failed
    assert [task.instructions for task in elsewhere.tasks] == ["What colour?"]
    result_id = response["picture"].rpartition("/")[2]
    assert await entry.runtime_data.history.async_picture(result_id) == (elsewhere.pictures[0], "image/jpeg")
    assert len(elsewhere.pictures[0]) < len(picture("red", (1600, 1200)))
    assert not elsewhere.paths[0].parent.exists()
    (attachment,) = elsewhere.tasks[0].attachments or []
    with pytest.raises(media_source.Unresolvable):
        await media_source.async_resolve_media(hass, attachment.media_content_id, None)


@pytest.mark.parametrize("options", [{}, {"fallback_ai_task": "ai_task.ollama_vision"}])
async def test_nothing_leaves_where_no_option_names_another(
    hass: HomeAssistant, elsewhere: Elsewhere, options: dict[str, str]
) -> None:
    """Neither by itself nor in a circle."""
    await add_device(hass, entry_data(AWAY), options=options)
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)

    with pytest.raises(HomeAssistantError, match="cannot be reached"):
        await analyze(hass, image_url=RED)
    await hass.async_block_till_done()

    assert not elsewhere.tasks
    assert [event.data["attempts"] for event in failed] == [[]]


async def test_nothing_leaves_while_a_server_answers(
    hass: HomeAssistant, elsewhere: Elsewhere, ollama_front: OllamaFront
) -> None:
    """Another of the devices is asked before, and a picture that is none is nobody's to look at."""
    await add_device(hass, entry_data(AWAY, name="Away"), options=ELSEWHERE)
    await add_device(hass, entry_data(ollama_front.url, name="There"), options=ELSEWHERE)

    assert (await analyze(hass, image_url=RED))["model"] == "tiny-vision"
    with pytest.raises(HomeAssistantError, match="not a picture"):
        await analyze(hass, image_url=data_url(b"no picture"))

    assert not elsewhere.tasks


async def test_a_line_that_is_too_long_does_not_go_on_elsewhere(
    hass: HomeAssistant, elsewhere: Elsewhere, ollama_front: OllamaFront
) -> None:
    """The server is there, and a flood of requests is nothing to pay another one for."""
    entry = await add_device(hass, entry_data(ollama_front.url), options=ELSEWHERE)
    entry.runtime_data.connections[Role.VISION].queue._max_waiting = 0

    with pytest.raises(HomeAssistantError, match="Too many requests"):
        await analyze(hass, image_url=RED)

    assert not elsewhere.tasks


async def test_a_server_that_stays_busy_is_replaced(
    hass: HomeAssistant, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "BUSY_DELAYS", (0.01,))
    async with FaultyServer([answer(503)]) as server:
        await add_device(hass, entry_data(server.url), options=ELSEWHERE)
        response = await analyze(hass, image_url=RED)

    assert response["model"] == "ai_task.elsewhere"
    assert [attempt["error"] for attempt in response["attempts"]] == ["busy"]


async def test_the_device_whose_option_it_is_owns_the_result(hass: HomeAssistant, elsewhere: Elsewhere) -> None:
    first = await add_device(hass, entry_data(AWAY, name="First"))
    second = await add_device(hass, entry_data(AWAY, name="Second"), options=ELSEWHERE | {"picture_size": 512})
    third = await add_device(hass, entry_data(AWAY, name="Third"))

    response = await analyze(hass, image_url=RED)

    assert response["integration_id"] == second.entry_id
    assert response["device_id"] == device_of(hass, "ai_task.second")
    assert response["entity_id"] == "sensor.second_front_door"
    with Image.open(io.BytesIO(elsewhere.pictures[0])) as seen:
        assert seen.size == (512, 384)
    assert response["attempts"] == [
        {"device_id": device_of(hass, f"ai_task.{name}"), "error": "cannot_connect"}
        for name in ("first", "second", "third")
    ]
    assert not first.runtime_data.history.latest
    assert not third.runtime_data.history.latest


async def test_structure_and_text_model_work_as_ever(
    hass: HomeAssistant, elsewhere: Elsewhere, ollama_front: OllamaFront
) -> None:
    await add_device(hass, entry_data(AWAY, **text_model(ollama_front.url)), options=ELSEWHERE)
    elsewhere.answer = {"colour": "red", "more": None}

    response = await analyze(
        hass, image_url=[RED, RED], structure=COLOUR, use_text_model=True, text_prompt="{description}!"
    )

    assert response["data"] == {"colour": "red"}
    assert response["text_prompt"] == "Colour: red!"
    assert response["used_text_model"] is True
    assert len(elsewhere.pictures) == 2
    assert elsewhere.tasks[0].structure is not None


@pytest.mark.parametrize(
    ("said", "structure", "error", "words"),
    [
        (HomeAssistantError("No credit left"), None, "bad_response", "No credit left"),
        (KeyError("secret"), None, "bad_response", "KeyError"),
        ("  <think>hm</think>", None, "empty_answer", "empty answer"),
        ({"people": 2}, COLOUR, "structure_mismatch", "people"),
        (None, None, "timeout", "in time"),
    ],
)
async def test_where_it_fails_too_the_servers_error_is_told(
    hass: HomeAssistant,
    elsewhere: Elsewhere,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    said: Any,
    structure: dict[str, Any] | None,
    error: str,
    words: str,
) -> None:
    monkeypatch.setattr(fallback, "FALLBACK_SECONDS", 0.3 if said is None else 10)
    await add_device(hass, entry_data(AWAY), options=ELSEWHERE)
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    elsewhere.answer = said

    with pytest.raises(HomeAssistantError, match="cannot be reached"):
        await analyze(hass, image_url=RED, **({"structure": structure} if structure else {}))
    await hass.async_block_till_done()

    (event,) = failed
    assert event.data["error"] == "cannot_connect"
    assert event.data["attempts"] == [
        {"device_id": device_of(hass, "ai_task.ollama_vision"), "error": "cannot_connect"},
        {"device_id": device_of(hass, "ai_task.elsewhere"), "error": error},
    ]
    logged = [record.message for record in caplog.records if record.message.startswith("Asking ai_task.elsewhere")]
    assert len(logged) == 1
    assert words in logged[0]
    assert "secret" not in logged[0]
    assert not elsewhere.paths[0].parent.exists()


@pytest.mark.parametrize("entity_id", ["ai_task.gone", "ai_task.elsewhere"])
async def test_an_entity_that_is_not_there_or_sees_nothing_costs_nothing(
    hass: HomeAssistant, elsewhere: Elsewhere, entity_id: str
) -> None:
    elsewhere._attr_supported_features = AITaskEntityFeature.GENERATE_DATA
    await add_device(hass, entry_data(AWAY), options={"fallback_ai_task": entity_id})

    with pytest.raises(HomeAssistantError, match="cannot be reached"):
        await analyze(hass, image_url=RED)

    assert not elsewhere.tasks


async def test_a_home_without_ai_tasks_gets_its_servers_error(hass: HomeAssistant, socket_enabled: None) -> None:
    await add_device(hass, entry_data(AWAY), options=ELSEWHERE)
    with pytest.raises(HomeAssistantError, match="cannot be reached"):
        await analyze(hass, image_url=RED)
    assert "ai_task" not in hass.config.components


async def test_the_limit_of_analyses_holds_for_it(hass: HomeAssistant, elsewhere: Elsewhere) -> None:
    await add_device(hass, entry_data(AWAY), options=ELSEWHERE | {"analyses_per_minute": 1})

    await analyze(hass, image_url=RED)
    with pytest.raises(HomeAssistantError, match="limit of analyses a minute"):
        await analyze(hass, image_url=RED)

    assert len(elsewhere.tasks) == 1


async def test_it_ends_with_its_device(hass: HomeAssistant, elsewhere: Elsewhere) -> None:
    entry = await add_device(hass, entry_data(AWAY), options=ELSEWHERE)
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    elsewhere.answer = None
    analysis = hass.async_create_task(analyze(hass, image_url=RED))
    async with asyncio.timeout(5):
        await elsewhere.asked.wait()

    assert await hass.config_entries.async_unload(entry.entry_id)

    with pytest.raises(HomeAssistantError, match="unloaded"):
        await analysis
    await hass.async_block_till_done()
    assert [event.data["error"] for event in failed] == ["stopping"]
    assert not elsewhere.paths[0].parent.exists()
