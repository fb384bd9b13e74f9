"""The paths of the Ollama front."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
import time
from typing import Any

from aiohttp import ClientError, web

from . import go
from .ollama_chat import Answer, Chat, ask, check_options, check_runnable, parse
from .ollama_engine import Engine
from .ollama_http import Handler, bare_reply, recorder_and_guard, reply, stream
from .ollama_models import DEFAULT_CONTEXT, Refusal, check_name, describe_loaded, full_name, timestamp
from .ollama_openai import check_completion

VERSION = "0.32.15"
RUNNER_DIED = "an error was encountered while running the model: unexpected EOF"


class Routes:
    """The handlers, by path."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def application(self) -> web.Application:
        """Return the web application."""
        application = web.Application(middlewares=[recorder_and_guard(self._engine.note)], client_max_size=2**27)
        gets: dict[str, Handler] = {
            "/": self.root,
            "/api/version": self.version,
            "/api/tags": self.tags,
            "/api/ps": self.loaded,
            "/v1/models": self.openai_models,
            "/v1/models/{name}": self.openai_model,
        }
        posts: dict[str, Handler] = {
            "/api/show": self.show,
            "/api/chat": self.chat,
            "/api/pull": self.pull,
            "/v1/chat/completions": self.chat_completions,
        }
        application.add_routes([web.get(path, handler) for path, handler in gets.items()])
        application.add_routes([web.post(path, handler) for path, handler in posts.items()])
        application.add_routes([web.delete("/api/delete", self.delete)])
        return application

    async def root(self, _: web.Request) -> web.Response:
        """Say that it runs."""
        return web.Response(text="Ollama is running")

    async def version(self, _: web.Request) -> web.Response:
        """Tell the version."""
        return reply({"version": VERSION})

    async def tags(self, _: web.Request) -> web.Response:
        """List the models on the disk."""
        return reply({"models": [model.tags for model in self._engine.models.stored.values()]})

    async def loaded(self, _: web.Request) -> web.Response:
        """List the models in memory."""
        return reply({"models": [describe_loaded(entry) for entry in self._engine.models.loaded()]})

    async def show(self, request: web.Request) -> web.Response:
        """Describe a model."""
        body = await _object(request, "api.ShowRequest")
        name = full_name(check_name(body.get("model") or body.get("name")))
        if name not in self._engine.models.stored:
            raise Refusal(404, f"model '{name}' not found")
        return reply(self._engine.models.stored[name].show)

    async def delete(self, request: web.Request) -> web.Response:
        """Take a model off the disk."""
        self._engine.models.remove((await _object(request, "api.DeleteRequest")).get("model"))
        return web.Response()

    async def pull(self, request: web.Request) -> web.StreamResponse:
        """Download a model."""
        body = await _object(request, "api.PullRequest")
        name = str(body.get("model") or body.get("name") or "")
        if "://" not in name:
            check_name(name)
        reports = self._engine.pull(name, insecure=bool(body.get("insecure")))
        if body.get("stream") is not False:
            return await stream(request, reports)
        last = [report async for report in reports][-1]
        return bare_reply(last, 500 if "error" in last else 200)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Ask a model; without a message, load or unload it."""
        engine = self._engine
        chat = parse(await _object(request, "api.ChatRequest"), engine.models)
        if not chat.messages and chat.keep_alive == 0:
            engine.models.unload(chat.model)
            return reply(_line(chat, "") | {"done": True, "done_reason": "unload"})
        check_options(chat.options)
        async with engine.turn():
            start = time.perf_counter_ns()
            load_duration = await engine.load(chat.model, chat.context, chat.keep_alive)
            if not chat.messages:
                return reply(_line(chat, "") | {"done": True, "done_reason": "load"})
            try:
                await engine.gate.wait()
                check_runnable(chat)
                async with ask(engine.session, engine.llama, chat) as answer:
                    lines = _lines(chat, answer, {"start": start, "load": load_duration})
                    return await stream(request, lines) if chat.stream else await _whole(lines)
            except ClientError:
                raise Refusal(500, RUNNER_DIED, bare=chat.stream) from None
            finally:
                engine.models.use(chat.model, chat.context, chat.keep_alive)

    async def openai_models(self, _: web.Request) -> web.Response:
        """List the models as OpenAI does."""
        return bare_reply({"object": "list", "data": [_openai(name) for name in self._engine.models.stored] or None})

    async def openai_model(self, request: web.Request) -> web.Response:
        """Describe one model as OpenAI does."""
        name = request.match_info["name"]
        if full_name(name) not in self._engine.models.stored:
            raise Refusal(404, f"model '{full_name(name)}' not found", bare=True)
        return bare_reply(_openai(name))

    async def chat_completions(self, request: web.Request) -> web.StreamResponse:
        """Ask a model as OpenAI does: Ollama checks, llama.cpp answers in its own words."""
        engine = self._engine
        body = check_completion(await request.text(), engine.models)
        async with engine.turn():
            await engine.load(engine.models.find(body["model"]), DEFAULT_CONTEXT, None)
            async with engine.session.post(f"{engine.llama}{request.path}", json=body) as answer:
                if answer.status != 200:
                    raise Refusal(answer.status, (await answer.text()).strip(), bare=True)
                response = web.StreamResponse(headers={"Content-Type": answer.content_type})
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response


async def _object(request: web.Request, go_type: str) -> dict[str, Any]:
    text = await request.text()
    if not text:
        raise Refusal(400, "missing request body")
    try:
        return go.loads(text, go_type)
    except go.GoError as error:
        raise Refusal(400, str(error)) from None


def _line(chat: Chat, content: str, thinking: str = "") -> dict[str, Any]:
    message = {"role": "assistant", "content": content} | ({"thinking": thinking} if thinking else {})
    return {"model": chat.name, "created_at": timestamp(datetime.now(UTC)), "message": message, "done": False}


async def _lines(chat: Chat, answer: Answer, clock: dict[str, int]) -> AsyncIterator[dict[str, Any]]:
    try:
        async for piece in answer.pieces:
            yield _line(chat, "", piece) if answer.thinks else _line(chat, piece)
    except ClientError:
        yield {"error": RUNNER_DIED}
        return
    if answer.done_reason is None:
        return
    timings = answer.timings
    yield _line(chat, "") | {
        "done": True,
        "done_reason": answer.done_reason,
        "total_duration": time.perf_counter_ns() - clock["start"],
        "load_duration": clock["load"],
        "prompt_eval_count": timings["cache_n"] + timings["prompt_n"],
        "prompt_eval_duration": int(timings["prompt_ms"] * 10**6),
        "eval_count": timings["predicted_n"],
        "eval_duration": int(timings["predicted_ms"] * 10**6),
    }


async def _whole(lines: AsyncIterator[dict[str, Any]]) -> web.Response:
    """Answer with one object: the last line, with the words of all."""
    content = thinking = ""
    last: dict[str, Any] = {}
    async for line in lines:
        if "error" in line:
            return reply(line, 500)
        content += line["message"]["content"]
        thinking += line["message"].get("thinking", "")
        last = line
    last["message"] = {"role": "assistant", "content": content} | ({"thinking": thinking} if thinking else {})
    return reply(last)


def _openai(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1795228459, "owned_by": "library"}
