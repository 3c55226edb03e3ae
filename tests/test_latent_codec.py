"""Entropy coding: exact symbols whatever the machine does, real rates, hostile payloads."""

from __future__ import annotations

import bisect
import contextlib
import copy
import math
import random
import re
import subprocess
import sys

import pytest
import torch
from compressai.ans import RansDecoder
from tiny import small_part

from sprdiff.errors import BitstreamError, WeightsError
from sprdiff.latent_codec.codec import LatentCodec
from sprdiff.latent_codec.context import checkerboard
from sprdiff.latent_codec.entropy import EntropyTables, SymbolDecoder, SymbolEncoder
from sprdiff.latent_codec.gaussian import (
    MAX_SCALE,
    MIN_SCALE,
    NUM_SCALES,
    build_tables,
    gaussian_bits,
    index_of,
    scale_of,
)


@pytest.fixture(scope="module")
def codec() -> LatentCodec:
    part = small_part("latent_codec")
    rms = torch.linspace(6, 0.2, 24)
    part.init_from_statistics(rms, torch.tensor([4.0, 1.5, 0.5]))
    # A random h_a makes a wide z; in the tails an escape costs less than the Gaussian says.
    part.z_scale.set(torch.full((3, 4), 50.0))
    return part.requires_grad_(True)


@pytest.fixture(scope="module")
def y() -> torch.Tensor:
    torch.manual_seed(7)
    return torch.randn(1, 24, 12, 16) * torch.linspace(6, 0.2, 24)[:, None, None]


def test_gaussian_bits_are_those_of_the_normal_distribution():
    for scale in (0.2, 1.0, 7.0):
        for residual in (0, 1, 3):
            z = [(residual + side) / scale / math.sqrt(2) for side in (-0.5, 0.5)]
            expected = -math.log2((math.erf(z[1]) - math.erf(z[0])) / 2) if residual < 6 * scale else None
            if expected is not None:
                actual = gaussian_bits(torch.tensor(float(residual)), torch.tensor(scale))
                assert actual.item() == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_gaussian_bits_keep_their_gradient_in_the_tails():
    scale = torch.tensor(0.3, requires_grad=True)
    bits = gaussian_bits(torch.tensor(20.0), scale)
    bits.backward()
    assert torch.isfinite(bits) and bits > 100
    assert torch.isfinite(scale.grad) and scale.grad < 0


def test_scale_grid():
    index = torch.arange(NUM_SCALES).double()
    assert torch.allclose(index_of(scale_of(index)), index)
    assert scale_of(index[0]).item() == pytest.approx(MIN_SCALE)
    assert scale_of(index[-1]).item() == pytest.approx(MAX_SCALE)


def test_tables_code_close_to_the_gaussian():
    tables = EntropyTables(*build_tables())
    symbols = torch.arange(-3, 4)
    for index in (20, 40, 63):
        expected = gaussian_bits(symbols.double(), scale_of(torch.full((7,), float(index)).double()))
        actual = tables.bits(symbols, torch.full((7,), index))
        likely = expected < 10
        assert torch.allclose(actual[likely], expected[likely], atol=0.05)


def test_broken_tables_are_refused():
    cdfs, lengths, offsets = build_tables()
    cdfs[3, 2] = cdfs[3, 1]
    with pytest.raises(ValueError, match="table 3 does not rise"):
        EntropyTables(cdfs, lengths, offsets)


