"""Each blueprint as a person uses it: imported, filled in, triggered, and read on the phone."""

from datetime import timedelta
import json
from pathlib import Path
from typing import Any

from freezegun.api import FrozenDateTimeFactory
from homeassistant.components.blueprint import Blueprint
from homeassistant.components.blueprint.schemas import BLUEPRINT_SCHEMA
from homeassistant.const import __version__ as ha_version
from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from homeassistant.util.yaml import extract_inputs, load_yaml_dict, parse_yaml
import pytest
from pytest_homeassistant_custom_component.common import (
    async_capture_events,
    async_fire_time_changed,
    async_mock_service,
)

from custom_components.ollama_vision.const import EVENT_IMAGE_ANALYZED

from .automations import BLUEPRINTS, PHONE, add_blueprint, add_camera, message, phone, turn_off
from .common import add_device, analyze, entry_data, text_model
from .results import add
from .servers.faulty import FaultyServer
from .servers.ollama_front import OllamaFront
from .test_asking import HEALTHY, said
from .test_services import A_PICTURE, device_of

ROOT = Path(__file__).parents[1]
PATHS = sorted(BLUEPRINTS.glob("*.yaml"))
NAMES = {"daily_summary", "doorbell", "frigate_person", "license_plate", "package"}
SERVICES: dict[str, Any] = load_yaml_dict(str(ROOT / "custom_components/ollama_vision/services.yaml"))
CONTENTS = {path.stem: path.read_text() for path in PATHS}
BUTTON = {"when": [{"trigger": "event", "event_type": "look"}], "camera": "camera.porch"}


def load(path: Path) -> Blueprint:
    """Return a blueprint as Home Assistant's import reads it."""
    content = parse_yaml(CONTENTS[path.stem])
    assert isinstance(content, dict)
    return Blueprint(content, expected_domain="automation", path=path.name, schema=BLUEPRINT_SCHEMA)


def fields(action: str) -> set[str]:
    """Return the fields of an action, also those in its folded sections."""
    listed: dict[str, Any] = SERVICES[action.removeprefix("ollama_vision.")]["fields"]
    return {name for key, field in listed.items() for name in field.get("fields", [key])}


def calls(part: Any) -> list[dict[str, Any]]:
    """Return every call of this integration's actions in a piece of YAML."""
    if isinstance(part, dict):
        own = [part] if str(part.get("action", "")).startswith("ollama_vision.") else []
        return own + [call for value in part.values() for call in calls(value)]
    return [call for value in part for call in calls(value)] if isinstance(part, list) else []


async def look(hass: HomeAssistant) -> None:
    """Fire what the blueprints with a trigger of the user's are triggered by, and wait until all is said."""
    hass.bus.async_fire("look")
    await hass.async_block_till_done()


