"""The records of the command line as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sprdiff.hub.image_size import InstalledSize


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """The record without nesting and without what is not known."""
    fields: dict[str, Any] = {}
    for key, value in record.items():
        fields |= value if isinstance(value, dict) else {key: value}
    return {key: value for key, value in fields.items() if value is not None}


def failure(error: Exception) -> str:
    """What went wrong, with the file that the system has refused to read or write."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error)


def encoded(record: dict[str, Any]) -> str:
    """What ``compress`` wrote."""
    return "{output}: {num_bytes} bytes, {bpp:.4f} bpp, quality {quality}".format(**record)


def decoded(record: dict[str, Any]) -> str:
    """What ``decompress`` wrote."""
    return "{output}: {picture} picture, {width} x {height}, from {num_bytes} bytes".format(**record)


def image_size(size: InstalledSize) -> str:
    """What a Space installs beside the files that it gets."""
    without = f", without {', '.join(size.missing)}, not installed here" if size.missing else ""
    return (
        f"{size.num_bytes / 1e9:.1f} GB in {size.packages} packages, as installed here{without}: what the "
        "image holds beside these files and the system"
    )


def dashes(found: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each reason with the metrics that it keeps from having a value."""
    metrics_of: dict[str, list[str]] = {}
    for metric, why in dict.fromkeys(found):
        metrics_of.setdefault(why, []).append(metric)
    return [f"- in {', '.join(metrics)}: {why}" for why, metrics in metrics_of.items()]


def results(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The methods of ``compare`` as a table; without the scale where every picture has its full size."""
    scaled = any(row["scale"] != 1 for row in rows)
    return _table(
        {
            "method": row["method"],
            "bytes": str(row["num_bytes"]),
            "bpp": f"{row['bpp']:.4f}",
            **({"scale": f"{row['scale']:.3f}"} if scaled else {}),
            **{name: _number(value) for name, value in row["metrics"].items()},
            "": "over budget" if row["over_budget"] else "",
        }
        for row in rows
    )


def means(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The methods and budgets of ``evaluate`` as a table; how many images, once if all have as many."""
    counts = {row["images"] for row in rows}
    lines = _table(
        {
            "method": row["method"],
            "budget": f"{row['target_bpp']:g}",
            "bpp": f"{row['bpp']:.4f}",
            **({"images": str(row["images"])} if len(counts) > 1 else {}),
            **{name: _number(value["mean"]) for name, value in row["metrics"].items()},
            "": f"{row['over_budget']} over budget" if row["over_budget"] else "",
        }
        for row in rows
    )
    if len(counts) == 1:
        (count,) = counts
        lines.append(f"Averages of {count} images" if count > 1 else "Of 1 image")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value >= 10 else f"{value:.4f}"


def _table(rows: Iterable[dict[str, str]]) -> list[str]:
    """Rows of the same columns below their names; the first column to the left, the others to the right.

    What follows the last hyphen of a name stands below the rest: six metrics fit 80 columns then.
    """
    cells = [dict(row) for row in rows]
    names = dict.fromkeys(name for row in cells for name in row)
    above, _, below = zip(*(name.rpartition("-") for name in names), strict=True)
    heads = [above, below] if any(above) else [below]
    lines = [*heads, *([row.get(name, "") for name in names] for row in cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]).rstrip()
        for first, *others in lines
    ]
