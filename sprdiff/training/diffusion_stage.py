"""The stage that trains the diffusion model, its conditions and the VAE's decoder; the codec is frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sprdiff.config import ModelConfig
from sprdiff.diffusion.denoiser import initialize, predict_latents
from sprdiff.diffusion.sampler import START_TIMESTEP
from sprdiff.encoders.semantic import semantic_features, semantic_tokens
from sprdiff.encoders.vae import decode_latents, encode_latents, vae_features
from sprdiff.parts import build_part, load_part, save_part
from sprdiff.reconstruction.conditions import Conditions
from sprdiff.reconstruction.detail import CELL, add_details
from sprdiff.training.data import Crops
from sprdiff.training.discriminator import PatchDiscriminator, hinge_loss
from sprdiff.training.loop import Stage, learning_rate_factor
from sprdiff.training.losses import flat_error, grid_error, patch_distribution_loss, structure_loss
from sprdiff.training.transform_stages import draw_qualities, psnr_db

FROZEN = ("distortion_encoder", "semantic_encoder", "fusion", "latent_codec", "coarse")
# The share of crops that are noised from true latents at a random timestep: what the later steps see
# when more than one is asked for.
SHARE_OF_LATER_STEPS = 0.2
ADVERSARY_STARTS = 0.12
# The quality at which texture and adversarial terms weigh what WEIGHTS says, and by how much it must fall for
# them to weigh twice as much.
REALISM_REFERENCE, REALISM_DOUBLES = 140.0, 60.0
REALISM_RANGE = (0.3, 1.5)
WEIGHTS = {
    "l1": 0.8, "low": 4.0, "latents": 0.1, "semantic": 0.1, "flat": 6.0, "grid": 30.0, "structure": 1.5,
    "texture": 6.0, "adversarial": 0.08, "matching": 0.4,
}  # fmt: skip
ADVERSARY_LEARNING_RATE = 3e-4
ADVERSARY_FILE = "diffusion/adversary.safetensors"


def start_parts(config: ModelConfig, folder: Path) -> dict[str, nn.Module]:
    """The parts that this stage trains, those it has trained before from ``folder``."""
    trained = folder / "diffusion"
    parts = {}
    for name in ("unet", "conditions"):
        parts[name] = load_part(name, trained) if (trained / name).exists() else build_part(name, config)
    if not (trained / "unet").exists():
        initialize(parts["unet"])
    parts["vae"] = load_part("vae", trained if (trained / "vae").exists() else folder)
    return parts


def realism(quality: Tensor) -> Tensor:
    """How much texture and adversarial terms weigh at each quality, (B,) to (B,).

    With few bits the coarse picture is soft and its details are anyone's guess: there the denoiser has to
    invent them. With many bits, inventing mostly takes away from what is known.
    """
    return torch.exp2((REALISM_REFERENCE - quality) / REALISM_DOUBLES).clamp(*REALISM_RANGE)


class DiffusionObjective(nn.Module):
    """Reconstruction, semantic and adversarial losses of the picture after one step."""

    def __init__(
        self,
        trained: dict[str, nn.Module],
        frozen: dict[str, nn.Module],
        scheduler: Any,
        without: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.without = without
        self.trained = nn.ModuleDict(trained)
        self.adversary = PatchDiscriminator()
        self.adversary_starts = ADVERSARY_STARTS
        # Not this module's parameters: an optimizer of their own, or none.
        self.adversary.requires_grad_(False)
        self._frozen = (frozen,)
        self.scheduler = scheduler
        # The VAE's encoder stays as it is: f_vae and the target latents depend on it.
        trained["vae"].klt.requires_grad_(False)
        trained["vae"].encoder.requires_grad_(False)
        self.prepared: dict[str, Tensor] = {}

    @torch.no_grad()
    def prepare(self, x: Tensor, quality: Tensor) -> None:
        """Everything that the frozen parts make of a batch, kept for both players' steps."""
        frozen = self._frozen[0]
        latents = encode_latents(self.trained["vae"], x)
        f_sem = semantic_features(frozen["semantic_encoder"], x)
        y = frozen["fusion"](vae_features(latents), frozen["distortion_encoder"](x), f_sem)
        y_hat = frozen["latent_codec"](y, quality, "rounded").y_hat
        x_coarse, latents_hat = frozen["coarse"](y_hat, quality)
        if "coarse" in self.without:
            x_coarse, latents_hat = frozen["coarse"].linear(y_hat)
        x_coarse = x_coarse.float().clamp(-1, 1)
        self.prepared = {
            "x": x,
            "quality": quality,
            "latents": latents.float(),
            "f_sem": f_sem.float(),
            "x_coarse": x_coarse,
            "latents_hat": latents_hat.float(),
            "tokens": semantic_tokens(frozen["semantic_encoder"], x_coarse),
        }

    def condition(self) -> Conditions:
        """The conditions of the prepared batch, zero where this run goes without."""
        tokens, semantic_map, pixel_features = self.trained["conditions"](
            self.prepared["x_coarse"], self.prepared["tokens"]
        )
        if "semantic_tokens" in self.without:
            tokens, semantic_map = torch.zeros_like(tokens), torch.zeros_like(semantic_map)
        if "pixel_features" in self.without:
            pixel_features = torch.zeros_like(pixel_features)
        return Conditions(tokens, semantic_map, pixel_features)

    def generate(self, share_of_later_steps: float = 0.0) -> tuple[Tensor, Tensor]:
        """Pictures and latents that the denoiser makes of the prepared batch in one step."""
        batch = self.prepared
        count = len(batch["x"])
        conditions = self.condition()
        noise = torch.randn_like(batch["latents"])
        later = torch.rand(count, device=noise.device) < share_of_later_steps
        timestep = torch.full((count,), START_TIMESTEP, device=noise.device)
        timestep = torch.where(later, torch.randint_like(timestep, START_TIMESTEP), timestep)
        clean = torch.where(later[:, None, None, None], batch["latents"], batch["latents_hat"])
        noisy_latents = self.scheduler.add_noise(clean, noise, timestep)
        latents = predict_latents(
            self.trained["unet"], noisy_latents, timestep, batch["latents_hat"], conditions
        )
        x_hat = decode_latents(self.trained["vae"], latents, torch.randn_like(batch["x"][:, :1])).float()
        return add_details(batch["x_coarse"], x_hat), latents.float()

    def forward(self, x: Tensor, progress: float) -> dict[str, Tensor]:
        batch = self.prepared
        x_hat, latents = self.generate(SHARE_OF_LATER_STEPS)
        batch["x_hat"] = x_hat.detach()
        error = x_hat - x
        pixels = error.abs().mean()
        # Means of 4 x 4 blocks hold the colours and the large structures.
        low = F.avg_pool2d(error, 4).abs().mean()
        latents_loss = (latents - batch["latents"]).abs().mean()
        features = semantic_features(self._frozen[0]["semantic_encoder"], x_hat.clamp(-1, 1)).float()
        semantic = 1 - F.cosine_similarity(features, batch["f_sem"], dim=1).mean()
        flat = flat_error(x_hat, x)
        grid = grid_error(x_hat, x, CELL)
        structure = structure_loss(x_hat, x)
        share = realism(batch["quality"])
        texture = patch_distribution_loss(x_hat, x, share)
        adversarial = matching = x_hat.new_zeros(())
        if progress >= self.adversary_starts:
            scores, fake = self.adversary(x_hat, batch["x_coarse"])
            with torch.no_grad():
                _, real = self.adversary(x, batch["x_coarse"])
            adversarial = -(share * scores.float().mean((1, 2, 3))).mean()
            # Not F.l1_loss: autocast would copy all features to float32.
            gaps = [(f - r).abs().mean((1, 2, 3)) for f, r in zip(fake, real, strict=True)]
            matching = (share * sum(gaps)).mean()
        losses = {
            "l1": pixels, "low": low, "latents": latents_loss, "semantic": semantic, "flat": flat,
            "grid": grid, "structure": structure, "texture": texture, "adversarial": adversarial,
            "matching": matching,
        }  # fmt: skip
        ramp = min(1.0, max(0.0, (progress - self.adversary_starts) / 0.1))
        weights = WEIGHTS | {key: ramp * WEIGHTS[key] for key in ("adversarial", "matching")}
        return {"loss": sum(weights[key] * loss for key, loss in losses.items()), **losses}


