"""What the commands have in common: their options, how they are read, how the model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import sprdiff
from sprdiff.errors import SettingsError
from sprdiff.weights import default_checkpoint

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline
    from sprdiff.types import Progress

METHODS = "sprdiff-coarse,sprdiff-final,jpeg,webp,jpeg2000,avif"
METRICS = "psnr-rgb,ms-ssim-rgb,ms-ssim-y,lpips-alex,lpips-vgg,dists"

Model = Annotated[
    str | None,
    typer.Option(help="Checkpoint folder, or owner/name[@revision] on the Hub; the embedded one by default."),
]
MaxPixels = Annotated[
    int, typer.Option(min=256, help="Refuse pictures and streams of more pixels, width x height.")
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]
Methods = Annotated[str, typer.Option(help="Method ids, separated by commas.")]
Metrics = Annotated[str, typer.Option(help="Metric ids, separated by commas.")]


def split(text: str) -> list[str]:
    """The parts of a list that is separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def number(text: str) -> float:
    """The number.

    Raises:
        SettingsError: it is none.
    """
    try:
        return float(text)
    except ValueError as error:
        raise SettingsError(f"{text!r} is not a number.") from error


def load_pipeline(model: str | None, progress: Progress | None = None) -> SPRDiffPipeline:
    """The pipeline of the option ``--model``."""
    if progress is not None:
        progress(0.0, "Loading the model")
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    # Theirs count parts and files of a second's work; the bar of the command is enough.
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
    return sprdiff.SPRDiffPipeline.from_pretrained(model or default_checkpoint())
