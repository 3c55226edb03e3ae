"""The pictures of README and model card, made from real files by the embedded checkpoint.

``python assets/make_pictures.py teaser`` takes an example image; ``python assets/make_pictures.py
contact-sheet`` the four examples and four pictures that come with installed packages, or any
``IMAGES... --out sheet.png``; ``python assets/make_pictures.py drawn-sheet`` a page of text, a window, a
drawing and a flat colour; ``python assets/make_pictures.py details-sheet`` small parts, magnified.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sprdiff.checkpoint.weights import embedded_checkpoint  # noqa: E402
from sprdiff.comparison.compare import compare  # noqa: E402
from sprdiff.images import load_image, save_png  # noqa: E402
from sprdiff.pipeline import SPRDiffPipeline  # noqa: E402

METHODS = ("sprdiff-coarse", "sprdiff-final", "avif", "webp", "jpeg")
GAP = 12
CAPTION = 46
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def row(
    image: Image.Image, pipeline: SPRDiffPipeline, methods: tuple[str, ...], bpp: float, width: int
) -> Image.Image:
    """Original and methods side by side, each with its name, bytes and PSNR."""
    panels = [(image, "Original", f"{image.width} x {image.height}")]
    for result in compare(image, methods, pipeline, target_bpp=bpp, metrics=("psnr-rgb",)):
        decibels = result.metrics["psnr-rgb"].value
        note = f"{result.num_bytes} B   {result.bpp:.4f} bpp   {decibels:.1f} dB"
        over = "   over budget" if result.encoded.over_budget else ""
        panels.append((result.image, result.label, note + over))
    height = round(width * image.height / image.width)
    canvas = Image.new("RGB", (len(panels) * (width + GAP) + GAP, height + CAPTION + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (panel, name, note) in enumerate(panels):
        left = GAP + i * (width + GAP)
        # Shown at its own size where it fits: scaling would hide what a codec does.
        shown = panel if panel.width == width else panel.resize((width, height), Image.Resampling.LANCZOS)
        canvas.paste(shown, (left, GAP))
        draw.text((left, height + GAP + 4), name, font=font(17), fill=(20, 20, 20))
        draw.text((left, height + GAP + 26), note, font=font(12), fill=(90, 90, 90))
    return canvas


@app.command()
def teaser(
    image: Annotated[Path, typer.Option()] = ROOT / "assets" / "examples" / "coffee.png",
    bpp: float = 0.03,
    out: Path = ROOT / "assets" / "teaser.png",
) -> None:
    """One example: original, coarse, final, AVIF, WebP and JPEG at the same budget, in two rows."""
    pipeline = SPRDiffPipeline.from_pretrained(embedded_checkpoint())
    strip = row(load_image(image), pipeline, METHODS, bpp, 480)
    half = GAP + 3 * (480 + GAP)
    canvas = Image.new("RGB", (half, 2 * strip.height), "white")
    canvas.paste(strip.crop((0, 0, half, strip.height)), (0, 0))
    canvas.paste(strip.crop((half - GAP, 0, strip.width, strip.height)), (0, strip.height))
    save_png(canvas, out)


def free_pictures() -> list[Path]:
    """Eight pictures of different kinds, all free to pass on; credits in ``assets/README.md``."""
    import matplotlib
    import skimage

    examples = sorted((ROOT / "assets" / "examples").iterdir())
    others = [Path(skimage.data_dir) / name for name in ("camera.png", "hubble_deep_field.jpg", "text.png")]
    return [*examples, *others, Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"]


@app.command()
def contact_sheet(
    images: Annotated[list[Path] | None, typer.Argument()] = None,
    bpp: float = 0.03,
    width: int = 384,
    out: Path = ROOT / "assets" / "contact-sheet.png",
) -> None:
    """A row for each image: original, coarse, final and AVIF at the same budget."""
    save_png(sheet(map(load_image, images or free_pictures()), bpp, width), out)


@app.command()
def drawn_sheet(bpp: float = 0.03, width: int = 576, out: Path = ROOT / "assets" / "drawn-sheet.png") -> None:
    """The same for pictures that are no photographs."""
    save_png(sheet([text_page(), window(), drawing(), flat_colour()], bpp, width), out)


def sheet(images: Iterable[Image.Image], bpp: float, width: int) -> Image.Image:
    """A row for each image: original, coarse, final and AVIF at the same budget."""
    pipeline = SPRDiffPipeline.from_pretrained(embedded_checkpoint())
    rows = [row(image, pipeline, ("sprdiff-coarse", "sprdiff-final", "avif"), bpp, width) for image in images]
    canvas = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    top = 0
    for strip in rows:
        canvas.paste(strip, (0, top))
        top += strip.height
    return canvas


# Name, file among scikit-image's sample data, and the left upper corner of the part.
DETAILS = (
    ("face", "astronaut.png", (172, 72)),
    ("hair", "astronaut.png", (96, 20)),
    ("eyes", "chelsea.png", (112, 64)),
    ("edges", "rocket.jpg", (250, 250)),
    ("sky", "rocket.jpg", (60, 40)),
    ("text", "text.png", (40, 40)),
    ("brick", "brick.png", (200, 200)),
    ("grass", "grass.png", (200, 200)),
)
DETAIL_SIDE, MAGNIFIED = 96, 3
DETAIL_BPPS = (0.02, 0.03)


@app.command()
def details_sheet(out: Path = ROOT / "assets" / "details-sheet.png") -> None:
    """Parts of 96 x 96 pixels, magnified: original, coarse, final and AVIF at 0.02 and 0.03 bpp."""
    import skimage

    pipeline = SPRDiffPipeline.from_pretrained(embedded_checkpoint())
    side = DETAIL_SIDE * MAGNIFIED
    columns = 1 + 3 * len(DETAIL_BPPS)
    canvas = Image.new("RGB", (columns * (side + GAP) + GAP, len(DETAILS) * (side + CAPTION)), "white")
    draw = ImageDraw.Draw(canvas)
    for index, (name, file, (left, top)) in enumerate(DETAILS):
        image = load_image(Path(skimage.data_dir) / file)
        panels = [(image, f"Original: {name}")]
        for bpp in DETAIL_BPPS:
            for result in compare(image, METHODS[:3], pipeline, target_bpp=bpp, metrics=()):
                panels.append((result.image, f"{result.label}, {result.bpp:.4f} bpp"))
        for column, (panel, caption) in enumerate(panels):
            part = panel.crop((left, top, left + DETAIL_SIDE, top + DETAIL_SIDE))
            place = (GAP + column * (side + GAP), GAP + index * (side + CAPTION))
            canvas.paste(part.resize((side, side), Image.Resampling.NEAREST), place)
            draw.text((place[0], place[1] + side + 6), caption, font=font(14), fill=(20, 20, 20))
    save_png(canvas, out)


DRAWN_SIZE = (768, 512)


def text_page() -> Image.Image:
    """A page of text in five sizes, in Pillow's own font, which no drawn picture of the training has."""
    page = Image.new("RGB", DRAWN_SIZE, "white")
    draw = ImageDraw.Draw(page)
    top = 16
    for size in (52, 36, 28, 20, 14):
        for line in (f"Text at {size} pixels", "Every bit must earn its place."):
            draw.text((28, top), line, "black", ImageFont.load_default(size))
            top += round(1.5 * size)
    return page


