"""Changing a device in the user interface."""

from homeassistant.config_entries import ConfigEntryState, ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.ollama_vision.const import Role
from custom_components.ollama_vision.migration import from_version_1

from .common import add_device, entry_data, text_model
from .flows import KEY, checked, filled, proceed, submit, suggestions
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFront

pytestmark = pytest.mark.usefixtures("socket_enabled")


async def reconfigure(hass: HomeAssistant, entry: MockConfigEntry) -> ConfigFlowResult:
    """Open the dialog that changes a device."""
    return checked(await entry.start_reconfigure_flow(hass))


async def finish(hass: HomeAssistant, form: ConfigFlowResult) -> ConfigFlowResult:
    """Submit what is left as it is filled."""
    while form["type"] is FlowResultType.FORM:
        assert not form["errors"]
        form = await proceed(hass, form)
    await hass.async_block_till_done()
    return form


async def test_everything_is_filled_in_and_stays(
    hass: HomeAssistant, ollama_front: OllamaFront, setups: list[str]
) -> None:
    data = entry_data(ollama_front.url, name="Porch", vision_port=1, vision_verify_ssl=False)
    data |= {"vision_keep_alive": "5m"} | text_model(ollama_front.url)
    entry = await add_device(hass, data, options={"picture_size": 512})
    form = await reconfigure(hass, entry)
    assert (form["step_id"], filled(form)) == (
        "user",
        {
            "name": "Porch",
            "vision_host": ollama_front.url,
            "vision_port": 1,
            "connection": {"api": "ollama", "verify_ssl": False},
        },
    )
    form = await proceed(hass, form)
    assert filled(form) == {"vision_model": "tiny-vision", "vision_keep_alive": "5m", "text_model_enabled": True}
    result = await finish(hass, form)
    assert result["reason"] == "reconfigure_successful"
    assert (entry.data, entry.options) == (data, {"picture_size": 512})
    assert setups == [entry.entry_id] * 2  # loaded, and once more


async def test_everything_can_be_changed(
    hass: HomeAssistant, setups: list[str], ollama_front: OllamaFront, locked_server: LlamaServer
) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url) | text_model(ollama_front.url))
    form = await reconfigure(hass, entry)
    form = await submit(
        hass,
        form,
        name="Garden",
        vision_host=locked_server.url,
        connection={"api": "detect", "api_key": KEY, "verify_ssl": False},
    )
    result = await finish(hass, await submit(hass, form, vision_model="tiny-vision", text_model_enabled=False))
    assert result["reason"] == "reconfigure_successful"
    assert entry.title == "Garden"
    assert entry.data == {
        "name": "Garden",
        "vision_host": locked_server.url,
        "vision_port": 11434,
        "vision_api": "openai",
        "vision_api_key": KEY,
        "vision_verify_ssl": False,
        "vision_model": "tiny-vision",
        "text_model_enabled": False,
    }


async def test_a_key_is_not_shown_and_stays_unless_it_is_touched(
    hass: HomeAssistant, setups: list[str], locked_server: LlamaServer
) -> None:
    entry = await add_device(hass, entry_data(locked_server.url, api="openai", vision_api_key=KEY))
    form = await reconfigure(hass, entry)
    assert KEY not in str(suggestions(form))
    assert suggestions(form)["connection"]["api_key"]
    await finish(hass, form)
    assert entry.data["vision_api_key"] == KEY
    # A form without its folded section leaves it alone too.
    await finish(hass, await submit(hass, await reconfigure(hass, entry), vision_host=locked_server.url))
    assert entry.data["vision_api_key"] == KEY


async def test_a_key_can_be_taken_away(hass: HomeAssistant, setups: list[str], ollama_front: OllamaFront) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url, vision_api_key=KEY))
    form = await reconfigure(hass, entry)
    await finish(hass, await proceed(hass, form, connection={"api": "ollama", "api_key": ""}))
    assert "vision_api_key" not in entry.data


