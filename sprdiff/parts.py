"""The parts of the pipeline by name: how each is built from a preset, and where it is stored."""

from __future__ import annotations

import shutil
from pathlib import Path

from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import nn
from transformers import Dinov2Config, Dinov2Model

from sprdiff.config import ModelConfig
from sprdiff.encoders.distortion import DistortionEncoder
from sprdiff.encoders.fusion import FeatureFusion
from sprdiff.encoders.vae import KLTAutoencoder
from sprdiff.errors import WeightsError
from sprdiff.latent_codec.codec import LatentCodec
from sprdiff.reconstruction.coarse import CoarseReconstruction
from sprdiff.reconstruction.conditions import DualFeatureExtractor

PART_CLASSES: dict[str, type] = {
    "vae": KLTAutoencoder,
    "distortion_encoder": DistortionEncoder,
    "semantic_encoder": Dinov2Model,
    "fusion": FeatureFusion,
    "latent_codec": LatentCodec,
    "coarse": CoarseReconstruction,
    "conditions": DualFeatureExtractor,
    "unet": UNet2DConditionModel,
    "scheduler": DDPMScheduler,
}


def build_part(name: str, config: ModelConfig) -> nn.Module | DDPMScheduler:
    """The part ``name`` with random weights, sized by ``config``."""
    arguments = getattr(config, name)
    if name == "semantic_encoder":
        return Dinov2Model(Dinov2Config(**arguments))
    return PART_CLASSES[name](**arguments)


def save_part(part: nn.Module | DDPMScheduler, folder: Path) -> None:
    """Write ``part`` as the whole content of ``folder``.

    Under a temporary name first: files that an earlier version left, such as the index of several weight
    files, would be read with the new ones.
    """
    new, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.save_pretrained(new)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_part(name: str, folder: Path) -> nn.Module | DDPMScheduler:
    """The part ``name`` from ``folder/name``, float32, on the CPU.

    Raises:
        WeightsError: its weights are not those that its configuration asks for. The libraries would only log
            it, and fill in random numbers.
    """
    if name == "scheduler":
        return DDPMScheduler.from_pretrained(folder / name)
    part, report = PART_CLASSES[name].from_pretrained(
        folder / name, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[kind]:
            first = ", ".join(map(str, sorted(report[kind])[:3]))
            raise WeightsError(f"The part {name} has {len(report[kind])} {kind.replace('_', ' ')}: {first}.")
    return part.float().eval()
