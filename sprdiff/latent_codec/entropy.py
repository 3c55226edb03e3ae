"""Integer symbols to bytes and back with compressai's rANS, and what each symbol costs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from compressai.ans import BufferedRansEncoder, RansDecoder
from torch import Tensor

from sprdiff.errors import BitstreamError
from sprdiff.latent_codec.gaussian import PRECISION

# Symbols beyond this are not made by any encoder; a stream that decodes to one is hostile or foreign.
MAX_SYMBOL = 2**15 - 1
# Escapes: 4-bit digits of what lies beyond a table, and one that counts them. MAX_SYMBOL takes four.
_DIGIT_BITS = 4
_MAX_DIGITS = 4
MAX_SYMBOL_BITS = PRECISION + _DIGIT_BITS * (1 + _MAX_DIGITS)
"""The highest cost of a symbol: an escape of the least probability and all its digits."""
# The coder keeps between 31 and 63 bits in its state, sent as 8 bytes, and works in words of 4 bytes; it
# rounds every symbol's cost by less than ROUNDING_BITS. So n symbols of b bits take 8 + 4w bytes, where
# 32w <= b + n * ROUNDING_BITS and b - n * ROUNDING_BITS <= 32w + 32.
_STATE_BYTES = 8
_WORD_BYTES = 4
ROUNDING_BITS = 2.0**-14
# How many symbols are decoded between two looks at whether the string has ended.
_CHUNK = 2**16
# compressai's encoder reserves one word for each symbol and ends with two, so with fewer symbols it writes
# before its buffer. A symbol takes half a word at most: from four on there is room.
_LEAST_SYMBOLS = 4
# The words of a coder look random: so many bytes of nothing but ones are no encoder's, and as digits that
# count an escape's digits they would let one symbol read 15 times their number.
_ONES = b"\xff" * 64


class EntropyTables:
    """The cumulative tables of a checkpoint, in the forms the coder and the encoder's search need.

    Args:
        cdfs, cdf_lengths, offsets: as :func:`sprdiff.latent_codec.gaussian.build_tables` makes them.
    Raises:
        ValueError: a table is not strictly increasing from 0 to 2**16.
    """

    def __init__(self, cdfs: Tensor, cdf_lengths: Tensor, offsets: Tensor) -> None:
        self.cdf_lengths = cdf_lengths.tolist()
        self.offsets = offsets.tolist()
        self.cdfs = [row[:length] for row, length in zip(cdfs.tolist(), self.cdf_lengths, strict=True)]
        for index, row in enumerate(self.cdfs):
            if row[0] != 0 or row[-1] != 1 << PRECISION or any(b <= a for a, b in itertools.pairwise(row)):
                raise ValueError(f"cumulative table {index} does not rise from 0 to {1 << PRECISION}")
        radius = -min(self.offsets)
        # Bits of the symbol r under table i at [i, r + radius], of the escape where the table ends before r.
        bits = np.empty((len(self.cdfs), 2 * radius + 3))
        for index, (row, offset) in enumerate(zip(self.cdfs, self.offsets, strict=True)):
            own = PRECISION - np.log2(np.diff(row))
            bits[index] = own[-1]
            bits[index, radius + 1 + offset : radius + 2 - offset] = own[:-1]
        self.radius = radius + 1
        self.bits_table = torch.from_numpy(bits)
        self.least_bits = self.bits_table.amin(1)
        self.cheapest = divmod(int(self.bits_table.argmin()), self.bits_table.shape[1])
        """Table and column of :attr:`bits_table` with the symbol that costs least of all."""

    def bits(self, symbols: Tensor, indexes: Tensor) -> Tensor:
        """What coding ``symbols`` under the tables ``indexes`` (both int64, any one shape) costs, in bits."""
        table = self.bits_table.to(indexes.device)
        bits = table[indexes, (symbols + self.radius).clamp(0, 2 * self.radius)]
        # Tables are symmetric: -radius to radius.
        excess = symbols.abs() + torch.tensor(self.offsets, device=indexes.device)[indexes]
        escaped = excess > 0
        if escaped.any():
            raw = 2 * excess - torch.where(symbols < 0, 1, 2)
            digits = sum((raw >> _DIGIT_BITS * digit > 0).long() for digit in range(_MAX_DIGITS))
            bits = bits + escaped * _DIGIT_BITS * (1 + digits)
        return bits


def payload_limits(num_symbols: int, least_bits: float) -> tuple[int, int]:
    """Fewest and most bytes of a string of at most ``num_symbols`` that cost ``least_bits`` or more."""
    rounding = num_symbols * ROUNDING_BITS
    fewest = max(0, math.ceil((least_bits - rounding) / (8 * _WORD_BYTES)) - 1)
    most = math.floor((num_symbols * MAX_SYMBOL_BITS + rounding) / (8 * _WORD_BYTES))
    return _STATE_BYTES + _WORD_BYTES * fewest, _STATE_BYTES + _WORD_BYTES * most


def _room_behind(num_bytes: int, max_symbols: int) -> int:
    """How many zeros behind a string keep the decoder inside its buffer: it does not look for the end.

    What is read of zeros is accounted for to the bit, so beyond the account lies at most the chunk in which
    the string ends, with a word for each symbol. The exceptions lie within the string: digits of an escape
    that are zero where an encoder would leave them out, which make it end up to its own length sooner than
    the account says, and one escape at its end, whose digits are bounded by ``_ONES``.
    """
    last_chunk = _WORD_BYTES * min(max_symbols, _CHUNK)
    last_escape = 15 * (len(_ONES) + 32)
    return num_bytes + last_chunk + last_escape + max_symbols // _CHUNK


class SymbolEncoder:
    """Collects symbols in decoding order and turns them into one rANS string."""

    def __init__(self, tables: EntropyTables) -> None:
        self._tables = tables
        self._encoder = BufferedRansEncoder()
        self._num_symbols = 0

    def push(self, symbols: Tensor, indexes: Tensor) -> None:
        """Append ``symbols`` coded under the tables ``indexes``, both int64 and of one dimension."""
        tables = self._tables
        self._encoder.encode_with_indexes(
            symbols.tolist(), indexes.tolist(), tables.cdfs, tables.cdf_lengths, tables.offsets
        )
        self._num_symbols += symbols.numel()

    def finish(self) -> bytes:
        """The string of all symbols pushed so far; the encoder is empty again.

        Fewer than four are followed by what costs next to nothing, up to four: the decoder never asks for it.
        """
        missing = max(0, _LEAST_SYMBOLS - self._num_symbols)
        if missing:
            index, column = self._tables.cheapest
            self.push(torch.full((missing,), column - self._tables.radius), torch.full((missing,), index))
        self._num_symbols = 0
        return self._encoder.flush()


class SymbolDecoder:
    """Reads the symbols of one rANS string in the order in which they were pushed.

    Args:
        payload: the string.
        max_symbols: an upper bound of the number of symbols that will be asked for.
    Raises:
        BitstreamError: the string cannot be one of :class:`SymbolEncoder`.
    """

    def __init__(self, tables: EntropyTables, payload: bytes, max_symbols: int) -> None:
        if len(payload) < _STATE_BYTES or len(payload) % _WORD_BYTES:
            raise BitstreamError(
                f"The coded data has {len(payload)} bytes; it must be {_STATE_BYTES} or more, "
                f"in steps of {_WORD_BYTES}."
            )
        self._tables = tables
        self._num_bytes = len(payload)
        self._bits_left = 8.0 * (len(payload) - _WORD_BYTES)
        self._decoder = RansDecoder()
        if _ONES in payload:
            raise BitstreamError(
                f"The coded data has {len(_ONES)} bytes of ones in a row, which no encoder makes: "
                "it is damaged."
            )
        self._decoder.set_stream(payload + bytes(_room_behind(len(payload), max_symbols)))

    def pop(self, indexes: Tensor) -> Tensor:
        """The next symbols, int64 and of one dimension like ``indexes``.

        Raises:
            BitstreamError: the string has ended before them, or holds what no encoder makes.
        """
        parts = [self._pop(part) for part in indexes.cpu().split(_CHUNK)]
        return torch.cat(parts)

    def _pop(self, indexes: Tensor) -> Tensor:
        tables = self._tables
        symbols = self._decoder.decode_stream(
            indexes.tolist(), tables.cdfs, tables.cdf_lengths, tables.offsets
        )
        symbols = torch.tensor(symbols, dtype=torch.int64)
        if symbols.numel() and int(symbols.abs().max()) > MAX_SYMBOL:
            raise BitstreamError(f"A decoded symbol exceeds {MAX_SYMBOL}: the data is damaged.")
        self._bits_left -= float(tables.bits(symbols, indexes).sum()) - symbols.numel() * ROUNDING_BITS
        if self._bits_left < 0:
            raise BitstreamError(
                f"The coded data ends before its picture does: it has {self._num_bytes} bytes, and more are "
                "needed. The data is damaged."
            )
        return symbols
