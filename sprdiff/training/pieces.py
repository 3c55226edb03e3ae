"""``python -m sprdiff.training.pieces PHOTOGRAPHS OUT``: pieces of large photographs, to train on.

A photograph of a camera is soft at its own size, takes long to decode for one crop, and would be seen as
often as a hundred small ones, since crops are drawn by area. So it is reduced and cut, and pieces that are
out of focus, or only sky, are left out.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from rich.progress import track

from sprdiff.errors import InputImageError
from sprdiff.files import check_folder
from sprdiff.images import save_png
from sprdiff.training import command
from sprdiff.training.data import list_images, read_image


def sharpness(image: Image.Image) -> float:
    """The mean absolute difference of neighbours' luma, in levels of 255."""
    luma = np.asarray(image.convert("L"), dtype=np.float32)
    return float(np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean()) / 2


def pieces(image: Image.Image, side: int, shrink: float) -> list[Image.Image]:
    """The parts of a reduced picture, alike in size, none larger than ``side`` in either direction."""
    width, height = (round(each / shrink) for each in image.size)
    if shrink > 1:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    columns, rows = -(-width // side), -(-height // side)
    lefts = [width * i // columns for i in range(columns + 1)]
    tops = [height * i // rows for i in range(rows + 1)]
    return [
        image.crop((left, top, right, bottom))
        for top, bottom in pairwise(tops)
        for left, right in pairwise(lefts)
    ]


def main(
    photographs: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of photographs.")],
    out: Annotated[Path, typer.Argument(help="Folder to fill with PNG files.")],
    side: Annotated[int, typer.Option(min=64, help="The longest of a piece, in pixels.")] = 512,
    shrink: Annotated[
        float, typer.Option(min=1.0, max=8.0, help="How much smaller the photographs become.")
    ] = 2.0,
    least: Annotated[
        float, typer.Option(min=0.0, help="Mean difference of neighbours, in levels of 255, of a kept piece.")
    ] = 2.0,
) -> None:
    """Cut large photographs for the training; a piece is named after its photograph."""
    paths = list_images(photographs)
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    kept = 0
    for path in track(paths, "cutting"):
        try:
            parts = pieces(read_image(path), side, shrink)
        except InputImageError as error:
            typer.echo(f"{path} is left out: {error}", err=True)
            continue
        # Two folders may hold pictures of one name.
        name = "-".join(Path(str(path)).relative_to(photographs).with_suffix("").parts)
        for i, part in enumerate(parts):
            if sharpness(part) >= least:
                save_png(part, out / f"{name}-{i:02}.png")
                kept += 1
    typer.echo(f"{kept} pieces of {len(paths)} photographs in {out}")


if __name__ == "__main__":
    command.run(main)