def window() -> Image.Image:
    """An editor in dark colours."""
    picture = Image.new("RGB", DRAWN_SIZE, (30, 30, 34))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 768, 40), (50, 50, 58))
    draw.rectangle((0, 40, 180, 512), (38, 38, 44))
    for i in range(9):
        draw.text((14, 56 + 30 * i), f"part_{i}.py", (180, 180, 190), ImageFont.load_default(16))
    code = ("def compress(image, budget):", "    y = analyze(image)", "    for quality in range(256):")
    for i, line in enumerate((*code, "        stream = code(y, quality)", "    return stream")):
        draw.text((204, 64 + 44 * i), line, (200, 160, 240) if i % 2 else "white", ImageFont.load_default(24))
    draw.rounded_rectangle((540, 400, 730, 464), 8, (40, 120, 220))
    draw.text((578, 414), "Run tests", "white", ImageFont.load_default(26))
    return picture


def drawing() -> Image.Image:
    """Outlined shapes in flat colours, and thin lines."""
    picture = Image.new("RGB", DRAWN_SIZE, (235, 240, 245))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((80, 80, 300, 300), (240, 200, 60), "black", 5)
    draw.rectangle((350, 120, 700, 380), (60, 120, 200), "black", 5)
    draw.polygon([(100, 480), (260, 320), (420, 480)], (60, 170, 90), "black", 3)
    draw.line([(0, 440), (768, 400)], "black", 4)
    for i in range(12):
        angle = i * math.pi / 6
        draw.line([(560, 60), (560 + 150 * math.cos(angle), 60 + 50 * math.sin(angle))], (200, 50, 50), 3)
    return picture


def flat_colour() -> Image.Image:
    """Nothing but red."""
    return Image.new("RGB", DRAWN_SIZE, (200, 60, 40))


if __name__ == "__main__":
    app()
