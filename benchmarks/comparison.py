"""How long the Compare button takes, from the press to the last number, without a browser on the same cores.

    python benchmarks/comparison.py PICTURE [--rounds 2]

What the page's handler does, model and metrics warm as ``app.py`` warms them, for the picture, its mirror
image and both upside down, which nobody has compared before. ``page.py`` has the same as somebody sees it
in Chromium, which takes its share of the cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from sprdiff.memory import keep_freed  # noqa: E402

# As `sprdiff serve` does, and like there before an import starts threads.
keep_freed()
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

from PIL import Image  # noqa: E402

from sprdiff.checkpoint.weights import default_checkpoint  # noqa: E402
from sprdiff.cli.options import load_pipeline  # noqa: E402
from sprdiff.ui.compare_tab import BASELINE_CHOICES  # noqa: E402
from sprdiff.ui.desk import Desk  # noqa: E402
from sprdiff.ui.handlers import run_comparison  # noqa: E402
from sprdiff.ui.records import Picture  # noqa: E402

LIMIT = 12.0
"""Seconds for 768 x 512 on two cores."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--rounds", type=int, default=2, help="comparisons, each of new pixels (default 2)")
    parser.add_argument("--bpp", type=float, default=0.03, help="target (default 0.03)")
    arguments = parser.parse_args()
    desk = Desk(lambda: load_pipeline(default_checkpoint()), "sprdiff-tiny", fetch_weights=True)
    desk.model.start()
    desk.model.get()
    for thread in threading.enumerate():
        if thread.name == "sprdiff-metrics":  # which builds their networks
            thread.join()
    session = desk.sessions.of("benchmark")
    methods = [method for _, method in BASELINE_CHOICES]
    image = Image.open(arguments.picture).convert("RGB")
    print("| round | first picture | final picture | last picture | last number | limit |")
    print("|---|---:|---:|---:|---:|---:|")
    for number in range(arguments.rounds):
        path = session.folder / f"{number}.png"
        image.rotate(180 * (number // 2 % 2)).save(path)
        times: dict[int, float] = {}
        started = time.monotonic()
        shown = Picture(str(path), path.name, *image.size)
        for frame in run_comparison(desk, session, shown, {"bpp": arguments.bpp}, methods):
            if frame.viewer is not None:
                times.setdefault(len(frame.viewer["panels"]), time.monotonic() - started)
        total = time.monotonic() - started
        columns = (times[2], times[3], times[3 + len(methods)], total, LIMIT)
        print(f"| {number + 1} | " + " | ".join(f"{seconds:.1f} s" for seconds in columns) + " |", flush=True)
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


if __name__ == "__main__":
    main()
