"""What is written for people is true: every YAML block runs, and every table says what the code does."""

from collections.abc import Awaitable, Callable
from pathlib import Path
import re
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.core_config import async_process_ha_core_config
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.template import Template
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import load_yaml_dict
import pytest
from pytest_homeassistant_custom_component.common import async_capture_events, async_fire_mqtt_message

from custom_components.ollama_vision import const, coordinator, image_errors, image_source, preprocessing
from custom_components.ollama_vision.const import DOMAIN, EVENT_ANALYSIS_FAILED, EVENT_IMAGE_ANALYZED, AnalysisFault
from custom_components.ollama_vision.tasks import FINE_DETAIL_EDGE, TASKS

from .automations import add_automation, add_camera, frigate_event, phone, start_frigate
from .browser import SCREENSHOTS
from .common import add_device, analyze, data_url, entry_data, picture, text_model
from .readme import BLOCKS, FENCES, ROOT, Block, documents
from .servers.ollama_front import OllamaFront
from .test_services import A_PICTURE

PACKAGE = ROOT / "custom_components/ollama_vision"
README = (ROOT / "README.md").read_text()
WORDS = " ".join(README.split())
SERVICES: dict[str, Any] = load_yaml_dict(str(PACKAGE / "services.yaml"))


def section(heading: str) -> str:
    """Return what stands below a heading of the README, up to the next one."""
    body = README.split(f"\n{heading}\n", 1)[1]
    return re.split(r"^#", body, maxsplit=1, flags=re.MULTILINE)[0]


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(text: str) -> list[str]:
    """Return what is set in code."""
    return re.findall(r"`([^`]+)`", text)


# Running what people copy


async def perform(hass: HomeAssistant, config: dict[str, Any]) -> dict[str, Any]:
    """Run an action as a script does that goes on with its answer; return the one event that it ends with."""
    events = async_capture_events(hass, EVENT_IMAGE_ANALYZED)
    assert await async_setup_component(hass, "script", {"script": {"recipe": {"sequence": [config]}}})
    assert hass.states.get("script.recipe")
    await hass.services.async_call("script", "recipe", blocking=True)
    await hass.async_block_till_done()
    (event,) = events
    data: dict[str, Any] = event.data
    return data


async def who_is_at_the_door(hass: HomeAssistant, config: dict[str, Any], front: OllamaFront) -> None:
    """Have Frigate see somebody: one notification, with the words and this visitor's own picture."""
    await start_frigate(hass)
    notifications, events = phone(hass), async_capture_events(hass, EVENT_IMAGE_ANALYZED)
    await add_automation(hass, config)

    for message in (frigate_event(label="car"), frigate_event(), frigate_event("update"), frigate_event("end")):
        async_fire_mqtt_message(hass, "frigate/events", message)
    await hass.async_block_till_done()

    (notification,), (event,) = notifications, events
    assert notification.data["title"] == "At the front door"
    assert notification.data["message"] == "The picture is mostly green."
    assert notification.data["data"] == {"image": event.data["picture"], "tag": "1607123955.475377-mxklsc"}
    assert len(front.bodies()[-1]["messages"][0]["images"]) == 1


async def licence_plate(hass: HomeAssistant, config: dict[str, Any], front: OllamaFront) -> None:
    """Get no plates, since the tiny model reads none, in the form that is promised."""
    await add_camera(hass, "camera.driveway")
    assert (await perform(hass, config))["data"] == {"plates": []}
    assert front.bodies()[-1]["messages"][0]["content"] == TASKS["license_plate"].prompt


async def compare(hass: HomeAssistant, config: dict[str, Any], front: OllamaFront) -> None:
    """Ask about both pictures with one question, in their order."""
    folder = Path(hass.config.path("www"))

    def store() -> None:
        folder.mkdir()
        (folder / "yesterday.jpg").write_bytes(picture("red"))
        (folder / "today.jpg").write_bytes(picture("red"))

    await hass.async_add_executor_job(store)
    await async_process_ha_core_config(hass, {})  # as at every start; it allows `www`
    event = await perform(hass, config)
    assert event["image_urls"] == ["/local/yesterday.jpg", "/local/today.jpg"]
    assert event["final_description"] == "The picture is mostly red."
    assert len(front.bodies()[-1]["messages"][0]["images"]) == 2


async def exact_fields(hass: HomeAssistant, config: dict[str, Any], front: OllamaFront) -> None:
    """Get the fields that were asked for, as values and as a sentence."""
    await add_camera(hass, "camera.porch")
    event = await perform(hass, config)
    assert event["data"]["parcel"] is True
    assert event["data"]["people"] >= 0
    assert event["final_description"].startswith("Parcel: yes; People: ")


