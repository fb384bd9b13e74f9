"""Drives the integration's flows as the user interface does, and checks that every word it would show is there."""

from collections.abc import Iterator
import json
from pathlib import Path
import re
from typing import Any
from unittest.mock import patch

from homeassistant.config_entries import SOURCE_USER, ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, section
import pytest
import voluptuous as vol

from .servers.llama_server import LlamaServer

DOMAIN = "ollama_vision"  # not imported: a test without Home Assistant does not load the integration
KEY = "a-key-of-the-porch"
TEXTS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "custom_components" / DOMAIN / "translations" / "en.json").read_text()
)


@pytest.fixture
def setups() -> Iterator[list[str]]:
    """Keep devices from being loaded; the ids of the entries that would have been, in order."""
    loaded: list[str] = []

    async def note(_: HomeAssistant, entry: Any) -> bool:
        loaded.append(entry.entry_id)
        return True

    package = f"custom_components.{DOMAIN}"
    with patch(f"{package}.async_setup_entry", note), patch(f"{package}.async_unload_entry", return_value=True):
        yield loaded


@pytest.fixture(scope="session")
def locked_server() -> Iterator[LlamaServer]:
    """Run a llama.cpp server that refuses everybody without the key."""
    with LlamaServer(api_key=KEY) as server:
        yield server


@pytest.fixture(scope="session")
def blind_server() -> Iterator[LlamaServer]:
    """Run a llama.cpp server that takes no pictures."""
    with LlamaServer(vision=False, alias="tiny-text") as server:
        yield server


async def start(hass: HomeAssistant) -> ConfigFlowResult:
    """Open the dialog that adds a device."""
    return checked(await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER}))


async def submit(hass: HomeAssistant, form: ConfigFlowResult, **typed: Any) -> ConfigFlowResult:
    """Submit a form of the config flow with what was typed into it."""
    return checked(await hass.config_entries.flow.async_configure(form["flow_id"], typed))


async def proceed(hass: HomeAssistant, form: ConfigFlowResult, **typed: Any) -> ConfigFlowResult:
    """Submit a form with what it was filled with, but for what was typed."""
    return await submit(hass, form, **(filled(form) | typed))


def filled(form: ConfigFlowResult) -> dict[str, Any]:
    """Return what a form is filled with when it opens: suggestions, else defaults; a section's as a dict."""
    return _filled(_schema(form))


def suggestions(form: ConfigFlowResult) -> dict[str, Any]:
    """Return only what the flow suggests, as the browser gets it."""
    return _filled(_schema(form), with_defaults=False)


def options(form: ConfigFlowResult, field: str) -> list[tuple[str, str]]:
    """Return the values and labels of a list in a form."""
    selector = next(value for key, value in _schema(form).schema.items() if key == field)
    return [(option["value"], option["label"]) for option in selector.config["options"]]


def is_unfolded(form: ConfigFlowResult, name: str) -> bool:
    """Return whether a section of a form is open."""
    part = next(value for key, value in _schema(form).schema.items() if key == name)
    return not part.options["collapsed"]


def fields(form: ConfigFlowResult) -> set[str]:
    """Return the names of a form's fields and sections."""
    return {str(key) for key in _schema(form).schema}


def checked(result: ConfigFlowResult, kind: str = "config") -> ConfigFlowResult:
    """Return a result whose every word has a sentence, and whose every sentence gets what it names."""
    given = dict(result.get("description_placeholders") or {})
    match result["type"]:
        case FlowResultType.FORM:
            step = TEXTS[kind]["step"][result["step_id"]]
            assert step["title"]
            _check_sentence(step.get("description", ""), given)
            _check_fields(_schema(result), step)
            for field, key in (result["errors"] or {}).items():
                assert field in fields(result), f"{field} is no field of the form"
                _check_sentence(TEXTS[kind]["error"][key], given)
        case FlowResultType.ABORT:
            _check_sentence(TEXTS[kind]["abort"][result["reason"]], given)
        case FlowResultType.SHOW_PROGRESS:
            assert TEXTS[kind]["step"][result["step_id"]]["title"]
            _check_sentence(TEXTS[kind]["progress"][result["progress_action"]], given)
    return result


def _schema(form: ConfigFlowResult) -> vol.Schema:
    schema = form["data_schema"]
    assert schema is not None
    return schema


def _filled(schema: vol.Schema, *, with_defaults: bool = True) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in schema.schema.items():
        if isinstance(value, section):
            values[str(key)] = _filled(value.schema, with_defaults=with_defaults)
        elif (key.description or {}).get("suggested_value") is not None:
            values[str(key)] = key.description["suggested_value"]
        elif with_defaults and not isinstance(key.default, vol.Undefined):
            values[str(key)] = key.default()
    return values


def _check_fields(schema: vol.Schema, texts: dict[str, Any]) -> None:
    for key, value in schema.schema.items():
        if isinstance(value, section):
            assert texts["sections"][str(key)]["name"]
            _check_fields(value.schema, texts["sections"][str(key)])
        else:
            assert texts["data"][str(key)]
            assert texts["data_description"][str(key)]


def _check_sentence(sentence: str, given: dict[str, Any]) -> None:
    missing = set(re.findall(r"{(\w+)}", sentence)) - given.keys()
    assert not missing, f"{sentence!r} is not given {missing}"
