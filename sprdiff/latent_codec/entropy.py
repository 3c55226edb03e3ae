"""Integer symbols to bytes and back with compressai's rANS, and what each symbol costs."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from compressai.ans import BufferedRansEncoder, RansDecoder
from torch import Tensor

from sprdiff.errors import BitstreamError
from sprdiff.latent_codec.gaussian import PRECISION

# Symbols beyond this are not made by any encoder; a stream that decodes to one is hostile or foreign.
MAX_SYMBOL = 2**15 - 1


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
        # Bits of the symbol r under table i at [i, r + radius]; escapes pay for the escape symbol and
        # for 4-bit digits of what exceeds the table.
        bits = np.empty((len(self.cdfs), 2 * radius + 1))
        for index, (row, offset) in enumerate(zip(self.cdfs, self.offsets, strict=True)):
            own = PRECISION - np.log2(np.diff(row))
            symbols = np.arange(-radius, radius + 1)
            excess = np.maximum(np.abs(symbols) + offset, 1)
            bits[index] = own[-1] + 4 + 4 * np.ceil(np.log2(2 * excess + 1) / 4)
            bits[index, radius + offset : radius - offset + 1] = own[:-1]
        self.radius = radius
        self.bits_table = torch.from_numpy(bits)

    def bits(self, symbols: Tensor, indexes: Tensor) -> Tensor:
        """What coding ``symbols`` under the tables ``indexes`` (both int64, any one shape) costs, in bits."""
        table = self.bits_table.to(indexes.device)
        return table[indexes, (symbols + self.radius).clamp(0, 2 * self.radius)]


class SymbolEncoder:
    """Collects symbols in decoding order and turns them into one rANS string."""

    def __init__(self, tables: EntropyTables) -> None:
        self._tables = tables
        self._encoder = BufferedRansEncoder()

    def push(self, symbols: Tensor, indexes: Tensor) -> None:
        """Append ``symbols`` coded under the tables ``indexes``, both int64 and of one dimension."""
        tables = self._tables
        self._encoder.encode_with_indexes(
            symbols.tolist(), indexes.tolist(), tables.cdfs, tables.cdf_lengths, tables.offsets
        )

    def finish(self) -> bytes:
        """The string of all symbols pushed so far; the encoder is empty again."""
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
        if len(payload) < 8 or len(payload) % 4:
            raise BitstreamError(
                f"The coded data has {len(payload)} bytes; it must be 8 or more, in steps of 4."
            )
        self._tables = tables
        self._decoder = RansDecoder()
        # compressai's decoder does not check for the end of its input. A symbol takes at most one word
        # and an escape at most 15 digits for each digit present, so zeros behind the string keep even
        # a hostile one inside this buffer.
        self._decoder.set_stream(payload + bytes(4 * max_symbols + 16 * len(payload) + 64))

    def pop(self, indexes: Tensor) -> Tensor:
        """The next symbols, int64 and of one dimension like ``indexes``."""
        tables = self._tables
        symbols = self._decoder.decode_stream(
            indexes.tolist(), tables.cdfs, tables.cdf_lengths, tables.offsets
        )
        symbols = torch.tensor(symbols, dtype=torch.int64)
        if symbols.numel() and int(symbols.abs().max()) > MAX_SYMBOL:
            raise BitstreamError(f"A decoded symbol exceeds {MAX_SYMBOL}: the data is damaged.")
        return symbols
