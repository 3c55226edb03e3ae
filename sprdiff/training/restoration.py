"""How restored pictures are judged while a network learns to make them: the teacher, then the denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sprdiff.training.backbones import feature_network
from sprdiff.training.data import Crops
from sprdiff.training.discriminator import Features, ProjectedDiscriminator, generator_loss, hinge_loss
from sprdiff.training.losses import PerceptualLoss, flat_error, grid_error, structure_loss
from sprdiff.training.stage import Stage, StageOptions, learning_rate_factor
from sprdiff.training.transform_stages import psnr_db

# Side of the cells whose mean colours ``low`` compares, and of those that must leave no grid.
LOW_CELL, GRID_CELL = 8, 4
# The share of the steps in which LPIPS looks at the target too.
TARGET_UNTIL = 0.5
ADVERSARY = "tf_efficientnet_lite0"
ADVERSARY_LEARNING_RATE = 3e-4
ADVERSARY_STARTS, ADVERSARY_RAMP = 0.03, 0.05
ADVERSARY_FILE = "state/adversary.safetensors"


@dataclass(kw_only=True)
class Pictures:
    """Crops, and what is to be made of them.

    Attributes:
        x, x_coarse: pixels (B, 3, H, W) in [-1, 1].
        quality: (B,).
        target: what a teacher makes of x_coarse; x itself where there is none.
        fake, coarse: the adversary's features of the picture that was made, and of x_coarse; none before its
            step.
    """

    x: Tensor
    x_coarse: Tensor
    quality: Tensor
    target: Tensor
    fake: Features | None = None
    coarse: Features | None = None


class Course:
    """How far a :class:`PictureLoss` is; part of a run's state.

    Attributes:
        turn: counts the steps, for losses that take turns.
        adversary_starts: the share of the stage's steps after which the adversary counts.
    """

    def __init__(self) -> None:
        self.turn = 0
        self.adversary_starts = ADVERSARY_STARTS

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class PictureLoss(nn.Module):
    """Reconstruction, perceptual and adversarial losses of a picture.

    The error of pixels is taken to the target, which can be reached, LPIPS to target and original in turn and
    later to the original alone; DISTS, the adversary, and what keeps pictures clean and in shape look at the
    original.

    Args:
        adversary: not trained by these losses.
        weights: of ``l1``, ``low``, ``structure``, ``flat``, ``grid`` and ``perceptual``.
        share: the adversary's gradient on a picture, as a share of that of the perceptual loss: left alone
            it takes over.
    """

    def __init__(self, adversary: ProjectedDiscriminator, weights: Mapping[str, float], share: float) -> None:
        super().__init__()
        self.adversary = adversary.requires_grad_(False)
        self.perceptual = PerceptualLoss()
        self.weights = dict(weights)
        self.share = share
        self.course = Course()

    def forward(self, generated: Tensor, pictures: Pictures, progress: float) -> dict[str, Tensor]:
        """The losses by name; only ``loss`` has a gradient.

        Args:
            generated: (B, 3, H, W), not clamped.
            progress: the share of the stage's steps that is over.
        """
        # Gradients are taken on the picture, where they can be weighed against each other, and only their sum
        # goes back through the network that made it.
        x_hat, x, target = generated.detach().requires_grad_(), pictures.x, pictures.target
        losses = {
            "l1": (x_hat - target).abs().mean(),
            "low": F.avg_pool2d(x_hat - x, LOW_CELL).abs().mean(),
            "structure": structure_loss(x_hat, x),
            "flat": flat_error(x_hat, x),
            "grid": grid_error(x_hat, x, GRID_CELL),
        }
        total = sum(self.weights[key] * loss for key, loss in losses.items())
        (gradient,) = torch.autograd.grad(total, x_hat)
        # One of the two a step: half the time, and both are learned.
        lesson = target if progress < TARGET_UNTIL else x
        turns = (("lpips", lesson), ("dists", x), ("lpips", x), ("dists", x))
        name, reference = turns[self.course.turn % len(turns)]
        self.course.turn += self.training
        losses[name] = getattr(self.perceptual, name)(x_hat, reference).mean()
        (perceptual,) = torch.autograd.grad(self.weights["perceptual"] * losses[name], x_hat)
        gradient = gradient + perceptual
        starts = self.course.adversary_starts
        ramp = min(1.0, max(0.0, (progress - starts) / ADVERSARY_RAMP))
        if progress >= starts / 2:
            pictures.coarse = [each.detach() for each in self.adversary.features(pictures.x_coarse)]
            fake = self.adversary.features(x_hat)
            pictures.fake = [each.detach() for each in fake]
            adversarial = generator_loss(self.adversary(fake, pictures.coarse))
            losses["adversarial"] = adversarial.mean()
            if ramp > 0:
                (adverse,) = torch.autograd.grad(adversarial.sum(), x_hat)
                share = ramp * self.share * norms(perceptual) / norms(adverse)
                gradient = gradient + share[:, None, None, None] * adverse
        loss = (generated * gradient.detach()).sum()
        return {"loss": loss, **{key: value.detach() for key, value in losses.items()}}


def norms(x: Tensor) -> Tensor:
    """The length of each picture's gradient, (B,), not quite zero."""
    return x.flatten(1).norm(dim=1).clamp_min(1e-12)


