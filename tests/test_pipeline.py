"""How the parts of the codec work together, with small random ones."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import make_photo
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import small_pipeline

from sprdiff import bitstream
from sprdiff.checkpoint.fingerprint import weights_digest
from sprdiff.checkpoint.weights import embedded_checkpoint
from sprdiff.decoding import DecodingSettings
from sprdiff.errors import BitstreamError, InputImageError, SettingsError, WeightsError
from sprdiff.metrics import psnr
from sprdiff.pipeline import SPRDiffPipeline


@pytest.fixture(scope="module")
def small() -> SPRDiffPipeline:
    return small_pipeline()


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (64, 64), (65, 130), (200, 90)])
def test_any_size_comes_back(small, size):
    data = small.compress(make_photo(*size), quality=120)
    decoded = small.decompress(data)
    assert decoded.coarse.size == decoded.final.size == size
    assert decoded.coarse.mode == decoded.final.mode == "RGB"
    assert (decoded.info.width, decoded.info.height, decoded.info.quality) == (*size, 120)


def test_the_same_bytes_give_the_same_pictures(small, photo):
    data = small.compress(photo, quality=150)
    assert small.compress(photo, quality=150) == data
    first, second = small.decompress(data), small.decompress(data)
    assert first.coarse.tobytes() == second.coarse.tobytes()
    assert first.final.tobytes() == second.final.tobytes()


def test_a_grayscale_picture_comes_back_gray(small, photo):
    data = small.compress(photo.convert("L"), quality=150)
    decoded = small.decompress(data)
    for picture in (decoded.coarse, decoded.final):
        red, green, blue = (channel.tobytes() for channel in picture.split())
        assert red == green == blue
    # The same payload as that of a picture in colour takes as many bytes, and the gray picture is its mean.
    header, payload = bitstream.unpack(data, bytes.fromhex(small.fingerprint))
    other = bitstream.pack(header.quality, *photo.size, payload, header.fingerprint)
    assert len(other) == len(data)
    coloured = np.asarray(small.decompress(other).coarse, dtype=float)
    assert np.ptp(coloured, axis=2).max() > 2
    assert np.abs(coloured.mean(axis=2) - np.asarray(decoded.coarse)[..., 0]).max() <= 1


def test_the_coarse_picture_needs_no_diffusion(small, photo, monkeypatch):
    data = small.compress(photo, quality=100)
    whole = small.decompress(data)
    monkeypatch.setattr(small.unet, "forward", lambda *_, **__: pytest.fail("the denoiser ran"))
    decoded = small.decompress(data, coarse_only=True)
    assert decoded.final is None
    assert decoded.coarse.tobytes() == whole.coarse.tobytes()


def test_two_steps_make_the_pictures_of_one(small, photo):
    """Bit by bit, whatever is decoded between them, and as often as they are asked for."""
    data, other = small.compress(photo, quality=100), small.compress(make_photo(70, 90), quality=200)
    whole = small.decompress(data)
    coarse = small.decode_coarse(data)
    assert coarse.image.tobytes() == whole.coarse.tobytes() and coarse.info == whole.info
    assert small.refine(small.decode_coarse(other)).tobytes() == small.decompress(other).final.tobytes()
    assert small.refine(coarse).tobytes() == small.refine(coarse).tobytes() == whole.final.tobytes()


def test_a_coarse_picture_of_another_checkpoint_is_not_refined(small, photo):
    coarse = small.decode_coarse(small.compress(photo, quality=100))
    with pytest.raises(BitstreamError, match="another checkpoint"):
        small_pipeline(seed=1).refine(coarse)
    with pytest.raises(SettingsError, match="coarse must be what decode_coarse returns, got Image"):
        small.refine(coarse.image)


def test_settings_are_checked(small, photo):
    for arguments in ({}, {"quality": 1, "target_bpp": 0.1}):
        with pytest.raises(SettingsError, match="exactly one"):
            small.encode(photo, **arguments)
    with pytest.raises(SettingsError, match="0 to 255, got 256"):
        small.encode(photo, quality=256)
    with pytest.raises(SettingsError, match="above 0"):
        small.encode(photo, target_bpp=0)
    with pytest.raises(InputImageError, match="15 x 40"):
        small.encode(Image.new("RGB", (15, 40)), quality=1)


def test_the_split_adds_up_to_the_file(small, photo):
    data = small.compress(photo, quality=180)
    info = small.inspect(data)
    assert info.rate.header_bytes + info.rate.z_bytes + info.rate.y_bytes == len(data) == info.num_bytes
    assert info.rate.header_bytes == 12 and info.rate.z_bytes > 0 and info.rate.y_bytes > 0
    assert info.bpp == 8 * len(data) / (photo.width * photo.height)
    assert info == small.decompress(data, coarse_only=True).info


def test_the_bit_map_covers_the_picture(small, photo):
    data = small.compress(photo, quality=180)
    bits = small.bit_map(data)
    assert bits.shape == (11, 12)
    assert 0 < bits.sum() <= 8 * len(data)
    info, again = small.look_into(data)
    assert info == small.inspect(data) and np.array_equal(again, bits)


def test_another_checkpoint_is_told_apart(small, photo):
    data = small.compress(photo, quality=50)
    other = small_pipeline(seed=1)
    assert other.fingerprint != small.fingerprint
    with pytest.raises(BitstreamError, match="another checkpoint"):
        other.decompress(data)


def test_a_hostile_payload_with_a_right_checksum_is_survived(small):
    fingerprint = bytes.fromhex(small.fingerprint)
    for payload in (b"", b"abc", bytes(40), b"\xff" * 40):
        data = bitstream.pack(255, 64, 64, payload, fingerprint)
        try:
            assert small.decompress(data, coarse_only=True).coarse.size == (64, 64)
        except BitstreamError as error:
            assert str(error)


def test_a_changed_configuration_is_another_checkpoint(tmp_path):
    """Weights alone do not say how a stream is read: neither does a symbol's table, nor the noise."""
    small = small_pipeline()
    small.save_pretrained(tmp_path)
    data = small.compress(make_photo(64, 64), quality=50)
    for file, change in (
        ("latent_codec/config.json", lambda config: config.update(skip_index=2)),
        ("scheduler/scheduler_config.json", lambda config: config.update(beta_end=0.013)),
        ("semantic_encoder/config.json", lambda config: config.update(layer_norm_eps=1e-5)),
        ("model_index.json", lambda config: config["decoding"].update(noise_seed=1)),
        ("model_index.json", lambda config: config["decoding"].update(tile=512)),
    ):
        text = (tmp_path / file).read_text()
        config = json.loads(text)
        change(config)
        (tmp_path / file).write_text(json.dumps(config))
        with pytest.raises(BitstreamError, match="another checkpoint"):
            SPRDiffPipeline.from_pretrained(tmp_path).decompress(data)
        (tmp_path / file).write_text(text)
    assert SPRDiffPipeline.from_pretrained(tmp_path).fingerprint == small.fingerprint


