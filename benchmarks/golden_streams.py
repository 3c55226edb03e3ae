"""``python benchmarks/golden_streams.py``: the golden streams, decoded in every setting that must not matter.

Each setting is a process of its own, since several are read when torch is imported. Prints a table: how
many of the streams gave the committed symbols, and of the worst picture the share of samples within one
level of the committed one. Ends with 1 if any symbols differ, or pictures do where all parts have their
own precision.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "expected" / "golden"
LEAST_SHARE = 0.999
# Name: environment, and what is done within the process.
SETTINGS: dict[str, tuple[dict[str, str], dict[str, str | int | bool]]] = {
    f"{threads} threads, oneDNN {'on' if onednn else 'off'}, ATen {capability}": (
        {"ATEN_CPU_CAPABILITY": capability},
        {"threads": threads, "onednn": onednn},
    )
    for capability in ("default", "avx2", "avx512")
    for threads in (1, 2, 4)
    for onednn in (True, False)
} | {
    # The integer arithmetic is a matrix product in double precision, which MKL makes.
    "MKL SSE4.2": ({"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}, {}),
    "MKL AVX2": ({"MKL_ENABLE_INSTRUCTIONS": "AVX2"}, {}),
    "oneDNN SSE4.1": ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, {}),
    "channels first": ({}, {"contiguous": True}),
    "bfloat16": ({}, {"dtype": "bfloat16"}),
    "float16": ({}, {"dtype": "float16"}),
    "beside other threads": ({}, {"beside": True}),
}


def check(
    threads: int = 2, onednn: bool = True, contiguous: bool = False, dtype: str = "", beside: bool = False
):
    """What this process makes of the streams: right symbols, share of samples, and what torch found here."""
    import numpy as np
    import torch
    from PIL import Image

    from sprdiff.pipeline import SPRDiffPipeline
    from sprdiff.weights import embedded_checkpoint

    torch.set_num_threads(threads)
    torch.backends.mkldnn.enabled = onednn
    pipeline = SPRDiffPipeline.from_pretrained(embedded_checkpoint())
    if contiguous:
        pipeline.to(memory_format=torch.contiguous_format)
    if dtype:
        pipeline.to(getattr(torch, dtype))
    symbols = json.loads((GOLDEN / "golden.json").read_text())["symbols"]
    right, least = 0, 1.0
    with _other_threads() if beside else contextlib.nullcontext():
        for name, expected in symbols.items():
            data = (GOLDEN / f"{name}.spr").read_bytes()
            right += pipeline.symbols_hash(data) == expected
            if dtype:  # Pictures of rounded networks are others, and not promised.
                continue
            decoded = pipeline.decompress(data)
            pictures = np.concatenate([np.asarray(decoded.coarse), np.asarray(decoded.final)]).astype(int)
            with Image.open(GOLDEN / f"{name}.webp") as image:
                difference = np.abs(pictures - np.asarray(image.convert("RGB")))
            least = min(least, float((difference <= 1).mean()))
    return {
        "symbols": right,
        "streams": len(symbols),
        "share": None if dtype else least,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


@contextlib.contextmanager
def _other_threads():
    """Three threads that multiply matrices and change the number of torch's threads meanwhile."""
    import torch

    ended = threading.Event()

    def work(count: int) -> None:
        while not ended.is_set():
            torch.set_num_threads(count)
            (torch.rand(300, 300) @ torch.rand(300, 300)).sum()

    workers = [threading.Thread(target=work, args=(count,)) for count in (1, 2, 3)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        ended.set()
        for worker in workers:
            worker.join()


def run(name: str) -> dict:
    """:func:`check` under the setting ``name``, in a process of its own."""
    environment, options = SETTINGS[name]
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(options)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="settings whose name holds this")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(check(**json.loads(arguments.child))))
        return 0
    print("| Setting | Right symbols | Within one level | torch found |\n|---|---|---|---|")
    wrong = 0
    for name in SETTINGS:
        if arguments.only and arguments.only not in name:
            continue
        result = run(name)
        share = "not compared" if result["share"] is None else f"{100 * result['share']:.3f} %"
        print(
            f"| {name} | {result['symbols']} of {result['streams']} | {share} | {result['cpu']} |", flush=True
        )
        wrong += result["symbols"] != result["streams"] or (result["share"] or 1.0) < LEAST_SHARE
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