def test_symbols_survive_coding_in_parts_and_far_out_of_the_tables():
    tables = EntropyTables(*build_tables())
    torch.manual_seed(0)
    parts = []
    for count in (1, 50, 700):
        indexes = torch.randint(1, NUM_SCALES, (count,))
        symbols = (torch.randn(count) * scale_of(indexes.float())).round().long()
        parts.append((symbols, indexes))
    parts.append((torch.tensor([30000, -30000, 0]), torch.tensor([1, 63, 30])))
    encoder = SymbolEncoder(tables)
    for part in parts:
        encoder.push(*part)
    data = encoder.finish()
    decoder = SymbolDecoder(tables, data, 1000)
    for symbols, indexes in parts:
        assert torch.equal(decoder.pop(indexes), symbols)
    bits = sum(float(tables.bits(*part).sum()) for part in parts[:-1])
    assert 0 < len(data) * 8 - bits < 64 + 3 * 64


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_string_of_few_symbols_is_whole_and_stays_in_its_buffer(count):
    """In a process of its own: compressai's encoder would write before its buffer, and end the process."""
    code = f"""
import torch
from sprdiff.latent_codec.entropy import EntropyTables, SymbolDecoder, SymbolEncoder
from sprdiff.latent_codec.gaussian import build_tables
tables = EntropyTables(*build_tables())
encoder = SymbolEncoder(tables)
for value in (0, 5, -300):
    symbols, indexes = torch.full(({count},), value), torch.full(({count},), 63)
    for _ in range(1000):
        encoder.push(symbols, indexes)
        data = encoder.finish()
    assert torch.equal(SymbolDecoder(tables, data, {count}).pop(indexes), symbols)
print(len(data))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout) >= 8, done.stderr


def bytes_read(payload: bytes, tables: EntropyTables, index: int, count: int) -> int:
    """How much of ``payload``, with zeros behind it for ever, ``count`` symbols take: rANS, again."""
    words = [int.from_bytes(payload[i : i + 4], "little") for i in range(0, len(payload), 4)]
    place = 2
    state = words[0] | words[1] << 32
    row = tables.cdfs[index]

    def refill() -> None:
        nonlocal state, place
        if state < 2**31:
            state = state << 32 | (words[place] if place < len(words) else 0)
            place += 1

    def digit() -> int:
        nonlocal state
        value, state = state & 15, state >> 4
        refill()
        return value

    for _ in range(count):
        low = state & 0xFFFF
        symbol = bisect.bisect_right(row, low) - 1
        state = (row[symbol + 1] - row[symbol]) * (state >> 16) + low - row[symbol]
        refill()
        if symbol == len(row) - 2:
            digits = value = digit()
            while value == 15:
                value = digit()
                digits += value
            for _ in range(digits):
                digit()
    return 4 * place


def test_zeros_behind_the_string_hold_whatever_it_makes_the_decoder_read(monkeypatch):
    """Ones, and digits that an encoder would leave out, make it read furthest."""
    tables = EntropyTables(*build_tables())
    monkeypatch.setattr("sprdiff.latent_codec.entropy._CHUNK", 64)
    buffers, asked = [], []

    class Decoder(RansDecoder):
        def set_stream(self, data: bytes) -> None:
            buffers.append(len(data))
            super().set_stream(data)

        def decode_stream(self, indexes, *arguments):
            asked.append(len(indexes))
            return super().decode_stream(indexes, *arguments)

    monkeypatch.setattr("sprdiff.latent_codec.entropy.RansDecoder", Decoder)
    generator = random.Random(3)
    behind = 0
    for _ in range(300):
        pieces = (b"\xff" * 60, b"\xfe\xff\xff\xff", bytes(4), generator.randbytes(4), b"\xff" * 32)
        payload = b"".join(generator.choices(pieces, k=generator.randrange(2, 40)))
        if b"\xff" * 64 in payload or len(payload) < 8 or payload[4:8] < b"\0\0\0\1":
            continue
        asked.clear()
        index = generator.choice((1, 30, 63))
        decoder = SymbolDecoder(tables, payload, 2000)
        with contextlib.suppress(BitstreamError):
            decoder.pop(torch.full((2000,), index))
        read = bytes_read(payload, tables, index, sum(asked))
        assert read <= buffers[-1] < 2 * len(payload) + 4 * 64 + 2000
        behind = max(behind, read - len(payload))
    assert behind > 0, "some must have been read behind their end, or nothing was tried"
    with pytest.raises(BitstreamError, match="64 bytes of ones in a row"):
        SymbolDecoder(tables, bytes(8) + b"\xff" * 64, 10)


def test_sums_that_could_leave_the_exact_range_are_refused_by_name():
    part = small_part("latent_codec")
    part.check_sums()
    for name, module, value in (
        ("h_s.net.layers.2", part.h_s.net.layers[2], 2.0**40),
        ("context.nets.3.layers.0", part.context.nets[3].layers[0], math.nan),
        ("h_s.quality_bias", part.h_s.quality_bias, 2.0**38),
        ("z_scale", part.z_scale, -(2.0**40)),
    ):
        parameter = module.anchors if hasattr(module, "anchors") else module.bias
        before = parameter.detach().clone()
        parameter.data.flatten()[0] = value
        with pytest.raises(WeightsError, match=rf"layer {re.escape(name)} of the latent codec can come to"):
            part.check_sums()
        parameter.data.copy_(before)
    part.check_sums()


@pytest.mark.parametrize("length", [0, 4, 9])
def test_payloads_of_impossible_length_are_refused(length):
    with pytest.raises(BitstreamError, match=f"has {length} bytes"):
        SymbolDecoder(EntropyTables(*build_tables()), bytes(length), 10)


def test_checkerboard():
    board = checkerboard(3, 4)[0, 0]
    assert board.tolist() == [[True, False] * 2, [False, True] * 2, [True, False] * 2]


@pytest.mark.parametrize("quality", [0, 1, 100, 200, 255])
@pytest.mark.parametrize("bit_price", [0.0, 0.15])
def test_round_trip_symbol_by_symbol(codec, y, quality, bit_price):
    coded = codec.quantize(y, quality, bit_price)
    payload = codec.compress(coded)
    decoded = codec.decompress(payload, quality, 12, 16)
    assert torch.equal(decoded.y_hat, coded.y_hat)
    assert len(decoded.parts) == len(coded.parts) == 1 + 2 * 3
    for (a, b), (c, d) in zip(coded.parts, decoded.parts, strict=True):
        assert torch.equal(a, c) and torch.equal(b, d)
    assert coded.sha256() == decoded.sha256()
    # The coder's own cost: its final state and rounding to words.
    assert 0 <= 8 * len(payload) - coded.bits_z - coded.bits_y <= 96


def test_the_bit_map_sums_to_the_bits(codec, y):
    coded = codec.quantize(y, 170)
    bits = codec.bit_map(coded, 170, 12, 16)
    assert bits.shape == (12, 16) and bits.min() >= 0
    assert float(bits.sum()) == pytest.approx(coded.bits_y + coded.bits_z)
    flat = y.clone()
    flat[..., 8:] = 0
    halves = codec.bit_map(codec.quantize(flat, 170), 170, 12, 16)
    assert halves[:, 8:].sum() < 0.85 * halves[:, :8].sum()


def test_quality_trades_bits_for_error(codec, y):
    sizes, errors = [], []
    for quality in (0, 80, 160, 255):
        coded = codec.quantize(y, quality)
        sizes.append(coded.bits_y + coded.bits_z)
        errors.append(float((codec.dequantize(coded, quality) - y).pow(2).mean()))
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] / 2
    assert errors == sorted(errors, reverse=True)


def test_bit_price_saves_bits(codec, y):
    plain, priced = codec.quantize(y, 128), codec.quantize(y, 128, 0.2)
    assert priced.bits_y < plain.bits_y


def test_estimated_rate_of_training_is_close_to_the_real_one(codec, y):
    out = codec(y, torch.tensor([128.0]), "rounded")
    coded = codec.quantize(y, 128)
    real = 8 * len(codec.compress(coded))
    assert real == pytest.approx(float(out.bits_y + out.bits_z), rel=0.05, abs=96)
    # Values at the border of two symbols may fall to either side.
    different = (out.y_hat - codec.dequantize(coded, 128)).abs() > 0.05
    assert different.float().mean() < 0.02


def test_symbols_do_not_depend_on_threads_or_onednn(codec, y):
    threads = torch.get_num_threads()
    coded = codec.quantize(y, 150)
    payload = codec.compress(coded)
    hashes = set()
    try:
        for count in (1, 2):
            for onednn in (True, False):
                torch.set_num_threads(count)
                with torch.backends.mkldnn.flags(enabled=onednn):
                    hashes.add(codec.decompress(payload, 150, 12, 16).sha256())
    finally:
        torch.set_num_threads(threads)
    assert hashes == {coded.sha256()}


@pytest.mark.parametrize("rate", ["noisy", "mixed", "rounded"])
def test_training_gradients_reach_every_parameter(codec, y, rate):
    codec = copy.deepcopy(codec)
    # A random h_a makes a z of zeros, which would hide h_s's first layer.
    torch.nn.init.normal_(codec.h_a.layers[-1].bias, std=3.0)
    out = codec(y, torch.tensor([90.0]), rate)
    (out.bits_y.sum() + out.bits_z.sum() + out.y_hat.pow(2).sum()).backward()
    missing = [name for name, p in codec.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_the_mixed_estimate_has_the_rounded_value_and_presses_small_symbols(codec, y):
    small = (0.05 * y).requires_grad_()
    mixed = codec(small, torch.tensor([90.0]), "mixed")
    rounded = codec(small, torch.tensor([90.0]), "rounded")
    assert torch.allclose(mixed.bits_y, rounded.bits_y) and torch.allclose(mixed.bits_z, rounded.bits_z)
    pressed = torch.autograd.grad(mixed.bits_y.sum(), small)[0]
    left_alone = torch.autograd.grad(rounded.bits_y.sum(), small)[0]
    assert pressed.abs().mean() > 2 * left_alone.abs().mean()


def test_random_payloads_never_crash(codec):
    generator = random.Random(0)
    for _ in range(30):
        payload = generator.randbytes(4 * generator.randrange(2, 40))
        try:
            decoded = codec.decompress(payload, generator.randrange(256), 4, 4)
            assert torch.isfinite(decoded.y_hat).all()
        except BitstreamError as error:
            assert "damaged" in str(error)
    for hostile in (bytes(64), b"\xff" * 64):
        try:
            codec.decompress(hostile, 255, 4, 4)
        except BitstreamError as error:
            assert "damaged" in str(error)


def test_slices_must_sum_to_the_channels():
    with pytest.raises(ValueError, match="sum to 12"):
        LatentCodec(latent_channels=16, slices=(4, 8))
