"""Ollama's protocol, against a front that answers as the real one does and against single replies."""

import asyncio
from base64 import b64encode
from dataclasses import replace
import json
from math import inf

from aiohttp import ClientSession
import pytest

from custom_components.ollama_vision.model_server import ollama
from custom_components.ollama_vision.model_server.errors import (
    BadResponseError,
    IncompleteAnswerError,
    ModelCannotSeeError,
    ModelNotFoundError,
    ModelServerAuthenticationError,
    RepeatedTokensError,
)
from custom_components.ollama_vision.model_server.keep_alive import parse_keep_alive
from custom_components.ollama_vision.model_server.models import Api, Model, PullProgress, Question, Silence
from tests.servers.faulty import FaultyRequest, FaultyServer, drip, head
from tests.servers.ollama_front import OllamaFront

from .asking import ollama_client
from .calls import BLUE, QUESTION, RED, SCHEMA, SILENCE
from .captures import ReplayServer, Reply

JSON = head(content_type="application/json")


def as_json(value: object) -> Reply:
    """Return a reply of JSON."""
    return Reply(headers={"Content-Type": "application/json"}, body=json.dumps(value).encode())


async def test_a_picture_is_described(session: ClientSession, ollama_front: OllamaFront) -> None:
    """The model's words come back, with the server's measures."""
    server = ollama_client(session, ollama_front.url)
    answer = await server.ask(QUESTION, SILENCE)
    assert (answer.text, answer.model, answer.truncated) == ("The picture is mostly red.", "tiny-vision", False)
    assert answer.tokens == 7
    assert answer.tokens_per_second is not None
    assert answer.tokens_per_second > 0
    blue = await server.ask(replace(QUESTION, pictures=(BLUE,)), SILENCE)
    assert blue.text == "The picture is mostly blue."
    assert (await server.ask(replace(QUESTION, pictures=()), SILENCE)).text == "No photo was given."
    assert server.api is Api.OLLAMA
    assert str(server.url) == ollama_front.url
    assert await server.version() == "0.32.15"


async def test_what_is_asked(session: ClientSession, ollama_front: OllamaFront) -> None:
    """A question travels with everything that was set, and with nothing that was not."""
    server = ollama_client(session, ollama_front.url)
    await server.ask(QUESTION, SILENCE)
    full = Question(
        model="tiny-vision",
        prompt="Which colour?",
        pictures=(RED, BLUE),
        structure=SCHEMA,
        keep_alive=-1,
        num_ctx=2048,
        max_tokens=60,
        temperature=0,
    )
    await server.ask(full, SILENCE)
    red, blue = (b64encode(picture.data).decode() for picture in (RED, BLUE))
    assert ollama_front.bodies() == [
        {
            "model": "tiny-vision",
            "messages": [{"role": "user", "content": "Describe this image.", "images": [red]}],
            "stream": True,
            "think": False,
        },
        {
            "model": "tiny-vision",
            "messages": [{"role": "user", "content": "Which colour?", "images": [red, blue]}],
            "stream": True,
            "think": False,
            "format": SCHEMA,
            "keep_alive": -1,
            "options": {"num_ctx": 2048, "num_predict": 60, "temperature": 0},
        },
    ]


async def test_a_structured_answer(session: ClientSession, ollama_front: OllamaFront) -> None:
    """The answer follows the schema; where the limit cuts it, it says so."""
    server = ollama_client(session, ollama_front.url)
    answer = await server.ask(replace(QUESTION, structure=SCHEMA), SILENCE)
    assert json.loads(answer.text)["colour"] in ("red", "blue")
    cut = await server.ask(replace(QUESTION, max_tokens=1), SILENCE)
    assert (cut.text, cut.truncated) == ("The", True)


@pytest.mark.parametrize("model", ["tiny-think", "tiny-think2"])
async def test_a_model_that_can_think_does_not(session: ClientSession, ollama_front: OllamaFront, model: str) -> None:
    """Thinking is off, or else the second of these would think until the server stops it."""
    ollama_front.models.add("tiny-think2")
    answer = await ollama_client(session, ollama_front.url).ask(replace(QUESTION, model=model), SILENCE)
    assert answer.text == "The picture is mostly red."


async def test_thoughts_are_not_shown(session: ClientSession) -> None:
    """A model that thinks all the same is heard without its thoughts, in a field of their own or in tags."""
    lines = [
        {"message": {"content": "", "thinking": "Let me see."}, "done": False},
        {"message": {"content": "<think>Red or"}, "done": False},
        {"message": {"content": " blue?</think>\n\nA red"}, "done": False},
        {"message": {"content": " door."}, "done": False},
        {"model": "x", "message": {"content": ""}, "done": True, "done_reason": "stop"},
    ]
    script = [head(), *[json.dumps(line).encode() + b"\n" for line in lines]]
    async with FaultyServer(script) as server:
        answer = await ollama_client(session, server.url).ask(QUESTION, SILENCE)
    assert (answer.text, answer.model) == ("A red door.", "x")


