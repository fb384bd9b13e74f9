"""What real servers answered, and a server that answers it again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any, Self

from aiohttp import web

CAPTURES = Path(__file__).parents[1] / "captures"
_REPLAYED_HEADERS = ("Content-Type", "Location")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a server answers; a `status` of None is a server that is not there."""

    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Capture:
    """A request to a real server and its answer."""

    name: str
    path: str
    request: Any
    reply: Reply


def files() -> list[str]:
    """Return the names of all captures, relative to their folder."""
    return sorted(str(path.relative_to(CAPTURES)) for kind in ("json", "http") for path in CAPTURES.rglob(f"*.{kind}"))


def load(name: str) -> Capture:
    """Read a capture."""
    text = (CAPTURES / name).read_text(encoding="utf-8")
    return _from_json(name, text) if name.endswith(".json") else _from_http(name, text)


def _from_json(name: str, text: str) -> Capture:
    capture = json.loads(text)
    request, response = capture["request"], capture["response"]
    body = response.get("body_text")
    if body is None:
        as_json = response.get("body_json")
        body = "" if as_json is None else json.dumps(as_json, ensure_ascii=False)
    headers = {key: value for key, value in response["headers"].items() if key in _REPLAYED_HEADERS}
    reply = Reply(status=response["status"], headers=headers, body=body.encode())
    return Capture(name=name, path=request["path"], request=request["body"], reply=reply)


def _from_http(name: str, text: str) -> Capture:
    asked, _, answered = text.partition("----- response -----\n")
    head, _, body = answered.partition("\n\n")
    status_line, *lines = head.splitlines()
    headers = dict(line.split(": ", 1) for line in lines if line.startswith(_REPLAYED_HEADERS))
    request_line, _, request = asked.split("\n", 1)[1].partition("\n")
    content = request.partition("\n\n")[2].strip()
    reply = Reply(status=int(status_line.split()[1]), headers=headers, body=body.encode())
    return Capture(name=name, path=request_line.split()[1], request=_json_or_none(content), reply=reply)


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


@dataclass
class ReplayServer:
    """An async context manager that answers each path with its reply, and everything else with 404.

    A reply for one model only has the path and the model as its key, with a blank between. `url` is the server's
    address while it runs; `requests` are the paths and JSON bodies that came.
    """

    replies: Mapping[str, Reply] = field(default_factory=dict)
    url: str = ""
    requests: list[tuple[str, Any]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        """Listen."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close every connection."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else {}
        self.requests.append((request.path, body))
        for_model = self.replies.get(f"{request.path} {body.get('model')}")
        reply = for_model or self.replies.get(request.path, Reply(status=404))
        response = web.StreamResponse(status=reply.status or 404, headers=dict(reply.headers))
        await response.prepare(request)
        for line in reply.body.splitlines(keepends=True):
            await response.write(line)
        await response.write_eof()
        return response
