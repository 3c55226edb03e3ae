"""The stage that trains the semantic encoder: self-distillation without labels.

DINO on the class token (arXiv:2104.14294) and iBOT on masked patch tokens (arXiv:2111.07832), with
Sinkhorn-Knopp centring of the teacher (SwAV, arXiv:2006.09882), as in DINOv2 (arXiv:2304.07193).
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torchvision.transforms import v2

from sprdiff.config import ModelConfig
from sprdiff.parts import build_part, save_part
from sprdiff.training.data import Crops
from sprdiff.training.loop import Stage

GLOBAL_SIZE, LOCAL_SIZE = 128, 64
NUM_LOCAL = 2
NUM_PROTOTYPES = 1024
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.06
MASK_SHARE = (0.15, 0.5)

_MEAN = torch.tensor((0.485, 0.456, 0.406))[:, None, None]
_STD = torch.tensor((0.229, 0.224, 0.225))[:, None, None]


# The encoder must also read blurred pictures: at the decoder it sees the coarse one.
_APPEARANCE = v2.Compose(
    [
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2)], p=0.7),
        v2.RandomGrayscale(0.1),
        v2.RandomApply([v2.GaussianBlur(7, sigma=(0.3, 2.5))], p=0.5),
    ]
)
_APPEARANCE_GROUP = 4


def _views(pictures: Tensor, size: int, scale: tuple[float, float]) -> Tensor:
    """Random views (B, 3, size, size) of pictures (B, 3, H, W) in [0, 1], normalized for the transformer.

    Every picture has its own crop; groups of four share their colours and blur, which is several times
    faster than one by one.
    """
    crop = v2.RandomResizedCrop(size, scale=scale, ratio=(0.8, 1.25), antialias=True)
    views = torch.stack([crop(picture) for picture in pictures])
    views = torch.cat([_APPEARANCE(group) for group in views.split(_APPEARANCE_GROUP)])
    return (views - _MEAN.to(views.device)) / _STD.to(views.device)


class _Head(nn.Module):
    """Tokens to scores of prototypes: a small network, unit length, and directions of unit length."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(channels, 384), nn.GELU(), nn.Linear(384, 128))
        self.prototypes = nn.Linear(128, NUM_PROTOTYPES, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        directions = F.normalize(self.prototypes.weight, dim=1)
        return F.linear(F.normalize(self.net(tokens), dim=-1), directions)


class _Network(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.class_head = _Head(encoder.config.hidden_size)
        self.patch_head = _Head(encoder.config.hidden_size)

    def forward(self, views: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scores of the class token (B, K) and of the patch tokens (B, T, K)."""
        tokens = self.encoder(pixel_values=views, bool_masked_pos=mask).last_hidden_state
        return self.class_head(tokens[:, 0]), self.patch_head(tokens[:, 1:])


@torch.no_grad()
def sinkhorn(scores: Tensor, iterations: int = 3) -> Tensor:
    """Assignments (N, K) of N samples to K prototypes, each prototype used about equally often."""
    q = torch.exp(scores.float() / TEACHER_TEMPERATURE)
    for _ in range(iterations):
        q = q / q.sum(0, keepdim=True)
        q = q / q.sum(1, keepdim=True)
    return q


def _cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    return -(targets * F.log_softmax(scores.float() / STUDENT_TEMPERATURE, -1)).sum(-1).mean()


class SemanticObjective(nn.Module):
    """The student, trained to say of one view what the teacher says of another, and of hidden patches."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.student = _Network(encoder)
        self._teacher = (copy.deepcopy(self.student).requires_grad_(False),)

    @property
    def teacher(self) -> _Network:
        """The moving average of the student; what is kept as the semantic encoder."""
        return self._teacher[0]

    def forward(self, x: Tensor, progress: float) -> dict[str, Tensor]:
        pictures = (x + 1) / 2
        views = torch.cat([_views(pictures, GLOBAL_SIZE, (0.25, 1.0)) for _ in range(2)])
        small = torch.cat([_views(pictures, LOCAL_SIZE, (0.05, 0.25)) for _ in range(NUM_LOCAL)])
        patches = (GLOBAL_SIZE // 16) ** 2
        shares = torch.empty(len(views), 1, device=x.device).uniform_(*MASK_SHARE)
        # Half of the views are seen whole.
        shares = shares * (torch.rand_like(shares) < 0.5)
        mask = torch.rand(len(views), patches, device=x.device) < shares
        with torch.no_grad():
            teacher_class, teacher_patch = self.teacher(views)
            first, second = teacher_class.chunk(2)
            targets = [sinkhorn(first), sinkhorn(second)]
            patch_targets = sinkhorn(teacher_patch[mask])
        student_class, student_patch = self.student(views, mask)
        local_class, _ = self.student(small)
        first, second = student_class.chunk(2)
        class_loss = (_cross_entropy(first, targets[1]) + _cross_entropy(second, targets[0])) / 2
        for scores in local_class.chunk(NUM_LOCAL):
            class_loss = (
                class_loss + (_cross_entropy(scores, targets[0]) + _cross_entropy(scores, targets[1])) / 2
            )
        class_loss = class_loss / (1 + NUM_LOCAL)
        patch_loss = _cross_entropy(student_patch[mask], patch_targets)
        return {"loss": class_loss + patch_loss, "class": class_loss, "patch": patch_loss}


class SemanticStage(Stage):
    """A small DINOv2 transformer trained from random weights on the photographs at hand."""

    name = "semantic"
    batch_size, crop, max_zoom, learning_rate = 48, 192, 1.0, 1e-3
    gradient_clip = 3.0

    def __init__(self, config: ModelConfig, folder: Path, data: Crops) -> None:
        encoder = build_part("semantic_encoder", config).train()
        # For sequences of 65 tokens on a CPU two matrix products beat the fused attention's backward.
        encoder.set_attn_implementation("eager")
        self.objective = SemanticObjective(encoder)

    def after_step(self, accelerator: Accelerator, batch: Tensor, progress: float) -> dict[str, Tensor]:
        """The teacher's step."""
        momentum = 1 - 0.01 * (1 + math.cos(math.pi * progress)) / 2
        with torch.no_grad():
            pairs = zip(self.objective.teacher.parameters(), self.objective.student.parameters(), strict=True)
            for old, new in pairs:
                old.lerp_(new, 1 - momentum)
        return {}

    def extra_state(self) -> dict[str, Any]:
        return {"teacher": self.objective.teacher}

    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        """How well a held-out picture's left part finds its right part among all others, and collapse.

        ``retrieval`` is the share of pictures whose other part is the nearest by cosine (chance 1 / N);
        ``patch_rank`` the effective rank of patch tokens: a collapsed encoder has 1.
        """
        mean, std = _MEAN, _STD
        classes, patches = [], []
        for x in images:
            picture = ((x + 1) / 2 - mean) / std
            for part in (picture[..., :GLOBAL_SIZE], picture[..., -GLOBAL_SIZE:]):
                tokens = self.objective.teacher.encoder(
                    pixel_values=part[..., :GLOBAL_SIZE, :]
                ).last_hidden_state
                classes.append(tokens[0, 0])
                patches.append(tokens[0, 1:])
        classes = F.normalize(torch.stack(classes) - torch.stack(classes).mean(0), dim=1)
        left, right = classes[0::2], classes[1::2]
        nearest = (left @ right.T).argmax(1)
        retrieval = (nearest == torch.arange(len(left))).float().mean()
        tokens = torch.cat(patches)
        spectrum = torch.linalg.svdvals(tokens - tokens.mean(0)) ** 2
        share = spectrum / spectrum.sum()
        rank = torch.exp(-(share * share.clamp_min(1e-12).log()).sum())
        return [{"retrieval": float(retrieval), "patch_rank": float(rank)}]

    def save(self, folder: Path) -> None:
        save_part(self.objective.teacher.encoder, folder / "semantic_encoder")
