"""What networks, servers and proxies do wrong, on real sockets."""

import asyncio
from base64 import b64encode
from dataclasses import replace
import socket
import ssl
from time import monotonic
from typing import Any

from aiohttp import ClientSession, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
import pytest
from pytest_socket import socket_allow_hosts

from custom_components.ollama_vision.model_server import transport as transport_module
from custom_components.ollama_vision.model_server.errors import (
    BadResponseError,
    EmptyAnswerError,
    IncompleteAnswerError,
    ModelServerAuthenticationError,
    ModelServerBusyError,
    ModelServerConnectionError,
    ModelServerError,
    ModelServerTimeoutError,
)
from custom_components.ollama_vision.model_server.models import Picture, Silence
from tests.servers.certificates import self_signed
from tests.servers.faulty import END, FaultyServer, Script, Step, chunk, drip, head, refusing

from .asking import DONE, SHORT, TOKEN, VERSION, ask, failure, ollama_client, openai_client, version
from .calls import QUESTION, SILENCE

NOTHING = b'{"message":{"content":""},"done":false}\n'


async def test_nobody_there(session: ClientSession) -> None:
    """A refused connection says so, and where."""
    with refusing() as url:
        for asking in (ask, version):
            refused = f"^No connection to {url}: connection refused.$"
            with pytest.raises(ModelServerConnectionError, match=refused) as err:
                await asking(session, url)
            assert not isinstance(err.value, ModelServerTimeoutError)


@pytest.mark.parametrize(("connect_seconds", "silence"), [(0.2, SILENCE), (10.0, replace(SILENCE, first_token=0.2))])
async def test_no_answer_to_a_connection(
    session: ClientSession, monkeypatch: pytest.MonkeyPatch, connect_seconds: float, silence: Silence
) -> None:
    """A machine that is off counts as one that cannot be reached, not as a model that thinks too long."""
    monkeypatch.setattr(transport_module, "CONNECT_SECONDS", connect_seconds)
    with socket.socket() as full, socket.socket() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting.connect(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        with pytest.raises(ModelServerConnectionError, match=f"^No connection to {url} within 0.2 s.$") as err:
            await ask(session, url, silence)
        assert not isinstance(err.value, ModelServerTimeoutError)


class _KnowsNothing(AbstractResolver):
    """A name server that knows no name."""

    async def resolve(self, *_args: Any, **_kwargs: Any) -> list[ResolveResult]:
        """Find nothing."""
        raise OSError

    async def close(self) -> None:
        """Do nothing."""


async def test_an_unknown_name(socket_enabled: None) -> None:
    """A name that nobody knows says so."""
    async with ClientSession(connector=TCPConnector(resolver=_KnowsNothing())) as session:
        with pytest.raises(ModelServerConnectionError, match="No connection to http://gpu: the name is not known"):
            await version(session, "http://gpu")


async def test_broken_connections(session: ClientSession) -> None:
    """A connection that breaks before the answer is no connection; one that breaks within it is half an answer."""
    broke_off = (IncompleteAnswerError, "The answer broke off.")
    chunked = head(Transfer_Encoding="chunked")
    breaks: list[tuple[Script, tuple[type[ModelServerError], str]]] = [
        ([Step.RESET], (ModelServerConnectionError, "No connection to {url}: it broke.")),
        ([], (ModelServerConnectionError, "No connection to {url}: it broke.")),
        ([head()], broke_off),
        ([head(), TOKEN], broke_off),
        ([head(), TOKEN, DONE[:-20]], broke_off),
        ([head(Content_Length="1000"), TOKEN], broke_off),
        ([chunked, chunk(TOKEN)], broke_off),
        ([chunked, chunk(TOKEN), END], broke_off),
        ([head(Content_Encoding="gzip"), TOKEN], broke_off),
        ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], (BadResponseError, "The server does not speak HTTP.")),
        (
            [head(401, Content_Length="1000"), b"no"],
            (ModelServerAuthenticationError, "The server refuses the key (401)."),
        ),
    ]
    for number, (script, expected) in enumerate(breaks):
        assert (number, await failure(session, script)) == (number, expected)


