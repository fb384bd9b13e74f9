"""Diagnostics and system health say much, and nothing secret."""

import json

from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import get_system_health_info
from pytest_homeassistant_custom_component.components.diagnostics import get_diagnostics_for_config_entry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.ollama_vision.const import DOMAIN

from .common import add_device, analyze, entry_data, text_model
from .servers.ollama_front import OllamaFront
from .test_services import A_PICTURE


async def test_a_download_helps_and_leaks_nothing(
    hass: HomeAssistant, hass_client: ClientSessionGenerator, ollama_front: OllamaFront
) -> None:
    assert await async_setup_component(hass, "diagnostics", {})
    url = ollama_front.url.replace("//", "//householder:hidden-word@")
    entry = await add_device(
        hass, entry_data(url, vision_api_key="sk-vision-key", **text_model(url), text_api_key="sk-text-key")
    )
    await analyze(hass, image_url=A_PICTURE, image_name="Bedroom", prompt="Who sleeps there?")

    report = await get_diagnostics_for_config_entry(hass, hass_client, entry)

    server = report["servers"]["vision"]
    assert (server["url"], server["api"], server["version"]) == (ollama_front.url, "ollama", "0.32.15")
    assert {model["name"] for model in server["models"]} >= {"tiny-vision:latest", "tiny-text:latest"}
    assert report["data"]["vision_model"] == "tiny-vision"
    assert report["statistics"]["analyses"] == 1
    assert report["image_names"] == 1
    text = json.dumps(report)
    for secret in ("hidden-word", "householder", "sk-", "Who sleeps", "mostly", "Bedroom", "base64", "/picture/"):
        assert secret not in text


async def test_the_system_information_sums_up(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    assert await async_setup_component(hass, "system_health", {})
    await add_device(hass, entry_data(ollama_front.url, name="First"))
    await add_device(hass, entry_data(ollama_front.url, name="Second"))
    await add_device(hass, entry_data("http://127.0.0.1:9", name="Away"))
    await analyze(hass, image_url=A_PICTURE)

    assert await get_system_health_info(hass, DOMAIN) == {
        "devices": 3,
        "servers_reachable": "1 / 2",
        "requests_waiting": 0,
        "analyses": 1,
        "failures": 0,
    }
