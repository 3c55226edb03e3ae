"""Streams that no encoder made, and pipelines that somebody has moved: bounded work, no garbage."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from conftest import make_photo
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import small_pipeline

from sprdiff import bitstream
from sprdiff.errors import BitstreamError, InputImageError, WeightsError
from sprdiff.pipeline import SPRDiffPipeline


@pytest.fixture
def small() -> SPRDiffPipeline:
    return small_pipeline()


def sealed(pipeline: SPRDiffPipeline, quality: int, width: int, height: int, payload: bytes) -> bytes:
    """A stream with a valid checksum."""
    return bitstream.pack(quality, width, height, payload, bytes.fromhex(pipeline.fingerprint))


def payload_of(pipeline: SPRDiffPipeline, data: bytes) -> bytes:
    return bitstream.unpack(data, bytes.fromhex(pipeline.fingerprint))[1]


# -- bounded by what a stream can hold ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "size"), [(16383, 3906, 8), (8000, 8000, 400), (16, 16, 60_000), (16, 16, 12_000_000)]
)
def test_a_payload_that_cannot_fit_its_size_is_refused_before_any_work(
    pipeline, monkeypatch, width, height, size
):
    def allocate(*_):
        raise AssertionError("work was begun")

    monkeypatch.setattr("sprdiff.latent_codec.codec.SymbolDecoder", allocate)
    data = sealed(pipeline, 0, width, height, bytes(size))
    with pytest.raises(BitstreamError, match=rf"The coded data has {size} bytes; .* takes \d+ to \d+"):
        pipeline.decompress(data)


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (300, 200), (1100, 70)])
def test_every_picture_of_an_encoder_is_within_the_limits(pipeline, size):
    """Flat pictures come down to the fewest bytes, noise goes up; none may be refused."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    flat = [Image.new("RGB", size, colour) for colour in ("black", "gray", "white", "red")]
    for image in [*flat, Image.fromarray(noise)]:
        for quality in (0, 255):
            data = pipeline.compress(image, quality=quality)
            latent = (-(-side // 64) * 4 for side in (height, width))
            fewest, most = pipeline.latent_codec.payload_limits(quality, *latent)
            assert fewest <= len(payload_of(pipeline, data)) <= most
            assert pipeline.inspect(data).width == width


def test_a_payload_that_ends_too_early_is_found_on_the_way(pipeline):
    data = pipeline.compress(make_photo(256, 192), quality=200)
    payload = payload_of(pipeline, data)
    for size in range(8, len(payload), 4):
        with pytest.raises(BitstreamError, match="coded data"):
            pipeline.inspect(sealed(pipeline, 200, 256, 192, payload[:size]))


def test_bytes_behind_a_payload_are_found(pipeline):
    payload = payload_of(pipeline, pipeline.compress(make_photo(128, 128), quality=100))
    with pytest.raises(BitstreamError, match="damaged"):
        pipeline.inspect(sealed(pipeline, 100, 128, 128, payload + bytes(4)))


def test_changed_and_sealed_again_it_is_a_picture_or_an_error(pipeline):
    rng = random.Random(7)
    original = payload_of(pipeline, pipeline.compress(make_photo(96, 80), quality=140))
    pictures = errors = 0
    for _ in range(150):
        payload = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            payload[rng.randrange(len(payload))] = rng.randrange(256)
        if rng.random() < 0.3:
            payload = payload[: 4 * rng.randint(2, len(payload) // 4)]
        quality, side = rng.choice((0, 100, 140, 255)), rng.choice((16, 96, 200))
        try:
            pipeline.inspect(sealed(pipeline, quality, side, 80, bytes(payload)))
            pictures += 1
        except BitstreamError:
            errors += 1
    assert pictures + errors == 150 and errors > 100


def test_more_pixels_than_are_wanted_are_refused_both_ways(small):
    data = small.compress(make_photo(80, 60), quality=50)
    small.max_pixels = 80 * 60 - 1
    with pytest.raises(BitstreamError, match=r"80 x 60 = 4,800 pixels; at most 4,799 are decoded here"):
        small.decompress(data)
    with pytest.raises(BitstreamError, match="at most 4,799"):
        small.inspect(data)
    with pytest.raises(InputImageError, match=r"80 x 60 = 4,800 pixels; at most 4,799 are coded here"):
        small.compress(make_photo(80, 60), quality=50)


def test_a_decode_can_be_ended_at_every_step(small):
    """Whoever waits for it may have left."""
    data = small.compress(make_photo(200, 90), quality=90)
    shares: list[float] = []
    small.decompress(data, on_step=shares.append)
    steps = len(shares)
    assert steps > 4, "passes over the latent, and tiles of both pictures"
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] < 1

    class Left(Exception):
        pass

    for end in range(steps):
        left = iter(range(end))

        def step(share, left=left) -> None:
            if next(left, None) is None:
                raise Left

        with pytest.raises(Left):
            small.decompress(data, on_step=step)


# -- exact, whatever is done to the rest ----------------------------------------------------------------


def test_a_change_of_precision_changes_no_symbol(small):
    photo = make_photo(130, 100)
    data, hashed = small.compress(photo, quality=120), small.symbols_hash(small.compress(photo, quality=120))
    before = {key: value.clone() for key, value in small.latent_codec.state_dict().items()}
    decoded = np.asarray(small.decompress(data).coarse, dtype=int)
    small.to(torch.bfloat16)
    assert small.symbols_hash(data) == hashed
    small.to(torch.float32)
    small.latent_codec.to(torch.float16).to(memory_format=torch.channels_last).double()
    assert all(torch.equal(value, before[key]) for key, value in small.latent_codec.state_dict().items())
    assert small.symbols_hash(data) == hashed
    # The other parts are rounded now; the picture is still that picture.
    assert np.abs(np.asarray(small.decompress(data).coarse, dtype=int) - decoded).mean() < 1


def test_autocast_changes_no_symbol(pipeline, photo):
    data = pipeline.compress(photo, quality=150)
    with torch.autocast("cpu", torch.bfloat16):
        assert pipeline.symbols_hash(data) == pipeline.symbols_hash(data)
        inside = pipeline.symbols_hash(data)
    assert inside == pipeline.symbols_hash(data)


def test_a_checkpoint_whose_integers_could_be_inexact_is_refused(small, tmp_path):
    small.save_pretrained(tmp_path)
    file = next((tmp_path / "latent_codec").glob("*.safetensors"))
    weights = load_file(file)
    weights["context.nets.0.layers.1.bias"][3] = 2.0**34
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"layer context\.nets\.0\.layers\.1 .* can come to 1\.801e\+16"):
        SPRDiffPipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize("how", ["half", "one layer"])
def test_rounded_weights_are_refused(how, small):
    data = small.compress(make_photo(64, 64), quality=100)
    if how == "half":
        small.latent_codec.half()
    else:
        next(each for each in small.latent_codec.modules() if isinstance(each, torch.nn.Conv2d)).bfloat16()
    with pytest.raises(WeightsError, match="rounded ones decode other symbols"):
        small.decompress(data)
    with pytest.raises(WeightsError, match="rounded ones"):
        small.compress(make_photo(64, 64), quality=100)
