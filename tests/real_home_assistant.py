"""A real Home Assistant in a process of its own, driven as a browser drives it: by REST and WebSocket, on 127.0.0.1."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
import json
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
from typing import Any, Self

from aiohttp import ClientConnectionError, ClientSession, ClientWebSocketResponse

PROGRAM = Path(__file__).with_name("home_assistant_process.py")
INTEGRATION = Path(__file__).parents[1] / "custom_components/ollama_vision"
USERNAME = PASSWORD = "demo"
SECONDS_TO_START = 120
SECONDS_TO_STOP = 30

# Home Assistant's default integrations come by themselves. `default_config` stays out: it looks around on the network.
CONFIGURATION = """\
homeassistant:
  name: Home
  country: 'NO'
  time_zone: Europe/Oslo
config:
conversation:
history:
logbook:
media_source:
"""


class RealHomeAssistantError(RuntimeError):
    """Home Assistant did not do what it was asked; the message is Home Assistant's own, or the end of its log."""


class FormError(RealHomeAssistantError):
    """A step of a flow refused what it was given; `errors` are its keys by field, `placeholders` what fills them."""

    def __init__(self, step: Mapping[str, Any]) -> None:
        self.step: str = step["step_id"]
        self.errors: dict[str, str] = step["errors"]
        self.placeholders: dict[str, str] = step.get("description_placeholders") or {}
        super().__init__(", ".join(f"{field}: {error}" for field, error in self.errors.items()))


