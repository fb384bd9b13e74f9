"""The forms of the config flow: what they ask, and how what was typed becomes an entry's data."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any, Final

from homeassistant.const import CONF_NAME
from homeassistant.data_entry_flow import section
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
import voluptuous as vol

from .const import (
    CONF_TEXT_HOST,
    CONF_TEXT_MODEL_ENABLED,
    CONF_TEXT_PORT,
    CONF_VISION_API_KEY,
    CONF_VISION_HOST,
    CONF_VISION_PORT,
    DEFAULT_KEEP_ALIVE,
    DEFAULT_NAME,
    DEFAULT_PORT,
    DEFAULT_TEXT_MODEL,
    DEFAULT_VISION_MODEL,
    Role,
)
from .model_server.models import Api, Model
from .model_server.names import same_model

# The folded part of a server's form and the fields in it; an entry's data has them as vision_api, text_api and so on.
CONNECTION: Final = "connection"
API: Final = "api"
API_KEY: Final = "api_key"
VERIFY_SSL: Final = "verify_ssl"
DETECT: Final = "detect"

# Stands in a form for a key that is stored, so that the key itself never leaves Home Assistant.
KEY_UNCHANGED: Final = "__**password_not_changed**__"
KEY_SELECTOR: Final = TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD))

_GIGABYTE: Final = 1e9
_DEFAULT_MODELS: Final = {Role.VISION: DEFAULT_VISION_MODEL, Role.TEXT: DEFAULT_TEXT_MODEL}
_PORT: Final = NumberSelector(NumberSelectorConfig(min=1, max=65535, mode=NumberSelectorMode.BOX))


def server_schema(role: Role, *, unfolded: bool) -> vol.Schema:
    """Return the form that asks where a model server is."""
    connection = vol.Schema(
        {
            vol.Required(API, default=DETECT): SelectSelector(
                SelectSelectorConfig(
                    options=[DETECT, *Api], mode=SelectSelectorMode.DROPDOWN, translation_key="server_type"
                )
            ),
            vol.Optional(API_KEY): KEY_SELECTOR,
            vol.Required(VERIFY_SSL, default=True): BooleanSelector(),
        }
    )
    server = {
        vol.Optional(f"{role}_port", default=DEFAULT_PORT): _PORT,
        # Optional, because a section with a default would be drawn without the defaults of its fields.
        vol.Optional(CONNECTION): section(connection, {"collapsed": not unfolded}),
    }
    if role is Role.TEXT:
        return vol.Schema({vol.Optional(f"{role}_host"): TextSelector(), **server})
    return vol.Schema(
        {
            vol.Required(CONF_NAME, default=DEFAULT_NAME): TextSelector(),
            vol.Required(CONF_VISION_HOST): TextSelector(),
            **server,
        }
    )


def server_values(role: Role, draft: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the form about a server is filled with."""
    values = {key: draft[key] for key in (CONF_NAME, f"{role}_host", f"{role}_port") if key in draft}
    if role is Role.TEXT:
        values.setdefault(CONF_TEXT_HOST, draft[CONF_VISION_HOST])
    connection = {field: draft[f"{role}_{field}"] for field in (API, VERIFY_SSL) if f"{role}_{field}" in draft}
    if draft.get(f"{role}_{API_KEY}"):
        connection[API_KEY] = KEY_UNCHANGED
    return values | {CONNECTION: connection}


