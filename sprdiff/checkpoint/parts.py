"""The parts of the pipeline by name: how each is built from a preset, and where it is stored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import nn
from transformers import Dinov2Model, Dinov2WithRegistersModel, PreTrainedModel

from sprdiff.checkpoint.config import ModelConfig
from sprdiff.encoders.distortion import DistortionEncoder
from sprdiff.encoders.fusion import FeatureFusion
from sprdiff.encoders.vae import KLTAutoencoder
from sprdiff.encoders.zoo import ZooEncoder
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.latent_codec.codec import LatentCodec
from sprdiff.reconstruction.coarse import CoarseReconstruction
from sprdiff.reconstruction.conditions import DualFeatureExtractor

PART_CLASSES: dict[str, tuple[Any, ...]] = {
    "vae": (KLTAutoencoder, AutoencoderKL),
    "distortion_encoder": (DistortionEncoder, ZooEncoder),
    "semantic_encoder": (Dinov2Model, Dinov2WithRegistersModel),
    "fusion": (FeatureFusion,),
    "latent_codec": (LatentCodec,),
    "coarse": (CoarseReconstruction,),
    "conditions": (DualFeatureExtractor,),
    "unet": (UNet2DConditionModel,),
    "scheduler": (DDPMScheduler,),
}
"""What each part may be. Presets name the class where it is not the first."""


def build_part(name: str, config: ModelConfig) -> nn.Module | DDPMScheduler:
    """The part ``name`` with random weights, sized by ``config``.

    Raises:
        SettingsError: ``config`` asks for a class that the part cannot be.
    """
    classes = {each.__name__: each for each in PART_CLASSES[name]}
    wanted = config.classes.get(name, next(iter(classes)))
    if wanted not in classes:
        raise SettingsError(f"The part {name} can be {' or '.join(classes)}, not {wanted}.")
    kind, arguments = classes[wanted], getattr(config, name)
    if issubclass(kind, PreTrainedModel):
        return kind(kind.config_class(**arguments))
    return kind(**arguments)


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
    """The part ``name`` from ``folder/name``, float32, on the CPU, of the class that its configuration names.

    Raises:
        WeightsError: the part cannot be of that class, or its weights are not those that the configuration
            asks for. The libraries would only log it, and fill in random numbers.
    """
    kind = part_class(name, folder / name)
    if kind is DDPMScheduler:
        return kind.from_pretrained(folder / name)
    return load_strictly(kind, folder / name, f"part {name}").float().eval()


def part_class(name: str, folder: Path) -> type:
    """The class of the part ``name`` that ``folder`` holds.

    Raises:
        WeightsError: the folder names none, or one that the part cannot be.
    """
    for file in ("config.json", "scheduler_config.json"):
        if (folder / file).is_file():
            config = json.loads((folder / file).read_text(encoding="utf-8"))
            # diffusers' name for it, and transformers'.
            found = config.get("_class_name") or next(iter(config.get("architectures") or ()), None)
            for kind in PART_CLASSES[name]:
                if kind.__name__ == found:
                    return kind
            known = " or ".join(kind.__name__ for kind in PART_CLASSES[name])
            raise WeightsError(f"The part {name} is a {found}, not a {known}.")
    raise WeightsError(f"The part {name} has no configuration.")


def load_strictly(kind: type[nn.Module], folder: Path, what: str) -> nn.Module:
    """A model of diffusers or transformers, all of whose weights, and no others, are in ``folder``.

    Raises:
        WeightsError: weights are missing, left over, or of other shapes; ``what`` names the model.
    """
    model, report = kind.from_pretrained(
        folder, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[fault]:
            first = ", ".join(map(str, sorted(report[fault])[:3]))
            raise WeightsError(f"The {what} has {len(report[fault])} {fault.replace('_', ' ')}: {first}.")
    return model
