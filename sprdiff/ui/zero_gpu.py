"""A GPU for a call at a time, as ZeroGPU Spaces of Hugging Face lend it; elsewhere nothing changes.

There a function that ``spaces.GPU`` decorates runs in a forked process that has a GPU. Arguments and results
are pickled on the way, so they hold no callbacks and no tensors of a GPU. A decorated generator would keep a
GPU while the page waits for the next picture, so each step of a run is a call of its own. Parts of a pipeline
are on the GPU of a call if the main thread moved them to ``cuda`` before the page was launched.
"""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sprdiff.types import CoarseImage, OnStep

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

VARIABLE = "SPACES_ZERO_GPU"
"""Set on ZeroGPU machines only."""

DEVICE = "cuda"

STEPS = ("analyze", "encode", "decode_coarse", "refine", "inspect", "bit_map", "look_into")
"""The methods of a pipeline that compute, by themselves or through each other."""

SECONDS = 60
"""At most, for one step; the same as the default of ``spaces``."""


def is_lent() -> bool:
    """Whether GPUs are lent here."""
    return _spaces() is not None


def borrowing(pipeline: SPRDiffPipeline) -> SPRDiffPipeline:
    """The pipeline, each step of which borrows a GPU where GPUs are lent; the same object elsewhere.

    A borrowed step calls ``on_step`` once, before it begins: what happens in another process is not followed.
    """
    spaces = _spaces()
    if spaces is None:
        return pipeline
    pipeline.to(DEVICE)
    # The copy shares all parts. Within a step the original's methods call each other, and stay on the GPU.
    borrower = copy.copy(pipeline)
    for name in STEPS:
        setattr(borrower, name, _borrowed(getattr(pipeline, name), spaces))
    return borrower


def _borrowed(step: Callable[..., Any], spaces: ModuleType) -> Callable[..., Any]:
    @spaces.GPU(duration=SECONDS)
    def on_gpu(arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        moved = {name: _on(DEVICE, value) for name, value in options.items()}
        return _on("cpu", step(*(_on(DEVICE, value) for value in arguments), **moved))

    @functools.wraps(step)
    def call(*arguments: Any, on_step: OnStep | None = None, **options: Any) -> Any:
        if on_step is not None:
            on_step(0.0)
        return on_gpu(arguments, options)

    return call


def _on(device: str, value: Any) -> Any:
    """What a step takes or gives, its tensor moved."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, CoarseImage):
        return replace(value, x=value.x.to(device))
    return value


def _spaces() -> ModuleType | None:
    if os.environ.get(VARIABLE, "").lower() not in ("1", "t", "true"):
        return None
    try:
        import spaces
    except ImportError:
        return None
    return spaces