def with_server(role: Role, draft: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the draft of an entry's data with what was typed about a server."""
    changed = dict(draft)
    if role is Role.VISION:
        changed[CONF_NAME] = typed[CONF_NAME].strip() or DEFAULT_NAME
    host = typed.get(f"{role}_host", "").strip()
    changed[f"{role}_host"] = host or changed[CONF_VISION_HOST] if role is Role.TEXT else host
    changed[f"{role}_port"] = int(typed[f"{role}_port"])
    connection = typed.get(CONNECTION) or {
        API: draft.get(f"{role}_{API}", DETECT),
        API_KEY: KEY_UNCHANGED,
        VERIFY_SSL: draft.get(f"{role}_{VERIFY_SSL}", True),
    }
    changed[f"{role}_{API}"] = connection[API]
    changed[f"{role}_{VERIFY_SSL}"] = connection[VERIFY_SSL]
    return with_key(role, changed, connection.get(API_KEY, ""))


def with_key(role: Role, draft: Mapping[str, Any], typed: str) -> dict[str, Any]:
    """Return the draft with a key as it was typed: left alone, replaced, or taken away where nothing is left of it.

    A server that has the vision model too takes its key for both.
    """
    if (key := typed.strip()) == KEY_UNCHANGED:
        return dict(draft)
    if role is Role.TEXT and not key and _on_one_server(draft):
        key = draft.get(CONF_VISION_API_KEY, "")
    others = {name: value for name, value in draft.items() if name != f"{role}_{API_KEY}"}
    return others | {f"{role}_{API_KEY}": key} if key else others


def keys_schema(roles: Iterable[Role]) -> vol.Schema:
    """Return the form that asks for keys alone."""
    return vol.Schema({vol.Optional(f"{role}_{API_KEY}"): KEY_SELECTOR for role in roles})


def keys_values(roles: Iterable[Role], draft: Mapping[str, Any]) -> dict[str, str]:
    """Return what the form about keys is filled with."""
    return {f"{role}_{API_KEY}": KEY_UNCHANGED for role in roles if draft.get(f"{role}_{API_KEY}")}


def _on_one_server(draft: Mapping[str, Any]) -> bool:
    return (draft[CONF_TEXT_HOST], draft[CONF_TEXT_PORT]) == (draft[CONF_VISION_HOST], draft[CONF_VISION_PORT])


def model_schema(role: Role, api: Api, models: Iterable[Model]) -> vol.Schema:
    """Return the form that asks for a model; any name can be typed. Only Ollama can be told what to keep loaded."""
    options = [SelectOptionDict(value=model.name, label=_label(model)) for model in _ordered(role, models)]
    schema: dict[vol.Marker, Any] = {
        vol.Required(f"{role}_model", default=_DEFAULT_MODELS[role]): SelectSelector(
            SelectSelectorConfig(options=options, custom_value=True, mode=SelectSelectorMode.DROPDOWN)
        )
    }
    if api is Api.OLLAMA:
        schema[vol.Optional(f"{role}_keep_alive", default=DEFAULT_KEEP_ALIVE)] = TextSelector()
    if role is Role.VISION:
        schema[vol.Optional(CONF_TEXT_MODEL_ENABLED, default=False)] = BooleanSelector()
    return vol.Schema(schema)


def model_values(role: Role, api: Api, models: Sequence[Model], draft: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the form about a model is filled with."""
    values = {key: draft[key] for key in (f"{role}_model", CONF_TEXT_MODEL_ENABLED) if key in draft}
    if (keep_alive := draft.get(f"{role}_keep_alive")) is not None:
        values[f"{role}_keep_alive"] = str(keep_alive)
    return {f"{role}_model": _suggestion(role, api, models)} | values


def with_model(role: Role, draft: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the draft with what was typed about a model."""
    changed = dict(draft) | {f"{role}_model": typed[f"{role}_model"].strip() or _DEFAULT_MODELS[role]}
    if role is Role.VISION:
        changed[CONF_TEXT_MODEL_ENABLED] = typed[CONF_TEXT_MODEL_ENABLED]
    changed.pop(f"{role}_keep_alive", None)
    if f"{role}_keep_alive" in typed:
        changed[f"{role}_keep_alive"] = typed[f"{role}_keep_alive"].strip() or DEFAULT_KEEP_ALIVE
    return changed


def entry_data(draft: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry's data: what the draft has, without the text model's part where there is none."""
    return {
        name: value
        for name, value in draft.items()
        if draft[CONF_TEXT_MODEL_ENABLED] or name == CONF_TEXT_MODEL_ENABLED or not name.startswith(f"{Role.TEXT}_")
    }


def _suggestion(role: Role, api: Api, models: Sequence[Model]) -> str:
    """Return the default where the server has it or can get it, else the first model that fits."""
    default = _DEFAULT_MODELS[role]
    for model in models:
        if same_model(model.name, default):
            return model.name
    if role is Role.TEXT and api is Api.OLLAMA:
        return default
    fitting = [model for model in _ordered(role, models) if role is Role.TEXT or model.vision is not False]
    return fitting[0].name if fitting else default


def _ordered(role: Role, models: Iterable[Model]) -> list[Model]:
    """Return models in the server's order (Ollama: the newest first), for pictures those before that can see."""
    return sorted(models, key=lambda model: role is Role.VISION and not model.vision)


def _label(model: Model) -> str:
    """Return a model's name with its size and, where it can see, the servers' own word for that, in every language."""
    parts = [model.name]
    if model.size:
        parts.append(f"{model.size / _GIGABYTE:.1f} GB" if model.size >= _GIGABYTE else f"{ceil(model.size / 1e6)} MB")
    if model.vision:
        parts.append("vision")
    return " · ".join(parts)
