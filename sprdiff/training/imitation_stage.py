"""The stage that makes the pixel features: they follow a teacher that restores coarse pictures.

A teacher's output is a function of the coarse picture, so imitating it is plain regression; the original is
not such a function. The teacher's intermediate features are targets as well (FitNets, arXiv:1412.6550): each
stage of the pixel branch learns the teacher's features at the same share of its depth, first from the
teacher's own features (blockwise, as in arXiv:1911.13053), then from those of the stage before. From the
picture alone the same network learned next to nothing in as many steps (docs/experiments.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from sprdiff.checkpoint.config import ModelConfig
from sprdiff.checkpoint.parts import build_part, load_part, save_part
from sprdiff.errors import SettingsError
from sprdiff.layers.blocks import conv3x3, zero_init
from sprdiff.layers.klt import to_blocks
from sprdiff.reconstruction.conditions import DualFeatureExtractor
from sprdiff.training.data import Crops, Place, Source, TaughtBatch, TaughtCrops, taught_pictures
from sprdiff.training.qualities import QualityRange
from sprdiff.training.restoration import RestorationSettings
from sprdiff.training.settings import Decay, Settings, Share, Side, Zoom
from sprdiff.training.stage import Stage, StageOptions, to_device
from sprdiff.training.teacher_stage import Teaching

# What decides of which pictures crops are taken.
MADE = ("max_zoom", "min_zoom", "turned", "tint", "graphics", "sources", "qualities")


class ImitationSettings(Settings):
    """Of the pixel branch that follows the teacher.

    Attributes:
        apart_until: until this share of the steps each stage starts from the teacher's features, not from
            those before it.
        pixels, features: weights of the picture's absolute error and the features' squared errors.
        qualities: of the coarse pictures.
    """

    steps: PositiveInt = 4000
    batch_size: PositiveInt = 4
    crop: Side = 192
    max_zoom: Zoom = 1.3
    graphics: Share = 0.05
    learning_rate: PositiveFloat = 1e-3
    ema_decay: Decay = 0.99
    gradient_clip: PositiveFloat = 5.0
    apart_until: Share = 0.3
    pixels: NonNegativeFloat = 20.0
    features: NonNegativeFloat = 0.5
    qualities: QualityRange = QualityRange()


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


class Lessons:
    """Batches of what a teacher makes of coarse pictures, from files or from the teacher itself.

    On a CPU the teacher would take most of a step, so it is run once in advance
    (:mod:`sprdiff.training.teacher`); on a GPU it is run at every step, on new crops.

    Args:
        folder: of the run, whose teacher is used.
        taught: of a teacher's pictures; none to run the teacher.
        settings: of the stage: its crops, and the qualities of their coarse pictures.
    Attributes:
        source: of batches with what was taught; none where :meth:`batch` takes crops of photographs.
    Raises:
        SettingsError: pictures are given, which are as they are, and a setting would have others.
        WeightsError: neither are there pictures, nor has the teacher stage been trained.
    """

    def __init__(
        self, folder: Path, taught: Path | None, settings: ImitationSettings | RestorationSettings
    ) -> None:
        self.crop = settings.crop
        self.qualities = settings.qualities
        if taught is not None:
            _check_made(settings)
        self.teaching = Teaching.load(folder) if taught is None else None
        self.source: TaughtCrops | None = None
        if taught is not None:
            paths, held_out = taught_pictures(taught)
            self.source = TaughtCrops(paths, self.crop)
            self.held_out = TaughtCrops(held_out, self.crop).batch(48)

    def scale(self, data: Crops) -> FeatureScale:
        """Of the teacher's features, over 48 crops."""
        if self.source is not None:
            return FeatureScale.measure(self.source.batch(48).features)
        x = data.batch(48)
        return FeatureScale.measure(self._ask(x, self.qualities.draw(len(x), x.device)).features)

    def batch(self, accelerator: Accelerator, crops: Tensor | TaughtBatch) -> TaughtBatch:
        """A batch of the source, with all that was taught, on the device."""
        if isinstance(crops, Tensor):
            x = to_device(crops, accelerator)
            with accelerator.autocast():
                return self._ask(x, self.qualities.draw(len(x), x.device))
        return taught_to(crops, accelerator.device)

    def examine(self, images: list[Tensor]) -> TaughtBatch:
        """Held-out pictures with what was taught about them, on the device of ``images``."""
        device = images[0].device
        if self.source is not None:
            return taught_to(self.held_out, device)
        x = torch.cat([each[..., : self.crop, : self.crop] for each in images])
        with torch.autocast(device.type, torch.bfloat16):
            return self._ask(x, torch.full((len(x),), 150.0, device=device))

    def _ask(self, x: Tensor, quality: Tensor) -> TaughtBatch:
        assert self.teaching is not None, "the pictures are made already"
        return self.teaching(x, quality)


