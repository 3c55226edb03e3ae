"""FID and KID over patches, against their formulas, on random weights in the layout of the real file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_photo
from PIL import Image
from scipy import linalg

from sprdiff.errors import WeightsError
from sprdiff.evaluation.results import read_rows
from sprdiff.evaluation.runner import evaluate
from sprdiff.metrics import download, patches
from sprdiff.metrics.inputs import UndefinedMetricError


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An empty cache of weights, and no network."""

    def no_network(url: str, timeout: float):
        raise OSError("no network in tests")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(download, "_failures", {})
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(download.urllib.request, "urlopen", no_network)
    patches._inception.cache_clear()
    yield tmp_path / "hub"
    patches._inception.cache_clear()


@pytest.fixture
def network(monkeypatch):
    """Stands for Inception, which would take long here: 32 fixed random projections of tiny patches."""
    generator = torch.Generator().manual_seed(0)
    projection = torch.randn(48, 32, generator=generator)

    def features(batch: torch.Tensor) -> tuple[torch.Tensor]:
        small = torch.nn.functional.interpolate(batch.float() / 255, size=(4, 4), mode="area")
        return (small.flatten(1) @ projection,)

    monkeypatch.setattr(patches, "_inception", lambda: features)


def _features(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 64, generator=generator) + shift


def test_patches_are_those_of_the_paper():
    picture = np.arange(600 * 800 * 3, dtype=np.uint32).reshape(600, 800, 3).astype(np.uint8)
    cut = patches.patches(picture)
    assert cut.shape == (2 * 3 + 1 * 2, 3, 256, 256)  # from the corner, and from (128, 128)
    assert (cut[0] == picture[:256, :256].transpose(2, 0, 1)).all()
    assert (cut[5] == picture[256:512, 512:768].transpose(2, 0, 1)).all()
    assert (cut[7] == picture[128:384, 384:640].transpose(2, 0, 1)).all()
    assert len(patches.patches(np.zeros((512, 768, 3), np.uint8))) == 8
    with pytest.raises(UndefinedMetricError, match="at least 256 pixels a side, a picture has 255"):
        patches.patches(np.zeros((255, 900, 3), np.uint8))


def test_fid_against_its_formula():
    first, second = _features(40, 1), _features(50, 2, shift=0.1)
    a, b = first.double().numpy(), second.double().numpy()
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The trace of the root of a product of covariances, from the singular values of the centred samples.
    centred = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    root = linalg.svdvals(centred[0] @ centred[1].T).sum()
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected = means + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * root
    assert patches.fid(first, second) == pytest.approx(expected, rel=1e-4)
    assert patches.fid(first, first) == pytest.approx(0, abs=1e-3)


def test_kid_against_its_formula():
    first, second = _features(30, 1), _features(30, 2, shift=0.05)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / 64 + 1) ** 3

    a, b = first.double().numpy(), second.double().numpy()
    within = sum((kernel(x, x).sum() - np.trace(kernel(x, x))) / (30 * 29) for x in (a, b))
    expected = within - 2 * kernel(a, b).mean()
    assert patches.kid(first, second) == pytest.approx(expected, rel=1e-6)


def test_kid_over_subsets_is_the_same_every_time_and_leaves_the_random_state_alone(monkeypatch):
    monkeypatch.setattr(patches, "KID_SUBSET_SIZE", 10)
    first, second = _features(40, 1), _features(40, 2, shift=0.2)
    state = torch.get_rng_state()
    values = {patches.kid(first, second) for _ in range(2)}
    assert len(values) == 1
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr(patches, "KID_SUBSET_SIZE", 1000)
    assert values.pop() == pytest.approx(patches.kid(first, second), rel=0.1)


@pytest.mark.parametrize("metric", ["fid", "kid"])
def test_one_patch_is_no_distribution(metric):
    with pytest.raises(UndefinedMetricError, match="at least two patches"):
        patches.SET_METRICS[metric].function(_features(1, 1), _features(1, 2))


def test_inception_is_read_from_the_cache_and_nothing_but_tensors(offline):
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, InceptionA

    path = offline / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[1]
    path.parent.mkdir(parents=True)
    torch.save({"not": InceptionA}, path)  # a pickle that names a class could run code
    with pytest.raises(WeightsError, match="is not a file of weights"):
        patches.patch_features(Image.new("RGB", (256, 256)))
    path.unlink()
    with pytest.raises(WeightsError, match=r"not here and github\.com does not give them"):
        patches.patch_features(Image.new("RGB", (256, 256)))