def test_settings_that_a_library_adds_do_not_change_the_fingerprint(small, tmp_path):
    small.save_pretrained(tmp_path)
    for file in ("unet/config.json", "scheduler/scheduler_config.json", "semantic_encoder/config.json"):
        config = json.loads((tmp_path / file).read_text())
        config |= {"_diffusers_version": "9.0", "transformers_version": "9.0"}
        # As if written by a version that does not know them yet: they are read as their defaults.
        for key in ("resnet_skip_time_act", "rescale_betas_zero_snr", "use_mask_token"):
            config.pop(key, None)
        (tmp_path / file).write_text(json.dumps(config))
    assert SPRDiffPipeline.from_pretrained(tmp_path).fingerprint == small.fingerprint


def test_streams_from_before_configurations_counted_are_read(small, tmp_path):
    """Their fingerprint is the digest of the weights alone."""
    former = weights_digest(small.components)
    data = small.compress(make_photo(64, 64), quality=50)
    payload = bitstream.unpack(data, bytes.fromhex(small.fingerprint))[1]
    old = bitstream.pack(50, 64, 64, payload, former)
    with pytest.raises(BitstreamError, match="another checkpoint"):
        small.decompress(old)
    small.save_pretrained(tmp_path / "old")
    index = json.loads((tmp_path / "old" / "model_index.json").read_text())
    del index["decoding"], index["former_fingerprints"]
    (tmp_path / "old" / "model_index.json").write_text(json.dumps(index))
    again = SPRDiffPipeline.from_pretrained(tmp_path / "old")
    assert again.symbols_hash(old) == again.symbols_hash(data) == small.symbols_hash(data)
    assert again.decompress(old).final.tobytes() == small.decompress(data).final.tobytes()
    # Saved once more it still reads them, but no longer where a configuration has changed since.
    again.save_pretrained(tmp_path / "new")
    again = SPRDiffPipeline.from_pretrained(tmp_path / "new")
    assert again.readable_fingerprints == (small.fingerprint, former.hex())
    index = json.loads((tmp_path / "new" / "model_index.json").read_text())
    index["decoding"]["colour_cell"] = 16
    (tmp_path / "new" / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(BitstreamError, match="another checkpoint"):
        SPRDiffPipeline.from_pretrained(tmp_path / "new").decompress(old)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"padding": 32}, "padding is a multiple of 64"),
        ({"tile": 128, "overlap": 128}, "cannot overlap by 128"),
        ({"colour_cell": 48}, "colour_cell divides 64"),
        ({"noise_seed": 0.5}, "are integers"),
        ({"start_timesteps": [1000, 200]}, "latest start timestep is 1000, and the scheduler has 1000"),
        ({"start_timesteps": [700]}, "2 start timesteps, and here are 1"),
        ({"stranger": 1}, "stranger"),
    ],
)
def test_decoding_settings_are_checked(small, tmp_path, change, message):
    small.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["decoding"] |= change
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=message):
        SPRDiffPipeline.from_pretrained(tmp_path)


