"""How Go, which Ollama is written in, reads and words things (its packages time, encoding/json and encoding/base64)."""

import base64
from dataclasses import dataclass
import json
import math
import re
from typing import Any

NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
LONGEST = 2**63  # nanoseconds in a duration
KINDS = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
DYNAMIC_TYPES = {bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}


class GoError(ValueError):
    """What Go says about a value that it cannot read."""


@dataclass(frozen=True)
class Field:
    """What a field of a JSON document has to be, in Python and in Go; null is always allowed."""

    python: type
    go: str


def dumps(document: Any) -> str:
    """Return JSON as Go writes it: compact, UTF-8, with the characters that matter to HTML escaped."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def loads(text: str, go_type: str) -> dict[str, Any]:
    """Read an object; raise GoError with Go's words where it is not one."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated") or not text[error.pos :].strip():
            message = "unexpected EOF"
        else:
            message = f"invalid character '{text[error.pos]}' looking for beginning of value"
        raise GoError(message) from None
    if not isinstance(document, dict):
        message = f"json: cannot unmarshal {KINDS[type(document)]} into Go value of type {go_type}"
        raise GoError(message)
    return document


def check_fields(document: dict[str, Any], fields: dict[str, Field], path: str) -> None:
    """Raise GoError for a field that is of the wrong type."""
    for name, value in document.items():
        field = fields.get(name)
        if field is not None and value is not None and not isinstance(value, field.python):
            raise GoError(mismatch(value, f"{path}.{name}", field.go))


def mismatch(value: Any, path: str, go_type: str) -> str:
    """Return Go's words for a value of the wrong type."""
    return f"json: cannot unmarshal {KINDS[type(value)]} into Go struct field {path} of type {go_type}"


def duration(text: str) -> float:
    """Return the seconds of a duration such as "1h30m"; raise GoError where it is none."""
    sign, rest = (text[0], text[1:]) if text[:1] in ("-", "+") else ("", text)
    if rest == "0":
        return 0.0
    invalid = f'time: invalid duration "{text}"'
    if not rest:
        raise GoError(invalid)
    total = 0.0
    while rest:
        part = re.match(r"([0-9]*\.?[0-9]*)([^0-9.]*)", rest)
        assert part is not None
        number, unit = part.groups()
        if not number.strip("."):
            raise GoError(invalid)
        if not unit:
            message = f'time: missing unit in duration "{text}"'
            raise GoError(message)
        if unit not in NANOSECONDS:
            message = f'time: unknown unit "{unit}" in duration "{text}"'
            raise GoError(message)
        total += float(number) * NANOSECONDS[unit] / 10**9
        rest = rest[part.end() :]
    return -total if sign == "-" else total


def keep_alive(value: Any) -> float | None:
    """Return seconds, infinity for ever, or None where nothing was said; raise GoError for what Ollama refuses."""
    if value is None:
        return None
    if type(value) in DYNAMIC_TYPES:
        message = f"Unsupported type: '{DYNAMIC_TYPES[type(value)]}'"
        raise GoError(message)
    seconds = duration(value) if isinstance(value, str) else value
    if seconds * 10**9 >= LONGEST:
        return 0.0  # seen with 10^12: it overflows, and the model is unloaded
    return math.inf if seconds < 0 else float(seconds)


def decode_base64(text: str) -> bytes:
    """Read standard base64 with padding, in which line breaks are allowed; raise GoError with the offending offset."""
    illegal = re.search(r"[^A-Za-z0-9+/=\r\n]", text)
    joined = re.sub(r"[\r\n]", "", text)
    if illegal is not None or len(joined) % 4:
        offset = illegal.start() if illegal is not None else len(text) - len(joined) % 4
        message = f"illegal base64 data at input byte {offset}"
        raise GoError(message)
    return base64.b64decode(joined)
