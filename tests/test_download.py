"""Files fetched into torch's cache: slow, broken, wrong and absent ones, from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import noisy, smooth_picture
from random_weights import store_random_backbone
from slow_server import SlowServer

from sprdiff import metrics
from sprdiff.errors import WeightsError
from sprdiff.metrics import backbones, deep, download
from sprdiff.metrics.download import Download, cached_weights

BODY = bytes(range(250)) * 40
NAME = f"net-{hashlib.sha256(BODY).hexdigest()[:8]}.pth"
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def impatient(torch_cache, monkeypatch):
    monkeypatch.setattr(download, "RETRY_SECONDS", (0.01, 0.01))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_file_is_fetched_once(torch_cache):
    with SlowServer({NAME: BODY}) as server:
        for _ in range(2):
            path = cached_weights(f"{server.url}/{NAME}", "checkpoints")
        assert len(server.requests) == 1
    assert path == torch_cache / "checkpoints" / NAME and path.read_bytes() == BODY
    assert left(torch_cache) == [NAME]


def test_a_broken_connection_goes_on_where_it_broke(torch_cache):
    with SlowServer({NAME: BODY}, breaks=3000) as server:
        path = cached_weights(f"{server.url}/{NAME}", "checkpoints")
        assert [start for _, start in server.requests] == [0, 3000, 6000, 9000]
    assert path.read_bytes() == BODY


def test_a_server_that_knows_no_ranges_sends_it_again(torch_cache):
    partial = torch_cache / "checkpoints" / f"{NAME}.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(BODY[:4000])
    with SlowServer({NAME: BODY}, ranges=False) as server:
        assert cached_weights(f"{server.url}/{NAME}", "checkpoints").read_bytes() == BODY


def test_what_another_process_left_is_not_fetched_again(torch_cache):
    partial = torch_cache / "checkpoints" / f"{NAME}.partial"
    partial.parent.mkdir(parents=True)
    for there in (4000, len(BODY)):
        partial.write_bytes(BODY[:there])
        with SlowServer({NAME: BODY}) as server:
            path = cached_weights(f"{server.url}/{NAME}", "checkpoints")
            assert server.requests == [(NAME, there)]
        assert path.read_bytes() == BODY
        path.unlink()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("net-00000000.pth", "SHA-256 does not begin with 00000000"),
        ("missing-00000000.pth", "HTTP Error 404"),
    ],
)
def test_what_fails_leaves_nothing_and_is_not_tried_again(torch_cache, name, reason):
    with SlowServer({"net-00000000.pth": BODY}) as server:
        for _ in range(2):
            with pytest.raises(WeightsError, match=reason):
                cached_weights(f"{server.url}/{name}", "checkpoints")
        assert len(server.requests) == 1
    assert left(torch_cache) == []


def test_a_connection_that_always_breaks_is_given_up_and_what_came_is_kept(torch_cache, monkeypatch):
    monkeypatch.setattr(download, "_connect", _stalling)
    with pytest.raises(WeightsError, match="3000 bytes of 10000 arrived"):
        cached_weights(f"http://127.0.0.1/{NAME}", "checkpoints")
    assert left(torch_cache) == [f"{NAME}.partial"]


def _stalling(url: str, start: int) -> Any:
    """A response that promises the whole body, and sends 3000 bytes of it at most."""
    response: Any = io.BytesIO(b"" if start else BODY[:3000])
    response.status = 206 if start else 200
    response.headers = {"Content-Length": str(len(BODY) - start)}
    return response


def test_threads_and_processes_share_one_download(torch_cache):
    with SlowServer({NAME: BODY}, seconds=0.05) as server:
        url = f"{server.url}/{NAME}"
        code = f"from sprdiff.metrics.download import cached_weights; cached_weights({url!r}, 'checkpoints')"
        other = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, env=os.environ)
        threads = [threading.Thread(target=cached_weights, args=(url, "checkpoints")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert other.wait(60) == 0
        assert server.requests == [(NAME, 0)]


def test_how_far_it_is_can_be_seen(torch_cache):
    with SlowServer({NAME: BODY}, seconds=0.05) as server:
        thread = threading.Thread(target=cached_weights, args=(f"{server.url}/{NAME}", "checkpoints"))
        thread.start()
        seen = set()
        while thread.is_alive():
            seen.update(download.downloads())
    sizes = sorted(each.received for each in seen if each.total == len(BODY))
    assert len(sizes) > 5
    assert Download(NAME, 5000, len(BODY)) in seen
    assert download.downloads() == []


def test_offline_nobody_is_asked(torch_cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with SlowServer({NAME: BODY}) as server:
        with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
            cached_weights(f"{server.url}/{NAME}", "checkpoints")
        assert server.requests == []


# ---- of a backbone the convolutions are kept ---------------------------------------------------------------


@pytest.fixture
def alexnet(torch_cache, monkeypatch):
    """A server of AlexNet with random weights, its file as large as it is without its classifier."""
    import torchvision

    store_random_backbone(torch_cache, "alexnet")
    reference = smooth_picture(40, 48)
    expected = metrics.lpips_alex(reference, noisy(reference, 20))
    deep.lpips_network.cache_clear()
    [file] = (torch_cache / "checkpoints").glob("*.pth")
    body = file.read_bytes()
    file.unlink()
    name = f"alexnet-{hashlib.sha256(body).hexdigest()[:8]}.pth"
    with SlowServer({name: body}) as server:
        weights = torchvision.models.AlexNet_Weights.IMAGENET1K_V1
        monkeypatch.setattr(weights.value, "url", f"{server.url}/{name}", raising=True)
        yield server, expected


def test_the_convolutions_of_a_download_are_kept_and_give_the_same_figure(alexnet, torch_cache):
    server, expected = alexnet
    reference = smooth_picture(40, 48)
    assert metrics.lpips_alex(reference, noisy(reference, 20)) == expected
    [kept] = left(torch_cache)
    assert kept.endswith("-features.safetensors")
    assert (torch_cache / "sprdiff" / kept).stat().st_size == pytest.approx(9_880_000, rel=0.01)
    deep.lpips_network.cache_clear()
    assert metrics.lpips_alex(reference, noisy(reference, 20)) == expected
    assert len(server.requests) == 1


def test_a_whole_file_of_torchvision_is_used_where_it_lies(torch_cache):
    state = store_random_backbone(torch_cache, "vgg16")
    features = backbones.backbone_features("vgg16")
    assert torch.equal(features[0].weight, state["features.0.weight"])
    assert not any(parameter.requires_grad for parameter in features.parameters())


def test_a_file_that_holds_no_weights_is_one_sentence(torch_cache):
    store_random_backbone(torch_cache, "vgg16")
    [file] = (torch_cache / "checkpoints").glob("*.pth")
    file.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="does not hold the weights of vgg16"):
        backbones.backbone_features("vgg16")
