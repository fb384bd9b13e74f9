"""Faults of a model server, as automations meet them: over real sockets, from the action to the failed event."""

import asyncio
from collections.abc import AsyncIterator
import json
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
import pytest
from pytest_homeassistant_custom_component.common import async_capture_events

from custom_components.ollama_vision import asking
from custom_components.ollama_vision.const import DOMAIN, EVENT_ANALYSIS_FAILED
from custom_components.ollama_vision.model_server import transport

from .common import add_device, analyze, entry_data, picture, picture_server, text_model
from .servers.faulty import FaultyServer, Script, Step, answer, head
from .servers.ollama_front import OllamaFront

SHOW = answer(body=json.dumps({"capabilities": ["completion", "vision"], "details": {}, "model_info": {}}).encode())
MODEL = {"name": "tiny-vision:latest", "model": "tiny-vision:latest", "size": 1, "digest": "d"}
HEALTHY: dict[str, Script] = {
    "/api/version": [answer(body=b'{"version":"0.32.15"}')],
    "/api/tags": [answer(body=json.dumps({"models": [MODEL]}).encode())],
    "/api/ps": [answer(body=json.dumps({"models": [MODEL]}).encode())],
    "/api/show": [SHOW],
}
# A list that does not tell which model sees, and an answer in one piece, of which nobody knows how fast it was written.
LISTING: Script = [answer(body=b'{"data": [{"id": "tiny-vision"}]}')]
CHOICE = b'{"message": {"content": "A cat."}, "finish_reason": "stop"}'
CHAT = answer(body=b'{"choices": [' + CHOICE + b'], "usage": {"completion_tokens": 3}}')
STRUCTURE = {"people": {"selector": {"number": {}}, "required": True}}


def line(content: str = "", **more: Any) -> bytes:
    """Return a line of an Ollama stream."""
    message = {"role": "assistant", "content": content}
    return json.dumps({"model": "tiny-vision", "message": message, "done": False} | more).encode() + b"\n"


def done(reason: str = "stop") -> bytes:
    """Return the last line of an Ollama stream."""
    return line(done=True, done_reason=reason, eval_count=2, eval_duration=1_000_000_000)


def said(content: str, reason: str = "stop") -> list[bytes]:
    """Return a whole streamed answer."""
    return [head(), line(content), done(reason)]


@pytest.fixture
async def red(socket_enabled: None) -> AsyncIterator[str]:
    """Serve a red picture."""
    async with picture_server(red=picture("red")) as url:
        yield f"{url}/red.jpg"


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ([Step.RESET], "cannot_connect", "cannot be reached"),
        ([Step.HANG], "timeout", "silent"),
        ([head(), Step.HANG], "timeout", "silent"),
        ([head(), line("A"), Step.HANG], "timeout", "silent"),
        ([answer(401, b'{"error":"unauthorized"}')], "authentication", "API key"),
        ([answer(403)], "authentication", "API key"),
        ([answer(404, b"""{"error":"model 'tiny-vision' not found"}""")], "model_not_found", "tiny-vision"),
        ([answer(500, b'{"error":"llama-server process has terminated: x"}')], "bad_response", "has terminated"),
        (
            [answer(400, json.dumps({"error": json.dumps({"error": {"code": 400, "message": "Bad day"}})}).encode())],
            "bad_response",
            "tiny-vision: Bad day",
        ),
        ([answer(200, b"<html>Log in</html>", "text/html")], "bad_response", "a login page in front of it"),
        ([answer(200, b"[1, 2]")], "bad_response", "something else than its protocol"),
        ([head(), line("A")], "bad_response", "broke off"),
        ([head(), *[line("}") for _ in range(31)]], "bad_response", "repeating"),
        ([head(), line("A"), b'{"error":"unexpected EOF"}\n'], "bad_response", "unexpected EOF"),
        ([head(), done()], "empty_answer", "nothing"),
        ([head(), line("<think>hm</think>"), done()], "empty_answer", "nothing"),
    ],
)
async def test_each_fault_has_its_name_and_sentence(
    hass: HomeAssistant, red: str, script: Script, error: str, words: str
) -> None:
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    async with FaultyServer(script, paths=HEALTHY) as server:
        options = {"silence_first_token": 0.3, "silence_next_token": 0.3}
        await add_device(hass, entry_data(server.url), options=options)
        with pytest.raises(HomeAssistantError) as raised:
            await analyze(hass, image_url=red)
        await hass.async_block_till_done(wait_background_tasks=True)

    assert [event.data["error"] for event in failed] == [error]
    assert words in failed[0].data["message"]
    assert ".." not in failed[0].data["message"]
    assert str(raised.value) == failed[0].data["message"]
    assert "{" not in str(raised.value)
    asked_for_a_key = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert [flow["context"]["source"] for flow in asked_for_a_key] == ["reauth"] * (error == "authentication")
    assert len([request for request in server.requests if request.path == "/api/chat"]) == 1


