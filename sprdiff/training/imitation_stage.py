"""The stage that starts the diffusion model: it follows a teacher that restores coarse pictures.

What a teacher makes of a coarse picture is a function of that picture, so following it is plain regression,
which a few hundred steps learn; what the original would say is not, and perceptual losses alone learn next to
nothing in as many (docs/experiments.md). It leaves pictures that are clean and a little soft, from which the
diffusion stage goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from sprdiff.config import ModelConfig
from sprdiff.errors import SettingsError
from sprdiff.training.data import Crops, TaughtCrops, split, to_pixels
from sprdiff.training.loop import Stage, StageOptions, to_device
from sprdiff.training.losses import structure_loss
from sprdiff.training.refiner import Batch, Refiner, load_refiner, save_refiner

STRUCTURE_WEIGHT = 0.3


class ImitationObjective(Refiner):
    """Absolute error to the teacher's picture, also of differences between neighbours, and its structure."""

    def forward(self, pair: tuple[Batch, Tensor], progress: float) -> dict[str, Tensor]:
        batch, taught = pair
        x_hat = self.generate(batch)
        error = x_hat - taught
        pixels = error.abs().mean()
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        structure = structure_loss(x_hat, taught)
        loss = pixels + edges + STRUCTURE_WEIGHT * structure
        before = (batch.x_coarse - taught).abs().mean()
        return {"loss": loss, "l1": pixels, "of_coarse": pixels.detach() / before, "structure": structure}


class ImitationStage(Stage):
    """The denoiser and the dual feature extraction, in the teacher's steps."""

    name = "imitation"
    batch_size, crop, max_zoom, learning_rate = 6, 160, 1.0, 5e-4
    ema_decay = 0.995
    gradient_clip = 1.0

    def __init__(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        if options.taught is None:
            raise SettingsError(
                "The imitation stage needs --taught; python -m sprdiff.training.teacher fills it."
            )
        paths = sorted(options.taught.glob("*.npz"))
        if len(paths) < 2:
            raise SettingsError(
                f"Imitation needs at least 2 taught pictures; {options.taught} holds {len(paths)}."
            )
        self.paths, held_out = split(paths)
        self.held_out = TaughtCrops(held_out, self.crop, 0).pictures
        self.objective = ImitationObjective(*load_refiner(config, folder))

    def source(self, paths: list[Path], seed: int) -> TaughtCrops:
        """Crops of the taught pictures; the photographs themselves are not looked at."""
        return TaughtCrops(self.paths, self.crop, seed)

    def before_step(self, accelerator: Accelerator, crops: Any) -> tuple[Batch, Tensor]:
        x, coarse, taught, quality = crops
        pictures = (to_device(each, accelerator) for each in (x, coarse))
        with accelerator.autocast():
            batch = self.objective.look(*pictures, quality.to(accelerator.device))
        return batch, to_device(taught, accelerator)

    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        """What is left of the difference between coarse and taught pictures, on held-out ones."""
        torch.manual_seed(0)
        device = next(self.objective.parameters()).device
        rest = []
        for picture in self.held_out[:12]:
            size = [side // 64 * 64 for side in picture.x.shape[:2]]
            x, coarse, taught = (
                to_pixels(each[: size[0], : size[1]])[None].to(device)
                for each in (picture.x, picture.coarse, picture.taught)
            )
            batch = self.objective.look(x, coarse, torch.tensor([picture.quality], device=device))
            left = (self.objective.generate(batch) - taught).abs().mean()
            rest.append(float(left / (coarse - taught).abs().mean()))
        return [{"of_coarse": sum(rest) / len(rest)}]

    def save(self, folder: Path) -> None:
        save_refiner(self.objective.trained, self.objective.scheduler, folder)
