"""The faulty server's faults reach a client as what they are."""

import asyncio
from time import monotonic

from aiohttp import (
    ClientConnectorError,
    ClientOSError,
    ClientPayloadError,
    ClientSession,
    ClientTimeout,
    ServerDisconnectedError,
    SocketTimeoutError,
)
import pytest

from .faulty import END, FaultyServer, Script, Step, answer, chunk, drip, head, refusing

QUICK = ClientTimeout(sock_read=0.2)
CHUNKED = head(Transfer_Encoding="chunked")


async def read(url: str) -> bytes:
    """Return what a server answers."""
    async with ClientSession(timeout=QUICK) as session, session.get(url) as response:
        return await response.read()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param([], ServerDisconnectedError, id="closed without an answer"),
        pytest.param([Step.RESET], ClientOSError, id="reset"),
        pytest.param([Step.HANG], SocketTimeoutError, id="silent before the headers"),
        pytest.param([head(), Step.HANG], SocketTimeoutError, id="silent after the headers"),
        pytest.param([head(), b"token", Step.HANG], SocketTimeoutError, id="silent after a token"),
        pytest.param([CHUNKED, chunk(b"token")], ClientPayloadError, id="cut in a chunked body"),
        pytest.param([head(Content_Length="10"), b"short"], ClientPayloadError, id="shorter than said"),
    ],
)
async def test_a_fault_is_felt(socket_enabled: None, script: Script, error: type[Exception]) -> None:
    """Each script is another error of the client."""
    async with FaultyServer(script) as server:
        with pytest.raises(error):
            await read(server.url)


async def test_a_refused_connection(socket_enabled: None) -> None:
    """Nobody listens there."""
    with refusing() as url, pytest.raises(ClientConnectorError):
        await read(url)


async def test_a_slow_drip(socket_enabled: None) -> None:
    """Every byte is in time, all of them take long."""
    start = monotonic()
    async with FaultyServer([*drip(answer(body=b"x"), 0.002)]) as server:
        assert await read(server.url) == b"x"
    assert monotonic() - start > 0.2


async def test_one_script_after_another(socket_enabled: None) -> None:
    """Requests are answered in turn, the last script stays, and a path can have its own."""
    scripts = [answer(503, Retry_After="1")], [CHUNKED, chunk(b"ye"), chunk(b"s"), END]
    async with FaultyServer(*scripts, paths={"/api/version": [answer(body=b"{}")]}) as server:
        async with ClientSession() as session, session.post(f"{server.url}/chat?a=b", data=b"hello") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert [await read(server.url + path) for path in ("/", "/api/version", "/")] == [b"yes", b"{}", b"yes"]
    assert [request.path for request in server.requests] == ["/chat", "/", "/api/version", "/"]
    assert (server.requests[0].method, server.requests[0].body) == ("POST", b"hello")


async def test_it_leaves_nobody_waiting(socket_enabled: None) -> None:
    """A client that hangs is let go when the server ends."""
    async with ClientSession() as session:
        async with FaultyServer([Step.HANG]) as server:
            waiting = asyncio.create_task(session.post(server.url))
            while not server.requests:
                await asyncio.sleep(0.01)
        with pytest.raises(ServerDisconnectedError):
            await waiting