async def test_a_stream_without_a_last_message(session: ClientSession) -> None:
    """Many equal tokens at its end are the guard against repetition, also where a lone answer is not done."""
    token = b'{"message":{"content":"ha"},"done":false}\n'
    cases = [
        (head(), 3, IncompleteAnswerError),
        (head(), 31, RepeatedTokensError),
        (JSON, 1, RepeatedTokensError),
    ]
    for start, count, error in cases:
        async with FaultyServer([start, token * count]) as server:
            with pytest.raises(BadResponseError) as err:
                await ollama_client(session, server.url).ask(QUESTION, SILENCE)
        assert type(err.value) is error


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("-1", inf), (-1, inf), ("30", 30), (30.5, 30.5), ("5m", 300), ("1h30m", 5400), ("-1m", inf), ("0", None)],
)
async def test_keep_alive(
    session: ClientSession, ollama_front: OllamaFront, typed: float | str, kept: float | None
) -> None:
    """Every form that a person may type is accepted and does what it says."""
    server = ollama_client(session, ollama_front.url)
    await server.ask(replace(QUESTION, keep_alive=parse_keep_alive(typed)), SILENCE)
    assert [entry.keep_alive for entry in ollama_front.models.loaded()] == ([] if kept is None else [kept])


async def test_load_and_unload(session: ClientSession, ollama_front: OllamaFront) -> None:
    """A model is in memory after loading, whatever its keep-alive is, and no longer after unloading."""
    server = ollama_client(session, ollama_front.url)

    async def loaded() -> list[str]:
        return [model.name for model in await server.models() if model.loaded]

    assert await loaded() == []
    await server.load("tiny-vision", -1, num_ctx=2048)
    assert await loaded() == ["tiny-vision:latest"]
    assert [(entry.keep_alive, entry.context) for entry in ollama_front.models.loaded()] == [(inf, 2048)]
    await server.unload("tiny-vision")
    assert await loaded() == []
    await server.load("tiny-vision", 0)
    assert await loaded() == ["tiny-vision:latest"]
    with pytest.raises(ModelNotFoundError, match="model 'nope' not found"):
        await server.load("nope", None)


async def test_what_models_there_are(session: ClientSession, ollama_front: OllamaFront) -> None:
    """Each model says whether it sees; that is asked once for each, four at a time."""
    server = ollama_client(session, ollama_front.url)
    expected = {"tiny-vision:latest": True, "tiny-text:latest": False, "tiny-think:latest": True}
    for _ in range(2):
        models = await server.models()
        assert {model.name: model.vision for model in models} == expected
        assert all(model.size for model in models)
    assert len(ollama_front.bodies("/api/show")) == 3


async def test_a_model_that_changes(session: ClientSession) -> None:
    """What is known of a model is asked again when its content is another; the list's own word is not trusted."""
    tag = {"name": "x:latest", "digest": "1", "size": 5, "capabilities": ["completion"]}
    async with ReplayServer({"/api/tags": as_json({"models": [tag]}), "/api/ps": as_json({"models": None})}) as replay:
        server = ollama_client(session, replay.url)
        # The model was deleted in between, or is broken: nothing is known, and it is asked again.
        assert await server.models() == [Model(name="x:latest", vision=None, loaded=False, size=5)]
        replay.replies = {**replay.replies, "/api/show": as_json({"capabilities": ["completion", "vision"]})}
        assert await server.models() == [Model(name="x:latest", vision=True, loaded=False, size=5)]
        replay.replies = {**replay.replies, "/api/show": as_json({"capabilities": ["completion"]})}
        assert await server.models() == [Model(name="x:latest", vision=True, loaded=False, size=5)]
        changed = as_json({"models": [tag | {"digest": "2", "size": "big"}]})
        replay.replies = {**replay.replies, "/api/tags": changed}
        assert await server.models() == [Model(name="x:latest", vision=False, loaded=False, size=None)]


async def test_a_long_list(session: ClientSession) -> None:
    """However many models there are, the server is asked about four of them at a time."""
    names = [f"model{number}:latest" for number in range(12)]
    tags = json.dumps({"models": [{"name": name, "digest": name} for name in names]}).encode()
    running = most = 0

    async def show(_request: FaultyRequest) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return JSON + b'{"capabilities":["vision"]}'

    paths = {"/api/tags": [JSON, tags], "/api/ps": [JSON, b"{}"]}
    async with FaultyServer([show], paths=paths) as server:
        models = await ollama_client(session, server.url).models()
    assert [(model.name, model.vision) for model in models] == [(name, True) for name in names]
    assert most == 4


