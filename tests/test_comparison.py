"""One image compared by several methods, on a stand-in for the model and real baselines."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakePipeline
from PIL import Image, ImageFilter

import sprdiff.comparison.compare as compare_module
from sprdiff.comparison.compare import (
    DEFAULT_METHODS,
    DEFAULT_METRICS,
    MethodResult,
    code,
    compare,
    measured,
    part,
)
from sprdiff.comparison.rows import method_row
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.methods import METHODS, build_methods
from sprdiff.metrics import METRICS, measure, psnr
from sprdiff.types import EncodedImage

SIZE = (96, 64)
METHOD_IDS = ("sprdiff-coarse", "sprdiff-final", "jpeg")


def _image() -> Image.Image:
    gradient = Image.radial_gradient("L").resize(SIZE)
    bands = gradient, gradient.transpose(Image.Transpose.FLIP_LEFT_RIGHT), gradient.filter(ImageFilter.EMBOSS)
    return Image.merge("RGB", bands)


def test_every_picture_comes_from_the_bytes_and_every_number_from_the_picture():
    image = _image()
    results = list(compare(image, METHOD_IDS, FakePipeline(), target_bpp=1.0, metrics=["psnr-rgb"]))
    assert [result.method for result in results] == list(METHOD_IDS)
    for result in results:
        assert result.label == METHODS[result.method]
        codec = build_methods([result.method], FakePipeline())[result.method]
        assert result.image.tobytes() == codec.decompress(result.encoded.data, size=SIZE).tobytes()
        assert result.metrics["psnr-rgb"].value == psnr(image, result.image)
        assert result.num_bytes == len(result.encoded.data) <= result.encoded.max_bytes == 768
        assert result.bpp == 8 * result.num_bytes / (96 * 64)
        assert min(result.encode_seconds, result.decode_seconds) > 0


def test_sprdiff_comes_first_and_before_its_diffusion_has_run():
    pipeline = FakePipeline()
    results = compare(
        _image(), ["jpeg", "sprdiff-final", "sprdiff-coarse"], pipeline, target_bpp=1.0, metrics=[]
    )
    assert next(results).method == "sprdiff-coarse"
    assert pipeline.calls["final"] == 0
    assert [result.method for result in results] == ["sprdiff-final", "jpeg"]
    assert pipeline.calls == {"analyze": 1, "encode": 1, "decompress": 1, "coarse": 1, "final": 1}


@pytest.mark.parametrize(
    ("step", "left"), [("encode", ()), ("decode_coarse", ()), ("refine", ("sprdiff-coarse",))]
)
def test_what_fails_is_missing_and_the_rest_is_there(step, left, monkeypatch):
    def fail(*_, **__):
        raise WeightsError(step)

    pipeline, missing = FakePipeline(), []
    monkeypatch.setattr(pipeline, step, fail)
    options = {"target_bpp": 1.0, "on_missing": lambda method, error: missing.append((method, str(error)))}
    found = [result.method for result in code(_image(), METHOD_IDS, pipeline, **options)]
    assert found == [*left, "jpeg"]
    assert missing == [(method, step) for method in METHOD_IDS[:2] if method not in left]
    with pytest.raises(WeightsError, match=step):
        list(code(_image(), METHOD_IDS, pipeline, target_bpp=1.0))


def test_closing_cancels_what_has_not_begun():
    pipeline = FakePipeline()
    results = compare(_image(), METHOD_IDS, pipeline, target_bpp=1.0, metrics=[])
    next(results)
    results.close()
    assert list(results) == []
    assert pipeline.calls["final"] == 0


def test_progress_rises_from_nothing_to_all():
    shares = []
    report = lambda share, text: shares.append(share)  # noqa: E731
    coding, measuring = part(report, 0, 0.25), part(report, 0.25, 1)
    coded = list(code(_image(), METHOD_IDS, FakePipeline(), target_bpp=1.0, progress=coding))
    list(measured(_image(), coded, ["psnr-rgb"], progress=measuring))
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    # Three pieces of work a method but for one encode for two, the steps of SPRDiff within them, and the end.
    assert len(set(shares)) == 10


def test_every_quick_number_comes_before_any_deep_one(monkeypatch):
    image = _image()
    monkeypatch.setitem(METRICS, "dists", replace(METRICS["dists"], function=lambda reference, image: 0.25))
    coded = list(code(image, METHOD_IDS, FakePipeline(), target_bpp=1.0))
    assert not any(result.metrics for result in coded)
    seen = list(measured(image, coded, ["dists", "psnr-rgb"]))
    assert [result.method for result in seen] == [*METHOD_IDS, *METHOD_IDS]
    assert all(list(result.metrics) == ["psnr-rgb"] for result in seen[: len(METHOD_IDS)])
    for result in seen[len(METHOD_IDS) :]:
        assert list(result.metrics) == ["psnr-rgb", "dists"]
        assert result.metrics == measure(image, result.image, ["psnr-rgb", "dists"])


def test_a_budget_below_one_byte_is_over_budget_and_no_error():
    (result,) = compare(_image().resize((16, 16)), ["jpeg"], None, target_bpp=0.005, metrics=["psnr-rgb"])
    assert result.encoded.over_budget
    assert result.encoded.max_bytes == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_bpp": 0.0}, "above 0 and at most 24, got 0"),
        ({"target_bpp": float("inf")}, "got inf"),
        ({"metrics": ["speed"]}, "Unknown metric 'speed'; known are psnr-rgb"),
        ({"method_ids": ["bmp"]}, "Unknown method 'bmp'"),
        ({"pipeline": None}, "need a model"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_computed(change, message):
    arguments = {"method_ids": METHOD_IDS, "pipeline": FakePipeline(), "target_bpp": 1.0, "metrics": []}
    with pytest.raises(SettingsError, match=message):
        compare(_image(), **arguments | change)


def test_defaults_exist():
    assert set(DEFAULT_METHODS) <= set(METHODS)
    assert set(DEFAULT_METRICS) <= set(METRICS)


def test_identical_pictures_give_a_dash_with_a_reason_in_json():
    image = _image()
    encoded = EncodedImage("jpeg", b"12", ".jpg", *SIZE)
    result = MethodResult("jpeg", "JPEG", encoded, image, measure(image, image, ["psnr-rgb"]), 0.1, 0.1)
    row = method_row(result, target_bpp=1.0)
    assert row["metrics"]["psnr-rgb"] is None
    assert "identical" in row["reasons"]["psnr-rgb"]


def test_one_image_knows_nothing_of_many_nor_of_who_shows_it():
    files = list(Path(compare_module.__file__).parent.glob("*.py"))
    wanted = {
        name
        for file in files
        for name in re.findall(r"^\s*(?:from|import) sprdiff\.(\w+)", file.read_text(), re.MULTILINE)
    }
    assert {"comparison", "metrics"} <= wanted
    assert not wanted & {"evaluation", "blind", "training", "cli", "ui"}
