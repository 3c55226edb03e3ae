"""Where the time of an evaluation goes, by method and step, as a markdown table or JSON.

    python benchmarks/evaluation.py KODAK                        # three of its images, at four rates
    python benchmarks/evaluation.py KODAK --images 24 --json

Everything is timed in this process, in the order in which ``evaluate`` works, so what the two outputs of
SPRDiff share, and what all rates of an image share, is counted once. On a machine that has other work,
``--cpu`` counts processor time instead of that on the wall; give it one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

if TYPE_CHECKING:
    from PIL import Image

METHODS = "sprdiff-coarse,sprdiff-final,jpeg,webp,jpeg2000,avif,jpeg-xl"
METRICS = "psnr-rgb,ms-ssim-rgb,ms-ssim-y,lpips-alex,lpips-vgg,dists,gmsd,fsim"
LIMIT_SECONDS = 25 * 60
"""What the project promises for the 24 Kodak images at four rates on two cores."""
KODAK_IMAGES = 24


class Clock:
    """Adds up the time between the calls that ``code`` and ``measured`` make before each step."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._step: tuple[str, str] | None = None
        self._since = 0.0

    def __call__(self, share: float, text: str) -> None:
        now = self._now()
        if self._step is not None:
            method, step = self._step
            self.seconds[method][step] += now - self._since
        label, _, step = text.partition(": ")
        # "measuring" is followed by what is measured
        self._step, self._since = ((label, step.partition(" ")[0]) if step else None), now


def main() -> None:
    """Measures and prints."""
    arguments = _parse()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # before torch is imported
    result = measure(arguments)
    print(json.dumps(result, indent=2) if arguments.json else as_table(result))


def measure(arguments: argparse.Namespace) -> dict:
    """Seconds by method and step, by metric, of the analysis, and what they were measured on."""
    import torch

    from sprdiff import SPRDiffPipeline
    from sprdiff.checkpoint.weights import default_checkpoint
    from sprdiff.comparison.compare import code, compare, measured
    from sprdiff.comparison.environment import processor
    from sprdiff.evaluation.datasets import find_images
    from sprdiff.images import load_image
    from sprdiff.methods import check_methods, needs_pipeline

    torch.set_num_threads(arguments.threads)
    methods = check_methods(arguments.methods.split(","))
    metrics = arguments.metrics.split(",")
    bpps = sorted(map(float, arguments.bpp.split(",")), reverse=True)
    paths = find_images(arguments.folder, REPOSITORY)
    chosen = _spread(paths, arguments.images)
    pipeline = None
    if needs_pipeline(methods):
        pipeline = SPRDiffPipeline.from_pretrained(arguments.model or default_checkpoint())
    warm = load_image(chosen[0])
    list(compare(warm, methods, pipeline, target_bpp=bpps[0], metrics=metrics))  # what is loaded only once

    now = time.process_time if arguments.cpu else time.perf_counter
    clock = Clock(now)
    started = now()
    for path in chosen:
        image = load_image(path).copy()
        image.putpixel((0, 0), (0, 0, 0))  # another picture than the one before, for what is remembered of it
        for bpp in bpps:
            coded = code(image, methods, pipeline, target_bpp=bpp, progress=clock)
            for result in measured(image, coded, metrics, progress=clock):
                picture = result.image
    total = now() - started
    return {
        "methods": {method: dict(steps) for method, steps in clock.seconds.items()},
        "metrics": _metric_seconds(now, image, picture, metrics),
        "analysis_seconds": None if pipeline is None else _seconds(now, lambda: pipeline.analyze(image)),
        "total_seconds": total,
        "seconds_per_image": total / len(chosen),
        "images": [path.name for path in chosen],
        "bpps": bpps,
        "fingerprint": None if pipeline is None else pipeline.fingerprint,
        "threads": arguments.threads,
        "time": "processor" if arguments.cpu else "wall-clock",
        "processor": processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def as_table(result: dict) -> str:
    """The result as markdown: a line a method, seconds for one image at all rates together."""
    count, rates = len(result["images"]), len(result["bpps"])
    steps = ("encoding", "decoding", "measuring")
    lines = ["| method | " + " | ".join(steps) + " | all |", "|---|" + "---:|" * 4]
    for method, seconds in result["methods"].items():
        cells = [seconds.get(step, 0.0) / count for step in steps]
        lines.append(f"| {method} | " + " | ".join(f"{cell:.2f} s" for cell in (*cells, sum(cells))) + " |")
    sums = [sum(seconds.get(step, 0.0) for seconds in result["methods"].values()) / count for step in steps]
    lines.append("| all | " + " | ".join(f"{cell:.2f} s" for cell in (*sums, sum(sums))) + " |")
    lines.append("")
    lines.append(
        "One picture measured: "
        + ", ".join(f"{name} {s:.2f} s" for name, s in result["metrics"].items())
        + "."
    )
    if result["analysis_seconds"] is not None:
        lines.append(
            f"The analysis takes {result['analysis_seconds']:.2f} s, once an image; once a rate it would be "
            f"{(rates - 1) * result['analysis_seconds']:.2f} s more."
        )
    kodak = result["seconds_per_image"] * KODAK_IMAGES
    lines.append(
        f"Kodak at {rates} rates in one process: {kodak / 60:.1f} minutes (limit on two cores: "
        f"{LIMIT_SECONDS / 60:.0f}; see --jobs), from {count} of its images; {result['time']} time, "
        f"{result['threads']} threads, {result['processor']}, torch {result['torch']}."
    )
    return "\n".join(lines)


def _metric_seconds(
    now: Callable[[], float], image: Image.Image, picture: Image.Image, metrics: Sequence[str]
) -> dict[str, float]:
    from sprdiff.metrics import measure as measure_metrics

    return {
        metric: _seconds(now, lambda metric=metric: measure_metrics(image, picture, [metric]))
        for metric in metrics
    }


def _seconds(now: Callable[[], float], action: Callable[[], object]) -> float:
    started = now()
    action()
    return now() - started


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    """That many, evenly over the list."""
    count = min(count, len(paths))
    return [paths[(2 * place + 1) * len(paths) // (2 * count)] for place in range(count)]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of images")
    parser.add_argument("--images", type=int, default=3, help="how many of them, evenly spread")
    parser.add_argument("--methods", default=METHODS, help="ids, separated by commas")
    parser.add_argument("--metrics", default=METRICS, help="ids, separated by commas")
    parser.add_argument("--bpp", default="0.01,0.0205,0.03,0.05", help="budgets in bits per pixel")
    parser.add_argument("--model", help="checkpoint folder or Hub id; without it the embedded one")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--cpu", action="store_true", help="processor time instead of wall-clock time")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
