"""OpenAI's protocol, against the real llama.cpp server and against single replies."""

import asyncio
from base64 import b64encode
from dataclasses import replace
import json
from typing import Any

from aiohttp import ClientSession
import pytest

from custom_components.ollama_vision.model_server.errors import (
    BadResponseError,
    EmptyAnswerError,
    IncompleteAnswerError,
    ModelCannotSeeError,
    ModelServerAuthenticationError,
    ModelServerBusyError,
    ModelServerError,
    ModelServerTimeoutError,
)
from custom_components.ollama_vision.model_server.models import Answer, Api, Model, Question, Silence
from tests.servers.faulty import FaultyRequest, FaultyServer, Script, Step, drip, head
from tests.servers.llama_server import LlamaServer

from .asking import openai_client
from .calls import BLUE, QUESTION, RED, SCHEMA, SILENCE
from .captures import ReplayServer, Reply

STREAM = head(content_type="text/event-stream")
DONE = b"data: [DONE]\n\n"


def event(content: str | None = None, finish_reason: str | None = None, **delta: Any) -> bytes:
    """Return an event of a stream."""
    choice = {"index": 0, "delta": {"content": content, **delta}, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"model": "x", "choices": [choice]}).encode() + b"\n\n"


async def asked(session: ClientSession, script: Script, silence: Silence = SILENCE) -> Answer:
    """Ask a server with that script."""
    async with FaultyServer(script) as server:
        return await openai_client(session, server.url).ask(QUESTION, silence)


async def test_a_picture_is_described(session: ClientSession, llama_server: LlamaServer) -> None:
    """The model's words come back, with the server's measures."""
    server = openai_client(session, llama_server.url)
    answer = await server.ask(QUESTION, SILENCE)
    assert (answer.text, answer.model, answer.truncated) == ("The picture is mostly red.", "tiny-vision", False)
    assert answer.tokens == 7
    assert answer.tokens_per_second is not None
    assert answer.tokens_per_second > 0
    assert (await server.ask(replace(QUESTION, pictures=(BLUE,)), SILENCE)).text == "The picture is mostly blue."
    assert (await server.ask(replace(QUESTION, pictures=(RED, BLUE)), SILENCE)).text == "The picture is mostly purple."
    assert (await server.ask(replace(QUESTION, pictures=()), SILENCE)).text == "No photo was given."
    assert server.api is Api.OPENAI
    assert str(server.url) == llama_server.url
    await server.version()
    assert [(model.name, model.vision) for model in await server.models()] == [("tiny-vision", True)]
    assert await server.can_see("Tiny-Vision") is True
    assert await server.can_see("nope") is None


async def test_a_structured_answer(session: ClientSession, llama_server: LlamaServer) -> None:
    """The answer follows the schema; where the limit cuts it, it says so."""
    server = openai_client(session, llama_server.url)
    answer = await server.ask(replace(QUESTION, structure=SCHEMA), SILENCE)
    assert json.loads(answer.text)["colour"] in ("red", "blue")
    cut = await server.ask(replace(QUESTION, max_tokens=1, temperature=0), SILENCE)
    assert (cut.text, cut.truncated) == ("The", True)


async def test_one_question_after_the_other(session: ClientSession, llama_server: LlamaServer) -> None:
    """llama.cpp hangs up after an answer; the next question is not lost by that."""
    server = openai_client(session, llama_server.url)
    for _ in range(10):
        assert (await server.ask(QUESTION, SILENCE)).text == "The picture is mostly red."


async def test_a_text_server(session: ClientSession) -> None:
    """A server without eyes says so, in its list and when it is sent a picture."""
    with LlamaServer(vision=False) as llama:
        server = openai_client(session, llama.url)
        assert [model.vision for model in await server.models()] == [False]
        with pytest.raises(ModelCannotSeeError, match="image input is not supported"):
            await server.ask(QUESTION, SILENCE)


async def test_a_key(session: ClientSession) -> None:
    """A server with a key takes the right one and refuses every other."""
    with LlamaServer(api_key="sk-right") as llama:
        for key in (None, "sk-wrong"):
            for call in (
                openai_client(session, llama.url, key).version(),
                openai_client(session, llama.url, key).ask(QUESTION, SILENCE),
            ):
                with pytest.raises(ModelServerAuthenticationError, match="Invalid API Key"):
                    await call
        server = openai_client(session, llama.url, "sk-right")
        assert (await server.ask(QUESTION, SILENCE)).text == "The picture is mostly red."


