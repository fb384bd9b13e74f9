"""The bytes of any picture become what every model server reads, or an error that says why not."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import io
import itertools
from pathlib import Path
import resource
import subprocess
import sys
import tempfile
from typing import Any

from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin
import pytest

from custom_components.ollama_vision import preprocessing
from custom_components.ollama_vision.preprocessing import prepare

from .picture_maker import (
    BLUE,
    GREEN,
    INVERSE_TURNS,
    RED,
    WHITE,
    YELLOW,
    Colour,
    assert_corners,
    assert_near,
    corners,
    deep_png,
    exif,
    interlaced_png,
    keyed,
    moving,
    opened,
    pixel,
    saved,
    with_hole,
)

PICTURES = Path(__file__).parent / "pictures"


def grey(colour: Colour) -> Colour:
    """Return the grey that Pillow makes of a colour."""
    level = Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))
    assert isinstance(level, int)
    return level, level, level


UNTOUCHED: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(corners(), "JPEG"),
    "progressive jpeg": lambda: saved(corners(), "JPEG", progressive=True),
    "grey jpeg": lambda: saved(corners().convert("L"), "JPEG"),
    "jpeg with upright exif": lambda: saved(corners(), "JPEG", exif=exif(1)),
    "jpeg with a stray orientation": lambda: saved(corners(), "JPEG", exif=exif(77)),
    "png": lambda: saved(corners(), "PNG"),
    "grey png": lambda: saved(corners().convert("L"), "PNG"),
    "interlaced png": lambda: interlaced_png(corners()),
    "longest edge just fits": lambda: saved(corners(1024, 10), "PNG"),
    "captured jpeg": (PICTURES / "a.jpg").read_bytes,
    "captured progressive jpeg": (PICTURES / "prog.jpg").read_bytes,
    "captured grey jpeg": (PICTURES / "gray.jpg").read_bytes,
    "captured png": (PICTURES / "a.png").read_bytes,
    "one pixel": (PICTURES / "1x1.png").read_bytes,
}


@pytest.mark.parametrize("make", UNTOUCHED.values(), ids=UNTOUCHED)
def test_what_needs_nothing_is_passed_on_byte_for_byte(make: Callable[[], bytes]) -> None:
    """A thumbnail costs no quality and next to no time."""
    data = make()
    prepared = prepare(data)
    assert prepared.data is data
    opened(prepared)


REMADE: dict[str, tuple[Callable[[], bytes], Colour]] = {
    "cmyk jpeg": (lambda: saved(corners().convert("CMYK"), "JPEG"), RED),
    "palette png": (lambda: saved(corners().quantize(4), "PNG"), RED),
    "palette png, one transparent colour": (lambda: keyed("P"), WHITE),
    "palette png, alpha": (lambda: saved(with_hole("RGBA").quantize(8), "PNG"), WHITE),
    "rgba png": (lambda: saved(with_hole("RGBA"), "PNG"), WHITE),
    "opaque rgba png": (lambda: saved(corners().convert("RGBA"), "PNG"), RED),
    "rgb png, one transparent colour": (lambda: keyed("RGB"), WHITE),
    "16-bit png": (lambda: deep_png(corners()), RED),
    "moving png": (lambda: moving("PNG"), RED),
    "gif": (lambda: saved(corners(), "GIF"), RED),
    "gif, transparent": (lambda: saved(with_hole("RGBA"), "GIF"), WHITE),
    "moving gif": (lambda: moving("GIF"), RED),
    "webp": (lambda: saved(corners(), "WEBP"), RED),
    "lossless webp": (lambda: saved(with_hole("RGBA"), "WEBP", lossless=True), WHITE),
    "moving webp": (lambda: moving("WEBP"), RED),
    "bmp": (lambda: saved(corners(), "BMP"), RED),
    "tiff": (lambda: saved(corners(), "TIFF"), RED),
    "tiff, big endian": (lambda: saved(corners(), "TIFF", big_endian=True), RED),
    "bigtiff": (lambda: saved(corners(), "TIFF", big_tiff=True), RED),
    "lzw tiff": (lambda: saved(corners(), "TIFF", compression="tiff_lzw"), RED),
    "cmyk tiff": (lambda: saved(corners().convert("CMYK"), "TIFF"), RED),
    "rgba tiff": (lambda: saved(with_hole("RGBA"), "TIFF"), WHITE),
    "avif": (lambda: saved(corners(), "AVIF"), RED),
    "avif with alpha": (lambda: saved(with_hole("RGBA"), "AVIF"), WHITE),
    "moving avif": (lambda: moving("AVIF"), RED),
    "over 1 MB png": (lambda: saved(corners(800, 600), "PNG", compress_level=0), RED),
    "wide jpeg": (lambda: saved(corners(3000, 900), "JPEG"), RED),
    "tall png": (lambda: saved(corners(300, 2500), "PNG"), RED),
    "big palette gif": (lambda: saved(corners(3000, 1500), "GIF"), RED),
    "big rgba png": (lambda: saved(with_hole("RGBA").resize((2400, 1600), Image.Resampling.NEAREST), "PNG"), WHITE),
}


@pytest.mark.parametrize(("make", "top_left"), REMADE.values(), ids=REMADE)
def test_everything_else_becomes_a_small_baseline_rgb_jpeg(make: Callable[[], bytes], top_left: Colour) -> None:
    """Every server reads a baseline JPEG; what was transparent is white; of a moving picture it is the first frame."""
    data = make()
    announced = Image.open(io.BytesIO(data)).size
    prepared = prepare(data)
    assert_corners(prepared, top_left)
    image = opened(prepared)
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    assert (image.mode, "progressive" in image.info) == ("RGB", False)
    same_quality = Image.open(io.BytesIO(saved(corners(), "JPEG", quality=85)))
    assert isinstance(same_quality, JpegImagePlugin.JpegImageFile)
    assert image.quantization == same_quality.quantization
    scale = min(1, 1024 / max(announced))
    assert image.size == (round(announced[0] * scale), round(announced[1] * scale))


GREY = {
    "1": lambda: saved(corners().convert("1", dither=Image.Dither.NONE), "PNG"),
    "LA": lambda: saved(with_hole("LA"), "PNG"),
    "L, one transparent level": lambda: keyed("L"),
    "16-bit png": lambda: saved(corners().convert("L").convert("I").point(lambda v: v * 257).convert("I;16"), "PNG"),
    "16-bit tiff": lambda: saved(corners().convert("L").convert("I").point(lambda v: v * 257).convert("I;16"), "TIFF"),
    "big grey jpeg": lambda: saved(corners(2400, 1600).convert("L"), "JPEG"),
}


@pytest.mark.parametrize("name", GREY)
def test_grey_of_every_depth_becomes_rgb(name: str) -> None:
    """Sixteen bits keep their tones, and transparent grey is white."""
    prepared = prepare(GREY[name]())
    right, bottom = prepared.width - 8, prepared.height - 8
    levels = [grey(colour) for colour in (RED, GREEN, BLUE, YELLOW)]
    if name == "1":
        levels = [WHITE if level[0] >= 128 else (0, 0, 0) for level in levels]
    elif name.startswith("L"):
        levels[0] = WHITE
    assert opened(prepared).mode == "RGB"
    for place, level in zip(((8, 8), (right, 8), (8, bottom), (right, bottom)), levels, strict=True):
        assert_near(pixel(prepared, *place), level, 12)


@pytest.mark.parametrize("orientation", INVERSE_TURNS)
@pytest.mark.parametrize(
    ("image_format", "size"),
    [
        ("JPEG", (96, 64)),
        ("JPEG", (2400, 1600)),
        ("PNG", (96, 64)),
        ("WEBP", (96, 64)),
        ("TIFF", (1800, 1200)),
        ("AVIF", (96, 64)),
    ],
)
def test_a_picture_is_turned_as_its_exif_says(image_format: str, orientation: int, size: tuple[int, int]) -> None:
    """A phone's picture reaches the model upright, and says so."""
    stored = corners(*size).transpose(INVERSE_TURNS[orientation])
    prepared = prepare(saved(stored, image_format, exif=exif(orientation)))
    scale = min(1, 1024 / size[0])
    assert (prepared.width, prepared.height) == (round(size[0] * scale), round(size[1] * scale))
    assert_corners(prepared)
    assert ExifTags.Base.Orientation not in opened(prepared).getexif()


