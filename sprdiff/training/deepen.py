"""``python -m sprdiff.training.deepen RUN --depth N``: more residual blocks for the trained pixel branch.

New blocks follow those that each stage has and give next to nothing at first, so that nothing is forgotten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sprdiff.checkpoint.parts import load_part, save_part
from sprdiff.reconstruction.conditions import DualFeatureExtractor
from sprdiff.training import command


def main(
    run: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a run.")],
    depth: Annotated[int, typer.Option(min=1, help="Residual blocks of each stage, after.")],
) -> None:
    """Deepen the pixel branch of a run's dual feature extraction."""
    trained = load_part("conditions", run)
    if depth <= trained.config.depth:
        raise typer.BadParameter(f"Its stages have {trained.config.depth} blocks already, got {depth}.")
    sizes = {key: value for key, value in trained.config.items() if not key.startswith("_")}
    deeper = DualFeatureExtractor(**sizes | {"depth": depth})
    deeper.load_state_dict(trained.state_dict(), strict=False)
    save_part(deeper, run / "conditions")


if __name__ == "__main__":
    command.run(main)
