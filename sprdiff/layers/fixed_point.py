"""Convolutions in integer arithmetic that is exact whatever the order of summation.

Encoder and decoder must agree on every entropy parameter to the last bit, or decoding breaks (Ballé et
al., Integer Networks for Data Compression with Latent-Variable Models, ICLR 2019). Here a fixed-point
number is an integer held in float64: products of weights and activations and their sums stay within
2**53, where float64 counts every integer, so thread count, library and device cannot change a result.
That the weights of a checkpoint keep to it is checked when it is loaded (``largest_sums``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FRACTION_BITS = 8
WEIGHT_BITS = 12
MAX_ACTIVATION = float(2**20)
MAX_WEIGHT = float(2**15)
MAX_EXACT = 2.0**53
"""Up to this float64 holds every integer."""
# Of a matrix of unfolded patches: bounds the memory that it takes.
CHUNK_ELEMENTS = 2**25


def to_fixed(values: Tensor, fraction_bits: int) -> Tensor:
    """The integers nearest to ``values * 2**fraction_bits``, in float64; a power of two scales exactly."""
    return torch.round(values.detach().double() * 2.0**fraction_bits)


class FixedPointConv2d(nn.Conv2d):
    """A stride-1 convolution in two forms: float for training, fixed point for coding.

    ``forward`` is the plain convolution. ``fixed`` computes the same from weights rounded to 12
    fractional bits and activations with 8, in exact integer arithmetic. Weights and activations are
    precise enough that the two differ by rounding only, so nothing needs to be trained for it.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def fixed(self, x: Tensor) -> Tensor:
        """The convolution of fixed-point activations.

        Args:
            x: (B, C, H, W), float64 integers: values times 2**8, small enough for :meth:`largest_sum`.
        Returns:
            (B, C', H, W), the same format, clamped to +-2**20.
        """
        matrix = self.matrix()
        strips = [matrix(patches) for patches in unfold(x, self.kernel_size[0])]
        return torch.cat(strips, dim=1).permute(0, 3, 1, 2)

    def largest_sum(self, largest: Tensor) -> float:
        """The largest absolute value that a sum within ``fixed`` can come to, in any order of summation.

        Args:
            largest: (C,) float64, largest absolute value of each channel of the input.
        """
        weight = to_fixed(self.weight, WEIGHT_BITS).clamp(-MAX_WEIGHT, MAX_WEIGHT)
        bias = to_fixed(self.bias, WEIGHT_BITS + FRACTION_BITS).abs() + 2.0 ** (WEIGHT_BITS - 1)
        return float((weight.abs().sum((2, 3)) @ largest + bias).max())

    def matrix(self) -> Callable[[Tensor], Tensor]:
        """The convolution as a function of unfolded patches (..., k, k C), see :func:`unfold`, to (..., C').

        A matrix product, not conv2d: a library may choose an FFT or Winograd convolution, whose transforms
        are not exact on integers.
        """
        weight = to_fixed(self.weight, WEIGHT_BITS).clamp(-MAX_WEIGHT, MAX_WEIGHT)
        weight = weight.permute(2, 3, 1, 0).reshape(-1, self.out_channels)
        bias = to_fixed(self.bias, WEIGHT_BITS + FRACTION_BITS)

        def multiply(patches: Tensor) -> Tensor:
            rows = patches.reshape(-1, weight.shape[0])
            sums = torch.addmm(bias + 2.0 ** (WEIGHT_BITS - 1), rows, weight)
            rounded = sums.mul_(2.0**-WEIGHT_BITS).floor_().clamp_(-MAX_ACTIVATION, MAX_ACTIVATION)
            return rounded.unflatten(0, patches.shape[:-2])

        return multiply


def unfold(x: Tensor, size: int) -> Iterator[Tensor]:
    """The ``size`` x ``size`` patches around every position, in strips of rows that bound the memory.

    Yields views, cheap to pick positions from: (B, rows, W, size, size * C), with an even number of rows but
    for the last strip. Pixels of a patch's row lie side by side in memory, so that copying them is fast.

    Args:
        x: (B, C, H, W); what lies outside is zero.
    """
    batch, channels, height, width = x.shape
    pad = size // 2
    x = F.pad(x, (pad, pad, pad, pad)).permute(0, 2, 3, 1).contiguous()
    rows = max(2, CHUNK_ELEMENTS // (batch * width * channels * size**2) // 2 * 2)
    for top in range(0, height, rows):
        strip = x[:, top : min(top + rows, height) + 2 * pad]
        shape = (batch, strip.shape[1] - 2 * pad, width, size, size * channels)
        by_image, by_row, by_column, _ = strip.stride()
        yield strip.as_strided(shape, (by_image, by_row, by_column, by_row, 1), strip.storage_offset())


class FixedPointNet(nn.Module):
    """Fixed-point convolutions with ReLUs between them, and pixel-shuffles by two where asked for.

    Args:
        channels: of the input and of every layer's output, before a pixel-shuffle.
        kernel_sizes: one a layer.
        shuffles: indices of the layers whose output is pixel-shuffled by two (C must divide by four).
    """

    def __init__(
        self,
        channels: list[int],
        kernel_sizes: list[int],
        shuffles: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.shuffles = shuffles
        sizes = list(zip(channels[:-1], channels[1:], kernel_sizes, strict=True))
        self.layers = nn.ModuleList(
            FixedPointConv2d(c_in // 4 if i - 1 in shuffles else c_in, c_out, k)
            for i, (c_in, c_out, k) in enumerate(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, [layer.forward for layer in self.layers])

    def fixed(self, x: Tensor) -> Tensor:
        """``forward`` in fixed point; see :meth:`FixedPointConv2d.fixed`."""
        return self._run(x, [layer.fixed for layer in self.layers])

    def largest_sums(self, largest: Tensor) -> Iterator[tuple[str, float]]:
        """Name and :meth:`FixedPointConv2d.largest_sum` of every layer; ``largest`` (C,) is the input's."""
        for i, layer in enumerate(self.layers):
            yield f"layers.{i}", layer.largest_sum(largest)
            channels = layer.out_channels // (4 if i in self.shuffles else 1)
            largest = largest.new_full((channels,), MAX_ACTIVATION)

    def fixed_on_checkerboard(self, x: Tensor, anchors: bool) -> Tensor:
        """``fixed`` at every second position, at half the cost; zero at the others.

        For nets whose layers but the first are 1 x 1, without shuffles.

        Args:
            x: (B, C, H, W), H and W even.
            anchors: True for the positions where row + column is even, False for the others.
        """
        first, *others = (layer.matrix() for layer in self.layers)
        strips = []
        for patches in unfold(x, self.layers[0].kernel_size[0]):
            strip = x.new_zeros(*patches.shape[:3], self.layers[-1].out_channels)
            for row in (0, 1):
                start = row if anchors else 1 - row
                h = first(patches[:, row::2, start::2])
                for layer in others:
                    h = layer(h.relu_()[..., None, :])
                strip[:, row::2, start::2] = h
            strips.append(strip)
        return torch.cat(strips, dim=1).permute(0, 3, 1, 2)

    def _run(self, x: Tensor, layers: list) -> Tensor:
        for i, layer in enumerate(layers):
            x = layer(x)
            if i in self.shuffles:
                x = F.pixel_shuffle(x, 2)
            if i < len(layers) - 1:
                x = x.relu()
        return x
