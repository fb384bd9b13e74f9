"""The bytes of any picture -> what a vision model gets.

Pure and synchronous: call it in an executor, never on the event loop. It is safe in several threads at once and changes
none of Pillow's settings, which belong to the whole process.
"""

from contextlib import suppress
from dataclasses import dataclass
import io
import re
from tempfile import TemporaryFile

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

MAX_PIXELS = 64_000_000
MAX_UNTOUCHED_BYTES = 1024 * 1024
JPEG_QUALITY = 85
END_OF_JPEG = b"\xff\xd9"
# Full-size copies in another mode are made of this many pixels at a time, which keeps the peak of memory low.
BAND_PIXELS = 1_000_000

# Pillow's other formats stay closed: each is more code that a stranger's bytes could reach. Opening them here and not
# with Image.open keeps its limit of pixels out, which warns about some pictures and which anybody may have changed.
_OPENERS: tuple[tuple[re.Pattern[bytes], type[ImageFile.ImageFile]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebPImagePlugin.WebPImageFile),
    (re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    (re.compile(rb".{4}ftyp(avif|avis|mif1|msf1)", re.DOTALL), AvifImagePlugin.AvifImageFile),
    (re.compile(rb"BM"), BmpImagePlugin.BmpImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImagePlugin.TiffImageFile),
)

# A PNG's bit depth and colour type: eight bits of grey or RGB (PNG specification, 11.2.1).
_PLAIN_PNGS = (b"\x08\x00", b"\x08\x02")

# By the orientation in the EXIF.
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """A picture that every model server reads: upright, opaque, RGB or grey. Its edges are in pixels."""

    data: bytes
    mime_type: str
    width: int
    height: int


class PreprocessingError(Exception):
    """A picture cannot be prepared; the text says why in a few words."""


class NotAnImageError(PreprocessingError):
    """The bytes are not a whole picture of a format that is read here."""


class ImageTooLargeError(PreprocessingError):
    """The picture announces more than 64 megapixels."""


def prepare(data: bytes, *, longest_edge: int = 1024) -> PreparedImage:
    """Return the picture as "image/jpeg" or "image/png", its edges at most `longest_edge` pixels.

    The format is read from the bytes alone. A JPEG or PNG that needs nothing comes back as it is, byte for byte;
    everything else becomes an RGB JPEG without metadata. Of a moving picture it is the first frame. Raises
    NotAnImageError for what is no picture or a broken one, and ImageTooLargeError before it decodes too much.
    """
    try:
        with _open(data) as image:
            return _untouched(data, image, longest_edge) or _remade(image, longest_edge)
    except PreprocessingError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as err:
        raise ImageTooLargeError(str(err)) from err
    except Exception as err:  # a broken file makes Pillow raise nearly anything
        raise NotAnImageError(str(err) or type(err).__name__) from err


def _open(data: bytes) -> ImageFile.ImageFile:
    """Return the picture, not yet decoded, when its format and its announced size are fine."""
    opener = next((opener for signature, opener in _OPENERS if signature.match(data)), None)
    if opener is None:
        message = "not a JPEG, PNG, GIF, WebP, BMP, TIFF or AVIF picture" if data else "empty"
        raise NotAnImageError(message)
    if opener is WebPImagePlugin.WebPImageFile and data[12:16] == b"VP8X":
        # Pillow's decoder asks for the memory of the whole canvas when it opens one.
        _check_size(*(int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27)))
    image = opener(io.BytesIO(data))
    _check_size(*image.size)
    if isinstance(image, PngImagePlugin.PngImageFile):
        # Decoding alone overlooks wrong checksums and a missing end, which some model servers refuse. It uses the
        # picture up.
        image.verify()
        image = opener(io.BytesIO(data))
    return image


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        message = f"{width} x {height} pixels"
        raise ImageTooLargeError(message)


def _untouched(data: bytes, image: ImageFile.ImageFile, longest_edge: int) -> PreparedImage | None:
    """Return the picture byte for byte, or None when it needs work."""
    width, height = image.size
    if len(data) > MAX_UNTOUCHED_BYTES or max(width, height) > longest_edge or not _is_plain(data, image):
        return None
    orientation, may_be_located = _read_exif(image)
    if orientation in _TRANSPOSES or may_be_located:
        return None
    # Decoding is the only proof that the picture is whole; a JPEG's is quickest at the smallest scale.
    image.draft(None, (1, 1))
    image.load()
    return PreparedImage(data=data, mime_type=Image.MIME[str(image.format)], width=width, height=height)


def _is_plain(data: bytes, image: ImageFile.ImageFile) -> bool:
    """Whether it is a JPEG or a still PNG, opaque, in RGB or grey of eight bits."""
    if isinstance(image, PngImagePlugin.PngImageFile):
        return data[24:26] in _PLAIN_PNGS and "transparency" not in image.info and not image.is_animated
    return isinstance(image, JpegImagePlugin.JpegImageFile) and image.mode in ("L", "RGB")


def _read_exif(image: ImageFile.ImageFile) -> tuple[int, bool]:
    """Return the orientation, 1 to 8, and whether the metadata may tell where the picture was taken."""
    try:
        exif = image.getexif()
        located = ExifTags.Base.GPSInfo in exif or b"GPSLatitude" in image.info.get("xmp", b"")
        return exif.get(ExifTags.Base.Orientation, 1), located
    except Exception:  # noqa: BLE001  (broken metadata raises nearly anything, and the picture itself may be fine)
        return 1, True


def _remade(image: ImageFile.ImageFile, longest_edge: int) -> PreparedImage:
    size = _fit(image.size, longest_edge)
    image.draft(None, size)
    image.load()
    # Only now: a TIFF is turned while it is loaded, and a PNG's EXIF may follow its pixels.
    orientation, _ = _read_exif(image)
    opaque = image if image.mode == "RGB" and not image.has_transparency_data else _flatten(image, longest_edge)
    result = opaque.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    if orientation in _TRANSPOSES:
        result = result.transpose(_TRANSPOSES[orientation])
    # Pillow would write what came with the picture, such as its comment.
    result.info = {}
    return PreparedImage(data=_encode(result), mime_type="image/jpeg", width=result.width, height=result.height)


def _encode(image: Image.Image) -> bytes:
    # Into a real file Pillow encodes without holding the interpreter's lock, which else stops the event loop as well.
    with suppress(OSError), TemporaryFile() as file:
        image.save(file, "JPEG", quality=JPEG_QUALITY)
        file.seek(0)
        content = file.read()
        # A disk that gets full in the middle of a write keeps the beginning and says nothing.
        if content.endswith(END_OF_JPEG):
            return content
    # There is no room for files: better slowly than not at all.
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _fit(size: tuple[int, int], longest_edge: int) -> tuple[int, int]:
    """Return the size with its longest edge cut down to `longest_edge`, each edge at least one pixel."""
    scale = min(1, longest_edge / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _flatten(image: Image.Image, longest_edge: int) -> Image.Image:
    """Return an opaque RGB copy, reduced by a whole number so far that it is still at least `longest_edge` long."""
    width, height = image.size
    factor = max(1, max(width, height) // longest_edge)
    flat = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = max(1, BAND_PIXELS // (width * factor)) * factor
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        flat.paste(_on_white(band).reduce(factor), (0, top // factor))
    return flat


def _on_white(image: Image.Image) -> Image.Image:
    """Return the picture in RGB, white where it is transparent."""
    if image.mode.startswith("I"):
        # Sixteen bits a pixel: Pillow's own conversion would cut off all that is not nearly black.
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white
