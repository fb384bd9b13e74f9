"""A house that ran the 1.0 series starts with this version and keeps all that its owner knows by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from .common import data_url, picture
from .real_home_assistant import RealHomeAssistant
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFrontProcess

PORCH, YARD, OLD = "01JPORCH000000000000000000", "01JYARD0000000000000000000", "01JOLD00000000000000000000"


def old_entry(entry_id: str, data: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return a config entry as Home Assistant stored it for version 1.0.9."""
    return {
        "created_at": "2025-06-01T08:00:00.000000+00:00",
        "modified_at": "2025-06-01T08:00:00.000000+00:00",
        "data": data,
        "disabled_by": None,
        "discovery_keys": {},
        "domain": "ollama_vision",
        "entry_id": entry_id,
        "minor_version": 1,
        "options": options,
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "subentries": [],
        "title": data["name"],
        "unique_id": None,
        "version": 1,
    }


def old_sensor(
    entry_id: str, unique_id: str, entity_id: str, original_name: str, name: str | None = None
) -> dict[str, Any]:
    """Return a sensor of an entry in the entity registry's first form, which every Home Assistant reads."""
    return {
        "config_entry_id": entry_id,
        "device_id": f"device_{entry_id}",
        "entity_id": entity_id,
        "name": name,
        "original_name": original_name,
        "platform": "ollama_vision",
        "unique_id": unique_id,
    }


def old_device(entry_id: str, name: str, area_id: str | None = None) -> dict[str, Any]:
    """Return an entry's device in the device registry's first form."""
    return {
        "area_id": area_id,
        "config_entries": [entry_id],
        "connections": [],
        "id": f"device_{entry_id}",
        "identifiers": [["ollama_vision", entry_id]],
        "manufacturer": "Ollama Vision",
        "model": "moondream",
        "name": name,
        "name_by_user": None,
        "sw_version": None,
        "via_device_id": None,
    }


def store(house: Path, key: str, data: dict[str, Any]) -> None:
    """Write one of Home Assistant's stores in its first version."""
    content = {"version": 1, "minor_version": 1, "key": key, "data": data}
    (house / ".storage" / key).write_text(json.dumps(content))


def move_in(house: Path, server: str) -> None:
    """Leave in a house what three devices of version 1.0.9 leave there."""
    host, port = server.removeprefix("http://").split(":")
    vision = {"model": "moondream", "vision_keepalive": -1, "text_model_enabled": False}
    porch = {"name": "Porch", "host": "192.0.2.1", "port": 11434, **vision}
    yard = {"name": "Yard", "host": f"http://user:word@{host}:{port}", "port": 11434, **vision, "model": "tiny-vision"}
    old = {"name": "Old", "host": "[2001:db8::7]", "port": 8080, **vision, "vision_keepalive": "5m"}
    changed = {"host": host, "port": int(port), "model": "tiny-vision", "vision_keepalive": 0}
    text = {"text_model_enabled": True, "text_host": host, "text_port": int(port), "text_model": "tiny-text"}
    entries = [old_entry(PORCH, porch, changed | text), old_entry(YARD, yard, {}), old_entry(OLD, old, {})]
    registry = json.loads((house / ".storage/core.config_entries").read_text())
    registry["data"]["entries"] += entries
    (house / ".storage/core.config_entries").write_text(json.dumps(registry))
    area: dict[str, object] = {
        "aliases": [],
        "icon": None,
        "id": "front",
        "name": "Front",
        "normalized_name": "front",
        "picture": None,
    }
    store(house, "core.area_registry", {"areas": [area]})
    devices = [old_device(PORCH, "Porch", "front"), old_device(YARD, "Yard"), old_device(OLD, "Old")]
    store(house, "core.device_registry", {"devices": devices})
    sensors = [
        old_sensor(PORCH, f"{PORCH}_front_door", "sensor.porch_front_door", "Front door"),
        old_sensor(PORCH, f"{PORCH}_letter_box", "sensor.post_has_come", "Letter box", "Has the post come?"),
        old_sensor(PORCH, f"ollama_vision_{PORCH}_vision_info", "sensor.porch_vision_model", "Vision Model"),
        old_sensor(PORCH, f"ollama_vision_{PORCH}_text_info", "sensor.porch_text_model", "Text Model"),
        old_sensor(YARD, f"{YARD}_front_door", "sensor.yard_front_door", "front door"),
        old_sensor(YARD, f"ollama_vision_{YARD}_vision_info", "sensor.yard_vision_model", "Vision Model"),
        old_sensor(OLD, f"ollama_vision_{OLD}_vision_info", "sensor.old_vision_model", "Vision Model"),
    ]
    store(house, "core.entity_registry", {"entities": sensors})


@pytest.mark.usefixtures("socket_enabled")
async def test_everything_keeps_its_name_and_its_place(tmp_path: Path, llama_server: LlamaServer) -> None:
    house = RealHomeAssistant(tmp_path)
    async with house:
        pass  # the house of an owner who has not yet heard of Ollama Vision
    with OllamaFrontProcess(llama_server.url) as server:
        move_in(tmp_path, server.url)
        async with house:
            entries = {
                entry["entry_id"]: entry for entry in await house.command("config_entries/get", domain="ollama_vision")
            }
            assert {entry_id: entry["state"] for entry_id, entry in entries.items()} == dict.fromkeys(
                (PORCH, YARD, OLD), "loaded"
            )
            registered = {
                entity["unique_id"]: entity
                for entity in await house.command("config/entity_registry/list")
                if entity["platform"] == "ollama_vision"
            }
            assert registered[f"{PORCH}_front_door"]["entity_id"] == "sensor.porch_front_door"
            assert registered[f"{PORCH}_letter_box"]["entity_id"] == "sensor.post_has_come"
            assert registered[f"{PORCH}_letter_box"]["name"] == "Has the post come?"
            assert registered[f"{YARD}_front_door"]["entity_id"] == "sensor.yard_front_door"
            devices = {device["id"]: device for device in await house.command("config/device_registry/list")}
            assert devices[f"device_{PORCH}"]["area_id"] == "front"
            assert devices[f"device_{PORCH}"]["name"] == "Porch"

            states = {state["entity_id"]: state for state in await house.get("/api/states")}
            assert states["sensor.porch_vision_model"]["state"] == "tiny-vision @ 127.0.0.1"
            assert states["sensor.porch_text_model"]["state"] == "tiny-text @ 127.0.0.1"
            assert states["sensor.yard_vision_model"]["state"] == "tiny-vision @ 127.0.0.1"
            assert states["sensor.old_vision_model"]["state"] == "moondream @ 2001:db8::7"
            for sensor in ("sensor.porch_front_door", "sensor.post_has_come", "sensor.yard_front_door"):
                assert states[sensor]["state"] == "unknown"

            for entry_id, name, sensor in (
                (PORCH, "Letter box", "sensor.post_has_come"),
                (YARD, "Front Door", "sensor.yard_front_door"),
            ):
                answer = await house.call_action(
                    "ollama_vision",
                    "analyze_image",
                    {
                        "image_url": data_url(picture("red")),
                        "image_name": name,
                        "device_id": f"device_{entry_id}",
                    },
                )
                assert (answer["entity_id"], answer["description"]) == (sensor, "The picture is mostly red.")
                assert (await house.get(f"/api/states/{sensor}"))["state"] == "The picture is mostly red."