async def test_a_reset_within_the_answer(session: ClientSession) -> None:
    """A machine that goes off in mid-answer leaves half an answer or none."""
    kind, _ = await failure(session, [head(), TOKEN, 0.05, Step.RESET])
    assert kind in (IncompleteAnswerError, ModelServerConnectionError)


async def test_silence(session: ClientSession) -> None:
    """A server that says nothing for too long is given up, with the limit that it passed."""
    first = (ModelServerTimeoutError, "The server was silent for 0.4 s.")
    later = (ModelServerTimeoutError, "The server was silent for 0.3 s.")
    silences: list[tuple[Script, tuple[type[ModelServerError], str]]] = [
        ([Step.HANG], first),
        ([head(), Step.HANG], first),
        ([head(), b": still here\r\n\r\n", Step.HANG], first),
        ([head(), NOTHING, Step.HANG], first),
        ([head(), TOKEN, Step.HANG], later),
        ([head(), TOKEN, TOKEN[:10], Step.HANG], later),
        ([head(500), b'{"error"', Step.HANG], first),
        ([head(), *drip(b": still here\n" * 10, 0.02)], first),
        ([head(), *drip(b'{"message": ' * 10, 0.02)], first),
        ([head(), *drip(NOTHING * 40, 0.02, len(NOTHING))], first),
        ([head(), TOKEN, *drip(NOTHING * 40, 0.02, len(NOTHING))], later),
    ]
    for number, (script, expected) in enumerate(silences):
        assert (number, await failure(session, script)) == (number, expected)


async def test_a_slow_answer_is_no_silence(session: ClientSession) -> None:
    """Only the pauses between tokens are limited, however long the whole answer takes."""
    async with FaultyServer([head(), *drip(TOKEN * 8, 0.1, len(TOKEN)), DONE]) as server:
        started = monotonic()
        answer = await ask(session, server.url)
    assert answer.text == "AAAAAAAA door."
    assert monotonic() - started > SHORT.first_token + SHORT.next_token


