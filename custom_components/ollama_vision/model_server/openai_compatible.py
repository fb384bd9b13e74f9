"""The protocol of OpenAI's chat completions, as llama.cpp, vLLM, LM Studio, Xinference and LiteLLM speak it."""

from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
import time
from typing import Any, Final, override

from yarl import URL

from .answer_text import AnswerText
from .errors import BadResponseError
from .models import Answer, Api, Model, ModelServer, Question, Silence
from .names import same_model
from .replies import failure, unreadable
from .transport import Lines, Transport

_DONE: Final = b"[DONE]"
# The owner of LM Studio's models, which has a list that tells more of them (lmstudio.ai/docs/api/rest-api).
_LM_STUDIO: Final = "organization_owner"
# Fields that most servers know, each with the word by which one that does not says so.
_EXTRAS: Final[Mapping[str, dict[str, Any]]] = {
    # Thinking off: the templates of Qwen, GLM and Gemma read the one name, those of DeepSeek and Granite the other.
    "chat_template": {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
    "stream_options": {"stream_options": {"include_usage": True}},
}


class OpenAIServer(ModelServer):
    """A server that speaks OpenAI's protocol."""

    api: Final = Api.OPENAI

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._extras = _EXTRAS

    @property
    @override
    def url(self) -> URL:
        return self._transport.url

    async def recognise(self) -> None:
        """Raise a ModelServerError unless the server speaks this protocol."""
        await self._list()

    @override
    async def version(self) -> None:
        await self._list()

    @override
    async def models(self) -> list[Model]:
        entries = await self._list()
        if any(entry.get("owned_by") == _LM_STUDIO for entry in entries):
            with suppress(BadResponseError):  # before 0.3.6
                entries = await self._list("api/v0/models")
        return [
            Model(name=entry["id"], vision=_sees(entry), loaded=_loaded(entry), size=_size(entry)) for entry in entries
        ]

    @override
    async def can_see(self, model: str) -> bool | None:
        return next((known.vision for known in await self.models() if same_model(known.name, model)), None)

    @override
    async def ask(self, question: Question, silence: Silence) -> Answer:
        while True:
            extras = self._extras
            try:
                return await self._ask(question, silence, [*extras.values()])
            except BadResponseError as err:
                known = {word: extra for word, extra in extras.items() if word not in str(err)}
                if len(known) == len(extras):
                    raise
                self._extras = known

    async def _ask(self, question: Question, silence: Silence, extras: list[dict[str, Any]]) -> Answer:
        build = partial(_chat, question, extras)
        async with self._transport.stream(
            "v1/chat/completions", build, silence.first_token, in_executor=bool(question.pictures)
        ) as lines:
            return await _read_answer(lines, question, silence)

    async def _list(self, path: str = "v1/models") -> list[dict[str, Any]]:
        reply = await self._transport.call("GET", path)
        if reply.get("error"):
            raise failure(reply)
        models = reply.get("data", ())
        if models is None:  # Ollama without a model
            return []
        if not isinstance(models, list) or not all(
            isinstance(model, dict) and isinstance(model.get("id"), str) for model in models
        ):
            raise unreadable()
        return models


class _Reading:
    """What has come of an answer."""

    def __init__(self) -> None:
        self.answer = AnswerText()
        self.complete = False
        self._model = ""
        self._finish_reason = ""
        self._tokens: int | None = None
        self._speed: float | None = None
        self.begun_at: float | None = None

    def take(self, event: dict[str, Any]) -> bool:
        """Take one event of a stream, or an answer in one piece; return whether there are words in it."""
        if event.get("error"):
            raise failure(event)
        self._model = _string(event.get("model")) or self._model
        self._take_measures(event)
        choices = event.get("choices")
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise unreadable()
        has_words = False
        for choice in choices[:1]:
            said = choice.get("delta") or choice.get("message") or {}
            if not isinstance(said, dict):
                raise unreadable()
            thoughts = _string(said.get("reasoning_content")) or _string(said.get("reasoning"))
            has_words = self.answer.add(_string(said.get("content")), thoughts)
            if finish_reason := _string(choice.get("finish_reason")):
                self._finish_reason, self.complete = finish_reason, True
        return has_words

    def _take_measures(self, event: dict[str, Any]) -> None:
        """Take what the server says of its work: `usage` from all, `timings` from llama.cpp."""
        match event:
            case {"usage": {"completion_tokens": int(tokens)}}:
                self._tokens = tokens
        match event:
            case {"timings": {"predicted_n": int(tokens), "predicted_per_second": float() | int() as speed}}:
                self._tokens, self._speed = tokens, speed

    def result(self, question: Question) -> Answer:
        """Return the answer; raise a ModelServerError where there is none."""
        if not self.complete and not self.answer.full:
            raise self.answer.unfinished()
        return Answer(
            text=self.answer.result(),
            model=self._model or question.model,
            truncated=self.answer.full or self._finish_reason == "length",
            tokens=self._tokens,
            tokens_per_second=self._speed or self._measured_speed(),
        )

    def _measured_speed(self) -> float | None:
        if self._tokens and self.begun_at is not None:
            return self._tokens / (time.monotonic() - self.begun_at)
        return None


async def _read_answer(lines: Lines, question: Question, silence: Silence) -> Answer:
    reading = _Reading()
    if lines.content_type == "application/json":  # a server that does not stream
        reading.take(lines.decode(b"\n".join([line async for line in lines])))
        return reading.result(question)
    async for line in lines:
        field, _, data = line.partition(b":")
        if field == b"error":  # llama.cpp before 2026
            raise failure(lines.decode(data.strip()))
        if data.strip() == _DONE:
            reading.complete = True
            break
        if field == b"data" and reading.take(lines.decode(data.strip())):
            reading.begun_at = reading.begun_at or time.monotonic()
            lines.heard(silence.next_token)
        if reading.answer.full:
            break
    return reading.result(question)


def _chat(question: Question, extras: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the body of a question; slow where there are pictures."""
    body: dict[str, Any] = {
        "model": question.model,
        "messages": [{"role": "user", "content": _content(question)}],
        "stream": True,
    }
    for extra in extras:
        body |= extra
    if question.structure is not None:
        schema = {"name": "answer", "strict": True, "schema": question.structure}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if question.max_tokens is not None:
        body["max_tokens"] = question.max_tokens
    if question.temperature is not None:
        body["temperature"] = question.temperature
    return body


def _content(question: Question) -> str | list[dict[str, Any]]:
    if not question.pictures:
        return question.prompt
    pictures = [
        {
            "type": "image_url",
            "image_url": {"url": f"data:{picture.mime_type};base64,{b64encode(picture.data).decode()}"},
        }
        for picture in question.pictures
    ]
    return [*pictures, {"type": "text", "text": question.prompt}]


def _sees(entry: dict[str, Any]) -> bool | None:
    """Return whether a model of the list takes pictures."""
    match entry:
        case {"architecture": {"input_modalities": [*kinds]}}:  # llama.cpp
            return "image" in kinds
        case {"model_ability": [*abilities]}:  # Xinference
            return "vision" in abilities
        case {"type": "vlm"}:  # LM Studio
            return True
        case {"type": "llm" | "embeddings"}:
            return False
    return None


def _loaded(entry: dict[str, Any]) -> bool | None:
    """Return whether a model is in memory, where it need not be: at llama.cpp's router and LM Studio."""
    match entry:
        case {"status": {"value": state}} | {"state": state}:
            return bool(state == "loaded")
    return None


def _size(entry: dict[str, Any]) -> int | None:
    match entry:
        case {"meta": {"size": int(size)}}:
            return size
    return None


def _string(value: object) -> str:
    """Return a string that may be left out."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise unreadable()
    return value
