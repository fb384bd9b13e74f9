"""The demo does the main job, ends what it started, and says what to do where it cannot."""

from collections.abc import Sequence
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import psutil
import pytest

from .real_home_assistant import free_port

ROOT = Path(__file__).parents[1]
SECONDS = 100


def demo(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start it as `scripts/demo` does, from a folder that is not the project's."""
    return subprocess.Popen(  # noqa: S603  (our own program)
        [sys.executable, ROOT / "scripts/lib/demo.py", *arguments],
        cwd=ROOT / "tests/pictures",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*arguments: str | Path) -> tuple[int, Sequence[str], str]:
    """Run it to its end and return its exit status, the lines of its output, and its messages."""
    with demo(*arguments) as process:
        output, messages = process.communicate(timeout=SECONDS)
        return process.returncode, output.splitlines(), messages


def test_once_ends_with_the_event_as_the_last_line() -> None:
    status, output, messages = finish("--once", "blue.jpg", "red.jpg")
    assert status == 0, messages
    events = [json.loads(line) for line in output]
    assert [event["description"] for event in events] == ["The picture is mostly blue.", "The picture is mostly red."]
    assert events[-1]["image_name"] == "Red"
    assert events[-1]["entity_id"] == "sensor.ollama_vision_red"


@pytest.mark.usefixtures("socket_enabled")
def test_it_stays_on_this_machine_until_ctrl_c_and_leaves_nothing() -> None:
    # A port of its own: the tests of two Home Assistants run side by side.
    with demo("--protocol", "openai", "--port", str(free_port())) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        said = ""
        for line in lines:
            said += line
            if "Ctrl-C" in line:
                break
        assert "The picture is mostly red." in said
        assert "http://127.0.0.1:" in said
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) == 2, "a model server and a Home Assistant"
        heard = {each.laddr.ip for child in started for each in child.net_connections() if each.status != "ESTABLISHED"}
        assert heard == {"127.0.0.1"}
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
    assert not [child for child in started if child.is_running()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.jpg",), "nowhere.jpg cannot be read: No such file or directory."),
        (("--port", "70000"), "--port"),
    ],
)
def test_what_is_wrong_is_said_at_once(arguments: Sequence[str], message: str) -> None:
    start = time.monotonic()
    status, output, messages = finish("--once", *arguments)
    assert status != 0
    assert not output
    assert message in messages
    assert "Traceback" not in messages
    assert time.monotonic() - start < 30


def test_a_server_that_is_away_is_named() -> None:
    status, output, messages = finish("--once", "--server", "http://127.0.0.1:9")
    assert status == 1
    assert not output
    assert "http://127.0.0.1:9: The server cannot be reached." in messages
    assert "Traceback" not in messages