async def test_a_flow_that_is_closed_changes_nothing(
    hass: HomeAssistant, setups: list[str], ollama_front: OllamaFront
) -> None:
    data = entry_data(ollama_front.url)
    entry = await add_device(hass, data)
    form = await reconfigure(hass, entry)
    form = await proceed(hass, form, name="Garden")
    form = await proceed(hass, form, vision_model="tiny-think", text_model_enabled=True)
    assert form["step_id"] == "text_server"
    hass.config_entries.flow.async_abort(form["flow_id"])
    await hass.async_block_till_done()
    assert (entry.data, entry.title, len(setups)) == (data, "Ollama Vision", 1)


async def test_an_error_and_what_comes_after_it(
    hass: HomeAssistant, setups: list[str], ollama_front: OllamaFront
) -> None:
    entry = await add_device(hass, entry_data("192.0.2.7"))
    form = await proceed(hass, await reconfigure(hass, entry), vision_host="no address")
    assert form["errors"] == {"vision_host": "invalid_host"}
    await finish(hass, await proceed(hass, form, vision_host=ollama_front.url))
    assert entry.data == entry_data(ollama_front.url)


async def test_a_title_of_the_users_own_stays_until_the_name_changes(
    hass: HomeAssistant, setups: list[str], ollama_front: OllamaFront
) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))
    hass.config_entries.async_update_entry(entry, title="The big GPU")
    await finish(hass, await reconfigure(hass, entry))
    assert entry.title == "The big GPU"
    await finish(hass, await proceed(hass, await reconfigure(hass, entry), name="Garden"))
    assert entry.title == "Garden"


async def test_it_does_not_become_another_device(
    hass: HomeAssistant, setups: list[str], ollama_front: OllamaFront
) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    entry = await add_device(hass, entry_data(ollama_front.url, model="tiny-think"))
    form = await proceed(hass, await reconfigure(hass, entry))
    result = await proceed(hass, form, vision_model="tiny-vision:latest")
    assert result["reason"] == "already_configured"
    assert entry.data["vision_model"] == "tiny-think"


async def test_two_alike_from_the_1_0_series_can_be_changed(
    hass: HomeAssistant, setups: list[str], ollama_front: OllamaFront
) -> None:
    old = {"name": "Porch", "host": ollama_front.url, "port": 11434, "model": "tiny-vision", "vision_keepalive": -1}
    await add_device(hass, from_version_1(old, {}))
    entry = await add_device(hass, from_version_1(old, {}))
    form = await proceed(hass, await reconfigure(hass, entry))
    assert filled(form)["vision_keep_alive"] == "-1"
    result = await finish(hass, await proceed(hass, form, vision_keep_alive="10m"))
    assert result["reason"] == "reconfigure_successful"
    assert entry.data["vision_keep_alive"] == "10m"


async def test_a_text_model_follows_its_vision_host(
    hass: HomeAssistant, setups: list[str], ollama_front: OllamaFront
) -> None:
    entry = await add_device(hass, entry_data("192.0.2.7") | text_model("192.0.2.7"))
    form = await proceed(hass, await reconfigure(hass, entry), vision_host=ollama_front.url)
    form = await proceed(hass, form)
    assert filled(form)["text_host"] == ollama_front.url
    await finish(hass, form)
    assert entry.data["text_host"] == ollama_front.url


async def test_another_text_host_stays(
    hass: HomeAssistant, setups: list[str], ollama_front: OllamaFront, llama_server: LlamaServer
) -> None:
    data = entry_data("192.0.2.7") | text_model(llama_server.url, api="openai", model="tiny-vision")
    entry = await add_device(hass, data)
    form = await proceed(hass, await reconfigure(hass, entry), vision_host=ollama_front.url)
    assert filled(await proceed(hass, form))["text_host"] == llama_server.url


async def test_a_loaded_device_works_with_what_was_changed(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url))
    form = await proceed(hass, await reconfigure(hass, entry))
    await finish(hass, await proceed(hass, form, vision_model="tiny-think"))
    assert entry.state is ConfigEntryState.LOADED
    assert entry.runtime_data.model(Role.VISION) == "tiny-think"
    # A listener beside these flows would load a device twice, and Home Assistant refuses it from 2026.12 on.
    assert not entry.update_listeners
