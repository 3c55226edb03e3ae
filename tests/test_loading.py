"""The arguments of ``from_pretrained``: each does what it says, or is named in an error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_photo
from tiny import small_pipeline

from sprdiff.checkpoint.loading import check_device, part_precisions
from sprdiff.checkpoint.weights import embedded_checkpoint
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.pipeline import SPRDiffPipeline

HALVES = ("bfloat16", "float16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    small_pipeline().save_pretrained(folder)
    return folder


def difference(one, other) -> float:
    """Of two pictures, in levels of 255, on average."""
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


@pytest.mark.parametrize("name", HALVES)
def test_a_pipeline_in_half_precision_reads_the_same_symbols(pipeline, name):
    """Equal symbols both ways, and pictures that look the same."""
    photo = make_photo(96, 80)
    data = pipeline.compress(photo, quality=140)
    half = SPRDiffPipeline.from_pretrained(embedded_checkpoint(), dtype=name)
    assert half.unet.dtype == half.vae.dtype == half.coarse.dtype == getattr(torch, name)
    assert half.latent_codec.dtype == torch.float32
    assert half.fingerprint == pipeline.fingerprint
    assert half.symbols_hash(data) == pipeline.symbols_hash(data)
    expected, decoded = pipeline.decompress(data), half.decompress(data)
    assert 0 < difference(expected.coarse, decoded.coarse) < 0.5
    assert 0 < difference(expected.final, decoded.final) < 0.5
    made = half.compress(photo, quality=140)
    assert pipeline.symbols_hash(made) == half.symbols_hash(made)
    again = pipeline.decompress(made)
    assert difference(photo, again.coarse) < difference(photo, expected.coarse) + 0.2


@pytest.mark.parametrize("argument", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("name", HALVES)
def test_both_names_and_both_spellings_of_a_precision(folder, argument, name):
    for value in (name, f"torch.{name}", getattr(torch, name)):
        pipeline = SPRDiffPipeline.from_pretrained(folder, **{argument: value})
        assert pipeline.dtype == pipeline.unet.dtype == getattr(torch, name)


def test_a_precision_for_some_parts(folder):
    pipeline = SPRDiffPipeline.from_pretrained(folder, dtype={"unet": torch.bfloat16, "default": "float16"})
    assert pipeline.unet.dtype == torch.bfloat16 and pipeline.conditions.dtype == torch.float16
    pipeline = SPRDiffPipeline.from_pretrained(folder, dtype={"unet": torch.bfloat16})
    assert pipeline.unet.dtype == torch.bfloat16 and pipeline.conditions.dtype == torch.float32
    data = pipeline.compress(make_photo(70, 64), quality=100)
    assert pipeline.decompress(data).final.size == (70, 64)


@pytest.mark.parametrize("name", HALVES)
def test_to_a_precision_keeps_fingerprint_and_symbols(folder, name):
    reference = small_pipeline()
    data = reference.compress(make_photo(70, 64), quality=120)
    pipeline = SPRDiffPipeline.from_pretrained(folder).to(getattr(torch, name))
    assert pipeline.fingerprint == reference.fingerprint
    assert pipeline.symbols_hash(data) == reference.symbols_hash(data)
    assert difference(pipeline.decompress(data).final, reference.decompress(data).final) < 2
    # As constructed, and one part alone before anything was asked for.
    assert small_pipeline().to(getattr(torch, name)).symbols_hash(data) == reference.symbols_hash(data)
    pipeline = SPRDiffPipeline.from_pretrained(folder)
    pipeline.unet.to(getattr(torch, name))
    assert pipeline.decompress(data).info == reference.decompress(data).info


def test_the_device_is_where_the_parts_are(folder):
    for device in ("cpu", torch.device("cpu")):
        pipeline = SPRDiffPipeline.from_pretrained(folder, device_map=device)
        assert {part.device.type for part in pipeline._modules_by_name().values()} == {"cpu"}


def test_a_device_without_float64_is_refused(monkeypatch, folder):
    """As Apple's; its symbols would not be exact."""
    zeros = torch.zeros

    def without_float64(*size, dtype=None, **options):
        if dtype == torch.float64:
            raise TypeError("Cannot convert to float64")
        return zeros(*size, dtype=dtype, **options)

    monkeypatch.setattr(torch, "zeros", without_float64)
    with pytest.raises(SettingsError, match=r"device must be .* float64, .* got 'cpu': Cannot convert"):
        SPRDiffPipeline.from_pretrained(folder).to("cpu")
    with pytest.raises(SettingsError, match="device_map must be"):
        check_device("cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": torch.int8}, r"dtype must be float32, bfloat16, float16, .* got torch.int8"),
        ({"torch_dtype": "half"}, r"torch_dtype must be .* got 'half'"),
        ({"dtype": 16}, "dtype must be .* got 16"),
        ({"dtype": {"unet": "auto"}}, r"dtype\['unet'\] must be .* got 'auto'"),
        ({"dtype": {"transformer": "float16"}}, "dtype has 'transformer'; it can name vae, .*unet, default"),
        (
            {"dtype": {"latent_codec": "float16"}},
            r"dtype\['latent_codec'\] must be float32, .* got torch.float16",
        ),
        ({"dtype": "float16", "torch_dtype": "float16"}, "two names of one argument"),
        ({"device_map": "balanced"}, "device_map must be a device of this machine .* got 'balanced'"),
        ({"device_map": "meta"}, "device_map must be a device that computes, got 'meta'"),
        ({"device_map": {"unet": "cpu"}}, "device_map must be a device .* got {'unet': 'cpu'}"),
        ({"revision": 3}, "revision must be a branch, tag or commit, or None; got 3"),
        ({"cache_dir": 3}, "cache_dir must be a folder, or None; got 3"),
        ({"token": 3}, "token must be .* got 3"),
        ({"local_files_only": "yes"}, "local_files_only must be True or False, got 'yes'"),
        ({"force_download": None}, "force_download must be True or False, got None"),
        ({"force_download": True, "local_files_only": True}, "contradict each other"),
    ],
)
def test_a_wrong_argument_is_named(folder, arguments, message):
    with pytest.raises(SettingsError, match=message):
        SPRDiffPipeline.from_pretrained(folder, **arguments)


def test_a_wrong_name_of_a_checkpoint_is_named():
    with pytest.raises(SettingsError, match=r"pretrained_model_name_or_path must be .* got None"):
        SPRDiffPipeline.from_pretrained(None)
    with pytest.raises(TypeError, match="variant"):
        SPRDiffPipeline.from_pretrained("anything", variant="fp16")


def test_every_part_has_a_precision():
    found = part_precisions("bfloat16")
    assert found.pop("latent_codec") == torch.float32
    assert set(found.values()) == {torch.bfloat16} and len(found) == 7
    assert set(part_precisions(None).values()) == {torch.float32}


def test_the_cache_alone_is_asked_where_that_is_wanted(tmp_path):
    with pytest.raises(WeightsError, match="local_files_only forbids"):
        SPRDiffPipeline.from_pretrained("owner/name", local_files_only=True, cache_dir=tmp_path)
