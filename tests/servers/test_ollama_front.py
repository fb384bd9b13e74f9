"""The Ollama front answers as the real Ollama 0.32.15 did: the requests of its captures are sent again, in order."""

import asyncio
import base64
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
import json
from pathlib import Path
import re
from time import monotonic
from typing import Any

from aiohttp import ClientSession
import pytest
from yarl import URL

from .faulty import FaultyServer, Script, Step, chunk, head
from .llama_server import LlamaServer
from .ollama_front import OllamaFront, OllamaFrontProcess

TESTS = Path(__file__).parents[1]
CAPTURES = TESTS / "captures" / "ollama-0.32.15"
MODELS = ("tiny-vision", "tiny-text", "tiny-think", "tiny-think2", "tiny-broken")

# Captures by number, each line sent to a front of its own.
REPLAYED = {
    "is it there, what does it have": "1-6 8 10-19",
    "a picture": "20-30 32-33",
    "formats of the answer": "37-45 47 49",
    "keep alive": "51-96",
    "load and unload": "97-99 103-104",
    "models it does not have": "106-114",
    "pictures to a text model": "117",
    "pictures that are none": "118-119 121-129 131-132",
    "kinds of pictures": "135-137 139-141 144-147",
    "odd messages": "154-161",
    "thinking": "162-176 215-220",
    "malformed": "177-184",
    "options": "185-192 221-224",
    "too long": "193-195",
    "paths": "198-200",
    "strangers": "203-204 207-210 212-213",
    "OpenAI's paths": "234-238 240-249 251-273 275",
    "delete and pull": "276-279",
    "a model that does not load": "286-287",
}
LEFT_OUT = {
    "Gemma, which the front does not have": "7 9 34-36 50 115-116 133-134 148-153 250",
    "sampled": "31",
    "a cut-off or borderline picture, whose colour depends on the decoder": "120 142-143",
    "builds of llama.cpp differ in their words for a bad schema, and in the tokens that JSON takes": "46 48",
    "WebP, which this build of llama.cpp does not read": "138 239",
    "the capture's path was shortened after it was sent": "130",
    "/api/generate, which is never used": "100-102 105 225-233",
    "tools and token probabilities, which are never asked for": "196-197 274",
    "redirects of misspelt paths": "201-202",
    "browsers' preflights": "205-206",
    "the name of the machine that was captured": "211",
    "a picture of 12 megapixels, prepared before it is sent": "214",
    "creating, copying and embedding": "280-285 288-289",
    "a fault of one llama.cpp build with two pictures": "290-294",
}

HELLO = [{"role": "user", "content": "Hello"}]
VOLATILE = {
    *("created_at", "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration"),
    *("eval_count", "eval_duration"),
    *("modified_at", "size", "digest", "created"),
}


def numbers(ranges: str) -> list[int]:
    """Return the numbers of "1-3 7"."""
    bounds = [[int(number) for number in part.split("-")] for part in ranges.split()]
    return [number for bound in bounds for number in range(bound[0], bound[-1] + 1)]


def path_of(number: int) -> Path:
    """Return the capture with a number."""
    return next(CAPTURES.glob(f"{number:03}-*.json"))


def test_every_capture_is_replayed_or_left_out_for_a_reason() -> None:
    """A capture that nobody thought of fails."""
    named = [number for ranges in (*REPLAYED.values(), *LEFT_OUT.values()) for number in numbers(ranges)]
    assert sorted(named) == sorted(int(path.name[:3]) for path in CAPTURES.glob("[0-9]*.json"))


@pytest.mark.parametrize("ranges", REPLAYED.values(), ids=REPLAYED.keys())
async def test_it_answers_as_ollama_does(socket_enabled: None, llama_server: LlamaServer, ranges: str) -> None:
    """Status, type and words are those of the capture."""
    async with OllamaFront(llama=llama_server.url, names=MODELS) as front, ClientSession() as session:
        for number in numbers(ranges):
            capture = json.loads(path_of(number).read_text())
            assert (number, await replayed(session, front, capture["request"])) == (number, expected(capture))


