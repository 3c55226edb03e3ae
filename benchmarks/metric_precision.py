"""LPIPS (VGG) and DISTS in reduced precision, as the page measures them, against float32: values and time.

    python benchmarks/metric_precision.py assets/examples        # any folder of pictures

Each picture's middle (512 x 384) is blurred, reduced, made noisy and coded as WebP; both precisions measure
each in turn, in one process. Time is the processor's, of one picture against a known original. Ends with 1
where a value is off by more than 0.001. Processors without AMX tiles measure in float32 in any case.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageFilter

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from sprdiff.evaluation.datasets import find_images  # noqa: E402
from sprdiff.images import load_image  # noqa: E402
from sprdiff.metrics import METRICS  # noqa: E402
from sprdiff.metrics.deep import reduced_precision  # noqa: E402

IDS = ("lpips-vgg", "dists")
SIZE = (512, 384)
LIMIT = 0.001


def distorted(image: Image.Image) -> Iterator[Image.Image]:
    """Four pictures with the faults of codecs."""
    yield image.filter(ImageFilter.GaussianBlur(4))
    small = image.resize((image.width // 4, image.height // 4), Image.Resampling.LANCZOS)
    yield small.resize(image.size, Image.Resampling.LANCZOS)
    noise = np.random.default_rng(0).normal(0, 12, (image.height, image.width, 3))
    yield Image.fromarray(np.clip(np.rint(np.asarray(image) + noise), 0, 255).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=1)
    with Image.open(file) as coded:
        yield coded.convert("RGB")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of pictures")
    worst = 0.0
    print("| metric | pairs | largest difference | mean | float32 | reduced | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    paths = find_images(parser.parse_args().folder, REPOSITORY / "none")
    for metric in IDS:
        function, differences = METRICS[metric].function, []
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for path in paths:
            image = load_image(path)
            left, top = max(0, (image.width - SIZE[0]) // 2), max(0, (image.height - SIZE[1]) // 2)
            part = image.crop((left, top, min(image.width, left + SIZE[0]), min(image.height, top + SIZE[1])))
            pictures = list(distorted(part))
            values: dict[bool, list[float]] = {False: [], True: []}
            for reduced in (False, True):
                with reduced_precision() if reduced else nullcontext():
                    function(part, part)  # which remembers the original
                    for picture in pictures:
                        started = time.process_time()
                        values[reduced].append(function(part, picture))
                        seconds[reduced].append(time.process_time() - started)
            differences += [b - a for a, b in zip(values[False], values[True], strict=True)]
        largest = max(map(abs, differences))
        worst = max(worst, largest)
        exact, fast = median(seconds[False]), median(seconds[True])
        print(
            f"| {METRICS[metric].label} | {len(differences)} | {largest:.5f} | {np.mean(differences):+.5f} "
            f"| {exact:.2f} s | {fast:.2f} s | {fast / exact:.2f} |",
            flush=True,
        )
    sys.exit(worst > LIMIT)


if __name__ == "__main__":
    main()
