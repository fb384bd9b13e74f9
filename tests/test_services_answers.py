"""The actions that only answer: the servers' models, and what was seen."""

from typing import Any

from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import UnknownUser
import pytest
from pytest_homeassistant_custom_component.common import MockUser
import voluptuous as vol

from custom_components.ollama_vision.const import DOMAIN

from .common import add_device, analyze, entry_data, text_model
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFront
from .test_services import A_PICTURE, device_of


async def ask(hass: HomeAssistant, action: str, *, context: Context | None = None, **data: Any) -> dict[str, Any]:
    """Call an action that answers."""
    answer = await hass.services.async_call(DOMAIN, action, data, blocking=True, return_response=True, context=context)
    assert isinstance(answer, dict)
    return answer


async def test_the_models_of_each_server_are_listed(
    hass: HomeAssistant, ollama_front: OllamaFront, llama_server: LlamaServer
) -> None:
    entry = await add_device(
        hass, entry_data(ollama_front.url, **text_model(llama_server.url, api="openai", model="tiny-vision"))
    )

    vision, text = (await ask(hass, "list_models"))["servers"]

    assert {key: value for key, value in vision.items() if key != "models"} == {
        "device_id": device_of(hass, entry),
        "role": "vision",
        "server": ollama_front.url,
        "reachable": True,
        "version": "0.32.15",
    }
    models = {model["name"]: model for model in vision["models"]}
    assert (
        models["tiny-vision:latest"] | {"vision": True, "loaded": False, "in_use": True} == models["tiny-vision:latest"]
    )
    assert models["tiny-text:latest"]["vision"] is False
    assert models["tiny-text:latest"]["in_use"] is False
    assert models["tiny-vision:latest"]["size"] > 0
    assert (text["role"], text["server"]) == ("text", llama_server.url)
    assert [model["in_use"] for model in text["models"]] == [True]


async def test_a_server_that_is_away_is_listed_as_such(hass: HomeAssistant, socket_enabled: None) -> None:
    await add_device(hass, entry_data("http://127.0.0.1:9"))
    (server,) = (await ask(hass, "list_models"))["servers"]
    assert (server["reachable"], server["models"]) == (False, [])


async def test_the_history_answers_newest_first_and_filters(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    first = await add_device(hass, entry_data(ollama_front.url, name="First"))
    second = await add_device(hass, entry_data(ollama_front.url, name="Second"))
    responses = [
        await analyze(hass, image_url=A_PICTURE, image_name=name, device_id=device_of(hass, entry), prompt=prompt)
        for entry, name, prompt in ((first, "Door", "A?"), (second, "Garden", "B?"), (first, "Door", "C?"))
    ]

    async def prompts(**filters: Any) -> list[str]:
        return [result["prompt"] for result in (await ask(hass, "get_history", **filters))["results"]]

    assert await prompts() == ["C?", "B?", "A?"]
    assert await prompts(limit=1) == ["C?"]
    assert await prompts(image_name="DOOR") == ["C?", "A?"]
    assert await prompts(device_id=device_of(hass, second)) == ["B?"]
    assert await prompts(since=responses[1]["timestamp"]) == ["C?", "B?"]
    assert await prompts(until=responses[1]["timestamp"]) == ["A?"]
    assert await prompts(text="garden") == ["B?"]
    assert await prompts(text="unicorn") == []
    (newest,) = (await ask(hass, "get_history", limit=1))["results"]
    assert newest["picture"] == responses[2]["picture"]
    assert newest["device_id"] == device_of(hass, first)


@pytest.mark.parametrize(
    ("options", "pictures"),
    [
        ({}, [True, True]),
        ({"history_days": 0}, [True]),
        ({"history_results": 0}, [True]),
        ({"history_megabytes": 0}, [True, False]),
    ],
)
async def test_earlier_results_are_kept_as_the_options_say(
    hass: HomeAssistant, ollama_front: OllamaFront, options: dict[str, int], pictures: list[bool]
) -> None:
    """The latest one of a name is kept in any case."""
    entry = await add_device(hass, entry_data(ollama_front.url), options=options)
    for prompt in ("A?", "B?"):
        await analyze(hass, image_url=A_PICTURE, prompt=prompt)

    results = (await ask(hass, "get_history"))["results"]

    assert [result["prompt"] for result in results] == ["B?", "A?"][: len(pictures)]
    files = [entry.runtime_data.history.picture_file(result["picture"].rpartition("/")[2]) for result in results]
    assert [file is not None for file in files] == pictures


async def test_a_user_sees_what_he_may_read(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    await analyze(hass, image_url=A_PICTURE, image_name="Door")
    await analyze(hass, image_url=A_PICTURE, image_name="Garden")
    user = MockUser(id="guest").add_to_hass(hass)
    user.mock_policy({"entities": {"entity_ids": {"sensor.ollama_vision_garden": True}}})

    results = (await ask(hass, "get_history", context=Context(user_id="guest")))["results"]

    assert [result["image_name"] for result in results] == ["Garden"]
    with pytest.raises(UnknownUser):
        await ask(hass, "get_history", context=Context(user_id="gone"))


@pytest.mark.parametrize("filters", [{"limit": 0}, {"limit": 1001}, {"since": "yesterday"}, {"who": "me"}])
async def test_filters_that_make_no_sense_are_refused(
    hass: HomeAssistant, ollama_front: OllamaFront, filters: dict[str, Any]
) -> None:
    await add_device(hass, entry_data(ollama_front.url))
    with pytest.raises(vol.Invalid):
        await ask(hass, "get_history", **filters)
