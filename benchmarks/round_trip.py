"""What the VAE's round trip costs, before anything is coded: averages over a folder of pictures.

python benchmarks/round_trip.py KODAK
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))


def main(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of PNG images.")],
    model: Annotated[str | None, typer.Option(help="Checkpoint; the embedded one by default.")] = None,
) -> None:
    """Measures and prints."""
    import numpy as np
    import torch

    from sprdiff import SPRDiffPipeline
    from sprdiff.checkpoint.weights import default_checkpoint
    from sprdiff.encoders.vae import decode_latents, encode_latents
    from sprdiff.images import load_image, pad_to_multiple, to_image, to_tensor
    from sprdiff.metrics import psnr
    from sprdiff.metrics.deep import dists, lpips_alex

    vae = SPRDiffPipeline.from_pretrained(model or default_checkpoint()).vae
    rows = []
    for path in sorted(folder.glob("*.png")):
        image = load_image(path)
        x = pad_to_multiple(to_tensor(image), 16)
        with torch.no_grad():
            decoded = to_image(decode_latents(vae, encode_latents(vae, 2 * x - 1)) / 2 + 0.5)
        pair = np.asarray(image), np.asarray(decoded.crop((0, 0, *image.size)))
        rows.append((psnr(*pair), lpips_alex(*pair), dists(*pair)))
    if not rows:
        raise typer.BadParameter(f"{folder} holds no PNG image.")
    decibels, lpips, distance = map(fmean, zip(*rows, strict=True))
    print(f"{len(rows)} images: {decibels:.1f} dB, LPIPS (AlexNet) {lpips:.4f}, DISTS {distance:.4f}")


if __name__ == "__main__":
    typer.run(main)
