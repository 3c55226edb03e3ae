"""What the stages that train the diffusion model have in common: its parts, and one step of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from sprdiff.config import ModelConfig
from sprdiff.diffusion.denoiser import denoise, initialize
from sprdiff.encoders.semantic import semantic_tokens
from sprdiff.encoders.vae import decode_latents, encode_latents
from sprdiff.parts import build_part, load_part, save_part
from sprdiff.reconstruction.conditions import drop
from sprdiff.reconstruction.detail import keep_colours
from sprdiff.training.discriminator import Features
from sprdiff.training.frozen import Frozen

TRAINED = ("unet", "conditions")
FROZEN = ("vae", "semantic_encoder")
# The share of pictures that go without each condition. The denoiser then knows what to do without it, and an
# ablation of the finished model takes nothing from it that it was never taught to miss.
DROPPED = 0.07


@dataclass
class Batch:
    """Crops, and what the frozen parts make of them.

    Attributes:
        x, x_coarse: pixels (B, 3, H, W) in [-1, 1].
        quality: (B,).
        latents_hat: latents of x_coarse.
        tokens: semantic tokens of x_coarse.
        fake, coarse: the adversary's features of the picture that the objective made, and of x_coarse; none
            before its step, or without an adversary.
    """

    x: Tensor
    quality: Tensor
    x_coarse: Tensor
    latents_hat: Tensor
    tokens: Tensor
    fake: Features | None = None
    coarse: Features | None = None


def load_refiner(
    config: ModelConfig, folder: Path
) -> tuple[dict[str, nn.Module], dict[str, nn.Module], DDPMScheduler]:
    """The trained and the frozen parts of a run and its scheduler; what it has not trained yet is new."""
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
    return trained, frozen, build_part("scheduler", config)


def save_refiner(trained: nn.ModuleDict, scheduler: DDPMScheduler, folder: Path) -> None:
    """Write what :func:`load_refiner` loads again."""
    for name, part in trained.items():
        save_part(part, folder / name)
    save_part(scheduler, folder / "scheduler")


class Refiner(nn.Module):
    """From coarse pictures to final ones, in one step.

    Args:
        trained: ``unet`` and ``conditions``.
        frozen: ``vae`` and ``semantic_encoder``.
        without: conditions that an ablation leaves out.
    """

    def __init__(
        self,
        trained: dict[str, nn.Module],
        frozen: dict[str, nn.Module],
        scheduler: DDPMScheduler,
        without: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.trained = nn.ModuleDict(trained)
        self.frozen = Frozen(frozen)
        self.scheduler = scheduler
        self.without = without

    @torch.no_grad()
    def look(self, x: Tensor, x_coarse: Tensor, quality: Tensor) -> Batch:
        """What the frozen parts make of originals (B, 3, H, W) and their coarse pictures."""
        latents_hat = encode_latents(self.frozen["vae"], x_coarse).float()
        return Batch(
            x, quality, x_coarse, latents_hat, semantic_tokens(self.frozen["semantic_encoder"], x_coarse)
        )

    def generate(self, batch: Batch) -> Tensor:
        """The final pictures, float32 and not clamped."""
        conditions = self.trained["conditions"](batch.x_coarse, batch.tokens)
        kept = {}
        for name in ("semantic_tokens", "pixel_features"):
            chance = 0.0 if name in self.without else 1 - DROPPED if self.training else 1.0
            kept[name] = torch.rand(len(batch.x), device=batch.x.device) < chance
        conditions = drop(conditions, kept["semantic_tokens"], kept["pixel_features"])
        noise = torch.randn_like(batch.latents_hat)
        latents = denoise(
            self.trained["unet"], self.scheduler, batch.latents_hat, noise, batch.quality, conditions
        )
        return keep_colours(batch.x_coarse, decode_latents(self.frozen["vae"], latents).float())
