"""CompressAI's codecs with random weights: real bytes, kept budgets, damaged files, missing weights."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from compressai.models import Cheng2020Anchor, MeanScaleHyperprior, ScaleHyperprior
from compressai.zoo import image as zoo
from PIL import Image

from sprdiff.baselines import BASELINES, learned
from sprdiff.baselines.learned import LEARNED, LearnedCodec, ready
from sprdiff.baselines.search import SCALES
from sprdiff.errors import InputImageError, WeightsError
from sprdiff.metrics import download

ARCHITECTURES = {
    "bmshj2018-hyperprior": lambda: ScaleHyperprior(8, 12),
    "mbt2018-mean": lambda: MeanScaleHyperprior(8, 12),
    "cheng2020-anchor": lambda: Cheng2020Anchor(8),
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def codec(request) -> LearnedCodec:
    """Three qualities; the later ones scale the latent up, and so spend more."""
    models = {}

    def load(id: str, quality: int) -> torch.nn.Module:
        if quality not in models:
            torch.manual_seed(quality)
            model = ARCHITECTURES[id]()
            last = [layer for layer in model.g_a.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
            with torch.no_grad():
                last.weight.mul_(4.0 ** (quality - 1))
            models[quality] = ready(model)
        return models[quality]

    original = LEARNED[request.param]
    return LearnedCodec(original.id, original.label, original.extension, 3, load)


def test_they_are_known_and_have_extensions_of_their_own():
    assert list(LEARNED) == ["bmshj2018-hyperprior", "mbt2018-mean", "cheng2020-anchor"]
    assert all(BASELINES[id] is codec for id, codec in LEARNED.items())
    assert len({codec.extension for codec in BASELINES.values()}) == len(BASELINES)
    for codec in LEARNED.values():
        assert set(range(1, codec._qualities + 1)) == set(zoo.model_urls[codec.id]["mse"])


@pytest.mark.parametrize("max_bytes", [0, 400, 20_000])
def test_the_budget_is_kept_or_its_excess_said(codec, photo, max_bytes):
    encoded = codec.compress(photo, max_bytes=max_bytes)
    assert encoded.over_budget == (len(encoded.data) > max_bytes)
    assert encoded.over_budget == (max_bytes == 0)
    assert encoded.scale in SCALES and 1 <= encoded.settings["quality"] <= 3
    assert (encoded.width, encoded.height) == photo.size
    assert codec.decompress(encoded.data, size=photo.size).size == photo.size


def test_the_picture_is_that_of_the_strings(codec, photo):
    """What the container carries decodes to the reconstruction of CompressAI's own round trip."""
    small = photo.resize((61, 35))
    data = codec._encode(small, 2)
    model = codec._load(codec.id, 2)
    x = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None] / 255
    x = torch.nn.functional.pad(x, (0, 3, 0, 29), mode="replicate")
    with torch.no_grad():
        coded = model.compress(x)
        expected = model.decompress(**coded)["x_hat"][0, :, :35, :61].clamp(0, 1)
    decoded = codec.decompress(data, size=(61, 35))
    np.testing.assert_array_equal(
        np.asarray(decoded), (expected * 255).round().permute(1, 2, 0).to(torch.uint8).numpy()
    )
    assert len(data) - sum(len(strings[0]) for strings in coded["strings"]) <= 7


def test_damaged_and_foreign_files_are_refused(codec, photo):
    data = codec._encode(photo, 1)
    for broken in (b"", data[:3], data[:-1], data + b"x", b"\x09" + data[1:], b"\x00" + data[1:]):
        with pytest.raises(InputImageError, match=f"not a whole {codec.label} file"):
            codec.decompress(broken, size=photo.size)
    with pytest.raises(InputImageError):
        codec.decompress(b"\x01" + b"\xff" * 40, size=photo.size)


def test_only_rgb_and_no_negative_budget(codec):
    with pytest.raises(ValueError, match="RGB"):
        codec.compress(Image.new("L", (64, 64)), max_bytes=100)
    with pytest.raises(ValueError, match="negative"):
        codec.compress(Image.new("RGB", (64, 64)), max_bytes=-1)


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[str]:
    """A web server of the files in ``tmp_path/www``, and an empty cache."""
    (tmp_path / "www").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args) -> None:
            super().__init__(*args, directory=str(tmp_path / "www"))

        def log_message(self, *args) -> None:
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_failures", {})
    monkeypatch.delenv("HF_HUB_OFFLINE")
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def test_weights_come_from_the_zoo_once_and_are_checked(server, tmp_path, monkeypatch):
    import hashlib

    file = tmp_path / "www" / "model.pth"
    torch.save(ScaleHyperprior(8, 12).state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    name = f"model-1-{digest[:8]}.pth.tar"
    file.rename(file.with_name(name))
    monkeypatch.setitem(zoo.model_urls["bmshj2018-hyperprior"]["mse"], 1, f"{server}/{name}")
    model = learned._load_from_zoo("bmshj2018-hyperprior", 1)
    assert model.N == 8 and not model.training
    (tmp_path / "www" / name).unlink()
    learned._load_from_zoo("bmshj2018-hyperprior", 1)

    (tmp_path / "www" / "model-2-00000000.pth.tar").write_bytes(b"other")
    monkeypatch.setitem(zoo.model_urls["mbt2018-mean"]["mse"], 1, f"{server}/model-2-00000000.pth.tar")
    with pytest.raises(WeightsError, match="SHA-256"):
        learned._load_from_zoo("mbt2018-mean", 1)


def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "cheng2020-anchor-1-dad2ebff.pth.tar"
    torch.save({"state": print}, file)
    monkeypatch.setattr(learned, "cached_weights", lambda *args, **options: file)
    with pytest.raises(WeightsError, match="does not hold weights"):
        learned._load_from_zoo("cheng2020-anchor", 1)


def test_without_weights_it_says_so(monkeypatch, photo):
    def none(*args, **options):
        raise WeightsError("its weights are not here")

    monkeypatch.setattr(learned, "cached_weights", none)
    with pytest.raises(WeightsError, match="not here"):
        LEARNED["mbt2018-mean"].compress(photo, max_bytes=500)


def test_few_models_stay_in_memory():
    loaded = []
    recent = learned._Recent(lambda id, quality: loaded.append(quality) or quality, 2)
    assert [recent("a", quality) for quality in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert loaded == [1, 2, 3, 2]
