"""``python -m sprdiff.training.shift RUN --low L --high H``: another range of bitrates for a trained codec.

Training lets the rate of a quality drift. Afterwards quality 0 means what L meant and 255 what H meant; H may
be above 255, on the straight lines of the last two anchors. A few minutes of the ``codec`` stage must follow,
with its settings ``qualities.coarsest_step`` and ``finest_step`` moved alike, or they pull it back.

Not a setting of that stage: it changes trained weights once, and a later round with the same settings would
change them again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sprdiff.checkpoint.parts import load_part, save_part
from sprdiff.layers.quality import QualityAnchors
from sprdiff.training import command


def main(
    run: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a run.")],
    low: Annotated[float, typer.Option(help="The quality that becomes 0.")] = 0.0,
    high: Annotated[float, typer.Option(help="The quality that becomes 255.")] = 255.0,
) -> None:
    """Move the range of qualities of a run's codec."""
    if not 0 <= low < high <= 320:
        raise typer.BadParameter(f"The range must rise within 0 to 320, got {low:g} to {high:g}.")
    for name in ("latent_codec", "coarse"):
        part = load_part(name, run)
        for module in part.modules():
            if isinstance(module, QualityAnchors):
                module.move(low, high)
        save_part(part, run / name)


if __name__ == "__main__":
    command.run(main)
