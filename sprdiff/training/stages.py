"""The stages in the order in which they are trained."""

from __future__ import annotations

from sprdiff.training.diffusion_stage import DiffusionStage
from sprdiff.training.imitation_stage import ImitationStage
from sprdiff.training.semantic_stage import SemanticStage
from sprdiff.training.stage import Stage
from sprdiff.training.teacher_stage import TeacherStage
from sprdiff.training.transform_stages import CodecStage, DistortionStage, VAEStage

STAGES: dict[str, type[Stage]] = {
    stage.name: stage
    for stage in (
        VAEStage,
        DistortionStage,
        SemanticStage,
        CodecStage,
        TeacherStage,
        ImitationStage,
        DiffusionStage,
    )
}
