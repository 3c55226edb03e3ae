"""The autoencoder in whose latent space the diffusion model works, and f_vae, its encoder's features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from sprdiff.layers.blocks import conv3x3, residual_stack, zero_init
from sprdiff.layers.klt import from_blocks, to_blocks


class KLTAutoencoder(ModelMixin, ConfigMixin):
    """A small deterministic autoencoder that starts from the KLT of blocks of ``stride`` x ``stride`` pixels.

    A latent space and nothing more: with 24 latents for 4 x 4 pixels a photograph survives the round trip
    almost unchanged, so all detail that is invented comes from the diffusion model. The linear path is the
    KLT and its inverse with overlapping blocks; residual networks around it are trained to make up for the
    overlap. The latents have unit variance on average, not each: whitened, fine detail would take large
    numbers, which a denoiser is slow to learn. :func:`encode_latents` and :func:`decode_latents` take
    diffusers' ``AutoencoderKL`` (arXiv:2112.10752) in its place::

        x --unshuffle--+--- KLT ---(+)--> latents --+--- inverse KLT -----(+)--+---------------(+)--> x_hat
                       +-- network --^              +-- network, shuffle --^   +-- full size ---^

    Args:
        stride: side of a block in pixels, a divisor of 16.
        latent_channels: number of latents of a block.
        encoder_channels, encoder_depth: width and residual blocks of the encoder's network.
        decoder_channels, decoder_depth: the same of the decoder's network on latents.
        pixel_channels: width of its network at full size, which no block border stops.
    """

    @register_to_config
    def __init__(
        self,
        stride: int = 4,
        latent_channels: int = 24,
        encoder_channels: int = 64,
        encoder_depth: int = 2,
        decoder_channels: int = 64,
        decoder_depth: int = 2,
        pixel_channels: int = 16,
    ) -> None:
        super().__init__()
        block = 3 * stride**2
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
            kernel_size=2 * stride,
            stride=stride,
            padding=stride + stride // 2,
            bias=False,
        )
        self.decoder = nn.Sequential(
            conv3x3(latent_channels, decoder_channels),
            residual_stack(decoder_channels, decoder_depth),
            nn.SiLU(),
            zero_init(conv3x3(decoder_channels, block)),
        )
        self.pixels = nn.Sequential(
            conv3x3(3, pixel_channels),
            nn.SiLU(),
            conv3x3(pixel_channels, pixel_channels),
            nn.SiLU(),
            zero_init(conv3x3(pixel_channels, 3)),
        )

    @torch.no_grad()
    def init_from_klt(self, basis: Tensor, rms: Tensor) -> None:
        """Set the linear path.

        Args:
            basis: (latent_channels, 3 * stride**2) orthonormal, in the order of a pixel-unshuffle.
            rms: (latent_channels,) deviation of each coefficient, for pixels in [-1, 1].
        """
        stride = self.config.stride
        scale = rms.pow(2).mean().sqrt()
        self.klt.weight.copy_((basis / scale)[:, :, None, None])
        blocks = (basis * scale).unflatten(1, (3, stride, stride))
        self.inverse_klt.weight.copy_(overlapping(blocks))

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, latent_channels, H/stride, W/stride) of pixels (B, 3, H, W) in [-1, 1]."""
        blocks = to_blocks(x, self.config.stride)
        return self.klt(blocks) + self.encoder(blocks)

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W), about [-1, 1] and not clamped, of latents as :meth:`encode` gives them."""
        linear = self.inverse_klt(F.pad(latents, (1, 1, 1, 1), mode="replicate"))
        x = linear + from_blocks(self.decoder(latents), self.config.stride)
        return x + self.pixels(x)

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


def decode_latents(vae: nn.Module, latents: Tensor) -> Tensor:
    """Pixels (B, 3, H, W), about [-1, 1] and not clamped; the inverse of :func:`encode_latents`."""
    if isinstance(vae, KLTAutoencoder):
        return vae.decode(latents)
    return vae.decode(latents / vae.config.scaling_factor).sample


def latent_stride(vae: nn.Module) -> int:
    """Pixels, along a side, that one latent position stands for."""
    if isinstance(vae, KLTAutoencoder):
        return vae.config.stride
    return 2 ** (len(vae.config.block_out_channels) - 1)


def vae_features(vae: nn.Module, latents: Tensor) -> Tensor:
    """f_vae: the latents folded to stride 16, (B, C * (16 / stride)**2, H/16, W/16)."""
    return F.pixel_unshuffle(latents, 16 // latent_stride(vae))