def test_all_are_there() -> None:
    assert {path.stem for path in PATHS} == NAMES


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
async def test_home_assistant_imports_it(hass: HomeAssistant, path: Path) -> None:
    loaded = load(path)

    assert loaded.validate() is None, ha_version
    assert loaded.metadata["source_url"] == (
        f"https://github.com/remimikalsen/ollama_vision/blob/main/{path.relative_to(ROOT)}"
    )
    assert loaded.metadata["homeassistant"]["min_version"] == "2026.10.0"
    assert extract_inputs(loaded.data) == set(loaded.inputs)
    for name, field in loaded.inputs.items():
        assert field["name"], name
        assert field["selector"], name
    called = calls(loaded.data)
    assert called
    for call in called:
        assert set(call["data"]) <= fields(call["action"]), call["action"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_few_things_have_to_be_filled_in(path: Path) -> None:
    loaded = load(path)
    required = {name for name, field in loaded.inputs.items() if "default" not in field}
    assert (
        required
        == {
            "daily_summary": {"ai_task", "notify_action"},
            "doorbell": {"doorbell", "camera", "notify_action"},
            "frigate_person": {"notify_action"},
            "license_plate": {"when", "camera", "known_plates"},
            "package": {"camera", "notify_action"},
        }[path.stem]
    )


class TestDoorbell:
    """Somebody who rings."""

    @pytest.fixture(autouse=True)
    async def _house(self, hass: HomeAssistant) -> None:
        await add_camera(hass)
        self.notifications = phone(hass)

    async def ring(self, hass: HomeAssistant, *states: str, **inputs: Any) -> None:
        """Set up the automation and let its doorbell have states."""
        bell = inputs.setdefault("doorbell", ["event.doorbell"])[0]
        hass.states.async_set(bell, states[0])
        await add_blueprint(hass, "doorbell", camera="camera.porch", notify_action=PHONE, **inputs)
        for state in states[1:]:
            hass.states.async_set(bell, state)
        await hass.async_block_till_done()

    @pytest.mark.parametrize(
        ("bell", "states"),
        [
            ("event.doorbell", ("2026-11-20T08:00:00+00:00", "2026-11-20T09:00:00+00:00")),
            ("event.doorbell", ("unknown", "2026-11-20T09:00:00+00:00")),
            ("binary_sensor.doorbell", ("off", "on", "off")),
        ],
    )
    async def test_the_phone_shows_who_rings(
        self,
        hass: HomeAssistant,
        ollama_front: OllamaFront,
        caplog: pytest.LogCaptureFixture,
        bell: str,
        states: tuple[str, ...],
    ) -> None:
        await add_device(hass, entry_data(ollama_front.url))
        results = async_capture_events(hass, EVENT_IMAGE_ANALYZED)
        spoken = async_mock_service(hass, "tts", "speak")

        await self.ring(hass, *states, doorbell=[bell], image_name="Gate")

        (notification,) = self.notifications
        assert message(notification) == ("Gate", "The picture is mostly red.")
        assert notification.data["data"] == {"tag": "ollama-vision-doorbell", "image": results[0].data["picture"]}
        assert [result.data["image_name"] for result in results] == ["Gate"]
        assert spoken == []
        assert "Error while executing automation" not in caplog.text

    @pytest.mark.parametrize(
        ("bell", "states"),
        [
            ("event.doorbell", ("unavailable", "2026-11-20T08:00:00+00:00")),
            ("event.doorbell", ("2026-11-20T08:00:00+00:00", "unavailable")),
            ("binary_sensor.doorbell", ("unknown", "on")),
            ("event.doorbell", ("2026-11-20T08:00:00+00:00", "unknown")),
            ("binary_sensor.doorbell", ("on", "off")),
            ("binary_sensor.doorbell", ("off", "unknown")),
        ],
    )
    async def test_a_restart_does_not_ring(
        self, hass: HomeAssistant, ollama_front: OllamaFront, bell: str, states: tuple[str, ...]
    ) -> None:
        await add_device(hass, entry_data(ollama_front.url))
        await self.ring(hass, *states, doorbell=[bell])
        assert self.notifications == []

    async def test_one_ring_of_a_button_with_many_events_is_told_once(
        self, hass: HomeAssistant, ollama_front: OllamaFront, freezer: FrozenDateTimeFactory
    ) -> None:
        await add_device(hass, entry_data(ollama_front.url))
        pressed, released, counted = (f"2026-11-20T09:00:0{second}+00:00" for second in range(3))
        await self.ring(hass, "2026-11-20T08:00:00+00:00", pressed, released, counted)
        assert len(self.notifications) == 1

        freezer.tick(6)
        hass.states.async_set("event.doorbell", "2026-11-20T09:00:08+00:00")
        await hass.async_block_till_done()
        assert len(self.notifications) == 2

    @pytest.mark.parametrize("answer", ["None", "2", "['a']", "{'a': 1}"])
    async def test_whatever_the_model_says_is_text(
        self, hass: HomeAssistant, socket_enabled: None, answer: str
    ) -> None:
        spoken = async_mock_service(hass, "tts", "speak")
        aloud = {"tts": ["tts.home"], "media_players": ["media_player.hall"]}
        async with FaultyServer(said(answer), paths=HEALTHY) as server:
            await add_device(hass, entry_data(server.url))
            await self.ring(hass, "off", "on", doorbell=["binary_sensor.bell"], **aloud)
        assert [message(notification) for notification in self.notifications] == [("Front door", answer)]
        assert [call.data["message"] for call in spoken] == [answer]

    @pytest.mark.parametrize("fails", [False, True])
    async def test_it_is_said_aloud(self, hass: HomeAssistant, ollama_front: OllamaFront, *, fails: bool) -> None:
        """Also where the phone cannot be reached."""
        phone(hass, fails=fails)
        await add_device(hass, entry_data(ollama_front.url))
        spoken = async_mock_service(hass, "tts", "speak")
        await self.ring(
            hass, "off", "on", doorbell=["binary_sensor.bell"], tts=["tts.home"], media_players=["media_player.hall"]
        )
        (said_aloud,) = spoken
        assert said_aloud.data["entity_id"] == ["tts.home"]
        assert said_aloud.data["media_player_entity_id"] == ["media_player.hall"]
        assert said_aloud.data["message"] == "The picture is mostly red."

    async def test_a_failure_still_says_that_somebody_rings(
        self, hass: HomeAssistant, socket_enabled: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        await add_device(hass, entry_data("http://127.0.0.1:9"))
        await self.ring(hass, "off", "on", doorbell=["binary_sensor.bell"])
        assert "127.0.0.1:9 cannot be reached" in caplog.text
        (notification,) = self.notifications
        assert message(notification) == (
            "Front door",
            "Somebody is at the door. The picture could not be described; the log tells why.",
        )
        assert notification.data["data"] == {"tag": "ollama-vision-doorbell"}


class TestLicensePlate:
    """A car at the drive; the tiny model reads no plates, so a server says what it is told."""

    async def drive(self, hass: HomeAssistant, url: str) -> dict[str, list[dict[str, Any]]]:
        """Let a car come; return what the automation has done."""
        await add_camera(hass)
        await add_device(hass, entry_data(url))
        events = {name: async_capture_events(hass, name) for name in ("known", "unknown", "failed")}
        seen = {"plates": "{{ plates }}", "known": "{{ known }}", "picture": "{{ picture }}"}
        await add_blueprint(
            hass,
            "license_plate",
            **BUTTON,
            known_plates=["ab 12-345", "123 456", "ÖÄ 7", 987654, ""],
            known_actions=[{"event": "known", "event_data": seen}],
            unknown_actions=[{"event": "unknown", "event_data": seen}],
            failed_actions=[{"event": "failed"}],
        )
        await look(hass)
        return {name: [event.data for event in heard] for name, heard in events.items() if heard}

    @pytest.mark.parametrize(
        ("plates", "which", "known"),
        [
            (["AB12345"], "known", ["AB12345"]),
            (["XY 1", "a b-123.45"], "known", ["a b-123.45"]),
            (["123456"], "known", ["123456"]),
            (["öä7"], "known", ["öä7"]),
            (["98 7654"], "known", ["98 7654"]),
            (["AB 12346"], "unknown", []),
            (["-"], "unknown", []),
        ],
    )
    async def test_a_plate_is_known_or_not(
        self, hass: HomeAssistant, socket_enabled: None, plates: list[str], which: str, known: list[str]
    ) -> None:
        answer = json.dumps({"plates": [{"plate": plate} for plate in plates]})
        async with FaultyServer(said(answer), paths=HEALTHY) as server:
            done = await self.drive(hass, server.url)

        (data,) = done.pop(which)
        assert not done
        assert (data["plates"], data["known"]) == (plates, known)
        assert data["picture"].startswith("/api/ollama_vision/picture/")

    async def test_no_plate_is_neither(self, hass: HomeAssistant, ollama_front: OllamaFront) -> None:
        assert await self.drive(hass, ollama_front.url) == {}
        assert "licence plate" in ollama_front.bodies()[-1]["messages"][0]["content"]

    async def test_a_failure_is_told(self, hass: HomeAssistant, socket_enabled: None) -> None:
        assert await self.drive(hass, "http://127.0.0.1:9") == {"failed": [{}]}


class TestPackage:
    """A package that comes and goes."""

    async def test_the_phone_shows_it_once(self, hass: HomeAssistant, ollama_front: OllamaFront) -> None:
        """The tiny model sees one wherever it looks."""
        await add_camera(hass)
        await add_device(hass, entry_data(ollama_front.url))
        notifications = phone(hass)
        results = async_capture_events(hass, EVENT_IMAGE_ANALYZED)
        await add_blueprint(hass, "package", camera="camera.porch", notify_action=PHONE)

        now = dt_util.utcnow()
        quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
        for count in (1, 2):
            async_fire_time_changed(hass, quarter + timedelta(minutes=15 * count, seconds=1))
            await hass.async_block_till_done()

        await turn_off(hass)

        assert len(results) == 2
        (notification,) = notifications
        assert message(notification) == ("A package has come", "The picture is mostly red.")
        assert notification.data["data"] == {"image": results[0].data["picture"], "tag": "ollama-vision-package"}

    async def test_the_next_one_is_told_of_when_the_first_is_gone(
        self, hass: HomeAssistant, socket_enabled: None
    ) -> None:
        """A look that fails between two that succeed changes nothing."""
        await add_camera(hass)
        states = ("", "A box.", "A box.", "", "A bag.")
        answers = [{"package": bool(text), "description": text} for text in states]
        scripts = [said(json.dumps(answer)) for answer in answers]
        scripts.insert(2, said("?"))
        scripts.insert(2, said("?"))  # it is asked once more
        notifications = phone(hass)
        told: list[int] = []
        async with FaultyServer(*scripts, paths=HEALTHY) as server:
            await add_device(hass, entry_data(server.url), options={"cache_minutes": 0})
            await add_blueprint(hass, "package", notify_action=PHONE, **BUTTON)
            for _ in range(6):
                await look(hass)
                told.append(len(notifications))

        assert told == [0, 1, 1, 1, 1, 2]
        assert [message(notification)[1] for notification in notifications] == ["A box.", "A bag."]

    async def test_what_another_device_has_seen_is_another_package(
        self, hass: HomeAssistant, ollama_front: OllamaFront
    ) -> None:
        await add_camera(hass)
        first = await add_device(hass, entry_data(ollama_front.url, name="First"))
        second = await add_device(hass, entry_data(ollama_front.url, name="Second"))
        notifications = phone(hass)
        inputs: dict[str, Any] = BUTTON | {"image_name": "Porch", "device_id": [device_of(hass, second)]}
        data = {"package": True, "description": "A box."}
        await add(first.runtime_data.history, "Porch", integration_id=first.entry_id, data=data)
        await add(second.runtime_data.history, "Porch", integration_id=second.entry_id)  # asked something else

        await add_blueprint(hass, "package", notify_action=PHONE, **inputs)
        await look(hass)
        await look(hass)

        assert len(notifications) == 1


class TestDailySummary:
    """What was seen, in a few sentences."""

    async def evening(self, hass: HomeAssistant, url: str, *names: str, **inputs: Any) -> list[ServiceCall]:
        """Let some be seen, and the evening come; return the notifications."""
        for component in ("homeassistant", "conversation"):
            assert await async_setup_component(hass, component, {})
        entry = await add_device(hass, entry_data(url, **text_model(url)))
        yesterday = timedelta(hours=24, minutes=10)
        await add(entry.runtime_data.history, "Cellar", age=yesterday, integration_id=entry.entry_id)
        self.seen = [await analyze(hass, image_url=A_PICTURE, image_name=name) for name in names]
        notifications = phone(hass)
        soon = dt_util.now() + timedelta(minutes=2)
        inputs = {"ai_task": "ai_task.ollama_vision", "at": soon.strftime("%H:%M:00")} | inputs
        await add_blueprint(hass, "daily_summary", notify_action=PHONE, **inputs)
        async_fire_time_changed(hass, soon.replace(second=1))
        await hass.async_block_till_done()
        await turn_off(hass)
        return notifications

    async def test_the_text_model_sums_the_history_up(self, hass: HomeAssistant, ollama_front: OllamaFront) -> None:
        (notification,) = await self.evening(hass, ollama_front.url, "Door", "Garden")

        assert message(notification) == ("Seen today", "No photo was given.")
        assert notification.data["data"] == {"image": self.seen[-1]["picture"], "tag": "ollama-vision-summary"}
        body = ollama_front.bodies()[-1]
        assert body["model"] == "tiny-text"
        question = body["messages"][0]["content"]
        assert question.startswith("Sum up in two to four short sentences")
        first, second = [line[5:] for line in question.splitlines() if "The picture" in line]
        assert first.startswith(" Door: The picture is mostly ")
        assert second.startswith(" Garden: The picture is mostly ")

    async def test_without_a_summary_it_says_how_often(self, hass: HomeAssistant, ollama_front: OllamaFront) -> None:
        (notification,) = await self.evening(
            hass, ollama_front.url, "Door", "Garden", "Door", ai_task="ai_task.elsewhere"
        )
        assert message(notification) == ("Seen today", "Door: 2\nGarden: 1")

    async def test_a_day_without_anything_is_silent(self, hass: HomeAssistant, ollama_front: OllamaFront) -> None:
        assert await self.evening(hass, ollama_front.url) == []

    async def test_a_day_without_anything_can_be_told(self, hass: HomeAssistant, ollama_front: OllamaFront) -> None:
        (notification,) = await self.evening(hass, ollama_front.url, nothing_text="Nobody came.")
        assert message(notification) == ("Seen today", "Nobody came.")
