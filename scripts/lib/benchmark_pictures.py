"""What preparing a picture costs, beside the plain way: Pillow's open, load, thumbnail with LANCZOS, save at 85.

Both get the same bytes in the same run, turn by turn. Prints a Markdown table; the exit status is 1 where a target is
missed. Memory is read from Linux's /proc.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
import io
import multiprocessing
from pathlib import Path
import random
import re
from statistics import median
import sys
import time

from PIL import Image

# The module alone: its package brings in all of Home Assistant, and the memory that takes.
sys.path.append(str(Path(__file__).parents[2] / "custom_components" / "ollama_vision"))
from preprocessing import prepare  # type: ignore[import-not-found]  # by the line above

RUNS = 30
HEARTBEAT = 0.001  # seconds
MOST_OF_THE_PLAIN_TIME = 0.5
MOST_STALL = 5.0  # milliseconds
MOST_FOR_A_THUMBNAIL = 3.0  # milliseconds
MOST_MEMORY_OVER_DECODED = 64.0  # megabytes
SIZE = (4000, 3000)
DECODED = SIZE[0] * SIZE[1] * 3 / 1e6  # megabytes

type Way = Callable[[bytes], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table, with numbers in its unit."""

    name: str
    prepared: float
    plain: float
    target: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.prepared <= self.target

    def __str__(self) -> str:
        """Return the line."""
        numbers = (f"{number:.1f} {self.unit}" for number in (self.prepared, self.plain))
        verdict = "met" if self.met else "**missed**"
        return f"| {self.name} | {' | '.join(numbers)} | at most {self.target:.1f} {self.unit} | {verdict} |"


def main() -> int:
    """Measure, print and judge."""
    photo, thumbnail = make_photo()
    ours, plain = milliseconds(photo)
    thumbnail_ours, thumbnail_plain = milliseconds(thumbnail)
    rows = [
        Row(name="12 megapixels, time", prepared=ours, plain=plain, target=plain * MOST_OF_THE_PLAIN_TIME, unit="ms"),
        Row(
            name="12 megapixels, longest stall of the event loop",
            prepared=asyncio.run(stall(prepare, photo)),
            plain=asyncio.run(stall(plain_way, photo)),
            target=MOST_STALL,
            unit="ms",
        ),
        Row(
            name=f"12 megapixels, peak of memory ({DECODED:.0f} MB decoded)",
            prepared=peak_memory(prepare, photo, thumbnail),
            plain=peak_memory(plain_way, photo, thumbnail),
            target=DECODED + MOST_MEMORY_OVER_DECODED,
            unit="MB",
        ),
        Row(
            name=f"thumbnail of {len(thumbnail) / 1e3:.0f} kB, time",
            prepared=thumbnail_ours,
            plain=thumbnail_plain,
            target=MOST_FOR_A_THUMBNAIL,
            unit="ms",
        ),
    ]
    print(f"| median of {RUNS} | prepared | the plain way | target | |")
    print("| --- | ---: | ---: | ---: | --- |")
    print(*rows, sep="\n")
    idle = asyncio.run(stall(lambda _: time.sleep(0.1), photo))
    print(f"\nThe 12 megapixels are a JPEG of {len(photo) / 1e6:.1f} MB; {ours / plain:.0%} of the plain way's time.")
    print(f"The event loop of this machine stalls for {idle:.1f} ms while the executor only sleeps.")
    return 0 if all(row.met for row in rows) else 1


def plain_way(data: bytes) -> bytes:
    """Do with Pillow what comes to mind first."""
    image: Image.Image = Image.open(io.BytesIO(data))
    image.load()
    image.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
    return jpeg(image)


def jpeg(image: Image.Image) -> bytes:
    """Return the picture as a JPEG of quality 85."""
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def make_photo() -> tuple[bytes, bytes]:
    """Return a JPEG of 12 megapixels with gradients, soft shapes and a sensor's noise, and its thumbnail."""
    chance = random.Random(12)  # noqa: S311  (the same picture at every run)
    coarse = (SIZE[0] // 4, SIZE[1] // 4)
    sky = Image.linear_gradient("L").resize(SIZE)
    light = Image.radial_gradient("L").resize(SIZE)
    gradients = Image.merge("RGB", (sky, light, Image.blend(sky, light, 0.5)))
    shapes = Image.frombytes("RGB", coarse, chance.randbytes(coarse[0] * coarse[1] * 3))
    noise = Image.frombytes("L", SIZE, chance.randbytes(SIZE[0] * SIZE[1])).convert("RGB")
    scene = Image.blend(gradients, shapes.resize(SIZE, Image.Resampling.BICUBIC), 0.25)
    photo = Image.blend(scene, noise, 0.05)
    return jpeg(photo), jpeg(photo.resize((400, 300)))


def milliseconds(data: bytes) -> tuple[float, float]:
    """Return the median time of our way and of the plain way, in turns."""
    times: dict[Way, list[float]] = {prepare: [], plain_way: []}
    for run in range(RUNS + 1):
        for way, taken in times.items():
            start = time.perf_counter()
            way(data)
            if run:  # the first one loads what Pillow needs
                taken.append((time.perf_counter() - start) * 1e3)
    return median(times[prepare]), median(times[plain_way])


async def stall(way: Way, data: bytes) -> float:
    """Return the longest time in ms in which the event loop did nothing, while the executor is at work; the median."""
    loop = asyncio.get_running_loop()
    longest = []
    for _ in range(RUNS):
        work = loop.run_in_executor(None, way, data)
        late = 0.0
        while not work.done():
            start = time.perf_counter()
            await asyncio.sleep(HEARTBEAT)
            late = max(late, time.perf_counter() - start - HEARTBEAT)
        await work
        longest.append(late * 1e3)
    return median(longest)


def peak_memory(way: Way, data: bytes, warm_up: bytes) -> float:
    """Return by how many MB a process of its own grows while it works."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(measure_growth, (way, data, warm_up))


def measure_growth(way: Way, data: bytes, warm_up: bytes) -> float:
    """Return the peak of this process' memory over what it had before, in MB."""
    way(warm_up)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    before = resident("VmRSS")
    way(data)
    return resident("VmHWM") - before


def resident(name: str) -> float:
    """Return a number of /proc/self/status in MB."""
    (kibibytes,) = re.findall(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(kibibytes) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
