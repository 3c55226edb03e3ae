"""Every metric without learned weights against an implementation of its own, known values, refusals."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import noisy, smooth_picture
from PIL import Image

from sprdiff import metrics
from sprdiff.errors import SettingsError
from sprdiff.metrics import METRICS, UndefinedMetricError, measure, rate

WITHOUT_WEIGHTS = ["psnr-rgb", "ms-ssim-rgb", "ms-ssim-y", "cw-ssim", "fsim", "gmsd"]
DEEP = ["lpips-alex", "lpips-vgg", "dists"]


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    reference = smooth_picture(176, 201)  # odd width: the halvings of MS-SSIM pad it
    return reference, noisy(reference, 12)


# Rate


def test_bpp():
    assert rate.bpp(491, 768, 512) == pytest.approx(0.00998942, abs=1e-8)
    assert rate.bpp(1, 4, 2) == 1


@pytest.mark.parametrize(
    ("target", "size", "expected"),
    [(0.03, (768, 512), 1474), (0.01, (768, 512), 491), (1.0, (16, 16), 32), (0.03, (16, 16), 0)],
)
def test_max_bytes(target, size, expected):
    assert rate.max_bytes(target, *size) == expected


def test_max_bytes_never_exceeds_the_target():
    for target in (0.005, 0.0123, 0.03, 0.1, 0.3):
        for size in ((768, 512), (17, 31), (4000, 3000)):
            budget = rate.max_bytes(target, *size)
            assert rate.bpp(budget, *size) <= target < rate.bpp(budget + 1, *size)


@pytest.mark.parametrize("target", [0, -0.1, math.nan, math.inf])
def test_max_bytes_refuses_what_is_no_bitrate(target):
    with pytest.raises(SettingsError, match="positive number of bits per pixel"):
        rate.max_bytes(target, 10, 10)


def test_counting_bytes_needs_no_torch():
    code = "import sys, sprdiff.metrics.rate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


# PSNR


def test_psnr_against_numpy(pair):
    error = np.mean((pair[0].astype(float) - pair[1].astype(float)) ** 2)
    assert metrics.psnr(*pair) == pytest.approx(20 * np.log10(255) - 10 * np.log10(error), abs=1e-10)


def test_psnr_by_hand():
    black, white = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    assert metrics.psnr(black, white) == 0
    assert metrics.psnr(black, black) == math.inf
    assert metrics.psnr(black, black + 1) == pytest.approx(48.1308, abs=1e-4)
    one = black.copy()
    one[3, 3, 1] = 255  # one of 768 values
    assert metrics.psnr(black, one) == pytest.approx(28.8536, abs=1e-4)


# MS-SSIM


def ms_ssim_by_the_paper(first: np.ndarray, second: np.ndarray, clip_pixels: bool = False) -> float:
    """One channel, float64; equations (1) to (7) of Wang, Simoncelli and Bovik 2003, in plain numpy.

    As in the implementations in use, the low-pass filter between the scales is a 2 x 2 mean, and odd sides
    get a row of zeros on both ends first.
    """
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(x: np.ndarray) -> np.ndarray:
        x = np.apply_along_axis(np.convolve, 0, x, window, "valid")
        return np.apply_along_axis(np.convolve, 1, x, window, "valid")

    def halve(x: np.ndarray) -> np.ndarray:
        x = np.pad(x, [(side % 2, side % 2) for side in x.shape])
        x = x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2]
        return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean((1, 3))

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    product = 1.0
    for scale, exponent in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            first, second = halve(first), halve(second)
        mean_1, mean_2 = blur(first), blur(second)
        variance_1 = blur(first * first) - mean_1**2
        variance_2 = blur(second * second) - mean_2**2
        covariance = blur(first * second) - mean_1 * mean_2
        term = (2 * covariance + c2) / (variance_1 + variance_2 + c2)
        if clip_pixels:  # as pyiqa does
            term = np.maximum(term, 0)
        if scale == 4:
            term = term * (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
        product *= max(term.mean(), 0) ** exponent
    return product


def test_ms_ssim_against_the_paper(pair):
    first, second = (array.astype(np.float64) for array in pair)
    expected = np.mean([ms_ssim_by_the_paper(first[..., c], second[..., c]) for c in range(3)])
    assert 0.5 < expected < 0.99
    assert metrics.ms_ssim(*pair) == pytest.approx(expected, abs=2e-5)


def test_ms_ssim_y_against_the_paper(pair):
    first, second = (np.rint(array @ np.array([0.299, 0.587, 0.114])) for array in pair)
    expected = ms_ssim_by_the_paper(first, second, clip_pixels=True)
    assert metrics.ms_ssim_y(*pair) == pytest.approx(expected, abs=2e-5)


def test_ms_ssim_y_is_that_of_pyiqa(pair):
    import pyiqa

    network = pyiqa.create_metric("ms_ssim", device="cpu")
    blurred = np.asarray(Image.fromarray(pair[0]).resize((20, 18)).resize((201, 176)))
    for image in (pair[1], blurred):
        tensors = [torch.tensor(a).permute(2, 0, 1)[None] / 255 for a in (image, pair[0])]
        assert metrics.ms_ssim_y(pair[0], image) == pytest.approx(network(*tensors).item(), abs=1e-5)


def test_luma_is_blind_to_some_colour_and_rgb_is_not():
    reference = smooth_picture(176, 176)
    other = reference.copy().astype(int)
    other[..., 0] += 30
    other[..., 2] -= round(30 * 0.299 / 0.114)
    keep = (other >= 0).all(-1) & (other <= 255).all(-1)
    other = np.where(keep[..., None], other, reference).astype(np.uint8)
    assert metrics.ms_ssim_y(reference, other) > 0.999
    assert metrics.ms_ssim(reference, other) < 0.99


@pytest.mark.parametrize("function", [metrics.ms_ssim, metrics.ms_ssim_y])
def test_ms_ssim_is_undefined_for_small_pictures(function):
    small = smooth_picture(160, 300)
    with pytest.raises(UndefinedMetricError, match="at least 161 pixels a side, the picture has 160"):
        function(small, small)
    assert function(smooth_picture(161, 161), smooth_picture(161, 161)) == pytest.approx(1, abs=1e-6)


# Metrics without learned weights


def test_gmsd_by_the_paper(pair):
    """Xue et al. 2014: Prewitt gradients of the halved luma, c = 170, deviation over the picture."""
    maps = []
    for array in pair:
        luma = np.rint(array @ np.array([0.299, 0.587, 0.114]))
        luma = luma[: luma.shape[0] // 2 * 2, : luma.shape[1] // 2 * 2]
        halved = luma.reshape(luma.shape[0] // 2, 2, luma.shape[1] // 2, 2).mean((1, 3))
        padded = np.pad(halved, 1)
        rows = padded[:-2] + padded[1:-1] + padded[2:]
        columns = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
        across = (rows[:, :-2] - rows[:, 2:]) / 3
        down = (columns[:-2] - columns[2:]) / 3
        maps.append(np.hypot(across, down))
    similarity = (2 * maps[0] * maps[1] + 170) / (maps[0] ** 2 + maps[1] ** 2 + 170)
    assert metrics.gmsd(*pair) == pytest.approx(similarity.std(ddof=1), abs=1e-5)


def test_cw_ssim_of_flat_pictures_is_undefined():
    flat = np.full((80, 80, 3), 90, np.uint8)
    with pytest.raises(UndefinedMetricError, match="no structure"):
        metrics.cw_ssim(flat, flat)
    with pytest.raises(UndefinedMetricError, match="at least 64 pixels"):
        metrics.cw_ssim(smooth_picture(63, 80), smooth_picture(63, 80))


# All that run offline


@pytest.mark.parametrize("id", WITHOUT_WEIGHTS)
def test_identical_pictures(id, pair):
    best = math.inf if id == "psnr-rgb" else 1.0 if METRICS[id].higher_is_better else 0.0
    assert METRICS[id].function(pair[0], pair[0]) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("id", ["psnr-rgb", "ms-ssim-rgb", "ms-ssim-y", "fsim", "gmsd"])
def test_constant_pictures(id):
    gray, lighter = (np.full((176, 176, 3), level, np.uint8) for level in (100, 110))
    function = METRICS[id].function
    best = math.inf if id == "psnr-rgb" else 1.0 if METRICS[id].higher_is_better else 0.0
    assert function(gray, gray) == pytest.approx(best, abs=1e-6)
    assert math.isfinite(function(gray, lighter)) and function(gray, lighter) != best


@pytest.mark.parametrize(("function", "tolerance"), [(metrics.ms_ssim, 5e-5), (metrics.ms_ssim_y, 5e-4)])
def test_ms_ssim_of_flat_pictures_by_hand(function, tolerance):
    """No contrast and no structure: what is left is the luminance term of the coarsest scale."""
    gray, lighter = (np.full((176, 176, 3), level, np.uint8) for level in (100, 140))
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 100 * 140 + c1) / (100**2 + 140**2 + c1)
    # Variances of flat pictures are differences of large float32 numbers, so the other terms are nearly one.
    assert function(gray, lighter) == pytest.approx(luminance**0.1333, abs=tolerance)
    assert abs(luminance**0.1333 - luminance) > 0.04


def test_what_is_measured_is_the_picture_in_8_bit():
    """A decoder's floats are rounded first; measured as they are they would give another number."""
    from sprdiff.images import to_image

    original = np.full((16, 16, 3), 100, np.uint8)
    near = torch.full((1, 3, 16, 16), 100.4 / 255)
    assert metrics.psnr(original, to_image(near)) == math.inf
    beyond = torch.full((1, 3, 16, 16), 100.6 / 255)
    assert metrics.psnr(original, to_image(beyond)) == pytest.approx(20 * math.log10(255))


