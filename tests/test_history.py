"""What a device has seen: kept through restarts, crashes and damage, within its limits, and forgotten for good."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
import json
import os
from pathlib import Path
import subprocess
import sys
import threading
import time
from typing import Any

from freezegun.api import FrozenDateTimeFactory
from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util
from homeassistant.util.ulid import ulid_at_time
import pytest

from custom_components.ollama_vision.history import FORGETTING, History, HistoryLimits
from custom_components.ollama_vision.result_files import ResultFiles, StoredResult

from .results import JPEG, NOW, PNG, a_result, add

EVERYTHING = HistoryLimits(days=3650, results=100_000, megabytes=1000)
DAY = timedelta(days=1)
ROOT = Path(__file__).parent.parent


async def a_history(hass: HomeAssistant, limits: HistoryLimits = EVERYTHING) -> History:
    """Return a device's history as a start of Home Assistant loads it."""
    history = History(hass, "entry", limits)
    await history.async_load()
    return history


async def texts(history: History, **filters: Any) -> list[str]:
    """Return what was seen."""
    return [result.final_description for result in await history.async_results(**filters)]


@pytest.fixture
def folder(hass: HomeAssistant) -> Path:
    """Return where the device's history is."""
    return Path(hass.config.path(".storage/ollama_vision/entry"))


