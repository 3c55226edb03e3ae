"""The stage that trains the diffusion model and its conditions; everything else is frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sprdiff.config import ModelConfig
from sprdiff.encoders.vae import latent_stride
from sprdiff.training.backbones import feature_network
from sprdiff.training.data import Crops
from sprdiff.training.discriminator import ProjectedDiscriminator, generator_loss, hinge_loss
from sprdiff.training.frozen import CodecPreview
from sprdiff.training.loop import Stage, StageOptions, learning_rate_factor, to_device
from sprdiff.training.losses import PerceptualLoss, flat_error, grid_error, structure_loss
from sprdiff.training.refiner import Batch, Refiner, load_refiner, save_refiner
from sprdiff.training.transform_stages import draw_qualities, psnr_db

WEIGHTS = {"l1": 0.3, "low": 4.0, "structure": 0.3, "flat": 6.0, "grid": 60.0, "perceptual": 2.0}
# Side of the cells whose mean colours ``low`` compares.
LOW_CELL = 8
ADVERSARY = "tf_efficientnet_lite0"
ADVERSARY_LEARNING_RATE = 3e-4
ADVERSARY_STARTS, ADVERSARY_RAMP = 0.03, 0.05
# The adversary's gradient on a picture, as a share of that of the perceptual loss: left alone it takes over.
ADVERSARY_SHARE = 0.5
# The quality at which that is its share, by how much quality must fall for twice as much, and the bounds.
REALISM_REFERENCE, REALISM_DOUBLES = 140.0, 60.0
REALISM_RANGE = (0.4, 1.5)
ADVERSARY_FILE = "state/adversary.safetensors"


def realism(quality: Tensor) -> Tensor:
    """How much more, or less, the adversary counts at each quality, (B,) to (B,).

    With few bits the coarse picture is soft and its details are anyone's guess: there the denoiser has to
    invent them. With many bits, inventing mostly takes away from what is known.
    """
    return torch.exp2((REALISM_REFERENCE - quality) / REALISM_DOUBLES).clamp(*REALISM_RANGE)


class DiffusionObjective(Refiner):
    """Reconstruction, perceptual and adversarial losses of the picture after one step.

    Args:
        trained: ``unet`` and ``conditions``.
        frozen: ``vae`` and ``semantic_encoder``.
        codec: makes the coarse pictures.
        adversary: not trained by this objective.
        without: of the stage's ablations.
    """

    def __init__(
        self,
        trained: dict[str, nn.Module],
        frozen: dict[str, nn.Module],
        codec: CodecPreview,
        adversary: ProjectedDiscriminator,
        scheduler: DDPMScheduler,
        without: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(trained, frozen, scheduler, without)
        self.codec = codec
        self.perceptual = PerceptualLoss()
        self.adversary = adversary.requires_grad_(False)
        self.adversary_starts = ADVERSARY_STARTS
        self.steps = 0

    def prepare(self, x: Tensor, quality: Tensor) -> Batch:
        """Everything that the frozen parts make of crops (B, 3, H, W) at qualities (B,)."""
        return self.look(x, self.codec(x, quality, linear="coarse" in self.without), quality)

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        generated = self.generate(batch)
        # Gradients are taken on the picture, where they can be weighed against each other, and only their sum
        # goes back through the denoiser.
        x_hat, x = generated.detach().requires_grad_(), batch.x
        error = x_hat - x
        losses = {
            "l1": error.abs().mean(),
            "low": F.avg_pool2d(error, LOW_CELL).abs().mean(),
            "structure": structure_loss(x_hat, x),
            "flat": flat_error(x_hat, x),
            "grid": grid_error(x_hat, x, latent_stride(self.frozen["vae"])),
        }
        total = sum(WEIGHTS[key] * loss for key, loss in losses.items())
        (gradient,) = torch.autograd.grad(total, x_hat)
        # One of the two a step: half the time, and both are learned.
        name = ("lpips", "dists")[self.steps % 2]
        self.steps += self.training
        losses[name] = getattr(self.perceptual, name)(x_hat, x).mean()
        (perceptual,) = torch.autograd.grad(WEIGHTS["perceptual"] * losses[name], x_hat)
        gradient = gradient + perceptual
        ramp = min(1.0, max(0.0, (progress - self.adversary_starts) / ADVERSARY_RAMP))
        if progress >= self.adversary_starts / 2:
            batch.coarse = [each.detach() for each in self.adversary.features(batch.x_coarse)]
            fake = self.adversary.features(x_hat)
            batch.fake = [each.detach() for each in fake]
            adversarial = generator_loss(self.adversary(fake, batch.coarse))
            losses["adversarial"] = adversarial.mean()
            if ramp > 0:
                (adverse,) = torch.autograd.grad(adversarial.sum(), x_hat)
                share = ramp * ADVERSARY_SHARE * realism(batch.quality) * norms(perceptual) / norms(adverse)
                gradient = gradient + share[:, None, None, None] * adverse
        loss = (generated * gradient.detach()).sum()
        return {"loss": loss, **{key: value.detach() for key, value in losses.items()}}


def norms(x: Tensor) -> Tensor:
    """The length of each picture's gradient, (B,), not quite zero."""
    return x.flatten(1).norm(dim=1).clamp_min(1e-12)


