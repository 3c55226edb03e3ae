"""The command that serves the page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sprdiff.cli.options import MaxPixels, Model, load_pipeline
from sprdiff.files import check_folder
from sprdiff.weights import default_checkpoint, locate

if TYPE_CHECKING:
    from sprdiff import SPRDiffPipeline

PAGE_PIXELS = 16_000_000
"""Largest width x height that the page codes, unless told otherwise: its visitors share a machine."""


def serve(
    model: Model = None,
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
    share: Annotated[bool, typer.Option("--share", help="Ask gradio for a public link.")] = False,
) -> None:
    """Serve the page; the model is loaded once it is up."""
    if votes is not None:
        check_folder(votes)
    checkpoint = str(model or default_checkpoint())
    locate(checkpoint)
    # Read by gradio when it is imported, so the page is imported only now.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Read by OpenMP when torch is imported: where others use the cores too, threads that spin while they wait
    # for each other made a run five times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sprdiff.ui import build_app, launch_options

    def load() -> SPRDiffPipeline:
        pipeline = load_pipeline(checkpoint)
        pipeline.max_pixels = max_pixels
        return pipeline

    # Of a folder the name is enough; of a repository, owner and revision tell which it is.
    name = Path(checkpoint).name if Path(checkpoint).is_dir() else checkpoint
    app = build_app(load, model_name=name, votes=votes, max_pixels=max_pixels)
    app.launch(server_name=host, server_port=port, share=share, **launch_options())
