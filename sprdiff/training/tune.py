"""``python -m sprdiff.training.tune CHECKPOINT --data DIR``: which bit price serves the encoder best.

The encoder gives up a symbol where that saves more bits than the added error is worth. The decoder does not
know the price, so it can be chosen after training, on held-out photographs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sprdiff.metrics import ms_ssim, psnr
from sprdiff.pipeline import SPRDiffPipeline
from sprdiff.training import command
from sprdiff.training.data import list_images, read_image, split

# Held-out photographs are busier per pixel than larger ones: these rates compare to 0.02 to 0.05 there.
RATES = (0.04, 0.07, 0.12)


def main(
    checkpoint: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a checkpoint.")],
    data: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="The photographs of the training.")
    ],
    prices: Annotated[
        str, typer.Option(help="Bit prices to try, separated by commas.")
    ] = "0,0.05,0.1,0.15,0.2",
    count: Annotated[int, typer.Option(min=1, help="Held-out photographs to use.")] = 10,
) -> None:
    """PSNR and MS-SSIM of the coarse picture at fixed rates, for each price."""
    pipeline = SPRDiffPipeline.from_pretrained(checkpoint)
    images = [read_image(path) for path in split(list_images(data))[1][:count]]
    table = Table("price", *(f"{rate} bpp: dB, MS-SSIM" for rate in RATES))
    for price in map(float, prices.split(",")):
        pipeline.register_to_config(bit_price=price)
        cells = []
        for rate in RATES:
            values = []
            for image in images:
                stream = pipeline.compress(image, target_bpp=rate)
                coarse = pipeline.decompress(stream, coarse_only=True).coarse
                values.append((psnr(image, coarse), ms_ssim(image, coarse)))
            means = [sum(column) / len(values) for column in zip(*values, strict=True)]
            cells.append(f"{means[0]:.3f}  {means[1]:.4f}")
        table.add_row(f"{price:g}", *cells)
    Console().print(table)


if __name__ == "__main__":
    command.run(main)
