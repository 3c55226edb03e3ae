"""Rate-distortion plots: what was measured here in solid lines, what was published in dashed ones.

Nothing else draws with matplotlib but ``sprdiff.comparison.figure``.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprdiff.evaluation.curves import AXES, Curve, Source
from sprdiff.files import write_file
from sprdiff.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")

_COLOURS = {
    "sprdiff-coarse": "#e08a3c",
    "sprdiff-final": "#c8401a",
    "jpeg": "#8a8f98",
    "webp": "#3f8f5f",
    "jpeg2000": "#7a6fb5",
    "avif": "#2f7fc1",
    "jpeg-xl": "#c05a8e",
    "heic": "#9a7b2f",
}
_MORE_COLOURS = ("#5b8c8a", "#a8563c", "#6a7fb0", "#8c9a3a")
_PUBLISHED_COLOURS = ("#6f7f8f", "#8f7f6f", "#6f8f7a", "#8a6f8f", "#8f8a5f", "#5f858f")
_MARKERS = "osD^vP*X<>ph"

# Colours that do not occur otherwise, to be replaced in SVG for pages by those of the page.
_INK, _FAINT, _PAPER = "#010203", "#030201", "#fdfefc"
_MOST_BPP = 1.25  # of the largest measured rate: how far the axis goes on
_MOST_ROOM = 0.8  # of the range of measured values: how far published ones may widen it
_WRAPPER = textwrap.TextWrapper(150, break_on_hyphens=False, break_long_words=False)


def draw(metric: str, curves: Sequence[Curve], *, caption: str = "") -> Figure:
    """One plot of a metric over the rate.

    Args:
        metric: key of ``curves.AXES``; at least one measured curve must have it.
        curves: those without the metric, or without a point in the range of rates, are left out.
        caption: set below.
    """
    from matplotlib.figure import Figure

    axis = AXES[metric]
    shown = visible(metric, curves)
    lines = [line for part in caption.splitlines() for line in _WRAPPER.wrap(part)]
    # Without a caption it is for a page, where it is shown smaller: the same type on a smaller sheet.
    width, height = (8.8, 5.4 + 0.14 * len(lines)) if lines else (7.5, 4.75)
    figure = Figure(figsize=(width, height))
    bottom = (0.6 + 0.14 * len(lines)) / height
    axes = figure.add_axes((0.075, bottom, 0.665, 1 - 0.42 / height - bottom))
    for place, curve in enumerate(shown):
        _draw_curve(axes, curve, metric, place)
    axes.set_xlim(0, _most_bpp(curves))
    low, high = _value_range(metric, curves)
    margin = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel("bits per pixel", color=_INK)
    unit = f", {axis.unit}" if axis.unit else ""
    better = "higher" if axis.higher_is_better else "lower"
    axes.set_title(f"{axis.label}{unit} ({better} is better)", loc="left", color=_INK, fontsize=11.5)
    axes.grid(True, color=_FAINT, alpha=0.16, linewidth=0.7)
    axes.tick_params(colors=_INK, length=0, labelsize=9.5)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_FAINT)
    _add_legend(axes, height, shown)
    if lines:
        figure.text(
            0.02, 0.06 / height, "\n".join(lines), fontsize=7, color=_INK, va="bottom", linespacing=1.4
        )
    return figure


def visible(metric: str, curves: Sequence[Curve]) -> list[Curve]:
    """The curves to draw: measured ones first, then published ones with two points in what is shown."""
    measured = [curve for curve in curves if curve.source is None and curve.on(metric)]
    order = {method: place for place, method in enumerate(METHODS)}
    measured.sort(key=lambda curve: order.get(_method(curve), len(order)))
    published = [
        curve for curve in curves if curve.source is not None and len(_inside(curve, metric, curves)) >= 2
    ]
    return measured + published


def caption_of(metric: str, curves: Sequence[Curve], data_set: str, published_set: str = "") -> str:
    """What the lines are, of which images, and where the published ones come from."""
    shown = visible(metric, curves)
    text = f"Solid: measured here on {data_set}, from the bytes of real files, averaged over images."
    if any(point.over_budget for curve in shown if not curve.source for point in curve.points):
        text += " Hollow: some images exceed the budget even with the smallest file."
    sources = {curve.source.number: curve.source for curve in shown if curve.source is not None}
    if sources:
        text += (
            f"\nDashed: published on {published_set}, not run here; curves with two points in this range. "
        )
        text += "; ".join(_source_text(sources[number]) for number in sorted(sources)) + "."
    return text


def write_plots(figure: Figure, stem: Path, description: str) -> list[Path]:
    """The plot as PNG, PDF and SVG, named after ``stem``; the same bytes for the same curves.

    Args:
        description: stored in the files.
    """
    written = []
    for kind in FORMATS:
        path = stem.with_name(f"{stem.name}.{kind}")
        write_file(path, _render(figure, kind, description))
        written.append(path)
    return written


def page_svg(figure: Figure) -> str:
    """The plot as an SVG element for a page, in the page's font and colours."""
    text = _render(figure, "svg", "", transparent=True, svg_fonts="none").decode()
    text = text[text.index("<svg") :].replace(_INK, "currentColor").replace(_FAINT, "currentColor")
    text = text.replace(_PAPER, "var(--sheet)")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", text)  # two plots on a page would share them
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", text)
    return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", text, count=1)


