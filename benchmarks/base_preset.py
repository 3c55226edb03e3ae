"""What the base preset asks of a machine: operations, seconds and memory of coding one picture.

    python benchmarks/base_preset.py                      # 768 x 512
    python benchmarks/base_preset.py --size 2048 1365

With random weights, in float32, on the CPU: they decide nothing here. Entropy coding is left out: what it
takes depends on symbols that only trained weights can give.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    """Prints a markdown table, a row for each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(768, 512), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    arguments = parser.parse_args()

    import torch
    from speed import _peak_memory_bytes, synthetic_picture
    from torch.utils.flop_counter import FlopCounterMode

    from sprdiff.comparison.environment import processor
    from sprdiff.config import BASE
    from sprdiff.encoders.vae import latent_stride
    from sprdiff.layers.tiling import run_tiled
    from sprdiff.parts import PART_CLASSES, build_part
    from sprdiff.pipeline import SPRDiffPipeline

    torch.set_num_threads(arguments.threads)
    pipeline = SPRDiffPipeline(**{name: build_part(name, BASE) for name in PART_CLASSES})
    weights = _peak_memory_bytes()
    image = synthetic_picture(*arguments.size)
    quality = torch.tensor([128.0])
    rows = []

    def measure(step: str, action: Callable[[], torch.Tensor]) -> torch.Tensor:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            start = time.perf_counter()
            result = action()
            seconds = time.perf_counter() - start
        rows.append((step, counter.get_total_flops() / 1e12, seconds, _peak_memory_bytes() / 1e9))
        return result

    y = measure("analysis", lambda: pipeline.analyze(image))
    x_coarse = measure(
        "coarse picture", lambda: run_tiled(lambda tile: (pipeline.coarse(tile, quality),), [(y, 16)], [1])[0]
    )
    stride = latent_stride(pipeline.vae)
    noise = torch.randn(1, 4, x_coarse.shape[-2] // stride, x_coarse.shape[-1] // stride)
    measure(
        "conditions, U-Net, VAE",
        lambda: run_tiled(
            lambda *tile: (pipeline._refine_tile(*tile, quality),),
            [(x_coarse.clamp(-1, 1), 1), (noise, stride)],
            [1],
        )[0],
    )
    print("| step | TFLOP | seconds | peak memory so far |\n|---|---:|---:|---:|")
    for step, operations, seconds, memory in rows:
        print(f"| {step} | {operations:.2f} | {seconds:.1f} | {memory:.1f} GB |")
    width, height = arguments.size
    print(
        f"\n{width} x {height}; {weights / 1e9:.1f} GB before the first step; random weights, float32, "
        f"{arguments.threads} threads, {processor()}, torch {torch.__version__}."
    )


if __name__ == "__main__":
    main()
