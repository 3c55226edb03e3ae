"""Values that depend on the continuous quality: learned at a few anchors, linear in between."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sprdiff.layers.fixed_point import FRACTION_BITS, to_fixed

MAX_QUALITY = 255


class QualityAnchors(nn.Module):
    """One learned vector at each of ``num_anchors`` qualities, interpolated linearly between them.

    A gain per channel interpolated over quality gives one model every bitrate (gained VAE, Cui et al.
    2020, arXiv:2003.02050).

    Args:
        init: (num_anchors, C) values to start from; anchor 0 is quality 0, the last one 255.
        unit: a power of two; the parameters are the values divided by it. Optimizers change all parameters at
            about one speed, and some values (table indices) are larger than weights.
    """

    def __init__(self, init: Tensor, unit: float = 1.0) -> None:
        super().__init__()
        self.unit = unit
        self.anchors = nn.Parameter(init.clone().float() / unit)

    @torch.no_grad()
    def set(self, values: Tensor) -> None:
        """Start from ``values`` (num_anchors, C)."""
        self.anchors.copy_(values / self.unit)

    @torch.no_grad()
    def move(self, low: float, high: float) -> None:
        """Let qualities 0 to 255 mean what ``low`` to ``high`` mean now; beyond the ends, straight on."""
        count = len(self.anchors)
        position = torch.linspace(low, high, count) * ((count - 1) / MAX_QUALITY)
        left = position.floor().clamp(0, count - 2).long()
        weight = (position - left)[:, None]
        self.anchors.copy_(self.anchors[left] * (1 - weight) + self.anchors[left + 1] * weight)

    def forward(self, quality: Tensor) -> Tensor:
        """The vectors for ``quality`` (B,), float in [0, 255], as (B, C, 1, 1)."""
        last = len(self.anchors) - 1
        position = quality.float().clamp(0, MAX_QUALITY) * (last / MAX_QUALITY)
        low = position.floor().clamp(max=last - 1).long()
        weight = (position - low)[:, None]
        values = self.anchors[low] * (1 - weight) + self.anchors[low + 1] * weight
        return self.unit * values[:, :, None, None]

    def largest_sum(self) -> float:
        """The largest absolute value of any sum within :meth:`fixed`."""
        return float(to_fixed(self.anchors.double() * self.unit, FRACTION_BITS).abs().max()) * MAX_QUALITY

    def fixed(self, quality: int) -> Tensor:
        """The same in fixed point, (1, C, 1, 1) float64 integers, exact whatever the machine.

        The weights of the two anchors are the integers k and 255 - k, so no float is rounded.
        """
        last = len(self.anchors) - 1
        low = min(quality * last // MAX_QUALITY, last - 1)
        weight = quality * last - low * MAX_QUALITY
        anchors = to_fixed(self.anchors.double() * self.unit, FRACTION_BITS)
        total = anchors[low] * (MAX_QUALITY - weight) + anchors[low + 1] * weight
        # Both operands are integers within 2**53: torch's integer division is exact.
        values = torch.div(total.long(), MAX_QUALITY, rounding_mode="floor").double()
        return values[None, :, None, None]