async def test_a_key_that_is_refused_in_between(session: ClientSession) -> None:
    """An error that is not about one model is an error of the list."""
    tags = as_json({"models": [{"name": name, "digest": name} for name in "abcdef"]})
    replies = {"/api/tags": tags, "/api/ps": as_json({"models": []}), "/api/show": Reply(status=401)}
    async with ReplayServer(replies) as replay:
        with pytest.raises(ModelServerAuthenticationError):
            await ollama_client(session, replay.url).models()


async def test_lists_of_the_wrong_type(session: ClientSession) -> None:
    """A list that is none is a bad response."""
    lists: list[object] = [{}, "x", [5], [None], [{"name": 5}]]
    for models in lists:
        async with ReplayServer({"/api/tags": as_json({"models": models}), "/api/ps": as_json({})}) as replay:
            with pytest.raises(BadResponseError, match="something else than its protocol"):
                pytest.fail(str(await ollama_client(session, replay.url).models()))


async def test_whether_a_model_sees(session: ClientSession, ollama_front: OllamaFront) -> None:
    """The server's word is passed on; servers from before there was one are understood as far as they tell."""
    server = ollama_client(session, ollama_front.url)
    assert await server.can_see("tiny-vision") is True
    assert await server.can_see("tiny-text") is False
    with pytest.raises(ModelNotFoundError, match="model 'nope:latest' not found"):
        await server.can_see("nope")
    with pytest.raises(ModelCannotSeeError, match="does not support multimodal requests"):
        await server.ask(replace(QUESTION, model="tiny-text"), SILENCE)
    for shown, sees in (({"projector_info": {"a": 1}}, True), ({"projector_info": {}}, None), ({}, None)):
        async with ReplayServer({"/api/show": as_json(shown)}) as replay:
            assert await ollama_client(session, replay.url).can_see("x") is sees


async def test_pull(session: ClientSession, ollama_front: OllamaFront) -> None:
    """A pull tells how far it has come, up to its end; then the model is there."""
    server = ollama_client(session, ollama_front.url)
    steps = [step async for step in server.pull("tiny-pull")]
    assert steps[0] == PullProgress(status="pulling manifest", fraction=None)
    assert steps[1].fraction == 0
    assert steps[-1] == PullProgress(status="success", fraction=1.0)
    assert len({step.fraction for step in steps}) > 3
    assert "tiny-pull:latest" in [model.name for model in await server.models()]
    with pytest.raises(ModelNotFoundError, match="file does not exist"):
        await anext(step async for step in server.pull("nope") if step.fraction)


async def test_a_long_pull_is_no_silence(session: ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama, "_WORK_SECONDS", 0.3)
    step = b'{"status":"pulling a"}\n'
    async with FaultyServer([head(), *drip(step * 5, 0.1, len(step)), b'{"status":"success"}\n']) as server:
        assert len([one async for one in ollama_client(session, server.url).pull("x")]) == 6


async def test_pull_of_layers(session: ClientSession) -> None:
    """Progress counts all layers known so far; numbers that are none are left out; an end without success fails."""
    lines = [
        {"status": "pulling manifest"},
        {"status": "pulling a", "digest": "a", "total": 100},
        {"status": "pulling a", "digest": "a", "total": 100, "completed": 50},
        {"status": "pulling a", "digest": "a", "total": 100, "completed": 100},
        {"status": "pulling b", "digest": "b", "total": 300, "completed": 0},
        {"status": "pulling b", "digest": "b", "total": "many", "completed": None},
        {"status": "pulling b", "digest": "b", "total": 300, "completed": 900},
        {"status": "verifying sha256 digest"},
    ]
    script = [head(), *[json.dumps(line).encode() + b"\n" for line in lines]]
    async with FaultyServer(script) as server:
        pulling = ollama_client(session, server.url).pull("x")
        assert [(await anext(pulling)).fraction for _ in lines] == [None, 0, 0.5, 1, 0.25, 0.25, 1, 1]
        with pytest.raises(IncompleteAnswerError, match="The pull broke off"):
            await anext(pulling)


async def test_replies_to_loading(session: ClientSession) -> None:
    """Loading is not done before the server says so."""
    for script, error in (
        ([head()], IncompleteAnswerError),
        ([head(), b'{"done":false}\n'], IncompleteAnswerError),
        ([head(), b'{"error":"no room"}\n'], BadResponseError),
    ):
        async with FaultyServer(script) as server:
            with pytest.raises(error):
                await ollama_client(session, server.url).load("x", None)


async def test_silence_of_the_first_token_while_loading(session: ClientSession, ollama_front: OllamaFront) -> None:
    """A model that has to be loaded first may take as long as the first token, not only as the next."""
    ollama_front.load_seconds = 0.6
    silence = Silence(first_token=5, next_token=0.3)
    assert (await ollama_client(session, ollama_front.url).ask(QUESTION, silence)).text == "The picture is mostly red."
