"""Metrics with learned weights: random ones, put where the real ones would be, and no network."""

import math
import threading
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pictures import noisy, smooth_picture
from random_weights import store_random_backbone, store_random_dists

from sprdiff import metrics
from sprdiff.errors import WeightsError
from sprdiff.metrics import METRICS, backbones, deep, download, measure

DEEP = ["lpips-alex", "lpips-vgg", "dists"]


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
def test_lpips_against_the_paper(torch_cache, net, backbone):
    state = store_random_backbone(torch_cache, backbone)
    reference = smooth_picture(67, 80)
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


def test_dists_against_the_paper(torch_cache):
    state = store_random_backbone(torch_cache, "vgg16")
    weights = store_random_dists(torch_cache)
    reference = smooth_picture(67, 80)
    image = noisy(reference, 20)
    expected = dists_by_the_paper(state, weights, reference, image)
    assert expected > 0.01
    assert metrics.dists(reference, image) == pytest.approx(expected, rel=1e-3)
    assert metrics.dists(reference, reference) == pytest.approx(0, abs=1e-5)


def test_features_of_a_reference_are_computed_once():
    seen = []

    def extract(x):
        seen.append(x)
        return 2 * x

    features = deep.ReferenceFeatures(extract)
    first, second = torch.rand(2, 1, 3, 16, 16)
    for _ in range(2):
        features.remember(first)
        assert torch.equal(features(first), 2 * first) and torch.equal(features(second), 2 * second)
    assert [each is first for each in seen] == [True, False, False]
    features.remember(second)
    assert torch.equal(features(first), 2 * first)
    large = torch.zeros(1, 3, 2, deep.REMEMBERED_PIXELS // 2 + 1)
    features.remember(large)
    assert features.kept is None


@pytest.mark.parametrize("name", DEEP)
def test_a_remembered_reference_changes_no_figure(torch_cache, name):
    for backbone in ("alexnet", "vgg16"):
        store_random_backbone(torch_cache, backbone)
    store_random_dists(torch_cache)
    first, second = smooth_picture(40, 48), noisy(smooth_picture(40, 48), 60)
    pairs = [(first, noisy(first, 20)), (first, noisy(first, 40)), (second, first), (first, second)]
    expected = []
    for pair in pairs:
        deep.lpips_network.cache_clear()
        deep.dists_network.cache_clear()
        expected.append(measure(*pair, [name])[name].value)
    assert len(set(expected)) > 2
    assert [measure(*pair, [name])[name].value for pair in pairs] == expected


@pytest.mark.parametrize("name", ["lpips-vgg", "dists"])
def test_reduced_precision_is_asked_for_and_ends_and_stays_near(torch_cache, monkeypatch, name):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})  # others emulate it
    store_random_backbone(torch_cache, "vgg16")
    store_random_dists(torch_cache)
    reference = smooth_picture(40, 48)
    pair = reference, noisy(reference, 20)
    exact = METRICS[name].function(*pair)
    deep.lpips_network.cache_clear()
    deep.dists_network.cache_clear()
    with deep.reduced_precision():
        reduced = METRICS[name].function(*pair)  # whose features of the original are not for what follows
        assert METRICS[name].function(reference, reference) == pytest.approx(0, abs=1e-5)
    assert reduced != exact and reduced == pytest.approx(exact, abs=0.001)
    assert METRICS[name].function(*pair) == exact
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    with deep.reduced_precision():
        assert METRICS[name].function(*pair) == exact


def test_loading_weights_prints_nothing(torch_cache, capfd):
    store_random_backbone(torch_cache, "alexnet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.lpips_alex(smooth_picture(40, 40), smooth_picture(40, 40))
    assert capfd.readouterr().out == ""


# Without weights


class NoNetwork:
    """Stands in for ``urllib.request.urlopen``: counts the calls and fails as without a network."""

    def __init__(self, error: Exception | None = None):
        self.calls: list[str] = []
        self.error = error or urllib.error.URLError(OSError("Name or service not known"))

    def __call__(self, request: urllib.request.Request, timeout: float):
        self.calls.append(request.full_url)
        raise self.error


def test_offline_gives_reasons_once(torch_cache, monkeypatch):
    network = NoNetwork()
    monkeypatch.setattr("urllib.request.urlopen", network)
    reference = smooth_picture(40, 40)
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


def test_offline_in_threads_asks_once(torch_cache, monkeypatch):
    network = NoNetwork()
    monkeypatch.setattr("urllib.request.urlopen", network)
    reference, reasons = smooth_picture(40, 40), []

    def work() -> None:
        reasons.append(measure(reference, reference, ["lpips-alex"])["lpips-alex"].reason)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(network.calls) == 1 and len(reasons) == 8 and None not in reasons


def test_refusal_of_one_file_is_not_held_against_the_server(torch_cache, monkeypatch):
    network = NoNetwork(urllib.error.HTTPError("https://host/file", 404, "Not Found", None, None))
    monkeypatch.setattr("urllib.request.urlopen", network)
    reference = smooth_picture(40, 40)
    for _ in range(2):
        assert "HTTP Error 404" in measure(reference, reference, ["lpips-alex"])["lpips-alex"].reason
        assert "HTTP Error 404" in measure(reference, reference, ["lpips-vgg"])["lpips-vgg"].reason
    assert len(network.calls) == 2


def test_silent_network_costs_only_the_limit(torch_cache, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr("urllib.request.urlopen", lambda request, timeout: release.wait(60))
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.2)
    start = time.perf_counter()
    with pytest.raises(WeightsError, match="no answer within"):
        download.cached_weights("https://host/file.pth", "checkpoints")
    assert time.perf_counter() - start < 5
    release.set()


def test_other_errors_are_not_hidden(torch_cache, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(backbones, "cached_weights", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        measure(smooth_picture(40, 40), smooth_picture(40, 40), ["lpips-alex"])


@pytest.mark.parametrize("side", [16, 17, 31])
def test_measure_at_the_smallest_size(side, torch_cache):
    store_random_backbone(torch_cache, "alexnet")
    small = smooth_picture(side, side)
    values = measure(small, noisy(small, 5), ["psnr-rgb", "fsim", "gmsd", "lpips-alex"])
    missing = [id for id, value in values.items() if value.value is None]
    assert missing == (["lpips-alex"] if side < 31 else [])
