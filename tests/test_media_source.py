"""What was seen, in the media browser."""

from datetime import UTC, datetime
from typing import Any

from homeassistant.components import media_source
from homeassistant.components.media_player import BrowseError
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator, WebSocketGenerator

from .common import add_device, entry_data
from .results import JPEG, PNG, a_result
from .servers.ollama_front import OllamaFront

ROOT = "media-source://ollama_vision"


@pytest.fixture
async def entry(hass: HomeAssistant, ollama_front: OllamaFront) -> MockConfigEntry:
    """Return a device that has seen three things on two days, in New York."""
    await hass.config.async_set_time_zone("America/New_York")
    await async_setup_component(hass, "media_source", {})
    entry = await add_device(hass, entry_data(ollama_front.url), options={"history_days": 3650})
    history = entry.runtime_data.history
    for name, hour, picture, kind, words in (
        ("Front door", 2, JPEG, "image/jpeg", "A postman\nwith a parcel."),
        ("garden", 17, PNG, "image/png", "A fox. " * 30),
        ("Front Door", 20, None, None, "Nobody."),
    ):
        time = datetime(2026, 11, 20, hour, 5, tzinfo=UTC)
        result = a_result(name, time, integration_id=entry.entry_id, final_description=words)
        await history.async_add(result, picture, kind)
    return entry


async def browse(hass: HomeAssistant, path: str = "") -> Any:
    """Return a folder of the media browser."""
    return await media_source.async_browse_media(hass, f"{ROOT}{path}")


def titles(folder: Any) -> list[str]:
    """Return the titles of what is in a folder."""
    return [child.title for child in folder.children]


async def test_a_person_finds_a_picture_by_day(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    devices = await browse(hass)
    assert (devices.title, titles(devices)) == ("Ollama Vision", ["Ollama Vision"])
    assert (devices.children[0].can_play, devices.children[0].can_expand) == (False, True)
    device = await browse(hass, f"/{devices.children[0].identifier}")
    assert titles(device) == ["By day", "By name"]
    days = await browse(hass, f"/{device.children[0].identifier}")
    assert (days.title, titles(days)) == ("By day", ["2026-11-20", "2026-11-19"])
    day = await browse(hass, f"/{days.children[0].identifier}")
    assert day.title == "2026-11-20"
    assert titles(day)[0] == "15:05 Front Door: Nobody."
    assert titles(day)[1].startswith("12:05 garden: A fox. A fox.")
    assert titles(day)[1].endswith("…")
    assert len(titles(day)[1]) <= 120
    assert titles(await browse(hass, f"/{days.children[1].identifier}")) == [
        "21:05 Front door: A postman with a parcel."
    ]


async def test_a_person_finds_a_picture_by_name(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    names = await browse(hass, f"/{entry.entry_id}/name")
    assert (names.title, titles(names)) == ("By name", ["Front Door", "garden"])
    latest = entry.runtime_data.history.latest
    assert [child.thumbnail for child in names.children] == [None, latest["garden"].picture]
    name = await browse(hass, f"/{names.children[0].identifier}")
    assert name.title == "Front Door"
    assert titles(name) == ["2026-11-20 15:05: Nobody.", "2026-11-19 21:05: A postman with a parcel."]


async def test_the_titles_speak_the_languages_of_the_house(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    hass.config.language = "xx"
    assert titles(await browse(hass, f"/{entry.entry_id}")) == ["By day", "By name"]


async def test_thumbnails_and_pictures_are_those_of_the_results(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    hass_client: ClientSessionGenerator,
    hass_client_no_auth: ClientSessionGenerator,
    hass_ws_client: WebSocketGenerator,
) -> None:
    websocket = await hass_ws_client(hass)
    await websocket.send_json_auto_id(
        {"type": "media_source/browse_media", "media_content_id": f"{ROOT}/{entry.entry_id}/name/garden"}
    )
    shown = (await websocket.receive_json())["result"]["children"][0]
    assert (shown["can_play"], shown["can_expand"]) == (True, False)
    assert shown["media_content_type"] == "image/png"
    thumbnail = await (await hass_client()).get(shown["thumbnail"])
    assert await thumbnail.read() == PNG

    await websocket.send_json_auto_id(
        {"type": "media_source/resolve_media", "media_content_id": shown["media_content_id"]}
    )
    resolved = (await websocket.receive_json())["result"]
    assert resolved["mime_type"] == "image/png"
    opened = await (await hass_client_no_auth()).get(resolved["url"])
    assert (opened.status, await opened.read()) == (200, PNG)


async def test_other_integrations_read_the_picture_from_disk(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    folder = await browse(hass, f"/{entry.entry_id}/name/front_door")
    media = await media_source.async_resolve_media(hass, folder.children[1].media_content_id, None)
    assert media.mime_type == "image/jpeg"
    assert media.path is not None
    assert await hass.async_add_executor_job(media.path.read_bytes) == JPEG


async def test_a_result_without_a_picture_can_be_read_only(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    child = (await browse(hass, f"/{entry.entry_id}/name/front_door")).children[0]
    assert (child.title, child.can_play, child.thumbnail) == ("2026-11-20 15:05: Nobody.", False, None)
    with pytest.raises(media_source.Unresolvable, match="Nothing is kept at"):
        await media_source.async_resolve_media(hass, child.media_content_id, None)


@pytest.mark.parametrize(
    "path",
    [
        "/nobody",
        "/nobody/name/garden",
        "/{entry}/name/cellar",
        "/{entry}/day/2026-11-18",
        "/{entry}/day/9999-12-31",
        "/{entry}/day/yesterday",
        "/{entry}/week",
        "/{entry}/name/garden/picture",
        "/{entry}/picture/../../../secrets.yaml",
        "/{entry}/picture/01KCZ0000000000000000000ZZ",
        "/{entry}/",
    ],
)
async def test_what_is_not_kept_is_said_so(hass: HomeAssistant, entry: MockConfigEntry, path: str) -> None:
    path = path.format(entry=entry.entry_id)
    with pytest.raises(BrowseError, match="Nothing is kept at"):
        await browse(hass, path)
    with pytest.raises(media_source.Unresolvable, match="Nothing is kept at"):
        await media_source.async_resolve_media(hass, f"{ROOT}{path}", None)


async def test_a_device_that_is_not_loaded_is_not_listed(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    assert titles(await browse(hass)) == []
    with pytest.raises(BrowseError):
        await browse(hass, f"/{entry.entry_id}/name")