@pytest.mark.parametrize(
    "busy",
    [
        answer(429, b'{"error":"slow down"}'),
        answer(503, b'{"error":"server busy, please try again.  maximum pending requests exceeded"}'),
        answer(500, b'{"error":"maximum pending requests exceeded"}'),
    ],
)
async def test_a_busy_server_is_asked_again(
    hass: HomeAssistant, red: str, busy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "BUSY_DELAYS", (0.01, 0.01, 0.01))
    async with FaultyServer([busy], [busy], said("A cat."), paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url))
        response = await analyze(hass, image_url=red)

    assert response["description"] == "A cat."
    assert len([request for request in server.requests if request.path == "/api/chat"]) == 3


@pytest.mark.parametrize("listing", [[answer(429)], [answer(500)], [Step.HANG]])
async def test_a_list_of_models_that_fails_keeps_no_question_back(
    hass: HomeAssistant, red: str, listing: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is too busy to say whether its model sees may still answer."""
    monkeypatch.setattr(transport, "SMALL_TALK_SECONDS", 0.2)
    paths: dict[str, Script] = {"/v1/models": LISTING}
    async with FaultyServer([CHAT], paths=paths) as server:
        await add_device(hass, entry_data(server.url, api="openai"))
        paths["/v1/models"] = listing
        response = await analyze(hass, image_url=red)

    assert response["description"] == "A cat."


async def test_a_server_that_goes_before_its_list_is_known_to_be_away(hass: HomeAssistant, red: str) -> None:
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    paths: dict[str, Script] = {"/v1/models": LISTING}
    async with FaultyServer([CHAT], paths=paths) as server:
        await add_device(hass, entry_data(server.url, api="openai"))
        paths["/v1/models"] = [Step.RESET]
        with pytest.raises(HomeAssistantError, match="cannot be reached"):
            await analyze(hass, image_url=red)
        await hass.async_block_till_done()

    assert [event.data["error"] for event in failed] == ["cannot_connect"]
    reachable = hass.states.get("binary_sensor.ollama_vision_vision_server_reachable")
    assert reachable is not None
    assert reachable.state == "off"


async def test_a_server_that_stays_busy_is_given_up(
    hass: HomeAssistant, red: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "BUSY_DELAYS", (0.01, 0.01, 0.01))
    monkeypatch.setattr(asking, "LONGEST_RETRY_AFTER", 0.02)
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    async with FaultyServer([answer(429, Retry_After="60")], paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url))
        with pytest.raises(HomeAssistantError, match="too busy"):
            await analyze(hass, image_url=red)
        await hass.async_block_till_done()

    assert [event.data["error"] for event in failed] == ["busy"]
    assert len([request for request in server.requests if request.path == "/api/chat"]) == 4


async def test_an_answer_that_was_cut_off_says_so(hass: HomeAssistant, red: str) -> None:
    async with FaultyServer(said("A postman with a", "length"), paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url))
        response = await analyze(hass, image_url=red)

    assert response["truncated"] is True
    assert response["final_description"] == "A postman with a"


async def test_a_text_models_answer_that_was_cut_off_says_so(hass: HomeAssistant, red: str) -> None:
    async with FaultyServer(said("A postman."), said("Hello the", "length"), paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url) | text_model(server.url, model="tiny-vision"))
        response = await analyze(hass, image_url=red, use_text_model=True)

    assert response["truncated"] is True
    assert response["final_description"] == "Hello the"


async def test_a_text_step_that_ends_with_its_device_is_no_result(hass: HomeAssistant, red: str) -> None:
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    async with FaultyServer(said("A postman."), [Step.HANG], paths=HEALTHY) as server:
        entry = await add_device(hass, entry_data(server.url) | text_model(server.url, model="tiny-vision"))
        analysis = hass.async_create_task(analyze(hass, image_url=red, use_text_model=True))
        async with asyncio.timeout(5):
            while [request.path for request in server.requests].count("/api/chat") < 2:
                await asyncio.sleep(0.01)
        assert await hass.config_entries.async_unload(entry.entry_id)

        with pytest.raises(HomeAssistantError, match="unloaded"):
            await analysis
    await hass.async_block_till_done()
    assert [event.data["error"] for event in failed] == ["stopping"]


async def test_a_structured_answer_that_was_cut_off_is_an_error(hass: HomeAssistant, red: str) -> None:
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    async with FaultyServer(said('{"peop', "length"), paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url))
        with pytest.raises(HomeAssistantError, match="tiny-vision was cut off"):
            await analyze(hass, image_url=red, structure=STRUCTURE)
        await hass.async_block_till_done()

    assert [event.data["error"] for event in failed] == ["truncated"]


async def test_an_answer_that_does_not_fit_is_asked_for_once_more(hass: HomeAssistant, red: str) -> None:
    async with FaultyServer(said("Two people."), said('{"people": 2}'), paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url))
        response = await analyze(hass, image_url=red, structure=STRUCTURE)

    assert response["data"] == {"people": 2}
    assert response["final_description"] == "People: 2"


async def test_words_are_no_yes_or_no(hass: HomeAssistant, red: str) -> None:
    async with FaultyServer(said('{"package": "no"}'), said('{"package": false}'), paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url))
        response = await analyze(
            hass, image_url=red, structure={"package": {"selector": {"boolean": {}}, "required": True}}
        )

    assert response["data"] == {"package": False}
    assert response["final_description"] == "Package: no"


async def test_nothing_to_read_is_said(hass: HomeAssistant, red: str) -> None:
    async with FaultyServer(said('{"text": ""}'), said("{}"), paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url))
        nothing = await analyze(hass, image_url=red, task="ocr")
        unknown = await analyze(hass, image_url=red, structure={"colour": {"selector": {"text": {}}}})

    assert [response["data"] for response in (nothing, unknown)] == [{"text": ""}, {}]
    assert [response["final_description"] for response in (nothing, unknown)] == ["–", "–"]
    sensor = hass.states.get(nothing["entity_id"])
    assert sensor is not None
    assert sensor.state == "–"


async def test_half_a_character_in_a_servers_error_is_told(hass: HomeAssistant, red: str) -> None:
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    async with FaultyServer([answer(400, b'{"error":"bad \\ud800 thing"}')], paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url))
        with pytest.raises(HomeAssistantError, match="bad \ufffd thing"):
            await analyze(hass, image_url=red)
        await hass.async_block_till_done()

    assert [event.data["error"] for event in failed] == ["bad_response"]
    assert "bad \ufffd thing" in failed[0].data["message"]


async def test_an_answer_that_never_fits_is_an_error(hass: HomeAssistant, red: str) -> None:
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    async with FaultyServer(said('{"people": "many"}'), paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url))
        with pytest.raises(HomeAssistantError, match=r"tiny-vision does not fit .* 'people'"):
            await analyze(hass, image_url=red, structure=STRUCTURE)
        await hass.async_block_till_done()

    assert [event.data["error"] for event in failed] == ["structure_mismatch"]
    assert len([request for request in server.requests if request.path == "/api/chat"]) == 2


async def test_the_limit_of_analyses_says_when_to_come_back(
    hass: HomeAssistant, ollama_front: OllamaFront, red: str
) -> None:
    failed = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    await add_device(hass, entry_data(ollama_front.url), options={"analyses_per_minute": 1})

    await analyze(hass, image_url=red)
    await analyze(hass, image_url=red)  # from memory, which costs the model nothing
    with pytest.raises(HomeAssistantError, match=r"Try again in (59|60) seconds"):
        await analyze(hass, image_url=red, cache=False)
    await hass.async_block_till_done()

    assert [event.data["error"] for event in failed] == ["rate_limited"]


async def test_the_options_reach_the_model(hass: HomeAssistant, ollama_front: OllamaFront, red: str) -> None:
    options = {"vision_num_ctx": 4096, "vision_max_tokens": 64, "vision_temperature": 0.5}
    await add_device(hass, entry_data(ollama_front.url, vision_keep_alive="5m"), options=options)

    await analyze(hass, image_url=red)

    question = ollama_front.bodies()[-1]
    assert question["options"] == {"num_ctx": 4096, "num_predict": 64, "temperature": 0.5}
    assert question["keep_alive"] == "5m"


async def test_a_cold_model_is_loaded_while_the_picture_is_on_its_way(
    hass: HomeAssistant, ollama_front: OllamaFront, red: str
) -> None:
    """And a warm one is not, but another one is cold as before."""
    await add_device(hass, entry_data(ollama_front.url), options={"vision_num_ctx": 4096.0})

    for model in ("tiny-vision", "tiny-vision", "tiny-think"):
        await analyze(hass, image_url=red, model=model, cache=False)
        await hass.async_block_till_done(wait_background_tasks=True)

    loads = [body for body in ollama_front.bodies() if not body.get("messages")]
    assert [body["model"] for body in loads] == ["tiny-vision", "tiny-think"]
    assert [(body["keep_alive"], body["options"]) for body in loads] == [(-1, {"num_ctx": 4096})] * 2


async def test_a_model_that_does_not_stay_is_not_loaded_ahead(
    hass: HomeAssistant, ollama_front: OllamaFront, red: str
) -> None:
    """An answer from memory asks nothing that would unload it again."""
    await add_device(hass, entry_data(ollama_front.url, vision_keep_alive="0"))
    for _ in range(2):
        await analyze(hass, image_url=red)
        await hass.async_block_till_done(wait_background_tasks=True)

    assert [body["keep_alive"] for body in ollama_front.bodies()] == [0]


async def test_a_model_that_is_slow_says_nothing_about_its_server(hass: HomeAssistant, red: str) -> None:
    async with FaultyServer([head(), Step.HANG], paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url), options={"silence_first_token": 0.2})
        with pytest.raises(HomeAssistantError, match="silent"):
            await analyze(hass, image_url=red)

    reachable = hass.states.get("binary_sensor.ollama_vision_vision_server_reachable")
    assert reachable is not None
    assert reachable.state == "on"


async def test_the_speed_is_told_in_words(
    hass: HomeAssistant, red: str, entity_registry_enabled_by_default: None
) -> None:
    """Servers count tokens, of which this answer has two, and two a second."""
    async with FaultyServer(said("A cat on the mat."), paths=HEALTHY) as server:
        await add_device(hass, entry_data(server.url))
        await analyze(hass, image_url=red)

    speed = hass.states.get("sensor.ollama_vision_words_a_second")
    assert speed is not None
    assert float(speed.state) == 5.0
