"""What large pictures take: time, peak memory and seams between tiles, as a markdown table or JSON.

    python benchmarks/large_pictures.py                   # 0.4, 2, 6 and 12 megapixels, and 16 x 16383
    python benchmarks/large_pictures.py --all --json      # and 48

Each picture is compressed and decoded in a process of its own. It is noise at four scales, alike everywhere,
so that nothing in the picture itself hides a seam. The seam ratio is that of the strongest step between two
neighbouring columns (or rows) where a tile begins or ends to the strongest one elsewhere, each step the mean
over the column: above 1 a border of a tile stands out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

SIZES = ((768, 512), (1728, 1152), (3000, 2000), (4000, 3000), (16383, 16))
LARGEST = (8000, 6000)
MAX_SEAM = 1.0
MAX_MEMORY_BYTES = 4e9
"""What the project promises up to 12 megapixels."""


def main() -> None:
    """Runs each measurement in a fresh process and prints all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="checkpoint; the embedded one by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bpp", type=float, default=0.03)
    parser.add_argument("--all", action="store_true", help="48 megapixels too")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        width, height = map(int, arguments.child.split("x"))
        print(json.dumps(measure(width, height, arguments)))
        return
    # What a machine sets for its allocator is no part of what is measured.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    environment["OMP_NUM_THREADS"] = str(arguments.threads)
    results = []
    for width, height in SIZES + (LARGEST,) * arguments.all:
        command = [sys.executable, __file__, *sys.argv[1:], "--child", f"{width}x{height}"]
        child = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if child.returncode:
            sys.exit(f"{width} x {height} failed")
        results.append(json.loads(child.stdout.splitlines()[-1]))
        print(f"{width} x {height} is measured", file=sys.stderr)
    print(json.dumps(results, indent=2) if arguments.json else as_table(results))


def measure(width: int, height: int, arguments: argparse.Namespace) -> dict:
    """Seconds, peak memory in bytes and seam ratios of one picture."""
    import numpy as np
    import torch

    from sprdiff import SPRDiffPipeline
    from sprdiff.checkpoint.weights import default_checkpoint

    torch.set_num_threads(arguments.threads)
    pipeline = SPRDiffPipeline.from_pretrained(arguments.model or default_checkpoint())
    image = even_picture(width, height)
    started = time.perf_counter()
    data = pipeline.compress(image, target_bpp=arguments.bpp)
    compressed = time.perf_counter()
    decoded = pipeline.decompress(data)
    ended = time.perf_counter()
    return {
        "width": width,
        "height": height,
        "num_bytes": len(data),
        "compress_seconds": compressed - started,
        "decompress_seconds": ended - compressed,
        # In kilobytes on Linux, of this process with its libraries.
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seam_coarse": seam_ratio(np.asarray(decoded.coarse)),
        "seam_final": seam_ratio(np.asarray(decoded.final)),
    }


def even_picture(width: int, height: int) -> Image.Image:
    """Smooth noise at four scales, the same everywhere and in every run, RGB."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    pixels = np.full((height, width, 3), 128, np.float32)
    for cell, strength in ((4, 6), (16, 12), (64, 16), (256, 16)):
        for channel in range(3):
            grid = generator.normal(0, strength, (height // cell + 4, width // cell + 4)).astype(np.float32)
            size = grid.shape[1] * cell, grid.shape[0] * cell
            noise = np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC))
            # Away from the border, where resizing has fewer neighbours.
            pixels[..., channel] += noise[cell : cell + height, cell : cell + width]
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def seam_ratio(pixels: np.ndarray) -> float | None:
    """The greater ratio of both axes for a decoded picture (H, W, 3), uint8; None if one tile holds it."""
    ratios = [ratio for axis in (0, 1) if (ratio := _axis_ratio(pixels, axis)) is not None]
    return max(ratios, default=None)


def _axis_ratio(pixels: np.ndarray, axis: int) -> float | None:
    import numpy as np

    from sprdiff.decoding import GRID, DecodingSettings
    from sprdiff.layers.tiling import spans

    length = pixels.shape[axis]
    tiles = spans(-(-length // GRID) * GRID, DecodingSettings.tile, DecodingSettings.overlap)
    borders = sorted({place for span in tiles for place in span if 0 < place < length})
    if not borders:
        return None
    channels = [np.diff(pixels[..., channel].astype(np.int16), axis=axis) for channel in range(3)]
    steps = sum(np.abs(each).mean(axis=1 - axis) for each in channels)  # (length - 1,)
    at_border = np.zeros(len(steps), bool)
    at_border[[place - 1 for place in borders]] = True
    return float(steps[at_border].max() / steps[~at_border].max())


def as_table(results: list[dict]) -> str:
    """The measurements as a markdown table."""
    lines = [
        "| Picture | Megapixels | Compress | Decompress | Seconds per megapixel | Peak memory "
        "| Seam, coarse | final |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in results:
        megapixels = each["width"] * each["height"] / 1e6
        seconds = each["compress_seconds"] + each["decompress_seconds"]
        seams = [f"{seam:.2f}" if seam else "one tile" for seam in (each["seam_coarse"], each["seam_final"])]
        lines.append(
            f"| {each['width']} x {each['height']} | {megapixels:.1f} | {each['compress_seconds']:.1f} s "
            f"| {each['decompress_seconds']:.1f} s | {seconds / megapixels:.1f} "
            f"| {each['peak_memory_bytes'] / 1e9:.2f} GB | {seams[0]} | {seams[1]} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
