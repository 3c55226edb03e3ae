"""The stage that makes the pixel features: they follow a teacher that restores coarse pictures.

What a teacher makes of a coarse picture is a function of that picture, so following it is plain regression;
what the original would say is not. And the teacher is followed on its way (FitNets, arXiv:1412.6550): each
stage of the pixel branch learns what the teacher has made at the same share of its depth, first from the
teacher's own features (blockwise, as in arXiv:1911.13053), then from those of the stage before. From the
picture alone the same network learned next to nothing in as many steps (docs/experiments.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from sprdiff.config import ModelConfig
from sprdiff.layers.blocks import conv3x3, zero_init
from sprdiff.layers.klt import to_blocks
from sprdiff.parts import build_part, load_part, save_part
from sprdiff.reconstruction.conditions import DualFeatureExtractor
from sprdiff.training.data import Crops, TaughtBatch, TaughtCrops, taught_pictures
from sprdiff.training.loop import Stage, StageOptions, to_device

# Until this share of the time each stage starts from the teacher's features, not from those before it.
APART_UNTIL = 0.3
PIXEL_WEIGHT, FEATURE_WEIGHT = 20.0, 0.5


class FeatureScale(nn.Module):
    """The teacher's features with zero mean and unit variance in every channel.

    Args:
        mean, deviation: (stages, channels).
    """

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    @classmethod
    def measure(cls, features: Tensor) -> FeatureScale:
        """Of many (stages, B, C, h, w)."""
        return cls(features.mean((1, 3, 4)), features.std((1, 3, 4)).clamp_min(1e-4))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean[:, None, :, None, None]) / self.deviation[:, None, :, None, None]


class ImitationObjective(nn.Module):
    """Squared errors of every stage's features, absolute error of the picture that the last one makes.

    Args:
        conditions: whose pixel branch is trained.
        scale: of the teacher's features.
    """

    def __init__(self, conditions: DualFeatureExtractor, scale: FeatureScale) -> None:
        super().__init__()
        channels, stride = conditions.config.pixel_channels, conditions.config.stride
        conditions.requires_grad_(False)
        for branch in (conditions.blocks, conditions.pixel):
            branch.requires_grad_(True)
        self.trained = nn.ModuleDict({"conditions": conditions})
        # Not kept: what the features are good for, is the denoiser's to learn.
        self.to_picture = nn.Sequential(
            conv3x3(channels, 2 * channels),
            nn.SiLU(),
            zero_init(conv3x3(2 * channels, 3 * stride**2)),
            nn.PixelShuffle(stride),
        )
        self.scale = scale

    def forward(self, batch: TaughtBatch, progress: float) -> dict[str, Tensor]:
        taught = self.scale(batch.features)
        conditions = self.trained["conditions"]
        h = conditions.blocks(to_blocks(batch.coarse, conditions.config.stride))
        features = []
        for i, stage in enumerate(conditions.pixel):
            features.append(stage(h))
            h = taught[i] if progress < APART_UNTIL else features[i]
        errors = [F.mse_loss(made.float(), given) for made, given in zip(features, taught, strict=True)]
        x_hat = batch.coarse + self.to_picture(h).float()
        pixels, before = F.l1_loss(x_hat, batch.taught), F.l1_loss(batch.coarse, batch.taught)
        loss = PIXEL_WEIGHT * pixels + FEATURE_WEIGHT * sum(errors)
        figures = {f"unexplained_{i}": error.detach() for i, error in enumerate(errors, 1)}
        return {"loss": loss, "of_coarse": pixels.detach() / before, **figures}


class ImitationStage(Stage):
    """The pixel branch of the dual feature extraction, in the teacher's steps."""

    name = "imitation"
    batch_size, crop, learning_rate = 6, 160, 1e-3
    ema_decay = 0.99
    gradient_clip = 5.0

    def __init__(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        paths, held_out = taught_pictures(options.taught)
        begun = (folder / "conditions").exists()
        conditions = load_part("conditions", folder) if begun else build_part("conditions", config)
        self.crops = TaughtCrops(paths, self.crop, 0)
        scale = FeatureScale.measure(self.crops.batch(64).features)
        self.objective = ImitationObjective(conditions.train(), scale)
        self.held_out = TaughtCrops(held_out, self.crop, 0).batch(48)

    def source(self, paths: list[Path], seed: int) -> TaughtCrops:
        """Crops of the taught pictures; the photographs themselves are not looked at."""
        self.crops.seed(seed)
        return self.crops

    def before_step(self, accelerator: Accelerator, crops: TaughtBatch) -> TaughtBatch:
        pictures = (to_device(each, accelerator) for each in crops[:3])
        return TaughtBatch(*pictures, crops.features.to(accelerator.device), crops.quality)

    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        """What is left, on held-out pictures, of the difference to the teacher's, and of its features."""
        device = next(self.objective.parameters()).device
        batch = TaughtBatch(*(each.to(device) for each in self.held_out))
        figures = self.objective(batch, 1.0)
        return [{key: float(value) for key, value in figures.items() if key != "loss"}]

    def save(self, folder: Path) -> None:
        save_part(self.objective.trained["conditions"], folder / "conditions")