@pytest.mark.parametrize(
    ("size", "longest_edge", "expected"),
    [
        ((2000, 1000), 1024, (1024, 512)),
        ((1000, 2000), 1024, (512, 1024)),
        ((1025, 1025), 1024, (1024, 1024)),
        ((300, 200), 1024, (300, 200)),
        ((2000, 1000), 1536, (1536, 768)),
        ((300, 200), 100, (100, 67)),
        ((10000, 1), 1024, (1024, 1)),
        ((1, 10000), 1024, (1, 1024)),
        ((3, 60000), 1024, (1, 1024)),
    ],
)
@pytest.mark.parametrize("image_format", ["JPEG", "GIF"])
def test_the_longest_edge(
    size: tuple[int, int], longest_edge: int, expected: tuple[int, int], image_format: str
) -> None:
    """It is cut down and never drawn out, and no edge vanishes."""
    prepared = prepare(saved(Image.new("RGB", size, RED), image_format), longest_edge=longest_edge)
    assert opened(prepared).size == expected
    assert_near(pixel(prepared, expected[0] // 2, expected[1] // 2), RED)


@pytest.mark.parametrize("name", ["12mp.jpg", "big.jpg", "cmyk.jpg", "rgba.png", "a.avif", "a.bmp", "a.gif", "a.tiff"])
def test_captured_pictures_look_the_same_afterwards(name: str) -> None:
    """What a server sees is what the plain way of Pillow shows."""
    data = (PICTURES / name).read_bytes()
    prepared = prepare(data)
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((8, 6), Image.Resampling.BOX)
    small = opened(prepared).resize((8, 6), Image.Resampling.BOX)
    for place in itertools.product(range(8), range(6)):
        before, after = image.getpixel(place), small.getpixel(place)
        assert isinstance(before, tuple)
        assert isinstance(after, tuple)
        assert_near((after[0], after[1], after[2]), (before[0], before[1], before[2]))


LOCATED: dict[str, dict[str, Any]] = {
    "exif": {"exif": exif(1, GPSInfo={1: "N", 2: (52.0, 31.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)})},
    "xmp": {"xmp": b"<x:xmpmeta><exif:GPSLatitude>52,31N</exif:GPSLatitude></x:xmpmeta>"},
    "exif that cannot be read": {"exif": b"Exif\0\0GPSLatitude 52"},
}


@pytest.mark.parametrize("name", LOCATED)
def test_where_a_picture_was_taken_stays_here(name: str) -> None:
    """A small picture that needs nothing is made anew when its metadata may tell a place."""
    prepared = prepare(saved(corners(), "JPEG", dpi=(72, 72), **LOCATED[name]))
    assert not {"exif", "xmp"} & set(opened(prepared).info)
    assert b"GPS" not in prepared.data
    assert b"52" not in prepared.data[:200]
    assert_corners(prepared)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
def test_metadata_does_not_leave(image_format: str) -> None:
    """Neither a comment nor EXIF, XMP or a colour profile is in a picture that was made anew."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "secret")
    options: dict[str, Any] = {
        "comment": b"secret",
        "exif": exif(6, Exif={ExifTags.Base.LensModel: "secret"}),
        "xmp": b"secret",
        "icc_profile": b"secret" * 50,
    }
    if image_format == "PNG":
        options["pnginfo"] = text
    prepared = prepare(saved(corners(1300, 700).quantize(16).convert("RGB"), image_format, **options))
    assert b"secret" not in prepared.data
    assert set(opened(prepared).info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize("room", [0, 20_000])
def test_a_disk_without_room_costs_no_picture(room: int) -> None:
    """The end of a file that gets no room is cut off by the system without an error."""
    picture = saved(Image.effect_noise((1100, 100), 60), "BMP")
    in_full = prepare(picture)
    assert 20_000 < len(in_full.data) < 60_000
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
    try:
        cramped = prepare(picture)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert cramped == in_full


def test_no_folder_for_files_costs_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert_corners(prepare(saved(corners(), "BMP")))


def test_several_threads_at_once() -> None:
    """Four pictures are prepared at a time in Home Assistant's executor."""
    files = [make() for make, _ in REMADE.values()] * 3
    alone = [prepare(data) for data in files]
    with ThreadPoolExecutor(4) as executor:
        assert list(executor.map(prepare, files)) == alone


MEASURE = """
import re, sys
sys.path.append(sys.argv[1])
from preprocessing import prepare

def kibibytes(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1))

prepare(open(sys.argv[2], "rb").read())
data = open(sys.argv[3], "rb").read()
open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
before = kibibytes("VmRSS")
prepare(data)
print((kibibytes("VmHWM") - before) * 1024)
"""


@pytest.mark.parametrize(
    ("mode", "image_format", "most"),
    [
        # The decoded size, one or four bytes a pixel, and 64 MB over it.
        ("1", "PNG", 24_000_000 + 64_000_000),
        ("P", "PNG", 24_000_000 + 64_000_000),
        ("RGBA", "PNG", 96_000_000 + 64_000_000),
        # A JPEG is never decoded in full.
        ("RGB", "JPEG", 24_000_000),
    ],
)
def test_memory_stays_near_the_decoded_size(mode: str, image_format: str, most: int, tmp_path: Path) -> None:
    """A huge picture in another mode is not copied as a whole."""
    small, huge = tmp_path / "small", tmp_path / "huge"
    small.write_bytes(saved(with_hole(mode), image_format))
    huge.write_bytes(saved(with_hole(mode).resize((6000, 4000)), image_format, compress_level=1))
    command = (sys.executable, "-c", MEASURE, str(Path(preprocessing.__file__).parent), str(small), str(huge))
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603  (our own code)
    assert peak < most