class RestorationStage(Stage):
    """A stage whose objective makes pictures and has them judged.

    The objective has a ``criterion``, a :class:`PictureLoss`; ``prepare``, from originals and qualities to
    what it needs; and ``generate``, from that to pictures.
    """

    batch_size, crop, max_zoom, graphics = 4, 192, 1.3, 0.05
    gradient_clip = 4.0
    qualities = (125, 150, 180)
    weights: Mapping[str, float]
    adversary_share: float

    def start_adversary(self, folder: Path, data: Crops, options: StageOptions) -> PictureLoss:
        """The stage's losses, with an adversary that goes on where an earlier run's stopped."""
        adversary = ProjectedDiscriminator(feature_network(ADVERSARY, options.backbones), data.batch(32))
        criterion = PictureLoss(adversary, self.weights, self.adversary_share)
        if (folder / ADVERSARY_FILE).exists():
            adversary.load_state_dict(load_file(folder / ADVERSARY_FILE))
            criterion.course.adversary_starts = 0.0
        self.heads = [*adversary.heads.parameters(), *adversary.pixels.parameters()]
        self.optimizer = torch.optim.AdamW(self.heads, lr=ADVERSARY_LEARNING_RATE, betas=(0.0, 0.9))
        return criterion

    def after_step(self, accelerator: Accelerator, batch: Pictures, progress: float) -> dict[str, Tensor]:
        """The discriminator's step, on the pictures that the generator's step made."""
        if batch.fake is None:
            return {}
        adversary = self.objective.criterion.adversary
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
        for parameter in self.heads:
            # The heads are no part of what accelerate has prepared: their gradients are averaged here.
            parameter.grad = accelerator.reduce(parameter.grad, reduction="mean")
        self.optimizer.step()
        for parameter in self.heads:
            parameter.requires_grad_(False)
        return {"adversary": loss}

    def extra_state(self) -> dict[str, Any]:
        return {"adversary_optimizer": self.optimizer, "course": self.objective.criterion.course}

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
        perceptual = objective.criterion.perceptual
        with torch.autocast(x.device.type, torch.bfloat16):
            batch = objective.prepare(x, torch.tensor([quality], device=x.device))
            pictures = {"coarse": batch.x_coarse, "final": objective.generate(batch).clamp(-1, 1)}
            figures: dict[str, float] = {}
            for name, picture in pictures.items():
                figures[f"psnr_{name}"] = psnr_db(picture, x)
                figures[f"lpips_vgg_{name}"] = float(perceptual.lpips(picture, x))
                figures[f"dists_{name}"] = float(perceptual.dists(picture, x))
                figures[f"energy_{name}"] = gradient_energy(picture) / gradient_energy(x)
        return figures

    def pictures(self, images: list[Tensor]) -> dict[str, Tensor]:
        """Corners of originals, coarse and final pictures, at the middle one of the qualities."""
        torch.manual_seed(0)
        side = min(self.crop, *(min(x.shape[-2:]) for x in images))
        x = torch.cat([each[..., :side, :side] for each in images])
        quality = torch.full((len(x),), float(self.qualities[1]), device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16):
            batch = self.objective.prepare(x, quality)
            final = self.objective.generate(batch)
        return {"original": x, "coarse": batch.x_coarse, "final": final}

    def save(self, folder: Path) -> None:
        """The adversary: no part of a checkpoint; a later run goes on with it."""
        state = self.objective.criterion.adversary.state_dict()
        (folder / ADVERSARY_FILE).parent.mkdir(exist_ok=True)
        save_file({key: value.contiguous() for key, value in state.items()}, folder / ADVERSARY_FILE)


def gradient_energy(x: Tensor) -> float:
    """Mean absolute luma difference between neighbours, of pictures (1, 3, H, W)."""
    luma = x.mean(1)
    return float(luma.diff(dim=-1).abs().mean() + luma.diff(dim=-2).abs().mean())