type Run = Callable[[HomeAssistant, dict[str, Any], OllamaFront], Awaitable[None]]

RUNS: dict[str, Run] = {
    "Who is at the door": who_is_at_the_door,
    "Read a licence plate; the answer is in `data.plates`.": licence_plate,
    "Compare two pictures.": compare,
    "Ask for exactly the fields that the automation needs.": exact_fields,
}


def entities(part: Any) -> set[str]:
    """Return the entities that a card shows."""
    if isinstance(part, list):
        return {entity for item in part for entity in ([item] if isinstance(item, str) else entities(item))}
    if not isinstance(part, dict):
        return set()
    named = {str(part[key]) for key in ("entity", "camera_image", "image_entity") if key in part}
    return named | {
        entity for key in ("entities", "card", "cards", "elements") if key in part for entity in entities(part[key])
    }


def contents(part: Any) -> list[str]:
    """Return the templates of a card."""
    if isinstance(part, list):
        return [text for item in part for text in contents(item)]
    if not isinstance(part, dict):
        return []
    own = [part["content"]] if "content" in part else []
    return own + [text for key in ("card", "cards", "elements") if key in part for text in contents(part[key])]


async def check_card(hass: HomeAssistant, config: dict[str, Any]) -> None:
    """Hold a dashboard card to what an analysis of the name "Front door" leaves; drawing it is a browser's work."""
    seen = await analyze(hass, image_url=data_url(picture("red")), image_name="Front door")
    shown = entities(config)
    assert shown | set(contents(config)), "it shows nothing"
    assert shown <= set(hass.states.async_entity_ids()), shown
    for text in contents(config):
        rendered = str(Template(text, hass).async_render(parse_result=False, strict=True))
        assert seen["final_description"] in rendered or seen["picture"] in rendered


def test_every_block_is_known_and_no_other_is_expected() -> None:
    assert {language for _, language, _ in FENCES} <= {"yaml", "sh", "text"}
    found = [block.name for block in BLOCKS if "type" not in block.config]
    assert sorted(found) == sorted(RUNS)
    assert len(BLOCKS) == len(re.findall(r"```ya?ml", "".join(page.read_text() for page in documents()), re.IGNORECASE))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
async def test_what_people_copy_runs(hass: HomeAssistant, block: Block, ollama_front: OllamaFront, mqtt: None) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    if "type" in block.config:
        await check_card(hass, block.config)
    else:
        await RUNS[block.name](hass, block.config, ollama_front)


async def test_a_card_is_held_to_what_there_is(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    image = {"type": "picture-entity", "entity": "image.ollama_vision_front_door"}
    text = {
        "type": "markdown",
        "content": "{{ state_attr('sensor.ollama_vision_front_door', 'final_description') }}",
    }
    await check_card(hass, {"type": "vertical-stack", "cards": [image, text]})
    with pytest.raises(AssertionError):
        await check_card(hass, {"type": "vertical-stack", "cards": [image | {"entity": "image.gone"}, text]})
    with pytest.raises(AssertionError):
        await check_card(hass, text | {"content": "{{ states('sensor.gone') }}"})


def test_every_screenshot_is_shown() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)|<img src=\"([^\"]+)\" alt=\"[^\"]+\"", README)
    files = [path.relative_to(ROOT).as_posix() for path in SCREENSHOTS.iterdir()]
    assert sorted(markdown or html for markdown, html in shown) == sorted(files)


# What the tables say


def test_the_actions_table_has_the_actions_fields() -> None:
    table = rows("### `ollama_vision.analyze_image`")
    listed = SERVICES["analyze_image"]["fields"]
    fields = {key: field for name, entry in listed.items() for key, field in entry.get("fields", {name: entry}).items()}
    assert [names(name)[0] for name, *_ in table] == list(fields)
    for (name, required, _), field in zip(table, fields.values(), strict=True):
        one_source = name in {"`image_url`", "`image_entity`"}
        expected = "one source" if one_source else "yes" if (field or {}).get("required") else "no"
        assert required == expected, name
    (tasks,) = [text for name, _, text in table if name == "`task`"]
    assert names(tasks) == list(TASKS)


def test_every_action_is_named() -> None:
    assert {f"ollama_vision.{name}" for name in SERVICES} == set(
        re.findall(r"ollama_vision\.\w+", section("## The actions") + section("### `ollama_vision.analyze_image`"))
    ) | {"ollama_vision.analyze_image"}


