"""Draws the picture that the demo ships: a parcel at a red front door. `python scripts/lib/draw_front_door.py`."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

PICTURE = Path(__file__).with_name("front-door.jpg")
WIDTH, HEIGHT = 1600, 1200


def main() -> None:
    """Write the picture, drawn at twice its size for smooth edges."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), (120, 28, 24))
    draw = ImageDraw.Draw(picture)
    draw_bricks(draw)
    draw_light(picture)
    draw_door(draw)
    draw_step(draw)
    picture.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.LANCZOS).save(PICTURE, quality=88)


def draw_bricks(draw: ImageDraw.ImageDraw) -> None:
    """Draw a wall of red bricks, each a little different."""
    for row, y in enumerate(range(0, 1010, 56)):
        for column, x in enumerate(range(-70 * (row % 2), WIDTH, 140)):
            shade = (row * 7 + column * 13) % 5 * 6
            draw.rectangle((x, y, x + 132, y + 48), (172 + shade, 44 + shade // 2, 38 + shade // 2))


def draw_light(picture: Image.Image) -> None:
    """Let a lamp shine on the wall beside the door."""
    glow = Image.new("L", picture.size)
    ImageDraw.Draw(glow).ellipse((1110, 180, 1510, 620), fill=110)
    picture.paste((255, 190, 110), mask=glow.filter(ImageFilter.GaussianBlur(80)))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((1290, 300, 1330, 330), (40, 36, 36))
    draw.rounded_rectangle((1260, 330, 1360, 480), 18, (255, 224, 150), (40, 36, 36), 10)


def draw_door(draw: ImageDraw.ImageDraw) -> None:
    """Draw the door: a frame, four panels, a window, a knob, a letter slot and the number of the house."""
    draw.rectangle((520, 90, 1080, 1010), (244, 232, 222))
    draw.rectangle((556, 126, 1044, 1010), (206, 22, 30))
    draw.rounded_rectangle((606, 170, 994, 360), 24, (96, 30, 40), (150, 12, 20), 12)
    draw.polygon([(630, 340), (760, 190), (830, 190), (700, 340)], (150, 66, 70))
    for left, top, bottom in ((606, 410, 660), (820, 410, 660), (606, 720, 960), (820, 720, 960)):
        draw.rectangle((left, top, left + 174, bottom), (184, 14, 24), (150, 12, 20), 10)
    draw.rounded_rectangle((700, 672, 900, 708), 12, (214, 174, 86), (150, 116, 48), 4)
    draw.ellipse((984, 664, 1030, 710), (232, 192, 96), (150, 116, 48), 4)
    draw.ellipse((1140, 560, 1232, 652), (244, 232, 222))
    draw.text((1186, 606), "7", (120, 16, 22), font_size=72, anchor="mm")


def draw_step(draw: ImageDraw.ImageDraw) -> None:
    """Draw the step with a mat and a parcel on it."""
    draw.rectangle((0, 1010, WIDTH, HEIGHT), (138, 74, 66))
    draw.rectangle((440, 1010, 1160, 1090), (170, 104, 92))
    draw.polygon([(600, 1060), (1000, 1060), (1050, 1150), (550, 1150)], (92, 20, 22))
    draw.rectangle((1010, 880, 1250, 1086), (206, 150, 92), (150, 102, 56), 6)
    draw.rectangle((1112, 880, 1148, 1086), (228, 196, 150))


if __name__ == "__main__":
    main()