def test_random_weights_in_the_real_layout_give_pooled_features(offline):
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    path = offline / "checkpoints" / inception.URL_INCEPTION_V3.rsplit("/", 1)[1]
    path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    state = _random_inception(inception)
    torch.save(state, path)
    photo = make_photo(300, 256)
    features = patches.patch_features(photo)
    assert features.shape == (1, 2048)
    assert torch.isfinite(features).all()
    assert features.std() > 0
    # Global average pooling of what is left of 299 pixels; the same patch gives the same features.
    assert torch.equal(patches.patch_features(photo.crop((0, 0, 256, 256))), features)


def _random_inception(inception) -> dict[str, torch.Tensor]:
    """What the constructor would load, made without the file."""
    found: dict[str, torch.Tensor] = {}

    class Stop(Exception):
        pass

    def capture(self, state) -> None:
        found.update(torch.nn.Module.state_dict(self))
        raise Stop

    class Extractor(inception.FeatureExtractorInceptionV3):
        load_state_dict = capture

    original = torch.load
    torch.load = lambda *arguments, **options: {}
    try:
        with pytest.raises(Stop):
            Extractor("inception", ["2048"], feature_extractor_weights_path="none")
    finally:
        torch.load = original
    return found


def _folder(tmp_path):
    (tmp_path / "set").mkdir()
    for seed in range(2):
        make_photo(300, 280, seed).save(tmp_path / "set" / f"{seed}.png")
    return tmp_path / "set"


def _evaluate(folder, out, **options):
    metrics = ["psnr-rgb", "fid", "kid"]
    return evaluate(folder, ["jpeg"], [0.1, 0.4], out, pipeline=None, metrics=metrics, **options)


def test_evaluation_measures_sets_from_the_kept_files_and_remembers(network, tmp_path, monkeypatch):
    folder, out = _folder(tmp_path), tmp_path / "out"
    evaluation = _evaluate(folder, out)
    low, high = (mean["metrics"] for mean in evaluation.summary["means"])
    assert low["fid"]["patches"] == 2
    assert low["fid"]["mean"] > high["fid"]["mean"] > 0
    originals = torch.cat([patches.patch_features(Image.open(folder / f"{seed}.png")) for seed in (0, 1)])
    files = {row["target_bpp"]: [] for row in read_rows(out / "rows.jsonl")}
    for row in sorted(read_rows(out / "rows.jsonl"), key=lambda row: row["image"]):
        picture = Image.open(out / row["file"]).convert("RGB")
        files[row["target_bpp"]].append(picture.resize((300, 280), Image.Resampling.LANCZOS))
    others = torch.cat([patches.patch_features(picture) for picture in files[0.1]])
    assert low["kid"]["mean"] == pytest.approx(patches.kid(originals, others))
    monkeypatch.setattr(patches, "_inception", None)  # nothing is computed again
    again = _evaluate(folder, out)
    assert again.summary["means"] == evaluation.summary["means"]


def test_evaluation_has_a_dash_with_the_reason_without_the_weights(offline, tmp_path):
    evaluation = _evaluate(_folder(tmp_path), tmp_path / "out")
    for mean in evaluation.summary["means"]:
        for metric in ("fid", "kid"):
            assert mean["metrics"][metric]["mean"] is None
            assert "github.com does not give them" in mean["metrics"][metric]["reasons"][0]
        assert mean["metrics"]["psnr-rgb"]["mean"] > 20


def test_a_kept_file_that_is_another_picture_is_no_ground_for_a_number(network, tmp_path):
    folder, out = _folder(tmp_path), tmp_path / "out"
    evaluate(folder, ["jpeg"], [0.4], out, pipeline=None, metrics=["psnr-rgb"], keep=True)
    path = out / "files" / "0.png" / "jpeg-0.4.jpg"
    data = bytearray(path.read_bytes())
    data[-40] ^= 0x10
    path.write_bytes(data)
    evaluation = evaluate(folder, ["jpeg"], [0.4], out, pipeline=None, metrics=["psnr-rgb", "fid"])
    (mean,) = evaluation.summary["means"]
    assert mean["metrics"]["fid"]["mean"] is None
    assert "decodes to another picture" in mean["metrics"]["fid"]["reasons"][0]
