"""A model that disappears is said, and can be mended from the message."""

import asyncio
from http import HTTPStatus
import re
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.ollama_vision.const import DOMAIN

from .common import add_device, analyze, entry_data, text_model
from .flows import TEXTS
from .real_home_assistant import free_port
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFront
from .test_device_entities import poll, value
from .test_services import A_PICTURE


class Repair:
    """The flow of an issue, as the frontend drives it."""

    def __init__(self, hass: HomeAssistant, client: Any) -> None:
        self.hass = hass
        self.client = client
        self.flow_id = ""

    async def start(self, entry: MockConfigEntry, role: str = "vision") -> dict[str, Any]:
        """Open the flow of an entry's issue."""
        data = {"handler": DOMAIN, "issue_id": f"model_missing_{entry.entry_id}_{role}"}
        step = await self._post("/api/repairs/issues/fix", data)
        self.flow_id = step["flow_id"]
        return step

    async def go(self, **data: Any) -> dict[str, Any]:
        """Submit a step."""
        return await self._post(f"/api/repairs/issues/fix/{self.flow_id}", data)

    async def _post(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        response = await self.client.post(path, json=data)
        assert response.status == HTTPStatus.OK, await response.text()
        step: dict[str, Any] = await response.json()
        if sentence := _sentence(step):
            assert set(re.findall(r"{(\w+)}", sentence)) <= set(step["description_placeholders"])
        return step


def _sentence(step: dict[str, Any]) -> str | None:
    """Return what a step says, with the names of what it is given."""
    texts: dict[str, Any] = TEXTS["issues"]["model_missing"]["fix_flow"]
    match step["type"]:
        case "abort":
            return str(texts["abort"][step["reason"]])
        case "progress":
            return str(texts["progress"][step["progress_action"]])
        case "form" | "menu":
            return str(texts["step"][step["step_id"]]["description"])
    return None


@pytest.fixture
async def repair(hass: HomeAssistant, hass_client: ClientSessionGenerator, socket_enabled: None) -> Repair:
    """Return what drives a flow."""
    for component in ("repairs", DOMAIN):
        assert await async_setup_component(hass, component, {})
    return Repair(hass, await hass_client())


def issues(hass: HomeAssistant) -> list[str]:
    """Return the issues that are there."""
    return [issue_id for domain, issue_id in ir.async_get(hass).issues if domain == DOMAIN]


async def test_a_model_that_disappears_is_said_until_it_is_back(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))
    assert issues(hass) == []

    model = ollama_front.models.stored.pop("tiny-vision:latest")
    await poll(hass)
    assert issues(hass) == [f"model_missing_{entry.entry_id}_vision"]

    ollama_front.models.stored["tiny-vision:latest"] = model
    await poll(hass)
    assert issues(hass) == []


async def test_a_server_that_is_away_lacks_nothing(hass: HomeAssistant, socket_enabled: None) -> None:
    await add_device(hass, entry_data("http://127.0.0.1:9"))
    assert issues(hass) == []


async def test_a_server_that_comes_back_with_an_answer_lacks_nothing(
    hass: HomeAssistant, llama_server: LlamaServer, socket_enabled: None
) -> None:
    """The answer, or a refusal, comes before the next poll tells which models it has."""
    port = free_port()
    await add_device(hass, entry_data(f"http://127.0.0.1:{port}"))
    async with OllamaFront(llama=llama_server.url, port=port) as front:
        with pytest.raises(HomeAssistantError, match="does not have the model nowhere"):
            await analyze(hass, image_url=A_PICTURE, model="nowhere")
        assert value(hass, "binary_sensor.ollama_vision_vision_server_reachable") == "on"
        assert issues(hass) == []
        await analyze(hass, image_url=A_PICTURE)
        assert issues(hass) == []

        front.models.stored.clear()
        await poll(hass)
        assert len(issues(hass)) == 1


async def test_the_model_is_downloaded_with_its_per_cent(
    hass: HomeAssistant, ollama_front: OllamaFront, repair: Repair
) -> None:
    ollama_front.pull_seconds = 0.4
    entry = await add_device(hass, entry_data(ollama_front.url, vision_model="tiny-pull"))

    step = await repair.start(entry)
    assert (step["type"], step["menu_options"]) == ("menu", ["pull", "choose"])
    step = await repair.go(next_step_id="pull")
    assert (step["type"], step["progress_action"]) == ("progress", "pull")
    async with asyncio.timeout(5):
        while step["type"] == "progress":
            await asyncio.sleep(0.1)
            step = await repair.go()

    assert step["type"] == "create_entry"
    assert "tiny-pull:latest" in ollama_front.models.stored
    await analyze(hass, image_url=A_PICTURE)
    assert issues(hass) == []


async def test_a_download_that_fails_says_why(hass: HomeAssistant, ollama_front: OllamaFront, repair: Repair) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url, vision_model="nowhere"))

    await repair.start(entry)
    step = await repair.go(next_step_id="pull")
    async with asyncio.timeout(5):
        while step["type"] == "progress":
            await asyncio.sleep(0.05)
            step = await repair.go()

    assert (step["type"], step["reason"]) == ("abort", "pull_failed")
    assert "file does not exist" in step["description_placeholders"]["reason"]
    assert issues(hass)


async def test_another_model_can_be_chosen(hass: HomeAssistant, ollama_front: OllamaFront, repair: Repair) -> None:
    data = entry_data(ollama_front.url, vision_model="gone", **text_model(ollama_front.url, model="gone-too"))
    entry = await add_device(hass, data)
    assert len(issues(hass)) == 2

    await repair.start(entry)
    step = await repair.go(next_step_id="choose")
    (field,) = step["data_schema"]
    assert field["selector"]["select"]["options"] == ["tiny-vision:latest", "tiny-think:latest"]
    step = await repair.go(model="tiny-vision:latest")

    assert step["type"] == "create_entry"
    assert entry.data["vision_model"] == "tiny-vision:latest"
    assert issues(hass) == [f"model_missing_{entry.entry_id}_text"]


async def test_other_servers_offer_a_choice_only(
    hass: HomeAssistant, llama_server: LlamaServer, repair: Repair
) -> None:
    entry = await add_device(hass, entry_data(llama_server.url, api="openai", vision_model="gone"))
    step = await repair.start(entry)
    assert (step["type"], step["step_id"]) == ("form", "choose")


async def test_a_server_without_a_fitting_model_says_so(
    hass: HomeAssistant, ollama_front: OllamaFront, repair: Repair
) -> None:
    for name in ("tiny-vision:latest", "tiny-think:latest"):
        del ollama_front.models.stored[name]
    entry = await add_device(hass, entry_data(ollama_front.url))

    await repair.start(entry)
    step = await repair.go(next_step_id="choose")

    assert (step["type"], step["reason"]) == ("abort", "nothing_to_choose")


async def test_a_device_that_is_unloaded_takes_its_issues_along(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url, vision_model="gone"))
    assert issues(hass)
    await hass.config_entries.async_unload(entry.entry_id)
    assert issues(hass) == []
