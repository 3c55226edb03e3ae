"""SPRDiff from a photograph to bytes and back, as numbered steps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import Dinov2Model, Dinov2WithRegistersModel

from sprdiff import bitstream
from sprdiff.budget import check_bpp
from sprdiff.config import DecodingSettings
from sprdiff.diffusion.denoiser import check_prediction, denoise
from sprdiff.encoders.distortion import DistortionEncoder
from sprdiff.encoders.fusion import FeatureFusion
from sprdiff.encoders.semantic import semantic_features, semantic_tokens
from sprdiff.encoders.vae import (
    KLTAutoencoder,
    decode_latents,
    encode_latents,
    latent_stride,
    vae_features,
)
from sprdiff.encoders.zoo import ZooEncoder
from sprdiff.errors import BitstreamError, InputImageError, SettingsError, WeightsError
from sprdiff.fingerprint import checkpoint_digest, weights_digest
from sprdiff.images import crop_to, load_image, pad_to_multiple, to_image, to_tensor
from sprdiff.latent_codec.codec import LatentCodec, LatentSymbols
from sprdiff.layers.quality import MAX_QUALITY
from sprdiff.layers.tiling import run_tiled
from sprdiff.metrics.rate import max_bytes as budget_bytes
from sprdiff.parts import PART_CLASSES, load_part
from sprdiff.reconstruction.coarse import CoarseReconstruction
from sprdiff.reconstruction.conditions import DualFeatureExtractor
from sprdiff.reconstruction.detail import keep_colours
from sprdiff.types import CoarseImage, DecodedImage, EncodedImage, OnStep, RateBreakdown, StreamInfo
from sprdiff.weights import resolve

# Of the time of a decode, as measured on a CPU.
COARSE_SHARE = 0.25
# Of a budget, and the highest price of a bit at which less is given up than a step of quality brings.
LEAST_USE = 0.97
MAX_EXTRA_PRICE = 0.008


class SPRDiffPipeline(DiffusionPipeline):
    """The codec of arXiv:2606.01608, in process::

        encode: x -> f_vae, f_dist, f_sem -> fusion, g_a -> y -> gain, round -> rANS -> bytes
        decode: bytes -> y_hat -> x_coarse -> semantic tokens, pixel features, latents_hat
                latents_hat and noise, both conditions -> denoiser, one step -> VAE decoder -> x_hat

    Checkpoints differ in the sizes of the parts, and in the classes of those that can be published networks
    (:data:`sprdiff.parts.PART_CLASSES`); each is a folder in diffusers' layout.

    Attributes:
        max_pixels: pictures and streams of more pixels are refused, before anything is allocated for them.
    Args:
        vae, distortion_encoder, semantic_encoder: the triple encoder; the VAE and the semantic encoder also
            serve the decoder.
        fusion: g_a. latent_codec: entropy coding. coarse: g_s. conditions: dual feature extraction.
        unet, scheduler: the diffusion model.
        bit_price: squared error, in quantizer steps, worth one bit when symbols are chosen; 0 rounds to the
            nearest, which serves the embedded checkpoint best (docs/experiments.md).
        decoding: as :class:`sprdiff.config.DecodingSettings`; what is not named is its default.
        former_fingerprints: what streams of this checkpoint carried before, each with the fingerprint with
            which it means the same. An entry for another fingerprint than this one's is of no effect, so a
            changed configuration does not read old streams wrongly.
    """

    def __init__(
        self,
        vae: KLTAutoencoder | AutoencoderKL,
        distortion_encoder: DistortionEncoder | ZooEncoder,
        semantic_encoder: Dinov2Model | Dinov2WithRegistersModel,
        fusion: FeatureFusion,
        latent_codec: LatentCodec,
        coarse: CoarseReconstruction,
        conditions: DualFeatureExtractor,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
        bit_price: float = 0.0,
        decoding: Mapping[str, Any] | None = None,
        former_fingerprints: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        check_prediction(scheduler)
        latent_codec.check_sums()
        self.decoding_settings = DecodingSettings(**(decoding or {}))
        latest = max(self.decoding_settings.start_timesteps)
        if latest >= scheduler.config.num_train_timesteps:
            raise WeightsError(
                f"The latest start timestep is {latest}, and the scheduler has "
                f"{scheduler.config.num_train_timesteps}."
            )
        self.register_modules(
            vae=vae,
            distortion_encoder=distortion_encoder,
            semantic_encoder=semantic_encoder,
            fusion=fusion,
            latent_codec=latent_codec,
            coarse=coarse,
            conditions=conditions,
            unet=unet,
            scheduler=scheduler,
        )
        self.register_to_config(
            bit_price=bit_price,
            decoding=asdict(self.decoding_settings),
            former_fingerprints=dict(former_fingerprints or {}),
        )
        for part in self._modules_by_name().values():
            # Channels last: convolutions on a CPU are a tenth faster so.
            part.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.max_pixels = bitstream.MAX_PIXELS
        self._fingerprint: bytes | None = None

    @classmethod
    def from_pretrained(cls, folder_or_id: str | Path, revision: str | None = None) -> SPRDiffPipeline:
        """The pipeline of a checkpoint, float32, on the CPU.

        Args:
            folder_or_id: a local folder, or ``owner/name[@revision]`` on the Hugging Face Hub (downloaded and
                cached).
            revision: branch, tag or commit on the Hub, where ``folder_or_id`` names none.
        Raises:
            WeightsError: not found, not complete, pickled, or made of classes that are not this project's.
        """
        folder = resolve(folder_or_id, revision)
        index = json.loads((folder / "model_index.json").read_text())
        for name, kinds in PART_CLASSES.items():
            found, known = index.get(name, [None, None])[1], [kind.__name__ for kind in kinds]
            if found not in known:
                raise WeightsError(f"{folder_or_id}: part {name} is a {found}, not a {' or '.join(known)}.")
        try:
            parts = {name: load_part(name, folder) for name in PART_CLASSES}
            pipeline = cls(
                **parts,
                bit_price=float(index.get("bit_price", 0.0)),
                decoding=index.get("decoding"),
                former_fingerprints=index.get("former_fingerprints"),
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            raise WeightsError(f"{folder_or_id} cannot be loaded: {error}") from error
        if "former_fingerprints" not in index:
            # Saved before configurations counted: its streams carry the digest of the weights alone.
            former = weights_digest(pipeline.components).hex()
            pipeline.register_to_config(former_fingerprints={former: pipeline.fingerprint})
        return pipeline

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides symbols and pictures, hexadecimal; see :mod:`sprdiff.fingerprint`."""
        return self._digest().hex()

    @property
    def readable_fingerprints(self) -> tuple[str, ...]:
        """Of the streams that this checkpoint reads: its own, then those that it had before."""
        own = self.fingerprint
        return (own, *(old for old, new in self.config.former_fingerprints.items() if new == own))

    # -- encoding -----------------------------------------------------------------------------------

    def compress(
        self, image: Image.Image, *, target_bpp: float | None = None, quality: int | None = None
    ) -> bytes:
        """The ``.spr`` stream of a picture; see :meth:`encode`."""
        return self.encode(image, target_bpp=target_bpp, quality=quality).data

    @torch.no_grad()
    def encode(
        self,
        image: Image.Image,
        *,
        target_bpp: float | None = None,
        quality: int | None = None,
        max_bytes: int | None = None,
        analysis: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> EncodedImage:
        """A picture's stream at a quality, or the best one within a budget on the whole file.

        Args:
            image: of any mode, see :func:`sprdiff.images.load_image`.
            target_bpp: budget in bits per pixel of the original. If it cannot be reached, the smallest
                stream is returned, marked ``over_budget``.
            quality: 0 (smallest) to 255 (best), instead of a budget.
            max_bytes: budget in bytes, instead of ``target_bpp``.
            analysis: what :meth:`analyze` returned for this picture, to spare doing it again.
            on_step: called before each tile with the share that is done; what it raises ends the work early.
        Raises:
            SettingsError: not exactly one of the three is given, or it is out of range.
            InputImageError: the picture is outside the limits.
        """
        # 1. Settings
        if sum(value is not None for value in (target_bpp, quality, max_bytes)) != 1:
            raise SettingsError("Give exactly one of target_bpp, quality and max_bytes.")
        if quality is not None and not 0 <= quality <= MAX_QUALITY:
            raise SettingsError(f"Quality must be 0 to {MAX_QUALITY}, got {quality}.")
        image = load_image(image)
        num_pixels = image.width * image.height
        if num_pixels > self.max_pixels:
            raise InputImageError(
                f"The image is {image.width} x {image.height} = {num_pixels:,} pixels; at most "
                f"{self.max_pixels:,} are coded here."
            )
        if target_bpp is not None:
            max_bytes = budget_bytes(check_bpp(target_bpp), image.width, image.height)

        # 2. Analysis, once for all qualities
        y = self.analyze(image, on_step=on_step) if analysis is None else analysis  # (1, M, H/16, W/16)

        # 3. Quantization and entropy coding, for a budget by bisection over quality
        def code(at: int, extra_price: float = 0.0) -> bytes:
            symbols = self.latent_codec.quantize(y, at, self.config.bit_price + extra_price)
            payload = self.latent_codec.compress(symbols)
            return bitstream.pack(at, image.width, image.height, payload, self._digest())

        if quality is not None:
            data = code(quality)
        else:
            quality, data = fill_budget(code, *best_within(code, max_bytes), max_bytes)
        return EncodedImage(
            method="sprdiff",
            data=data,
            extension=".spr",
            width=image.width,
            height=image.height,
            settings={"quality": quality},
            max_bytes=max_bytes,
            over_budget=max_bytes is not None and len(data) > max_bytes,
        )

    @torch.no_grad()
    def analyze(self, image: Image.Image, *, on_step: OnStep | None = None) -> Tensor:
        """y (1, M, H/16, W/16) of an RGB picture, its sides padded to multiples of 64."""
        x = pad_to_multiple(to_tensor(image), self.decoding_settings.padding).to(self.device) * 2 - 1
        (y,) = self._run_tiled(self._analyze_tile, [(x, 1)], [DistortionEncoder.stride], on_step=on_step)
        return y

    def _analyze_tile(self, x: Tensor) -> tuple[Tensor]:
        f_vae = vae_features(self.vae, encode_latents(self.vae, x))  # (1, C, H/16, W/16)
        f_dist = self.distortion_encoder(x)  # (1, M, H/16, W/16)
        f_sem = semantic_features(self.semantic_encoder, x)  # (1, D, H/16, W/16)
        return (self.fusion(f_vae, f_dist, f_sem),)

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
            lambda tile: (self.coarse(tile, quality),),
            [(y_hat, CoarseReconstruction.stride)],
            [1],
            on_step=_within(on_step, 0.5, 1.0),
        )  # (1, 3, H, W)
        x_coarse = x_coarse.clamp(-1, 1)
        image = to_image(crop_to(x_coarse, (header.height, header.width)) / 2 + 0.5)
        return CoarseImage(image, x_coarse, self._info(data, header, symbols))

    @torch.no_grad()
    def refine(self, coarse: CoarseImage, *, on_step: OnStep | None = None) -> Image.Image:
        """The final picture, RGB: what the diffusion model makes of a coarse one.

        Args:
            coarse: of :meth:`decode_coarse`.
            on_step: called before each tile with the share that is done; what it raises ends the work early.
        """
        # 3. Conditions, diffusion and VAE decoder
        x_coarse, info = coarse.x, coarse.info
        quality = torch.tensor([info.quality], device=self.device)
        stride = latent_stride(self.vae)
        channels = self.unet.config.out_channels
        shape = (1, channels, x_coarse.shape[-2] // stride, x_coarse.shape[-1] // stride)
        generator = torch.Generator().manual_seed(self.decoding_settings.noise_seed)
        noise = torch.randn(shape, generator=generator).to(self.device)
        (x_hat,) = self._run_tiled(
            lambda *tile: (self._refine_tile(*tile, quality),),
            [(x_coarse, 1), (noise, stride)],
            [1],
            on_step=on_step,
        )  # (1, 3, H, W)
        return to_image(crop_to(x_hat, (info.height, info.width)).clamp(-1, 1) / 2 + 0.5)

    def _refine_tile(self, x_coarse: Tensor, noise: Tensor, quality: Tensor) -> Tensor:
        tokens = semantic_tokens(self.semantic_encoder, x_coarse)  # (1, 1 + H/16 * W/16, D)
        conditions = self.conditions(x_coarse, tokens)
        latents_hat = encode_latents(self.vae, x_coarse)  # (1, C, H/stride, W/stride)
        settings = self.decoding_settings
        latents = denoise(
            self.unet, self.scheduler, latents_hat, noise, quality, conditions, settings.start_timesteps
        )
        return keep_colours(x_coarse, decode_latents(self.vae, latents), settings.colour_cell)

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
        header, symbols = self._read(data)
        height, width = symbols.y_hat.shape[-2:]
        bits = self.latent_codec.bit_map(symbols, header.quality, height, width)
        return bits[: -(-header.height // 16), : -(-header.width // 16)].cpu().numpy()

    def _read(self, data: bytes, on_step: OnStep | None = None) -> tuple[bitstream.Header, LatentSymbols]:
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

    def _info(self, data: bytes, header: bitstream.Header, symbols: LatentSymbols) -> StreamInfo:
        header_bytes = bitstream.overhead_bytes(header.width, header.height)
        z_bytes = math.ceil(symbols.bits_z / 8)
        return replace(
            bitstream.read_header(data),
            rate=RateBreakdown(header_bytes, z_bytes, len(data) - header_bytes - z_bytes),
        )

    def _modules_by_name(self) -> dict[str, nn.Module]:
        return {name: part for name, part in self.components.items() if isinstance(part, nn.Module)}

    def _digest(self) -> bytes:
        if self._fingerprint is None:
            parts = self.components
            self._fingerprint = checkpoint_digest(weights_digest(parts), parts, self.decoding_settings)
        return self._fingerprint


def _within(on_step: OnStep | None, start: float, stop: float) -> OnStep | None:
    """``on_step`` for a part of the work, from one share of it to another."""
    return on_step and (lambda share: on_step(start + share * (stop - start)))


def best_within(code: Callable[[int], bytes], max_bytes: int) -> tuple[int, bytes]:
    """The highest quality whose stream fits ``max_bytes``, and the stream; quality 0 if none does.

    Bisection on real streams, sped up by a guess: over quality the logarithm of the size is almost a
    straight line, so the first steps go where that line crosses the budget.
    """
    tried: dict[int, bytes] = {}

    def size(at: int) -> int:
        if at not in tried:
            tried[at] = code(at)
        return len(tried[at])

    low, high = -1, MAX_QUALITY + 1  # low fits, high does not
    slope, guess = math.log(60) / MAX_QUALITY, MAX_QUALITY // 2
    while high - low > 1:
        guess = min(max(guess, low + 1), high - 1)
        distance = math.log(max_bytes) - math.log(size(guess)) if max_bytes > 0 else -1.0
        if size(guess) <= max_bytes:
            low = guess
        else:
            high = guess
        if len(tried) > 6:
            guess = (low + high) // 2
        else:
            guess += math.floor(distance / slope) if distance >= 0 else math.ceil(distance / slope) - 1
            if guess in tried:
                guess = low + 1 if guess <= low else high - 1
    best = max(low, 0)
    size(best)
    return best, tried[best]


def fill_budget(
    code: Callable[[int, float], bytes], quality: int, data: bytes, max_bytes: int
) -> tuple[int, bytes]:
    """What :func:`best_within` found, or the next quality with so many symbols given up that it fits.

    At a few hundred bytes one step of quality can be worth 4 % of them. Tried only where more than
    1 - ``LEAST_USE`` is left: a symbol that is given up costs more than it saves (docs/experiments.md).

    Args:
        code: (quality, bit price) to a stream; see :meth:`LatentCodec.quantize`.
        quality, data: the best that fits at no price.
    """
    if quality == MAX_QUALITY or not len(data) < LEAST_USE * max_bytes:
        return quality, data
    low, high = 0.0, MAX_EXTRA_PRICE
    best = (quality, data)
    for _ in range(6):
        price = (low + high) / 2
        candidate = code(quality + 1, price)
        if len(candidate) > max_bytes:
            low = price
        else:
            high = price
            best = max(best, (quality + 1, candidate), key=lambda found: len(found[1]))
    return best