def _check_made(settings: ImitationSettings | RestorationSettings) -> None:
    """Passes where no setting asks for pictures unlike those that are made already."""
    default = type(settings)()
    changed = [name for name in MADE if getattr(settings, name) != getattr(default, name)]
    if changed:
        raise SettingsError(
            f"With --taught the pictures are made already: {', '.join(changed)} would have no effect. What "
            "they are made of, python -m sprdiff.training.teacher is told."
        )


def taught_to(batch: TaughtBatch, device: torch.device) -> TaughtBatch:
    """``batch`` on a device, its pictures channels last."""
    pictures = (each.to(device, memory_format=torch.channels_last) for each in batch[:3])
    return TaughtBatch(*pictures, *(each.to(device) for each in batch[3:]))


class ImitationObjective(nn.Module):
    """Squared errors of every stage's features, absolute error of the picture that the last one makes.

    Args:
        conditions: whose pixel branch is trained.
        scale: of the teacher's features.
        settings: of the stage.
        teaching: the teacher, where it is run during training; registered, so that it moves with the model.
    """

    def __init__(
        self,
        conditions: DualFeatureExtractor,
        scale: FeatureScale,
        settings: ImitationSettings,
        teaching: Teaching | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        channels, stride = conditions.config.pixel_channels, conditions.config.stride
        conditions.requires_grad_(False)
        for branch in (conditions.blocks, conditions.pixel):
            branch.requires_grad_(True)
        self.trained = nn.ModuleDict({"conditions": conditions})
        # Not saved: it only makes the features predict a picture; the denoiser learns its own use of them.
        self.to_picture = nn.Sequential(
            conv3x3(channels, 2 * channels),
            nn.SiLU(),
            zero_init(conv3x3(2 * channels, 3 * stride**2)),
            nn.PixelShuffle(stride),
        )
        self.scale = scale
        self.teaching = teaching

    def forward(self, batch: TaughtBatch, progress: float) -> dict[str, Tensor]:
        taught = self.scale(batch.features)
        conditions = self.trained["conditions"]
        h = conditions.blocks(to_blocks(batch.coarse, conditions.config.stride))
        features = []
        for i, stage in enumerate(conditions.pixel):
            features.append(stage(h))
            h = taught[i] if progress < self.settings.apart_until else features[i]
        errors = [F.mse_loss(made.float(), given) for made, given in zip(features, taught, strict=True)]
        x_hat = batch.coarse + self.to_picture(h).float()
        pixels, before = F.l1_loss(x_hat, batch.taught), F.l1_loss(batch.coarse, batch.taught)
        loss = self.settings.pixels * pixels + self.settings.features * sum(errors)
        figures = {f"unexplained_{i}": error.detach() for i, error in enumerate(errors, 1)}
        return {"loss": loss, "of_coarse": pixels.detach() / before, **figures}


class ImitationStage(Stage):
    """The pixel branch of the dual feature extraction, trained to match the teacher."""

    name = "imitation"
    settings: ImitationSettings
    settings_type = ImitationSettings
    follows_teacher = True

    def build(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        self.lessons = Lessons(folder, options.taught, self.settings)
        begun = (folder / "conditions").exists()
        conditions = load_part("conditions", folder) if begun else build_part("conditions", config)
        scale = self.lessons.scale(data)
        self.objective = ImitationObjective(conditions.train(), scale, self.settings, self.lessons.teaching)

    def source(self, paths: list[Place]) -> Source:
        """Crops of the taught pictures, or of the photographs that the teacher restores."""
        return self.lessons.source or super().source(paths)

    def before_step(self, accelerator: Accelerator, crops: Tensor | TaughtBatch) -> TaughtBatch:
        return self.lessons.batch(accelerator, crops)

    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        """What is left, on held-out pictures, of the difference to the teacher's, and of its features."""
        figures = self.objective(self.lessons.examine(images), 1.0)
        return [{key: float(value) for key, value in figures.items() if key != "loss"}]

    def save(self, folder: Path) -> None:
        save_part(self.objective.trained["conditions"], folder / "conditions")
