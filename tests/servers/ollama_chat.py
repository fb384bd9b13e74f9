"""What /api/chat of the Ollama front accepts, and how it has llama.cpp answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
import itertools
import json
from typing import Any

from aiohttp import ClientSession, StreamReader

from . import go
from .go import Field, GoError
from .ollama_models import Model, Models, Refusal, context_length

CHAT_FIELDS = {
    "model": Field(str, "string"),
    "messages": Field(list, "[]api.Message"),
    "stream": Field(bool, "bool"),
    "options": Field(dict, "map[string]interface {}"),
}
MESSAGE_FIELDS = {
    "role": Field(str, "string"),
    "content": Field(str, "string"),
    "images": Field(list, "[]api.ImageData"),
}
OPTION_TYPES = {
    "integer": ((int, float), ("num_ctx", "num_predict", "num_keep", "seed", "top_k", "repeat_last_n", "num_batch")),
    "float32": ((int, float), ("temperature", "top_p", "min_p", "repeat_penalty", "presence_penalty")),
    "array": ((list,), ("stop",)),
}
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty", "seed", "stop")
THINK_LEVELS = ("high", "medium", "low", "max")
NO_PICTURES = {
    "error": {
        "code": 400,
        "message": "Multimodal data provided, but model does not support multimodal requests.",
        "type": "invalid_request_error",
    }
}
MOST_REPEATS = 30


@dataclass
class Chat:
    """A request to /api/chat that was understood."""

    name: str
    model: Model
    messages: list[dict[str, Any]]
    keep_alive: float | None
    stream: bool
    think: bool
    truncate: bool
    format: Any
    options: dict[str, Any]

    @property
    def context(self) -> int:
        """Return the context length that the model is to be loaded with."""
        return context_length(self.options)

    @property
    def has_pictures(self) -> bool:
        """Return whether a message holds a picture."""
        return any(message.get("images") for message in self.messages)


@dataclass
class Answer:
    """What the model says, piece by piece; the rest is known when there are no more pieces.

    Without a `done_reason` the guard against repetition has ended it.
    """

    pieces: AsyncIterator[str]
    thinks: bool = False
    done_reason: str | None = None
    timings: dict[str, Any] = field(default_factory=dict)


def parse(body: dict[str, Any], models: Models) -> Chat:
    """Read a request; raise the refusal of one that Ollama does not take, in the order in which it looks."""
    try:
        go.check_fields(body, CHAT_FIELDS, "ChatRequest")
        messages = body.get("messages") or []
        for message in messages:
            _check_message(message)
        keep_alive = go.keep_alive(body.get("keep_alive"))
        think = _think(body.get("think"))
    except GoError as error:
        raise Refusal(400, str(error)) from None
    model = models.find(body.get("model"))
    if think and not model.can("thinking"):
        raise Refusal(400, f'"{body["model"]}" does not support thinking')
    return Chat(
        name=body["model"],
        model=model,
        messages=messages,
        keep_alive=keep_alive,
        stream=body.get("stream") is not False,
        think=model.can("thinking") if think is None else think,
        truncate=body.get("truncate") is not False,
        format=body.get("format"),
        options=body.get("options") or {},
    )


def check_options(options: dict[str, Any]) -> None:
    """Raise the refusal of an option of the wrong type; options that are unknown pass."""
    for go_type, (types, names) in OPTION_TYPES.items():
        for name in names:
            value = options.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, types)):
                raise Refusal(500, f'option "{name}" must be of type {go_type}')


def check_runnable(chat: Chat) -> None:
    """Raise the refusal of what a loaded model cannot do."""
    response_format = chat.format
    if response_format not in (None, "", "json") and not isinstance(response_format, dict):
        shown = json.dumps(go.dumps(response_format))
        message = f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
        raise Refusal(500, message, bare=chat.stream)
    if chat.has_pictures and not chat.model.can("vision"):
        raise Refusal(400, go.dumps(NO_PICTURES), bare=chat.stream)


@asynccontextmanager
async def ask(session: ClientSession, llama: str, chat: Chat) -> AsyncIterator[Answer]:
    """Have the model answer; raise its refusal before the first piece."""
    if chat.model.name.startswith("tiny-think2") and chat.think:
        answer = Answer(_guarded(_endlessly("}")), thinks=True)
        yield answer
        return
    request = _llama_request(chat)
    async with session.post(f"{llama}/v1/chat/completions", json=request) as response:
        if response.status != 200:
            refusal = (await response.text()).strip()
            overflow = json.loads(refusal)["error"].get("n_ctx")
            if overflow is None or chat.has_pictures or not chat.truncate:
                raise Refusal(response.status, refusal, bare=chat.stream)
            last = chat.messages[-1]
            chat.messages = [last | {"content": last["content"][-overflow // 2 :]}]
            async with ask(session, llama, chat) as answer:
                yield answer
            return
        answer = Answer(_nothing())
        answer.pieces = _guarded(_streamed(response.content, answer))
        yield answer


def _check_message(message: dict[str, Any]) -> None:
    go.check_fields(message, MESSAGE_FIELDS, "ChatRequest.messages")
    for image in message.get("images") or []:
        if not isinstance(image, str):
            raise GoError(go.mismatch(image, "ChatRequest.messages.images", "api.ImageData"))
        go.decode_base64(image)


def _think(value: Any) -> bool | None:
    allowed = '("high", "medium", "low", "max", true, or false)'
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str):
        message = f"think must be a boolean or string {allowed}"
        raise GoError(message)
    if value not in THINK_LEVELS:
        message = f'invalid think value: "{value}" (must be {allowed[1:]}'
        raise GoError(message)
    return True


def _llama_request(chat: Chat) -> dict[str, Any]:
    request: dict[str, Any] = {
        "messages": [_llama_message(message) for message in chat.messages],
        "stream": True,
        **{name: chat.options[name] for name in SAMPLING if chat.options.get(name) is not None},
    }
    if (most_tokens := int(chat.options.get("num_predict") or -1)) > 0:
        request["max_tokens"] = most_tokens
    if chat.format in ("json", {}):
        request["response_format"] = {"type": "json_object"}
    elif chat.format:
        request["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": chat.format}}
    return request


def _llama_message(message: dict[str, Any]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": message.get("content") or ""}]
    for image in message.get("images") or []:
        url = "data:image/jpeg;base64," + image.replace("\r", "").replace("\n", "")
        content.append({"type": "image_url", "image_url": {"url": url}})
    return {"role": message.get("role") or "user", "content": content}


async def _streamed(lines: StreamReader, answer: Answer) -> AsyncIterator[str]:
    async for line in lines:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line.removeprefix(b"data: "))
        choice = event["choices"][0]
        if piece := choice["delta"].get("content"):
            yield piece
        if choice["finish_reason"]:
            answer.done_reason = choice["finish_reason"]
            answer.timings = event["timings"]


async def _guarded(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """Pass pieces on until the same one has come for more than thirty times; then forget how it ended."""
    repeats, last = 0, None
    async for piece in pieces:
        repeats, last = (repeats + 1, last) if piece.strip() == last else (0, piece.strip())
        if repeats > MOST_REPEATS:
            return
        yield piece


async def _endlessly(piece: str) -> AsyncIterator[str]:
    for _ in itertools.count():
        yield piece


async def _nothing() -> AsyncIterator[str]:
    return
    yield
