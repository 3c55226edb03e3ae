"""Rendered graphics for training: text, windows, drawings, flat colours, which folders of photographs lack.

Without them a codec spends its bits on the white of a page, and letters become illegible.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from pydoc_data import topics
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
FONT_SIZES = (11.0, 56.0)


def draw_graphic(random: np.random.Generator, size: int) -> np.ndarray:
    """A random rendered graphic, (size, size, 3) uint8."""
    kinds = (_page, _window, _drawing, _plain)
    image = Image.new("RGB", (size, size), _colour(random))
    kinds[random.choice(len(kinds), p=(0.4, 0.2, 0.3, 0.1))](image, random)
    return np.asarray(image)


def _page(image: Image.Image, random: np.random.Generator) -> None:
    """Lines of text, mostly dark on white."""
    if random.random() < 0.6:
        paper = (255,) * 3 if random.random() < 0.6 else tuple(random.integers(225, 256, 3).tolist())
        image.paste(paper, (0, 0, *image.size))
    _write(image, random, (0, 0, *image.size))


def _window(image: Image.Image, random: np.random.Generator) -> None:
    """Rectangles beside and within one another, with text, as on a screen."""
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(random.integers(2, 6)):
        left, top = random.integers(-width // 4, width), random.integers(-height // 4, height)
        right, bottom = left + random.integers(20, width), top + random.integers(16, height)
        box = (int(left), int(top), int(right), int(bottom))
        outline = _colour(random) if random.random() < 0.4 else None
        draw.rounded_rectangle(box, int(random.integers(0, 9)), _colour(random), outline)
        if random.random() < 0.7:
            _write(image, random, box)


def _drawing(image: Image.Image, random: np.random.Generator) -> None:
    """Filled and outlined shapes and lines."""
    if random.random() < 0.5:
        _shade(image, random)
    draw = ImageDraw.Draw(image)
    for _ in range(random.integers(2, 12)):
        points = random.integers(-40, image.width + 40, (random.integers(3, 6), 2)).tolist()
        fill = _colour(random) if random.random() < 0.7 else None
        outline = (0, 0, 0) if random.random() < 0.6 else _colour(random)
        line = int(random.integers(1, 7))
        (left, right), (top, bottom) = (sorted(pair) for pair in zip(points[0], points[1], strict=True))
        box = (left, top, right + 1, bottom + 1)
        match random.integers(5):
            case 0:
                draw.ellipse(box, fill, outline, line)
            case 1:
                draw.rectangle(box, fill, outline, line)
            case 2:
                draw.polygon([tuple(point) for point in points], fill, outline, line)
            case 3:
                draw.line([tuple(point) for point in points], outline, line, joint="curve")
            case _:
                draw.arc(box, random.uniform(0, 360), random.uniform(0, 360), outline, line)


def _plain(image: Image.Image, random: np.random.Generator) -> None:
    """One colour, or a run from one to another."""
    if random.random() < 0.5:
        _shade(image, random)


def _shade(image: Image.Image, random: np.random.Generator) -> None:
    """Fill with a linear run of colour in a random direction."""
    angle = random.uniform(0, 2 * math.pi)
    x, y = np.meshgrid(*(np.linspace(-0.5, 0.5, side) for side in image.size))
    share = np.clip(0.5 + x * math.cos(angle) + y * math.sin(angle), 0, 1)[..., None]
    first, second = (np.array(_colour(random), dtype=float) for _ in range(2))
    image.paste(Image.fromarray((first * (1 - share) + second * share).round().astype(np.uint8)))


def _write(image: Image.Image, random: np.random.Generator, box: tuple[int, int, int, int]) -> None:
    """Lines of running text over a box, in a colour that can be read on what is there."""
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = box
    column, row = (
        min(max(value, 0), side - 1)
        for value, side in zip(((left + right) // 2, (top + bottom) // 2), image.size, strict=True)
    )
    light = sum(cast("tuple[int, int, int]", image.getpixel((column, row)))) > 3 * 127
    ink = tuple(random.integers(0, 90, 3) if light else random.integers(165, 256, 3))
    if random.random() < 0.4:
        ink = (0, 0, 0) if light else (255, 255, 255)
    words, fonts = _words(), _fonts()
    start = int(random.integers(len(words) - 200))
    y = float(top + random.integers(0, 24))
    pixels = _font_size(random)
    font = ImageFont.truetype(fonts[random.choice(len(fonts))], pixels)
    while y < bottom:
        if random.random() < 0.15:  # a heading, or a note
            pixels = _font_size(random)
            font = ImageFont.truetype(fonts[random.choice(len(fonts))], pixels)
        count = int(random.integers(2, 12))
        start = (start + count) % (len(words) - 200)
        indent = int(random.integers(4, 24)) if random.random() < 0.5 else 8
        draw.text((left + indent, y), " ".join(words[start : start + count]), tuple(map(int, ink)), font)
        y += pixels * random.uniform(1.1, 1.9)


def _font_size(random: np.random.Generator) -> int:
    low, high = map(math.log, FONT_SIZES)
    return round(math.exp(random.uniform(low, high)))


def _colour(random: np.random.Generator) -> Colour:
    """Any colour; white, black and greys more often than they would come."""
    kind = random.random()
    if kind < 0.25:
        return (255, 255, 255) if kind < 0.18 else (0, 0, 0)
    if kind < 0.4:
        return (int(random.integers(256)),) * 3
    return tuple(random.integers(0, 256, 3).tolist())


@functools.cache
def _words() -> Sequence[str]:
    """English prose: the help texts that come with Python."""
    return " ".join(topics.topics.values()).split()


@functools.cache
def _fonts() -> Sequence[str]:
    """Files of the text fonts that matplotlib brings."""
    import matplotlib

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    kinds = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "STIXGeneral*.ttf")
    fonts = sorted(str(path) for kind in kinds for path in folder.glob(kind))
    return [path for path in fonts if "Display" not in path]
