"""Structured answers: what is asked for, whether an answer fits, and how it reads."""

from collections.abc import Mapping
from dataclasses import dataclass
import math
from types import NoneType
from typing import Any, Final

from homeassistant.helpers import llm, selector
from homeassistant.util.json import json_loads
import probatio
import voluptuous as vol

# The form of one field, as ai_task.generate_data takes it.
_FIELD = vol.Schema(
    {
        vol.Optional("description"): str,
        vol.Optional("required", default=False): bool,
        vol.Required("selector"): selector.validate_selector,
    }
)

# What a JSON schema's types are once JSON is read.
_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "null": NoneType,
    "number": (int, float),
    "object": dict,
    "string": str,
}
# Home Assistant writes no JSON of more than 254 levels, and puts the data of a result some levels down.
_DEEPEST: Final = 100
_NOTHING: Final = "–"


class StructureMismatchError(Exception):
    """A model's answer is not what its structure asks for."""


@dataclass(frozen=True, slots=True)
class Structure:
    """The fields to answer with: as a validator, and as the JSON schema that a model server takes."""

    schema: vol.Schema
    json_schema: dict[str, Any]

    def parse(self, answer: str) -> dict[str, Any]:
        """Return the data of an answer; raise StructureMismatchError where it does not fit."""
        try:
            data = json_loads(answer)
        except ValueError as err:
            raise StructureMismatchError(f"not JSON: {err}") from err
        return self.check(data)

    def check(self, data: Any) -> dict[str, Any]:
        """Return data that fits; raise StructureMismatchError where it does not."""
        if not isinstance(data, dict):
            raise StructureMismatchError("not an object")
        known: dict[str, Any] = _known(data)
        # The selectors would convert: "no" is true to one, and "2" a number. The data stays as the model gave it.
        _require_types(known, self.json_schema)
        try:
            self.schema(known)
        except vol.Invalid as err:
            raise StructureMismatchError(str(err)) from err
        return known


def structure(value: Any) -> Structure:
    """Validate the fields of a structure, as a voluptuous validator."""
    if not isinstance(value, dict) or not value:
        raise vol.Invalid("expected the fields to answer with")
    fields: dict[vol.Marker, Any] = {}
    for key, field in value.items():
        if not isinstance(key, str):
            raise vol.Invalid("a field's name must be a text", path=[key])
        valid = _FIELD(field)
        marker = vol.Required if valid["required"] else vol.Optional
        fields[marker(key, description=valid.get("description"))] = selector.selector(valid["selector"])
    return structure_of(vol.Schema(fields))


def structure_of(schema: vol.Schema) -> Structure:
    """Return the structure of a schema whose fields have selectors, as AI tasks come with."""
    json_schema = probatio.to_openapi(schema, custom_serializer=llm.selector_serializer, openapi_version="3.1.0")
    return Structure(schema, json_schema)


def readable(data: Mapping[str, Any], alone: str | None = None) -> str:
    """Return structured data as a line a person can read: "Count: 2; Colours: red, blue".

    `alone` names the field that reads without its name and the other fields. Nothing reads as "–".
    """
    if alone:
        return _text(data[alone])
    return "; ".join(f"{_label(key)}: {_text(value)}" for key, value in data.items()) or _NOTHING


def _known(value: Any, levels: int = _DEEPEST) -> Any:
    """Return a value without the nulls that a model says for what it does not know, where a field is to be left out."""
    if not levels:
        raise StructureMismatchError("nested too deep")
    if isinstance(value, dict):
        return {key: _known(item, levels - 1) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_known(item, levels - 1) for item in value]
    return value


def _require_types(value: Any, wanted: Mapping[str, Any], *path: str) -> None:
    """Raise StructureMismatchError where a value, or one in it, is of another type than its JSON schema wants."""
    kind = wanted.get("type")
    if isinstance(kind, str) and not _is(kind, value):
        raise StructureMismatchError(f"expected {kind} at '{'.'.join(path)}'")
    if isinstance(value, dict):
        fields = wanted.get("properties", {})
        for key, item in value.items():
            _require_types(item, fields.get(key, {}), *path, str(key))
    if isinstance(value, list):
        for position, item in enumerate(value):
            _require_types(item, wanted.get("items", {}), *path, str(position))


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind]) and (not isinstance(value, float) or math.isfinite(value))


def _label(key: str) -> str:
    words = key.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) or _NOTHING
    if isinstance(value, list):
        separator = " | " if any(isinstance(item, Mapping) for item in value) else ", "
        return separator.join(_text(item) for item in value) or _NOTHING
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return text if text.strip() else _NOTHING
