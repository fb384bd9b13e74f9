"""What is no whole picture, or too large a one, is refused with an error of its own."""

import io
from pathlib import Path
import random
import struct
from typing import Any
import zlib

from PIL import ExifTags, Image, PngImagePlugin
import pytest

from custom_components.ollama_vision.preprocessing import (
    ImageTooLargeError,
    NotAnImageError,
    PreprocessingError,
    prepare,
)

from .picture_maker import (
    WHITE,
    assert_corners,
    assert_near,
    chunk,
    corners,
    exif,
    opened,
    pixel,
    png,
    saved,
    with_hole,
)

PICTURES = Path(__file__).parent / "pictures"


def cut(image_format: str, part: float = 0.6, **options: Any) -> bytes:
    """Return the first part of a picture's file."""
    noise = Image.effect_noise((200, 150), 80).convert("RGB")
    data = saved(noise, image_format, **options)
    return data[: int(len(data) * part)]


def patched(data: bytes, at: int, value: bytes) -> bytes:
    """Return the bytes with others in their place."""
    return data[:at] + value + data[at + len(value) :]


UNPACKS_TO_20_MB = zlib.compress(bytes(20_000_000))
BROKEN = {
    "empty": b"",
    "one byte": b"\xff",
    "text": (PICTURES / "text.bin").read_bytes(),
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "json": b'{"error": "no picture"}',
    "zip": b"PK\x03\x04" + bytes(60),
    "a format that stays closed": saved(corners(), "PPM"),
    "jpeg's first bytes": b"\xff\xd8\xff",
    "png's first bytes": b"\x89PNG\r\n\x1a\n",
    "webp's first bytes": b"RIFF\x10\0\0\0WEBPVP8X",
    "captured corrupt jpeg": (PICTURES / "corrupt.jpg").read_bytes(),
    "captured cut-off jpeg": (PICTURES / "trunc.jpg").read_bytes(),
    "captured cut-off png": (PICTURES / "trunc.png").read_bytes(),
    "cut-off small jpeg": cut("JPEG"),
    "jpeg without its end": saved(corners(), "JPEG")[:-2],
    "cut-off progressive jpeg": cut("JPEG", progressive=True),
    "cut-off png": cut("PNG"),
    "png without its end": saved(corners(), "PNG")[:-12],
    "cut-off gif": cut("GIF"),
    "cut-off webp": cut("WEBP"),
    "cut-off bmp": cut("BMP"),
    "cut-off tiff": cut("TIFF"),
    "cut-off lzw tiff": cut("TIFF", compression="tiff_lzw"),
    "cut-off avif": cut("AVIF"),
    "png with the head of a jpeg": b"\xff\xd8\xff" + saved(corners(), "PNG")[3:],
    "png that announces more rows than it has": patched(saved(corners(), "PNG"), 20, struct.pack(">I", 400)),
    "bmp that announces more rows than it has": patched(saved(corners(), "BMP"), 22, struct.pack("<i", 400)),
    "png without pixels": png((0, 0, 8, 2, 0), b""),
    "png of an unknown depth": png((4, 4, 7, 2, 0), bytes(60)),
    "png with a byte too many": saved(corners(), "PNG").replace(b"IDAT", b"IDAT" + bytes(1), 1),
    "png with a text that unpacks to 20 MB": png(
        (1, 1, 8, 2, 0), bytes(4), chunk(b"zTXt", b"a\0\0" + UNPACKS_TO_20_MB)
    ),
    "png with a profile that unpacks to 20 MB": png(
        (1, 1, 8, 2, 0), bytes(4), chunk(b"iCCP", b"a\0\0" + UNPACKS_TO_20_MB)
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_whole_picture_is_said_so(data: bytes) -> None:
    """A half grey frame would be described as one; an error with a short reason is better."""
    with pytest.raises(NotAnImageError) as caught:
        prepare(data)
    assert 0 < len(str(caught.value)) < 120


def test_the_reason_is_one_that_helps() -> None:
    """Whoever gets a web page or nothing in place of a picture reads that it is none."""
    with pytest.raises(NotAnImageError, match=r"^empty$"):
        prepare(b"")
    with pytest.raises(NotAnImageError, match=r"^not a JPEG, PNG, GIF, WebP, BMP, TIFF or AVIF picture$"):
        prepare(BROKEN["html"])


def test_the_checksum_of_a_png_counts() -> None:
    """Pixels that decode and are wrong do not pass, although Pillow alone shows them."""
    data = bytearray(saved(corners(), "PNG"))
    data[data.index(b"IEND") - 5] ^= 1
    Image.open(io.BytesIO(data)).load()
    with pytest.raises(NotAnImageError):
        prepare(bytes(data))


def announcing(image_format: str, width: int, height: int) -> bytes:
    """Return a small picture's file whose header announces another size."""
    data = saved(corners(), image_format)
    if image_format == "JPEG":
        return patched(data, data.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))
    if image_format == "PNG":
        return png((width, height, 8, 2, 0), bytes(1000))
    if image_format == "GIF":
        return patched(data, 6, struct.pack("<HH", width, height))
    if image_format == "BMP":
        return patched(data, 18, struct.pack("<ii", width, height))
    if image_format == "WEBP":
        header = b"VP8X\x0a\0\0\0\0\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        return b"RIFF" + struct.pack("<I", len(data) + 10) + b"WEBP" + header + data[12:]
    for tag, value in ((ExifTags.Base.ImageWidth, width), (ExifTags.Base.ImageLength, height)):
        at = data.index(struct.pack("<HHI", tag, 4, 1))
        data = patched(data, at + 8, struct.pack("<I", value))
    return data


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("size", [(65_535, 65_535), (12_000, 10_000), (8_001, 8_000)])
def test_more_than_64_megapixels_are_refused_before_they_are_decoded(
    image_format: str, size: tuple[int, int], recwarn: pytest.WarningsRecorder
) -> None:
    """These files hold next to no pixels, so decoding one would be another error; Pillow's own limit stays silent."""
    with pytest.raises(ImageTooLargeError, match=f"{size[0]} x {size[1]} pixels"):
        prepare(announcing(image_format, *size))
    assert not recwarn.list


def test_a_frame_larger_than_its_gif_is_refused() -> None:
    """The size in a GIF's header is not the last word."""
    data = saved(corners(), "GIF")
    at = data.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 96, 64))
    with pytest.raises(ImageTooLargeError):
        prepare(patched(data, at + 5, struct.pack("<HH", 65_535, 65_535)))


