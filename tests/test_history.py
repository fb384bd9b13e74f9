"""What a device has seen: kept, found, within its limits, and forgotten for good."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
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

from .results import DAY, EVERYTHING, JPEG, NOW, PNG, a_history, a_result, add, files, texts


@pytest.fixture
def folder(hass: HomeAssistant) -> Path:
    """Return where the device's history is."""
    return Path(hass.config.path(".storage/ollama_vision/entry"))


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
