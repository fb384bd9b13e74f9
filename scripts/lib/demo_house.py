"""What the demo does in Home Assistant: it adds a device as a user and analyzes pictures as an automation does."""

import asyncio
from collections.abc import Mapping
from typing import Any

from demo_errors import DemoError
from demo_pictures import Picture
from demo_server import Server

from tests.real_home_assistant import FormError, RealHomeAssistant

DOMAIN = "ollama_vision"
ANALYZED = "ollama_vision_image_analyzed"
# Home Assistant fires the event before the action returns, so it is there.
SECONDS_TO_HEAR = 10


async def add_device(house: RealHomeAssistant, server: Server) -> None:
    """Go through the config flow."""
    connection = {"api": server.api, "verify_ssl": True} | ({"api_key": server.api_key} if server.api_key else {})
    step = await house.start_flow(DOMAIN)
    step = await _answer(
        house, server, step, {"name": "Ollama Vision", "vision_host": server.host, "connection": connection}
    )
    model = server.model or _suggested(step, "vision_model")
    step = await _answer(house, server, step, {"vision_model": model})
    if step["type"] != "create_entry":
        raise DemoError(f"{server.host} has no model {model}: let it pull that one, or choose another with --model.")


async def analyze(house: RealHomeAssistant, picture: Picture) -> dict[str, Any]:
    """Return the data of the event that an automation hears."""
    async with house.events(ANALYZED) as events:
        await house.call_action(DOMAIN, "analyze_image", {"image_url": picture.url, "image_name": picture.name})
        async with asyncio.timeout(SECONDS_TO_HEAR):
            data: dict[str, Any] = (await anext(events))["data"]
    return data


async def _answer(
    house: RealHomeAssistant, server: Server, step: Mapping[str, Any], data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the next step; raise DemoError with the sentence that a user would read at the field."""
    try:
        return await house.answer(step, data)
    except FormError as err:
        texts = await house.command("frontend/get_translations", language="en", category="config", integration=[DOMAIN])
        prefix = f"component.{DOMAIN}.config.error."
        sentences = [texts["resources"].get(prefix + key, key) for key in err.errors.values()]
        raise DemoError(f"{server.host}: {' '.join(sentences).format_map(err.placeholders)}") from err


def _suggested(step: Mapping[str, Any], field: str) -> str:
    """Return what a form suggests for a field."""
    (found,) = (entry for entry in step["data_schema"] if entry["name"] == field)
    value: str = (found.get("description") or {}).get("suggested_value") or found["default"]
    return value
