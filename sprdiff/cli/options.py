"""What the commands have in common: their options, how they are read, how the model is loaded."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

import sprdiff
from sprdiff.checkpoint.weights import default_checkpoint, locate
from sprdiff.cli import console
from sprdiff.cli.common import COMMON, Common
from sprdiff.errors import SettingsError
from sprdiff.memory import keep_freed

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
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite what exists.")]

HELP_NAMES = {"help_option_names": ["-h", "--help"]}


_ANNOTATIONS: dict[str, Any] = {
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")],
    "verbose": Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Show what other libraries say, and where an error arose."),
    ],
    "threads": Annotated[int | None, typer.Option(min=1, help="Processor threads; all cores by default.")],
    "device": Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1; cpu by default.")],
}


def command(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """A command with the options of :class:`Common`, which are in force while it runs."""

    @functools.wraps(function)
    def wrapper(**arguments: Any) -> int | None:
        for name in _ANNOTATIONS:
            setattr(COMMON, name, arguments.pop(name))
        if not COMMON.verbose:
            console.quiet_libraries()
        if COMMON.threads is not None:
            _set_threads(COMMON.threads)
        return function(**arguments)

    signature = inspect.signature(function, eval_str=True)
    defaults = Common()
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=getattr(defaults, name), annotation=annotation
        )
        for name, annotation in _ANNOTATIONS.items()
    ]
    # mypy: functions have no such attribute; inspect, and with it typer, reads it.
    wrapper.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *added]
    )
    return wrapper


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


def load_pipeline(
    model: str | None, progress: Progress | None = None, device: str | None = None
) -> SPRDiffPipeline:
    """The pipeline of the option ``--model``, where ``--device``, or ``device``, says.

    Raises:
        SettingsError: there is no such device here.
        WeightsError: there is no such checkpoint.
    """
    checkpoint = model or default_checkpoint()
    locate(checkpoint)  # before seconds go into libraries
    if progress is not None:
        progress(0.0, "Loading the model")
    _leave_out_libraries()
    keep_freed()
    if not COMMON.verbose:
        console.quiet_libraries()  # here as well: evaluate --jobs calls this in processes of its own
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        # The libraries' own bars count parts and files of a second's work; the command's bar is enough.
        for library in (diffusers_logging, transformers_logging):
            library.disable_progress_bar()
    device = device or COMMON.device
    if device is not None:
        from sprdiff.checkpoint.loading import check_device

        check_device(device, "--device")
    pipeline = sprdiff.SPRDiffPipeline.from_pretrained(checkpoint)
    return pipeline if device is None else pipeline.to(device)


def _leave_out_libraries() -> None:
    """Spares the import of what diffusers imports wherever it is installed, and nothing here uses.

    What remains is imported for a reason: torch, diffusers (parts, U-Net, VAE), transformers (the semantic
    encoder), compressai (the entropy coder; it brings torchvision and torch_geometric).
    """
    # For 4-bit weights: a second, and warnings of missing kernels. None stands for "not installed".
    sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]  # typeshed leaves None out


def _set_threads(threads: int) -> None:
    # Read by OpenMP when torch is imported, here and in child processes.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
