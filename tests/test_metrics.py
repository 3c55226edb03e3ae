"""Every metric against an implementation of its own, its known values, and its refusals. No network."""

import hashlib
import http.server
import math
import subprocess
import sys
import threading
import time
import urllib.error
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sprdiff import metrics
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.metrics import METRICS, UndefinedMetricError, backbones, deep, measure, rate

WITHOUT_WEIGHTS = ["psnr-rgb", "ms-ssim-rgb", "ms-ssim-y", "cw-ssim", "fsim", "gmsd"]
DEEP = ["lpips-alex", "lpips-vgg", "dists"]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture, (H, W, 3), uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def noisy(image: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    reference = picture(176, 201)  # odd width: the halvings of MS-SSIM pad it
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
    reference = picture(176, 176)
    other = reference.copy().astype(int)
    other[..., 0] += 30
    other[..., 2] -= round(30 * 0.299 / 0.114)
    keep = (other >= 0).all(-1) & (other <= 255).all(-1)
    other = np.where(keep[..., None], other, reference).astype(np.uint8)
    assert metrics.ms_ssim_y(reference, other) > 0.999
    assert metrics.ms_ssim(reference, other) < 0.99


@pytest.mark.parametrize("function", [metrics.ms_ssim, metrics.ms_ssim_y])
def test_ms_ssim_is_undefined_for_small_pictures(function):
    small = picture(160, 300)
    with pytest.raises(UndefinedMetricError, match="at least 161 pixels a side, the picture has 160"):
        function(small, small)
    assert function(picture(161, 161), picture(161, 161)) == pytest.approx(1, abs=1e-6)


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
        metrics.cw_ssim(picture(63, 80), picture(63, 80))


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


# Metrics with learned weights: random ones, put where the real ones would be


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache of weights, no memory of failures, and no networks built."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(backbones, "_failures", {})
    deep._lpips.cache_clear()
    deep._dists.cache_clear()
    yield tmp_path / "hub"
    deep._lpips.cache_clear()
    deep._dists.cache_clear()


def store_random_backbone(hub: Path, name: str) -> dict[str, torch.Tensor]:
    """A file as torchvision downloads it, with random features; its classifier is one repeated zero."""
    import torchvision

    with torch.device("meta"):
        shapes = {k: v.shape for k, v in torchvision.models.get_model(name).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in shapes.items():
        if key.startswith("classifier"):
            state[key] = torch.zeros(1).expand(shape)
        elif len(shape) == 4:
            gain = math.sqrt(2 / math.prod(shape[1:]))
            state[key] = torch.randn(shape, generator=generator) * gain
        else:
            state[key] = torch.randn(shape, generator=generator) * 0.05
    url = torchvision.models.get_model_weights(name).IMAGENET1K_V1.url
    folder = hub / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / url.rsplit("/", 1)[1])
    return state


def layers(state: dict[str, torch.Tensor], x: torch.Tensor, plan: list) -> list[torch.Tensor]:
    """The features of a network written as a plan: ("conv", index, stride, padding), "tap", or a function."""
    taps = []
    for step in plan:
        if step == "tap":
            taps.append(x)
        elif callable(step):
            x = step(x)
        else:
            _, index, stride, padding = step
            weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
            x = F.relu(F.conv2d(x, weight, bias, stride=stride, padding=padding))
    return taps


def max_pool(kernel: int):
    return lambda x: F.max_pool2d(x, kernel, 2)


ALEX = [
    ("conv", 0, 4, 2), "tap", max_pool(3), ("conv", 3, 1, 2), "tap", max_pool(3),
    ("conv", 6, 1, 1), "tap", ("conv", 8, 1, 1), "tap", ("conv", 10, 1, 1), "tap",
]  # fmt: skip


def vgg(pool) -> list:
    plan = []
    for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        plan += [pool] if plan else []
        plan += [("conv", index, 1, 1) for index in block] + ["tap"]
    return plan


def lpips_by_the_paper(net: str, state: dict, reference: np.ndarray, image: np.ndarray) -> float:
    """Equation (1) of arXiv:1801.03924, with the linear weights that the lpips package ships."""
    import lpips

    linear = torch.load(Path(lpips.__file__).parent / "weights/v0.1" / f"{net}.pth", "cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    total = 0.0
    taps = []
    for array in (reference, image):
        x = torch.tensor(array).permute(2, 0, 1)[None] / 127.5 - 1
        taps.append(layers(state, (x - shift) / scale, ALEX if net == "alex" else vgg(max_pool(2))))
    for level, (a, b) in enumerate(zip(*taps, strict=True)):
        a = a / (a.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)
        b = b / (b.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)
        weight = linear[f"lin{level}.model.1.weight"].flatten()
        total += torch.einsum("bchw,c->bhw", (a - b) ** 2, weight).mean().item()
    return total


@pytest.mark.parametrize(("net", "backbone"), [("alex", "alexnet"), ("vgg", "vgg16")])
def test_lpips_against_the_paper(fresh, net, backbone):
    state = store_random_backbone(fresh, backbone)
    reference = picture(67, 80)
    image = noisy(reference, 20)
    function = METRICS[f"lpips-{net}"].function
    expected = lpips_by_the_paper(net, state, reference, image)
    assert expected > 0.01
    assert function(reference, image) == pytest.approx(expected, rel=1e-4)
    assert function(reference, reference) == 0


def dists_by_the_paper(state: dict, weights: dict, reference: np.ndarray, image: np.ndarray) -> float:
    """Equations (5) to (7) of arXiv:2004.07728, features through Hanning-windowed L2 pooling, in float64."""
    window = np.hanning(5)[1:-1]
    kernel = torch.tensor(np.outer(window, window) / np.outer(window, window).sum())

    def l2_pool(x: torch.Tensor) -> torch.Tensor:
        channels = x.shape[1]
        squares = F.conv2d(x**2, kernel.expand(channels, 1, 3, 3), stride=2, padding=1, groups=channels)
        return (squares + 1e-12).sqrt()

    state = {key: value.double() for key, value in state.items() if key.startswith("features")}
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1).double()
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1).double()
    features = []
    for array in (reference, image):
        x = torch.tensor(array).permute(2, 0, 1)[None].double() / 255
        features.append([x, *layers(state, (x - mean) / std, vgg(l2_pool))])
    alpha, beta = (weights[name].double().flatten() for name in ("alpha", "beta"))
    total, position = 0.0, 0
    for a, b in zip(*features, strict=True):
        a, b = a[0].flatten(1), b[0].flatten(1)  # (C, H W)
        mean_a, mean_b = a.mean(1), b.mean(1)
        luminance = (2 * mean_a * mean_b + 1e-6) / (mean_a**2 + mean_b**2 + 1e-6)
        covariance = ((a - mean_a[:, None]) * (b - mean_b[:, None])).mean(1)
        structure = (2 * covariance + 1e-6) / (a.var(1, correction=0) + b.var(1, correction=0) + 1e-6)
        part = slice(position, position + len(a))
        total += (alpha[part] * luminance + beta[part] * structure).sum().item()
        position += len(a)
    return 1 - total / (alpha.sum() + beta.sum()).item()


