"""Ollama's own protocol."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Final, override

from yarl import URL

from .answer_text import AnswerText
from .errors import BadResponseError, IncompleteAnswerError, ModelNotFoundError, RepeatedTokensError
from .models import Answer, Api, KeepAlive, Model, ModelManager, PullProgress, Question, Silence
from .names import same_model
from .replies import failure, unreadable
from .transport import Lines, Transport

# Loading reads the whole model from disk, and a pull checks it there: minutes without a word are normal.
_WORK_SECONDS: Final = 600.0
_SHOWN_AT_ONCE: Final = 4
_NANOSECONDS: Final = 1e9


class OllamaServer(ModelManager):
    """A server that speaks Ollama's protocol (seen with 0.24 and 0.32)."""

    api: Final = Api.OLLAMA

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        # Whether a model sees, by the digest of its content, which a new pull under the same name changes.
        self._sight: dict[str, bool | None] = {}

    @property
    @override
    def url(self) -> URL:
        return self._transport.url

    async def recognise(self) -> None:
        """Raise a ModelServerError unless the server speaks this protocol.

        A version alone does not tell: others say one at the same path.
        """
        await self.version()
        await self._list("api/tags")

    @override
    async def version(self) -> str:
        version = (await self._transport.call("GET", "api/version")).get("version")
        if not isinstance(version, str):
            raise unreadable()
        return version

    @override
    async def models(self) -> list[Model]:
        tags = await self._list("api/tags")
        running = await self._list("api/ps")
        slots = asyncio.Semaphore(_SHOWN_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(self._known_sight(tag, slots)) for tag in tags]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        loaded = [_name(entry) for entry in running]
        return [
            Model(
                name=_name(tag),
                vision=sees.result(),
                loaded=any(same_model(_name(tag), name) for name in loaded),
                size=_integer(tag.get("size")),
            )
            for tag, sees in zip(tags, asked, strict=True)
        ]

    @override
    async def can_see(self, model: str) -> bool | None:
        shown = await self._transport.call("POST", "api/show", {"model": model})
        capabilities = shown.get("capabilities")
        if isinstance(capabilities, list):
            return "vision" in capabilities
        # Before 0.6.4 the only sign was the part that turns pictures into tokens.
        return True if shown.get("projector_info") else None

    @override
    async def ask(self, question: Question, silence: Silence) -> Answer:
        answer = AnswerText()
        async with self._transport.stream(
            "api/chat", partial(_chat, question), silence.first_token, in_executor=bool(question.pictures)
        ) as lines:
            async for line in lines:
                reply = _checked(lines, line)
                words, thoughts = _said(reply)
                if answer.add(words, thoughts):
                    lines.heard(silence.next_token)
                if reply.get("done") is True or answer.full:
                    return _answer(question, reply, answer)
            if lines.content_type == "application/json":
                # An answer in one piece that is not done is how the guard against repetition ends it.
                raise RepeatedTokensError("The model repeated itself until the server stopped it.")
            raise answer.unfinished()

    @override
    async def load(self, model: str, keep_alive: KeepAlive | None, num_ctx: int | None = None) -> None:
        # A keep-alive of 0 would unload it.
        await self._set_loaded(model, keep_alive or None, num_ctx)

    @override
    async def unload(self, model: str) -> None:
        await self._set_loaded(model, 0)

    @override
    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        layers: dict[str, tuple[int, int]] = {}
        async with self._transport.stream("api/pull", lambda: {"model": model}, _WORK_SECONDS) as lines:
            async for line in lines:
                lines.heard(_WORK_SECONDS)
                reply = _checked(lines, line)
                status = _string(reply.get("status"))
                if status == "success":
                    yield PullProgress(status=status, fraction=1.0)
                    return
                digest, total = reply.get("digest"), _integer(reply.get("total"))
                if isinstance(digest, str) and total:
                    layers[digest] = (min(_integer(reply.get("completed")) or 0, total), total)
                yield PullProgress(status=status, fraction=_fraction(layers))
            raise IncompleteAnswerError("The pull broke off.")

    async def _set_loaded(self, model: str, keep_alive: KeepAlive | None, num_ctx: int | None = None) -> None:
        """Ask nothing, which loads a model, or unloads it where `keep_alive` is 0."""
        body = _request(model, [], keep_alive, {"num_ctx": num_ctx})
        async with self._transport.stream("api/chat", lambda: body, _WORK_SECONDS) as lines:
            async for line in lines:
                if _checked(lines, line).get("done") is True:
                    return
            raise IncompleteAnswerError("The answer broke off.")

    async def _list(self, path: str) -> list[dict[str, Any]]:
        models = (await self._transport.call("GET", path)).get("models")
        if models is None:
            return []
        if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
            raise unreadable()
        return models

    async def _known_sight(self, tag: dict[str, Any], slots: asyncio.Semaphore) -> bool | None:
        """Return whether a model sees; `capabilities` in the list was seen to be wrong where /api/show was right."""
        digest = _string(tag.get("digest"))
        if digest not in self._sight:
            async with slots:
                try:
                    self._sight[digest] = await self.can_see(_name(tag))
                except ModelNotFoundError, BadResponseError:  # deleted in between, or broken
                    return None
        return self._sight[digest]


def _chat(question: Question) -> dict[str, Any]:
    """Return the body of a question; slow where there are pictures."""
    message: dict[str, Any] = {"role": "user", "content": question.prompt}
    if question.pictures:
        message["images"] = [b64encode(picture.data).decode() for picture in question.pictures]
    options = {
        "num_ctx": question.num_ctx,
        "num_predict": question.max_tokens,
        "temperature": question.temperature,
    }
    body = _request(question.model, [message], question.keep_alive, options)
    # False is accepted for models that cannot think as well; without it, those that can do.
    body["think"] = False
    if question.structure is not None:
        body["format"] = question.structure
    return body


def _request(
    model: str, messages: list[dict[str, Any]], keep_alive: KeepAlive | None, options: dict[str, float | None]
) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": messages, "stream": True}
    if keep_alive is not None:
        body["keep_alive"] = keep_alive
    if given := {name: value for name, value in options.items() if value is not None}:
        body["options"] = given
    return body


def _fraction(layers: dict[str, tuple[int, int]]) -> float | None:
    """Return how much of the layers is there; a further one that becomes known takes it back."""
    if not layers:
        return None
    completed, totals = zip(*layers.values(), strict=True)
    return float(sum(completed) / sum(totals))


def _checked(lines: Lines, line: bytes) -> dict[str, Any]:
    reply = lines.decode(line)
    if reply.get("error"):
        raise failure(reply)
    return reply


def _said(reply: dict[str, Any]) -> tuple[str, str]:
    message = reply.get("message")
    if not isinstance(message, dict):
        raise unreadable()
    return _string(message.get("content")), _string(message.get("thinking"))


def _answer(question: Question, last: dict[str, Any], answer: AnswerText) -> Answer:
    tokens, duration = _integer(last.get("eval_count")), _integer(last.get("eval_duration"))
    return Answer(
        text=answer.result(),
        model=_string(last.get("model")) or question.model,
        truncated=answer.full or last.get("done_reason") == "length",
        tokens=tokens,
        tokens_per_second=tokens * _NANOSECONDS / duration if tokens and duration else None,
    )


def _name(entry: dict[str, Any]) -> str:
    return _string(entry.get("name"))


def _string(value: object) -> str:
    """Return a string that may be left out."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise unreadable()
    return value


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
