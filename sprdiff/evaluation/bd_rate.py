"""Bjøntegaard deltas between curves, by the library ``bjontegaard``, or the reason why there is none.

Reference: Bjøntegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001; here
with piecewise cubic (PCHIP) instead of one cubic polynomial, as is usual since.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from sprdiff.errors import SettingsError
from sprdiff.evaluation.curves import AXES, Curve

LEAST_POINTS = 4
LEAST_OVERLAP = 0.5
"""Of the shorter range: where less is shared, the average says nothing of either curve."""


@dataclass(frozen=True)
class Delta:
    """An average difference to the anchor, or the reason why there is none.

    Attributes:
        value: per cent of the rate for BD-rate (negative saves bits), units of the metric for BD-metric.
        reason: None if there is a value.
    """

    value: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Comparison:
    """One curve against the anchor on one metric."""

    curve: Curve
    metric: str
    rate: Delta
    quality: Delta


def find_anchor(curves: Sequence[Curve], name: str | None) -> Curve:
    """The curve of that id; without one AVIF, or the first.

    Raises:
        SettingsError: there is no such curve; the message lists those that there are.
    """
    by_id = {curve.id.lower(): curve for curve in curves}
    if name is None:
        return by_id.get("avif", curves[0])
    if name.lower() not in by_id:
        known = ", ".join(curve.id for curve in curves)
        raise SettingsError(f"There is no curve {name!r} to be the anchor; there are {known}.")
    return by_id[name.lower()]


def compare_to(anchor: Curve, curves: Sequence[Curve], metrics: Sequence[str]) -> list[Comparison]:
    """Every other curve against the anchor on every metric."""
    return [
        Comparison(curve, metric, bd_rate(anchor, curve, metric), bd_metric(anchor, curve, metric))
        for curve in curves
        if curve.id != anchor.id
        for metric in metrics
    ]


def bd_rate(anchor: Curve, curve: Curve, metric: str) -> Delta:
    """The average difference in rate at the same value of the metric, in per cent of the anchor's."""
    import bjontegaard

    points, reason = _points(anchor, curve, metric)
    if reason:
        return Delta(None, reason)
    (anchor_rates, anchor_values), (rates, values) = points
    for each, of in (("the anchor", anchor_values), ("the curve", values)):
        if any(second <= first for first, second in itertools.pairwise(of)):
            return Delta(None, f"{each} does not become better with every step in rate")
    reason = _overlap_reason(anchor_values, values, "values")
    if reason:
        return Delta(None, reason)
    return _finite(
        bjontegaard.bd_rate(anchor_rates, anchor_values, rates, values, method="pchip", **_OPTIONS)
    )


def bd_metric(anchor: Curve, curve: Curve, metric: str) -> Delta:
    """The average difference in the metric at the same rate (on a logarithmic scale), in its units."""
    import bjontegaard

    points, reason = _points(anchor, curve, metric)
    if reason:
        return Delta(None, reason)
    (anchor_rates, anchor_values), (rates, values) = points
    anchor_logs, logs = ([math.log(rate) for rate in each] for each in (anchor_rates, rates))
    reason = _overlap_reason(anchor_logs, logs, "rates")
    if reason:
        return Delta(None, reason)
    delta = _finite(
        bjontegaard.bd_psnr(anchor_rates, anchor_values, rates, values, method="pchip", **_OPTIONS)
    )
    if delta.value is None or AXES[metric].higher_is_better:
        return delta
    return Delta(-delta.value)  # the signs were turned so that more is better


_OPTIONS = {"require_matching_points": False, "min_overlap": 0}  # the overlap has been judged here


def _points(
    anchor: Curve, curve: Curve, metric: str
) -> tuple[list[tuple[list[float], list[float]]], str | None]:
    """Rates and values of both, by rising rate and the larger the better; or why they cannot be had."""
    found = []
    sign = 1 if AXES[metric].higher_is_better else -1
    for each in (anchor, curve):
        pairs = sorted(each.on(metric))
        if not pairs:
            return [], each.left_out.get(metric, "not published" if each.source else "not measured")
        if len(pairs) < LEAST_POINTS:
            which = "anchor" if each is anchor else "curve"
            return [], f"the {which} has {len(pairs)} points, {LEAST_POINTS} are needed"
        rates = [rate for rate, _ in pairs]
        if any(second <= first for first, second in itertools.pairwise(rates)):
            return [], f"the {'anchor' if each is anchor else 'curve'} has two points at one rate"
        found.append((rates, [sign * value for _, value in pairs]))
    return found, None


def _overlap_reason(first: Sequence[float], second: Sequence[float], what: str) -> str | None:
    shared = min(max(first), max(second)) - max(min(first), min(second))
    shorter = min(max(first) - min(first), max(second) - min(second))
    if shared <= 0:
        return f"the ranges of {what} do not meet"
    if shared < LEAST_OVERLAP * shorter:
        return f"less than {LEAST_OVERLAP:.0%} of the shorter range of {what} is shared"
    return None


def _finite(value: float) -> Delta:
    return Delta(float(value)) if math.isfinite(value) else Delta(None, "not a finite number")
