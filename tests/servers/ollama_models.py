"""The models of the Ollama front: which ones it has, which are loaded and for how long, and what it says of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
import json
import math
from pathlib import Path
import re
from typing import Any

CAPTURES = Path(__file__).parents[1] / "captures" / "ollama-0.32.15"
DEFAULT_KEEP_ALIVE = 300.0
DEFAULT_CONTEXT = 4096
LONGEST_CONTEXT = 32768
FOR_EVER = timedelta(microseconds=2**63 // 1000)  # Go's longest duration: it ends in the year 2319 or so
VALID_NAME = re.compile(r"(\w[\w.-]*(:\d+)?/)?(\w[\w.-]*/)?\w[\w.-]*(:\w[\w.-]*)?", re.ASCII)


class Refusal(Exception):  # noqa: N818  (an answer, not a failure of ours)
    """An answer with an error in it; a `bare` one does not name the charset of its JSON."""

    def __init__(self, status: int, message: str, *, bare: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.bare = bare


@dataclass(frozen=True)
class Model:
    """A model as /api/tags lists it and /api/show describes it; `name` has its tag."""

    name: str
    tags: dict[str, Any]
    show: dict[str, Any]

    def can(self, capability: str) -> bool:
        """Return whether the model has a capability such as "vision"."""
        return capability in self.show["capabilities"]


@dataclass
class Loaded:
    """A model in memory; `keep_alive` is seconds or infinity."""

    model: Model
    keep_alive: float
    context: int
    expires: datetime


def full_name(name: str) -> str:
    """Return a name with its tag, in lower case: how models are told apart."""
    return (name if ":" in name.rpartition("/")[2] else f"{name}:latest").lower()


class Models:
    """What is on the disk and in the memory of the server."""

    def __init__(self, names: Iterable[str]) -> None:
        self.stored = {full_name(name): _captured(name) for name in names}
        self._loaded: dict[str, Loaded] = {}

    def find(self, name: Any) -> Model:
        """Return a stored model; raise the refusal that /api/chat answers with."""
        checked = check_name(name)
        model = self.stored.get(full_name(checked))
        if model is None:
            raise Refusal(404, f"model '{checked}' not found")
        return model

    def add(self, name: str) -> None:
        """Store a model that sees."""
        self.stored[full_name(name)] = _captured("tiny-vision", full_name(name))

    def remove(self, name: Any) -> None:
        """Take a model off the disk and out of memory; raise the refusal where there is none."""
        model = self.find(name)
        self.unload(model)
        del self.stored[model.name]

    def loaded(self) -> list[Loaded]:
        """Return what is in memory now, the one that stays longest first."""
        now = datetime.now(UTC)
        self._loaded = {name: entry for name, entry in self._loaded.items() if entry.expires > now}
        return sorted(self._loaded.values(), key=lambda entry: entry.expires, reverse=True)

    def is_ready(self, model: Model, context: int) -> bool:
        """Return whether the model is in memory with this context length; another one needs it loaded anew."""
        return any(entry.model is model and entry.context == context for entry in self.loaded())

    def use(self, model: Model, context: int, keep_alive: float | None) -> None:
        """Keep a model in memory from now on; `keep_alive` None leaves it as it was, or five minutes."""
        entry = self._loaded.get(model.name)
        if keep_alive is None:
            keep_alive = DEFAULT_KEEP_ALIVE if entry is None else entry.keep_alive
        if not keep_alive:
            self.unload(model)
            return
        stays = FOR_EVER if math.isinf(keep_alive) else timedelta(seconds=keep_alive)
        self._loaded[model.name] = Loaded(model, keep_alive, context, datetime.now(UTC) + stays)

    def unload(self, model: Model) -> None:
        """Take a model out of memory, if it is there."""
        self._loaded.pop(model.name, None)


def check_name(name: Any) -> str:
    """Return a name that can be one; raise the refusal of one that cannot."""
    if not name:
        raise Refusal(400, "model is required")
    if not VALID_NAME.fullmatch(name):
        raise Refusal(400, "invalid model name")
    if full_name(name).endswith((":cloud", "-cloud")):
        raise Refusal(403, "ollama cloud is disabled: remote model is unavailable")
    return str(name)


def context_length(options: dict[str, Any]) -> int:
    """Return how many tokens a request wants the model to be loaded with."""
    return min(int(options.get("num_ctx") or DEFAULT_CONTEXT), LONGEST_CONTEXT)


def timestamp(moment: datetime) -> str:
    """Return a moment as Go writes it, with nanoseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def describe_loaded(entry: Loaded) -> dict[str, Any]:
    """Return what /api/ps says of a model in memory."""
    tags = entry.model.tags
    details = {
        key: value for key, value in tags["details"].items() if key not in ("context_length", "embedding_length")
    }
    return {
        "name": entry.model.name,
        "model": entry.model.name,
        "size": tags["size"],
        "digest": tags["digest"],
        "details": details,
        "expires_at": timestamp(entry.expires),
        "size_vram": 0,
        "context_length": entry.context,
    }


def _captured(name: str, new_name: str | None = None) -> Model:
    """Return a model in the words of the real server, if need be by another name."""
    real_name = full_name(name)
    tags = next(model for model in _answer("004-tags")["models"] if model["name"] == real_name)
    show = _answer("010-show-thinking" if "thinking" in tags["capabilities"] else "008-show-vision-tiny")
    if "vision" not in tags["capabilities"]:
        del show["projector_info"]
        show["capabilities"] = tags["capabilities"]
    name = new_name or real_name
    return Model(name, tags | {"name": name, "model": name}, show)


def _answer(capture: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((CAPTURES / f"{capture}.json").read_text())["response"]["body_json"]
    return document
