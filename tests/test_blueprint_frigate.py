"""The blueprint for somebody whom Frigate sees: the picture at once, and the text when it is there."""

import asyncio
from typing import Any

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import async_capture_events, async_fire_mqtt_message

from custom_components.ollama_vision.const import DOMAIN, EVENT_IMAGE_ANALYZED

from .automations import PHONE, add_blueprint, frigate_event, message, phone, start_frigate
from .common import add_device, entry_data
from .servers.ollama_front import OllamaFront


class TestFrigatePerson:
    """Somebody whom Frigate sees."""

    @pytest.fixture(autouse=True)
    async def _house(self, hass: HomeAssistant, ollama_front: OllamaFront, mqtt: None) -> None:
        await start_frigate(hass)
        await add_device(hass, entry_data(ollama_front.url))
        self.notifications = phone(hass)

    async def add(self, hass: HomeAssistant, **inputs: Any) -> None:
        """Set up the automation."""
        await add_blueprint(hass, "frigate_person", notify_action=PHONE, **inputs)

    async def tell(self, hass: HomeAssistant, *messages: str, topic: str = "frigate/events") -> None:
        """Let Frigate say something, and wait until all is done."""
        for text in messages:
            async_fire_mqtt_message(hass, topic, text)
        await hass.async_block_till_done()

    async def test_the_picture_comes_at_once_and_the_text_replaces_it(
        self, hass: HomeAssistant, ollama_front: OllamaFront
    ) -> None:
        results = async_capture_events(hass, EVENT_IMAGE_ANALYZED)
        await self.add(hass)
        ollama_front.gate.clear()

        async_fire_mqtt_message(hass, "frigate/events", frigate_event())
        await ollama_front.received(1)
        (at_once,) = self.notifications

        ollama_front.gate.set()
        await hass.async_block_till_done()
        later = self.notifications[1]

        assert message(at_once) == ("Front door", "Person")
        assert at_once.data["data"]["image"] == "/api/frigate/notifications/1607123955.475377-mxklsc/thumbnail.jpg"
        assert message(later) == ("Front door", "The picture is mostly green.")
        assert later.data["data"]["image"] == results[0].data["picture"]
        assert later.data["data"]["tag"] == at_once.data["data"]["tag"]
        assert later.data["data"]["alert_once"] is True
        assert later.data["data"]["push"] == {"sound": "none"}

    async def test_one_visitor_is_told_of_once(self, hass: HomeAssistant) -> None:
        await self.add(hass)
        await self.tell(
            hass,
            frigate_event("new"),
            *[frigate_event("update", top_score=0.9 + step / 100) for step in range(5)],
            frigate_event("end", end_time=1607123999.0),
        )
        assert len(self.notifications) == 2

    async def test_nobodys_picture_waits_for_somebody_elses_text(
        self, hass: HomeAssistant, ollama_front: OllamaFront
    ) -> None:
        await self.add(hass)
        ollama_front.gate.clear()
        for event_id in ("1.0-a", "2.0-b"):
            async_fire_mqtt_message(hass, "frigate/events", frigate_event(event_id=event_id))
        async with asyncio.timeout(10):
            while len(self.notifications) < 2:
                await asyncio.sleep(0.01)
        assert [call.data["message"] for call in self.notifications] == ["Person", "Person"]

        ollama_front.gate.set()
        await hass.async_block_till_done()

        assert len(self.notifications) == 4
        assert len({call.data["data"]["tag"] for call in self.notifications}) == 2

    @pytest.mark.parametrize(
        "inputs",
        [{"cameras": ["garage"]}, {"labels": ["dog"]}, {"zones": ["street"]}, {"min_score": 99}, {"topic": "other"}],
        ids=str,
    )
    async def test_others_are_not_told_of(self, hass: HomeAssistant, inputs: dict[str, Any]) -> None:
        await self.add(hass, **inputs)
        await self.tell(hass, frigate_event(), frigate_event("update"), frigate_event("end"))
        assert self.notifications == []

    async def test_a_zone_and_a_score_that_are_reached_later_count(self, hass: HomeAssistant) -> None:
        await self.add(hass, zones=["driveway"], min_score=90, cameras=["front_door"])
        await self.tell(hass, frigate_event("new", entered_zones=[], top_score=0.5))
        assert self.notifications == []
        await self.tell(hass, frigate_event("update"))
        assert len(self.notifications) == 2

    async def test_a_frigate_among_several_and_a_whole_picture(self, hass: HomeAssistant) -> None:
        await self.add(hass, client_id="barn", topic="barn/events", picture="snapshot", image_name="Barn")
        await self.tell(hass, frigate_event(), topic="barn/events")
        assert (
            self.notifications[0].data["data"]["image"]
            == "/api/frigate/barn/notifications/1607123955.475377-mxklsc/snapshot.jpg"
        )
        assert message(self.notifications[1]) == ("Barn", "The picture is mostly blue.")

    async def test_a_visitor_is_looked_at_also_where_the_phone_cannot_be_reached(self, hass: HomeAssistant) -> None:
        phone(hass, fails=True)
        await self.add(hass)
        await self.tell(hass, frigate_event())
        state = hass.states.get("sensor.ollama_vision_front_door")
        assert state is not None
        assert state.state == "The picture is mostly green."

    async def test_a_failure_keeps_the_picture_and_says_so(
        self, hass: HomeAssistant, caplog: pytest.LogCaptureFixture
    ) -> None:
        await self.add(hass)
        (entry,) = hass.config_entries.async_entries(DOMAIN)
        await hass.config_entries.async_unload(entry.entry_id)

        await self.tell(hass, frigate_event())

        assert "No Ollama Vision device is loaded" in caplog.text
        last = self.notifications[-1]
        assert message(last) == ("Front door", "The picture could not be described. The log tells why.")
        assert last.data["data"]["image"] == self.notifications[0].data["data"]["image"]
