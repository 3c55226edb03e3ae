"""Serves the page: ``python app.py [--model CHECKPOINT] [--host HOST] [--port PORT]``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sprdiff.weights import default_checkpoint

if TYPE_CHECKING:
    from sprdiff import SPRDiffPipeline


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Serve the SPRDiff page.")
    parser.add_argument(
        "--model",
        default=str(default_checkpoint()),
        help="checkpoint folder, or owner/name[@revision] on the Hugging Face Hub "
        "(default: SPRDIFF_MODEL, else the embedded one)",
    )
    # Spaces and containers name these in the environment; gradio's own names are kept.
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", "7860")))
    parser.add_argument("--share", action="store_true", help="ask gradio for a public link (off by default)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Launches the page; the model is loaded once it is up."""
    options = parse_options(arguments)
    # Read by gradio when it is imported, so the page is imported only now.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Read by OpenMP when torch is imported: where others use the cores too, threads that spin while they wait
    # for each other made a run five times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sprdiff.ui import build_app, launch_options

    def load() -> SPRDiffPipeline:
        from sprdiff import SPRDiffPipeline

        return SPRDiffPipeline.from_pretrained(options.model)

    # Of a folder the name is enough; of a repository, owner and revision tell which it is.
    name = Path(options.model).name if Path(options.model).is_dir() else options.model
    app = build_app(load, model_name=name)
    app.launch(server_name=options.host, server_port=options.port, share=options.share, **launch_options())


if __name__ == "__main__":
    main()
