"""``python -m sprdiff.training.deepen RUN --part PART --depth N``: more residual blocks for a trained part.

New blocks follow those that it has and give next to nothing at first, so that nothing is forgotten.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from sprdiff.checkpoint.parts import load_part, save_part
from sprdiff.training import command


class Part(Enum):
    """What can be deepened: each stage of the pixel branch, the coarse module at stride 4."""

    conditions = "conditions"
    coarse = "coarse"


def main(
    run: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a run.")],
    part: Annotated[
        Part, typer.Option(help="The pixel branch of the conditions, or the coarse module at stride 4.")
    ],
    depth: Annotated[int, typer.Option(min=1, help="Residual blocks there, of each stage, after.")],
) -> None:
    """Deepen a part of a run."""
    trained = load_part(part.value, run)
    sizes = {key: value for key, value in trained.config.items() if not key.startswith("_")}
    if part is Part.conditions:
        before, changed = sizes["depth"], {"depth": depth}
    else:
        at_stride_8, before = sizes["up_depths"]
        changed = {"up_depths": (at_stride_8, depth)}
    if depth <= before:
        raise typer.BadParameter(f"It has {before} blocks there already, got {depth}.")
    deeper = type(trained)(**sizes | changed)
    deeper.load_state_dict(trained.state_dict(), strict=False)
    save_part(deeper, run / part.value)


if __name__ == "__main__":
    command.run(main)
