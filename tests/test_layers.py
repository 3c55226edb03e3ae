"""Fixed-point convolutions, quality anchors, the KLT and tiling."""

from __future__ import annotations

import itertools

import pytest
import torch

from sprdiff.latent_codec.context import checkerboard
from sprdiff.layers.blocks import ResidualBlock, Upsample, zero_init
from sprdiff.layers.fixed_point import (
    FRACTION_BITS,
    MAX_ACTIVATION,
    WEIGHT_BITS,
    FixedPointConv2d,
    FixedPointNet,
    to_fixed,
)
from sprdiff.layers.klt import from_blocks, klt, to_blocks
from sprdiff.layers.quality import MAX_QUALITY, QualityAnchors
from sprdiff.layers.tiling import run_tiled, spans


def fixed(x: torch.Tensor) -> torch.Tensor:
    return (x.double() * 2**FRACTION_BITS).round()


def test_fixed_point_convolution_is_the_integer_sum():
    torch.manual_seed(0)
    layer = FixedPointConv2d(3, 5, 3)
    x = torch.randint(-5000, 5000, (2, 3, 6, 7)).double()
    weight = (layer.weight.double() * 2**12).round().long()
    bias = (layer.bias.double() * 2**20).round().long()
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1)).long()
    expected = torch.zeros(2, 5, 6, 7, dtype=torch.int64) + bias[:, None, None]
    for row in range(3):
        for column in range(3):
            window = padded[:, :, row : row + 6, column : column + 7]
            expected += torch.einsum("bchw,oc->bohw", window, weight[:, :, row, column])
    expected = torch.div(expected + 2**11, 2**12, rounding_mode="floor")
    assert torch.equal(layer.fixed(x).long(), expected)


def test_fixed_point_convolution_does_not_depend_on_the_order_of_summation(monkeypatch):
    torch.manual_seed(1)
    layer = FixedPointConv2d(64, 32, 3)
    x = torch.randint(-(2**19), 2**19, (1, 64, 40, 30)).double()
    whole = layer.fixed(x)
    order = torch.randperm(64)
    shuffled = FixedPointConv2d(64, 32, 3)
    shuffled.weight.data = layer.weight.data[:, order]
    shuffled.bias.data = layer.bias.data
    assert torch.equal(shuffled.fixed(x[:, order]), whole)
    monkeypatch.setattr("sprdiff.layers.fixed_point.CHUNK_ELEMENTS", 30 * 64 * 9 * 3)
    assert torch.equal(layer.fixed(x), whole)


def test_fixed_point_network_follows_the_float_one():
    torch.manual_seed(2)
    net = FixedPointNet([6, 16, 16, 4], [3, 3, 1], shuffles=(0,))
    x = torch.randn(1, 6, 8, 8)
    expected = net(x)
    actual = net.fixed(fixed(x)) / 2**FRACTION_BITS
    assert actual.shape == expected.shape == (1, 4, 16, 16)
    assert (actual - expected).abs().max() < 0.05


@pytest.mark.parametrize("anchors", [True, False])
@pytest.mark.parametrize("chunk", [2**25, 1])
def test_fixed_point_network_on_a_checkerboard_is_the_same_at_half_the_positions(monkeypatch, anchors, chunk):
    torch.manual_seed(0)
    monkeypatch.setattr("sprdiff.layers.fixed_point.CHUNK_ELEMENTS", chunk)
    net = FixedPointNet([3, 8, 8, 4], [3, 1, 1])
    x = fixed(torch.randn(2, 3, 6, 8))
    half = net.fixed_on_checkerboard(x, anchors)
    mask = checkerboard(6, 8) == anchors
    assert torch.equal(half, net.fixed(x) * mask)
    assert half.any()


def test_fixed_point_activations_are_clamped():
    layer = FixedPointConv2d(1, 1, 1)
    layer.weight.data.fill_(7.0)
    layer.bias.data.zero_()
    assert layer.fixed(torch.full((1, 1, 1, 1), MAX_ACTIVATION).double()).item() == MAX_ACTIVATION
    assert layer.fixed(torch.full((1, 1, 1, 1), -MAX_ACTIVATION).double()).item() == -MAX_ACTIVATION


def test_the_largest_sum_is_reached_by_the_worst_input_and_never_exceeded():
    torch.manual_seed(1)
    layer = FixedPointConv2d(3, 5, 3)
    layer.bias.data.normal_()
    largest = torch.tensor([2.0**20, 2.0**23, 100.0]).double()
    bound = layer.largest_sum(largest)
    weight = to_fixed(layer.weight, WEIGHT_BITS)
    worst = weight.sign() * largest[None, :, None, None]
    sums = (weight * worst).sum((1, 2, 3)) + to_fixed(layer.bias, WEIGHT_BITS + FRACTION_BITS).abs()
    assert float(sums.max()) + 2 ** (WEIGHT_BITS - 1) == bound
    # Layers behind the first one see clamped values.
    net = FixedPointNet([3, 8, 4], [3, 1], shuffles=(0,))
    names, values = zip(*net.largest_sums(largest), strict=True)
    assert names == ("layers.0", "layers.1")
    assert values[1] == net.layers[1].largest_sum(torch.full((2,), MAX_ACTIVATION).double())


