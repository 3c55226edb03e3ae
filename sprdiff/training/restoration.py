"""The losses of restored pictures, for the networks that make them: the teacher, then the denoiser."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from safetensors.torch import load_file
from torch import Tensor, nn

from sprdiff.training.backbones import feature_network
from sprdiff.training.data import Crops
from sprdiff.training.discriminator import (
    DiscriminatorObjective,
    Features,
    ProjectedDiscriminator,
    generator_loss,
)
from sprdiff.training.frozen import save_weights
from sprdiff.training.losses import PerceptualLoss, flat_error, grid_error, structure_loss
from sprdiff.training.qualities import QualityRange
from sprdiff.training.settings import Decay, Group, Settings, Share, Side, Zoom
from sprdiff.training.stage import Stage, StageOptions, learning_rate_factor
from sprdiff.training.transform_stages import psnr_db

ADVERSARY_FILE = "state/adversary.safetensors"


class LossWeights(Group):
    """Weights of the losses of a picture, the adversarial one apart.

    Attributes:
        l1: absolute error to the target.
        low: absolute error of mean colours.
        structure, flat, grid: see :mod:`sprdiff.training.losses`.
        perceptual: LPIPS (VGG) and DISTS, in turn.
    """

    l1: NonNegativeFloat = 1.0
    low: NonNegativeFloat = 2.0
    structure: NonNegativeFloat = 0.8
    flat: NonNegativeFloat = 3.0
    grid: NonNegativeFloat = 40.0
    perceptual: NonNegativeFloat = 2.0


class AdversarySettings(Group):
    """Of the adversary.

    Attributes:
        network: of timm, through whose features it sees.
        share: its gradient on a picture, as a share of that of the perceptual loss: without a limit it
            dominates.
        channels: of its heads.
        learning_rate: its peak.
        betas: of its AdamW.
        starts, ramp: shares of the stage's steps after which it counts, and in which its weight rises.
    """

    network: str = "tf_efficientnet_lite0"
    share: NonNegativeFloat = 0.8
    channels: PositiveInt = 64
    learning_rate: PositiveFloat = 3e-4
    betas: tuple[Decay, Decay] = (0.0, 0.9)
    starts: float = 0.03
    ramp: PositiveFloat = 0.05


class RestorationSettings(Settings):
    """Of a network that restores pictures.

    Attributes:
        low_cell, grid_cell: sides in pixels of the cells whose mean colours ``low`` compares, and of those
            that must leave no grid.
        target_until: the share of the steps in which LPIPS is taken to the target too.
        qualities: of the coarse pictures.
    """

    batch_size: PositiveInt = 4
    crop: Side = 192
    max_zoom: Zoom = 1.3
    graphics: Share = 0.05
    gradient_clip: PositiveFloat = 4.0
    weights: LossWeights = LossWeights()
    low_cell: PositiveInt = 8
    grid_cell: PositiveInt = 4
    target_until: Share = 0.5
    adversary: AdversarySettings = AdversarySettings()
    qualities: QualityRange = QualityRange()


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

    def __init__(self, adversary_starts: float) -> None:
        self.turn = 0
        self.adversary_starts = adversary_starts

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class PictureLoss(nn.Module):
    """Reconstruction, perceptual and adversarial losses of a picture.

    The error of pixels is taken to the target, which can be reached, LPIPS to target and original in turn and
    later to the original alone; DISTS, the adversarial loss, and those of structure, flat areas and grid
    refer to the original.

    Args:
        adversary: not trained by these losses.
        settings: their weights.
    """

    def __init__(self, adversary: ProjectedDiscriminator, settings: RestorationSettings) -> None:
        super().__init__()
        self.adversary = adversary.requires_grad_(False)
        self.perceptual = PerceptualLoss()
        self.settings = settings
        self.course = Course(settings.adversary.starts)

    def forward(self, generated: Tensor, pictures: Pictures, progress: float) -> dict[str, Tensor]:
        """The losses by name; only ``loss`` has a gradient.

        Args:
            generated: (B, 3, H, W), not clamped.
            progress: the share of the stage's steps that is over.
        """
        # Gradients are taken on the picture, where they can be weighed against each other, and only their sum
        # goes back through the network that made it.
        settings = self.settings
        x_hat, x, target = generated.detach().requires_grad_(), pictures.x, pictures.target
        losses = {
            "l1": (x_hat - target).abs().mean(),
            "low": F.avg_pool2d(x_hat - x, settings.low_cell).abs().mean(),
            "structure": structure_loss(x_hat, x),
            "flat": flat_error(x_hat, x),
            "grid": grid_error(x_hat, x, settings.grid_cell),
        }
        total = sum(getattr(settings.weights, key) * loss for key, loss in losses.items())
        (gradient,) = torch.autograd.grad(total, x_hat)
        # One of the two a step: half the time, and both are learned.
        lesson = target if progress < settings.target_until else x
        turns = (("lpips", lesson), ("dists", x), ("lpips", x), ("dists", x))
        name, reference = turns[self.course.turn % len(turns)]
        losses[name] = getattr(self.perceptual, name)(x_hat, reference).mean()
        (perceptual,) = torch.autograd.grad(settings.weights.perceptual * losses[name], x_hat)
        gradient = gradient + perceptual
        starts = self.course.adversary_starts
        ramp = min(1.0, max(0.0, (progress - starts) / settings.adversary.ramp))
        if progress >= starts / 2:
            pictures.coarse = [each.detach() for each in self.adversary.features(pictures.x_coarse)]
            fake = self.adversary.features(x_hat)
            pictures.fake = [each.detach() for each in fake]
            adversarial = generator_loss(self.adversary(fake, pictures.coarse))
            losses["adversarial"] = adversarial.mean()
            if ramp > 0:
                (adverse,) = torch.autograd.grad(adversarial.sum(), x_hat)
                share = ramp * settings.adversary.share * norms(perceptual) / norms(adverse)
                gradient = gradient + share[:, None, None, None] * adverse
        loss = (generated * gradient.detach()).sum()
        return {"loss": loss, **{key: value.detach() for key, value in losses.items()}}


def norms(x: Tensor) -> Tensor:
    """The length of each picture's gradient, (B,), not quite zero."""
    return x.flatten(1).norm(dim=1).clamp_min(1e-12)


