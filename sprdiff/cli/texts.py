"""The records of the command line as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


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


def _metrics_text(values: Mapping[str, float | None]) -> str:
    return "  ".join(
        f"{name} {'-' if value is None else format(value, '.4f')}" for name, value in values.items()
    )


def dashes(found: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each reason with the metrics that it keeps from having a value."""
    metrics_of: dict[str, list[str]] = {}
    for metric, why in dict.fromkeys(found):
        metrics_of.setdefault(why, []).append(metric)
    return [f"- in {', '.join(metrics)}: {why}" for why, metrics in metrics_of.items()]


def result(row: dict[str, Any]) -> str:
    """One method of ``compare``."""
    over = "  over budget" if row["over_budget"] else ""
    head = "{method:15} {num_bytes:7} bytes  {bpp:.4f} bpp  scale {scale:.3f}".format(**row)
    return f"{head}  {_metrics_text(row['metrics'])}{over}"


def mean(row: dict[str, Any]) -> str:
    """One method and budget of ``evaluate``."""
    head = "{method:15} at {target_bpp:g}: {images} images, {over_budget} over budget, {bpp:.4f} bpp".format(
        **row
    )
    return f"{head}  {_metrics_text({name: value['mean'] for name, value in row['metrics'].items()})}"
