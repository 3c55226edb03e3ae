"""How sharp the coarse and the final picture are, and how true their colours, as a table or JSON.

    python benchmarks/appearance.py KODAK         # all of its images at 0.0205, 0.03 and 0.05 bpp

Fidelity alone prefers blur. So beside it stand, averaged over the images:

- gradient energy: the mean absolute difference between neighbouring pixels (channels averaged) over that of
  the original; 1 is as sharp as the original, but noise raises it too;
- flat energy: the same over the fifth of the 8 x 8 blocks where the original is flattest; well above 1 is
  visible noise;
- grid: how unevenly those flat differences fall on the eight columns of a block, mean absolute deviation over
  mean;
- colour error: the absolute difference of a channel's mean, in levels of 255.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

BLOCK = 8
FLATTEST = 0.2
METRICS = ("psnr-rgb", "ms-ssim-rgb", "cw-ssim", "fsim")
APPEARANCE = {
    "gradient_energy": "gradient energy",
    "flat_energy": "flat energy",
    "grid": "grid",
    "colour_error": "colour error",
}


def appearance(original: Image.Image, image: Image.Image) -> dict[str, float]:
    """The four figures of ``APPEARANCE`` for 8-bit RGB pictures of the same size."""
    reference, pixels = (np.asarray(each, dtype=np.float64) for each in (original, image))
    grays = [each.mean(2) for each in (reference, pixels)]
    energies = [np.abs(np.diff(y, axis=0)).mean() + np.abs(np.diff(y, axis=1)).mean() for y in grays]
    flat_reference, flat = (_columns(y)[_flattest(grays[0])].mean(0) for y in grays)
    return {
        "gradient_energy": energies[1] / energies[0],
        "flat_energy": flat.mean() / max(flat_reference.mean(), 1e-9),
        "grid": np.abs(flat - flat.mean()).mean() / max(flat.mean(), 1e-9),
        "colour_error": np.abs((pixels - reference).mean((0, 1))).mean(),
    }


def _columns(gray: np.ndarray) -> np.ndarray:
    """Mean absolute horizontal differences in each block's columns, (rows, columns, BLOCK)."""
    differences = np.abs(np.diff(gray, axis=1))
    height, width = (side // BLOCK * BLOCK for side in differences.shape)
    blocks = differences[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return blocks.mean(1)


def _flattest(gray: np.ndarray) -> np.ndarray:
    """Where the blocks lie that change least, bool (rows, columns)."""
    activity = _columns(gray).mean(2)
    return activity <= np.quantile(activity, FLATTEST)


def measure(paths: Sequence[Path], bpps: Sequence[float], model: str | None) -> list[dict]:
    """A row for each budget and output: averages over the pictures."""
    from sprdiff import SPRDiffPipeline
    from sprdiff.checkpoint.weights import default_checkpoint
    from sprdiff.images import load_image
    from sprdiff.metrics import measure as measure_metrics

    pipeline = SPRDiffPipeline.from_pretrained(model or default_checkpoint())
    found: dict[tuple[float, str], list[dict[str, float]]] = {}
    for path in paths:
        original = load_image(path)
        for bpp in bpps:
            decoded = pipeline.decompress(pipeline.compress(original, target_bpp=bpp))
            for name, image in (("coarse", decoded.coarse), ("final", decoded.final)):
                values = {id: each.value for id, each in measure_metrics(original, image, METRICS).items()}
                found.setdefault((bpp, name), []).append(values | appearance(original, image))
    return [
        {"bpp": bpp, "output": name, "images": len(rows)}
        | {key: fmean(row[key] for row in rows) for key in rows[0]}
        for (bpp, name), rows in found.items()
    ]


def as_table(rows: Sequence[dict]) -> str:
    """The rows as a markdown table."""
    from sprdiff.metrics import METRICS as known

    labels = [known[id].label for id in METRICS] + list(APPEARANCE.values())
    lines = ["| budget | output | " + " | ".join(labels) + " |", "|---:|---|" + "---:|" * len(labels)]
    for row in rows:
        cells = [f"{row[id]:.{known[id].decimals}f}" for id in METRICS]
        cells += [f"{row[key]:.2f}" for key in APPEARANCE]
        lines.append(f"| {row['bpp']:g} | {row['output']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of PNG images")
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.0205, 0.03, 0.05], help="budgets")
    parser.add_argument("--model", help="checkpoint folder or Hub id; without it the embedded one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("*.png"))
    if not paths:
        sys.exit(f"{arguments.folder} holds no PNG image.")
    rows = measure(paths, arguments.bpp, arguments.model)
    print(json.dumps(rows, indent=2) if arguments.json else as_table(rows))


if __name__ == "__main__":
    main()