def test_dists_against_the_paper(fresh):
    from pyiqa.archs.dists_arch import default_model_urls

    state = store_random_backbone(fresh, "vgg16")
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.rand(1, 1475, 1, 1, generator=generator) for name in ("alpha", "beta")}
    (fresh / "pyiqa").mkdir()
    torch.save(weights, fresh / "pyiqa" / default_model_urls["url"].rsplit("/", 1)[1])
    reference = picture(67, 80)
    image = noisy(reference, 20)
    expected = dists_by_the_paper(state, weights, reference, image)
    assert expected > 0.01
    assert metrics.dists(reference, image) == pytest.approx(expected, rel=1e-3)
    assert metrics.dists(reference, reference) == pytest.approx(0, abs=1e-5)


def test_loading_weights_prints_nothing(fresh, capfd):
    store_random_backbone(fresh, "alexnet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.lpips_alex(picture(40, 40), picture(40, 40))
    assert capfd.readouterr().out == ""


# Without weights


class NoNetwork:
    """Stands in for ``urllib.request.urlopen``: counts the calls and fails like a machine without network."""

    def __init__(self, error: Exception | None = None):
        self.calls: list[str] = []
        self.error = error or urllib.error.URLError(OSError("Name or service not known"))

    def __call__(self, url: str, timeout: float):
        self.calls.append(url)
        raise self.error


def test_offline_gives_reasons_once(fresh, monkeypatch):
    network = NoNetwork()
    monkeypatch.setattr("urllib.request.urlopen", network)
    reference = picture(40, 40)
    for _ in range(3):
        values = measure(reference, reference, [*DEEP, "psnr-rgb"])
        for id in DEEP:
            assert values[id].value is None
            assert values[id].reason == (
                "its weights are not here and download.pytorch.org does not give them "
                "(Name or service not known)"
            )
        assert values["psnr-rgb"].value == math.inf
    assert len(network.calls) == 1


def test_offline_in_threads_asks_once(fresh, monkeypatch):
    network = NoNetwork()
    monkeypatch.setattr("urllib.request.urlopen", network)
    reference, reasons = picture(40, 40), []

    def work() -> None:
        reasons.append(measure(reference, reference, ["lpips-alex"])["lpips-alex"].reason)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(network.calls) == 1 and len(reasons) == 8 and None not in reasons


def test_refusal_of_one_file_is_not_held_against_the_server(fresh, monkeypatch):
    network = NoNetwork(urllib.error.HTTPError("https://host/file", 404, "Not Found", None, None))
    monkeypatch.setattr("urllib.request.urlopen", network)
    reference = picture(40, 40)
    for _ in range(2):
        assert "HTTP Error 404" in measure(reference, reference, ["lpips-alex"])["lpips-alex"].reason
        assert "HTTP Error 404" in measure(reference, reference, ["lpips-vgg"])["lpips-vgg"].reason
    assert len(network.calls) == 2


def test_silent_network_costs_only_the_limit(fresh, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: release.wait(60))
    monkeypatch.setattr(backbones, "CONNECT_SECONDS", 0.2)
    start = time.perf_counter()
    with pytest.raises(WeightsError, match="no answer within"):
        backbones.cached_weights("https://host/file.pth", "checkpoints")
    assert time.perf_counter() - start < 5
    release.set()


def test_other_errors_are_not_hidden(fresh, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(deep, "cached_weights", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        measure(picture(40, 40), picture(40, 40), ["lpips-alex"])


@pytest.fixture
def server():
    """A server on this machine that knows one file, and one that it breaks off."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"weights" * 1000
            if "missing" in self.path:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:100] if "broken" in self.path else body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_download(fresh, server):
    digest = hashlib.sha256(b"weights" * 1000).hexdigest()
    path = backbones.cached_weights(f"{server}/net.pth", "checkpoints", sha256_prefix=digest[:8])
    assert path == fresh / "checkpoints" / "net.pth"
    assert path.read_bytes() == b"weights" * 1000


@pytest.mark.parametrize(
    ("name", "prefix", "reason"),
    [
        ("net.pth", "00000000", "SHA-256 does not begin with 00000000"),
        ("broken.pth", "", "failed"),
        ("missing.pth", "", "HTTP Error 404"),
    ],
)
def test_download_that_fails_leaves_nothing(fresh, server, name, prefix, reason):
    for _ in range(2):
        with pytest.raises(WeightsError, match=reason):
            backbones.cached_weights(f"{server}/{name}", "checkpoints", sha256_prefix=prefix)
    assert not (fresh / "checkpoints").exists() or not list((fresh / "checkpoints").iterdir())


# measure()


def test_measure(pair):
    values = measure(*pair, ["ms-ssim-y", "psnr-rgb"])
    assert list(values) == ["ms-ssim-y", "psnr-rgb"]
    assert values["psnr-rgb"].value == metrics.psnr(*pair) and values["psnr-rgb"].reason is None


def test_measure_gives_reasons_for_small_pictures():
    small = picture(40, 40)
    values = measure(small, noisy(small, 5), WITHOUT_WEIGHTS)
    assert [id for id, value in values.items() if value.value is None] == [
        "ms-ssim-rgb",
        "ms-ssim-y",
        "cw-ssim",
    ]
    assert values["ms-ssim-y"].reason == "needs at least 161 pixels a side, the picture has 40"


@pytest.mark.parametrize("side", [16, 17, 31])
def test_measure_at_the_smallest_size(side, fresh):
    store_random_backbone(fresh, "alexnet")
    small = picture(side, side)
    values = measure(small, noisy(small, 5), ["psnr-rgb", "fsim", "gmsd", "lpips-alex"])
    missing = [id for id, value in values.items() if value.value is None]
    assert missing == (["lpips-alex"] if side < 31 else [])


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
