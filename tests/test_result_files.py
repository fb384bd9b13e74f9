"""Results as files: what a crash, a full disk and damage cost, and what they do not."""

from collections.abc import Iterator
from datetime import timedelta
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

from homeassistant.core import HomeAssistant
import pytest

from custom_components.ollama_vision.history import HistoryLimits

from .results import DAY, JPEG, NOW, a_history, a_result, add, files, texts

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(hass: HomeAssistant) -> Path:
    """Return where the device's history is."""
    return Path(hass.config.path(".storage/ollama_vision/entry"))


# --- Crashes and full disks

KILLED = """
import asyncio, sys
from homeassistant.core import HomeAssistant
from custom_components.ollama_vision.history import History, HistoryLimits
from tests.results import add

async def main() -> None:
    history = History(HomeAssistant(sys.argv[1]), "entry", HistoryLimits(results=100_000))
    await history.async_load()
    while True:
        print((await add(history, result_id=history.new_result_id())).result_id, flush=True)

asyncio.run(main())
"""


async def test_a_kill_loses_no_result_that_was_told(hass: HomeAssistant, folder: Path) -> None:
    def write_and_be_killed() -> list[str]:
        with subprocess.Popen(  # noqa: S603  (our own program)
            [sys.executable, "-c", KILLED, hass.config.config_dir], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as writer:
            assert writer.stdout
            told = [writer.stdout.readline().strip() for _ in range(30)]
            writer.kill()
            return told + [line.strip() for line in writer.stdout if line.endswith("\n")]

    told = await hass.async_add_executor_job(write_and_be_killed)

    history = await a_history(hass)

    seen = [result.result_id for result in await history.async_results()]
    assert len(told) >= 30
    assert set(told) <= set(seen)
    assert len(seen) <= len(told) + 1
    for result_id in seen:
        assert await history.async_picture(result_id) == (JPEG, "image/jpeg")
    assert history.latest["front_door"].result_id == seen[0]
    assert {Path(name).suffix for name in files(folder)} == {".json", ".jpg"}


async def test_what_a_crash_left_half_done_is_removed(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass)
    result = await add(history)
    name = folder / "front_door"
    other = a_result(time=NOW + DAY).result_id
    for left in (f"{other}.jpg", f"{other}.json.tmp", f"{other}.jpg.tmp"):
        (name / left).write_bytes(b"half")

    history = await a_history(hass)

    assert [each.result_id for each in await history.async_results()] == [result.result_id]
    assert files(folder) == {f"front_door/{result.result_id}.json", f"front_door/{result.result_id}.jpg"}


def fill_disk(folder: Path, result_id: str, *suffixes: str) -> None:
    """Have the files of one result meet a full disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in suffixes:
        (folder / f"{result_id}.{suffix}.tmp").symlink_to("/dev/full")


async def test_a_full_disk_costs_the_picture(
    hass: HomeAssistant, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = await a_history(hass)
    kept, result = await add(history, age=DAY), a_result()
    fill_disk(folder / "front_door", result.result_id, "jpg")

    await history.async_add(result, JPEG, "image/jpeg")

    for each in (history, await a_history(hass)):
        assert each.latest["front_door"].result_id == result.result_id
        assert await each.async_picture(result.result_id) is None
        assert await each.async_picture(kept.result_id) == (JPEG, "image/jpeg")
    assert "No space left on device" in caplog.text
    assert not [name for name in files(folder) if name.endswith(".tmp")]


async def test_a_full_disk_costs_the_result_after_a_restart_only(
    hass: HomeAssistant, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = await a_history(hass)
    kept = await add(history, age=DAY, final_description="before")
    for hour in (5, 4, 3):
        result = a_result(time=NOW - timedelta(hours=hour), final_description=f"full, {hour} hours ago")
        fill_disk(folder / "front_door", result.result_id, "json", "jpg")
        await history.async_add(result, JPEG, "image/jpeg")

    assert history.latest["front_door"].final_description == "full, 3 hours ago"
    assert await texts(history) == ["full, 3 hours ago", "before"]
    assert caplog.text.count("No space left on device") == 1
    assert set((await a_history(hass)).latest) == {"front_door"}
    assert await texts(await a_history(hass)) == ["before"]
    assert files(folder) == {f"front_door/{kept.result_id}.json", f"front_door/{kept.result_id}.jpg"}

    await add(history, final_description="after")
    assert await texts(await a_history(hass)) == ["after", "before"]
    result = a_result(time=NOW + DAY)
    fill_disk(folder / "front_door", result.result_id, "json")
    await history.async_add(result, None, None)
    assert caplog.text.count("No space left on device") == 2


def block(folder: Path) -> None:
    """Put a file where a folder should be."""
    folder.parent.mkdir(parents=True)
    folder.write_text("mine")


async def test_a_folder_that_cannot_be_made_costs_no_analysis(
    hass: HomeAssistant, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    block(folder)

    history = await a_history(hass)
    await add(history)

    assert set(history.latest) == {"front_door"}
    assert await texts(history) == ["A person at the front door."]
    assert "Cannot list what was seen" in caplog.text
    assert "Cannot store all of what was seen as Front door" in caplog.text


# --- Damage


DAMAGED = a_result()


def damaged_contents() -> Iterator[Any]:
    """Return what a damaged result's file may hold: its own content but for one thing, or none of it."""
    whole = DAMAGED.as_dict()
    text = json.dumps(whole)
    yield pytest.param(b"", id="empty")
    yield pytest.param(text[: len(text) // 2].encode(), id="cut")
    yield pytest.param(b"\x00" * 500, id="zeros")
    yield pytest.param(b"\xff\xfe\x80", id="no text")
    yield pytest.param(b"[" * 100_000, id="deep")
    contents: dict[str, Any] = {
        "a list": [],
        "null": None,
        "something else's": {"version": 1, "data": {}},
        "a field less": {key: value for key, value in whole.items() if key != "prompt"},
        "name a number": whole | {"image_name": 5},
        "no description": whole | {"description": None},
        "truncated a text": whole | {"truncated": "yes"},
        "no sources": whole | {"image_urls": []},
        "sources a number": whole | {"image_urls": 5},
        "a number among sources": whole | {"image_urls": ["/local/a.jpg", 5]},
        "other attempts": whole | {"attempts": [{"who": "?"}]},
        "no time": whole | {"timestamp": "yesterday"},
        "no time zone": whole | {"timestamp": "2026-11-20T12:00:00"},
        "another id": whole | {"result_id": a_result(time=NOW + DAY).result_id},
        "another name": whole | {"image_name": "Garden"},
    }
    for name, content in contents.items():
        yield pytest.param(json.dumps(content).encode(), id=name)


@pytest.mark.parametrize("content", damaged_contents())
async def test_a_damaged_file_costs_that_result(
    hass: HomeAssistant, folder: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    history = await a_history(hass)
    await add(history, age=DAY, final_description="yesterday")
    await add(history, "Garden", age=2 * DAY, final_description="two days ago")
    (folder / "front_door" / f"{DAMAGED.result_id}.json").write_bytes(content)

    history = await a_history(hass)

    assert history.latest["front_door"].final_description == "yesterday"
    assert await texts(history) == ["yesterday", "two days ago"]
    assert await texts(history) == ["yesterday", "two days ago"]
    assert caplog.text.count(DAMAGED.result_id) == 1

    (folder / "front_door" / f"{DAMAGED.result_id}.json").write_text(json.dumps(DAMAGED.as_dict()))
    assert (await a_history(hass)).latest["front_door"].final_description == DAMAGED.final_description


async def test_an_old_damaged_file_is_said_once_and_goes_with_the_limits(
    hass: HomeAssistant, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = await a_history(hass)
    old = await add(history, age=3 * DAY)
    await add(history, final_description="today")
    path = folder / "front_door" / f"{old.result_id}.json"
    path.write_text("{")

    history = await a_history(hass, HistoryLimits(days=2))
    for _ in range(3):
        assert await texts(history) == ["today"]
    assert caplog.text.count(f"{path}") == 1

    await history.async_prune(NOW)
    assert not path.exists()
    assert await texts(history) == ["today"]


async def test_a_result_that_somebody_deleted_is_no_damage(
    hass: HomeAssistant, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = await a_history(hass)
    old = await add(history, age=DAY)
    await add(history, final_description="today")
    (folder / "front_door" / f"{old.result_id}.json").unlink()
    assert await texts(history) == ["today"]
    assert "cannot be read" not in caplog.text


async def test_a_name_of_which_nothing_can_be_read_is_left_out(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass)
    broken, _ = await add(history), await add(history, "Garden")
    (folder / "front_door" / f"{broken.result_id}.json").write_text("{")
    history = await a_history(hass)
    assert set(history.latest) == {"garden"}
    assert await texts(history) == ["A person at the garden."]


async def test_a_name_of_which_nothing_can_be_read_goes_with_the_limits(hass: HomeAssistant, folder: Path) -> None:
    broken = await add(await a_history(hass), age=2 * DAY)
    (folder / "front_door" / f"{broken.result_id}.json").write_text("{")
    history = await a_history(hass, HistoryLimits(days=1))
    assert await history.async_days() == []
    await history.async_prune(NOW)
    assert not list((folder / "front_door").iterdir())


async def test_the_latest_of_a_name_that_cannot_be_read_now_is_there_another_time(
    hass: HomeAssistant, folder: Path
) -> None:
    """It may be older than the limits, and it is not damaged."""
    await add(await a_history(hass), age=30 * DAY)
    before = files(folder)

    def read(_: Path) -> bytes:
        raise OSError(24, "Too many open files")

    with pytest.MonkeyPatch.context() as patch:
        # Not with real permissions: root, as whom the tests may run, may read everything.
        patch.setattr(Path, "read_bytes", read)
        history = await a_history(hass, HistoryLimits(days=7))
    await history.async_prune(NOW)

    assert history.latest == {}
    assert files(folder) == before
    assert await texts(await a_history(hass)) == ["A person at the front door."]


async def test_alien_files_are_left_alone(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass)
    await add(history)
    outside, linked = folder.parent / "outside", a_result("Linked")
    outside.mkdir()
    (outside / f"{linked.result_id}.json").write_text(json.dumps(linked.as_dict()))
    other = a_result(time=NOW + DAY).result_id
    (folder / "linked").symlink_to(outside)
    (folder / "Not A Name").mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "empty").mkdir()
    (folder / "front_door" / f"{other}.json").mkdir()
    (folder / "front_door" / f"{other}.jpg").mkdir()
    for name in ("holiday.jpg", f"{'holiday':-<26}.jpg", f"{'holiday':-<26}.tmp"):
        (folder / "front_door" / name).write_bytes(JPEG)
    (folder / "front_door" / f"{other}.bak").write_bytes(JPEG)
    before = files(folder)

    history = await a_history(hass)

    assert set(history.latest) == {"front_door"}
    assert await texts(history) == ["A person at the front door."]
    assert files(folder) == before


async def test_a_directory_in_the_place_of_a_file_costs_that_result(
    hass: HomeAssistant, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = await a_history(hass)
    result = a_result()
    (folder / "front_door" / f"{result.result_id}.json").mkdir(parents=True)
    await history.async_add(result, JPEG, "image/jpeg")
    assert history.latest["front_door"].result_id == result.result_id
    assert "Is a directory" in caplog.text
    (folder / "garden" / "x").mkdir(parents=True)
    assert (await a_history(hass)).latest == {}


async def test_a_folder_that_cannot_be_listed_costs_its_name(
    hass: HomeAssistant, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = await a_history(hass)
    await add(history)
    await add(history, "Garden")

    scandir = os.scandir

    def lists(path: Any) -> Any:
        if str(path).endswith("front_door"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        # Not with real permissions: root, as whom the tests may run, may list everything.
        patch.setattr("custom_components.ollama_vision.result_files.os.scandir", lists)
        history = await a_history(hass)
    assert set(history.latest) == {"garden"}
    assert "Permission denied" in caplog.text


async def test_an_empty_picture_is_none(hass: HomeAssistant, folder: Path) -> None:
    result = await add(await a_history(hass))
    (folder / "front_door" / f"{result.result_id}.jpg").write_bytes(b"")
    history = await a_history(hass)
    assert await history.async_picture(result.result_id) is None
    assert await texts(history) == ["A person at the front door."]
