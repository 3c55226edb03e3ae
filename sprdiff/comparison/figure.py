"""One comparison as a figure for slides: every picture with a magnified crop, its bytes and its numbers.

Drawn from what ``results.json`` records and the PNG files beside it, so that the page and the command line
make the same figure, and no picture in it is anything but a decoded file.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sprdiff.comparison.crops import Crop, check_crop, pixel_box, telling_crop
from sprdiff.comparison.layout import CROP_RATIOS, Box, Cell, arrange
from sprdiff.comparison.record import Record, best_text, facts, value_text
from sprdiff.errors import SettingsError
from sprdiff.files import write_file
from sprdiff.metrics import METRICS
from sprdiff.metrics.rate import max_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

SLIDES = {"16:9": (40 / 3, 7.5), "4:3": (10.0, 7.5)}
"""Width and height in inches by name: what PowerPoint, Keynote and Impress call a slide."""
DPI = 300
MARGIN, TITLE, FOOT = 0.45, 0.7, 0.36  # inches
DEFAULT_METRICS = ("psnr-rgb", "ms-ssim-rgb", "lpips-alex", "dists")
"""In captions, where more than four were measured and none was chosen."""
_INK, _SOFT, _ACCENT = "#171717", "#5c5c5c", "#b5330c"
_SHORT = {"psnr-rgb": "PSNR", "ms-ssim-rgb": "MS-SSIM", "ms-ssim-y": "MS-SSIM luma", "lpips-alex": "LPIPS"}
_SMALLEST, _LARGEST = 8.5, 11.5  # points; captions grow with their columns
_NAME = 1.25  # of a caption's size
_MEASURED = 20.0  # points; lengths of other sizes are in proportion, but for less than a hundredth
_LEADING = 1.42 / 72  # inches from line to line, for each point

Style = Mapping[str, Any]
Words = list[tuple[str, Style]]
Line = list[tuple[float, str, Style]]
"""Offset in inches, text and style of each word."""


def draw(
    record: Record,
    folder: Path,
    *,
    crop: Sequence[float] | None = None,
    slide: str = "16:9",
    metrics: Sequence[str] | None = None,
) -> Figure:
    """The figure.

    Args:
        record: what ``results.json`` holds.
        folder: of the pictures it names.
        crop: the part to magnify; that in which the methods differ most without it.
        slide: a key of ``SLIDES``.
        metrics: ids of those in the captions; see ``shown_metrics``.
    Raises:
        SettingsError: there is no result, the crop is none, or a slide or metric is unknown.
    """
    from matplotlib.figure import Figure

    rows = list(record["results"])
    if not rows:
        raise SettingsError("There is no result to draw.")
    width, height = check_slide(slide)
    shown = shown_metrics(record, metrics)
    if crop is not None:
        crop = check_crop(crop)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    writer = _Writer(figure)
    _draw_header(writer, record)

    best = {metric: best_text(rows, metric) for metric in shown}
    captions = [_original_words(record)] + [_words(row, best) for row in rows]

    @functools.cache
    def lines(room: float) -> list[list[Line]]:
        return writer.wrap(captions, room)

    size = (record["width"], record["height"])
    ratios = CROP_RATIOS if crop is None else (_ratio(crop, size),) * 2
    cells, slot = arrange(
        len(captions),
        size[0] / size[1],
        ratios,
        (MARGIN, FOOT + 0.08, width - 2 * MARGIN, height - TITLE - FOOT - 0.08),
        lambda room: (
            max(writer.end(line, _size(room)) for caption in lines(room) for line in caption),
            max(map(len, lines(room))) * _size(room) * _LEADING + 0.1,
        ),
    )
    pictures = [_read(folder / name) for name in (record["original"], *(row["picture"] for row in rows))]
    if crop is None:
        crop = telling_crop(pictures[0], pictures[1:], cells[0].crop[2] / cells[0].crop[3])
    for picture, caption, cell in zip(pictures, lines(slot), cells, strict=True):
        _draw_pictures(figure, picture, crop, cell)
        writer.caption(caption, cell, _size(slot))
    foot = "Every picture is decoded from a real file; bpp = 8 × its bytes / (width × height). SPRDiff"
    if record.get("fingerprint"):
        foot += f", model {record['fingerprint'][:12]}"
    writer.text(MARGIN, 0.2, foot + ".", size=8, color=_SOFT)
    return figure


def check_slide(slide: str) -> tuple[float, float]:
    """Width and height of a slide in inches.

    Raises:
        SettingsError: an unknown name.
    """
    if slide not in SLIDES:
        raise SettingsError(f"Unknown slide {slide!r}; known are {', '.join(SLIDES)}.")
    return SLIDES[slide]


def shown_metrics(record: Record, metrics: Sequence[str] | None) -> list[str]:
    """The chosen metrics; without a choice all that were measured, or of more than four the usual ones.

    Raises:
        SettingsError: a chosen one was not measured.
    """
    measured = [metric for metric in METRICS if any(metric in row["metrics"] for row in record["results"])]
    if metrics is None:
        usual = [metric for metric in DEFAULT_METRICS if metric in measured]
        return measured if len(measured) <= len(DEFAULT_METRICS) else usual
    for metric in metrics:
        if metric not in measured:
            raise SettingsError(f"The figure cannot show {metric!r}; measured were {', '.join(measured)}.")
    return list(dict.fromkeys(metrics))


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


def _read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _ratio(crop: Crop, size: tuple[int, int]) -> float:
    left, top, right, bottom = pixel_box(crop, size)
    return (right - left) / (bottom - top)


def _size(room: float) -> float:
    """Points of a caption's letters in a column of so many inches."""
    return min(_LARGEST, max(_SMALLEST, 3.4 * room))