def test_saving_and_loading_keeps_the_fingerprint_and_the_stream(small, photo, tmp_path):
    small.save_pretrained(tmp_path)
    again = SPRDiffPipeline.from_pretrained(tmp_path)
    assert again.fingerprint == small.fingerprint
    data = small.compress(photo, quality=90)
    assert again.decompress(data).final.tobytes() == small.decompress(data).final.tobytes()


def test_foreign_classes_are_refused(small, tmp_path):
    small.save_pretrained(tmp_path / "a")
    index = json.loads((tmp_path / "a" / "model_index.json").read_text())
    index["unet"] = ["diffusers", "UNet2DModel"]
    (tmp_path / "a" / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="part unet is a UNet2DModel"):
        SPRDiffPipeline.from_pretrained(tmp_path / "a")


def test_damaged_weights_are_a_weights_error(small, tmp_path):
    small.save_pretrained(tmp_path)
    file = next((tmp_path / "fusion").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        SPRDiffPipeline.from_pretrained(tmp_path)


def test_weights_that_do_not_fit_their_configuration_are_refused(small, tmp_path):
    small.save_pretrained(tmp_path)
    for part, changes, message in (
        ("unet", {"block_out_channels": [16, 16]}, "cannot be loaded"),
        ("semantic_encoder", {"num_hidden_layers": 9}, r"part semantic_encoder has \d+ missing keys: "),
    ):
        file = tmp_path / part / "config.json"
        written = file.read_text()
        file.write_text(json.dumps(json.loads(written) | changes))
        with pytest.raises(WeightsError, match=message):
            SPRDiffPipeline.from_pretrained(tmp_path)
        file.write_text(written)
    weights = next((tmp_path / "coarse").glob("*.safetensors"))
    save_file(load_file(weights) | {"stranger": torch.zeros(1)}, weights, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="The part coarse has 1 unexpected keys: stranger"):
        SPRDiffPipeline.from_pretrained(tmp_path)


def test_large_pictures_are_tiled_with_little_difference(small, monkeypatch):
    photo = make_photo(448, 320)
    data = small.compress(photo, quality=200)
    whole = small.decompress(data)
    monkeypatch.setattr(small, "decoding_settings", DecodingSettings(tile=256, overlap=128))
    tiled = small.decompress(data)
    assert tiled.coarse.size == photo.size
    assert psnr(whole.coarse, tiled.coarse) > 35
    assert abs(len(small.compress(photo, quality=200)) - len(data)) < 0.1 * len(data)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(WeightsError, match="nowhere"):
        SPRDiffPipeline.from_pretrained(tmp_path / "nowhere")
    shutil.copytree(embedded_checkpoint(), tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / "unet")
    with pytest.raises(WeightsError, match="unet"):
        SPRDiffPipeline.from_pretrained(tmp_path / "part")
