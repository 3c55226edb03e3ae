"""The stage that trains the diffusion model and its conditions; everything else is frozen."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from sprdiff.checkpoint.config import ModelConfig
from sprdiff.checkpoint.parts import build_part, load_part, save_part
from sprdiff.decoding import DecodingSettings
from sprdiff.diffusion.denoiser import check_prediction, denoise, initialize
from sprdiff.encoders.semantic import semantic_tokens
from sprdiff.encoders.vae import decode_latents, encode_latents
from sprdiff.errors import SettingsError
from sprdiff.reconstruction.conditions import drop
from sprdiff.reconstruction.detail import keep_colours
from sprdiff.training.data import Crops, Place, Source, TaughtBatch
from sprdiff.training.frozen import CodecPreview, Frozen, round_to_levels
from sprdiff.training.imitation_stage import FeatureScale, Lessons
from sprdiff.training.restoration import PictureLoss, Pictures, RestorationSettings, RestorationStage
from sprdiff.training.settings import Share
from sprdiff.training.stage import StageOptions, to_device
from sprdiff.training.teacher_stage import Teaching

TRAINED = ("unet", "conditions")
# Attention with what lies around it, and the convolutions of the residual blocks.
LORA_LAYERS = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "conv_out"),
)
FROZEN = ("vae", "semantic_encoder")


class DiffusionSettings(RestorationSettings):
    """Of the denoiser and its conditions.

    Attributes:
        dropped: the share of pictures that go without each condition. The denoiser then learns to work
            without it, so an ablation of the finished model is within what it was trained for.
        start_timesteps: of qualities 0 and 255; what is exported decodes with them.
        teacher: whether there is one to follow. Without it the original is the target of every loss, and the
            pixel branch is not trained to match any features.
        imitation: weight of following the teacher's features.
        biases_only: train biases, normalisations and the U-Net's last layer alone (after BitFit,
            arXiv:2106.10199): so few numbers that small batches teach them something.
        gradient_checkpointing: compute the U-Net's activations twice instead of keeping them.
        lora_rank: of the low-rank changes (LoRA, arXiv:2106.09685) by which a pretrained U-Net learns, beside
            its first layer; 0 trains all of it. What is saved has them merged in.
        lora_layers: the layers that they change, by the end of their names.
    """

    learning_rate: PositiveFloat = 3e-4
    dropped: Share = 0.07
    start_timesteps: tuple[NonNegativeInt, NonNegativeInt] = DecodingSettings.start_timesteps
    teacher: bool = True
    imitation: NonNegativeFloat = 1.0
    biases_only: bool = False
    gradient_checkpointing: bool = False
    lora_rank: NonNegativeInt = 0
    lora_layers: tuple[str, ...] = LORA_LAYERS


@dataclass(kw_only=True)
class Batch(Pictures):
    """Pictures, and what the frozen parts make of them.

    Attributes:
        latents_hat: latents of x_coarse.
        tokens: semantic tokens of x_coarse.
        features: the teacher's, as the imitation stage has them; none where there is no teacher.
    """

    latents_hat: Tensor
    tokens: Tensor
    features: Tensor | None = None


class DiffusionObjective(nn.Module):
    """The pictures of the denoiser, after one step, and their losses.

    Args:
        trained: ``unet`` and ``conditions``.
        frozen: ``vae`` and ``semantic_encoder``.
        codec: makes the coarse pictures.
        criterion: the losses of final ones.
        scale: of the teacher's features; none where there is no teacher.
        settings: of the stage.
        without: of the stage's ablations.
        teaching: the teacher, where it is run during training; registered, so that it moves with the model.
    """

    def __init__(
        self,
        trained: dict[str, nn.Module],
        frozen: dict[str, nn.Module],
        codec: CodecPreview,
        criterion: PictureLoss,
        scale: FeatureScale | None,
        scheduler: DDPMScheduler,
        settings: DiffusionSettings,
        without: frozenset[str] = frozenset(),
        teaching: Teaching | None = None,
    ) -> None:
        super().__init__()
        self.teaching = teaching
        self.trained = nn.ModuleDict(trained)
        self.frozen = Frozen(frozen)
        self.codec = codec
        self.criterion = criterion
        self.scale = scale
        self.scheduler = scheduler
        self.settings = settings
        self.without = without

    @torch.no_grad()
    def prepare(self, x: Tensor, quality: Tensor, taught: TaughtBatch | None = None) -> Batch:
        """Everything that the frozen parts make of crops (B, 3, H, W) at qualities (B,).

        Args:
            taught: with coarse pictures that are made already, and the teacher's of them.
        """
        if taught is None or "coarse" in self.without:
            x_coarse = round_to_levels(self.codec(x, quality, linear="coarse" in self.without))
        else:
            x_coarse = taught.coarse
        return Batch(
            x=x,
            x_coarse=x_coarse,
            quality=quality,
            target=x if taught is None else taught.taught,
            latents_hat=encode_latents(self.frozen["vae"], x_coarse).float(),
            tokens=semantic_tokens(self.frozen["semantic_encoder"], x_coarse),
            features=None if taught is None or self.scale is None else self.scale(taught.features),
        )

    def generate(self, batch: Batch) -> Tensor:
        """The final pictures, float32 and not clamped."""
        conditions = self.trained["conditions"](batch.x_coarse, batch.tokens)
        kept = {}
        for name in ("semantic_tokens", "pixel_features"):
            chance = 0.0 if name in self.without else 1 - self.settings.dropped if self.training else 1.0
            kept[name] = torch.rand(len(batch.x), device=batch.x.device) < chance
        conditions = drop(conditions, kept["semantic_tokens"], kept["pixel_features"])
        noise = torch.randn_like(batch.latents_hat)
        latents = denoise(
            self.trained["unet"],
            self.scheduler,
            batch.latents_hat,
            noise,
            batch.quality,
            conditions,
            self.settings.start_timesteps,
        )
        return keep_colours(batch.x_coarse, decode_latents(self.frozen["vae"], latents).float())

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        losses = self.criterion(self.generate(batch), batch, progress)
        if batch.features is None:
            return losses
        # The pixel branch goes on following the teacher.
        features = self.trained["conditions"].pixel_features(batch.x_coarse)
        pairs = zip(features, batch.features, strict=True)
        losses["imitation"] = torch.stack([F.mse_loss(made.float(), given) for made, given in pairs]).sum()
        losses["loss"] = losses["loss"] + self.settings.imitation * losses["imitation"]
        return losses


class DiffusionStage(RestorationStage):
    """The denoiser and the dual feature extraction."""

    name = "diffusion"
    settings: DiffusionSettings
    settings_type = DiffusionSettings
    follows_teacher = True
    ablations = ("semantic_tokens", "pixel_features", "coarse")

    def build(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        self.lessons = None
        if self.settings.teacher:
            self.lessons = Lessons(folder, options.taught, self.settings)
        elif options.taught is not None:
            raise SettingsError("With teacher=false no taught pictures are looked at; leave out --taught.")
        trained = {}
        for name in TRAINED:
            begun = (folder / name).exists()
            trained[name] = (load_part(name, folder) if begun else build_part(name, config)).train()
            if name == "unet" and not begun:
                initialize(trained[name])
        if self.settings.biases_only:
            if self.settings.lora_rank:
                raise SettingsError("biases_only and lora_rank both train a few weights: choose one.")
            keep_kernels(trained)
        if self.settings.lora_rank:
            if not (folder / "unet").exists():
                raise SettingsError(f"LoRA changes a trained U-Net, and {folder} holds none.")
            add_lora(trained["unet"], self.settings.lora_rank, self.settings.lora_layers)
        frozen = {name: load_part(name, folder) for name in FROZEN}
        if not torch.cuda.is_available():
            # At a few hundred tokens two matrix products beat the fused attention's backward on a CPU.
            frozen["semantic_encoder"].set_attn_implementation("eager")
            trained["unet"].set_attn_processor(AttnProcessor())
        if self.settings.gradient_checkpointing:
            trained["unet"].enable_gradient_checkpointing()
        criterion = self.start_adversary(folder, data, options)
        self.objective = DiffusionObjective(
            trained,
            frozen,
            CodecPreview.load(folder),
            criterion,
            self.lessons.scale(data) if self.lessons else None,
            self._scheduler(config, folder),
            self.settings,
            options.without,
            self.lessons.teaching if self.lessons else None,
        )

    def _scheduler(self, config: ModelConfig, folder: Path) -> DDPMScheduler:
        """The run's, since a pretrained U-Net comes with its own; else the preset's."""
        begun = (folder / "scheduler").exists()
        scheduler = load_part("scheduler", folder) if begun else build_part("scheduler", config)
        check_prediction(scheduler)
        latest, timesteps = max(self.settings.start_timesteps), scheduler.config.num_train_timesteps
        if latest >= timesteps:
            raise SettingsError(f"start_timesteps: {latest} is too late, the scheduler has {timesteps}.")
        return scheduler

    def source(self, paths: list[Place]) -> Source:
        """Crops of the taught pictures, or of the photographs, for the teacher if there is one."""
        return (self.lessons and self.lessons.source) or super().source(paths)

    def before_step(self, accelerator: Accelerator, crops: Tensor | TaughtBatch) -> Batch:
        """What the frozen parts make of the crops."""
        if self.lessons is None:
            x = to_device(crops, accelerator)
            quality = self.settings.qualities.draw(len(x), x.device)
            with accelerator.autocast():
                return self.objective.prepare(x, quality)
        taught = self.lessons.batch(accelerator, crops)
        with accelerator.autocast():
            return self.objective.prepare(taught.x, taught.quality, taught)

    def save(self, folder: Path) -> None:
        super().save(folder)
        for name, part in self.objective.trained.items():
            save_part(merged(part) if name == "unet" else part, folder / name)
        save_part(self.objective.scheduler, folder / "scheduler")


def keep_kernels(trained: dict[str, nn.Module]) -> None:
    """Let everything but biases, normalisations and the U-Net's last layer stay as it is."""
    for part in trained.values():
        for name, parameter in part.named_parameters():
            parameter.requires_grad_(parameter.ndim == 1 or name.startswith("conv_out."))


def add_lora(unet: UNet2DConditionModel, rank: int, layers: tuple[str, ...]) -> None:
    """Let ``unet`` learn by low-rank changes of some layers, and by its first layer, alone.

    The first layer is where a pretrained U-Net meets the conditions, which it has never seen.

    Raises:
        SettingsError: it has no layer of these names.
    """
    # Imported here: only trainings with LoRA need it.
    from peft import LoraConfig

    unet.requires_grad_(False)
    try:
        # Gaussian, as diffusers' own trainings begin: the product is zero at the start.
        unet.add_adapter(
            LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(layers))
        )
    except ValueError as error:
        raise SettingsError(f"lora_layers: {error}") from error
    unet.conv_in.requires_grad_(True)


def merged(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """``unet`` itself, or a copy with its low-rank changes as part of its weights."""
    if not getattr(unet, "peft_config", None):
        return unet
    unet = copy.deepcopy(unet)
    unet.fuse_lora()
    unet.unload_lora()
    return unet