def _draw_header(writer: _Writer, record: Record) -> None:
    budget = max_bytes(record["target_bpp"], record["width"], record["height"])
    about = (
        f"{record['width']} × {record['height']}, at most {record['target_bpp']:.3g} bpp ({budget:,} bytes)"
    )
    top, right = writer.height - 0.5, writer.width - MARGIN
    title = " ".join(str(record["source"]).split()) or "Comparison"
    writer.text(right, top, about, size=13, color=_SOFT, align="right")
    room = right - MARGIN - 0.3 - writer.length(about, 13, "normal")
    writer.text(MARGIN, top, writer.shorten(title, 20, room), size=20, weight="bold")


def _draw_pictures(figure: Figure, image: Image.Image, crop: Crop, cell: Cell) -> None:
    """The whole with a frame around the crop, and the crop."""
    box = pixel_box(crop, image.size)
    part = image.crop(box)
    _draw_image(figure, cell.picture, image, frame=box)
    _draw_image(figure, cell.crop, part, frame=(0, 0, *part.size))


def _draw_image(figure: Figure, place: Box, image: Image.Image, *, frame: tuple[int, int, int, int]) -> None:
    from matplotlib.patches import Rectangle

    width, height = figure.get_size_inches()
    axes = figure.add_axes((place[0] / width, place[1] / height, place[2] / width, place[3] / height))
    axes.set_axis_off()
    shown = image
    pixels = (max(1, round(place[2] * DPI)), max(1, round(place[3] * DPI)))
    if image.width > pixels[0]:
        shown = image.resize(pixels, Image.Resampling.LANCZOS)
    # Nearest neighbour: smoothing could be taken for a property of a codec.
    axes.imshow(
        np.asarray(shown),
        extent=(0, image.width, image.height, 0),
        interpolation="nearest",
        aspect="auto",
    )
    left, top, right, bottom = frame
    whole = (right - left, bottom - top) == image.size
    # Clipped, so that nothing of a frame lies beyond its picture.
    for colour, line in ((_ACCENT, 2.4),) if whole else (("white", 2.8), (_ACCENT, 1.5)):
        patch = Rectangle(
            (left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=line
        )
        axes.add_patch(patch)
        patch.set_clip_path(axes.patch)
    axes.set_xlim(0, image.width)
    axes.set_ylim(image.height, 0)


def _original_words(record: Record) -> list[Words]:
    name: Words = [("Original", {"weight": "bold"})]
    size: Words = [(f"{record['width']} × {record['height']} pixels", {})]
    return [name, size]


def _words(row: Mapping[str, Any], best: Mapping[str, str | None]) -> list[Words]:
    """Name, bytes and bpp, and the metrics; the best value of each is bold."""
    colour = _ACCENT if row["method"].startswith("sprdiff") else _INK
    *parts, last = facts(row).split(", ")
    name: Words = [(" ".join(row["label"].split()), {"weight": "bold", "color": colour})]
    cost: Words = [*((f"{part},", {}) for part in parts), (last, {})]
    numbers: Words = []
    for metric, best_value in best.items():
        text = value_text(row, metric)
        if text is None:
            continue
        unit = " dB" if METRICS[metric].unit == "dB" else ""
        is_best = text == best_value and not row["over_budget"]
        style = {"weight": "bold", "color": _INK} if is_best else {"color": _SOFT}
        numbers.append((f"{_SHORT.get(metric, METRICS[metric].label)} {text}{unit}", style))
    return [name, cost, numbers] if numbers else [name, cost]


class _Writer:
    """Texts at inches from the lower left corner of a figure, and how long they are."""

    def __init__(self, figure: Figure) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.font_manager import FontProperties

        self._figure = figure
        self._renderer = FigureCanvasAgg(figure).get_renderer()  # which can say how long a text is
        self._fonts = {weight: FontProperties(size=_MEASURED, weight=weight) for weight in ("normal", "bold")}
        self._lengths: dict[tuple[str, str], float] = {}
        self.width, self.height = (float(side) for side in figure.get_size_inches())

    def length(self, text: str, size: float, weight: str) -> float:
        """Inches."""
        if (text, weight) not in self._lengths:
            pixels, _, _ = self._renderer.get_text_width_height_descent(
                text, self._fonts[weight], ismath=False
            )
            self._lengths[text, weight] = 1.01 * pixels / self._figure.dpi / _MEASURED
        return size * self._lengths[text, weight]

    def shorten(self, text: str, size: float, room: float) -> str:
        """The text in bold letters, without as much of its middle as does not fit into ``room`` inches."""
        shown = text
        for left in range(len(text) - 1, 0, -1):
            if self.length(shown, size, "bold") <= room:
                break
            half = left // 2
            shown = f"{text[: left - half].rstrip()}…{text[len(text) - half :].lstrip()}"
        return shown

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float,
        weight: str = "normal",
        color: str = _INK,
        align: str = "left",
    ) -> Text:
        """Text on a base line; it is never mathematics."""
        return self._figure.text(
            x / self.width,
            y / self.height,
            text,
            fontsize=size,
            fontweight=weight,
            color=color,
            ha=align,
            va="baseline",
            parse_math=False,
        )

    def wrap(self, captions: Sequence[Sequence[Words]], room: float) -> list[list[Line]]:
        """The lines of each caption in ``room`` inches: a group begins a line, and goes on where it has to.

        Bytes and bpp stand beside the name if there is room for that in all captions.
        """
        size = _size(room)
        measured = []
        for name, *groups in captions:
            (label, style), name_size = name[0], _NAME * size
            label = self.shorten(label, name_size, room)
            first: Line = [(0.0, label, {**style, "size": name_size})]
            rest = [self._flow(group, room, size) for group in groups]
            measured.append((first, self.length(label, name_size, "bold") + 0.14, rest))
        beside = all(
            len(rest[0]) == 1 and start + self.end(rest[0][0], size) <= room for _, start, rest in measured
        )
        wrapped = []
        for first, start, rest in measured:
            if beside:
                first = first + [(start + x, word, style) for x, word, style in rest[0][0]]
                rest = rest[1:]
            wrapped.append([first, *(line for group in rest for line in group)])
        return wrapped

    def caption(self, lines: Sequence[Line], cell: Cell, size: float) -> None:
        """The lines under a cell's pictures."""
        left, top = cell.caption
        for number, line in enumerate(lines):
            y = top - (number + 0.95) * size * _LEADING - 0.04
            for x, word, style in line:
                self.text(left + x, y, word, **{"size": size, **style})

    def end(self, line: Line, size: float) -> float:
        """Inches from the beginning of the line."""
        x, word, style = line[-1]
        return x + self.length(word, style.get("size", size), style.get("weight", "normal"))

    def _flow(self, words: Words, room: float, size: float) -> list[Line]:
        lines: list[Line] = [[]]
        x = 0.0
        for word, style in words:
            long = self.length(word, size, style.get("weight", "normal"))
            if lines[-1] and x + long > room:
                lines.append([])
                x = 0.0
            lines[-1].append((x, word, style))
            x += long + (0.35 if word.endswith(",") else 1.0) * size / 72
        return lines
