"""The command that serves the page."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sprdiff.checkpoint.weights import MODEL_VARIABLE, default_checkpoint, locate, resolve
from sprdiff.cli.options import MaxPixels, load_pipeline
from sprdiff.files import check_folder
from sprdiff.memory import keep_freed

if TYPE_CHECKING:
    from sprdiff import SPRDiffPipeline
    from sprdiff.types import OnBytes

Models = Annotated[
    list[str] | None,
    typer.Option(
        help="Checkpoint folder, or owner/name[@revision] on the Hub; the embedded one by default. Given "
        f"several times, or several in {MODEL_VARIABLE} with spaces between, visitors choose."
    ),
]

PAGE_PIXELS = 16_000_000
"""Largest width x height that the page codes, unless told otherwise: its visitors share a machine."""


def serve(
    model: Models = None,
    # Spaces and containers name these in the environment; gradio's own names are kept.
    host: Annotated[
        str, typer.Option(envvar="GRADIO_SERVER_NAME", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="GRADIO_SERVER_PORT", help="Port to listen on.")] = 7860,
    max_pixels: MaxPixels = PAGE_PIXELS,
    votes: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps the answers of blind tests; without it, nothing is kept."),
    ] = None,
    fetch_weights: Annotated[
        bool,
        typer.Option(
            envvar="SPRDIFF_FETCH_WEIGHTS",
            help="Fetch the weights of LPIPS and DISTS at once, in the background, not at their first use.",
        ),
    ] = True,
    share: Annotated[bool, typer.Option("--share", help="Ask gradio for a public link.")] = False,
) -> None:
    """Serve the page; the model is loaded once it is up."""
    if votes is not None:
        check_folder(votes)
    checkpoints = list(dict.fromkeys(model or _default_checkpoints()))
    for checkpoint in checkpoints:
        locate(checkpoint)
    keep_freed()  # here: comparisons run in threads, which gradio starts
    # Without one, libraries would print what they think of it as they are imported.
    tempfile.gettempdir()
    # Read by gradio when it is imported, so the page is imported only now.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Seconds in which gradio notices who has left, whose calls are not made then.
    os.environ.setdefault("GRADIO_HEARTBEAT_INTERVAL", "3")
    # Read by OpenMP when torch is imported: where others use the cores too, threads that spin while they wait
    # for each other made a run five times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sprdiff.ui import Checkpoint, Scratch, build_app, launch_options

    # Uploads and gradio's copies, which it removes when it ends, but not after a kill.
    os.environ.setdefault("GRADIO_TEMP_DIR", str(Scratch().folder))
    first, *others = [
        Checkpoint(_name(checkpoint), _loader(checkpoint, max_pixels), partial(_num_bytes, checkpoint))
        for checkpoint in checkpoints
    ]
    app = build_app(
        first.load,
        model_name=first.name,
        fetch_model=first.fetch,
        others=others,
        votes=votes,
        max_pixels=max_pixels,
        fetch_weights=fetch_weights,
    )
    app.launch(server_name=host, server_port=port, share=share, **launch_options())


def _default_checkpoints() -> list[str]:
    named = str(default_checkpoint())
    return [named] if Path(named).is_dir() else named.split()  # the name of a folder may hold spaces


def _loader(checkpoint: str, max_pixels: int) -> Callable[[], SPRDiffPipeline]:
    from sprdiff.ui import zero_gpu

    def load() -> SPRDiffPipeline:
        pipeline = load_pipeline(checkpoint)
        pipeline.max_pixels = max_pixels
        return zero_gpu.borrowing(pipeline)

    if not zero_gpu.is_lent():
        return load
    pipeline = load()  # now: what is moved to a GPU after the launch is on none that is lent
    return lambda: pipeline


def _num_bytes(checkpoint: str, on_bytes: OnBytes) -> int:
    """Of its files, after it was downloaded where that is needed."""
    folder = resolve(checkpoint, on_bytes=on_bytes)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _name(checkpoint: str) -> str:
    # Of a folder the name is enough; of a repository, owner and revision tell which it is.
    return Path(checkpoint).name if Path(checkpoint).is_dir() else checkpoint