async def replayed(session: ClientSession, front: OllamaFront, request: dict[str, Any]) -> dict[str, Any]:
    """Send a captured request to the front and return the essence of its answer."""
    body = request["raw_body"]
    if request["body"] is not None:
        body = re.sub(r"<base64 of (pictures/[^>]*)>", _encoded, json.dumps(request["body"]))
    url = URL(front.url + request["path"], encoded=True)
    async with session.request(request["method"], url, data=body, headers=request["headers"]) as answer:
        return essence(request, answer.status, dict(answer.headers), await answer.text(), datetime.now(UTC))


def expected(capture: dict[str, Any]) -> dict[str, Any]:
    """Return the essence of what the real Ollama answered."""
    answer = capture["response"]
    text = answer["body_text"] if answer["body_json"] is None else json.dumps(answer["body_json"])
    moment = parsedate_to_datetime(answer["headers"]["Date"])
    return essence(capture["request"], answer["status"], answer["headers"], text, moment)


def essence(
    request: dict[str, Any], status: int, headers: dict[str, str], text: str, moment: datetime
) -> dict[str, Any]:
    """Return what has to be the same: all but times, sizes and what Ollama says of models that the front lacks."""
    kind = headers.get("Content-Type") if text else None
    if kind is None or "json" not in kind:
        return {"status": status, "type": kind, "text": _said(text) if kind == "text/event-stream" else text}
    documents = [json.loads(line) for line in text.splitlines()]
    if request["path"] == "/v1/chat/completions" and status == 200:
        choice = documents[0]["choices"][0]
        said = [_stable(choice["message"]["content"], moment), choice["finish_reason"]]
        return {"status": status, "type": kind, "said": said}
    return {"status": status, "type": kind, "documents": [_stable(document, moment) for document in documents]}


def _said(events: str) -> str:
    chunks = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def _stable(value: Any, moment: datetime) -> Any:
    if isinstance(value, list):
        models = [item for item in value if isinstance(item, dict) and ("name" in item or "id" in item)]
        mine = [item for item in value if item not in models or item.get("name", item.get("id")).startswith("tiny")]
        return sorted((_stable(item, moment) for item in mine), key=json.dumps) if models else mine
    if isinstance(value, str):
        return value.replace("]", "}")  # equally likely to the tiny model where a string has to be filled
    if not isinstance(value, dict):
        return value
    stable = {key: "…" if key in VOLATILE else _stable(item, moment) for key, item in value.items()}
    if "expires_at" in value:
        stable["expires_at"] = _remaining(value["expires_at"], moment)
    if isinstance(value.get("error"), str) and "exceed_context_size_error" in value["error"]:
        stable["error"] = re.sub(r"\d{4,}", "…", value["error"])  # the front's context is not as long
    return stable


def _remaining(expires: str, moment: datetime) -> int:
    """Return in how many steps of five seconds a model leaves memory; one that stays for ever has its own."""
    end = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", expires))
    seconds = (end - moment).total_seconds()
    return round(seconds / 5) if seconds < 10**9 else -1


def _encoded(match: re.Match[str]) -> str:
    return base64.b64encode((TESTS / match[1]).read_bytes()).decode()


async def test_a_model_is_pulled(ollama_front: OllamaFront) -> None:
    """Its layers come in parts, and then it is there and sees."""
    async with ClientSession() as session:
        async with session.post(f"{ollama_front.url}/api/pull", json={"model": "tiny-pull"}) as answer:
            reports = [json.loads(line) async for line in answer.content]
        async with session.post(f"{ollama_front.url}/api/show", json={"model": "tiny-pull"}) as answer:
            assert "vision" in (await answer.json())["capabilities"]
    assert reports[0] == {"status": "pulling manifest"}
    assert [report["completed"] / report["total"] for report in reports if "completed" in report] == [
        *(pytest.approx(part / 4, abs=0.02) for part in range(1, 5)),
        *(pytest.approx(part / 4, abs=0.02) for part in range(1, 5)),
    ]
    assert [report["status"] for report in reports[-3:]] == ["verifying sha256 digest", "writing manifest", "success"]