@pytest.mark.parametrize("id", WITHOUT_WEIGHTS)
def test_direction(id, pair):
    reference = pair[0]
    values = [METRICS[id].function(reference, noisy(reference, sigma)) for sigma in (3, 12, 48)]
    assert values == sorted(values, reverse=METRICS[id].higher_is_better)
    assert len(set(values)) == 3


@pytest.mark.parametrize("id", WITHOUT_WEIGHTS)
def test_pil_and_arrays_are_the_same(id, pair):
    function = METRICS[id].function
    assert function(*map(Image.fromarray, pair)) == function(*pair)


@pytest.mark.parametrize("id", METRICS)
def test_wrong_pictures_are_refused(id, pair):
    function, reference = METRICS[id].function, pair[0]
    with pytest.raises(ValueError, match=r"same size, got 201 x 176 and 201 x 175"):
        function(reference, reference[:-1])
    with pytest.raises(ValueError, match="mode L"):
        function(reference, Image.new("L", (201, 176)))
    with pytest.raises(ValueError, match="uint8"):
        function(reference, reference / 255)
    with pytest.raises(ValueError, match="uint8"):
        function(reference[..., 0], reference[..., 0])


def test_importing_and_measuring_leave_stdout_clean():
    code = (
        "import numpy as np; from sprdiff.metrics import measure;"
        "a = np.random.default_rng(0).integers(0, 256, (176, 176, 3), np.uint8);"
        f"measure(a, a, {WITHOUT_WEIGHTS})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


# measure()


def test_measure(pair):
    values = measure(*pair, ["ms-ssim-y", "psnr-rgb"])
    assert list(values) == ["ms-ssim-y", "psnr-rgb"]
    assert values["psnr-rgb"].value == metrics.psnr(*pair) and values["psnr-rgb"].reason is None


def test_measure_gives_reasons_for_small_pictures():
    small = smooth_picture(40, 40)
    values = measure(small, noisy(small, 5), WITHOUT_WEIGHTS)
    assert [id for id, value in values.items() if value.value is None] == [
        "ms-ssim-rgb",
        "ms-ssim-y",
        "cw-ssim",
    ]
    assert values["ms-ssim-y"].reason == "needs at least 161 pixels a side, the picture has 40"


def test_measure_refuses_unknown_ids(pair):
    with pytest.raises(SettingsError, match="no metric 'lpips'; known are psnr-rgb"):
        measure(*pair, ["lpips"])


def test_measure_refuses_mismatched_sizes(pair):
    with pytest.raises(ValueError, match="same size"):
        measure(pair[0], pair[1][:-1], [])


def test_ids_and_directions():
    assert list(METRICS) == [*WITHOUT_WEIGHTS[:3], *DEEP, *WITHOUT_WEIGHTS[3:]]
    assert all(metric.id == id for id, metric in METRICS.items())
    assert [id for id, metric in METRICS.items() if not metric.higher_is_better] == [*DEEP, "gmsd"]
    assert {id for id, metric in METRICS.items() if metric.unit} == {"psnr-rgb"}
