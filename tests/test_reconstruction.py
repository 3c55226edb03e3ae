"""The coarse reconstruction's closed-form start, both conditions, and whose colours the final picture has."""

from __future__ import annotations

import torch
from tiny import SMALL, small_part

from sprdiff.checkpoint.parts import build_part
from sprdiff.decoding import DecodingSettings
from sprdiff.layers.klt import from_blocks, klt, to_blocks
from sprdiff.reconstruction.conditions import DualFeatureExtractor, drop
from sprdiff.reconstruction.detail import keep_colours

CELL = DecodingSettings.colour_cell


def test_it_starts_as_the_inverse_klt():
    torch.manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(4, 3, 5, 5) * 2 - 1, size=(64, 64), mode="bicubic")
    basis, rms = klt(to_blocks(x, 16).permute(0, 2, 3, 1).flatten(0, 2), 24)
    coarse = build_part("coarse", SMALL)
    coarse.init_from_klt(basis, rms)
    y = torch.einsum("md,bdhw->bmhw", basis, to_blocks(x, 16))
    expected = from_blocks(torch.einsum("md,bmhw->bdhw", basis, y), 16)
    assert torch.allclose(coarse(y, torch.full((4,), 100.0)), expected, atol=1e-4)
    assert torch.allclose(coarse.linear(y), expected, atol=1e-4)


def test_quality_and_latent_both_matter():
    coarse = small_part("coarse")
    y = torch.randn(1, 24, 4, 4)
    x_coarse = coarse(y, torch.tensor([0.0]))
    assert x_coarse.shape == (1, 3, 64, 64)
    assert not torch.equal(x_coarse, coarse(y, torch.tensor([255.0])))
    assert not torch.equal(x_coarse, coarse(y * 1.1, torch.tensor([0.0])))


def test_the_linear_path_goes_without_the_networks():
    coarse = small_part("coarse")
    y = torch.randn(1, 24, 4, 4)
    assert not torch.allclose(coarse(y, torch.tensor([0.0])), coarse.linear(y), atol=1e-3)
    expected = from_blocks(torch.einsum("dm,bmhw->bdhw", coarse.inverse_klt.weight[..., 0, 0], y), 16)
    assert torch.allclose(coarse.linear(y), expected, atol=1e-5)


def test_conditions_have_their_shapes_and_sources():
    extractor = small_part("conditions")
    x_coarse = torch.rand(1, 3, 64, 96) * 2 - 1
    tokens = torch.randn(1, 25, 24)
    first = extractor(x_coarse, tokens)
    assert first.tokens.shape == (1, 25, 16)
    assert first.semantic_map.shape == (1, 4, 16, 24) and first.pixel_features.shape == (1, 12, 16, 24)
    other = extractor(x_coarse, tokens + torch.randn(1, 25, 24))
    assert torch.equal(first.pixel_features, other.pixel_features)
    assert not torch.equal(first.tokens, other.tokens)
    assert not torch.equal(first.semantic_map, other.semantic_map)
    assert not torch.equal(first.pixel_features, extractor(-x_coarse, tokens).pixel_features)


def test_conditions_start_at_the_scale_of_the_latents():
    torch.manual_seed(0)
    for stride in (4, 8):
        extractor = DualFeatureExtractor(stride)
        x_coarse = 0.5 * torch.randn(2, 3, 64, 64)
        conditions = extractor(x_coarse, 5 * torch.randn(2, 17, 192))
        # The map is smaller between tokens, where two that have nothing in common are averaged.
        for value, least in zip(conditions, (0.8, 0.3, 0.8), strict=True):
            assert least < value.var() < 1.2


def test_a_token_shows_at_its_place_in_the_semantic_map():
    extractor = small_part("conditions")
    extractor.mix = torch.nn.Identity()
    tokens = torch.randn(1, 25, 24)
    x_coarse = torch.zeros(1, 3, 64, 96)
    before = extractor(x_coarse, tokens).semantic_map
    changed = tokens.clone()
    changed[0, 1 + 2 * 6 + 4] += 5 * torch.randn(24)  # row 2, column 4 of 4 x 6
    difference = (extractor(x_coarse, changed).semantic_map - before).abs().sum(1)[0]
    rows, columns = difference.nonzero(as_tuple=True)
    # Four positions a token, and two more on each side by interpolation.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 13, 14, 21)


def test_neighbouring_tokens_see_each_other_and_the_class_token_none():
    extractor = small_part("conditions")
    tokens = torch.randn(1, 1 + 8 * 8, 24)
    x_coarse = torch.zeros(1, 3, 128, 128)
    before = extractor(x_coarse, tokens).tokens
    changed = tokens.clone()
    changed[0, 1] += 5 * torch.randn(24)
    difference = (extractor(x_coarse, changed).tokens - before).abs().sum(2)[0]
    seen = difference[1:].unflatten(0, (8, 8)) > 0
    # Two convolutions of 3 x 3.
    assert seen[:3, :3].all() and not seen[3:].any() and not seen[:, 3:].any()
    assert difference[0] == 0


def test_each_picture_loses_the_condition_that_it_is_to_go_without():
    torch.manual_seed(0)
    conditions = small_part("conditions")(torch.rand(3, 3, 64, 64), torch.randn(3, 17, 24))
    tokens, pixels = torch.tensor([True, False, True]), torch.tensor([True, True, False])
    dropped = drop(conditions, tokens, pixels)
    for kept, before, after in zip((tokens, tokens, pixels), conditions, dropped, strict=True):
        assert torch.equal(after[kept], before[kept])
        assert before[~kept].any() and not after[~kept].any()


def test_colours_and_low_frequencies_come_from_the_coarse_picture_and_details_stay():
    torch.manual_seed(0)
    x_coarse = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 6), size=(64, 96), mode="bicubic")
    rows, columns = torch.arange(64)[:, None], torch.arange(96)[None, :]
    detail = torch.tensor([0.2, -0.1, 0.05])[:, None, None] * ((rows + columns) % 2 * 2.0 - 1)
    drift = torch.tensor([0.1, -0.2, 0.3])[:, None, None] * (1 + columns / 96)
    x_hat = keep_colours(x_coarse, x_coarse + detail + drift)
    # From the middle of a cell to the middle of the next one.
    inside = (..., slice(CELL // 2, -CELL // 2), slice(CELL // 2, -CELL // 2))
    assert torch.allclose(x_hat[inside], (x_coarse + detail)[inside], atol=1e-5)
    assert torch.equal(keep_colours(x_coarse, x_coarse), x_coarse)
