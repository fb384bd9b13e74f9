"""Every answer that a real server gave becomes the text or the error that `captures.tsv` names.

Its columns: the capture; the call that is answered with it, the nearest one where the clients never make the request;
"answers" or the class of the error; the words, with ⏎ for a line break. {url} is the server's address.
"""

import csv
from pathlib import Path

from aiohttp import ClientSession
import pytest

from custom_components.ollama_vision.model_server.address import parse_address
from custom_components.ollama_vision.model_server.errors import ModelServerError
from custom_components.ollama_vision.model_server.keep_alive import InvalidKeepAliveError, parse_keep_alive
from custom_components.ollama_vision.model_server.ollama import OllamaServer
from custom_components.ollama_vision.model_server.openai_compatible import OpenAIServer
from custom_components.ollama_vision.model_server.transport import Transport
from tests.servers.faulty import refusing

from .calls import CALLS
from .captures import ReplayServer, Reply, files, load

with (Path(__file__).parent / "captures.tsv").open(encoding="utf-8", newline="") as table:
    EXPECTED = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_every_capture_is_in_the_table() -> None:
    """A new capture needs a line that says what is expected of it."""
    assert [row["capture"] for row in EXPECTED] == files()


@pytest.mark.parametrize("folder", sorted({str(Path(row["capture"]).parent) for row in EXPECTED}))
async def test_captures(session: ClientSession, folder: str) -> None:
    """The clients read what the servers answered as the table says."""
    rows = [row for row in EXPECTED if str(Path(row["capture"]).parent) == folder]
    companions = _companions(folder)
    seen = []
    with refusing() as nowhere:
        async with ReplayServer() as server:
            there, not_there = (_clients(session, url) for url in (server.url, nowhere))
            for row in rows:
                capture = load(row["capture"])
                path, call = CALLS[row["call"]]
                server.replies = companions | {path: capture.reply}
                clients = there if capture.reply.status else not_there
                try:
                    outcome, words = "answers", await call(*clients)
                except ModelServerError as err:
                    outcome, words = type(err).__name__, str(err)
                words = words.replace(str(clients[0].url), "{url}").replace("\n", "⏎")
                seen.append({**row, "outcome": outcome, "words": words})
    assert [(was, row) for was, row in zip(seen, rows, strict=True) if was != row] == []


def _clients(session: ClientSession, url: str) -> tuple[OllamaServer, OpenAIServer]:
    transport = Transport(session, parse_address(url, 80))
    return OllamaServer(transport), OpenAIServer(transport)


def _companions(folder: str) -> dict[str, Reply]:
    """Return what the captured server answered to the requests that the client makes beside a captured one."""
    folder = folder.removesuffix("-extra")
    nothing = Reply(body=b'{"models":[]}')
    if not folder.startswith("ollama-"):
        return {}
    shown = {
        "gemma3-270m": "007-show-text",
        "tiny-vision": "008-show-vision-tiny",
        "gemma3-vision-random": "009-show-vision-gemma3",
        "tiny-think": "010-show-thinking",
    }
    shows = {f"/api/show {model}:latest": load(f"{folder}/{name}.json").reply for model, name in shown.items()}
    return {"/api/tags": load(f"{folder}/004-tags.json").reply, "/api/ps": nothing} | shows


@pytest.mark.parametrize("folder", ["ollama-0.24.0", "ollama-0.32.15"])
def test_a_keep_alive_that_ollama_refuses_is_never_sent(folder: str) -> None:
    """What a person types reaches Ollama in a form that it was seen to accept, or is refused before."""
    captures = [load(name) for name in files() if name.startswith(f"{folder}/0") and "keep-alive" in name]
    typed = {
        capture.request["keep_alive"]: capture.reply.status
        for capture in captures
        if capture.path == "/api/chat" and isinstance(capture.request["keep_alive"], int | float | str)
    }
    sent: dict[float | str, float | str | None] = {}
    for value in typed:
        try:
            sent[value] = parse_keep_alive(value)
        except InvalidKeepAliveError:
            sent[value] = None
    expected: dict[float | str, float | str | None] = {
        True: None,
        -1: -1,
        -0.5: -0.5,
        0: 0,
        30.5: 30.5,
        300: 300,
        10**12: None,  # accepted, but it overflows and unloads the model
        "-1": -1,
        "30": 30,
        "-1m": "-1m",
        "0": 0,
        "0s": 0,
        "5m": "5m",
        "10s": "10s",
        "1h30m": "1h30m",
        **dict.fromkeys(["", "abc", "1d", "5min", "5 m"]),
    }
    assert sent == expected
    # A string is sent only where the same string was accepted; numbers were accepted without exception.
    assert {typed[value] for value, form in sent.items() if isinstance(form, str)} == {200}
