"""The coarse reconstruction and the decoded VAE latents, both from y_hat alone."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from sprdiff.layers.blocks import Upsample, conv3x3, residual_stack, zero_init
from sprdiff.layers.klt import from_blocks, to_blocks
from sprdiff.layers.quality import QualityAnchors


class CoarseReconstruction(ModelMixin, ConfigMixin):
    """g_s: x_coarse and latents_hat from y_hat::

        y_hat -> trunk at stride 16 -+-> inverse KLT -----------------(+)--> x_coarse
                                     +-> up to stride 8 and 4, 48 ch. -^
                                     +-> up to stride 8 ---------------> latents_hat

    At stride 4 the correction is folded into 4 x 4 pixel blocks: the mean squared error leaves no grid,
    and the full resolution is never convolved.

    Args:
        latent_channels: M, of y_hat.
        vae_channels: of latents_hat.
        hidden_channels, depth: width and residual blocks of the trunk.
        up_channels, up_depths: the same at stride 8 and 4.
        num_anchors: qualities at which the trunk's bias is learned.
    """

    stride = 16

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 128,
        vae_channels: int = 16,
        hidden_channels: int = 192,
        depth: int = 6,
        up_channels: tuple[int, int] = (96, 64),
        up_depths: tuple[int, int] = (1, 2),
        num_anchors: int = 8,
    ) -> None:
        super().__init__()
        self.stem = conv3x3(latent_channels, hidden_channels)
        self.quality_bias = QualityAnchors(torch.zeros(num_anchors, hidden_channels))
        self.trunk = residual_stack(hidden_channels, depth)
        self.to_y = zero_init(conv3x3(hidden_channels, latent_channels))
        self.inverse_klt = nn.Conv2d(latent_channels, 3 * self.stride**2, 1, bias=False)
        c8, c4 = up_channels
        self.to_pixels = nn.Sequential(
            Upsample(hidden_channels, c8),
            residual_stack(c8, up_depths[0]),
            Upsample(c8, c4),
            residual_stack(c4, up_depths[1]),
            nn.SiLU(),
            zero_init(conv3x3(c4, 3 * 4**2)),
        )
        self.to_latents = nn.Sequential(nn.SiLU(), zero_init(conv3x3(hidden_channels, 4 * vae_channels)))
        self.y_to_latents = nn.Conv2d(latent_channels, 4 * vae_channels, 1, bias=False)

    @torch.no_grad()
    def init_from_klt(self, basis: Tensor, rms: Tensor, vae_klt: Tensor) -> None:
        """Set the linear paths.

        Args:
            basis: (M, 768) orthonormal KLT of 16 x 16 blocks, in pixel-unshuffle order.
            rms: (M,) deviation of its coefficients.
            vae_klt: (vae_channels, 192) the VAE's linear analysis of 8 x 8 blocks.
        """
        self.inverse_klt.weight.copy_(basis.T[:, :, None, None])
        # The first layer sees coefficients of about equal size.
        self.stem.weight.div_(rms[:, None, None].clamp_min(rms[0] / 50) / rms.mean())
        pictures = from_blocks(basis[:, :, None, None], self.stride)  # (M, 3, 16, 16)
        latents = torch.einsum("cd,mdhw->mchw", vae_klt, to_blocks(pictures, 8))  # (M, C, 2, 2)
        self.y_to_latents.weight.copy_(latents.flatten(1).T[:, :, None, None])

    def forward(self, y_hat: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """x_coarse and latents_hat.

        Args:
            y_hat: (B, M, H/16, W/16).
            quality: (B,) in [0, 255].
        Returns:
            x_coarse (B, 3, H, W), about [-1, 1] and not clamped; latents_hat (B, vae_channels, H/8, W/8).
        """
        features = self.trunk(self.stem(y_hat) + self.quality_bias(quality))
        y_refined = y_hat + self.to_y(features)
        x_coarse = from_blocks(self.inverse_klt(y_refined), self.stride) + from_blocks(
            self.to_pixels(features), 4
        )
        latents = self.y_to_latents(y_refined) + self.to_latents(features)
        return x_coarse, from_blocks(latents, 2)

    def linear(self, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """``forward``'s results by the linear paths alone: what is left without this module's networks."""
        return from_blocks(self.inverse_klt(y_hat), self.stride), from_blocks(self.y_to_latents(y_hat), 2)
