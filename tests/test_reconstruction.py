"""The coarse reconstruction's closed-form start, and both conditions."""

from __future__ import annotations

import torch
from tiny import SMALL, small_part

from sprdiff.encoders.vae import KLTAutoencoder
from sprdiff.layers.klt import klt, to_blocks
from sprdiff.parts import build_part
from sprdiff.reconstruction.detail import add_details


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


def test_conditions_have_their_shapes_and_sources():
    extractor = small_part("conditions")
    x_coarse = torch.rand(1, 3, 64, 96) * 2 - 1
    tokens = torch.randn(1, 25, 24)
    first = extractor(x_coarse, tokens)
    assert first.tokens.shape == (1, 25, 16)
    assert first.semantic_map.shape == (1, 4, 8, 12) and first.pixel_features.shape == (1, 8, 8, 12)
    other = extractor(x_coarse, tokens + torch.randn(1, 25, 24))
    assert torch.equal(first.pixel_features, other.pixel_features)
    assert not torch.equal(first.tokens, other.tokens)
    assert not torch.equal(first.semantic_map, other.semantic_map)
    assert not torch.equal(first.pixel_features, extractor(-x_coarse, tokens).pixel_features)


def test_a_token_shows_at_its_place_in_the_semantic_map():
    extractor = small_part("conditions")
    extractor.map_norm = torch.nn.Identity()
    tokens = torch.randn(1, 25, 24)
    x_coarse = torch.zeros(1, 3, 64, 96)
    before = extractor(x_coarse, tokens).semantic_map
    changed = tokens.clone()
    changed[0, 1 + 2 * 6 + 4] += 5 * torch.randn(24)  # row 2, column 4 of 4 x 6
    difference = (extractor(x_coarse, changed).semantic_map - before).abs().sum(1)[0]
    rows, columns = difference.nonzero(as_tuple=True)
    # Two positions a token, and one more on each side by interpolation.
    assert rows.min() == 3 and rows.max() == 6 and columns.min() == 7 and columns.max() == 10


def test_colours_and_low_frequencies_come_from_the_coarse_picture_and_details_stay():
    torch.manual_seed(0)
    x_coarse = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 6), size=(64, 96), mode="bicubic")
    rows, columns = torch.arange(64)[:, None], torch.arange(96)[None, :]
    detail = 0.2 * ((rows + columns) % 2 * 2.0 - 1)
    drift = 0.1 * columns / 96
    colour = torch.randn(1, 3, 64, 96) * 0.1
    colour -= (colour * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    x_hat = add_details(x_coarse, x_coarse + detail + drift + 0.3 + colour)
    inside = (..., slice(8, -8), slice(8, -8))
    assert torch.allclose(x_hat[inside], (x_coarse + detail)[inside], atol=1e-5)
    assert torch.equal(add_details(x_coarse, x_coarse), x_coarse)