class DiffusionStage(Stage):
    """The denoiser, the dual feature extraction and the VAE's decoder."""

    name = "diffusion"
    ablations = ("semantic_tokens", "pixel_features", "coarse")
    batch_size, crop, max_zoom, learning_rate = 8, 192, 1.3, 3e-4
    ema_decay = 0.998
    gradient_clip = 1.0
    graphics = 0.08
    qualities = (125, 150, 180)

    def __init__(
        self, config: ModelConfig, folder: Path, data: Crops, without: frozenset[str] = frozenset()
    ) -> None:
        frozen = {name: load_part(name, folder).requires_grad_(False) for name in FROZEN}
        self.trained = start_parts(config, folder)
        # At a few hundred tokens two matrix products beat the fused attention's backward on a CPU.
        frozen["semantic_encoder"].set_attn_implementation("eager")
        self.trained["unet"].set_attn_processor(AttnProcessor())
        self.scheduler = build_part("scheduler", config)
        self.objective = DiffusionObjective(self.trained, frozen, self.scheduler, without)
        adversary = self.objective.adversary
        if (folder / ADVERSARY_FILE).exists():
            # It knows its trade already: no need to let the generator begin alone.
            adversary.load_state_dict(load_file(folder / ADVERSARY_FILE))
            self.objective.adversary_starts = 0.0
        self.optimizer = torch.optim.AdamW(
            adversary.parameters(), lr=ADVERSARY_LEARNING_RATE, betas=(0.5, 0.9)
        )

    def before_step(self, accelerator: Accelerator, batch: Tensor) -> None:
        """What the frozen parts make of the batch."""
        with accelerator.autocast():
            self.objective.prepare(batch, draw_qualities(len(batch), batch.device))

    def after_step(self, accelerator: Accelerator, batch: Tensor, progress: float) -> dict[str, Tensor]:
        """The discriminator's step, on the pictures that the generator's step made."""
        if progress < self.objective.adversary_starts / 2:
            return {}
        adversary, prepared = self.objective.adversary, self.objective.prepared
        adversary.requires_grad_(True)
        with accelerator.autocast():
            real, _ = adversary(batch, prepared["x_coarse"])
            fake, _ = adversary(prepared["x_hat"], prepared["x_coarse"])
            loss = hinge_loss(real, fake)
        for group in self.optimizer.param_groups:
            group["lr"] = ADVERSARY_LEARNING_RATE * learning_rate_factor(progress)
        self.optimizer.zero_grad()
        accelerator.backward(loss)
        self.optimizer.step()
        adversary.requires_grad_(False)
        return {"adversary": loss}

    def extra_state(self) -> dict[str, Any]:
        return {"adversary_optimizer": self.optimizer}

    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        """What coarse and final picture are like at three qualities, averages over pictures."""
        torch.manual_seed(0)
        rows = []
        for quality in self.qualities:
            figures = [self._figures(x, torch.tensor([float(quality)])) for x in images[:12]]
            means = {key: sum(each[key] for each in figures) / len(figures) for key in figures[0]}
            rows.append({"quality": quality, **means})
        return rows

    def _figures(self, x: Tensor, quality: Tensor) -> dict[str, float]:
        """PSNR, 1 - SSIM, gradient energy over the original's; likeness of the final one's f_sem."""
        objective = self.objective
        objective.prepare(x, quality)
        batch = objective.prepared
        pictures = {"coarse": batch["x_coarse"], "final": objective.generate()[0].clamp(-1, 1)}
        figures: dict[str, float] = {}
        for name, picture in pictures.items():
            figures[f"psnr_{name}"] = psnr_db(picture, x)
            figures[f"structure_{name}"] = float(structure_loss(picture, x))
            figures[f"energy_{name}"] = gradient_energy(picture) / gradient_energy(x)
        features = semantic_features(objective._frozen[0]["semantic_encoder"], pictures["final"])
        figures["semantic_final"] = float(F.cosine_similarity(features, batch["f_sem"], dim=1).mean())
        return figures

    def save(self, folder: Path) -> None:
        for name, part in self.trained.items():
            save_part(part, folder / "diffusion" / name)
        save_part(self.scheduler, folder / "diffusion" / "scheduler")
        # No part of a checkpoint; a later run of this stage goes on with it.
        state = self.objective.adversary.state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, folder / ADVERSARY_FILE)


def gradient_energy(x: Tensor) -> float:
    """Mean absolute luma difference between neighbours, of pictures (1, 3, H, W)."""
    luma = x.mean(1)
    return float(luma.diff(dim=-1).abs().mean() + luma.diff(dim=-2).abs().mean())
