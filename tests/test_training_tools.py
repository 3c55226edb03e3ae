"""What is done to a run's parts without training: shifted, deepened, averaged."""

from __future__ import annotations

import shutil

import pytest
import torch
import typer
from tiny import small_pipeline

from sprdiff.checkpoint.parts import load_part, save_part
from sprdiff.errors import WeightsError
from sprdiff.training import average, deepen, shift
from sprdiff.training.__main__ import unpack

pytest_plugins = ["runs"]
pytestmark = pytest.mark.usefixtures("small_teachers")


def test_a_shifted_range_codes_alike_at_other_qualities(photos, tmp_path, monkeypatch):
    torch.manual_seed(0)
    pipeline = small_pipeline()
    for anchors in (pipeline.latent_codec.log_gain, pipeline.latent_codec.log_inverse_gain):
        last = len(anchors.anchors) - 1
        anchors.set(torch.linspace(0, 1, last + 1)[:, None].expand_as(anchors.anchors))
    pipeline.save_pretrained(tmp_path / "checkpoint")
    unpack(tmp_path / "checkpoint", tmp_path / "run")
    shift.main(tmp_path / "run", low=51.0, high=306.0)
    before, after = pipeline.latent_codec, load_part("latent_codec", tmp_path / "run")
    for quality in (0, 102, 204):
        meant = before.log_gain(torch.tensor([quality + 51.0]))
        assert torch.allclose(after.log_gain(torch.tensor([float(quality)])), meant, atol=1e-5)
    with pytest.raises(typer.BadParameter, match="got 100 to 90"):
        shift.main(tmp_path / "run", low=100.0, high=90.0)


def test_a_deeper_pixel_branch_forgets_nothing(begun):
    before = load_part("conditions", begun)
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    deepen.main(begun, before.config.depth + 2)
    after = load_part("conditions", begun)
    assert [len(stage) for stage in after.pixel] == [before.config.depth + 2] * before.config.pixel_stages
    for made, given in zip(after.pixel_features(x), before.pixel_features(x), strict=True):
        assert torch.allclose(made, given, atol=0.05)
    with pytest.raises(typer.BadParameter, match=r"have \d+ blocks already, got 1"):
        deepen.main(begun, 1)


def test_a_denoiser_between_two(begun, tmp_path):
    other = begun.with_name("other")
    shutil.copytree(begun, other)
    for name in ("unet", "conditions"):
        part = load_part(name, other)
        part.load_state_dict({key: value + 1 for key, value in part.state_dict().items()})
        save_part(part, other / name)
    before = load_part("unet", begun).state_dict()
    average.main(begun, other, 0.25)
    after = load_part("unet", begun).state_dict()
    assert all(torch.allclose(after[key], before[key] + 0.25, atol=1e-5) for key in before)
    deepen.main(other, 9)
    with pytest.raises(WeightsError, match="conditions is of other sizes"):
        average.main(begun, other, 0.5)
    assert all(torch.equal(load_part("unet", begun).state_dict()[key], after[key]) for key in after)
