"""One comparison as a figure for slides: every picture with a magnified crop, its bytes and its numbers.

Drawn from what ``results.json`` records and the PNG files beside it, so that the page and the command line
make the same figure, and no picture in it is anything but a decoded file.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sprdiff.comparison.record import Record, best_text, facts, value_text
from sprdiff.errors import SettingsError
from sprdiff.files import write_file
from sprdiff.metrics import METRICS
from sprdiff.metrics.rate import max_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Crop = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the sides, in [0, 1]."""

WIDTH_INCHES, HEIGHT_INCHES, DPI = 40 / 3, 7.5, 300
MARGIN, GAP = 0.45, 0.28  # inches
TITLE, FOOT, CAPTION = 0.66, 0.3, 0.98  # inches
NARROWEST = 2.3  # inches: two metrics fit side by side into a caption
MIN_CROP = 8  # pixels
_INK, _SOFT, _ACCENT = "#171717", "#5c5c5c", "#b5330c"
_SHORT = {"psnr-rgb": "PSNR", "ms-ssim-rgb": "MS-SSIM", "ms-ssim-y": "MS-SSIM luma", "lpips-alex": "LPIPS"}
_IN_CAPTION = ("psnr-rgb", "ms-ssim-rgb", "lpips-alex", "dists")
_LENS = 0.44  # height of the magnifier over that of the picture


def check_crop(crop: Sequence[float]) -> Crop:
    """The crop, if it is one.

    Raises:
        SettingsError: not four numbers, or not left < right and top < bottom within the picture.
    """
    numbers = [float(value) for value in crop if isinstance(value, int | float) and math.isfinite(value)]
    if len(numbers) != 4 or len(crop) != 4:
        raise SettingsError("A crop is four numbers from 0 to 1: left, top, right, bottom.")
    left, top, right, bottom = numbers
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise SettingsError(f"The crop {left:g},{top:g},{right:g},{bottom:g} does not lie in the picture.")
    return left, top, right, bottom


def busiest_crop(image: Image.Image, share: float = 0.25) -> Crop:
    """The part of the picture with the most detail, ``share`` of its sides: what a codec finds hardest."""
    side = 64
    grey = np.asarray(image.convert("L").resize((side, side), Image.Resampling.BOX), dtype=np.float64)
    detail = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    window = round(share * side)
    sums = np.lib.stride_tricks.sliding_window_view(detail, (window, window)).sum((2, 3))
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return left / side, top / side, (left + window) / side, (top + window) / side


