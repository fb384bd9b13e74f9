"""Entries of the 1.0 series, in today's form."""

from collections.abc import Mapping
from typing import Any, Final

from .const import DEFAULT_KEEP_ALIVE, DEFAULT_NAME, DEFAULT_PORT, DEFAULT_TEXT_MODEL, DEFAULT_VISION_MODEL, Role
from .model_server.keep_alive import InvalidKeepAliveError, parse_keep_alive
from .model_server.models import Api

# Version 1 kept what was set up in `data` and what was changed later in `options`; the same keys stand in both.
_KEYS: Final = {
    Role.VISION: ("host", "port", "model", "vision_keepalive"),
    Role.TEXT: ("text_host", "text_port", "text_model", "text_keepalive"),
}
_DEFAULT_MODELS: Final = {Role.VISION: DEFAULT_VISION_MODEL, Role.TEXT: DEFAULT_TEXT_MODEL}


def from_version_1(data: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of an entry of version 2 from the data and options of one of version 1."""
    old = {**data, **options}
    new = {"name": old.get("name") or DEFAULT_NAME} | _server(old, Role.VISION)
    new["text_model_enabled"] = bool(old.get("text_model_enabled"))
    if new["text_model_enabled"]:
        new |= _server(old, Role.TEXT)
        new["text_host"] = new["text_host"] or new["vision_host"]
    return new


def _server(old: Mapping[str, Any], role: Role) -> dict[str, Any]:
    host, port, model, keep_alive = (old.get(key) for key in _KEYS[role])
    return {
        f"{role}_host": host,
        f"{role}_port": int(port or DEFAULT_PORT),
        f"{role}_api": Api.OLLAMA.value,
        f"{role}_verify_ssl": True,
        f"{role}_model": model or _DEFAULT_MODELS[role],
        f"{role}_keep_alive": _keep_alive(keep_alive),
    }


def _keep_alive(value: Any) -> str:
    """Return a keep-alive that Ollama takes; version 1 took anything."""
    try:
        return str(parse_keep_alive(value))
    except InvalidKeepAliveError:
        return DEFAULT_KEEP_ALIVE