@pytest.mark.parametrize(("stream", "status"), [(True, 200), (False, 500)])
async def test_a_model_that_nobody_has_cannot_be_pulled(
    ollama_front: OllamaFront, *, stream: bool, status: int
) -> None:
    """The error is the last thing that is said."""
    async with (
        ClientSession() as session,
        session.post(f"{ollama_front.url}/api/pull", json={"model": "nope", "stream": stream}) as answer,
    ):
        assert answer.status == status
        last = json.loads((await answer.text()).splitlines()[-1])
    assert last == {"error": "pull model manifest: file does not exist"}


async def test_loading_takes_its_time_once_for_each_context_length(ollama_front: OllamaFront) -> None:
    """A test can tell whether a model was warm."""
    ollama_front.load_seconds = 0.2
    seconds = []
    async with ClientSession() as session:
        for options in ({}, {}, {"num_ctx": 2048}, {"num_ctx": 2048}):
            start = monotonic()
            body = {"model": "tiny-text", "messages": HELLO, "options": options, "stream": False}
            await session.post(f"{ollama_front.url}/api/chat", json=body)
            seconds.append(monotonic() - start)
    assert [second >= 0.2 for second in seconds] == [True, False, True, False]


async def test_one_answers_one_waits_and_the_next_is_refused(ollama_front: OllamaFront) -> None:
    """With a full queue it says what the real one says."""
    ollama_front.max_queue = 1
    ollama_front.gate.clear()
    body = {"model": "tiny-text", "messages": HELLO}
    async with ClientSession() as session:
        asked = [asyncio.create_task(session.post(f"{ollama_front.url}/api/chat", json=body)) for _ in range(2)]
        await ollama_front.received(2)
        refused = await session.post(f"{ollama_front.url}/api/chat", json=body)
        assert refused.status == 503
        assert await refused.text() == ('{"error":"server busy, please try again.  maximum pending requests exceeded"}')
        ollama_front.gate.set()
        for answer in await asyncio.gather(*asked):
            assert '"done_reason":"stop"' in await answer.text()


@pytest.mark.parametrize(("stream", "status"), [(True, 200), (False, 500)])
async def test_the_runner_dies_while_it_speaks(socket_enabled: None, *, stream: bool, status: int) -> None:
    """A stream that has begun ends with the error, as the captures of a killed runner do."""
    token = b'data: {"choices":[{"finish_reason":null,"delta":{"content":"The"}}]}\n\n'
    body = {"model": "tiny-text", "messages": HELLO, "stream": stream}
    script: Script = [head(content_type="text/event-stream", Transfer_Encoding="chunked"), chunk(token), Step.RESET]
    async with (
        FaultyServer(script) as llama,
        OllamaFront(llama=llama.url) as front,
        ClientSession() as session,
        session.post(f"{front.url}/api/chat", json=body) as answer,
    ):
        assert answer.status == status
        lines = (await answer.text()).splitlines()
    assert lines[-1] == '{"error":"an error was encountered while running the model: unexpected EOF"}'
    assert len(lines) == (2 if stream else 1)


async def test_it_runs_as_a_program(socket_enabled: None, llama_server: LlamaServer) -> None:
    """The demo has it in a process of its own."""
    with OllamaFrontProcess(llama_server.url) as front:
        body = {"model": "tiny-vision", "messages": HELLO, "stream": False}
        async with ClientSession() as session, session.post(f"{front.url}/api/chat", json=body) as answer:
            assert (await answer.json())["message"]["content"] == "No photo was given."


async def test_requests_are_recorded(ollama_front: OllamaFront) -> None:
    """A test can count calls and look at what was sent."""
    async with ClientSession() as session:
        body = {"model": "tiny-vision", "messages": [], "keep_alive": "5m"}
        await session.post(f"{ollama_front.url}/api/chat", json=body)
    assert ollama_front.bodies("/api/chat") == [body]