def draw(record: Record, folder: Path, *, crop: Sequence[float] | None = None) -> Figure:
    """The figure, 16 : 9.

    Args:
        record: what ``results.json`` holds.
        folder: of the pictures it names.
        crop: the part to magnify; the busiest one without it.
    Raises:
        SettingsError: there is no result, or the crop is none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not record["results"]:
        raise SettingsError("There is no result to draw.")
    with Image.open(folder / record["original"]) as original:
        first = original.convert("RGB")
    crop = busiest_crop(first) if crop is None else check_crop(crop)
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), facecolor="white")
    FigureCanvasAgg(figure)  # which can say how long a text is
    budget = max_bytes(record["target_bpp"], record["width"], record["height"])
    about = (
        f"{record['width']} × {record['height']}, at most {record['target_bpp']:.3g} bpp ({budget:,} bytes)"
    )
    top = HEIGHT_INCHES - 0.52
    beside = _text(figure, WIDTH_INCHES - MARGIN, top, about, size=12, color=_SOFT, align="right")
    title = _text(figure, MARGIN, top, record["source"] or "Comparison", size=18, weight="bold")
    _shorten(title, WIDTH_INCHES - 2 * MARGIN - GAP - _length(beside))

    rows = list(record["results"])
    best = {metric: best_text(rows, metric) for metric in _IN_CAPTION}
    boxes = _layout(len(rows) + 1, record["width"] / record["height"])
    for place, (left, bottom, width, height) in enumerate(boxes):
        row = rows[place - 1] if place else None
        axes = figure.add_axes(
            (left / WIDTH_INCHES, bottom / HEIGHT_INCHES, width / WIDTH_INCHES, height / HEIGHT_INCHES)
        )
        if row is None:
            _draw_picture(axes, first, crop)
        else:
            with Image.open(folder / row["picture"]) as picture:
                _draw_picture(axes, picture.convert("RGB"), crop)
        _caption(figure, left, bottom, row, best, room=max(width, NARROWEST) + 0.5 * GAP)
    foot = "Every picture is decoded from a real file; bpp = 8 × its bytes / (width × height). SPRDiff"
    if record.get("fingerprint"):
        foot += f", model {record['fingerprint'][:12]}"
    _text(figure, MARGIN, 0.2, foot + ".", size=7.5, color=_SOFT)
    return figure


def write_figure(figure: Figure, stem: Path) -> list[Path]:
    """``STEM.png`` at 300 dpi and ``STEM.pdf`` with its fonts inside; the same bytes for the same record."""
    import matplotlib

    written = []
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
    for kind in ("png", "pdf"):
        file = io.BytesIO()
        with matplotlib.rc_context({"pdf.fonttype": 42}):
            figure.savefig(file, format=kind, dpi=DPI, metadata=metadata[kind])
        written.append(stem.with_name(f"{stem.name}.{kind}"))
        write_file(written[-1], file.getvalue())
    return written


def _layout(count: int, ratio: float) -> list[tuple[float, float, float, float]]:
    """Left, bottom, width, height in inches of each picture: the grid that makes them largest.

    No column is narrower than a caption, though its pictures may be.
    """
    room_x = WIDTH_INCHES - 2 * MARGIN
    room_y = HEIGHT_INCHES - TITLE - FOOT - 0.15
    best: tuple[float, int, int] = (0.0, 1, 1)
    for columns in range(1, count + 1):
        lines = math.ceil(count / columns)
        width = (room_x - (columns - 1) * GAP) / columns
        if columns == 1 or width >= NARROWEST:
            height = min(width / ratio, (room_y - lines * CAPTION) / lines)
            best = max(best, (height, -lines, columns))
    height, _, columns = best
    lines = math.ceil(count / columns)
    width = height * ratio
    slot = max(width, NARROWEST)
    used_x = columns * slot + (columns - 1) * GAP
    # Where much is left, columns are spread over the slide.
    step = (room_x + GAP) / columns if used_x < 0.8 * room_x else slot + GAP
    left = MARGIN + max(0.0, (room_x - (columns - 1) * step - slot) / 2)
    top = HEIGHT_INCHES - TITLE - max(0.0, (room_y - lines * (height + CAPTION)) / 2)
    return [
        (
            left + (place % columns) * step,
            top - (place // columns) * (height + CAPTION) - height,
            width,
            height,
        )
        for place in range(count)
    ]


def _draw_picture(axes: Axes, image: Image.Image, crop: Crop) -> None:
    """A picture, a frame around the crop, and the crop enlarged in the corner that is farthest from it."""
    width, height = image.size
    axes.imshow(np.asarray(image), interpolation="antialiased", aspect="auto")
    axes.set_axis_off()
    left, top = math.floor(crop[0] * width), math.floor(crop[1] * height)
    right = max(left + MIN_CROP, math.ceil(crop[2] * width))
    bottom = max(top + MIN_CROP, math.ceil(crop[3] * height))
    part = image.crop((left, top, right, bottom))
    across = _LENS * height * part.width / part.height
    lens_width, lens_height = min(across, 0.6 * width), min(across, 0.6 * width) * part.height / part.width
    x = width - lens_width if left + right < width else 0.0
    y = height - lens_height if top + bottom < height else 0.0
    # Pixels stay squares: nobody should take smoothing for a property of a codec.
    axes.imshow(
        np.asarray(part),
        extent=(x, x + lens_width, y + lens_height, y),
        interpolation="nearest",
        aspect="auto",
        zorder=3,
    )
    for x0, y0, w, h in ((left, top, part.width, part.height), (x, y, lens_width, lens_height)):
        for colour, line in (("white", 2.6), (_ACCENT, 1.3)):
            axes.add_patch(_frame(x0, y0, w, h, colour, line))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _frame(x: float, y: float, width: float, height: float, colour: str, line: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=line, zorder=4)


def _caption(
    figure: Figure,
    left: float,
    bottom: float,
    row: Mapping[str, Any] | None,
    best: Mapping[str, str | None],
    *,
    room: float,
) -> None:
    """Name, bytes and bpp, and the metrics; the best value of each is bold."""
    if row is None:
        _text(figure, left, bottom - 0.2, "Original", size=13, weight="bold")
        return
    ours = row["method"].startswith("sprdiff")
    name = _text(
        figure, left, bottom - 0.2, row["label"], size=13, weight="bold", color=_ACCENT if ours else _INK
    )
    _shorten(name, room)
    *parts, last = facts(row).split(", ")
    y = _flow(
        figure, left, bottom - 0.41, [(f"{part},", {}) for part in parts] + [(last, {})], room, gap=0.05
    )
    words = []
    for metric in _IN_CAPTION:
        text = value_text(row, metric)
        if text is not None:
            unit = " dB" if METRICS[metric].unit == "dB" else ""
            weight = "bold" if text == best[metric] and not row["over_budget"] else "normal"
            shown = f"{_SHORT.get(metric, METRICS[metric].label)} {text}{unit}"
            words.append((shown, {"weight": weight, "color": _SOFT}))
    _flow(figure, left, y - 0.18, words, room, gap=0.12)


def _flow(
    figure: Figure,
    left: float,
    y: float,
    words: Sequence[tuple[str, dict[str, str]]],
    room: float,
    *,
    gap: float,
) -> float:
    """Words beside each other, in lines of ``room`` inches; gives the height of the last line."""
    x = left
    for word, style in words:
        drawn = _text(figure, x, y, word, size=9.6, **style)
        long = _length(drawn)
        if x > left and x + long > left + room:
            x, y = left, y - 0.17
            drawn.set_position((x / WIDTH_INCHES, y / HEIGHT_INCHES))
        x += long + gap
    return y


def _length(text: Text) -> float:
    """Inches."""
    figure = text.get_figure(root=True)
    return text.get_window_extent(figure.canvas.get_renderer()).width / figure.dpi


def _shorten(text: Text, room: float) -> None:
    """Leave out as much of the middle as does not fit into ``room`` inches."""
    whole = text.get_text()
    for left in range(len(whole) - 1, 0, -1):
        if _length(text) <= room:
            return
        half = left // 2
        text.set_text(f"{whole[: left - half]}…{whole[len(whole) - half :]}")


def _text(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    weight: str = "normal",
    color: str = _INK,
    align: str = "left",
) -> Text:
    """Text at inches from the lower left corner of the slide."""
    return figure.text(
        x / WIDTH_INCHES,
        y / HEIGHT_INCHES,
        text.replace("$", r"\$"),
        fontsize=size,
        fontweight=weight,
        color=color,
        ha=align,
        va="baseline",
    )
