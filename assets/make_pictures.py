"""The pictures of README and model card, made from real files by the embedded checkpoint.

``python assets/make_pictures.py teaser`` takes an example image; ``python assets/make_pictures.py
contact-sheet`` the four examples and four pictures that come with installed packages, or any
``IMAGES... --out sheet.png``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sprdiff.evaluation.comparison import compare  # noqa: E402
from sprdiff.images import load_image, save_png  # noqa: E402
from sprdiff.pipeline import SPRDiffPipeline  # noqa: E402
from sprdiff.weights import embedded_checkpoint  # noqa: E402

METHODS = ("sprdiff-coarse", "sprdiff-final", "avif", "webp", "jpeg")
GAP = 12
CAPTION = 46
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def row(
    path: Path, pipeline: SPRDiffPipeline, methods: tuple[str, ...], bpp: float, width: int
) -> Image.Image:
    """Original and methods side by side, each with its name, bytes and PSNR."""
    image = load_image(path)
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
    strip = row(image, pipeline, METHODS, bpp, 480)
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
    images = images or free_pictures()
    pipeline = SPRDiffPipeline.from_pretrained(embedded_checkpoint())
    rows = [row(path, pipeline, ("sprdiff-coarse", "sprdiff-final", "avif"), bpp, width) for path in images]
    canvas = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    top = 0
    for strip in rows:
        canvas.paste(strip, (0, top))
        top += strip.height
    save_png(canvas, out)


if __name__ == "__main__":
    app()
