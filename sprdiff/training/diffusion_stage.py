"""The stage that trains the diffusion model and its conditions; everything else is frozen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDPMScheduler
from diffusers.models.attention_processor import AttnProcessor
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from sprdiff.config import ModelConfig
from sprdiff.diffusion.denoiser import denoise, initialize
from sprdiff.encoders.semantic import semantic_tokens
from sprdiff.encoders.vae import decode_latents, encode_latents
from sprdiff.parts import build_part, load_part, save_part
from sprdiff.reconstruction.conditions import drop
from sprdiff.reconstruction.detail import keep_colours
from sprdiff.training.data import Crops, Source, TaughtBatch
from sprdiff.training.frozen import CodecPreview, Frozen, round_to_levels
from sprdiff.training.imitation_stage import FeatureScale, Lessons
from sprdiff.training.restoration import PictureLoss, Pictures, RestorationSettings, RestorationStage
from sprdiff.training.settings import Share
from sprdiff.training.stage import StageOptions, to_device
from sprdiff.training.teacher_stage import Teaching

TRAINED = ("unet", "conditions")
FROZEN = ("vae", "semantic_encoder")


class DiffusionSettings(RestorationSettings):
    """Of the denoiser and its conditions.

    Attributes:
        dropped: the share of pictures that go without each condition. The denoiser then knows what to do
            without it, and an ablation of the finished model takes nothing from it that it was never taught
            to miss.
        teacher: whether there is one to follow. Without it the original is the target of every loss, and the
            pixel branch follows nobody's features.
        imitation: weight of following the teacher's features.
        gradient_checkpointing: compute the U-Net's activations twice instead of keeping them.
    """

    learning_rate: PositiveFloat = 3e-4
    dropped: Share = 0.07
    teacher: bool = True
    imitation: NonNegativeFloat = 1.0
    gradient_checkpointing: bool = False


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
    """The judged pictures of the denoiser, after one step.

    Args:
        trained: ``unet`` and ``conditions``.
        frozen: ``vae`` and ``semantic_encoder``.
        codec: makes the coarse pictures.
        criterion: what is asked of final ones.
        scale: of the teacher's features; none where there is no teacher.
        settings: of the stage.
        without: of the stage's ablations.
        teaching: who is asked, if somebody is; it moves with the model.
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
            self.trained["unet"], self.scheduler, batch.latents_hat, noise, batch.quality, conditions
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
    ablations = ("semantic_tokens", "pixel_features", "coarse")

    def build(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        self.lessons = None
        if self.settings.teacher:
            self.lessons = Lessons(folder, options.taught, self.settings.crop, self.settings.qualities)
        trained = {}
        for name in TRAINED:
            begun = (folder / name).exists()
            trained[name] = (load_part(name, folder) if begun else build_part(name, config)).train()
            if name == "unet" and not begun:
                initialize(trained[name])
        frozen = {name: load_part(name, folder) for name in FROZEN}
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
            self.lessons and self.lessons.scale(data),
            build_part("scheduler", config),
            self.settings,
            options.without,
            self.lessons and self.lessons.teaching,
        )

    def source(self, paths: list[Path]) -> Source:
        """Crops of the taught pictures, or of the photographs that the teacher, if any, is asked about."""
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
            save_part(part, folder / name)
        save_part(self.objective.scheduler, folder / "scheduler")
