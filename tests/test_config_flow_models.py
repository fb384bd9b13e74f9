"""Choosing models in the user interface, and pulling those that the server lacks."""

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from homeassistant.config_entries import ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import EVENT_DATA_ENTRY_FLOW_PROGRESS_UPDATE, FlowResultType
import pytest
from pytest_homeassistant_custom_component.common import async_capture_events

from .common import entry_data, text_model
from .flows import checked, filled, options, proceed, start, submit, suggestions
from .servers.faulty import FaultyServer, answer, head
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFront

pytestmark = pytest.mark.usefixtures("socket_enabled", "setups")


async def test_models_that_see_come_first_and_say_so(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    form = await submit(hass, await start(hass), vision_host=ollama_front.url)
    assert options(form, "vision_model") == [
        ("tiny-vision:latest", "tiny-vision:latest · 1 MB · vision"),
        ("tiny-think:latest", "tiny-think:latest · 1 MB · vision"),
        ("tiny-text:latest", "tiny-text:latest · 1 MB"),
    ]


async def test_the_default_model_is_suggested_where_the_server_has_it(
    hass: HomeAssistant, ollama_front: OllamaFront
) -> None:
    ollama_front.models.add("moondream")
    ollama_front.models.add("llama3.1")
    form = await submit(hass, await start(hass), vision_host=ollama_front.url)
    assert suggestions(form)["vision_model"] == "moondream:latest"
    form = await proceed(hass, form, text_model_enabled=True)
    form = await proceed(hass, form)
    assert suggestions(form)["text_model"] == "llama3.1:latest"


async def test_a_server_without_a_model_that_sees_suggests_the_default(
    hass: HomeAssistant, ollama_front: OllamaFront, blind_server: LlamaServer
) -> None:
    ollama_front.models.remove("tiny-vision")
    ollama_front.models.remove("tiny-think")
    for server in (ollama_front, blind_server):
        form = await submit(hass, await start(hass), vision_host=server.url)
        assert suggestions(form)["vision_model"] == "moondream"


async def test_empty_fields_are_left_out(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    ollama_front.models.add("moondream")
    ollama_front.models.add("llama3.1")
    empty = {"api_key": ""}
    form = await submit(hass, await start(hass), name="", vision_host=ollama_front.url, connection=empty)
    form = await submit(hass, form, vision_model="", vision_keep_alive="", text_model_enabled=True)
    form = await submit(hass, form, text_host="", connection=empty)
    result = await submit(hass, form, text_model="", text_keep_alive="")
    assert result["data"] == entry_data(ollama_front.url, model="moondream") | text_model(
        ollama_front.url, model="llama3.1"
    )


@pytest.mark.parametrize("keep_alive", ["0", "-1", "30", "5m", "1h30m", "-1m"])
async def test_a_keep_alive_that_ollama_takes(hass: HomeAssistant, ollama_front: OllamaFront, keep_alive: str) -> None:
    form = await submit(hass, await start(hass), vision_host=ollama_front.url)
    result = await proceed(hass, form, vision_keep_alive=keep_alive)
    assert result["data"]["vision_keep_alive"] == keep_alive


@pytest.mark.parametrize("keep_alive", ["5min", "soon", "1d", "5 m"])
async def test_a_keep_alive_that_ollama_refuses(
    hass: HomeAssistant, ollama_front: OllamaFront, keep_alive: str
) -> None:
    form = await submit(hass, await start(hass), vision_host=ollama_front.url)
    typed = {"vision_model": "tiny-think", "vision_keep_alive": keep_alive, "text_model_enabled": True}
    form = await submit(hass, form, **typed)
    assert (form["step_id"], form["errors"]) == ("vision_model", {"vision_keep_alive": "invalid_keep_alive"})
    assert filled(form) == typed
    form = await proceed(hass, form, vision_keep_alive="-1")
    form = await proceed(hass, form)
    form = await submit(hass, form, text_model="tiny-text", text_keep_alive=keep_alive)
    assert form["errors"] == {"text_keep_alive": "invalid_keep_alive"}
    result = await proceed(hass, form, text_keep_alive="0")
    assert (result["data"]["vision_model"], result["data"]["text_keep_alive"]) == ("tiny-think", "0")


async def test_a_model_that_cannot_see(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    form = await submit(hass, await start(hass), vision_host=ollama_front.url)
    form = await proceed(hass, form, vision_model="tiny-text")
    assert (form["step_id"], form["errors"]) == ("vision_model", {"vision_model": "cannot_see"})
    assert (form["description_placeholders"] or {})["models"] == "tiny-vision:latest, tiny-think:latest"
    assert filled(form)["vision_model"] == "tiny-text"
    result = await proceed(hass, form, vision_model="TINY-VISION")
    assert result["data"]["vision_model"] == "TINY-VISION"


async def test_a_server_on_which_nothing_sees(hass: HomeAssistant, blind_server: LlamaServer) -> None:
    form = await submit(hass, await start(hass), vision_host=blind_server.url)
    form = await proceed(hass, form, vision_model="tiny-text")
    assert form["errors"] == {"vision_model": "nothing_sees"}


async def test_a_model_that_an_openai_compatible_server_lacks(hass: HomeAssistant, llama_server: LlamaServer) -> None:
    form = await submit(hass, await start(hass), vision_host=llama_server.url)
    form = await proceed(hass, form, vision_model="tiny-pull", text_model_enabled=True)
    assert (form["step_id"], form["errors"]) == ("vision_model", {"vision_model": "model_not_found"})
    form = await proceed(hass, form, vision_model="tiny-vision")
    form = await proceed(hass, form)
    form = await proceed(hass, form, text_model="other")
    assert (form["step_id"], form["errors"]) == ("text_model", {"text_model": "model_not_found"})
    result = await proceed(hass, form, text_model="tiny-vision")
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_a_server_that_goes_in_the_middle(hass: HomeAssistant, llama_server: LlamaServer) -> None:
    async with OllamaFront(llama=llama_server.url) as front:
        form = await submit(hass, await start(hass), vision_host=front.url)
    form = await proceed(hass, form)
    assert (form["step_id"], form["errors"]) == ("vision_model", {"vision_model": "cannot_connect"})
    async with OllamaFront(llama=llama_server.url, port=urlsplit(front.url).port or 0):
        result = await proceed(hass, form)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def choose(hass: HomeAssistant, front: OllamaFront, model: str, **typed: Any) -> ConfigFlowResult:
    """Go as far as choosing a model, and submit it."""
    form = await submit(hass, await start(hass), vision_host=front.url)
    return await proceed(hass, form, vision_model=model, **typed)


async def after_pull(hass: HomeAssistant, result: ConfigFlowResult) -> ConfigFlowResult:
    """Wait for the end of a pull and return where the flow is then."""
    while result["type"] is FlowResultType.SHOW_PROGRESS:
        await asyncio.sleep(0.01)
        result = checked(await hass.config_entries.flow.async_configure(result["flow_id"]))
    return result


async def test_a_missing_model_is_pulled_and_its_progress_shown(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    steps = async_capture_events(hass, EVENT_DATA_ENTRY_FLOW_PROGRESS_UPDATE)
    form = await choose(hass, ollama_front, "tiny-pull")
    assert (form["step_id"], filled(form)) == ("pull", {"pull": True})
    assert form["description_placeholders"] == {"model": "tiny-pull", "server": ollama_front.url}
    result = await proceed(hass, form)
    assert (result["type"], result["progress_action"]) == (FlowResultType.SHOW_PROGRESS, "pull")
    result = await after_pull(hass, result)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == entry_data(ollama_front.url, model="tiny-pull")
    shown = [step.data["progress"] for step in steps]
    assert shown == sorted(set(shown))
    assert len(shown) >= 4
    assert shown[-1] == 1.0
    assert {step.data["flow_id"] for step in steps} == {form["flow_id"]}


async def test_a_missing_text_model_is_pulled(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    form = await choose(hass, ollama_front, "tiny-vision", text_model_enabled=True)
    form = await proceed(hass, await proceed(hass, form), text_model="tiny-pull")
    result = await after_pull(hass, await proceed(hass, form))
    assert result["data"]["text_model"] == "tiny-pull"


async def test_after_the_vision_models_pull_comes_the_text_server(
    hass: HomeAssistant, ollama_front: OllamaFront
) -> None:
    form = await choose(hass, ollama_front, "tiny-pull", text_model_enabled=True)
    form = await after_pull(hass, await proceed(hass, form))
    assert form["step_id"] == "text_server"


async def test_another_model_may_be_chosen_instead_of_a_pull(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    form = await choose(hass, ollama_front, "tiny-pul", vision_keep_alive="5m")
    form = await submit(hass, form, pull=False)
    assert filled(form) == {"vision_model": "tiny-pul", "vision_keep_alive": "5m", "text_model_enabled": False}
    result = await proceed(hass, form, vision_model="tiny-vision")
    assert result["data"]["vision_model"] == "tiny-vision"
    assert not ollama_front.bodies("/api/pull")


async def test_a_pull_that_fails_is_said_at_the_model(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    form = await choose(hass, ollama_front, "mondream")
    form = await after_pull(hass, await proceed(hass, form))
    assert (form["step_id"], form["errors"]) == ("vision_model", {"vision_model": "pull_failed"})
    placeholders = form["description_placeholders"] or {}
    assert placeholders["reason"] == "pull model manifest: file does not exist"
    assert filled(form)["vision_model"] == "mondream"
    form = await proceed(hass, form, vision_model="tiny-pull")
    result = await after_pull(hass, await proceed(hass, form))
    assert result["data"]["vision_model"] == "tiny-pull"


async def test_a_pull_that_is_cut_off_can_be_taken_up_again(hass: HomeAssistant, llama_server: LlamaServer) -> None:
    cut = [head(Content_Length="1000"), b'{"status":"pulling 1","digest":"sha256:1","total":100,"completed":40}\n']
    nothing = [answer(200, b'{"models":[]}')]
    paths = {"/api/version": [answer(200, b'{"version":"0.32.15"}')], "/api/pull": cut}
    async with FaultyServer(nothing, paths=paths) as server:
        form = await submit(hass, await start(hass), vision_host=server.url)
        form = await after_pull(hass, await proceed(hass, await proceed(hass, form)))
        assert form["errors"] == {"vision_model": "pull_failed"}
        form = await proceed(hass, form)
        assert form["step_id"] == "pull"


async def test_a_pulled_model_that_cannot_see_is_refused(
    hass: HomeAssistant, ollama_front: OllamaFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ollama_front.models
    blind, name = models.stored["tiny-text:latest"], "tiny-pull:latest"
    pulled = replace(blind, name=name, tags=blind.tags | {"name": name, "model": name})
    monkeypatch.setattr(models, "add", lambda _: models.stored.update({name: pulled}))
    form = await choose(hass, ollama_front, "tiny-pull")
    form = await after_pull(hass, await proceed(hass, form))
    assert form["errors"] == {"vision_model": "cannot_see"}


async def test_closing_the_dialog_ends_the_pull(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    ollama_front.pull_seconds = 60
    tasks = asyncio.all_tasks()
    form = await choose(hass, ollama_front, "tiny-pull")
    await proceed(hass, form)
    pulling = asyncio.all_tasks() - tasks
    assert pulling
    hass.config_entries.flow.async_abort(form["flow_id"])
    async with asyncio.timeout(5):
        await asyncio.gather(*(task for task in pulling if "pull" in task.get_name()), return_exceptions=True)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert not [task for task in asyncio.all_tasks() if "pull" in task.get_name()]
    assert not hass.config_entries.async_entries("ollama_vision")
    assert "tiny-pull:latest" not in ollama_front.models.stored
