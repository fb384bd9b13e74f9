"""The calls of both clients, as functions of a client, with what they say in one line of text."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from custom_components.ollama_vision.model_server.models import Picture, Question, Silence
from custom_components.ollama_vision.model_server.ollama import OllamaServer
from custom_components.ollama_vision.model_server.openai_compatible import OpenAIServer

_PICTURES: Final = Path(__file__).parents[1] / "pictures"
RED, BLUE = (
    Picture(data=(_PICTURES / f"{colour}.jpg").read_bytes(), mime_type="image/jpeg") for colour in ("red", "blue")
)
SCHEMA: Final = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
QUESTION: Final = Question(model="tiny-vision", prompt="Describe this image.", pictures=(RED,))
SILENCE: Final = Silence(first_token=5, next_token=5)

type Call = Callable[[OllamaServer, OpenAIServer], Awaitable[str]]


async def _ask(server: OllamaServer | OpenAIServer) -> str:
    answer = await server.ask(QUESTION, SILENCE)
    return answer.text + (" [truncated]" if answer.truncated else "")


async def _models(server: OllamaServer | OpenAIServer) -> str:
    sight = {True: "sees", False: "text only", None: "unknown"}
    return ", ".join(f"{model.name}: {sight[model.vision]}" for model in await server.models())


async def _loaded(server: OllamaServer) -> str:
    return ", ".join(model.name for model in await server.models() if model.loaded)


async def _load(server: OllamaServer) -> str:
    await server.load("tiny-vision", -1)
    return "loaded"


async def _unload(server: OllamaServer) -> str:
    await server.unload("tiny-vision")
    return "unloaded"


async def _pull(server: OllamaServer) -> str:
    return ", ".join([progress.status async for progress in server.pull("tiny-vision")])


async def _can_see(server: OllamaServer) -> str:
    return str(await server.can_see("tiny-vision"))


CALLS: Final[dict[str, tuple[str, Call]]] = {
    "ollama.version": ("/api/version", lambda ollama, _: ollama.version()),
    "ollama.models": ("/api/tags", lambda ollama, _: _models(ollama)),
    "ollama.loaded": ("/api/ps", lambda ollama, _: _loaded(ollama)),
    "ollama.can_see": ("/api/show", lambda ollama, _: _can_see(ollama)),
    "ollama.ask": ("/api/chat", lambda ollama, _: _ask(ollama)),
    "ollama.load": ("/api/chat", lambda ollama, _: _load(ollama)),
    "ollama.unload": ("/api/chat", lambda ollama, _: _unload(ollama)),
    "ollama.pull": ("/api/pull", lambda ollama, _: _pull(ollama)),
    "openai.models": ("/v1/models", lambda _, openai: _models(openai)),
    "openai.ask": ("/v1/chat/completions", lambda _, openai: _ask(openai)),
}
