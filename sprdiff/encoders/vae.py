"""The autoencoder in whose latent space the diffusion model works, and f_vae, its encoder's features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from sprdiff.layers.blocks import NoiseInjection, Upsample, conv3x3, residual_stack, zero_init
from sprdiff.layers.klt import to_blocks


class KLTAutoencoder(ModelMixin, ConfigMixin):
    """A small deterministic autoencoder at stride 8 that starts from the KLT of 8 x 8 blocks.

    The linear path is the whitened KLT and its inverse with overlapping blocks, so an untrained model already
    reconstructs; residual networks around it are trained. :func:`encode_latents` and
    :func:`decode_latents` take diffusers' ``AutoencoderKL`` (arXiv:2112.10752) in its place::

        x --unshuffle 8--+--- KLT ---(+)--> latents --+--- inverse KLT ---(+)--> x_hat
                         +-- network --^              +-- up, up, up ------^
                                              noise ------^---^---^

    Args:
        latent_channels: number of latents at stride 8.
        encoder_channels, encoder_depth: width and residual blocks of the encoder's network.
        decoder_channels: widths at stride 8, 4, 2 and 1.
        decoder_depths: residual blocks at stride 8, 4 and 2.
    """

    stride = 8

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        encoder_channels: int = 128,
        encoder_depth: int = 2,
        decoder_channels: tuple[int, int, int, int] = (160, 80, 40, 16),
        decoder_depths: tuple[int, int, int] = (3, 2, 1),
    ) -> None:
        super().__init__()
        block = 3 * self.stride**2
        self.klt = nn.Conv2d(block, latent_channels, 1, bias=False)
        self.encoder = nn.Sequential(
            conv3x3(block, encoder_channels),
            residual_stack(encoder_channels, encoder_depth),
            nn.SiLU(),
            zero_init(conv3x3(encoder_channels, latent_channels)),
        )
        # Blocks of twice the size that overlap: cut off are half a block, and the ring that decode() adds.
        self.inverse_klt = nn.ConvTranspose2d(
            latent_channels,
            3,
            kernel_size=2 * self.stride,
            stride=self.stride,
            padding=self.stride + self.stride // 2,
            bias=False,
        )
        c8, c4, c2, c1 = decoder_channels
        self.decoder = nn.Sequential(
            conv3x3(latent_channels, c8),
            residual_stack(c8, decoder_depths[0]),
            Upsample(c8, c4, "bilinear"),
            residual_stack(c4, decoder_depths[1]),
            Upsample(c4, c2, "bilinear"),
            residual_stack(c2, decoder_depths[2]),
            Upsample(c2, c1, "bilinear"),
            nn.SiLU(),
            zero_init(conv3x3(c1, 3)),
        )
        # One after each upsampling.
        self.noise = nn.ModuleList(NoiseInjection(c, s) for c, s in ((c4, 4), (c2, 2), (c1, 1)))

    @torch.no_grad()
    def init_from_klt(self, basis: Tensor, rms: Tensor) -> None:
        """Set the linear path.

        Args:
            basis: (latent_channels, 192) orthonormal, in the order of a pixel-unshuffle by 8.
            rms: (latent_channels,) deviation of each coefficient, for pixels in [-1, 1].
        """
        self.klt.weight.copy_((basis / rms[:, None])[:, :, None, None])
        blocks = (basis * rms[:, None]).unflatten(1, (3, self.stride, self.stride))
        self.inverse_klt.weight.copy_(overlapping(blocks))

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, latent_channels, H/8, W/8), about unit variance, of pixels (B, 3, H, W) in [-1, 1]."""
        blocks = to_blocks(x, self.stride)
        return self.klt(blocks) + self.encoder(blocks)

    def decode(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """Pixels (B, 3, H, W), about [-1, 1] and not clamped, of latents (B, latent_channels, H/8, W/8).

        Args:
            noise: standard normal, (B, 1, H, W), which texture is made of; without it, none is.
        """
        h = latents
        injections = iter(self.noise)
        for layer in self.decoder:
            h = layer(h)
            if noise is not None and isinstance(layer, Upsample):
                h = next(injections)(h, noise)
        return self.inverse_klt(F.pad(latents, (1, 1, 1, 1), mode="replicate")) + h

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def overlapping(blocks: Tensor) -> Tensor:
    """Basis functions (N, C, S, S) continued beyond their block, (N, C, 2 S, 2 S), so that no border shows.

    Mirrored at the borders, as cosines would continue, and windowed by a squared sine: what overlaps sums up
    to one.
    """
    size = blocks.shape[-1]
    half = size // 2
    inside = torch.arange(size)
    mirrored = torch.cat([inside[:half].flip(0), inside, inside[-half:].flip(0)])
    window = torch.sin(torch.pi * (torch.arange(2 * size) + 0.5) / (2 * size)) ** 2
    return blocks[..., mirrored, :][..., mirrored] * window.to(blocks) * window.to(blocks)[:, None]


def encode_latents(vae: nn.Module, x: Tensor) -> Tensor:
    """Scaled latents of pixels (B, 3, H, W) in [-1, 1], for ours and for ``AutoencoderKL``."""
    encoded = vae.encode(x)
    if isinstance(encoded, Tensor):
        return encoded
    # The mode, not a sample: what is coded must not depend on a random number.
    return encoded.latent_dist.mode() * vae.config.scaling_factor


def decode_latents(vae: nn.Module, latents: Tensor, noise: Tensor | None = None) -> Tensor:
    """Pixels (B, 3, H, W), about [-1, 1] and not clamped; the inverse of :func:`encode_latents`.

    ``noise`` is what our decoder makes texture of, see :meth:`KLTAutoencoder.decode`; ``AutoencoderKL`` has
    no use for it.
    """
    if isinstance(vae, KLTAutoencoder):
        return vae.decode(latents, noise)
    return vae.decode(latents / vae.config.scaling_factor).sample


def vae_features(latents: Tensor) -> Tensor:
    """f_vae: latents at stride 8, (B, C, H/8, W/8), folded to stride 16, (B, 4 C, H/16, W/16)."""
    return F.pixel_unshuffle(latents, 2)
