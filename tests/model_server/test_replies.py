"""What servers say when something is wrong, on real sockets."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
import json

from aiohttp import ClientSession
import pytest

from custom_components.ollama_vision.model_server.errors import (
    BadResponseError,
    ModelCannotSeeError,
    ModelNotFoundError,
    ModelServerAuthenticationError,
    ModelServerBusyError,
    ModelServerConnectionError,
    ModelServerError,
    ModelServerTimeoutError,
)
from tests.servers.faulty import FaultyServer, head

from .asking import DONE, TOKEN, ask, failure, version

FORBIDDEN = (
    "The server refuses the request without a reason (403), as Ollama does under a host name it does not expect."
)


async def test_statuses(session: ClientSession) -> None:
    """A status becomes an error with the server's own words, or with ours where it has none."""
    page = b"<!DOCTYPE html><html><title>Oops</title></html>"
    statuses: list[tuple[int, bytes, type[ModelServerError], str]] = [
        (401, b"", ModelServerAuthenticationError, "The server refuses the key (401)."),
        (401, page, ModelServerAuthenticationError, "The server refuses the key (401)."),
        (401, b"no token", ModelServerAuthenticationError, "no token"),
        (403, b"", ModelServerAuthenticationError, FORBIDDEN),
        (403, b'{"detail":"Not yours"}', ModelServerAuthenticationError, "Not yours"),
        (404, b"404 page not found", BadResponseError, "404 page not found"),
        (404, page, BadResponseError, "The server answered with status 404."),
        (404, b'{"error":"model \'x\' not found"}', ModelNotFoundError, "model 'x' not found"),
        (413, page, BadResponseError, "The server answered with status 413."),
        (429, b"", ModelServerBusyError, "The server is busy (429)."),
        (500, b"", BadResponseError, "The server answered with status 500."),
        (500, b'{"error":null}', BadResponseError, "The server answered with status 500."),
        (500, b'{"error":[]}', BadResponseError, "The server answered with status 500."),
        (500, b'{"error":"out of memory"}', BadResponseError, "out of memory"),
        (500, b"\xff\xfe", BadResponseError, "\ufffd\ufffd"),
        (502, page, ModelServerConnectionError, "A proxy does not reach the server (502)."),
        (503, page, ModelServerBusyError, "The server is busy (503)."),
        (503, b'{"error":"overloaded"}', ModelServerBusyError, "overloaded"),
        (504, page, ModelServerTimeoutError, "A proxy waited too long for the server (504)."),
        (204, b"", BadResponseError, "The server answered with status 204."),
        (304, b"", BadResponseError, "The server answered with status 304."),
    ]
    for status, body, error, words in statuses:
        kind = "text/html" if body == page else "text/plain"
        assert (status, body, *await failure(session, [head(status, kind), body])) == (status, body, error, words)


async def test_errors_in_the_shapes_of_servers(session: ClientSession) -> None:
    """However deep the server hides it, a person reads the innermost message."""
    inner = {"error": {"code": 400, "message": "Failed to load image", "type": "invalid_request_error"}}
    vllm = {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}
    lm_studio = {"error": {"message": 'Invalid model identifier "x". Please specify', "code": "model_not_found"}}
    litellm = {"error": {"message": "400: {'error': 'Invalid model name passed in model=x'}", "code": 400}}
    xinference = {"detail": "[address=0.0.0.0:1, pid=2] Model not found, uid: x-0"}
    loc = {"detail": [{"type": "extra_forbidden", "loc": ["body", "keep"], "msg": "Extra inputs are not permitted"}]}
    shapes: list[tuple[object, type[ModelServerError], str]] = [
        ({"error": json.dumps(inner)}, BadResponseError, "Failed to load image"),
        ({"error": {"message": json.dumps({"error": json.dumps(inner)})}}, BadResponseError, "Failed to load image"),
        (vllm, ModelNotFoundError, "The model `x` does not exist."),
        ({"error": vllm}, ModelNotFoundError, "The model `x` does not exist."),
        (lm_studio, ModelNotFoundError, 'Invalid model identifier "x". Please specify'),
        (litellm, ModelNotFoundError, "400: {'error': 'Invalid model name passed in model=x'}"),
        (xinference, ModelNotFoundError, "[address=0.0.0.0:1, pid=2] Model not found, uid: x-0"),
        (loc, BadResponseError, "body.keep: Extra inputs are not permitted"),
        ({"message": "x is not a multimodal model None"}, ModelCannotSeeError, "x is not a multimodal model None"),
        ({"error": "Model does not support images."}, ModelCannotSeeError, "Model does not support images."),
        ({"error": {"message": "At most 0 image(s)"}}, ModelCannotSeeError, "At most 0 image(s)"),
        ({"error": "Maximum pending requests exceeded"}, ModelServerBusyError, "Maximum pending requests exceeded"),
        ({"error": "error loading model: 'a' not found"}, BadResponseError, "error loading model: 'a' not found"),
        ({"error": {"a": {"b": "c"}}}, BadResponseError, "The server answered with status 400."),
        (["x"], BadResponseError, '["x"]'),
        ({"error": "bad \ud800 thing\0"}, BadResponseError, "bad \ufffd thing"),
        ({"detail": [{"loc": ["\ud800"], "msg": "bad \udc00"}]}, BadResponseError, "\ufffd: bad \ufffd"),
        ("x" * 1000, BadResponseError, '"' + "x" * 499),
        ({"error": "x" * 1000}, BadResponseError, "x" * 500),
    ]
    for shape, error, words in shapes:
        kind, said = await failure(session, [head(400), json.dumps(shape).encode()])
        assert (shape, kind, said) == (shape, error, words)
    deep: object = "the end"
    for _ in range(30):
        deep = {"error": deep}
    _, said = await failure(session, [head(400), json.dumps(deep).encode()])
    assert said == "The server answered with status 400."


