"""What the replies of model servers mean: JSON objects, and errors in the shapes that servers give them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
import json
import re
from typing import Any, Final

from .answer_text import visible
from .errors import (
    BadResponseError,
    ModelCannotSeeError,
    ModelNotFoundError,
    ModelServerAuthenticationError,
    ModelServerBusyError,
    ModelServerConnectionError,
    ModelServerError,
    ModelServerTimeoutError,
)

_LONGEST_MESSAGE: Final = 500
# A runner's error inside a server's error inside a proxy's error.
_DEEPEST: Final = 10
_UNREADABLE: Final = "The server answered with something else than its protocol."
_WEB_PAGE: Final = "The server answered with a web page, perhaps a login page in front of it."
_BUSY_STATUS: Final = (429, 503)
_BY_STATUS: Final[Mapping[int, tuple[type[ModelServerError], str]]] = {
    401: (ModelServerAuthenticationError, "The server refuses the key (401)."),
    403: (
        ModelServerAuthenticationError,
        "The server refuses the request without a reason (403), as Ollama does under a host name it does not expect.",
    ),
    502: (ModelServerConnectionError, "A proxy does not reach the server (502)."),
    504: (ModelServerTimeoutError, "A proxy waited too long for the server (504)."),
}
_BUSY: Final = re.compile("maximum pending requests", re.IGNORECASE)
_MODEL_NOT_FOUND: Final = re.compile(
    r"""\bmodel\ (["'`]).*?\1\ (?:was\ |is\ )?(?:not\ found|does\ not\ exist)  # Ollama, llama.cpp, vLLM
    |\bmodel\ (?:was\ |is\ )?not\ found\b                                       # Xinference
    |\binvalid\ model\ identifier\b                                            # LM Studio
    |\binvalid\ model\ name\ passed\b                                           # LiteLLM
    |\bremote\ model\ is\ unavailable                                           # Ollama without its cloud
    |\bpull\ model\ manifest:\ file\ does\ not\ exist                           # Ollama's library""",
    re.IGNORECASE | re.VERBOSE,
)
_CANNOT_SEE: Final = re.compile(
    r"""does\ not\ support\ multimodal\ requests         # Ollama 0.32
    |missing\ data\ required\ for\ image\ input          # Ollama 0.24
    |image\ input\ is\ not\ supported                    # llama.cpp
    |is\ not\ a\ multimodal\ model|at\ most\ 0\ image      # vLLM
    |model\ does\ not\ support\ images                   # LM Studio""",
    re.IGNORECASE | re.VERBOSE,
)


def decode_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that a body or a line of it is; raise BadResponseError where it is none."""
    try:
        value = json.loads(raw)
    except ValueError, RecursionError:
        raise BadResponseError(_WEB_PAGE if _is_web_page(raw) else _UNREADABLE) from None
    if not isinstance(value, dict):
        raise BadResponseError(_UNREADABLE)
    return value


def web_page() -> BadResponseError:
    """Return the error for HTML where the protocol was expected."""
    return BadResponseError(_WEB_PAGE)


def unreadable() -> BadResponseError:
    """Return the error for a reply of which a part has the wrong type."""
    return BadResponseError(_UNREADABLE)


def failure(value: object) -> ModelServerError:
    """Return the error that a server sent with status 200, often inside a stream."""
    words = _words(value) or "The server failed without saying why."
    if _BUSY.search(words):
        return ModelServerBusyError(words)
    return _named(words) or BadResponseError(words)


def refusal(
    status: int, body: bytes, *, retry_after: str | None = None, location: str | None = None
) -> ModelServerError:
    """Return the error that a status other than 200 is."""
    words = "" if _is_web_page(body) else _words(body.decode(errors="replace"))
    if status in _BUSY_STATUS or _BUSY.search(words):
        return ModelServerBusyError(words or f"The server is busy ({status}).", _seconds(retry_after))
    if named := _named(words):
        return named
    if location is not None:
        return BadResponseError(f"The server sends the request elsewhere: {location}")
    kind, sentence = _BY_STATUS.get(status, (BadResponseError, f"The server answered with status {status}."))
    return kind(words or sentence)


def _named(words: str) -> ModelServerError | None:
    """Return the error that the words mean whatever the status is, or None."""
    if _CANNOT_SEE.search(words):
        return ModelCannotSeeError(words)
    if _MODEL_NOT_FOUND.search(words):
        return ModelNotFoundError(words)
    return None


def _is_web_page(raw: bytes) -> bool:
    return raw.lstrip()[:1] == b"<"


def _words(value: object) -> str:
    """Return the innermost message of an error, or "": objects, lists and strings that hold JSON are opened."""
    for _ in range(_DEEPEST):
        match value:
            case {"loc": list(place), "msg": str(message)}:  # vLLM and others that check requests with pydantic
                return visible(f"{'.'.join(map(str, place))}: {message}")[:_LONGEST_MESSAGE]
            case dict():
                value = next((value[key] for key in ("error", "message", "detail") if value.get(key)), None)
            case [first, *_]:
                value = first
            case str(text) if (inner := _json_object(text)) is not None:
                value = inner
            case str(text):
                return visible(text)[:_LONGEST_MESSAGE]
            case _:
                return ""
    return ""


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError, RecursionError:
        return None
    return value if isinstance(value, dict) else None


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which holds them or a date (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", retry_after, re.ASCII):
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
