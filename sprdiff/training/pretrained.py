"""``python -m sprdiff.training.pretrained RUN``: the published networks that the ``base`` preset is made of.

SPRDiff (arXiv:2606.01608) builds on published networks: a latent diffusion model, of which
its VAE stays frozen and its U-Net learns by LoRA; a self-supervised vision transformer; the encoder of a
codec. This lays them out in a run as if stages had trained them, each in the class in which it was published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from pydantic import NonNegativeInt, PositiveInt
from torch import nn
from transformers import AutoConfig, Dinov2Model, Dinov2WithRegistersModel

from sprdiff.checkpoint.config import BASE
from sprdiff.checkpoint.parts import load_strictly, save_part
from sprdiff.checkpoint.weights import download, parse_hub_id
from sprdiff.diffusion.denoiser import check_prediction
from sprdiff.encoders.zoo import ZooEncoder
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.training import command
from sprdiff.training.settings import Group, parse_change, read_settings

FILE = "pretrained.yaml"
_WEIGHTS = "diffusion_pytorch_model"


class PretrainedSettings(Group):
    """Which networks, as ``owner/name[@revision]`` on the Hugging Face Hub or as a folder.

    Attributes:
        diffusion: a latent diffusion model in diffusers' layout: ``vae``, ``unet``, ``scheduler``.
        semantic: a DINOv2 (arXiv:2304.07193), with registers or without.
        codec, codec_quality: of CompressAI's zoo, see :class:`sprdiff.encoders.zoo.ZooEncoder`.
        condition_channels: of the maps that the U-Net sees beside its latents: the ``conditions`` part's
            pixel features and semantic map.
    """

    diffusion: str = "stabilityai/sd-turbo"
    semantic: str = "facebook/dinov2-base"
    codec: str = "cheng2020-anchor"
    codec_quality: PositiveInt = 6
    condition_channels: NonNegativeInt = BASE.conditions["pixel_channels"] + BASE.conditions["map_channels"]


def lay_out(run: Path, settings: PretrainedSettings) -> None:
    """Write ``vae``, ``unet``, ``scheduler``, ``semantic_encoder`` and ``distortion_encoder`` into a run.

    Raises:
        SettingsError: a name is no folder and no id, or the zoo has no such codec.
        WeightsError: something cannot be fetched, or is not what its configuration says.
    """
    files = ["vae/config.json", "unet/config.json", "scheduler/scheduler_config.json"]
    for part in ("vae", "unet"):
        # In several files or in one; not the half-precision copies beside them.
        files += [f"{part}/{_WEIGHTS}.safetensors", f"{part}/{_WEIGHTS}.safetensors.index.json"]
        files += [f"{part}/{_WEIGHTS}-*.safetensors"]
    diffusion = _folder(settings.diffusion, files)
    semantic = _folder(settings.semantic, ["config.json", "model*.safetensors*"])
    try:
        parts = {
            "vae": load_strictly(AutoencoderKL, diffusion / "vae", "VAE"),
            "unet": with_conditions(
                load_strictly(UNet2DConditionModel, diffusion / "unet", "U-Net"), settings.condition_channels
            ),
            # Betas and prediction type are the model's; how others sample from it is not ours.
            "scheduler": DDPMScheduler.from_pretrained(diffusion / "scheduler", clip_sample=False),
            "semantic_encoder": _transformer(semantic),
        }
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise WeightsError(
            f"{settings.diffusion} or {settings.semantic} cannot be loaded: {error}"
        ) from error
    check_prediction(parts["scheduler"])
    parts["distortion_encoder"] = ZooEncoder(settings.codec, settings.codec_quality)
    parts["distortion_encoder"].fetch()
    run.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        save_part(part, run / name)
    settings.write(run / FILE)


@torch.no_grad()
def with_conditions(unet: UNet2DConditionModel, channels: int) -> UNet2DConditionModel:
    """``unet`` with ``channels`` more inputs, whose weights in its first layer start at zero.

    As InstructPix2Pix does it (arXiv:2211.09800).
    """
    old = unet.conv_in
    new = nn.Conv2d(old.in_channels + channels, old.out_channels, old.kernel_size, padding=old.padding)
    new.weight.zero_()
    new.weight[:, : old.in_channels] = old.weight
    new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=new.in_channels)
    return unet


def _transformer(folder: Path) -> nn.Module:
    kind = AutoConfig.from_pretrained(folder).model_type
    kinds = {"dinov2": Dinov2Model, "dinov2_with_registers": Dinov2WithRegistersModel}
    if kind not in kinds:
        raise WeightsError(f"The semantic encoder can be {' or '.join(kinds)}, not {kind}.")
    return load_strictly(kinds[kind], folder, "semantic encoder")


def _folder(name: str, files: list[str]) -> Path:
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    known = parse_hub_id(name)
    if known is None:
        raise SettingsError(
            f"{name!r} is neither a folder nor a Hugging Face Hub id (owner/name[@revision])."
        )
    return download(*known, files)


def main(
    run: Annotated[Path, typer.Argument(help="Folder of the run that the stages go on with.")],
    settings: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="YAML or JSON with the settings.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="One of them, for example semantic=facebook/dinov2-small."),
    ] = None,
) -> None:
    """Fetch the networks of the base preset into a run."""
    chosen = read_settings(PretrainedSettings, settings, dict(map(parse_change, change or ())))
    lay_out(run, chosen)
    typer.echo(f"{run}: VAE and U-Net of {chosen.diffusion}, {chosen.semantic}, encoder of {chosen.codec}")


if __name__ == "__main__":
    command.run(main)