class RestorationStage(Stage):
    """A stage whose objective makes pictures and takes their losses.

    The objective has a ``criterion``, a :class:`PictureLoss`; ``prepare``, from originals and qualities to
    what it needs; and ``generate``, from that to pictures.
    """

    settings: RestorationSettings
    validated = (125, 150, 180)

    def start_adversary(self, folder: Path, data: Crops, options: StageOptions) -> PictureLoss:
        """The stage's losses, with an adversary that goes on where an earlier run's stopped."""
        settings = self.settings.adversary
        network = feature_network(settings.network, options.backbones)
        adversary = ProjectedDiscriminator(network, data.batch(32), settings.channels)
        criterion = PictureLoss(adversary, self.settings)
        if (folder / ADVERSARY_FILE).exists():
            adversary.load_state_dict(load_file(folder / ADVERSARY_FILE))
            criterion.course.adversary_starts = 0.0
        self.heads = [*adversary.heads.parameters(), *adversary.pixels.parameters()]
        self.discriminator: nn.Module = DiscriminatorObjective(adversary)
        self.optimizer = torch.optim.AdamW(self.heads, lr=settings.learning_rate, betas=settings.betas)
        return criterion

    def prepare(self, accelerator: Accelerator) -> tuple[nn.Module, ...]:
        # What does not learn as this is called is not averaged over processes; in the objective heads do not.
        with self._learning_heads():
            self.discriminator, self.optimizer = accelerator.prepare(self.discriminator, self.optimizer)
        return (self.discriminator,)

    @contextlib.contextmanager
    def _learning_heads(self) -> Iterator[None]:
        for parameter in self.heads:
            parameter.requires_grad_(True)
        try:
            yield
        finally:
            for parameter in self.heads:
                parameter.requires_grad_(False)

    def after_step(self, accelerator: Accelerator, batch: Pictures, progress: float) -> dict[str, Tensor]:
        """The discriminator's step, on the pictures that the generator's step made."""
        criterion, settings = self.objective.criterion, self.settings
        criterion.course.turn += accelerator.sync_gradients
        if batch.fake is None:
            return {}
        with self._learning_heads():
            with accelerator.autocast():
                loss = self.discriminator(batch.x, batch.fake, batch.coarse)
            accelerator.backward(loss)
        if accelerator.sync_gradients:
            factor = learning_rate_factor(progress, settings)
            for group in self.optimizer.param_groups:
                group["lr"] = settings.adversary.learning_rate * factor
            self.optimizer.step()
            self.optimizer.zero_grad()
        return {"adversary": loss}

    def extra_state(self) -> dict[str, Any]:
        return {"course": self.objective.criterion.course}

    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        """What coarse and final picture are like at three qualities, averages over pictures."""
        torch.manual_seed(0)
        rows = []
        for quality in self.validated:
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
        side = min(self.settings.crop, *(min(x.shape[-2:]) for x in images))
        x = torch.cat([each[..., :side, :side] for each in images])
        quality = torch.full((len(x),), float(self.validated[1]), device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16):
            batch = self.objective.prepare(x, quality)
            final = self.objective.generate(batch)
        return {"original": x, "coarse": batch.x_coarse, "final": final}

    def save(self, folder: Path) -> None:
        """The adversary: no part of a checkpoint; a later run goes on with it."""
        save_weights(self.objective.criterion.adversary, folder / ADVERSARY_FILE)


def gradient_energy(x: Tensor) -> float:
    """Mean absolute difference between neighbours of pictures (1, 3, H, W), averaged over the channels first.

    Not of luma: figures of earlier trainings are of the plain mean of the channels.
    """
    gray = x.mean(1)
    return float(gray.diff(dim=-1).abs().mean() + gray.diff(dim=-2).abs().mean())
