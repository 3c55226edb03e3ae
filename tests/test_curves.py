"""Curves measured and published, and Bjøntegaard deltas with the reasons where there are none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from sprdiff.errors import SettingsError
from sprdiff.evaluation.bd_rate import bd_metric, bd_rate, compare_to, find_anchor
from sprdiff.evaluation.curves import (
    AXES,
    PUBLISHED_FOLDER,
    Curve,
    Point,
    measured_curves,
    published_curves,
    read_summary,
)

RATES = (0.01, 0.02, 0.03, 0.05)


def _curve(name: str, values, rates=RATES, metric: str = "psnr-rgb", **options) -> Curve:
    points = tuple(Point(rate, {metric: value}) for rate, value in zip(rates, values, strict=True))
    return Curve(name, name, points, **options)


def _mean(method: str, target: float, bpp: float, psnr: float | None, over: int = 0) -> dict:
    value = {"mean": psnr, "dashes": 0} if psnr is not None else {"mean": None, "reasons": ["no weights"]}
    return {
        "method": method,
        "target_bpp": target,
        "bpp": bpp,
        "images": 2,
        "over_budget": over,
        "metrics": {"psnr-rgb": value},
    }


# measured


def test_measured_curves_rise_in_rate_and_join_what_is_one_file():
    means = [_mean("avif", 0.05, 0.049, 25.0), _mean("avif", 0.01, 0.0098, 21.0)]
    means += [_mean("jpeg", 0.01, 0.018, 20.0, over=2), _mean("jpeg", 0.015, 0.018, 20.0, over=2)]
    avif, jpeg = measured_curves({"kodak": {"means": means}})
    assert (avif.id, avif.label, avif.source) == ("avif", "AVIF", None)
    assert avif.on("psnr-rgb") == [(0.0098, 21.0), (0.049, 25.0)]
    assert avif.on("gmsd") == []
    assert jpeg.on("psnr-rgb") == [(0.018, 20.0)]
    assert jpeg.points[0].over_budget == 2


def test_a_method_in_two_results_is_told_apart():
    summary = {"means": [_mean("avif", 0.01, 0.0098, 21.0)]}
    curves = measured_curves({"old": summary, "new": summary})
    assert [curve.id for curve in curves] == ["avif@old", "avif@new"]
    assert [curve.label for curve in curves] == ["AVIF (old)", "AVIF (new)"]


def test_a_dash_keeps_its_reason():
    (curve,) = measured_curves({"kodak": {"means": [_mean("avif", 0.01, 0.0098, None)]}})
    assert curve.left_out == {"psnr-rgb": "no weights"}


@pytest.mark.parametrize("content", ["[]", "{", '{"means": [{"method": "avif"}], "settings": {"runs": []}}'])
def test_foreign_summaries_are_refused(tmp_path, content):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(SettingsError, match="does not hold results"):
        read_summary(tmp_path)
    with pytest.raises(SettingsError, match="made by evaluate, when it has ended"):
        read_summary(tmp_path / "none")


# published


def _published(name: str, method: str) -> Curve:
    (curve,) = [curve for curve in published_curves(name) if curve.label == method]
    return curve


def test_published_values_are_the_stored_ones_on_the_axis_of_their_kind():
    stored = json.loads((PUBLISHED_FOLDER / "kodak.json").read_bytes())["curves"]
    (entry,) = [each for each in stored if each["method"] == "SPRDiff"]
    curve = _published("kodak", "SPRDiff [1]")
    assert len(curve.points) == len(entry["points"])
    for axis, key in (("psnr-rgb", "psnr"), ("ms-ssim-y", "ms_ssim"), ("lpips-vgg", "lpips_vgg")):
        assert curve.on(axis) == sorted((point["bpp"], point[key]) for point in entry["points"])
    assert curve.on("ms-ssim-rgb") == curve.on("lpips-alex") == []
    assert "luma" in curve.left_out["ms-ssim-rgb"]
    assert "VGG" in curve.left_out["lpips-alex"]
    assert (curve.source.how, curve.source.url) == ("digitised figure", "https://arxiv.org/abs/2606.01608")


@pytest.mark.parametrize("name", sorted(path.stem for path in PUBLISHED_FOLDER.glob("*.json")))
def test_every_published_value_finds_its_axis_or_has_a_reason(name):
    curves = published_curves(name)
    stored = json.loads((PUBLISHED_FOLDER / f"{name}.json").read_bytes())["curves"]
    assert len(curves) == len(stored)
    assert len({curve.id for curve in curves}) == len(curves)
    families = {"ms_ssim": ("ms-ssim-rgb", "ms-ssim-y"), "fid": ("fid",), "kid": ("kid",)}
    families |= {key: (key.replace("_", "-"),) for key in ("lpips_alex", "lpips_vgg", "dists")}
    for curve, entry in zip(curves, stored, strict=True):
        assert curve.source.url.startswith("https://")
        for key, axes in families.items():
            if any(point.get(key) is not None for point in entry["points"]):
                assert any(curve.on(axis) for axis in axes) or all(axis in curve.left_out for axis in axes)
        # A value never stands on two axes.
        assert not (curve.on("ms-ssim-rgb") and curve.on("ms-ssim-y"))
        assert not (curve.on("lpips-alex") and curve.on("lpips-vgg"))


def test_the_same_method_from_two_sources_is_two_curves():
    labels = [curve.label for curve in published_curves("kodak") if curve.label.startswith("StableCodec")]
    assert len(labels) == len(set(labels)) == 2


def test_estimated_rates_are_said_to_be_estimates():
    assert {curve.source.remark for curve in published_curves("kodak")} == {"", "its rates are estimates"}


def test_unknown_published_results_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(SettingsError, match=r"known are clic2020, .*kodak"):
        published_curves("nowhere")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(SettingsError, match="is not a file of published results"):
        published_curves(str(tmp_path / "other.json"))


# deltas


def test_half_the_rate_is_minus_fifty_per_cent():
    anchor = _curve("anchor", (21, 23, 24, 25.5))
    half = _curve("half", (21, 23, 24, 25.5), [rate / 2 for rate in RATES])
    assert bd_rate(anchor, half, "psnr-rgb").value == pytest.approx(-50)
    assert bd_rate(half, anchor, "psnr-rgb").value == pytest.approx(100)


def test_one_decibel_more_is_one_decibel():
    anchor, better = _curve("anchor", (21, 23, 24, 25.5)), _curve("better", (22, 24, 25, 26.5))
    assert bd_metric(anchor, better, "psnr-rgb").value == pytest.approx(1)
    assert bd_metric(better, anchor, "psnr-rgb").value == pytest.approx(-1)


def test_where_lower_is_better_a_saving_is_negative_too():
    anchor = _curve("anchor", (0.25, 0.2, 0.18, 0.15), metric="gmsd")
    half = _curve("half", (0.25, 0.2, 0.18, 0.15), [rate / 2 for rate in RATES], metric="gmsd")
    less = _curve("less", (0.24, 0.19, 0.17, 0.14), metric="gmsd")
    assert bd_rate(anchor, half, "gmsd").value == pytest.approx(-50)
    assert bd_metric(anchor, less, "gmsd").value == pytest.approx(-0.01)


def test_deltas_against_an_integration_of_our_own():
    anchor = _curve("anchor", (20.8, 23.02, 23.9, 25.1))
    other = _curve("other", (21.5, 22.9, 24.4, 25.6), (0.009, 0.019, 0.033, 0.055))
    low, high = 21.5, 25.1
    grid = np.linspace(low, high, 20001)

    def logarithms(curve: Curve) -> np.ndarray:
        rates, values = zip(*curve.on("psnr-rgb"), strict=True)
        return PchipInterpolator(values, np.log(rates))(grid)

    difference = np.trapz(logarithms(other) - logarithms(anchor), grid) / (high - low)
    expected = 100 * (np.exp(difference) - 1)
    assert bd_rate(anchor, other, "psnr-rgb").value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("values", "rates", "options", "message"),
    [
        ((21, 23, 24), RATES[:3], {}, "the curve has 3 points, 4 are needed"),
        ((30, 31, 32, 33), RATES, {}, "the ranges of values do not meet"),
        ((25, 26, 27, 28), RATES, {}, "less than 50% of the shorter range of values"),
        ((21, 23, 22.5, 25), RATES, {}, "the curve does not become better with every step"),
        ((21, 23, 24, 25), (0.01, 0.02, 0.02, 0.05), {}, "the curve has two points at one rate"),
    ],
)
def test_bd_rate_is_refused_with_the_reason(values, rates, options, message):
    delta = bd_rate(
        _curve("anchor", (21, 23, 24, 25.5)), _curve("other", values, rates, **options), "psnr-rgb"
    )
    assert delta.value is None
    assert message in delta.reason


def test_bd_metric_is_refused_where_the_rates_do_not_meet():
    anchor, other = (
        _curve("anchor", (21, 23, 24, 25)),
        _curve("other", (21, 23, 24, 25), (0.1, 0.2, 0.3, 0.4)),
    )
    assert bd_metric(anchor, other, "psnr-rgb").reason == "the ranges of rates do not meet"
    assert bd_rate(anchor, other, "psnr-rgb").value > 100


def test_kinds_of_a_metric_are_never_compared():
    measured = _curve("avif", (0.66, 0.76, 0.8, 0.85), metric="ms-ssim-rgb")
    for reason, other in (
        ("published for luma, which is another kind", _published("kodak", "SPRDiff [1]")),
        ("published with AlexNet, which is another kind", None),
    ):
        if other is None:
            measured = _curve("avif", (0.6, 0.5, 0.4, 0.3), metric="lpips-vgg")
            (other,) = [c for c in published_curves("kodak") if c.label.startswith("AEIC-ME")]
        (metric,) = measured.points[0].values
        for delta in (bd_rate(measured, other, metric), bd_metric(measured, other, metric)):
            assert (delta.value, delta.reason) == (None, reason)


def test_any_curve_can_be_the_anchor():
    curves = [_curve("jpeg", (20, 21, 22, 23)), _curve("avif", (21, 23, 24, 25.5))]
    assert find_anchor(curves, None).id == "avif"
    assert find_anchor(curves[:1], None).id == "jpeg"
    assert find_anchor(curves, "JPEG").id == "jpeg"
    with pytest.raises(SettingsError, match="no curve 'bpg' to be the anchor; there are jpeg, avif"):
        find_anchor(curves, "bpg")
    (comparison,) = compare_to(curves[1], curves, ["psnr-rgb"])
    assert comparison.curve.id == "jpeg"
    assert comparison.rate.value > 0


def test_axes_know_every_metric():
    assert {"psnr-rgb", "lpips-vgg", "fid", "kid"} <= set(AXES)
    assert not AXES["fid"].higher_is_better