@pytest.mark.parametrize("num_anchors", [2, 3, 6])
def test_quality_anchors_agree_in_float_and_fixed_point(num_anchors):
    torch.manual_seed(3)
    init = torch.randn(num_anchors, 4) * 10
    anchors = QualityAnchors(init, unit=8.0)
    for quality in range(0, MAX_QUALITY + 1, 5):
        expected = anchors(torch.tensor([float(quality)]))
        actual = anchors.fixed(quality) / 2**FRACTION_BITS
        assert actual.shape == (1, 4, 1, 1)
        assert (actual - expected).abs().max() < 2 / 2**FRACTION_BITS
    assert torch.allclose(anchors(torch.tensor([255.0]))[0, :, 0, 0], init[-1])


def test_moved_qualities_mean_what_others_meant():
    torch.manual_seed(3)
    values = torch.linspace(-2, 5, 6)[:, None] * torch.randn(4)  # a straight line for each channel
    anchors = QualityAnchors(values, unit=8.0)
    meant = [anchors(torch.tensor([quality])) for quality in (51.0, 153.0)]
    # From 51 to 51 + 255: one anchor beyond the last.
    anchors.move(51.0, 306.0)
    assert torch.allclose(anchors(torch.tensor([0.0])), meant[0], atol=1e-5)
    assert torch.allclose(anchors(torch.tensor([102.0])), meant[1], atol=1e-5)
    beyond = values[-1] + (values[-1] - values[-2])
    assert torch.allclose(anchors(torch.tensor([255.0]))[0, :, 0, 0], beyond, atol=1e-5)
    bent = QualityAnchors(torch.randn(6, 4))
    before = bent.anchors.clone()
    bent.move(0, MAX_QUALITY)
    assert torch.allclose(bent.anchors, before, atol=1e-6)


def test_klt_is_orthonormal_and_ordered_by_energy():
    torch.manual_seed(4)
    mixing = torch.randn(12, 12)
    blocks = torch.randn(4000, 12) @ mixing
    basis, rms = klt(blocks, 12)
    assert torch.allclose(basis @ basis.T, torch.eye(12), atol=1e-5)
    assert (rms.diff() <= 0).all()
    coefficients = blocks @ basis.T
    covariance = coefficients.T @ coefficients / len(blocks)
    assert torch.allclose(covariance.diag().sqrt(), rms, rtol=1e-3)
    assert covariance.fill_diagonal_(0).abs().max() < 1e-3 * rms[0] ** 2


def test_blocks_and_back():
    x = torch.rand(2, 3, 32, 48)
    assert torch.equal(from_blocks(to_blocks(x, 16), 16), x)


def test_residual_block_keeps_the_shape_and_upsample_doubles_it():
    x = torch.randn(1, 8, 5, 6)
    assert ResidualBlock(8)(x).shape == x.shape
    assert Upsample(8, 4)(x).shape == (1, 4, 10, 12)
    assert not any(p.any() for p in zero_init(torch.nn.Conv2d(2, 2, 1)).parameters())


@pytest.mark.parametrize("length", [64, 256, 320, 640, 704])
def test_spans_cover_everything_on_the_grid(length):
    covered = torch.zeros(length)
    for start, stop in spans(length, 256, 64):
        assert start % 64 == stop % 64 == 0
        assert stop - start <= 256
        covered[start:stop] += 1
    assert covered.min() >= 1


def test_tiles_are_few_even_and_overlap():
    for length in range(1088, 16384, 64):
        check_spans(length, spans(length, 1024, 128))


def check_spans(length: int, found: list[tuple[int, int]]) -> None:
    assert found[0][0] == 0 and found[-1][1] == length
    sizes = {stop - start for start, stop in found}
    assert len(sizes) == 1 and sizes.pop() <= 1024
    assert all(before[1] - after[0] >= 128 for before, after in itertools.pairwise(found))
    # At most two steps of the grid more for each tile than the overlaps ask for.
    assert sum(stop - start for start, stop in found) <= length + (128 + 64) * len(found)


def test_tiles_blend_to_the_whole():
    torch.manual_seed(5)
    x = torch.rand(1, 3, 384, 512)
    y = torch.rand(1, 2, 24, 32)

    def function(a, b):
        assert a.shape[-1] == 16 * b.shape[-1] <= 256
        return a * 2, torch.nn.functional.avg_pool2d(a, 8), b + 1

    doubled, pooled, shifted = run_tiled(function, [(x, 1), (y, 16)], [1, 8, 16], tile=256, overlap=64)
    assert torch.allclose(doubled, x * 2, atol=1e-5)
    assert torch.allclose(pooled, torch.nn.functional.avg_pool2d(x, 8), atol=1e-5)
    assert torch.allclose(shifted, y + 1, atol=1e-5)


def test_tiles_of_other_tones_leave_no_seam():
    """Each tile is brighter than the one before; no step between neighbours exceeds the slope of a blend."""
    tones = itertools.count()
    x = torch.zeros(1, 1, 640, 640)
    (out,) = run_tiled(lambda tile: (tile + 8 * next(tones),), [(x, 1)], [1], tile=256, overlap=64)
    brightest = out.max()
    assert brightest == 8 * 8, "nine tiles"
    for axis, between_tiles in ((-1, 8), (-2, 3 * 8)):
        assert out.diff(dim=axis).abs().max() <= 1.1 * between_tiles / 64


def test_one_tile_is_passed_through_untouched():
    x = torch.rand(1, 1, 64, 64)
    (out,) = run_tiled(lambda a: (a,), [(x, 1)], [1])
    assert out is x
