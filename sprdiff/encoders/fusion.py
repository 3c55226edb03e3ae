"""Fusion of the three encoders' features and the analysis transform g_a: f_vae, f_dist, f_sem to y."""

from __future__ import annotations

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from sprdiff.layers.blocks import conv3x3, residual_stack, zero_init


class FeatureFusion(ModelMixin, ConfigMixin):
    """y from the features of all three encoders, at stride 16::

        f_vae --1x1--+
        f_dist -1x1--+--> g_a: residual blocks --(+)--> y
        f_sem --1x1--+                            |
        f_dist -------------- 1x1 ----------------+

    The shortcut starts as the identity and g_a at zero, so SPRDiff's codec begins where the distortion
    codec ended and learns what the two other encoders can add.

    Args:
        vae_channels, distortion_channels, semantic_channels: of the features.
        latent_channels: M, of y.
        hidden_channels, depth: width and residual blocks of g_a.
    """

    @register_to_config
    def __init__(
        self,
        vae_channels: int = 64,
        distortion_channels: int = 128,
        semantic_channels: int = 192,
        latent_channels: int = 128,
        hidden_channels: int = 192,
        depth: int = 3,
    ) -> None:
        super().__init__()
        self.from_vae = nn.Conv2d(vae_channels, hidden_channels, 1)
        self.from_distortion = nn.Conv2d(distortion_channels, hidden_channels, 1)
        self.from_semantic = nn.Conv2d(semantic_channels, hidden_channels, 1)
        self.shortcut = nn.Conv2d(distortion_channels, latent_channels, 1, bias=False)
        nn.init.dirac_(self.shortcut.weight)
        self.g_a = nn.Sequential(
            residual_stack(hidden_channels, depth),
            nn.SiLU(),
            zero_init(conv3x3(hidden_channels, latent_channels)),
        )

    def forward(self, f_vae: Tensor, f_dist: Tensor, f_sem: Tensor) -> Tensor:
        """y (B, M, H/16, W/16) from features of shape (B, C, H/16, W/16) each."""
        fused = self.from_vae(f_vae) + self.from_distortion(f_dist) + self.from_semantic(f_sem)
        return self.shortcut(f_dist) + self.g_a(fused)