def files(folder: Path) -> set[str]:
    """Return the names of all files and empty folders below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or not any(path.iterdir())}


# --- Kept


async def test_a_new_device_has_seen_nothing(hass: HomeAssistant) -> None:
    history = await a_history(hass)
    assert history.latest == {}
    assert await history.async_results() == []
    assert await history.async_prune(NOW) == []


async def test_a_result_is_all_there_after_a_restart(hass: HomeAssistant) -> None:
    result = a_result(
        data={"people": 2, "who": ["Ann", "Ölaf"]},
        text_prompt="…",
        text_model_error="timeout",
        attempts=[],
        image_urls=("/local/a.jpg", "/local/b.jpg"),
    )
    await (await a_history(hass)).async_add(result, PNG, "image/png")

    history = await a_history(hass)

    assert history.latest["front_door"].as_dict() == result.as_dict() | {"attempts": ()}
    assert [each.as_dict() for each in await history.async_results()] == [result.as_dict() | {"attempts": ()}]
    assert await history.async_picture(result.result_id) == (PNG, "image/png")
    assert history.slug(result.result_id) == "front_door"


async def test_the_latest_of_a_name_shows_its_latest_spelling(hass: HomeAssistant) -> None:
    history = await a_history(hass)
    await add(history, "Front Door", age=DAY)
    await add(history, "front door", final_description="the cat")
    await add(history, "Garden")

    for each in (history, await a_history(hass)):
        assert {slug: result.image_name for slug, result in each.latest.items()} == {
            "front_door": "front door",
            "garden": "Garden",
        }
        assert each.latest["front_door"].final_description == "the cat"


async def test_ids_sort_as_they_were_made_even_when_the_clock_stands_still(hass: HomeAssistant) -> None:
    history = await a_history(hass)
    before = time.time()
    ids = [history.new_result_id() for _ in range(500)]
    assert ids == sorted(set(ids))
    await add(history, result_id=ids[0])
    await add(history, result_id=ids[1], final_description="the second")
    restarted = await a_history(hass)
    assert restarted.latest["front_door"].final_description == "the second"
    assert [day.toordinal() for day in await restarted.async_days()] == [
        dt_util.as_local(datetime.fromtimestamp(before, UTC)).toordinal()
    ]


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_latest_stays_the_latest_when_the_clock_is_put_back(
    hass: HomeAssistant, freezer: FrozenDateTimeFactory, restarted: bool
) -> None:
    history = await a_history(hass)
    hour = timedelta(hours=1)
    freezer.move_to(NOW + hour)
    await add(history, age=-hour, result_id=history.new_result_id(), final_description="too early")
    freezer.move_to(NOW)
    if restarted:
        history = await a_history(hass)
    await add(history, result_id=history.new_result_id(), final_description="in time")

    history = await a_history(hass)
    assert history.latest["front_door"].final_description == "in time"
    assert await texts(history) == ["in time", "too early"]
    assert await texts(history, since=NOW, until=NOW + hour / 2) == ["in time"]


async def test_a_clock_that_was_far_ahead_is_not_kept_up_with(
    hass: HomeAssistant, freezer: FrozenDateTimeFactory
) -> None:
    history = await a_history(hass)
    await add(history, age=-2 * DAY)
    freezer.move_to(NOW)
    history = await a_history(hass)
    ids = [history.new_result_id() for _ in range(3)]
    assert ids == sorted(ids)
    assert ids[-1] < ulid_at_time(NOW.timestamp() + 1)


async def test_a_name_longer_than_a_file_may_be_called(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass)
    long, longer = "door " * 100, "door " * 101
    first, second = await add(history, long), await add(history, longer)

    history = await a_history(hass)

    assert set(history.latest) == {first.slug, second.slug}
    assert await texts(history, image_name=long) == [first.final_description]
    await history.async_forget(first.slug)
    assert await texts(history) == [second.final_description]
    restarted = await a_history(hass)
    assert set(restarted.latest) == {second.slug}
    assert restarted.is_forgotten(first.slug)
    assert not restarted.is_forgotten(second.slug)


async def test_results_are_found_by_name_time_and_text(hass: HomeAssistant) -> None:
    history = await a_history(hass)
    await add(history, "Front door", age=3 * DAY, final_description="A red CAR.", description="auto")
    middle = await add(history, "Garden", age=2 * DAY, final_description="A fox.")
    newest = await add(history, "Front door", age=DAY, final_description="A postman with a Straße map.")

    assert await texts(history) == ["A postman with a Straße map.", "A fox.", "A red CAR."]
    assert await texts(history, image_name="front  DOOR") == ["A postman with a Straße map.", "A red CAR."]
    assert await texts(history, text="car") == ["A red CAR."]
    assert await texts(history, text="AUTO") == ["A red CAR."]
    assert await texts(history, text="garden") == ["A fox."]
    assert await texts(history, text="STRASSE") == ["A postman with a Straße map."]
    assert await texts(history, limit=2) == ["A postman with a Straße map.", "A fox."]
    assert await texts(history, image_name="Front door", text="a", limit=1) == ["A postman with a Straße map."]
    since = datetime.fromisoformat(middle.timestamp)
    until = datetime.fromisoformat(newest.timestamp)
    assert await texts(history, since=since) == ["A postman with a Straße map.", "A fox."]
    assert await texts(history, since=since, until=until) == ["A fox."]
    assert await texts(history, until=since) == ["A red CAR."]
    assert await texts(history, image_name="Cellar") == []


async def test_days_are_those_of_the_house(hass: HomeAssistant) -> None:
    await hass.config.async_set_time_zone("America/New_York")
    history = await a_history(hass)
    await history.async_add(a_result(time=datetime(2026, 11, 20, 2, tzinfo=UTC)), None, None)
    await history.async_add(a_result(time=datetime(2026, 11, 20, 20, tzinfo=UTC)), None, None)
    await history.async_add(a_result("Garden", time=datetime(2026, 11, 20, 21, tzinfo=UTC)), None, None)
    assert await history.async_days() == [date(2026, 11, 20), date(2026, 11, 19)]


async def test_a_result_without_a_picture_counts(hass: HomeAssistant) -> None:
    result = a_result()
    await (await a_history(hass)).async_add(result, None, None)
    history = await a_history(hass)
    assert set(history.latest) == {"front_door"}
    assert history.picture_file(result.result_id) is None
    assert await history.async_picture(result.result_id) is None


@pytest.mark.parametrize(
    "result_id", ["../../../../etc/passwd", "", "front_door", "01KCZ000000000000000000000", "%2e%2e/secrets"]
)
async def test_an_id_that_was_never_given_has_no_picture(hass: HomeAssistant, result_id: str) -> None:
    history = await a_history(hass)
    await add(history)
    assert await history.async_picture(result_id) is None
    assert history.slug(result_id) is None


async def test_a_picture_that_somebody_deleted_is_gone(hass: HomeAssistant) -> None:
    history = await a_history(hass)
    result = await add(history)
    file = history.picture_file(result.result_id)
    assert file is not None
    file[0].unlink()
    assert await history.async_picture(result.result_id) is None


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


# --- Limits


async def test_results_older_than_the_limit_go_but_the_latest_of_a_name(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass)
    for age in (9, 8, 6, 1):
        await add(history, age=age * DAY, final_description=f"{age}")
    await history.async_add(a_result(time=NOW - 10 * DAY), None, None)
    garden = await add(history, "Garden", age=100 * DAY, final_description="garden")

    history = await a_history(hass, HistoryLimits(days=7))
    assert await history.async_prune(NOW) == []

    for each in (history, await a_history(hass)):
        assert await texts(each) == ["1", "6", "garden"]
        assert await each.async_picture(garden.result_id) == (JPEG, "image/jpeg")
    assert len(files(folder)) == 6


async def test_more_results_than_the_limit_go_at_once(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass, HistoryLimits(results=3))
    await add(history, "Garden", age=50 * timedelta(hours=1), final_description="garden")
    for age in range(10, 0, -1):
        await add(history, age=age * timedelta(hours=1), final_description=f"{age}")
    for each in (history, await a_history(hass)):
        assert await texts(each) == ["1", "2", "3", "garden"]
    assert len(files(folder)) == 8


async def test_the_pictures_over_the_limit_go_and_their_texts_stay(hass: HomeAssistant, folder: Path) -> None:
    big = JPEG + b"\x00" * (400_000 - len(JPEG))
    history = await a_history(hass, HistoryLimits(megabytes=1))
    results = [a_result(time=NOW - age * timedelta(hours=1), final_description=f"{age}") for age in range(4, 0, -1)]
    garden = a_result("Garden", time=NOW - DAY, final_description="garden")
    for result in (garden, *results):
        await history.async_add(result, big, "image/jpeg")

    for each in (history, await a_history(hass, HistoryLimits(megabytes=1))):
        assert await texts(each) == ["1", "2", "3", "4", "garden"]
        kept = [bool(await each.async_picture(result.result_id)) for result in (garden, *results)]
        assert kept == [True, False, False, True, True]
        assert kept == [bool(each.picture_file(result.result_id)) for result in (garden, *results)]
    assert len([name for name in files(folder) if name.endswith(".jpg")]) == 3


@pytest.mark.parametrize("limits", [HistoryLimits(results=0), HistoryLimits(days=0)])
async def test_none_keeps_the_latest_alone(hass: HomeAssistant, folder: Path, limits: HistoryLimits) -> None:
    history = await a_history(hass, limits)
    for age in (3, 2, 1):
        await add(history, age=age * timedelta(hours=1), final_description=f"{age}")
        latest = await add(history, "Garden", age=age * timedelta(hours=1), final_description=f"garden {age}")
    assert await texts(history, image_name="Garden") == ["garden 1"]
    assert await history.async_picture(latest.result_id) == (JPEG, "image/jpeg")
    assert len(files(folder)) == 4


async def test_no_megabytes_keeps_texts_and_the_latest_pictures(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass, HistoryLimits(megabytes=0))
    for age in (3, 2, 1):
        await add(history, age=age * timedelta(hours=1), final_description=f"{age}")
    assert await texts(history) == ["1", "2", "3"]
    assert len([name for name in files(folder) if name.endswith(".jpg")]) == 1


# --- Forgetting


async def test_a_forgotten_name_leaves_nothing_and_does_not_come_back(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass)
    old, new = await add(history, age=DAY), await add(history)
    await add(history, "Garden", final_description="garden")

    await history.async_forget("front_door")

    for each in (history, await a_history(hass)):
        assert set(each.latest) == {"garden"}
        assert await texts(each) == ["garden"]
        assert each.is_forgotten("front_door")
        assert not each.is_forgotten("garden")
        for result in (old, new):
            assert await each.async_picture(result.result_id) is None
            assert each.slug(result.result_id) is None
    assert not any(new.result_id in name or old.result_id in name for name in files(folder))


async def test_a_name_of_which_nothing_is_stored_is_remembered_as_forgotten(hass: HomeAssistant) -> None:
    await (await a_history(hass)).async_forget("from_the_1_0_series")
    history = await a_history(hass)
    assert history.is_forgotten("from_the_1_0_series")
    await history.async_forget("from_the_1_0_series")
    assert (await a_history(hass)).is_forgotten("from_the_1_0_series")


async def test_a_forgotten_name_can_be_used_and_forgotten_again(hass: HomeAssistant) -> None:
    history = await a_history(hass)
    await add(history, age=DAY)
    await history.async_forget("front_door")
    await add(history, final_description="new")
    for each in (history, await a_history(hass)):
        assert await texts(each) == ["new"]
        assert not each.is_forgotten("front_door")
    await history.async_forget("front_door")
    for each in (history, await a_history(hass)):
        assert await texts(each) == []
        assert each.is_forgotten("front_door")


async def test_a_crash_while_forgetting_has_forgotten_all(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass)
    await add(history)
    (folder / "front_door" / "a folder").mkdir()
    (folder / "front_door").rename(folder / "front_door.forgotten")

    history = await a_history(hass)

    assert history.latest == {}
    assert history.is_forgotten("front_door")
    assert files(folder) == {"front_door.forgotten"}


async def test_a_forgotten_folder_that_cannot_be_read_stops_nothing(
    hass: HomeAssistant, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = await a_history(hass)
    await add(history)
    await add(history, "Garden")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # Not with real permissions: root, as whom the tests may run, may list everything.
    monkeypatch.setattr(Path, "iterdir", refuse)
    await history.async_forget("garden")
    history = await a_history(hass)
    assert set(history.latest) == {"front_door"}
    assert history.is_forgotten("garden")


async def test_a_name_that_is_used_again_is_not_forgotten(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass)
    await add(history, final_description="new")
    (folder / "front_door.forgotten").mkdir()
    history = await a_history(hass)
    assert await texts(history) == ["new"]
    assert not history.is_forgotten("front_door")
    assert not (folder / "front_door.forgotten").exists()


async def test_forgetting_fails_as_a_whole(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass)
    result = await add(history)
    (folder / "front_door.forgotten").write_text("in the way")

    with pytest.raises(OSError, match="Not a directory"):
        await history.async_forget("front_door")

    for each in (history, await a_history(hass)):
        assert await texts(each) == ["A person at the front door."]
        assert await each.async_picture(result.result_id) == (JPEG, "image/jpeg")
        assert not each.is_forgotten("front_door")


async def test_a_forgetting_is_remembered_until_the_registry_has_been_written(
    hass: HomeAssistant, folder: Path
) -> None:
    history = await a_history(hass)
    await history.async_forget("front_door")
    await history.async_prune(dt_util.utcnow() + FORGETTING / 2)
    assert (await a_history(hass)).is_forgotten("front_door")
    await history.async_prune(dt_util.utcnow() + FORGETTING)
    assert not history.is_forgotten("front_door")
    assert not (await a_history(hass)).is_forgotten("front_door")
    assert files(folder) == set()


async def test_names_that_nobody_uses_are_told(hass: HomeAssistant) -> None:
    history = await a_history(hass, HistoryLimits(forget_after_days=30))
    await add(history, "Garden", age=31 * DAY)
    await add(history, "Front door", age=31 * DAY)
    await add(history, "Front door", age=29 * DAY)
    assert await history.async_prune(NOW) == ["garden"]
    assert await history.async_prune(NOW + 5 * DAY) == ["garden", "front_door"]
    assert set(history.latest) == {"garden", "front_door"}
    assert await (await a_history(hass, HistoryLimits(forget_after_days=0))).async_prune(NOW + 999 * DAY) == []


async def test_all_goes_with_the_entry(hass: HomeAssistant, folder: Path) -> None:
    await add(await a_history(hass))
    other = History(hass, "other", EVERYTHING)
    await add(other)

    await History.async_remove_entry(hass, "entry")
    assert files(folder.parent) == {f"other/{name}" for name in files(folder.parent / "other")}
    assert await texts(other) == ["A person at the front door."]

    await History.async_remove_entry(hass, "other")
    assert not files(folder.parent.parent)
    await History.async_remove_entry(hass, "never seen")


# --- At once


async def test_adding_forgetting_and_pruning_at_once(hass: HomeAssistant, folder: Path) -> None:
    history = await a_history(hass, HistoryLimits(results=20))
    results = [a_result(f"Camera {n % 5}", NOW - n * timedelta(minutes=1)) for n in range(100)]

    await asyncio.gather(
        *(history.async_add(result, JPEG, "image/jpeg") for result in reversed(results)),
        *(history.async_forget("camera_3") for _ in range(5)),
        *(history.async_prune(NOW) for _ in range(5)),
        *(history.async_results() for _ in range(5)),
    )

    restarted = await a_history(hass, HistoryLimits(results=20))
    expected = [result.result_id for result in results[:20] if result.slug != "camera_3"]
    for each in (history, restarted):
        assert [result.result_id for result in await each.async_results()] == expected
        assert set(each.latest) == {"camera_0", "camera_1", "camera_2", "camera_4"}
        assert each.is_forgotten("camera_3")
    assert len(files(folder)) == 2 * len(expected) + 1


async def test_a_result_is_stored_although_nobody_waits_for_it_any_more(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, write = threading.Event(), ResultFiles.write

    def write_late(*args: Any) -> StoredResult:
        assert left.wait(10)
        return write(*args)

    monkeypatch.setattr(ResultFiles, "write", write_late)
    history = await a_history(hass)
    results = [a_result(time=NOW - timedelta(minutes=n), final_description=f"{n}") for n in range(20)]
    adding = [asyncio.create_task(history.async_add(result, JPEG, "image/jpeg")) for result in results]
    await asyncio.sleep(0)
    for task in adding:
        task.cancel()
    ends = await asyncio.gather(*adding, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    left.set()
    await hass.async_block_till_done()
    assert await texts(history) == await texts(await a_history(hass)) == [f"{n}" for n in range(20)]


async def test_a_reload_waits_for_a_result_on_its_way(hass: HomeAssistant) -> None:
    history = await a_history(hass)
    adding = asyncio.create_task(history.async_add(a_result(), JPEG, "image/jpeg"))
    await asyncio.sleep(0)
    assert set((await a_history(hass)).latest) == {"front_door"}
    await adding


def test_a_thousand_names_load_in_half_a_second(tmp_path: Path) -> None:
    files = ResultFiles(tmp_path)
    for n in range(1000):
        files.write(a_result(f"Camera {n}"), JPEG, "image/jpeg")

    def load() -> float:
        started = time.monotonic()
        assert len(ResultFiles(tmp_path).load().latest) == 1000
        return time.monotonic() - started

    # The quickest of three: other tests may run beside.
    assert min(load() for _ in range(3)) < 0.5
