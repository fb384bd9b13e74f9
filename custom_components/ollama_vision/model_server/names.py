"""Names of models."""

from typing import Final

_DEFAULT_TAG: Final = "latest"


def same_model(a: str, b: str) -> bool:
    """Return whether two names mean one model: without a tag is with `:latest`, upper and lower case are the same."""
    return _full(a) == _full(b)


def _full(name: str) -> str:
    name = name.strip().casefold()
    # A colon before the last slash belongs to a registry's port.
    return name if ":" in name.rpartition("/")[2] else f"{name}:{_DEFAULT_TAG}"