def test_the_table_of_errors_has_every_error() -> None:
    listed = [error for row in rows("## The events") for error in names(row[0])]
    assert sorted(listed) == sorted(AnalysisFault)


async def test_the_events_have_the_fields_that_are_listed(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    analyzed, failed = (
        names(re.split(r"\n\n", section("## The events").split(f"`{event}`", 1)[1])[0])
        for event in (EVENT_IMAGE_ANALYZED, EVENT_ANALYSIS_FAILED)
    )
    events = async_capture_events(hass, EVENT_ANALYSIS_FAILED)
    await add_device(hass, entry_data(ollama_front.url))

    response = await analyze(hass, image_url=A_PICTURE)
    with pytest.raises(HomeAssistantError):
        await analyze(hass, image_url=data_url(b"no picture"))
    await hass.async_block_till_done()

    assert sorted(analyzed) == sorted(response)
    assert sorted(failed) == sorted(events[0].data)


def test_the_setup_fields_have_their_defaults() -> None:
    defaults = {label: default for label, default, _ in rows("### Setup fields")}
    assert defaults == {
        "Name": const.DEFAULT_NAME,
        "Vision Host": "",
        "Vision Port": str(const.DEFAULT_PORT),
        "Vision Model": const.DEFAULT_VISION_MODEL,
        "Vision Model Keep-Alive": const.DEFAULT_KEEP_ALIVE,
        "Enable Text Model": "off",
        "Connection": "",
    }


def test_an_option_is_called_what_the_form_calls_it() -> None:
    named = re.findall(r"option \*([^*]+)\*|\*([^*]+)\* in the options", WORDS)
    labels = (PACKAGE / "translations/en.json").read_text()
    assert len(named) == 3
    for first, second in named:
        assert f'": "{first or second}"' in labels


@pytest.mark.parametrize(
    ("sentence", "values"),
    [
        (
            "Kept are {} days, {} results and {} MB of pictures",
            (const.DEFAULT_HISTORY_DAYS, const.DEFAULT_HISTORY_RESULTS, const.DEFAULT_HISTORY_MEGABYTES),
        ),
        (
            "at most {} pixels on the long edge ({} for text and charts)",
            (const.DEFAULT_PICTURE_SIZE, FINE_DETAIL_EDGE),
        ),
        (
            "it has over {} MB or {} megapixels",
            (image_errors.MAX_BYTES // 1024**2, preprocessing.MAX_PIXELS // 1_000_000),
        ),
    ],
)
def test_a_limit_is_the_codes(sentence: str, values: tuple[int, ...]) -> None:
    assert sentence.format(*values) in WORDS


def test_limits_that_are_written_as_words() -> None:
    assert "remembered for an hour" in WORDS
    assert const.DEFAULT_CACHE_MINUTES == 60
    assert "asked once a minute" in WORDS
    assert coordinator.POLL_INTERVAL.total_seconds() == 60
    assert "asks again for five seconds" in WORDS
    assert sum(image_source.LATE_DELAYS) == 5


async def test_a_device_brings_what_the_table_says(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    entry = await add_device(hass, entry_data(ollama_front.url, **text_model(ollama_front.url)))
    await analyze(hass, image_url=A_PICTURE, image_name="Front door")
    entries = er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
    assert {entity.platform for entity in entries} == {DOMAIN}
    by_name = {entity.original_name: entity for entity in entries}

    told = section("## What a device brings")
    for promised in ("sensor.<device>_<image name>", "image.<device>_<image name>", "event.<device>_analysis"):
        assert f"`{promised}`" in told
        entity_id = promised.replace("<device>", "ollama_vision").replace("<image name>", "front_door")
        assert hass.states.get(entity_id), entity_id

    cells = [row[0] for row in rows("## What a device brings")]
    assert "Vision model, Text model" in cells
    assert "Load, Unload … model" in cells
    assert {"Vision model", "Text model", "Load vision model", "Unload text model"} <= set(by_name)
    assert "Vision server reachable, Text server reachable" in cells
    assert {"Vision server reachable", "Text server reachable"} <= set(by_name)
    (numbers,) = [cell for cell in cells if "disabled at first" in cell]
    shown, hidden = (part.split(", ") for part in numbers.split("; disabled at first: "))
    assert {name: by_name[name].disabled for name in shown + hidden} == dict.fromkeys(shown, False) | dict.fromkeys(
        hidden, True
    )
