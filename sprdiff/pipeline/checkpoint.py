"""The pipeline as a checkpoint: its parts, where they come from, device and precision, fingerprint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import Dinov2Model, Dinov2WithRegistersModel

from sprdiff import bitstream
from sprdiff.checkpoint.fingerprint import checkpoint_digest, weights_digest
from sprdiff.checkpoint.loading import Precision, check_device, check_source, load_arguments, part_precisions
from sprdiff.checkpoint.weights import HubOptions, resolve
from sprdiff.decoding import DecodingSettings
from sprdiff.diffusion.denoiser import check_prediction
from sprdiff.encoders.distortion import DistortionEncoder
from sprdiff.encoders.fusion import FeatureFusion
from sprdiff.encoders.vae import KLTAutoencoder
from sprdiff.encoders.zoo import ZooEncoder
from sprdiff.errors import WeightsError
from sprdiff.latent_codec.codec import LatentCodec
from sprdiff.reconstruction.coarse import CoarseReconstruction
from sprdiff.reconstruction.conditions import DualFeatureExtractor


class CheckpointPipeline(DiffusionPipeline):
    """Parts and settings that belong together, without what is done with them.

    Checkpoints differ in the sizes of the parts, and in the classes of those that can be published networks
    (:data:`sprdiff.checkpoint.parts.PART_CLASSES`); each is a folder in diffusers' layout.

    Attributes:
        max_pixels: pictures and streams of more pixels are refused, before anything is allocated for them.
    Args:
        vae, distortion_encoder, semantic_encoder: the triple encoder; the VAE and the semantic encoder also
            serve the decoder.
        fusion: g_a. latent_codec: entropy coding. coarse: g_s. conditions: dual feature extraction.
        unet, scheduler: the diffusion model.
        bit_price: squared error, in quantizer steps, worth one bit when symbols are chosen; 0 rounds to the
            nearest, which serves the embedded checkpoint best (docs/experiments.md).
        decoding: as :class:`sprdiff.decoding.DecodingSettings`; what is not named is its default.
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
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        revision: str | None = None,
        *,
        dtype: Precision | Mapping[str, Precision] | None = None,
        torch_dtype: Precision | Mapping[str, Precision] | None = None,
        device_map: str | torch.device | None = None,
        cache_dir: str | os.PathLike | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> Self:
        """The pipeline of a checkpoint; the arguments are those of diffusers, as far as they make sense here.

        Args:
            pretrained_model_name_or_path: a local folder, or ``owner/name[@revision]`` on the Hugging Face
                Hub (downloaded and cached).
            revision: branch, tag or commit on the Hub, where the name before has none.
            dtype: precision of all parts, for example ``torch.bfloat16`` or ``"float16"``, or of some by
                name, as ``{"unet": torch.bfloat16}``; float32 by default. The latent codec stays float32, so
                that every pipeline of a checkpoint reads the same symbols; pictures differ a little.
            torch_dtype: the older name of ``dtype``.
            device_map: the device of all parts; ``cpu`` by default.
            cache_dir, token, local_files_only, force_download: see ``HubOptions``.
        Raises:
            SettingsError: an argument is none of those; names it, its value and what is allowed.
            WeightsError: not found, not complete, pickled, or made of classes that are not this project's.
        """
        # 1. Settings
        precisions = part_precisions(dtype, torch_dtype)
        device = None if device_map is None else check_device(device_map)
        named = pretrained_model_name_or_path
        hub = HubOptions(
            cache_dir=cache_dir, token=token, local_files_only=local_files_only, force_download=force_download
        )
        check_source(named, revision, hub)

        # 2. Parts, and their fingerprint before they are rounded
        arguments = load_arguments(resolve(named, revision, **hub), named)
        pipeline = cls(**arguments)
        if arguments["former_fingerprints"] is None:
            # Saved before configurations counted: its streams carry the digest of the weights alone.
            former = weights_digest(pipeline.components).hex()
            pipeline.register_to_config(former_fingerprints={former: pipeline.fingerprint})
        pipeline._digest()
        for name, part in pipeline._modules_by_name().items():
            # Not part.to, which diffusers' models have replaced by one that warns without a reason.
            nn.Module.to(part, precisions[name])
        return pipeline if device is None else pipeline.to(device)

    def to(self, *arguments: Any, **options: Any) -> Self:
        """Moves to a device or a precision, as diffusers' pipelines do; the latent codec stays float32.

        Args:
            arguments, options: a device, a precision, or both; ``device=`` and ``dtype=``.
        Raises:
            SettingsError: there is no such device here, or it cannot decode exactly.
        """
        devices = [
            each for each in (*arguments, options.get("device")) if isinstance(each, str | torch.device)
        ]
        for device in devices:
            check_device(device, "device")
        self._digest()  # of what the checkpoint holds: it must not change with the precision
        return super().to(*arguments, **options)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides symbols and pictures, hexadecimal (``checkpoint.fingerprint``)."""
        return self._digest().hex()

    @property
    def readable_fingerprints(self) -> tuple[str, ...]:
        """Of the streams that this checkpoint reads: its own, then those that it had before."""
        own = self.fingerprint
        return (own, *(old for old, new in self.config.former_fingerprints.items() if new == own))

    def _modules_by_name(self) -> dict[str, nn.Module]:
        return {name: part for name, part in self.components.items() if isinstance(part, nn.Module)}

    def _digest(self) -> bytes:
        if self._fingerprint is None:
            parts = self.components
            self._fingerprint = checkpoint_digest(weights_digest(parts), parts, self.decoding_settings)
        return self._fingerprint