class RealHomeAssistant:
    """A house in a folder, made at the first start with the user demo/demo. An async context manager.

    It may be stopped, killed and started again; `url` stays the same. `configuration` is added to its
    `configuration.yaml`, `integration` is the folder of the integration as it is installed, and `log` what Home
    Assistant says.
    """

    def __init__(
        self, folder: Path, *, port: int = 0, configuration: str = "", integration: Path = INTEGRATION
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "home-assistant.log"
        self._configuration = CONFIGURATION + configuration
        self._integration = integration
        self._process: subprocess.Popen[bytes] | None = None
        self._session: ClientSession | None = None

    @property
    def pid(self) -> int:
        """Return the process id of the running Home Assistant."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        """Start."""
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop."""
        await self.stop()

    async def start(self) -> None:
        """Start, log in and return when Home Assistant has started; raise RealHomeAssistantError where it does not."""
        self._furnish()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603  (it forks at once; our own interpreter)
                [sys.executable, "-P", PROGRAM, "--config", str(self.folder), "--skip-pip"],
                cwd=self.folder,
                # Another folder of that name on the path would hide the custom components of this house.
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                stdin=subprocess.PIPE,  # its end is the program's end, however the starter ends
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is its starter's to handle
            )
        async with asyncio.timeout(SECONDS_TO_START):
            await self._log_in()
            while (config := await self.get("/api/config"))["state"] != "RUNNING":
                await asyncio.sleep(0.1)
        if config["recovery_mode"]:
            raise RealHomeAssistantError(self._failure("Home Assistant could not use its configuration"))

    async def stop(self) -> None:
        """Stop as at a shutdown; a second time does nothing."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut does."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            await asyncio.to_thread(process.wait, SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()  # not before: a second signal would cut the shutdown short

    async def get(self, path: str) -> Any:
        """Return the JSON at a path."""
        return await self._request("GET", path)

    async def get_bytes(self, path: str) -> bytes:
        """Return what is at a path, a picture for example."""
        async with self._http.get(self.url + path) as response:
            if not response.ok:
                raise RealHomeAssistantError(f"{path}: status {response.status}")
            return await response.read()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON that a path answers a JSON with."""
        return await self._request("POST", path, json=body)

    async def delete(self, path: str) -> Any:
        """Return the JSON that a path answers its deletion with."""
        return await self._request("DELETE", path)

    async def start_flow(self, domain: str) -> dict[str, Any]:
        """Begin to add an integration and return the first step."""
        flow: dict[str, Any] = await self.post("/api/config/config_entries/flow", {"handler": domain})
        return flow

    async def answer(self, flow: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the step that follows an answer to a flow's step; raise FormError where the step refuses it."""
        step: dict[str, Any] = await self.post(f"/api/config/config_entries/flow/{flow['flow_id']}", data)
        if step.get("errors"):
            raise FormError(step)
        return step

    async def call_action(self, domain: str, action: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response data of an action; raise RealHomeAssistantError with the sentence that a user reads."""
        call = {"domain": domain, "service": action, "service_data": data, "return_response": True}
        answer: dict[str, Any] = (await self.command("call_service", **call))["response"]
        return answer

    async def command(self, kind: str, **fields: Any) -> Any:
        """Return the result of a WebSocket command."""
        async with self._web_socket() as socket_:
            return await _ask(socket_, {"type": kind, **fields})

    @asynccontextmanager
    async def events(self, *kinds: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Listen to events and yield what they come by, in order, each with `event_type` and `data`."""
        async with self._web_socket() as socket_:
            for number, kind in enumerate(kinds, start=1):
                await _ask(socket_, {"type": "subscribe_events", "event_type": kind}, number)
            yield _events(socket_)

    @property
    def _http(self) -> ClientSession:
        assert self._session is not None
        return self._session

    @asynccontextmanager
    async def _web_socket(self) -> AsyncIterator[ClientWebSocketResponse]:
        token = self._http.headers["Authorization"].removeprefix("Bearer ")
        async with self._http.ws_connect(f"{self.url}/api/websocket") as socket_:
            await socket_.receive_json()
            await socket_.send_json({"type": "auth", "access_token": token})
            await socket_.receive_json()
            yield socket_

    async def _request(self, method: str, path: str, **what: Any) -> Any:
        async with self._http.request(method, self.url + path, **what) as response:
            text = await response.text()
            try:
                answer = json.loads(text)
            except ValueError:
                answer = {"message": text}
            if response.ok:
                return answer
            raise RealHomeAssistantError(answer.get("message", f"{method} {path}: status {response.status}, {text}"))

    def _furnish(self) -> None:
        """Write what is there before Home Assistant is: its address, this integration, and nothing left to ask."""
        if (self.folder / ".storage").exists():
            return
        for name in (".storage", "custom_components", "www"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "configuration.yaml").write_text(self._configuration)
        (self.folder / "custom_components/ollama_vision").symlink_to(self._integration.resolve())
        # The first version of this store is the only one that every Home Assistant reads. In YAML the address would
        # be on trial for five minutes.
        self._store("http", 1, {"server_host": ["127.0.0.1"], "server_port": self.port})
        # All but the user: these steps add integrations that need the internet.
        self._store("onboarding", 4, {"done": ["core_config", "analytics", "integration"]})

    def _store(self, key: str, version: int, data: Mapping[str, Any]) -> None:
        stored = {"version": version, "minor_version": 1, "key": key, "data": data}
        (self.folder / ".storage" / key).write_text(json.dumps(stored))

    async def _log_in(self) -> None:
        client = {"client_id": f"{self.url}/"}
        self._session = ClientSession()
        while not await self._answers():
            await asyncio.sleep(0.1)
        async with self._session.get(f"{self.url}/api/onboarding") as response:
            if response.ok and not all(step["done"] for step in await response.json()):
                user = {"name": "Demo", "username": USERNAME, "password": PASSWORD, "language": "en"}
                await self.post("/api/onboarding/users", client | user)
        flow = {"handler": ["homeassistant", None], "redirect_uri": f"{self.url}/"}
        step = await self.post("/auth/login_flow", client | flow)
        user = {"username": USERNAME, "password": PASSWORD}
        step = await self.post(f"/auth/login_flow/{step['flow_id']}", client | user)
        code = {"grant_type": "authorization_code", "code": step["result"]}
        token = (await self._request("POST", "/auth/token", data=client | code))["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def _failure(self, what: str) -> str:
        return "\n".join([f"{what}:", *self.log.read_text(errors="replace").strip().splitlines()[-20:]])

    async def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RealHomeAssistantError(self._failure("Home Assistant did not start"))
        try:
            async with self._http.get(f"{self.url}/auth/providers") as response:
                return response.status in {HTTPStatus.OK, HTTPStatus.BAD_REQUEST}  # 400: it wants its first user
        except ClientConnectionError:
            return False


async def _ask(socket_: ClientWebSocketResponse, command: Mapping[str, Any], number: int = 1) -> Any:
    await socket_.send_json({"id": number, **command})
    answer = await socket_.receive_json()
    if not answer["success"]:
        raise RealHomeAssistantError(answer["error"]["message"])
    return answer["result"]


async def _events(socket_: ClientWebSocketResponse) -> AsyncIterator[dict[str, Any]]:
    while True:
        message = await socket_.receive_json()
        if message["type"] == "event":
            yield message["event"]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Return whether nobody listens at a port of 127.0.0.1."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
