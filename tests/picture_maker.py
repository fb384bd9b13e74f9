"""Makes picture files of every kind, all with the same four colours, and looks at what became of them."""

import io
import itertools
import struct
import zlib

from PIL import ExifTags, Image

from custom_components.ollama_vision.preprocessing import PreparedImage

type Colour = tuple[int, int, int]

RED, GREEN, BLUE, YELLOW, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (230, 220, 20), (255, 255, 255)
# What undoes the turn that each orientation of the EXIF asks for.
INVERSE_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def corners(width: int = 96, height: int = 64) -> Image.Image:
    """Return a picture with another colour in each quarter."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Return the picture's file."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(header: tuple[int, int, int, int, int], pixels: bytes, *extra: bytes) -> bytes:
    """Return a PNG of (width, height, bit depth, colour type, interlacing), with chunks before its pixels."""
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", *header[:4], 0, 0, header[4]))
    idat = chunk(b"IDAT", zlib.compress(pixels))
    return b"".join((b"\x89PNG\r\n\x1a\n", ihdr, *extra, idat, chunk(b"IEND", b"")))


def interlaced_png(image: Image.Image) -> bytes:
    """Return the picture as a PNG in Adam7's seven passes, which Pillow reads and does not write."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    width, height = image.size
    raw = image.tobytes()
    rows = (
        b"\0" + b"".join(raw[3 * (y * width + x) :][:3] for x in range(left, width, right))
        for left, top, right, down in passes
        for y in range(top, height, down)
    )
    return png((width, height, 8, 2, 1), b"".join(rows))


def deep_png(image: Image.Image) -> bytes:
    """Return the picture as a PNG of sixteen bits a colour, which Pillow reads and does not write."""
    width, height = image.size
    raw = image.tobytes()
    rows = (
        b"\0" + bytes(itertools.chain.from_iterable(zip(row, row, strict=True)))
        for row in itertools.batched(raw, 3 * width, strict=True)
    )
    return png((width, height, 16, 2, 0), b"".join(rows))


def with_hole(mode: str) -> Image.Image:
    """Return the four colours with a transparent quarter top left."""
    image = corners().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 48, 32))
    return image.convert(mode)


def exif(orientation: int, **ifds: dict[int, object]) -> bytes:
    """Return EXIF with this orientation and a camera's name."""
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = orientation
    made[ExifTags.Base.Make] = "A camera"
    for name, ifd in ifds.items():
        made[ExifTags.IFD[name]] = ifd
    return made.tobytes()


def keyed(mode: str) -> bytes:
    """Return a PNG that calls one of its colours transparent, the one of its top left quarter."""
    image = corners().quantize(4) if mode == "P" else corners().convert(mode)
    return saved(image, "PNG", transparency=image.getpixel((1, 1)))


def moving(image_format: str) -> bytes:
    """Return a moving picture: the four colours, then all black."""
    later = [Image.new("RGB", (96, 64), (i, 0, 0)) for i in range(3)]
    return saved(corners(), image_format, save_all=True, append_images=later, duration=100)


def pixel(prepared: PreparedImage, x: int, y: int) -> Colour:
    """Return one pixel of a prepared picture, in RGB."""
    found = opened(prepared).convert("RGB").getpixel((x, y))
    assert isinstance(found, tuple)
    return found[0], found[1], found[2]


def opened(prepared: PreparedImage) -> Image.Image:
    """Open a prepared picture, which has to be what it says."""
    image = Image.open(io.BytesIO(prepared.data))
    image.load()
    assert Image.MIME[str(image.format)] == prepared.mime_type
    assert image.size == (prepared.width, prepared.height)
    return image


def assert_near(found: Colour, expected: Colour, tolerance: int = 24) -> None:
    """Assert that two colours look alike."""
    assert all(abs(a - b) <= tolerance for a, b in zip(found, expected, strict=True)), (found, expected)


def assert_corners(prepared: PreparedImage, top_left: Colour = RED) -> None:
    """Assert that the four colours are where they belong."""
    right, bottom = prepared.width - 8, prepared.height - 8
    assert_near(pixel(prepared, 8, 8), top_left)
    assert_near(pixel(prepared, right, 8), GREEN)
    assert_near(pixel(prepared, 8, bottom), BLUE)
    assert_near(pixel(prepared, right, bottom), YELLOW)
