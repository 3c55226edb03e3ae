"""The coarse reconstruction's closed-form start, and both conditions."""

from __future__ import annotations

import torch
from tiny import SMALL, small_part

from sprdiff.encoders.vae import KLTAutoencoder
from sprdiff.layers.klt import klt, to_blocks
from sprdiff.parts import build_part


def test_it_starts_as_the_inverse_klt_and_its_latents_as_those_of_that_picture():
    torch.manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(4, 3, 5, 5) * 2 - 1, size=(64, 64), mode="bicubic")
    basis, rms = klt(to_blocks(x, 16).permute(0, 2, 3, 1).flatten(0, 2), 24)
    vae_basis, vae_rms = klt(to_blocks(x, 8).permute(0, 2, 3, 1).flatten(0, 2), 4)
    vae: KLTAutoencoder = build_part("vae", SMALL)
    vae.init_from_klt(vae_basis, vae_rms)
    coarse = build_part("coarse", SMALL)
    coarse.init_from_klt(basis, rms, vae.klt.weight[:, :, 0, 0])
    y = torch.einsum("md,bdhw->bmhw", basis, to_blocks(x, 16))
    x_coarse, latents_hat = coarse(y, torch.full((4,), 100.0))
    expected = torch.nn.functional.pixel_shuffle(torch.einsum("md,bmhw->bdhw", basis, y), 16)
    assert torch.allclose(x_coarse, expected, atol=1e-4)
    assert torch.allclose(latents_hat, vae.encode(expected), atol=1e-3)


def test_quality_and_latent_both_matter():
    coarse = small_part("coarse")
    y = torch.randn(1, 24, 4, 4)
    a, latents = coarse(y, torch.tensor([0.0]))
    assert a.shape == (1, 3, 64, 64) and latents.shape == (1, 4, 8, 8)
    assert not torch.equal(a, coarse(y, torch.tensor([255.0]))[0])
    assert not torch.equal(a, coarse(y * 1.1, torch.tensor([0.0]))[0])


def test_both_conditions_have_their_shapes_and_sources():
    conditions = small_part("conditions")
    x_coarse = torch.rand(1, 3, 64, 96) * 2 - 1
    tokens = torch.randn(1, 25, 24)
    semantic, pixel = conditions(x_coarse, tokens)
    assert semantic.shape == (1, 25, 16) and pixel.shape == (1, 8, 8, 12)
    other_semantic, same_pixel = conditions(x_coarse, tokens + torch.randn(1, 25, 24))
    assert torch.equal(pixel, same_pixel) and not torch.equal(semantic, other_semantic)
    _, other_pixel = conditions(-x_coarse, tokens)
    assert not torch.equal(pixel, other_pixel)
