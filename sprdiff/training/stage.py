"""What a stage of the training is: what it trains, and how. :mod:`sprdiff.training.loop` does it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sprdiff.checkpoint.config import ModelConfig
from sprdiff.training.data import Crops, Place, Source
from sprdiff.training.settings import Settings


@dataclass(frozen=True)
class StageOptions:
    """What a run asks of a stage beyond its defaults.

    Attributes:
        without: what an ablation leaves out, of the stage's ``ablations``.
        only: train these parts of the stage alone; none for all of them.
        backbones: folder with the weights of the networks that teach, see
            :func:`sprdiff.training.backbones.feature_network` and :mod:`sprdiff.training.real_esrgan`.
        taught: folder of a teacher's pictures, see :mod:`sprdiff.training.teacher`.
    """

    without: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    backbones: Path | None = None
    taught: Path | None = None


class Stage(ABC):
    """What one stage trains, and how.

    Args:
        settings: of ``settings_type``.
        config: sizes of the parts.
        folder: of the run.
        data: crops to take statistics of, for closed-form starts.
        options: what the run asks for.
    Attributes:
        name: as given on the command line.
        settings_type: the stage's settings with their defaults.
        objective: the module whose parameters are trained; its forward returns a dict of losses with
            the total under ``loss``.
        ablations, separable: what the stage can be trained without, and which of its parts alone; see
            :class:`StageOptions`.
        follows_teacher: whether ``StageOptions.taught`` is for it.
    """

    name: str
    settings_type: type[Settings]
    ablations: tuple[str, ...] = ()
    separable: tuple[str, ...] = ()
    follows_teacher: bool = False
    objective: nn.Module

    def __init__(
        self, settings: Settings, config: ModelConfig, folder: Path, data: Crops, options: StageOptions
    ) -> None:
        self.settings = settings
        self.build(config, folder, data, options)

    @abstractmethod
    def build(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        """Make ``objective``, of new parts or of those that the run holds."""

    def source(self, paths: list[Place]) -> Source:
        """Where crops come from.

        Args:
            paths: the photographs to train on.
        """
        settings = self.settings
        return Crops(
            paths,
            settings.crop,
            settings.max_zoom,
            seed=settings.seed,
            graphics=settings.graphics,
            sources=settings.sources,
            min_zoom=settings.min_zoom,
            turned=settings.turned,
            tint=settings.tint,
        )

    def prepare(self, accelerator: Accelerator) -> tuple[nn.Module, ...]:
        """Have accelerate prepare what is trained beside the objective, and its optimizer; gives the modules.

        Their states become part of the run's; a batch is shared with them as with the objective.
        """
        return ()

    def before_step(self, accelerator: Accelerator, crops: Any) -> Any:
        """The objective's batch, for example with what frozen parts make of the crops (B, 3, H, W)."""
        return to_device(crops, accelerator)

    def after_step(self, accelerator: Accelerator, batch: Any, progress: float) -> dict[str, Tensor]:
        """Work of a stage after the objective's step, for example a discriminator's; gives what to log."""
        return {}

    def extra_state(self) -> dict[str, Any]:
        """Objects with ``state_dict`` beside the objective that a resumed run needs."""
        return {}

    @abstractmethod
    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        """Rows of a table, measured on held-out pictures (1, 3, H, W) in [-1, 1]."""

    def pictures(self, images: list[Tensor]) -> dict[str, Tensor]:
        """What to look at, by name: pictures (N, 3, H, W) in [-1, 1] made of held-out ones (1, 3, H, W)."""
        return {}

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the trained parts into ``folder``."""


def to_device(pictures: Tensor, accelerator: Accelerator) -> Tensor:
    """Pictures (B, C, H, W) where the objective is, channels last."""
    return pictures.to(accelerator.device, memory_format=torch.channels_last)


def learning_rate_factor(progress: float, settings: Settings) -> float:
    """The share of its peak that a learning rate has when this share of the steps is over.

    It falls as a cosine (arXiv:1608.03983).
    """
    falling = max(0.0, progress - settings.decay_from) / (1 - settings.decay_from)
    return settings.decay_to + (1 - settings.decay_to) * 0.5 * (1 + math.cos(math.pi * falling))
