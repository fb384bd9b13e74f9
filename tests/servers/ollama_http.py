"""How the Ollama front puts its answers, and what it refuses before it looks at a request."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
import json
import socket
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from . import go
from .ollama_models import Refusal

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
type Lines = AsyncIterator[dict[str, Any]]

LOCAL_SUFFIXES = (".localhost", ".local", ".internal")


@dataclass(frozen=True)
class Request:
    """A request that the front got; `body` is its JSON, or None."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


def reply(document: Any, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(text=go.dumps(document), status=status, content_type="application/json")


def bare_reply(document: Any, status: int = 200) -> web.Response:
    """Answer with JSON whose content type does not name the charset, as /v1 and progress reports do."""
    return web.Response(body=go.dumps(document).encode(), status=status, content_type="application/json")


async def stream(request: web.Request, lines: Lines) -> web.StreamResponse:
    """Answer with one JSON object a line, each as soon as it is there."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    async for line in lines:
        await response.write(go.dumps(line).encode() + b"\n")
    await response.write_eof()
    return response


def recorder_and_guard(note: Callable[[Request], None]) -> Any:
    """Return the middleware that notes every request, refuses foreign ones and words refusals."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        note(Request(request.method, request.path, dict(request.headers), await _body(request)))
        if not (_is_local(request.headers.get("Host", "")) and _is_own_page(request.headers.get("Origin"))):
            return web.Response(status=403)
        try:
            return await handler(request)
        except Refusal as refusal:
            return _refused(request, refusal)
        except web.HTTPMethodNotAllowed as error:
            headers = {"Allow": error.headers["Allow"], "Content-Type": "text/plain"}
            return web.Response(body=b"405 method not allowed", status=405, headers=headers)
        except web.HTTPNotFound:
            return web.Response(body=b"404 page not found", status=404, headers={"Content-Type": "text/plain"})

    return middleware


async def _body(request: web.Request) -> Any:
    try:
        return json.loads(await request.text())
    except ValueError:
        return None


def _refused(request: web.Request, refusal: Refusal) -> web.Response:
    put = bare_reply if refusal.bare else reply
    if not request.path.startswith("/v1/"):
        return put({"error": refusal.message}, refusal.status)
    kind = {404: "not_found_error", 500: "api_error"}.get(refusal.status, "invalid_request_error")
    error = {"message": refusal.message, "type": kind, "param": None, "code": None}
    return put({"error": error}, refusal.status)


def _is_local(host_header: str) -> bool:
    host = urlsplit(f"//{host_header}").hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return host in ("", "localhost", socket.gethostname().lower()) or host.endswith(LOCAL_SUFFIXES)
    return True


def _is_own_page(origin: str | None) -> bool:
    return origin is None or urlsplit(origin).hostname in ("localhost", "127.0.0.1", "0.0.0.0", "::1")  # noqa: S104  (a name in a header)