async def test_what_is_asked(session: ClientSession) -> None:
    """A question travels with everything that was set, and with nothing that was not."""
    stream = Reply(headers={"Content-Type": "text/event-stream"}, body=event("A door.", "stop") + DONE)
    full = Question(
        model="x",
        prompt="Which colour?",
        pictures=(RED, BLUE),
        structure=SCHEMA,
        keep_alive=-1,  # for Ollama only, as the next one is
        num_ctx=2048,
        max_tokens=60,
        temperature=0,
    )
    async with ReplayServer({"/v1/chat/completions": stream}) as replay:
        server = openai_client(session, replay.url)
        await server.ask(replace(QUESTION, pictures=()), SILENCE)
        await server.ask(full, SILENCE)
    urls = [f"data:image/jpeg;base64,{b64encode(picture.data).decode()}" for picture in (RED, BLUE)]
    always = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
    }
    assert [body for _, body in replay.requests] == [
        {"model": "tiny-vision", "messages": [{"role": "user", "content": "Describe this image."}], **always},
        {
            "model": "x",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        *[{"type": "image_url", "image_url": {"url": url}} for url in urls],
                        {"type": "text", "text": "Which colour?"},
                    ],
                }
            ],
            **always,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
            },
            "max_tokens": 60,
            "temperature": 0,
        },
    ]


@pytest.mark.parametrize(
    ("refusal", "kept"),
    [
        # vLLM with a Mistral model, Mistral's own servers, OpenAI's, and both fields at once
        (
            {"error": {"message": "chat_template is not supported for Mistral tokenizers.", "code": 400}},
            "stream_options",
        ),
        (
            {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]},
            "chat_template_kwargs",
        ),
        ({"error": {"message": "Unrecognized request argument supplied: chat_template_kwargs"}}, "stream_options"),
        ({"error": "chat_template_kwargs and stream_options are unknown"}, None),
    ],
)
async def test_fields_that_a_server_does_not_know(
    session: ClientSession, refusal: dict[str, Any], kept: str | None
) -> None:
    """A field that is refused is left out, at once and from then on; the question is answered."""
    optional = {"chat_template_kwargs", "stream_options"}

    async def answered(request: FaultyRequest) -> bytes:
        if (optional & json.loads(request.body).keys()) - {kept}:
            return head(400) + json.dumps(refusal).encode()
        return STREAM + event("A door.", "stop") + DONE

    async with FaultyServer([answered]) as server:
        openai = openai_client(session, server.url)
        together = await asyncio.gather(*(openai.ask(QUESTION, SILENCE) for _ in range(2)))
        assert [answer.text for answer in together] == ["A door.", "A door."]
        assert len(server.requests) == 4
        assert (await openai.ask(QUESTION, SILENCE)).text == "A door."
    assert len(server.requests) == 5
    assert optional & json.loads(server.requests[-1].body).keys() == ({kept} if kept else set())


async def test_other_refusals_are_final(session: ClientSession) -> None:
    """A request that is refused for another reason is not sent twice."""
    async with FaultyServer([head(400), b'{"error":"no"}']) as server:
        with pytest.raises(BadResponseError, match=r"^no$"):
            await openai_client(session, server.url).ask(QUESTION, SILENCE)
        assert len(server.requests) == 1


async def test_streams(session: ClientSession) -> None:
    """Streams of every server are understood: line ends, comments, names of events, empty pieces, missing ends."""
    usage = b'data: {"choices":[],"usage":{"completion_tokens":3}}\n\n'
    role = event(None, role="assistant")
    streams = [
        role + event("A") + event(" door.") + event(None, "stop") + usage + DONE,
        (event("A door.", "stop") + DONE).replace(b"\n", b"\r\n"),
        b": ping\n\n" + event("A door.", "stop").replace(b"data: ", b"event: chunk\nid: 1\ndata:") + DONE,
        event("A door.", "stop"),
        event("A door.") + DONE,
        event("A door.", "stop") + DONE.strip(),
        event("", reasoning_content="Hm.") + event(None, reasoning="Hm.") + event("A door.", "stop") + DONE,
        event("<think>Hm.") + event("</think>A door.", "stop") + DONE,
        event("A door.", "stop") + b'data: {"choices":[{}]}\n\n' + DONE,
        event("A door.", "stop") + b'data: {"choices":[{"delta":null}],"usage":null,"timings":{}}\n\n' + DONE,
    ]
    for stream in streams:
        answer = await asked(session, [STREAM, stream])
        assert (stream, answer.text, answer.model, answer.truncated) == (stream, "A door.", "x", False)
    assert (await asked(session, [STREAM, event("A", "length") + DONE])).truncated
    nameless = await asked(session, [STREAM, b'data: {"choices":[{"delta":{"content":"A"}}]}\n\n' + DONE])
    assert nameless.model == "tiny-vision"