class DiffusionStage(Stage):
    """The denoiser and the dual feature extraction."""

    name = "diffusion"
    ablations = ("semantic_tokens", "pixel_features", "coarse")
    batch_size, crop, max_zoom, learning_rate = 4, 192, 1.3, 3e-4
    ema_decay = 0.998
    gradient_clip = 4.0
    graphics = 0.05
    qualities = (125, 150, 180)

    def __init__(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        trained, frozen, scheduler = load_refiner(config, folder)
        adversary = ProjectedDiscriminator(feature_network(ADVERSARY, options.backbones), data.batch(32))
        codec = CodecPreview.load(folder)
        self.objective = DiffusionObjective(trained, frozen, codec, adversary, scheduler, options.without)
        if (folder / ADVERSARY_FILE).exists():
            # Trained by an earlier run: no need to let the generator begin alone.
            adversary.load_state_dict(load_file(folder / ADVERSARY_FILE))
            self.objective.adversary_starts = 0.0
        self.heads = [*adversary.heads.parameters(), *adversary.pixels.parameters()]
        self.optimizer = torch.optim.AdamW(self.heads, lr=ADVERSARY_LEARNING_RATE, betas=(0.0, 0.9))

    def before_step(self, accelerator: Accelerator, crops: Tensor) -> Batch:
        """What the frozen parts make of the crops."""
        crops = to_device(crops, accelerator)
        with accelerator.autocast():
            return self.objective.prepare(crops, draw_qualities(len(crops), crops.device))

    def after_step(self, accelerator: Accelerator, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The discriminator's step, on the pictures that the generator's step made."""
        if batch.fake is None:
            return {}
        adversary = self.objective.adversary
        for parameter in self.heads:
            parameter.requires_grad_(True)
        with accelerator.autocast():
            with torch.no_grad():
                real = adversary.features(batch.x)
            loss = hinge_loss(adversary(real, batch.coarse), adversary(batch.fake, batch.coarse))
        for group in self.optimizer.param_groups:
            group["lr"] = ADVERSARY_LEARNING_RATE * learning_rate_factor(progress)
        self.optimizer.zero_grad()
        accelerator.backward(loss)
        self.optimizer.step()
        for parameter in self.heads:
            parameter.requires_grad_(False)
        return {"adversary": loss}

    def extra_state(self) -> dict[str, Any]:
        return {"adversary_optimizer": self.optimizer}

    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        """What coarse and final picture are like at three qualities, averages over pictures."""
        torch.manual_seed(0)
        rows = []
        for quality in self.qualities:
            figures = [self._figures(x, float(quality)) for x in images[:12]]
            means = {key: sum(each[key] for each in figures) / len(figures) for key in figures[0]}
            rows.append({"quality": quality, **means})
        return rows

    def _figures(self, x: Tensor, quality: float) -> dict[str, float]:
        """PSNR, LPIPS (VGG), DISTS and gradient energy over the original's, of both pictures."""
        objective = self.objective
        with torch.autocast(x.device.type, torch.bfloat16):
            batch = objective.prepare(x, torch.tensor([quality], device=x.device))
            pictures = {"coarse": batch.x_coarse, "final": objective.generate(batch).clamp(-1, 1)}
            figures: dict[str, float] = {}
            for name, picture in pictures.items():
                figures[f"psnr_{name}"] = psnr_db(picture, x)
                figures[f"lpips_vgg_{name}"] = float(objective.perceptual.lpips(picture, x))
                figures[f"dists_{name}"] = float(objective.perceptual.dists(picture, x))
                figures[f"energy_{name}"] = gradient_energy(picture) / gradient_energy(x)
        return figures

    def save(self, folder: Path) -> None:
        save_refiner(self.objective.trained, self.objective.scheduler, folder)
        # No part of a checkpoint; a later run of this stage goes on with it.
        state = self.objective.adversary.state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, folder / ADVERSARY_FILE)


def gradient_energy(x: Tensor) -> float:
    """Mean absolute luma difference between neighbours, of pictures (1, 3, H, W)."""
    luma = x.mean(1)
    return float(luma.diff(dim=-1).abs().mean() + luma.diff(dim=-2).abs().mean())
