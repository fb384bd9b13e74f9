"""A server in a process of its own, which says where it listens and ends with the one that started it."""

from collections.abc import Sequence
from pathlib import Path
import subprocess
import sys
from tempfile import TemporaryFile
from typing import IO, Self

ROOT = Path(__file__).parents[2]


class ServerError(RuntimeError):
    """The server did not start; the message holds what it said."""


class ServerProcess:
    """Runs a module as a program that prints its address when it is ready and ends when its standard input ends.

    A context manager; `url` is the server's address. Neither starting nor stopping opens a socket here, and a starter
    that is killed leaves no server behind, because that closes the pipe.
    """

    url: str

    def __init__(self, module: str, *arguments: str) -> None:
        self._command: Sequence[str] = (sys.executable, "-m", module, *arguments)
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        """Start the server and return when it answers."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the server."""
        self.stop()

    def start(self) -> None:
        """Start the server and return when it answers; raise ServerError where it does not come up."""
        self._log = TemporaryFile()  # noqa: SIM115  (closed by stop)
        self._process = subprocess.Popen(  # noqa: S603  (our own programs)
            self._command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            self._process.wait()
            self._log.seek(0)
            said = self._log.read().decode(errors="replace")
            self.stop()
            raise ServerError(said)

    def stop(self) -> None:
        """Stop the server; a second time does nothing."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        if self._log is not None:
            self._log.close()

    def kill(self) -> None:
        """End the server as a crash does, without a goodbye to those who are connected."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
