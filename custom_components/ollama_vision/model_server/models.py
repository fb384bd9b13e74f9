"""What is asked of a model server and what it answers."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from yarl import URL

# How long a model stays loaded: seconds (negative: for ever, 0: unload at once) or a Go duration ("5m", "1h30m").
type KeepAlive = float | str


class Api(StrEnum):
    """The protocol that a server speaks."""

    OLLAMA = "ollama"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """How long a server may say nothing, in seconds."""

    first_token: float
    next_token: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture in a form that every server takes: a baseline JPEG or PNG."""

    data: bytes
    mime_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question to a model.

    `structure` is a JSON schema that the answer has to follow. `keep_alive` is None to leave it as it is.
    `num_ctx`, `max_tokens` and `temperature` are None to leave them to the server.
    """

    model: str
    prompt: str
    pictures: tuple[Picture, ...] = ()
    structure: dict[str, Any] | None = None
    keep_alive: KeepAlive | None = None
    num_ctx: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said, without its thoughts; `tokens_per_second` where the server tells."""

    text: str
    model: str
    truncated: bool = False
    tokens: int | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that a server has; `vision`, `loaded` and `size` (bytes) are None where the server does not tell."""

    name: str
    vision: bool | None = None
    loaded: bool | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """How far a pull has come: 0 to 1 of what is known of it so far, or None while the server does not say."""

    status: str
    fraction: float | None = None


class ModelServer(Protocol):
    """A server that runs models. Every method raises `ModelServerError`s and nothing else."""

    @property
    def api(self) -> Api:
        """Return the protocol."""

    @property
    def url(self) -> URL:
        """Return the server's address, without credentials: http://host:port/path."""

    async def version(self) -> str | None:
        """Return the server's version where it tells; ask at least whether it is there and takes the key."""

    async def models(self) -> list[Model]:
        """Return the models that the server has."""

    async def can_see(self, model: str) -> bool | None:
        """Return whether the model takes pictures, or None where the server does not tell."""

    async def ask(self, question: Question, silence: Silence) -> Answer:
        """Ask a model and return its whole answer."""


class ModelManager(ModelServer, Protocol):
    """A server whose models can be loaded, unloaded and pulled: Ollama."""

    async def load(self, model: str, keep_alive: KeepAlive | None, num_ctx: int | None = None) -> None:
        """Load a model and return when it is there; a `num_ctx` other than the question's loads it a second time."""

    async def unload(self, model: str) -> None:
        """Take a model out of memory."""

    def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Download a model to the server; the last progress has a fraction of 1. Closing it ends the pull."""
