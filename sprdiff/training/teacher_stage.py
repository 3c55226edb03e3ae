"""The stage that makes a teacher: a network that restores pictures learns to restore the codec's.

Real-ESRGAN was trained for hundreds of thousands of steps on photographs. After a few hundred more, with our
coarse pictures as input, it restores those better than a denoiser trained from scratch does in days
(docs/experiments.md). It is no part of a checkpoint: the next stages imitate it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from pydantic import PositiveFloat, PositiveInt
from safetensors.torch import load_file
from torch import Tensor, nn

from sprdiff.checkpoint.config import ModelConfig
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.reconstruction.detail import keep_colours
from sprdiff.training.data import Crops, TaughtBatch
from sprdiff.training.frozen import CodecPreview, Frozen, round_to_levels, save_weights
from sprdiff.training.real_esrgan import NAME, RealESRGAN
from sprdiff.training.restoration import (
    AdversarySettings,
    LossWeights,
    PictureLoss,
    Pictures,
    RestorationSettings,
    RestorationStage,
)
from sprdiff.training.settings import Decay
from sprdiff.training.stage import StageOptions, to_device

TEACHER_FILE = "state/teacher.safetensors"


class TeacherObjective(nn.Module):
    """The pictures of the teacher, and their losses.

    Args:
        teacher: trained.
        codec: makes the coarse pictures.
        criterion: the losses of restored ones.
    """

    def __init__(self, teacher: RealESRGAN, codec: CodecPreview, criterion: PictureLoss) -> None:
        super().__init__()
        self.trained = nn.ModuleDict({"teacher": teacher})
        self.codec = codec
        self.criterion = criterion

    def prepare(self, x: Tensor, quality: Tensor) -> Pictures:
        """Crops (B, 3, H, W), at qualities (B,), and their coarse pictures."""
        return Pictures(x=x, x_coarse=self.codec(x, quality), quality=quality, target=x)

    def generate(self, pictures: Pictures) -> Tensor:
        """Restored pictures, float32 and not clamped."""
        return restore(self.trained["teacher"], pictures.x_coarse)[0]

    def forward(self, pictures: Pictures, progress: float) -> dict[str, Tensor]:
        return self.criterion(self.generate(pictures), pictures, progress)


def restore(teacher: RealESRGAN, x_coarse: Tensor) -> tuple[Tensor, list[Tensor]]:
    """A teacher's picture (B, 3, H, W), with the colours of the coarse one, and its features on the way."""
    restored, features = teacher(x_coarse)
    return keep_colours(x_coarse, restored.float()), features


def load_teacher(run: Path) -> RealESRGAN:
    """The teacher of a run.

    Raises:
        WeightsError: its stage has not been trained.
    """
    path = run / TEACHER_FILE
    if not path.exists():
        raise WeightsError(f"There is no teacher: {path} does not exist; train the teacher stage.")
    teacher = RealESRGAN()
    teacher.load_state_dict(load_file(path))
    return teacher.eval().requires_grad_(False)


class Teaching(nn.Module):
    """The codec and the teacher of a run: what the teacher makes of coarse pictures.

    Args:
        codec: makes the coarse pictures.
        teacher: restores them.
    """

    def __init__(self, codec: CodecPreview, teacher: RealESRGAN) -> None:
        super().__init__()
        self.parts = Frozen({"codec": codec, "teacher": teacher})

    @classmethod
    def load(cls, run: Path) -> Teaching:
        """Those of a run.

        Raises:
            WeightsError: the teacher stage has not been trained.
        """
        return cls(CodecPreview.load(run), load_teacher(run))

    @torch.no_grad()
    def forward(self, x: Tensor, quality: Tensor) -> TaughtBatch:
        """For originals (B, 3, H, W) in [-1, 1], sides divisible by 64, at qualities (B,)."""
        coarse = round_to_levels(self.parts["codec"](x, quality))
        restored, features = restore(self.parts["teacher"], coarse)
        return TaughtBatch(x, coarse, restored.clamp(-1, 1), torch.stack(features).float(), quality)


class TeacherSettings(RestorationSettings):
    """Of the teacher, which begins as a network that restores already."""

    steps: PositiveInt = 400
    learning_rate: PositiveFloat = 1e-4
    ema_decay: Decay = 0.99
    weights: LossWeights = LossWeights(l1=0.3, low=3.0, structure=0.2, grid=20.0)
    adversary: AdversarySettings = AdversarySettings(share=0.4)


class TeacherStage(RestorationStage):
    """Real-ESRGAN, for the pictures of this codec."""

    name = "teacher"
    settings: TeacherSettings
    settings_type = TeacherSettings

    def build(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        if (folder / TEACHER_FILE).exists():
            teacher = load_teacher(folder).requires_grad_(True)
        elif options.backbones is None:
            raise SettingsError(f"The teacher stage needs --backbones, a folder with {NAME}.bin.")
        else:
            teacher = RealESRGAN().read(options.backbones / f"{NAME}.bin")
        criterion = self.start_adversary(folder, data, options)
        self.objective = TeacherObjective(teacher.train(), CodecPreview.load(folder), criterion)

    def before_step(self, accelerator: Accelerator, crops: Tensor) -> Pictures:
        """The crops' coarse pictures."""
        crops = to_device(crops, accelerator)
        with torch.no_grad(), accelerator.autocast():
            return self.objective.prepare(crops, self.settings.qualities.draw(len(crops), crops.device))

    def save(self, folder: Path) -> None:
        super().save(folder)
        save_weights(self.objective.trained["teacher"], folder / TEACHER_FILE)