async def test_measures(session: ClientSession) -> None:
    """llama.cpp says how fast it was; where a server only counts, the clock helps."""
    usage = b'data: {"choices":[],"usage":{"completion_tokens":20}}\n\n'
    answer = await asked(session, [STREAM + event("A"), 0.2, event(" door.", "stop"), usage + DONE])
    assert answer.tokens == 20
    assert answer.tokens_per_second is not None
    assert 20 < answer.tokens_per_second < 150  # 100, but a busy client meets the first token late
    timings = b'data: {"choices":[],"timings":{"predicted_n":8,"predicted_per_second":40}}\n\n'
    answer = await asked(session, [STREAM, event("A door.", "stop") + timings + DONE])
    assert (answer.tokens, answer.tokens_per_second) == (8, 40)
    answer = await asked(session, [STREAM, event("A door.", "stop") + DONE])
    assert (answer.tokens, answer.tokens_per_second) == (None, None)


async def test_an_answer_in_one_piece(session: ClientSession) -> None:
    """A server that does not stream is understood, however it lays out its JSON; its speed is not guessed."""
    reply = {
        "model": "x",
        "choices": [{"message": {"role": "assistant", "content": "A door."}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 3},
    }
    for indent in (None, 2):
        body = json.dumps(reply, indent=indent).encode()
        answer = await asked(session, [head(content_type="application/json"), body])
        assert answer == Answer(text="A door.", model="x", tokens=3)


async def test_failures_within_a_stream(session: ClientSession) -> None:
    """Every end that is none has its own name."""
    cases: list[tuple[bytes, type[ModelServerError], str]] = [
        (b"", IncompleteAnswerError, "The answer broke off."),
        (event("A"), IncompleteAnswerError, "The answer broke off."),
        (event("A") + b'data: {"error":{"message":"out of memory"}}\n\n', BadResponseError, "out of memory"),
        (event("A") + b'error: {"code":500,"message":"out of memory"}\n\n', BadResponseError, "out of memory"),
        (
            event("A") + b'data: {"error":"maximum pending requests"}\n\n',
            ModelServerBusyError,
            "maximum pending requests",
        ),
        (event(None, "stop") + DONE, EmptyAnswerError, "The model answered nothing."),
        (event(None, "stop", reasoning="Hm") + DONE, EmptyAnswerError, "The model thought, but answered nothing."),
        (b"data: <html>\n\n", BadResponseError, "a web page"),
        (b"<html>\n", IncompleteAnswerError, "The answer broke off."),
        *[
            (b"data: " + data + b"\n\n", BadResponseError, "something else than its protocol")
            for data in (
                *(b"5", b"[]", b"hello", b"{}", b'{"choices":null}', b'{"choices":{}}', b'{"choices":[5]}'),
                *(b'{"choices":[{"delta":5}]}', b'{"choices":[{"delta":{"content":5}}]}', b'{"choices":[],"model":5}'),
                *(b'{"choices":[{"delta":{"content":[]}}]}', b'{"choices":[{"finish_reason":5}]}'),
            )
        ],
    ]
    for stream, error, words in cases:
        with pytest.raises(ModelServerError) as err:
            pytest.fail(f"{stream!r} is {await asked(session, [STREAM, stream])}")
        assert (stream, type(err.value)) == (stream, error)
        assert words in str(err.value)


async def test_the_first_token(session: ClientSession) -> None:
    """What comes before the first token (a role, empty pieces) does not begin the shorter limit; a token does."""
    slow: Script = [STREAM + event(None, role="assistant") + event(""), 0.5, event("A door.", "stop") + DONE]
    silence = Silence(first_token=2, next_token=0.2)
    assert (await asked(session, slow, silence)).text == "A door."
    for first in (event("A"), event(None, reasoning_content="Hm")):
        with pytest.raises(ModelServerTimeoutError, match=r"silent for 0\.2 s"):
            await asked(session, [STREAM + first, Step.HANG], silence)
        with pytest.raises(ModelServerTimeoutError, match=r"silent for 0\.2 s"):
            await asked(session, [STREAM + first, *drip(event("") * 20, 0.05, len(event("")))], silence)


async def test_an_answer_without_an_end(session: ClientSession) -> None:
    """A model that never stops is stopped; what it said so far is a cut answer."""
    answer = await asked(session, [STREAM, *[event("ha" * 500)] * 101, Step.HANG])
    assert (len(answer.text), answer.truncated) == (100_000, True)


async def listed(session: ClientSession, **replies: object) -> list[Model]:
    """Return the models of a server with those replies; _ stands for / in their paths."""
    bodies = {"/" + path.replace("_", "/"): json.dumps(reply).encode() for path, reply in replies.items()}
    headers = {"Content-Type": "application/json"}
    async with ReplayServer({path: Reply(headers=headers, body=body) for path, body in bodies.items()}) as replay:
        return await openai_client(session, replay.url).models()


async def test_lists_of_models(session: ClientSession) -> None:
    """What each server's list tells is understood, and nothing is made up (forms as the servers publish them)."""
    vllm = {"id": "Qwen/Qwen3-VL-8B", "object": "model", "owned_by": "vllm", "root": "x", "max_model_len": 8192}
    assert await listed(session, v1_models={"object": "list", "data": [vllm]}) == [Model(name="Qwen/Qwen3-VL-8B")]
    litellm = {"id": "eyes", "object": "model", "created": 1677610602, "owned_by": "openai"}
    assert await listed(session, v1_models={"data": [litellm], "object": "list"}) == [Model(name="eyes")]
    xinference = [
        {"id": "qwen-vl", "owned_by": "xinference", "model_type": "LLM", "model_ability": ["chat", "vision"]},
        {"id": "qwen", "owned_by": "xinference", "model_type": "LLM", "model_ability": ["chat", "tools"]},
        {"id": "bge", "owned_by": "xinference", "model_type": "embedding"},
    ]
    assert await listed(session, v1_models={"object": "list", "data": xinference}) == [
        Model(name="qwen-vl", vision=True),
        Model(name="qwen", vision=False),
        Model(name="bge"),
    ]
    router = [
        {"id": "a", "status": {"value": "loaded"}, "architecture": {"input_modalities": ["text", "image"]}},
        {"id": "b", "status": {"value": "unloaded"}, "architecture": {"input_modalities": ["text"]}},
        {"id": "c", "status": {"value": 5}, "architecture": {"input_modalities": "image"}, "meta": {"size": 7}},
        {"id": "d", "status": "loaded", "architecture": None, "meta": {"size": "big"}},
    ]
    assert await listed(session, v1_models={"data": router}) == [
        Model(name="a", vision=True, loaded=True),
        Model(name="b", vision=False, loaded=False),
        Model(name="c", loaded=False, size=7),
        Model(name="d"),
    ]
    assert await listed(session, v1_models={"object": "list", "data": None}) == []


async def test_lm_studio(session: ClientSession) -> None:
    """LM Studio tells in a list of its own which models see and are loaded; an old one without it is taken as it is."""
    names = ["google/gemma-3-12b", "llama", "nomic"]
    openai = {"data": [{"id": name, "object": "model", "owned_by": "organization_owner"} for name in names]}
    kinds = [("vlm", "loaded"), ("llm", "not-loaded"), ("embeddings", "not-loaded")]
    own = {
        "data": [{"id": name, "type": kind, "state": state} for name, (kind, state) in zip(names, kinds, strict=True)]
    }
    assert await listed(session, v1_models=openai, api_v0_models=own) == [
        Model(name="google/gemma-3-12b", vision=True, loaded=True),
        Model(name="llama", vision=False, loaded=False),
        Model(name="nomic", vision=False, loaded=False),
    ]
    without: list[object] = [{"error": "Unexpected endpoint or method. (GET /api/v0/models)"}, {"data": "x"}]
    for reply in without:
        assert await listed(session, v1_models=openai, api_v0_models=reply) == [Model(name=name) for name in names]
    assert await listed(session, v1_models=openai) == [Model(name=name) for name in names]


async def test_lists_of_the_wrong_type(session: ClientSession) -> None:
    """A list that is none is a bad response; an error with status 200 is that error."""
    replies: list[object] = [{}, {"data": {}}, {"data": [5]}, {"data": [{}]}, {"data": [{"id": 5}]}, {"models": []}]
    for reply in replies:
        with pytest.raises(BadResponseError, match="something else than its protocol"):
            pytest.fail(str(await listed(session, v1_models=reply)))
    with pytest.raises(BadResponseError, match="Unexpected endpoint"):
        await listed(session, v1_models={"error": "Unexpected endpoint or method. (GET /v1/models)"})