def _draw_curve(axes: Axes, curve: Curve, metric: str, place: int) -> None:
    pairs = curve.on(metric)
    rates, values = [bpp for bpp, _ in pairs], [value for _, value in pairs]
    if curve.source is not None:
        axes.plot(
            rates,
            values,
            linestyle=(0, (4, 2.4)),
            linewidth=1.05,
            marker=_MARKERS[place % len(_MARKERS)],
            markersize=4,
            color=_PUBLISHED_COLOURS[place % len(_PUBLISHED_COLOURS)],
            label=curve.label,
            zorder=2,
        )
        return
    method = _method(curve)
    colour = _COLOURS.get(method, _MORE_COLOURS[place % len(_MORE_COLOURS)])
    strong = method.startswith("sprdiff")
    axes.plot(
        rates,
        values,
        linewidth=2.4 if strong else 1.8,
        marker="o",
        markersize=6 if strong else 5,
        color=colour,
        label=curve.label,
        zorder=4 if strong else 3,
    )
    hollow = [
        (point.bpp, point.values[metric])
        for point in curve.points
        if point.over_budget and metric in point.values
    ]
    if hollow:
        axes.plot(
            *zip(*hollow, strict=True), "o", color=colour, markerfacecolor=_PAPER, markersize=5, zorder=5
        )


def _most_bpp(curves: Sequence[Curve]) -> float:
    measured = [point.bpp for curve in curves if curve.source is None for point in curve.points]
    return _MOST_BPP * max(measured or [point.bpp for curve in curves for point in curve.points])


def _value_range(metric: str, curves: Sequence[Curve]) -> tuple[float, float]:
    """Of all values in the range of rates; published ones widen that of the measured ones so far only."""
    most = _most_bpp(curves)
    measured = [value for curve in curves if curve.source is None for _, value in curve.on(metric)]
    published = [
        value
        for curve in curves
        if curve.source is not None
        for bpp, value in curve.on(metric)
        if bpp <= most
    ]
    low, high = min(measured), max(measured)
    room = _MOST_ROOM * (high - low)
    near = [value for value in published if low - room <= value <= high + room]
    return min([low, *near]), max([high, *near])


def _inside(curve: Curve, metric: str, curves: Sequence[Curve]) -> list[tuple[float, float]]:
    most, (low, high) = _most_bpp(curves), _value_range(metric, curves)
    return [(bpp, value) for bpp, value in curve.on(metric) if bpp <= most and low <= value <= high]


def _add_legend(axes: Axes, height: float, shown: Sequence[Curve]) -> None:
    """Measured curves in larger type above the published ones, to the right of the plot.

    Args:
        height: of the figure, in inches.
    """
    handles, labels = axes.get_legend_handles_labels()
    measured = sum(curve.source is None for curve in shown)
    common: dict[str, Any] = {
        "loc": "upper left",
        "frameon": False,
        "labelcolor": _INK,
        "borderpad": 0,
        "borderaxespad": 0,
    }
    first = axes.legend(
        handles[:measured], labels[:measured], bbox_to_anchor=(1.03, 1.0), fontsize=9, **common
    )
    if measured == len(shown):
        return
    axes.add_artist(first)
    points_high = axes.get_position().height * height * 72
    below = 1 - (measured * 9 * 1.52 + 8) / points_high
    spacing = 0.3 if len(shown) - measured <= 16 else 0.12
    axes.legend(
        handles[measured:],
        labels[measured:],
        bbox_to_anchor=(1.03, below),
        fontsize=7.6,
        labelspacing=spacing,
        **common,
    )


def _source_text(source: Source) -> str:
    how = f"{source.how}, {source.remark}" if source.remark else source.how
    url = source.url.removeprefix("https://")
    paper = "" if url.startswith(source.name) else f", {url}"
    return f"[{source.number}] {source.name} ({how}){paper}"


def _method(curve: Curve) -> str:
    return curve.id.partition("@")[0]


def _render(
    figure: Figure, kind: str, description: str, *, transparent: bool = False, svg_fonts: str = "path"
) -> bytes:
    import matplotlib

    # Neither date nor random identifiers: what has not changed stays the same file.
    metadata = {
        "png": {"Software": None, "Description": description},
        "pdf": {"CreationDate": None, "Subject": description},
        "svg": {"Date": None, "Description": description},
    }[kind]
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": svg_fonts, "svg.hashsalt": "sprdiff", "pdf.fonttype": 42}):
        figure.savefig(file, format=kind, dpi=160, metadata=metadata, transparent=transparent)
    return file.getvalue()
