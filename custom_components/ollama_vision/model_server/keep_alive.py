"""How long a model stays loaded, in the forms that people write and Ollama reads."""

import re
from typing import Final

from .models import KeepAlive

_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_PART: Final = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION: Final = re.compile(rf"[+-]?(?:{_PART})+", re.ASCII)
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# Ollama counts in nanoseconds of 64 bits; more overflows and unloads the model at once.
_LONGEST: Final = 2**63 / 1e9


class InvalidKeepAliveError(ValueError):
    """Neither a number of seconds nor a duration with a unit."""


def parse_keep_alive(value: float | str) -> KeepAlive:
    """Return `value` in a form that Ollama accepts.

    Seconds become numbers (Ollama rejects "-1" and "30" as strings; whole ones become int), durations with units
    ("5m", "1h30m") stay strings, and every way to write zero becomes 0. Negative means for ever.
    """
    text = str(value).strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif _DURATION.fullmatch(text):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, text, re.ASCII))
    else:
        raise InvalidKeepAliveError("a keep-alive is a number of seconds, or a duration such as 5m or 1h30m")
    if abs(seconds) >= _LONGEST:
        raise InvalidKeepAliveError("so long a keep-alive is written -1")
    if seconds == 0:
        return 0
    if not _NUMBER.fullmatch(text):
        return text
    return int(seconds) if seconds.is_integer() else seconds
