"""What the base preset asks of a machine: operations, seconds and memory of coding one picture.

    python benchmarks/base_preset.py                             # 768 x 512
    python benchmarks/base_preset.py --size 2048 1365 --count    # counted on the meta device, in seconds

With random weights, in float32, on the CPU: they decide nothing here. Entropy coding is left out: what it
takes depends on symbols that only trained weights can give.
"""

from __future__ import annotations

import argparse
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from speed import _peak_memory_bytes, synthetic_picture

from sprdiff.checkpoint.config import BASE
from sprdiff.checkpoint.parts import PART_CLASSES, build_part
from sprdiff.comparison.environment import processor
from sprdiff.encoders.vae import latent_stride
from sprdiff.images import pad_to_multiple, to_tensor
from sprdiff.layers import tiling
from sprdiff.pipeline import SPRDiffPipeline


class LiveBytes(TorchDispatchMode):
    """The bytes of all tensors that are made under it and live, and the most that they were.

    What an operation takes for itself while it runs is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.known:
            self.known.add(key)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._remove, key, storage.nbytes())

    def _remove(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def build(device: str) -> SPRDiffPipeline:
    """A pipeline of the base preset with random weights, or with none on the ``meta`` device."""
    parts = {}
    for name in PART_CLASSES:
        # The large ones begin there; others look at numbers when they are built.
        with torch.device(device if name in ("unet", "vae") else "cpu"):
            part = build_part(name, BASE)
        parts[name] = part.to(device) if isinstance(part, torch.nn.Module) else part
    return SPRDiffPipeline(**parts)


def steps(pipeline: SPRDiffPipeline, x: Tensor) -> list[tuple[str, Callable[[Tensor], Tensor]]]:
    """What is done to a picture (1, 3, H, W), each with what the one before gave."""
    quality = torch.tensor([128.0], device=x.device)
    stride = latent_stride(pipeline.vae)
    channels = pipeline.unet.config.out_channels
    noise = torch.randn(1, channels, x.shape[-2] // stride, x.shape[-1] // stride, device=x.device)

    def analyze(x: Tensor) -> Tensor:
        return tiling.run_tiled(pipeline._analyze_tile, [(x, 1)], [16])[0]

    def decode(y: Tensor) -> Tensor:
        return tiling.run_tiled(lambda tile: (pipeline.coarse(tile, quality),), [(y, 16)], [1])[0]

    def refine(x_coarse: Tensor) -> Tensor:
        inputs = [(x_coarse.clamp(-1, 1), 1), (noise, stride)]
        return tiling.run_tiled(
            lambda tile, drawn: (pipeline._refine_tile(tile, drawn, quality),), inputs, [1]
        )[0]

    return [("analysis", analyze), ("coarse picture", decode), ("conditions, U-Net, VAE", refine)]


def main() -> None:
    """Prints a markdown table, a row for each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(768, 512), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--count", action="store_true", help="compute nothing, only count")
    arguments = parser.parse_args()
    width, height = arguments.size
    torch.set_num_threads(arguments.threads)
    device = "meta" if arguments.count else "cpu"
    pipeline = build(device)
    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    tensors = [each for module in modules for each in (*module.parameters(), *module.buffers())]
    weights = sum(each.nbytes for each in tensors)
    padded = tuple(-(-side // tiling.GRID) * tiling.GRID for side in (height, width))
    if arguments.count:
        value = torch.empty(1, 3, *padded, device=device)
    else:
        value = pad_to_multiple(to_tensor(synthetic_picture(width, height)), tiling.GRID) * 2 - 1
    print("| step | TFLOP | seconds | memory |\n|---|---:|---:|---:|")
    for name, step in steps(pipeline, value):
        live = LiveBytes() if arguments.count else None
        with FlopCounterMode(display=False) as counter, torch.inference_mode(not arguments.count):
            start = time.perf_counter()
            if live is None:
                value = step(value)
            else:
                with torch.no_grad(), torch.device(device), live:
                    value = step(value)
            seconds = time.perf_counter() - start
        memory = _peak_memory_bytes() if live is None else weights + live.peak
        took = "" if arguments.count else f"{seconds:.1f}"
        print(f"| {name} | {counter.get_total_flops() / 1e12:.2f} | {took} | {memory / 1e9:.1f} GB |")
    kind = "counted, tensors alone" if arguments.count else "measured, the peak of the process so far"
    print(
        f"\n{width} x {height}; weights {weights / 1e9:.1f} GB; memory {kind}; float32, {arguments.threads} "
        f"threads, {processor()}, torch {torch.__version__}."
    )


if __name__ == "__main__":
    main()
