"""Draws the brand images: an eye that looks out of a front door. `python scripts/lib/draw_brand.py` writes them."""

from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFont

BRAND = Path(__file__).parents[2] / "custom_components/ollama_vision/brand"
SIZE = 2048  # drawn large and scaled down, for smooth edges
TOP, BOTTOM = (0x2B, 0xB3, 0xA3), (0x12, 0x4E, 0x78)
INK, WHITE, GLOW = (0x0B, 0x24, 0x3B), (0xFF, 0xFF, 0xFF), (0xFF, 0xC8, 0x57)


def door() -> Image.Image:
    """Return the door with its eye, alone on nothing, as high as the picture."""
    shape = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(shape)
    draw.ellipse((264, 0, 1784, 1520), fill=255)
    draw.rounded_rectangle((264, 760, 1784, 2047), 120, fill=255, corners=(False, False, True, True))
    picture = gradient()
    picture.putalpha(shape)
    draw_eye(picture)
    circle(ImageDraw.Draw(picture), (1565, 1590), 80, GLOW)
    return picture


def gradient() -> Image.Image:
    """Return a picture that goes from one colour at the top to another at the bottom."""
    mask = Image.linear_gradient("L").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", (SIZE, SIZE), BOTTOM), Image.new("RGB", (SIZE, SIZE), TOP), mask)


def draw_eye(picture: Image.Image) -> None:
    """Draw the eye: two circles cross, and what they share is an eye's white; in it a lens."""
    middle, radius, half_height = (1024, 860), 760, 390
    upper, lower = (Image.new("L", picture.size) for _ in range(2))
    for mask, sign in ((upper, 1), (lower, -1)):
        y = middle[1] + sign * (radius - half_height)
        circle(ImageDraw.Draw(mask), (middle[0], y), radius, 255)
    picture.paste(WHITE, mask=ImageChops.multiply(upper, lower))
    draw = ImageDraw.Draw(picture)
    for size, colour in ((330, INK), (262, TOP), (190, BOTTOM), (120, INK)):
        circle(draw, middle, size, colour)
    circle(draw, (1110, 770), 62, WHITE)


def circle(draw: ImageDraw.ImageDraw, middle: tuple[int, int], radius: int, colour: int | tuple[int, int, int]) -> None:
    """Draw a filled circle."""
    x, y = middle
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def logo(icon: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Return the icon with the name beside it, in a font that comes with Pillow, without an edge around it."""
    name = "Ollama Vision"
    font = ImageFont.load_default(900)
    icon = icon.crop(icon.getbbox())
    width = icon.width + 300 + round(font.getlength(name))
    picture = Image.new("RGBA", (width, SIZE), (*colour, 0))
    picture.paste(icon, (0, 0))
    ImageDraw.Draw(picture).text((icon.width + 300, SIZE / 2), name, colour, font, anchor="lm")
    return picture.crop(picture.getbbox())


def main() -> None:
    """Write all images in both sizes."""
    BRAND.mkdir(exist_ok=True)
    icon = door()
    images = {"icon": icon, "logo": logo(icon, INK), "dark_logo": logo(icon, WHITE)}
    for name, image in images.items():
        for suffix, height in (("", 256), ("@2x", 512)):
            size = (round(image.width * height / image.height), height)
            scaled = image.resize(size, Image.Resampling.LANCZOS)
            scaled.save(BRAND / f"{name}{suffix}.png", optimize=True)


if __name__ == "__main__":
    main()
