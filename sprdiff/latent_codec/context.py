"""The space-channel context: which symbols are coded when, and their mean and scale given those before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sprdiff.layers.fixed_point import FixedPointNet


@dataclass(frozen=True)
class Pass:
    """One step of the coding order: one half of a checkerboard in one slice of channels.

    Attributes:
        index: position in the order.
        start, stop: the slice's channels.
        anchors: True for the half that is coded first.
    """

    index: int
    start: int
    stop: int
    anchors: bool


def checkerboard(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(1, 1, H, W) bool, True where row + column is even: the anchors (He et al. 2021, arXiv:2103.15306)."""
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None, :]
    return ((rows + columns) % 2 == 0)[None, None]


class SpaceChannelContext(nn.Module):
    """Means and scale indices of y, slice after slice and checkerboard half after half.

    y's channels come in order of energy. They are cut into slices of growing width (ELIC, He et al. 2022,
    arXiv:2203.10886); each half slice sees the hyperprior's features, all slices before it and, in the
    second half, the first half of its own. Every network runs in fixed point for coding.

    Args:
        slices: channels of each slice.
        hyper_channels: of the hyperprior's features.
        hidden_channels: of the networks.
    """

    def __init__(self, slices: tuple[int, ...], hyper_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.slices = tuple(slices)
        self.nets = nn.ModuleList()
        for step in self.passes():
            context = step.start if step.anchors else step.stop
            outputs = 2 * (step.stop - step.start)
            net = FixedPointNet(
                [hyper_channels + context, hidden_channels, hidden_channels, outputs],
                [3, 1, 1],
            )
            nn.init.normal_(net.layers[-1].weight, std=1e-3)
            nn.init.zeros_(net.layers[-1].bias)
            self.nets.append(net)

    def passes(self) -> Iterator[Pass]:
        """The coding order."""
        start = 0
        for i, width in enumerate(self.slices):
            for anchors in (True, False):
                yield Pass(2 * i + (0 if anchors else 1), start, start + width, anchors)
            start += width

    def forward(self, step: Pass, features: Tensor, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale-index correction (B, stop - start, H, W) each, in float.

        Args:
            features: of the hyperprior, (B, C, H, W).
            y_hat: scaled latent as far as decoded: (B, start, H, W) for anchors, else (B, stop, H, W)
                with zeros where the second half of the slice will be.
        """
        return self.nets[step.index](torch.cat([features, y_hat], 1)).chunk(2, 1)

    def largest_sums(self, feature: float, y_hat: float) -> Iterator[tuple[str, float]]:
        """Name and largest sum of every layer of ``fixed``; its inputs are as large as the arguments."""
        for step in self.passes():
            channels = self.nets[step.index].layers[0].in_channels
            largest = torch.full((channels,), y_hat).double()
            largest[: channels - (step.start if step.anchors else step.stop)] = feature
            for name, value in self.nets[step.index].largest_sums(largest):
                yield f"nets.{step.index}.{name}", value

    def fixed(self, step: Pass, features: Tensor, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """The same in fixed point, zero where this pass codes nothing."""
        seen = torch.cat([features, y_hat], 1)
        return self.nets[step.index].fixed_on_checkerboard(seen, step.anchors).chunk(2, 1)
