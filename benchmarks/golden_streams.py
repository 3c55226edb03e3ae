"""``python benchmarks/golden_streams.py``: the golden streams, decoded in every setting that must not matter.

Each setting is a process of its own, since several are read when torch is imported. Prints a table: how
many of the streams gave the committed symbols, and of the worst picture the share of samples within one
level of the committed one. Ends with 1 if any symbols differ, or pictures do where all parts have their
own precision. ``--processor`` takes one of the settings that are read when torch is imported; each takes a
minute or two.
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
# Read when torch is imported, so a process for each. The integer arithmetic is a matrix product in double
# precision, which MKL makes.
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "ATen default": {"ATEN_CPU_CAPABILITY": "default"},
    "ATen avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "ATen avx512": {"ATEN_CPU_CAPABILITY": "avx512"},
    "MKL SSE4.2": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "MKL AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "oneDNN SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "oneDNN AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}
# What is set within a process: threads, oneDNN, and whether pictures are compared as well, which takes time.
VARIANTS = [
    (2, True, True),
    (1, True, False),
    (4, True, False),
    (1, False, False),
    (2, False, True),
    (4, False, False),
]
ALONE = "as it is"
"""The processor for what is tried once: :func:`check_others`."""


def compare(pipeline, pictures: bool) -> dict[str, float | int | None]:
    """How many golden streams give the committed symbols, and the worst picture's share within one level."""
    import numpy as np
    from PIL import Image

    from sprdiff.errors import BitstreamError

    symbols = json.loads((GOLDEN / "golden.json").read_text())["symbols"]
    right, least = 0, 1.0
    for name, expected in symbols.items():
        data = (GOLDEN / f"{name}.spr").read_bytes()
        # Symbols that went wrong half way are mostly found to be damage.
        with contextlib.suppress(BitstreamError):
            right += pipeline.symbols_hash(data) == expected
        if not pictures:
            continue
        decoded = pipeline.decompress(data)
        samples = np.concatenate([np.asarray(decoded.coarse), np.asarray(decoded.final)]).astype(int)
        with Image.open(GOLDEN / f"{name}.webp") as image:
            difference = np.abs(samples - np.asarray(image.convert("RGB")))
        least = min(least, float((difference <= 1).mean()))
    return {"symbols": right, "streams": len(symbols), "share": least if pictures else None}


def check_variants(pictures: bool) -> dict[str, dict]:
    """:func:`compare` with any number of threads, with and without oneDNN."""
    import torch

    pipeline = load()
    results = {}
    for threads, onednn, wanted in VARIANTS:
        torch.set_num_threads(threads)
        with torch.backends.mkldnn.flags(enabled=onednn):
            name = f"{threads} threads, oneDNN {'on' if onednn else 'off'}"
            results[name] = compare(pipeline, pictures and wanted)
    return results


def check_others(pictures: bool) -> dict[str, dict]:
    """:func:`compare` beside other threads, in another memory format, and with the other parts rounded."""
    import torch

    pipeline = load()
    with _other_threads():
        results = {"beside other threads": compare(pipeline, False)}
    pipeline.to(memory_format=torch.contiguous_format)
    results["channels first"] = compare(pipeline, pictures)
    # Pictures of rounded networks are others, and not promised.
    for dtype in (torch.bfloat16, torch.float16):
        results[f"other parts {str(dtype).removeprefix('torch.')}"] = compare(pipeline.to(dtype), False)
    return results


def load():
    from sprdiff.checkpoint.weights import embedded_checkpoint
    from sprdiff.pipeline import SPRDiffPipeline

    return SPRDiffPipeline.from_pretrained(embedded_checkpoint())


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


def run(environment: dict[str, str], what: str, pictures: bool = True) -> dict[str, dict]:
    """What a process of its own finds: ``what`` is the name of one of the functions above."""
    arguments = [sys.executable, __file__, "--child", what, *([] if pictures else ["--symbols-only"])]
    variables = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run(arguments, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols-only", action="store_true", help="compare no pictures")
    parser.add_argument("--processor", choices=(ALONE, *ENVIRONMENTS), help="all by default")
    parser.add_argument("--child", choices=("check_variants", "check_others"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    pictures = not arguments.symbols_only
    if arguments.child:
        print(json.dumps(globals()[arguments.child](pictures)))
        return 0
    print(
        "| Processor as | Setting | Right symbols | Within one level, worst picture |\n|---|---|---|---|",
        flush=True,
    )
    wrong = 0
    for name in [arguments.processor] if arguments.processor else [ALONE, *ENVIRONMENTS]:
        environment, what = ENVIRONMENTS.get(name, {}), "check_others" if name == ALONE else "check_variants"
        for setting, result in run(environment, what, pictures).items():
            share = "not compared" if result["share"] is None else f"{100 * result['share']:.3f} %"
            print(
                f"| {name} | {setting} | {result['symbols']} of {result['streams']} | {share} |", flush=True
            )
            wrong += result["symbols"] != result["streams"]
            wrong += result["share"] is not None and result["share"] < LEAST_SHARE
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
