"""The stage that trains the semantic encoder: from a coarse picture, the features of the original.

Distilled from a network that was trained on ImageNet (Hinton et al. 2015, arXiv:1503.02531; for features:
FitNets, arXiv:1412.6550). The student mostly sees coarse pictures and predicts the teacher's features of the
original: the decoder has nothing but the coarse picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from sprdiff.checkpoint.config import ModelConfig
from sprdiff.checkpoint.parts import build_part, load_part, save_part
from sprdiff.encoders.semantic import semantic_tokens
from sprdiff.training.backbones import feature_network
from sprdiff.training.data import Crops
from sprdiff.training.frozen import CodecPreview, Frozen
from sprdiff.training.qualities import QualityRange
from sprdiff.training.settings import Settings, Share, Side
from sprdiff.training.stage import Stage, StageOptions

# Of the teacher's maps: strides 16 and 32.
MAPS = (3, 4)


class SemanticSettings(Settings):
    """Of the semantic encoder.

    Attributes:
        teacher: a network of timm.
        originals: the share of pictures that the student sees as they are: at the encoder it sees originals.
        contrast, temperature: weight and temperature of the contrastive loss over a batch.
        qualities: of the coarse pictures.
    """

    steps: PositiveInt = 900
    batch_size: PositiveInt = 24
    crop: Side = 192
    gradient_clip: PositiveFloat = 1.0
    teacher: str = "tf_efficientnet_lite2"
    originals: Share = 0.25
    contrast: NonNegativeFloat = 0.3
    temperature: PositiveFloat = 0.1
    qualities: QualityRange = QualityRange()


class Knowledge(NamedTuple):
    """Features of the teacher, or predicted by the student; every channel of zero mean and unit variance.

    Attributes:
        fine, broad: maps at stride 16 and 32, (B, C, H, W).
        whole: of the whole picture, (B, C).
    """

    fine: Tensor
    broad: Tensor
    whole: Tensor


class Teacher(nn.Module):
    """A frozen network's maps, standardized over photographs.

    Args:
        network: gives maps at strides 2 to 32.
        pictures: photographs to take means and deviations of, (N, 3, H, W) in [-1, 1].
    """

    def __init__(self, network: nn.Module, pictures: Tensor) -> None:
        super().__init__()
        self.network = Frozen({"backbone": network})
        with torch.no_grad():
            fine, broad, whole = self._look(pictures)
        for name, value in (("fine", fine), ("broad", broad), ("whole", whole[..., None, None])):
            std, mean = torch.std_mean(value, (0, 2, 3), keepdim=True)
            self.register_buffer(f"{name}_mean", mean)
            self.register_buffer(f"{name}_std", std.clamp_min(1e-3))

    def _look(self, x: Tensor) -> Knowledge:
        maps = self.network["backbone"](x)
        fine, broad = (maps[i].float() for i in MAPS)
        return Knowledge(fine, broad, broad.mean((2, 3)))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Knowledge:
        fine, broad, whole = self._look(x)
        whole = (whole[..., None, None] - self.whole_mean) / self.whole_std
        return Knowledge(
            (fine - self.fine_mean) / self.fine_std,
            (broad - self.broad_mean) / self.broad_std,
            whole[..., 0, 0],
        )


class Student(nn.Module):
    """The semantic encoder, and heads that predict the teacher's features from its tokens, not saved."""

    def __init__(self, encoder: nn.Module, fine: int, broad: int) -> None:
        super().__init__()
        self.encoder = encoder
        channels = encoder.config.hidden_size
        self.fine = nn.Linear(channels, fine)
        self.broad = nn.Linear(channels, broad)
        self.whole = nn.Linear(channels, broad)

    def forward(self, x: Tensor) -> Knowledge:
        tokens = semantic_tokens(self.encoder, x)
        size = (x.shape[-2] // 16, x.shape[-1] // 16)
        fine, broad = (
            head(tokens[:, 1:]).transpose(1, 2).unflatten(2, size).float() for head in (self.fine, self.broad)
        )
        return Knowledge(fine, F.avg_pool2d(broad, 2), self.whole(tokens[:, 0]).float())


def contrast(predicted: Tensor, target: Tensor, temperature: float) -> Tensor:
    """The InfoNCE loss of predictions (N, C) against the targets of the batch (arXiv:1807.03748)."""
    scores = F.normalize(predicted, dim=1) @ F.normalize(target, dim=1).T / temperature
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


class SemanticObjective(nn.Module):
    """Squared error of the predicted features, and a contrastive loss over the pictures of a batch."""

    def __init__(
        self, student: Student, teacher: Teacher, codec: CodecPreview, settings: SemanticSettings
    ) -> None:
        super().__init__()
        self.settings = settings
        self.student = student
        self.teacher = teacher
        self.codec = codec

    def forward(self, x: Tensor, progress: float) -> dict[str, Tensor]:
        settings = self.settings
        x_coarse = self.codec(x, settings.qualities.draw(len(x), x.device))
        original = torch.rand(len(x), 1, 1, 1, device=x.device) < settings.originals
        predicted = self.student(torch.where(original, x, x_coarse))
        target = self.teacher(x)
        errors = {
            name: (getattr(predicted, name) - getattr(target, name)).pow(2).mean()
            for name in Knowledge._fields
        }
        told_apart = contrast(predicted.whole, target.whole, settings.temperature)
        loss = sum(errors.values()) + settings.contrast * told_apart
        return {"loss": loss, **errors, "contrast": told_apart}


class SemanticStage(Stage):
    """A small DINOv2 transformer: from coarse pictures, an ImageNet network's features of originals."""

    name = "semantic"
    settings: SemanticSettings
    settings_type = SemanticSettings
    validated = (100, 130, 160)

    def build(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        begun = (folder / "semantic_encoder").exists()
        encoder = load_part("semantic_encoder", folder) if begun else build_part("semantic_encoder", config)
        # For sequences of 145 tokens on a CPU two matrix products beat the fused attention's backward.
        encoder.train().set_attn_implementation("eager")
        teacher = Teacher(feature_network(self.settings.teacher, options.backbones), data.batch(64))
        student = Student(encoder, teacher.fine_mean.shape[1], teacher.broad_mean.shape[1])
        self.objective = SemanticObjective(student, teacher, CodecPreview.load(folder), self.settings)

    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        """How well the teacher's features of originals are predicted from coarse pictures.

        ``fine`` and ``broad`` are the explained shares of variance; ``retrieval`` the share of pictures whose
        class token, made of the coarse picture, is nearest to that of its original (chance 1 / N).
        """
        objective, rows = self.objective, []
        encoder = objective.student.encoder
        originals = torch.stack([semantic_tokens(encoder, x)[0, 0] for x in images])
        for quality in self.validated:
            explained: dict[str, list[float]] = {"fine": [], "broad": []}
            tokens = []
            for x in images:
                x_coarse = objective.codec(x, torch.tensor([float(quality)], device=x.device))
                predicted, target = objective.student(x_coarse), objective.teacher(x)
                for name, values in explained.items():
                    p, t = getattr(predicted, name), getattr(target, name)
                    values.append(float(1 - (p - t).pow(2).mean() / t.pow(2).mean()))
                tokens.append(semantic_tokens(encoder, x_coarse)[0, 0])
            means = {name: sum(values) / len(values) for name, values in explained.items()}
            found = retrieval(torch.stack(tokens), originals)
            rows.append({"quality": quality, **means, "retrieval": found})
        return rows

    def save(self, folder: Path) -> None:
        save_part(self.objective.student.encoder, folder / "semantic_encoder")


def retrieval(queries: Tensor, gallery: Tensor) -> float:
    """The share of queries (N, D) whose nearest of the gallery (N, D), by cosine, is the one at their place.

    The gallery's mean is taken off first: what all pictures share does not tell them apart.
    """
    mean = gallery.mean(0)
    scores = F.normalize(queries - mean, dim=1) @ F.normalize(gallery - mean, dim=1).T
    return float((scores.argmax(1) == torch.arange(len(scores), device=scores.device)).float().mean())
