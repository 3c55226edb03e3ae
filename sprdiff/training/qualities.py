"""Which qualities a stage trains at, and what bits are worth there."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from sprdiff.layers.quality import MAX_QUALITY
from sprdiff.training.settings import Group

Quality = Annotated[float, Field(ge=0, le=MAX_QUALITY)]


class QualityRange(Group):
    """The range of qualities, from 0 to ``MAX_QUALITY``.

    Attributes:
        coarsest_step, finest_step: of the quantizer at the lowest and highest quality, for pixels in 0..255.
        reference_step, reference_lmbda: the step at which a Lagrangian was found to balance rate and
            distortion (0.03 bits per pixel).
        core: every other crop has a quality between these, where most photographs need 0.02 to 0.05 bits per
            pixel.
    """

    coarsest_step: PositiveFloat = 3400.0
    finest_step: PositiveFloat = 98.0
    reference_step: PositiveFloat = 320.0
    reference_lmbda: PositiveFloat = 2.5e-4
    core: tuple[Quality, Quality] = (65.0, 195.0)

    def draw(self, count: int, device: torch.device) -> Tensor:
        """(count,) qualities: every other one from ``core``, the rest from the whole range."""
        quality = torch.rand(count, device=device) * MAX_QUALITY
        quality[::2].uniform_(*self.core)
        return quality

    def step_sizes(self, num_anchors: int) -> Tensor:
        """Quantizer steps for pixels in [-1, 1] at equally spaced qualities, falling geometrically."""
        logs = torch.linspace(math.log(self.coarsest_step), math.log(self.finest_step), num_anchors)
        return logs.exp() / 127.5

    def lmbda(self, quality: Tensor) -> Tensor:
        """The Lagrangian of a quality: loss = bpp + lmbda * MSE for pixels in 0..255."""
        position = quality / MAX_QUALITY
        ends = math.log(self.coarsest_step), math.log(self.finest_step)
        step = torch.exp(ends[0] * (1 - position) + ends[1] * position)
        return self.reference_lmbda * (self.reference_step / step) ** 2
