"""``python -m sprdiff.training.average RUN OTHER --share S``: the denoiser between those of two runs.

Weights of one trajectory may be averaged (arXiv:2203.05482); what lies between a picture that is nearer by
DISTS and one that is nearer by PSNR and LPIPS is chosen without training (as in ESRGAN, arXiv:1809.00219).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from sprdiff.checkpoint.parts import load_part, save_part
from sprdiff.errors import WeightsError
from sprdiff.training import command
from sprdiff.training.diffusion_stage import TRAINED


def main(
    run: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A run; gets the result.")],
    other: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Another one.")],
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Of the other's weights.")] = 0.5,
) -> None:
    """Move a run's denoiser and conditions towards another's."""
    moved = {}
    for name in TRAINED:
        part, target = load_part(name, run), load_part(name, other)
        state, towards = part.state_dict(), target.state_dict()
        shapes, others = ({key: each.shape for key, each in one.items()} for one in (state, towards))
        if shapes != others:
            raise WeightsError(f"{name} is of other sizes in {run} than in {other}.")
        part.load_state_dict({key: torch.lerp(state[key], towards[key], share) for key in state})
        moved[name] = part
    for name, part in moved.items():
        save_part(part, run / name)


if __name__ == "__main__":
    command.run(main)
