"""The triple encoder's parts: closed-form starts, shapes, and frozen shortcuts."""

from __future__ import annotations

import pytest
import torch
from tiny import SMALL, small_part
from transformers import Dinov2Config, Dinov2Model

from sprdiff.checkpoint.parts import build_part
from sprdiff.encoders.semantic import semantic_features, semantic_tokens
from sprdiff.encoders.vae import (
    KLTAutoencoder,
    decode_latents,
    encode_latents,
    latent_stride,
    overlapping,
    vae_features,
)
from sprdiff.layers.klt import klt, to_blocks


def smooth(batch: int = 4, size: int = 64) -> torch.Tensor:
    torch.manual_seed(0)
    small = torch.rand(batch, 3, 6, 6) * 2 - 1
    return torch.nn.functional.interpolate(small, size=(size, size), mode="bicubic").clamp(-1, 1)


def small_vae(channels: int, stride: int = 4) -> KLTAutoencoder:
    return KLTAutoencoder(
        stride, channels, encoder_channels=8, encoder_depth=1, decoder_channels=8, decoder_depth=1
    )


@pytest.mark.parametrize("stride", [4, 8])
def test_an_untrained_vae_is_the_klt(stride):
    x = smooth()
    blocks = to_blocks(x, stride).permute(0, 2, 3, 1).flatten(0, 2)
    errors = []
    for channels in (2, 8, 3 * stride**2):
        vae = small_vae(channels, stride)
        vae.init_from_klt(*klt(blocks, channels))
        errors.append(float((vae(x) - x).pow(2).mean().detach()))
    assert errors[0] > errors[1] > errors[2]
    # Blocks overlap, so that even with all components the inverse is not exact.
    assert errors[2] < 0.02 * x.var()
    small = small_vae(4, stride)
    small.init_from_klt(*klt(blocks, 4))
    latents = encode_latents(small, x)
    assert latent_stride(small) == stride
    assert latents.shape == (4, 4, 64 // stride, 64 // stride)
    # Unit variance on average, and one scale: energies are those of the KLT.
    energy = latents.pow(2).mean((0, 2, 3))
    _, rms = klt(blocks, 4)
    assert torch.allclose(energy / energy[0], (rms / rms[0]) ** 2, rtol=1e-3)
    assert energy.mean().item() == pytest.approx(1, rel=1e-3)
    assert decode_latents(small, latents).shape == x.shape


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_the_vaes_features_are_its_latents_at_stride_16(stride):
    latents = torch.randn(1, 2, 64 // stride, 96 // stride)
    features = vae_features(small_vae(2, stride), latents)
    fold = 16 // stride
    assert features.shape == (1, 2 * fold**2, 4, 6)
    assert torch.equal(features[0, :, 1, 2], latents[0, :, fold : 2 * fold, 2 * fold : 3 * fold].flatten())


def test_overlapping_blocks_sum_up_to_one_and_leave_no_border():
    vae = small_vae(1)
    vae.inverse_klt.weight.data = overlapping(torch.ones(1, 3, 4, 4))
    assert torch.allclose(
        vae.decode(torch.full((1, 1, 3, 4), 0.5)), torch.full((1, 3, 12, 16), 0.5), atol=1e-6
    )
    # A step from one block to the next is a slope over a block.
    row = vae.decode(torch.tensor([[[[0.0, 1.0]]]])).detach()[0, 0, 2]
    assert row[0].abs() < 1e-6
    assert (row[-1] - 1).abs() < 1e-6
    assert row.diff().min() > -1e-6
    assert row.diff().max() < 0.4


@pytest.mark.parametrize("network", ["decoder", "pixels"])
def test_every_network_of_the_vae_starts_silent_and_can_be_heard(network):
    torch.manual_seed(0)
    vae = build_part("vae", SMALL)
    latents = torch.randn(1, 8, 16, 16)
    plain = vae.inverse_klt(torch.nn.functional.pad(latents, (1, 1, 1, 1), mode="replicate"))
    assert torch.equal(decode_latents(vae, latents), plain)
    torch.nn.init.normal_(getattr(vae, network)[-1].weight)
    assert not torch.allclose(decode_latents(vae, latents), plain)


def test_a_variational_autoencoder_of_diffusers_fits_in():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
    ).eval()
    x = smooth(1)
    latents = encode_latents(vae, x)
    assert latents.shape == (1, 4, 8, 8)
    assert latent_stride(vae) == 8 and vae_features(vae, latents).shape == (1, 16, 4, 4)
    assert torch.equal(latents, encode_latents(vae, x)), "the mode, not a sample"
    assert decode_latents(vae, latents).shape == x.shape


def test_the_distortion_encoder_starts_as_the_klt():
    x = smooth()
    encoder = build_part("distortion_encoder", SMALL)
    blocks = to_blocks(x, 16).permute(0, 2, 3, 1).flatten(0, 2)
    basis, _ = klt(blocks, 24)
    encoder.init_from_klt(basis)
    expected = torch.einsum("md,bdhw->bmhw", basis, to_blocks(x, 16))
    assert torch.allclose(encoder(x), expected, atol=1e-4)


def test_fusion_starts_as_the_distortion_features():
    fusion = build_part("fusion", SMALL)
    f_dist = torch.randn(1, 24, 4, 4)
    y = fusion(torch.randn(1, 128, 4, 4), f_dist, torch.randn(1, 24, 4, 4))
    assert torch.allclose(y, f_dist, atol=1e-6)


@pytest.mark.parametrize("patch", [14, 16])
def test_semantic_tokens_lie_on_the_codecs_grid(patch):
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=12, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=patch
    )
    encoder = Dinov2Model(config).eval()
    x = torch.rand(2, 3, 64, 96) * 2 - 1
    assert semantic_tokens(encoder, x).shape == (2, 1 + 4 * 6, 12)
    features = semantic_features(encoder, x)
    assert features.shape == (2, 12, 4, 6)
    assert torch.equal(features[:, :, 0, 1], semantic_tokens(encoder, x)[:, 2])


def test_parts_of_the_small_preset_have_no_dead_outputs():
    fusion = small_part("fusion")
    a, b = torch.randn(2, 1, 24, 4, 4)
    f_vae = torch.randn(1, 128, 4, 4)
    assert not torch.equal(fusion(f_vae, a, a), fusion(f_vae, a, b))
