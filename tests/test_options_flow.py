"""The options of a device in the user interface."""

from typing import Any

from homeassistant.config_entries import ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
from homeassistant.helpers import entity_registry as er
import pytest

from .common import add_device, entry_data, text_model
from .flows import checked, filled, suggestions

DEFAULTS: dict[str, Any] = {
    "picture_size": 1024,
    "concurrency": 1,
    "silence_first_token": 300,
    "silence_next_token": 60,
    "cache_minutes": 60,
    "analyses_per_minute": 0,
    "forget_after_days": 0,
    "history_days": 7,
    "history_results": 500,
    "history_megabytes": 50,
}
DEVICE = entry_data("192.0.2.7")


async def open_options(hass: HomeAssistant, entry_id: str) -> ConfigFlowResult:
    """Open the dialog behind the cogwheel."""
    return checked(await hass.config_entries.options.async_init(entry_id), "options")


async def submit(hass: HomeAssistant, form: ConfigFlowResult, typed: dict[str, Any]) -> ConfigFlowResult:
    """Submit the dialog."""
    result = await hass.config_entries.options.async_configure(form["flow_id"], typed)
    await hass.async_block_till_done()
    return result


def flat(sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of all sections."""
    return {name: value for fields in sections.values() for name, value in fields.items()}


async def test_every_option_has_its_default(hass: HomeAssistant, setups: list[str]) -> None:
    entry = await add_device(hass, DEVICE)
    form = await open_options(hass, entry.entry_id)
    assert flat(filled(form)) == DEFAULTS
    assert suggestions(form)["asking"] == {}
    result = await submit(hass, form, filled(form))
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options == DEFAULTS
    assert all(type(value) is int for value in entry.options.values())


async def test_options_are_kept_and_loaded(hass: HomeAssistant, setups: list[str]) -> None:
    entry = await add_device(hass, DEVICE | text_model("192.0.2.8"))
    typed: dict[str, dict[str, Any]] = {
        "asking": {
            "picture_size": 512,
            "concurrency": 2,
            "silence_first_token": 900,
            "silence_next_token": 30,
            "cache_minutes": 0,
            "analyses_per_minute": 6,
        },
        "keeping": {"forget_after_days": 30, "history_days": 0, "history_results": 50, "history_megabytes": 5},
        "vision_answers": {"vision_num_ctx": 8192, "vision_max_tokens": 200, "vision_temperature": 0.25},
        "text_answers": {"text_num_ctx": 4096, "text_max_tokens": 100, "text_temperature": 1},
        "fallback": {"fallback_ai_task": "ai_task.cloud"},
    }
    await submit(hass, await open_options(hass, entry.entry_id), typed)
    assert entry.options == flat(typed)
    assert setups == [entry.entry_id] * 2  # loaded, and once more
    form = await open_options(hass, entry.entry_id)
    assert suggestions(form) == typed
    # What is cleared is the server's own again; what has a default gets it.
    await submit(hass, form, {"asking": {}, "keeping": {}, "vision_answers": {}, "text_answers": {}, "fallback": {}})
    assert entry.options == DEFAULTS


async def test_options_that_do_not_change_load_nothing(hass: HomeAssistant, setups: list[str]) -> None:
    entry = await add_device(hass, DEVICE, options=DEFAULTS)
    form = await open_options(hass, entry.entry_id)
    await submit(hass, form, filled(form))
    assert len(setups) == 1


async def test_a_closed_dialog_changes_nothing(hass: HomeAssistant, setups: list[str]) -> None:
    entry = await add_device(hass, DEVICE, options={"picture_size": 512})
    form = await open_options(hass, entry.entry_id)
    hass.config_entries.options.async_abort(form["flow_id"])
    assert entry.options == {"picture_size": 512}


async def test_a_device_without_a_text_model_has_no_options_for_it(hass: HomeAssistant, setups: list[str]) -> None:
    entry = await add_device(hass, DEVICE)
    assert "text_answers" not in filled(await open_options(hass, entry.entry_id))


async def test_only_ollama_has_a_context_length(hass: HomeAssistant, setups: list[str]) -> None:
    data = entry_data("192.0.2.7", api="openai") | text_model("192.0.2.8")
    form = await open_options(hass, (await add_device(hass, data)).entry_id)
    with pytest.raises(InvalidData):
        await submit(hass, form, {"vision_answers": {"vision_num_ctx": 4096}})
    await submit(hass, form, {"text_answers": {"text_num_ctx": 4096}})


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("asking", "picture_size", 0),
        ("asking", "concurrency", 0),
        ("asking", "silence_first_token", 0),
        ("asking", "cache_minutes", -1),
        ("keeping", "history_days", -1),
        ("vision_answers", "vision_temperature", 3),
        ("fallback", "fallback_ai_task", "light.porch"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    hass: HomeAssistant, setups: list[str], section: str, field: str, value: Any
) -> None:
    entry = await add_device(hass, DEVICE)
    with pytest.raises(InvalidData):
        await submit(hass, await open_options(hass, entry.entry_id), {section: {field: value}})
    assert entry.options == {}


async def test_a_device_does_not_fall_back_on_itself(
    hass: HomeAssistant, setups: list[str], entity_registry: er.EntityRegistry
) -> None:
    entry = await add_device(hass, DEVICE)
    own = entity_registry.async_get_or_create("ai_task", "ollama_vision", "own").entity_id
    other = entity_registry.async_get_or_create("ai_task", "openai_conversation", "other").entity_id
    form = await open_options(hass, entry.entry_id)
    with pytest.raises(InvalidData):
        await submit(hass, form, {"fallback": {"fallback_ai_task": own}})
    await submit(hass, form, {"fallback": {"fallback_ai_task": other}})
    assert entry.options["fallback_ai_task"] == other
