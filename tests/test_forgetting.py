"""Forgetting takes everything of a name, and nothing comes back."""

from datetime import timedelta
from pathlib import Path

from freezegun.api import FrozenDateTimeFactory
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import ServiceValidationError, Unauthorized
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, MockUser, async_fire_time_changed
import voluptuous as vol

from custom_components.ollama_vision.const import DOMAIN

from .common import add_device, analyze, entry_data
from .servers.ollama_front import OllamaFront
from .test_services import A_PICTURE

SENSOR = "sensor.ollama_vision_front_door"


async def forget(hass: HomeAssistant, **data: object) -> None:
    """Call the action."""
    await hass.services.async_call(DOMAIN, "forget_image", data, blocking=True)
    await hass.async_block_till_done()


@pytest.fixture
async def entry(hass: HomeAssistant, hass_config_dir: str, ollama_front: OllamaFront) -> MockConfigEntry:
    """Return a device that has seen something under two names."""
    entry = await add_device(hass, entry_data(ollama_front.url), options={"forget_after_days": 30})
    await analyze(hass, image_url=A_PICTURE)
    await analyze(hass, image_url=A_PICTURE, image_name="Garden")
    return entry


def folder(hass: HomeAssistant, entry: MockConfigEntry) -> Path:
    """Return where the device's results are."""
    return Path(hass.config.path(".storage", DOMAIN, entry.entry_id))


def stored(hass: HomeAssistant, entry: MockConfigEntry) -> list[str]:
    """Return the names of the stored results' files."""
    return [path.parent.name for path in folder(hass, entry).rglob("*.json")]