async def test_when_to_come_back(session: ClientSession) -> None:
    """Retry-After is read as seconds and as a date; nonsense counts as none."""

    async def retry_after(value: str) -> float | None:
        async with FaultyServer([head(429, Retry_After=value)]) as server:
            with pytest.raises(ModelServerBusyError) as err:
                await ask(session, server.url)
        return err.value.retry_after

    soon = datetime.now(UTC) + timedelta(seconds=20)
    assert await retry_after(" 7 ") == 7
    assert await retry_after("1.5") == 1.5
    assert await retry_after(format_datetime(soon, usegmt=True)) == pytest.approx(20, abs=2)
    assert await retry_after(format_datetime(soon.replace(tzinfo=None))) == pytest.approx(20, abs=2)
    assert await retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for nonsense in ("", "soon", "-5", "nan", "9" * 30):
        assert await retry_after(nonsense) is None


async def test_web_pages(session: ClientSession) -> None:
    """A login page with status 200 is named as one, whatever its type says."""
    words = "The server answered with a web page, perhaps a login page in front of it."
    page = b"\n <!DOCTYPE html>\n<html><form action=login></form></html>"
    for content_type in ("text/html; charset=utf-8", "application/json", "text/plain"):
        script = [head(content_type=content_type), page]
        assert await failure(session, script) == (BadResponseError, words)
        async with FaultyServer(script) as server:
            with pytest.raises(BadResponseError, match=words):
                await version(session, server.url)


async def test_wrong_types(session: ClientSession) -> None:
    """JSON that is not of the protocol is a bad response, never a crash."""
    words = "The server answered with something else than its protocol."
    for body in (
        *(b"null", b"5", b"[]", b'"x"', b"{", b"hello", b"{}", b'{"message":null}', b'{"message":[]}'),
        *(b'{"message":{"content":5}}', b'{"message":{"content":["x"]}}', b'{"message":{"thinking":{}}}'),
        *(b'{"message":{"content":"x"},"model":5,"done":true}', b"\xff\xfe\xfa", b"[" * 100_000),
    ):
        assert (body[:60], *await failure(session, [head(), body + b"\n"])) == (body[:60], BadResponseError, words)
    for body in (b"null", b"[]", b"", b"hello", b"{", b"{}", b'{"version":5}', b"[" * 100_000):
        async with FaultyServer([head(content_type="application/json"), body]) as server:
            with pytest.raises(BadResponseError, match=words):
                pytest.fail(f"{body[:60]!r} is {await version(session, server.url)}")


async def test_numbers_that_are_none(session: ClientSession) -> None:
    """Measures that make no sense are left out; the answer stands."""
    for measures in (
        b'"eval_count":"many","eval_duration":1',
        b'"eval_count":-1,"eval_duration":1',
        b'"eval_count":5,"eval_duration":0',
    ):
        async with FaultyServer([head(), DONE[:-2] + b"," + measures + b"}\n"]) as server:
            answer = await ask(session, server.url)
        assert (answer.text, answer.model, answer.tokens_per_second) == ("door.", "tiny-vision", None)


async def test_errors_within_a_stream(session: ClientSession) -> None:
    """An error line ends the answer with that error; half an answer is none."""
    lines: list[tuple[bytes, type[ModelServerError], str]] = [
        (b'{"error":"unexpected EOF"}\n', BadResponseError, "unexpected EOF"),
        (b'{"error":{"message":"unexpected EOF"}}\n', BadResponseError, "unexpected EOF"),
        (b'{"error":true}\n', BadResponseError, "The server failed without saying why."),
        (
            b'{"error":"server busy: maximum pending requests"}\n',
            ModelServerBusyError,
            "server busy: maximum pending requests",
        ),
        (b'{"error":"model \\"x\\" not found"}\n', ModelNotFoundError, 'model "x" not found'),
    ]
    for line, error, words in lines:
        assert await failure(session, [head(), TOKEN, line]) == (error, words)