def test_a_bomb_of_pixels_is_refused_and_64_megapixels_are_not() -> None:
    """The limit is where it is said to be."""
    with pytest.raises(ImageTooLargeError):
        prepare(saved(Image.new("1", (8_000, 8_001)), "PNG"))
    prepared = prepare(saved(Image.new("1", (8_000, 8_000), 1), "PNG"))
    assert (prepared.width, prepared.height) == (1024, 1024)
    assert_near(pixel(prepared, 500, 500), WHITE)


def test_megabytes_of_exif_are_no_obstacle() -> None:
    """They are skipped in little time and do not leave."""
    data = saved(corners(), "JPEG")
    block = b"\xff\xe1" + struct.pack(">H", 65_000) + b"Exif\0\0" + b"x" * (65_000 - 8)
    prepared = prepare(data[:2] + block * 150 + data[2:])
    assert_corners(prepared)
    assert len(prepared.data) < 10_000


@pytest.mark.parametrize("error", [MemoryError(), SyntaxError("odd"), struct.error("short"), KeyError("x")])
def test_whatever_pillow_raises_has_one_name(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors that no file here provokes in every release of Pillow."""

    def load(_: Image.Image) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(NotAnImageError, match=f"^{str(error) or type(error).__name__}$"):
        prepare(saved(corners(), "PNG"))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_random_damage_gives_a_picture_or_one_of_our_errors(image_format: str) -> None:
    """Nothing else comes out, whatever bytes are changed, lost or doubled."""
    chance = random.Random(image_format)  # noqa: S311  (the same damage at every run)
    whole = saved(with_hole("RGB" if image_format == "JPEG" else "RGBA"), image_format, exif=exif(6))
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 3, 20))):
            # Half of the damage goes to the first bytes, where the headers are.
            at = chance.randrange(min(len(data), chance.choice((80, len(whole)))))
            change = chance.randrange(4)
            if change == 0:
                del data[at : at + chance.randrange(1, 30)]
                data = data or bytearray(1)
            elif change == 1:
                data[at:at] = data[: chance.randrange(1, 30)]
            else:
                data[at] = chance.choice((0, 0xFF, data[at] ^ 1, chance.randrange(256)))
        try:
            prepared = prepare(bytes(data))
        except PreprocessingError:
            refused += 1
        else:
            opened(prepared)
    assert 0 < refused < 200