async def assert_forgotten(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """See that nothing is left of the front door, and that it stays so."""
    for _ in range(2):
        assert hass.states.get(SENSOR) is None
        assert er.async_get(hass).async_get(SENSOR) is None
        assert not [entity_id for entity_id in hass.states.async_entity_ids() if "front_door" in entity_id]
        assert stored(hass, entry) == ["garden"]
        assert hass.states.get("sensor.ollama_vision_garden") is not None
        assert await hass.config_entries.async_reload(entry.entry_id)
        await hass.async_block_till_done()


async def test_an_action_forgets_a_name(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    await forget(hass, image_name="FRONT door")
    await assert_forgotten(hass, entry)


async def test_removing_the_sensor_forgets_its_name(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    er.async_get(hass).async_remove(SENSOR)
    await hass.async_block_till_done()
    await assert_forgotten(hass, entry)


async def test_removing_the_sensor_of_a_device_that_was_added_again_forgets_its_name(
    hass: HomeAssistant, entry: MockConfigEntry, ollama_front: OllamaFront
) -> None:
    """The registry remembers the earlier device's sensor, which had the same entity id."""
    assert await hass.config_entries.async_remove(entry.entry_id)
    again = await add_device(hass, entry_data(ollama_front.url))
    await analyze(hass, image_url=A_PICTURE)
    await analyze(hass, image_url=A_PICTURE, image_name="Garden")
    er.async_get(hass).async_remove(SENSOR)
    await hass.async_block_till_done()
    await assert_forgotten(hass, again)


async def test_removing_a_sensor_forgets_the_name_that_had_its_entity_id_last(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    await forget(hass, image_name="Garden")
    registry = er.async_get(hass)
    registry.async_remove(registry.async_update_entity(SENSOR, new_entity_id="sensor.ollama_vision_garden").entity_id)
    await hass.async_block_till_done()
    assert stored(hass, entry) == []


async def test_removing_another_integrations_sensor_forgets_nothing(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """A helper of the same name may have a unique id that is a name's slug."""
    registry = er.async_get(hass)
    registry.async_remove(registry.async_get_or_create("sensor", "template", "front_door").entity_id)
    await hass.async_block_till_done()
    assert hass.states.get(SENSOR) is not None
    assert sorted(stored(hass, entry)) == ["front_door", "garden"]


async def test_an_action_forgets_everything(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    await forget(hass, all=True)
    assert {path.name for path in folder(hass, entry).iterdir()} == {"front_door.forgotten", "garden.forgotten"}
    assert stored(hass, entry) == []
    assert not [state for state in hass.states.async_all("sensor") if state.attributes.get("prompt")]


async def test_a_name_that_was_forgotten_starts_anew(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    await forget(hass, image_name="Front door")
    response = await analyze(hass, image_url=A_PICTURE, prompt="Anew?")
    state = hass.states.get(response["entity_id"])
    assert state is not None
    assert state.attributes["prompt"] == "Anew?"


async def test_a_disabled_sensor_that_was_forgotten_starts_anew(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """It stays disabled: Home Assistant remembers that."""
    registry = er.async_get(hass)
    registry.async_update_entity(SENSOR, disabled_by=er.RegistryEntryDisabler.USER)
    await hass.async_block_till_done()
    await forget(hass, image_name="Front door")
    assert registry.async_get(SENSOR) is None

    response = await analyze(hass, image_url=A_PICTURE)

    assert response["entity_id"] == SENSOR
    assert registry.async_get(SENSOR) is not None


@pytest.mark.parametrize("restarted", [False, True])
async def test_names_that_nobody_uses_are_forgotten_by_themselves(
    hass: HomeAssistant, entry: MockConfigEntry, freezer: FrozenDateTimeFactory, restarted: bool
) -> None:
    async def wait(days: int) -> None:
        freezer.tick(timedelta(days=days))
        if restarted:
            assert await hass.config_entries.async_reload(entry.entry_id)
        else:
            async_fire_time_changed(hass)
        await hass.async_block_till_done(wait_background_tasks=True)

    await wait(29)
    assert hass.states.get(SENSOR) is not None

    await wait(2)
    assert hass.states.get(SENSOR) is None
    assert stored(hass, entry) == []


async def test_what_a_crash_left_in_the_registry_is_removed(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    await entry.runtime_data.history.async_forget("front_door")
    assert er.async_get(hass).async_get(SENSOR) is not None

    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()

    await assert_forgotten(hass, entry)


async def test_a_device_loads_when_what_a_crash_left_cannot_be_removed(
    hass: HomeAssistant, entry: MockConfigEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await entry.runtime_data.history.async_forget("front_door")

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", read_only)
    assert await hass.config_entries.async_reload(entry.entry_id)


async def test_an_unknown_name_is_said(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    with pytest.raises(ServiceValidationError, match="Cellar"):
        await forget(hass, image_name="Cellar")


@pytest.mark.parametrize("data", [{}, {"image_name": ""}, {"all": False}, {"all": True, "image_name": "Front door"}])
async def test_it_needs_to_know_what(hass: HomeAssistant, entry: MockConfigEntry, data: dict[str, object]) -> None:
    with pytest.raises(vol.Invalid):
        await forget(hass, **data)
    assert hass.states.get(SENSOR) is not None


async def test_files_that_cannot_be_removed_lose_nothing(
    hass: HomeAssistant, entry: MockConfigEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", read_only)
    with pytest.raises(Exception, match="Read-only file system"):
        await forget(hass, image_name="Front door")
    assert hass.states.get(SENSOR) is not None
    assert sorted(stored(hass, entry)) == ["front_door", "garden"]


async def test_a_user_forgets_only_what_he_may_control(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    MockUser(id="guest").add_to_hass(hass).mock_policy({"entities": {"entity_ids": {SENSOR: {"read": True}}}})
    with pytest.raises(Unauthorized):
        await hass.services.async_call(
            DOMAIN, "forget_image", {"image_name": "Front door"}, blocking=True, context=Context(user_id="guest")
        )
    assert hass.states.get(SENSOR) is not None


@pytest.mark.parametrize("slug", ["front_door", "garden"])
async def test_a_user_who_may_not_control_all_forgets_nothing(
    hass: HomeAssistant, entry: MockConfigEntry, slug: str
) -> None:
    policy = {"entities": {"entity_ids": {f"{domain}.ollama_vision_{slug}": True for domain in ("sensor", "image")}}}
    MockUser(id="guest").add_to_hass(hass).mock_policy(policy)
    with pytest.raises(Unauthorized):
        await hass.services.async_call(
            DOMAIN, "forget_image", {"all": True}, blocking=True, context=Context(user_id="guest")
        )
    assert sorted(stored(hass, entry)) == ["front_door", "garden"]