async def test_small_talk_has_an_end(session: ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs no model has to be there in all its parts in time."""
    monkeypatch.setattr(transport_module, "SMALL_TALK_SECONDS", 0.3)
    scripts: list[Script] = [[Step.HANG], [VERSION[:-5], Step.HANG], [head(), *drip(b" " * 100, 0.02)]]
    for script in scripts:
        async with FaultyServer(script) as server:
            with pytest.raises(ModelServerTimeoutError, match=r"silent for 0\.3 s"):
                await version(session, server.url)


async def test_a_server_that_does_not_hang_up(session: ClientSession) -> None:
    """An answer that is complete does not wait for the connection to end."""
    async with FaultyServer([head(), TOKEN, DONE, Step.HANG]) as server:
        started = monotonic()
        assert (await ask(session, server.url, SILENCE)).text == "A door."
    assert monotonic() - started < 2


async def test_every_request_has_its_own_connection(session: ClientSession) -> None:
    """The server is asked to hang up, so that no later question meets a connection that is about to end."""
    async with FaultyServer([VERSION]) as server:
        await version(session, server.url)
    assert server.requests[0].headers["Connection"] == "close"


async def test_a_question_says_that_it_is_json(session: ClientSession) -> None:
    """Servers that check what they get refuse it else."""
    async with FaultyServer([head(), DONE]) as server:
        await ask(session, server.url)
    assert server.requests[0].headers["Content-Type"] == "application/json"


async def test_a_refusal_while_the_picture_is_sent(session: ClientSession) -> None:
    """A server that refuses before it has read everything is heard."""
    large = replace(QUESTION, pictures=(Picture(data=bytes(8_000_000), mime_type="image/jpeg"),))

    script: Script = [head(401, "text/plain", Content_Length="8"), b"no token", Step.HANG]
    async with FaultyServer(script, reads_body=False) as server:
        client = ollama_client(session, server.url)
        with pytest.raises(ModelServerAuthenticationError, match="no token"):
            await client.ask(large, SILENCE)
    assert server.requests[0].body == b""


async def test_too_much(session: ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line, list or stream fills the memory; an answer without an end is cut."""
    too_large = (BadResponseError, "The server's answer is too large.")
    assert await failure(session, [head(), b"a" * (transport_module.LARGEST_REPLY + 1)]) == too_large
    async with FaultyServer([head(), b" " * (transport_module.LARGEST_REPLY + 1)]) as server:
        with pytest.raises(BadResponseError, match="too large"):
            await version(session, server.url)
    monkeypatch.setattr(transport_module, "_LARGEST_STREAM", 10_000)
    empty = b'{"message":{"content":""},"done":false}\n'
    assert await failure(session, [head(), empty * 1000]) == too_large


async def test_an_answer_without_an_end(session: ClientSession) -> None:
    """A model that never stops is stopped, and what it said so far is a cut answer; endless thoughts are none."""
    line = b'{"message":{"%b":"%b"},"done":false}\n'
    async with FaultyServer([head(), *[line % (b"content", b"ha" * 500)] * 101, Step.HANG]) as server:
        answer = await ask(session, server.url)
    assert (answer.truncated, len(answer.text)) == (True, 100_000)
    script: Script = [head(), *[line % (b"thinking", b"hm" * 500)] * 101, Step.HANG]
    assert await failure(session, script) == (EmptyAnswerError, "The model thought, but answered nothing.")


async def test_redirects_are_not_followed(session: ClientSession) -> None:
    """The key stays with the host it is meant for; the person reads where the server wanted to send it."""
    async with FaultyServer([VERSION]) as elsewhere:
        for location, target in (
            (f"{elsewhere.url}/login?token=secret#x", f"{elsewhere.url}/login"),
            (f"http://me:secret@{elsewhere.url[7:]}/login", f"{elsewhere.url}/login"),
            ("/api/", "{url}/api/"),
            ("http://[", "nowhere"),
        ):
            for status in (301, 302, 307, 308):
                redirected = await failure(session, [head(status, Location=location)])
                assert redirected == (BadResponseError, f"The server sends the request elsewhere: {target}")
    assert elsewhere.requests == []


async def test_credentials(session: ClientSession) -> None:
    """A key travels as a bearer token, else the URL's credentials as Basic; blanks around a pasted key are dropped."""

    async def authorization(userinfo: str, api_key: str | None) -> str | None:
        async with FaultyServer([VERSION]) as server:
            await version(session, server.url.replace("//", f"//{userinfo}"), api_key)
        return server.requests[0].headers.get("Authorization")

    assert await authorization("", None) is None
    assert await authorization("", "") is None
    assert await authorization("", "sk-1") == "Bearer sk-1"
    assert await authorization("", " sk-1\r\n\0") == "Bearer sk-1"
    assert await authorization("me:pä:ss@", "sk-1") == "Bearer sk-1"
    assert await authorization("me:pä:ss@", None) == f"Basic {b64encode('me:pä:ss'.encode()).decode()}"
    assert await authorization("me@", None) == f"Basic {b64encode(b'me:').decode()}"


async def test_a_server_that_repeats_the_key(session: ClientSession) -> None:
    """Neither the key nor a password shows in what a person or a log reads."""
    for userinfo, api_key in (("", "sk-secret"), ("me:sk-secret@", None)):
        for body in (head(401) + b"wrong key sk-secret", head() + b'{"error":"wrong key sk-secret"}\n'):
            async with FaultyServer([body]) as server:
                with pytest.raises(ModelServerError, match=r"^wrong key …$"):
                    await ask(session, server.url.replace("//", f"//{userinfo}"), api_key=api_key)
            with pytest.raises(ModelServerConnectionError) as err:
                await ask(session, server.url.replace("//", f"//{userinfo}"), api_key=api_key)
            assert "sk-secret" not in str(err.value)


async def test_a_path_in_front(session: ClientSession) -> None:
    """A server behind a proxy's path is asked there."""
    async with FaultyServer([VERSION]) as server:
        for path in ("/ollama", "/ollama/", "/a/b/", "/ollama/api", ""):
            await version(session, server.url + path)
    assert [request.path for request in server.requests] == [
        "/ollama/api/version",
        "/ollama/api/version",
        "/a/b/api/version",
        "/ollama/api/version",
        "/api/version",
    ]


async def test_ipv6(session: ClientSession) -> None:
    """A server on an IPv6 address is asked there, under that name."""
    socket_allow_hosts(["127.0.0.1", "::1"])
    async with FaultyServer([VERSION], host="::1") as server:
        assert await version(session, server.url) == "0.32.15"
    assert server.requests[0].headers["Host"] == server.url.removeprefix("http://")


async def test_certificates(socket_enabled: None) -> None:
    """A self-signed certificate is refused with a reason, and taken where verification is off."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with self_signed("127.0.0.1") as files:
        context.load_cert_chain(*files)
    async with FaultyServer([VERSION], tls=context) as server:
        async with ClientSession() as verifying:
            with pytest.raises(
                ModelServerConnectionError, match=r"certificate is not trusted \(self-signed certificate\)"
            ):
                await version(verifying, server.url)
            with pytest.raises(ModelServerConnectionError, match="it broke"):
                await version(verifying, server.url.replace("https", "http"))
        async with ClientSession(connector=TCPConnector(ssl=False)) as trusting:
            assert await version(trusting, server.url) == "0.32.15"


async def test_tls_to_a_server_without(session: ClientSession) -> None:
    """Https where http is spoken says that it is TLS that fails."""
    async with FaultyServer([VERSION]) as server:
        with pytest.raises(ModelServerConnectionError, match=r"TLS fails \(.+\)"):
            await version(session, server.url.replace("http", "https"))


async def test_cancelling(session: ClientSession) -> None:
    """A question that nobody waits for any more ends at once, and the server hears of it."""
    async with FaultyServer([head(), *drip(TOKEN * 100, 0.02, len(TOKEN))]) as server:
        task = asyncio.create_task(ask(session, server.url))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.left.wait(), 2)


async def test_the_event_loop_stays_free(session: ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies with pictures are written outside the event loop; small ones are not worth a thread."""
    written = []
    original = transport_module._dump

    def dump(build: object) -> bytes:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            written.append("executor")
        else:
            written.append("loop")
        return original(build)  # type: ignore[arg-type]  # a function that returns a body

    monkeypatch.setattr(transport_module, "_dump", dump)
    async with FaultyServer([head(), DONE]) as server:
        client = ollama_client(session, server.url)
        await client.ask(QUESTION, SHORT)
        await client.load("x", None)
    assert written == ["executor", "loop"]


async def test_openai_speaks_over_the_same_transport(session: ClientSession) -> None:
    """The other protocol fails in the same ways."""
    event = b'data: {"choices":[{"delta":{"content":"A"},"finish_reason":null}]}\n\n'
    stream = head(content_type="text/event-stream")
    scripts: list[tuple[Script, type[ModelServerError]]] = [
        ([Step.RESET], ModelServerConnectionError),
        ([stream, b": ping\n\n", Step.HANG], ModelServerTimeoutError),
        ([stream, event, Step.HANG], ModelServerTimeoutError),
        ([stream, event], IncompleteAnswerError),
        ([stream, event, event[:-20]], IncompleteAnswerError),
        ([head(401)], ModelServerAuthenticationError),
        ([head(503)], ModelServerBusyError),
        ([head(content_type="text/html"), b"<html>"], BadResponseError),
    ]
    for number, (script, error) in enumerate(scripts):
        async with FaultyServer(script) as server:
            with pytest.raises(ModelServerError) as err:
                await openai_client(session, server.url).ask(QUESTION, SHORT)
            assert (number, type(err.value)) == (number, error)
