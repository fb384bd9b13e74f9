"""The real Mosquitto, an MQTT broker on 127.0.0.1 that anybody on this machine may talk to.

As a program: `python -m tests.servers.mosquitto`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import shutil
import socket
import subprocess
import sys
from tempfile import TemporaryDirectory
import time
from urllib.parse import urlsplit

from paho.mqtt import publish

from .process import ServerProcess

PROGRAM = shutil.which("mosquitto")
SECONDS_TO_START = 10


class Mosquitto(ServerProcess):
    """A context manager around one broker; `url` is its address, and it forgets all when it stops."""

    def __init__(self) -> None:
        super().__init__("tests.servers.mosquitto")

    @property
    def port(self) -> int:
        """Return the port of 127.0.0.1 that it listens at."""
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def publish(self, topic: str, message: str) -> None:
        """Send a message as a program beside Home Assistant does, and return when the broker has it."""
        publish.single(topic, message, qos=1, hostname="127.0.0.1", port=self.port)


@contextmanager
def _broker(port: int) -> Iterator[None]:
    assert PROGRAM is not None, "there is no mosquitto"
    with TemporaryDirectory() as folder:
        settings = Path(folder) / "mosquitto.conf"
        # A broker that is started by root would become a user whom a machine without the package does not have.
        settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
        process = subprocess.Popen([PROGRAM, "-c", settings])  # noqa: S603  (the machine's own program)
        try:
            _wait(process, port)
            yield
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit("mosquitto did not start")


def _serve() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with _broker(port):
        print(f"mqtt://127.0.0.1:{port}", flush=True)  # noqa: T201  (this is what the starter waits for)
        sys.stdin.read()


if __name__ == "__main__":
    _serve()
