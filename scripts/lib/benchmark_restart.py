"""How much longer a real Home Assistant takes to start with 2,000 image names, each with sensor, image and result.

The same house is started with and without them, in turns; its server is off, as it may be when the power comes back.
"""

import asyncio
import json
from pathlib import Path
from statistics import median
import sys
import tempfile
import time

from homeassistant.util.ulid import ulid_at_time

from custom_components.ollama_vision.result_files import ResultFiles
from tests import ha_preload  # noqa: F401  (the helpers below import the test plugin)
from tests.common import entry_data, picture
from tests.real_home_assistant import RealHomeAssistant
from tests.results import a_result

NAMES = 2000
RUNS = 5
TARGET_SECONDS = 1.0
ENTRY = "01JBENCHMARK00000000000000"


def furnish(folder: Path, names: int) -> None:
    """Leave a device in a house that was started once, with the results of so many names."""
    path = folder / ".storage/core.config_entries"
    registry = json.loads(path.read_text())
    registry["data"]["entries"].append(
        {
            "created_at": "2026-11-21T08:00:00.000000+00:00",
            "modified_at": "2026-11-21T08:00:00.000000+00:00",
            "data": entry_data("http://127.0.0.1:9"),
            "disabled_by": None,
            "discovery_keys": {},
            "domain": "ollama_vision",
            "entry_id": ENTRY,
            "minor_version": 1,
            "options": {},
            "pref_disable_new_entities": False,
            "pref_disable_polling": False,
            "source": "user",
            "subentries": [],
            "title": "Ollama Vision",
            "unique_id": None,
            "version": 2,
        }
    )
    path.write_text(json.dumps(registry))
    files, jpeg = ResultFiles(folder / ".storage/ollama_vision" / ENTRY), picture("red")
    words = "A postman in a red jacket, smiling, with a parcel under his arm. " * 12
    for number in range(names):
        result = a_result(
            f"Camera {number}",
            result_id=ulid_at_time(time.time() + number / 1000),
            integration_id=ENTRY,
            description=words,
            final_description=words,
        )
        files.write(result, jpeg, "image/jpeg")


async def seconds_to_start(house: RealHomeAssistant, names: int) -> float:
    """Return how long a start takes, until Home Assistant runs and all entities are there."""
    start = time.perf_counter()
    await house.start()
    taken = time.perf_counter() - start
    states = [state["entity_id"] for state in await house.get("/api/states")]
    await house.stop()
    there = len([entity_id for entity_id in states if entity_id.startswith("sensor.ollama_vision_camera_")])
    if there != names:
        raise RuntimeError(f"{there} of {names} sensors are there")
    return taken


async def measure() -> list[tuple[float, float]]:
    """Return the seconds of starts without and with the results, in pairs."""
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as full:
        houses = [(RealHomeAssistant(Path(empty)), 0), (RealHomeAssistant(Path(full)), NAMES)]
        for house, names in houses:
            await house.start()
            await house.stop()
            await asyncio.to_thread(furnish, house.folder, names)
            await seconds_to_start(house, names)  # registers the entities
        return [(await seconds_to_start(*houses[0]), await seconds_to_start(*houses[1])) for _ in range(RUNS)]


def main() -> int:
    """Print the table; fail where the target is missed."""
    pairs = asyncio.run(measure())
    without, with_names = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    added = median(pair[1] - pair[0] for pair in pairs)
    met = added <= TARGET_SECONDS
    print("| start of Home Assistant | seconds | target | |")
    print("|---|---|---|---|")
    print(f"| without results | {without:.2f} | | |")
    print(f"| with {NAMES:,} names | {with_names:.2f} | | |")
    print(
        f"| added, median of {RUNS} pairs | {added:.2f} | at most {TARGET_SECONDS:.0f} | {'met' if met else 'MISSED'} |"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
