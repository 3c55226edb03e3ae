"""The integer symbols of a latent, as they are coded, and which of them are given up to save bits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from sprdiff.latent_codec.entropy import EntropyTables


@dataclass(frozen=True)
class LatentSymbols:
    """Everything that is coded: integer symbols in coding order with the index of the table of each.

    Attributes:
        y_hat: what they decode to, fixed point, (1, M, H, W) float64 integers.
        parts: (symbols, indexes) of z and then of each pass over y, int64, one dimension.
        bits_z, bits_y: what coding them costs by the integer tables, without the coder's last bytes.
    """

    y_hat: Tensor
    parts: list[tuple[Tensor, Tensor]]
    bits_z: float
    bits_y: float

    def sha256(self) -> str:
        """A hash of all symbols, for comparing two machines."""
        digest = hashlib.sha256()
        for symbols, _ in self.parts:
            digest.update(symbols.cpu().numpy().astype("<i4").tobytes())
        return digest.hexdigest()


def cheaper_symbols(
    symbols: Tensor, residual: Tensor, indexes: Tensor, tables: EntropyTables, bit_price: float
) -> Tensor:
    """Symbols moved towards zero, by up to two, where the saved bits are worth the added error.

    Args:
        symbols, indexes: int64, of one shape: ``residual`` rounded, and the table of each.
        residual: what they stand for, in quantizer steps, float64.
        bit_price: squared error, in quantizer steps, that one bit is worth.
    """
    for _ in range(2):
        smaller = symbols - symbols.sign()
        saved = tables.bits(symbols, indexes) - tables.bits(smaller, indexes)
        added = (residual - smaller) ** 2 - (residual - symbols) ** 2
        symbols = torch.where(added < bit_price * saved, smaller, symbols)
    return symbols
