"""Runs the linters and the tests on both Home Assistants, side by side, and sums up. `scripts/test` starts it."""

from collections import Counter
from collections.abc import Sequence
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
from threading import Thread
import time

ROOT = Path(__file__).parents[2]
DEV = Path(os.environ["OLLAMA_VISION_DEV"])
OLDEST, NEWEST = "ha-2026.10", "ha-2026.11"
SECONDS_BETWEEN_SIGNS = 15
# A run that hangs ends well before whoever waits for it gives up.
SECONDS_A_STEP = 25 * 60


class Step:
    """One command, what it printed and what came of it."""

    def __init__(self, name: str, *command: str | Path) -> None:
        self.name = name
        self.command = command
        self.code: int | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._log = DEV / "logs" / name.replace(" ", "-")
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._log.write_bytes(b"")
        self._seconds = 0.0

    def run(self) -> None:
        """Run the command, say how it went, and show what it printed where it failed."""
        start = time.monotonic()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603  (our own commands)
                self.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                self.code = self.process.wait(SECONDS_A_STEP)
            except subprocess.TimeoutExpired:
                self.stop()
                log.write(b"\nThis took too long and was ended.\n")
                self.code = 124
        self._seconds = time.monotonic() - start
        tell(f"{self._printed}\n{self.summary}" if self.code else self.summary)

    def stop(self) -> None:
        """End the command if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    @property
    def _printed(self) -> str:
        return self._log.read_text(errors="replace").rstrip()

    @property
    def progress(self) -> str:
        """Return how far the tests are; nothing where there is nothing to say."""
        percents = re.findall(r"\[ *(\d+%)\]", self._printed)
        return f"{self.name}: {percents[-1]}" if percents and self.code is None else ""

    @property
    def counts(self) -> Counter[str]:
        """Return how many tests passed, failed and were skipped, as pytest's closing line says."""
        closing = self._printed.rpartition("\n")[2]
        words = {"error": "failed", "errors": "failed"}
        counts: Counter[str] = Counter()
        for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", closing):
            counts[words.get(word, word)] += int(number)
        return counts

    @property
    def skips(self) -> list[str]:
        """Return which tests were skipped, and why."""
        return re.findall(r"^SKIPPED .*", self._printed, re.MULTILINE)

    @property
    def summary(self) -> str:
        """Return one line about how it went."""
        counts = ", ".join(f"{number} {word}" for word, number in self.counts.items())
        result = "not run" if self.code is None else "FAILED" if self.code else "ok"
        return f"{self.name:<20} {result:<8} {self._seconds:4.0f} s  {counts}".rstrip()


def tell(text: str) -> None:
    """Show it at once, also where somebody reads the output later."""
    print(text, flush=True)


def pytest(venv: str, *arguments: str) -> Sequence[str | Path]:
    """Return the command that runs the tests on a Home Assistant. The two must share neither cache nor coverage."""
    data = f"COVERAGE_FILE={DEV / 'logs' / f'coverage.{venv}'}"
    return [
        "env",
        data,
        DEV / venv / "bin/python",
        "-m",
        "pytest",
        "-o",
        f"cache_dir={DEV / venv / 'cache'}",
        *arguments,
    ]


def run_everything() -> bool:
    """Run all of it, the two Home Assistants at the same time, and return whether all is well."""
    tools = DEV / OLDEST / "bin"
    data = f"--data-file={DEV / 'logs/coverage'}"
    tests = [
        Step(f"tests on {venv}", *pytest(venv, "-q", "--cov", "--cov-report=", "--cov-fail-under=0"))
        for venv in (OLDEST, NEWEST)
    ]
    checks = [
        Step("ruff check", tools / "ruff", "check", "."),
        Step("ruff format", tools / "ruff", "format", "--check", "."),
        Step("mypy", tools / "mypy"),
    ]
    coverage = [
        Step("coverage combine", tools / "coverage", "combine", data, DEV / "logs"),
        Step("coverage report", tools / "coverage", "report", data),
    ]
    steps = [*checks, *tests, *coverage]
    try:
        run_beside([*checks, tests[0]], tests[1:])
        for step in coverage:
            step.run()
    finally:
        for step in steps:
            step.stop()
    sum_up(steps)
    return not any(step.code for step in steps)


def run_beside(*lanes: Sequence[Step]) -> None:
    """Run lanes of steps at the same time, with a sign of life now and then."""
    threads = [Thread(target=lambda lane=lane: [step.run() for step in lane], daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    told = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(0.2)
        if time.monotonic() - told > SECONDS_BETWEEN_SIGNS:
            told = time.monotonic()
            tell("… " + " · ".join(filter(None, (step.progress for lane in lanes for step in lane))))


def sum_up(steps: Sequence[Step]) -> None:
    """Say how each step went, and close with a line that sums up the tests."""
    total = sum((step.counts for step in steps), Counter())
    tell("\n" + "\n".join(line for step in steps for line in (step.summary, *step.skips)))
    tell(
        f"\n{total['passed']} passed, {total['failed']} failed"
        + f", {total['skipped']} skipped" * bool(total["skipped"])
    )


def run_some(arguments: Sequence[str]) -> bool:
    """Run the tests that the arguments to pytest choose, before the caller's eyes, and return whether all is well."""
    codes = []
    for venv in (OLDEST, NEWEST):
        tell(f"Tests on {venv}")
        command = pytest(venv, *arguments)
        codes.append(subprocess.run(command, cwd=ROOT, check=False).returncode)  # noqa: S603  (our own command)
    return not any(codes)


def main() -> int:
    """Return the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    return 0 if (run_some(sys.argv[1:]) if sys.argv[1:] else run_everything()) else 1


if __name__ == "__main__":
    sys.exit(main())
