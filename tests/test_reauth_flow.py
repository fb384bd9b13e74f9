"""Giving a device new keys, after a server has refused one."""

from collections.abc import Iterator

from homeassistant.config_entries import ConfigEntryState, ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.ollama_vision.const import Role

from .common import add_device, entry_data, text_model
from .flows import KEY, checked, fields, submit, suggestions
from .servers.faulty import FaultyServer, answer, refusing
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFront

pytestmark = pytest.mark.usefixtures("socket_enabled")


async def reauthenticate(hass: HomeAssistant, entry: MockConfigEntry) -> ConfigFlowResult:
    """Open the dialog that asks for keys."""
    return checked(await entry.start_reauth_flow(hass))


def locked(server: LlamaServer, key: str | None) -> dict[str, str]:
    """Return what an entry's data says of a vision model on a locked server."""
    return entry_data(server.url, api="openai", name="Porch") | ({"vision_api_key": key} if key else {})


async def test_the_vision_server_refuses(
    hass: HomeAssistant, setups: list[str], locked_server: LlamaServer, ollama_front: OllamaFront
) -> None:
    data = locked(locked_server, "old") | text_model(ollama_front.url)
    entry = await add_device(hass, data)
    form = await reauthenticate(hass, entry)
    assert (form["step_id"], fields(form)) == ("reauth_confirm", {"vision_api_key"})
    assert (form["description_placeholders"] or {})["server"] == locked_server.url
    assert suggestions(form) == {}
    form = await submit(hass, form, vision_api_key="wrong")
    assert form["errors"] == {"vision_api_key": "invalid_auth"}
    assert (form["description_placeholders"] or {})["detail"] == "Invalid API Key"
    assert "wrong" not in str(suggestions(form))
    result = await submit(hass, form, vision_api_key=KEY)
    await hass.async_block_till_done()
    assert result["reason"] == "reauth_successful"
    assert entry.data == data | {"vision_api_key": KEY}
    assert setups == [entry.entry_id] * 2


async def test_the_text_server_refuses(
    hass: HomeAssistant, setups: list[str], locked_server: LlamaServer, ollama_front: OllamaFront
) -> None:
    data = entry_data(ollama_front.url) | text_model(locked_server.url, api="openai", model="tiny-vision")
    entry = await add_device(hass, data)
    form = await reauthenticate(hass, entry)
    assert fields(form) == {"text_api_key"}
    await submit(hass, form, text_api_key=KEY)
    assert entry.data == data | {"text_api_key": KEY}


async def test_one_key_for_both_models_of_one_server(
    hass: HomeAssistant, setups: list[str], locked_server: LlamaServer
) -> None:
    data = locked(locked_server, "old") | text_model(locked_server.url, api="openai", model="tiny-vision")
    entry = await add_device(hass, data | {"text_api_key": "old"})
    form = await reauthenticate(hass, entry)
    assert fields(form) == {"vision_api_key", "text_api_key"}
    assert (form["description_placeholders"] or {})["server"] == locked_server.url
    await submit(hass, form, vision_api_key=KEY)
    assert (entry.data["vision_api_key"], entry.data["text_api_key"]) == (KEY, KEY)


async def test_a_right_key_beside_a_wrong_one_need_not_be_typed_again(
    hass: HomeAssistant, setups: list[str], locked_server: LlamaServer, other_locked_server: LlamaServer
) -> None:
    data = locked(locked_server, None) | text_model(other_locked_server.url, api="openai", model="tiny-vision")
    entry = await add_device(hass, data)
    form = await reauthenticate(hass, entry)
    form = await submit(hass, form, vision_api_key=KEY, text_api_key="wrong")
    assert form["errors"] == {"text_api_key": "invalid_auth"}
    result = await submit(hass, form, **(suggestions(form) | {"text_api_key": "another-key"}))
    assert result["reason"] == "reauth_successful"
    assert (entry.data["vision_api_key"], entry.data["text_api_key"]) == (KEY, "another-key")


async def test_no_server_refuses_any_more(
    hass: HomeAssistant, setups: list[str], locked_server: LlamaServer, ollama_front: OllamaFront
) -> None:
    """Which one did is not known then: both may be given another key, and what is not touched stays."""
    data = locked(locked_server, KEY) | text_model(ollama_front.url)
    entry = await add_device(hass, data)
    form = await reauthenticate(hass, entry)
    assert fields(form) == {"vision_api_key", "text_api_key"}
    assert KEY not in str(suggestions(form))
    result = await submit(hass, form, **suggestions(form))
    assert result["reason"] == "reauth_successful"
    assert entry.data == data


async def test_a_server_that_is_off_is_said_at_its_key(hass: HomeAssistant, setups: list[str]) -> None:
    with refusing() as url:
        entry = await add_device(hass, entry_data(url, vision_api_key=KEY))
        form = await submit(hass, await reauthenticate(hass, entry), vision_api_key="new")
    assert form["errors"] == {"vision_api_key": "cannot_connect"}
    assert entry.data["vision_api_key"] == KEY


async def test_a_server_that_became_something_else_is_said_at_its_key(hass: HomeAssistant, setups: list[str]) -> None:
    async with FaultyServer([answer(404, b"404 page not found", "text/plain")]) as server:
        entry = await add_device(hass, entry_data(server.url, vision_api_key=KEY))
        form = await submit(hass, await reauthenticate(hass, entry), vision_api_key="new")
    assert form["errors"] == {"vision_api_key": "not_a_model_server"}


async def test_a_model_that_was_chosen_meanwhile_stays(
    hass: HomeAssistant, setups: list[str], locked_server: LlamaServer
) -> None:
    entry = await add_device(hass, locked(locked_server, "old"))
    form = await reauthenticate(hass, entry)
    hass.config_entries.async_update_entry(entry, data=entry.data | {"vision_model": "another"})
    result = await submit(hass, form, vision_api_key=KEY)
    assert result["type"] is FlowResultType.ABORT
    assert entry.data == locked(locked_server, KEY) | {"vision_model": "another"}


async def test_a_refused_key_asks_for_another_by_itself(hass: HomeAssistant, locked_server: LlamaServer) -> None:
    entry = await add_device(hass, locked(locked_server, "old"))
    (form,) = hass.config_entries.flow.async_progress_by_handler("ollama_vision")
    assert (form["step_id"], form["context"]["entry_id"]) == ("reauth_confirm", entry.entry_id)
    result = await submit(hass, form, vision_api_key=KEY)
    assert result["reason"] == "reauth_successful"
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED
    assert entry.runtime_data.data[Role.VISION].reachable
    assert not hass.config_entries.flow.async_progress_by_handler("ollama_vision")


@pytest.fixture(scope="module")
def other_locked_server() -> Iterator[LlamaServer]:
    """Run a second server with a key of its own."""
    with LlamaServer(api_key="another-key") as server:
        yield server
