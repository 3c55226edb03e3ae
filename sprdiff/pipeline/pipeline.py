"""SPRDiff from a photograph to bytes and back, as numbered steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sprdiff import bitstream
from sprdiff.diffusion.denoiser import denoise
from sprdiff.encoders.distortion import DistortionEncoder
from sprdiff.encoders.semantic import semantic_features, semantic_tokens
from sprdiff.encoders.vae import decode_latents, encode_latents, latent_stride, vae_features
from sprdiff.errors import BitstreamError, SettingsError
from sprdiff.images import crop_to, is_grayscale, pad_to_multiple, to_image, to_tensor
from sprdiff.latent_codec.codec import LatentSymbols
from sprdiff.layers.tiling import run_tiled
from sprdiff.pipeline.checkpoint import CheckpointPipeline
from sprdiff.pipeline.output import SPRDiffOutput
from sprdiff.pipeline.pictures import (
    OutputType,
    Picture,
    as_output,
    as_picture,
    as_pictures,
    check_output_type,
)
from sprdiff.pipeline.rate_control import best_within, bytes_allowed, check_budget
from sprdiff.reconstruction.coarse import CoarseReconstruction
from sprdiff.reconstruction.detail import keep_colours, without_colour
from sprdiff.types import CoarseImage, DecodedImage, EncodedImage, OnStep, RateBreakdown, StreamInfo

# Of the time of a decode, as measured on a CPU.
COARSE_SHARE = 0.25


class SPRDiffPipeline(CheckpointPipeline):
    """The codec of arXiv:2606.01608, in process::

        encode: x -> f_vae, f_dist, f_sem -> fusion, g_a -> y -> gain, round -> rANS -> bytes
        decode: bytes -> y_hat -> x_coarse -> semantic tokens, pixel features, latents_hat
                latents_hat and noise, both conditions -> denoiser, one step -> VAE decoder -> x_hat

    Arguments, ``from_pretrained``, ``to`` and ``fingerprint`` are those of :class:`CheckpointPipeline`.
    """

    # -- both ways ------------------------------------------------------------------------------------

    def __call__(
        self,
        image: Picture | Sequence[Picture],
        target_bpp: float | None = None,
        *,
        quality: int | None = None,
        max_bytes: int | None = None,
        output_type: OutputType = "pil",
        return_dict: bool = True,
    ) -> SPRDiffOutput | tuple:
        """Streams and what they decode to: :meth:`encode`, :meth:`decode_coarse`, :meth:`refine`.

        Args:
            image: one picture or several, see :func:`.pictures.as_pictures`; of several, each is coded
                by itself, and every attribute of the result is a list.
            target_bpp, quality, max_bytes: exactly one, see :meth:`encode`; for each picture.
            output_type: ``pil`` images, ``np`` arrays (H, W, 3) or ``pt`` tensors (3, H, W) on the CPU, the
                latter two float32 in [0, 1].
            return_dict: False for a plain tuple.
        Raises:
            SettingsError: an argument is none of those; names it, its value and what is allowed.
            InputImageError: a picture is outside the limits. Both come before any picture is coded.
        """
        # 1. Settings
        check_output_type(output_type)
        check_budget(target_bpp, quality, max_bytes)
        images, several = as_pictures(image, max_pixels=self.max_pixels)

        # 2. Each picture there and back
        made = []
        for each in images:
            encoded = self.encode(each, target_bpp=target_bpp, quality=quality, max_bytes=max_bytes)
            coarse = self.decode_coarse(encoded.data)
            pictures = (as_output(picture, output_type) for picture in (coarse.image, self.refine(coarse)))
            made.append((encoded.data, *pictures, coarse.info, encoded.over_budget))

        # 3. One result, or lists
        values = map(list, zip(*made, strict=True)) if several else made[0]
        output = SPRDiffOutput(*values)
        return output if return_dict else output.to_tuple()

    # -- encoding -----------------------------------------------------------------------------------

    def compress(
        self, image: Picture, *, target_bpp: float | None = None, quality: int | None = None
    ) -> bytes:
        """The ``.spr`` stream of a picture; see :meth:`encode`."""
        return self.encode(image, target_bpp=target_bpp, quality=quality).data

    @torch.no_grad()
    def encode(
        self,
        image: Picture,
        *,
        target_bpp: float | None = None,
        quality: int | None = None,
        max_bytes: int | None = None,
        analysis: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> EncodedImage:
        """A picture's stream at a quality, or the best one within a budget on the whole file.

        Args:
            image: a PIL image of any mode, an array or a tensor, see :func:`.pictures.as_pictures`.
            target_bpp: budget in bits per pixel of the original. If it cannot be reached, the smallest
                stream is returned, marked ``over_budget``.
            quality: 0 (smallest) to 255 (best), instead of a budget.
            max_bytes: budget in bytes, instead of ``target_bpp``.
            analysis: what :meth:`analyze` returned for this picture, which is then not computed again.
            on_step: called before each tile with the share that is done; what it raises ends the work early.
        Raises:
            SettingsError: not exactly one of the three is given, or it is out of range.
            InputImageError: the picture is outside the limits.
        """
        # 1. Settings
        check_budget(target_bpp, quality, max_bytes)
        image = as_picture(image, max_pixels=self.max_pixels)

        # 2. Analysis, once for all qualities
        y = self.analyze(image, on_step=on_step) if analysis is None else analysis  # (1, M, H/16, W/16)
        size, grayscale = image.size, is_grayscale(image)

        # 3. Quantization and entropy coding, for a budget by bisection over quality
        def code(at: int, extra_price: float) -> bytes:
            symbols = self.latent_codec.quantize(y, at, self.config.bit_price + extra_price)
            payload = self.latent_codec.compress(symbols)
            return bitstream.pack(at, *size, payload, self._digest(), grayscale=grayscale)

        allowed = None
        if quality is not None:
            data = code(quality, 0.0)
        else:
            allowed = bytes_allowed(target_bpp, max_bytes, image.width, image.height)
            quality, data = best_within(code, allowed)
        return EncodedImage(
            method="sprdiff",
            data=data,
            extension=".spr",
            width=image.width,
            height=image.height,
            settings={"quality": quality},
            max_bytes=allowed,
            over_budget=allowed is not None and len(data) > allowed,
        )

    @torch.no_grad()
    def analyze(self, image: Image.Image, *, on_step: OnStep | None = None) -> Tensor:
        """y (1, M, H/16, W/16) of an RGB picture, its sides padded to multiples of 64."""
        x = pad_to_multiple(to_tensor(image), self.decoding_settings.padding).to(self.device) * 2 - 1
        (y,) = self._run_tiled(self._analyze_tile, [(x, 1)], [DistortionEncoder.stride], on_step=on_step)
        return y

    def _analyze_tile(self, x: Tensor) -> tuple[Tensor]:
        # Parts may be of several precisions; y is float32, as all that lies between parts and entropy coding.
        f_vae = vae_features(self.vae, encode_latents(self.vae, x.to(self.vae.dtype)))  # (1, C, H/16, W/16)
        f_dist = self.distortion_encoder(x.to(self.distortion_encoder.dtype))  # (1, M, H/16, W/16)
        f_sem = semantic_features(
            self.semantic_encoder, x.to(self.semantic_encoder.dtype)
        )  # (1, D, H/16, W/16)
        features = (feature.to(self.fusion.dtype) for feature in (f_vae, f_dist, f_sem))
        return (self.fusion(*features).float(),)

    # -- decoding -----------------------------------------------------------------------------------

    def decompress(
        self, data: bytes, *, coarse_only: bool = False, on_step: OnStep | None = None
    ) -> DecodedImage:
        """The pictures in a stream: :meth:`decode_coarse`, then :meth:`refine`.

        Args:
            data: of :meth:`compress`, made with the same checkpoint.
            coarse_only: leave out the diffusion model.
            on_step: called before each pass of the entropy decoder and each tile with the share of the work
                that is done, in [0, 1]; what it raises ends the work early.
        Raises:
            BitstreamError: the stream is damaged, of another checkpoint, or larger than ``max_pixels``.
        """
        coarse = self.decode_coarse(data, on_step=_within(on_step, 0.0, 1.0 if coarse_only else COARSE_SHARE))
        final = None if coarse_only else self.refine(coarse, on_step=_within(on_step, COARSE_SHARE, 1.0))
        return DecodedImage(coarse.image, final, coarse.info)

    @torch.no_grad()
    def decode_coarse(self, data: bytes, *, on_step: OnStep | None = None) -> CoarseImage:
        """The coarse picture of a stream, and all that :meth:`refine` needs; see :meth:`decompress`."""
        # 1. Entropy decoding
        header, symbols = self._read(data, _within(on_step, 0.0, 0.5))
        quality = torch.tensor([header.quality], device=self.device)
        y_hat = self.latent_codec.dequantize(symbols, header.quality)  # (1, M, H/16, W/16)

        # 2. Coarse reconstruction
        (x_coarse,) = self._run_tiled(
            lambda tile: (self.coarse(tile.to(self.coarse.dtype), quality).float(),),
            [(y_hat, CoarseReconstruction.stride)],
            [1],
            on_step=_within(on_step, 0.5, 1.0),
        )  # (1, 3, H, W)
        x_coarse = x_coarse.clamp(-1, 1)
        if header.grayscale:
            x_coarse = without_colour(x_coarse)
        image = to_image(crop_to(x_coarse, (header.height, header.width)) / 2 + 0.5)
        return CoarseImage(image, x_coarse, self._info(data, header, symbols))

    @torch.no_grad()
    def refine(self, coarse: CoarseImage, *, on_step: OnStep | None = None) -> Image.Image:
        """The final picture, RGB: what the diffusion model makes of a coarse one.

        Args:
            coarse: of :meth:`decode_coarse`.
            on_step: called before each tile with the share that is done; what it raises ends the work early.
        Raises:
            BitstreamError: ``coarse`` is of another checkpoint.
        """
        if not isinstance(coarse, CoarseImage):
            raise SettingsError(f"coarse must be what decode_coarse returns, got {type(coarse).__name__}.")
        if not any(each.startswith(coarse.info.fingerprint) for each in self.readable_fingerprints):
            raise BitstreamError(f"This picture is of another checkpoint, {coarse.info.fingerprint}.")
        # 3. Conditions, diffusion and VAE decoder
        x_coarse, info = coarse.x, coarse.info
        quality = torch.tensor([info.quality], device=self.device)
        stride = latent_stride(self.vae)
        channels = self.unet.config.out_channels
        shape = (1, channels, x_coarse.shape[-2] // stride, x_coarse.shape[-1] // stride)
        generator = torch.Generator().manual_seed(self.decoding_settings.noise_seed)
        noise = torch.randn(shape, generator=generator).to(self.device)
        (x_hat,) = self._run_tiled(
            lambda x, drawn: (self._refine_tile(x, drawn, quality),),
            [(x_coarse, 1), (noise, stride)],
            [1],
            on_step=on_step,
        )  # (1, 3, H, W)
        if info.grayscale:
            x_hat = without_colour(x_hat)
        return to_image(crop_to(x_hat, (info.height, info.width)).clamp(-1, 1) / 2 + 0.5)

    def _refine_tile(self, x_coarse: Tensor, noise: Tensor, quality: Tensor) -> Tensor:
        tokens = semantic_tokens(self.semantic_encoder, x_coarse.to(self.semantic_encoder.dtype))
        # (1, 1 + H/16 * W/16, D)
        precision = self.conditions.dtype
        conditions = self.conditions(x_coarse.to(precision), tokens.to(precision)).to(self.unet.dtype)
        latents_hat = encode_latents(self.vae, x_coarse.to(self.vae.dtype)).float()
        # (1, C, H/stride, W/stride)
        settings = self.decoding_settings
        latents = denoise(
            self.unet, self.scheduler, latents_hat, noise, quality, conditions, settings.start_timesteps
        )
        x_hat = decode_latents(self.vae, latents.to(self.vae.dtype)).float()
        return keep_colours(x_coarse, x_hat, settings.colour_cell)

    def _run_tiled(self, *arguments: Any, on_step: OnStep | None) -> tuple[Tensor, ...]:
        settings = self.decoding_settings
        return run_tiled(*arguments, tile=settings.tile, overlap=settings.overlap, on_step=on_step)

    # -- looking into a stream ------------------------------------------------------------------------

    @torch.no_grad()
    def inspect(self, data: bytes) -> StreamInfo:
        """Header and byte split of a stream.

        Raises:
            BitstreamError: the stream is damaged, or of another checkpoint.
        """
        return self._info(data, *self._read(data))

    @torch.no_grad()
    def symbols_hash(self, data: bytes) -> str:
        """SHA-256 of the decoded integer symbols: equal on two machines that decode alike."""
        return self._read(data)[1].sha256()

    @torch.no_grad()
    def bit_map(self, data: bytes) -> np.ndarray:
        """Where a stream's bits went: (H, W) float64, bits for each block of 16 x 16 pixels.

        From the integer tables that coded them; header and the coder's last bytes belong to no block.
        Blocks at the right and bottom may lie partly outside the picture.
        """
        return self._bit_map(*self._read(data))

    @torch.no_grad()
    def look_into(self, data: bytes) -> tuple[StreamInfo, np.ndarray]:
        """What ``inspect`` and ``bit_map`` give, of a stream that is read once."""
        header, symbols = self._read(data)
        return self._info(data, header, symbols), self._bit_map(header, symbols)

    def _read(self, data: bytes, on_step: OnStep | None = None) -> tuple[bitstream.Header, LatentSymbols]:
        if not isinstance(data, bytes):
            raise SettingsError(f"data must be bytes, got {type(data).__name__}.")
        header, payload = bitstream.unpack(data, *map(bytes.fromhex, self.readable_fingerprints))
        num_pixels = header.width * header.height
        if num_pixels > self.max_pixels:
            raise BitstreamError(
                f"This stream is of a picture of {header.width} x {header.height} = {num_pixels:,} pixels; "
                f"at most {self.max_pixels:,} are decoded here."
            )
        padding = self.decoding_settings.padding
        height, width = (-(-side // padding) * padding // 16 for side in (header.height, header.width))
        return header, self.latent_codec.decompress(payload, header.quality, height, width, on_step)

    def _bit_map(self, header: bitstream.Header, symbols: LatentSymbols) -> np.ndarray:
        height, width = symbols.y_hat.shape[-2:]
        bits = self.latent_codec.bit_map(symbols, header.quality, height, width)
        return bits[: -(-header.height // 16), : -(-header.width // 16)].cpu().numpy()

    def _info(self, data: bytes, header: bitstream.Header, symbols: LatentSymbols) -> StreamInfo:
        header_bytes = bitstream.overhead_bytes(header.width, header.height)
        z_bytes = math.ceil(symbols.bits_z / 8)
        return replace(
            bitstream.read_header(data),
            rate=RateBreakdown(header_bytes, z_bytes, len(data) - header_bytes - z_bytes),
        )


def _within(on_step: OnStep | None, start: float, stop: float) -> OnStep | None:
    """``on_step`` for a part of the work, from one share of it to another."""
    return on_step and (lambda share: on_step(start + share * (stop - start)))
