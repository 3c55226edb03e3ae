"""What many visitors at once meet, as a markdown table: waits, wrong pictures, memory, files left.

    python benchmarks/load.py --visitors 20 --jobs 200

Starts ``sprdiff serve`` with a temporary folder of its own. Then, over HTTP:

1. Visitors compare pictures with JPEG, each under a light that no other has at that time, until all jobs are
   done. Another asks for what needs no model, once a second. A job is wrong unless the original comes back
   exactly, the JPEG file is that of the picture, and both outputs of SPRDiff have its colours.
2. Twice as many come at once: those for whom there is no place must be told so in a sentence.
3. As many as before leave in the middle of a run; the next visitor must not wait for their runs.
4. The server is killed in the middle of a run and started again: nothing of it may be left.
"""

from __future__ import annotations

import argparse
import colorsys
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from conftest import make_photo  # noqa: E402
from visitors import Visitor, start_server, wait  # noqa: E402

from sprdiff.baselines import BASELINES  # noqa: E402
from sprdiff.methods import COARSE, FINAL  # noqa: E402
from sprdiff.metrics.rate import max_bytes  # noqa: E402

BPP = 0.1
NUM_LIGHTS = 40
LIGHTS = np.array([colorsys.hsv_to_rgb(number / NUM_LIGHTS, 0.8, 1) for number in range(NUM_LIGHTS)])
"""Neighbours differ by more than coding changes a picture's mean colour."""


class Bench:
    """Visitors of one server, and what they met.

    Args:
        address: of the server.
        side: of the pictures, in pixels.
    Attributes:
        seconds: of every visit.
        wrong: numbers of the visits that were shown anything but their own pictures.
        told: how many visitors were told their number in the line.
    """

    def __init__(self, address: str, side: int) -> None:
        self.address = address
        self.seconds: list[float] = []
        self.wrong: list[int] = []
        self.told = 0
        self._side = side

    def visit(self, number: int, visitor: Visitor | None = None) -> None:
        """One visitor with a picture that differs from those of all others."""
        started = time.monotonic()
        with visitor or Visitor(self.address) as visitor:
            photo = make_photo(self._side, self._side, seed=number)
            picture = _lit(photo, number % NUM_LIGHTS)
            _choose(visitor, picture)
            panels = visitor.compare(BPP, ["jpeg"])["panels"]
            self.seconds.append(time.monotonic() - started)
            self.told += any("in the line" in note for note in visitor.notes)
            pixels = {panel["id"]: _pixels(_fetched(visitor, panel["picture"])) for panel in panels}
            jpeg = _fetched(visitor, panels[-1]["file"])
        own = [
            np.array_equal(pixels["original"], np.asarray(picture)),
            jpeg == BASELINES["jpeg"].compress(picture, max_bytes=max_bytes(BPP, *picture.size)).data,
            *(_light(pixels[method], photo) == number % NUM_LIGHTS for method in (COARSE, FINAL)),
        ]
        if not all(own):
            self.wrong.append(number)

    def leave_in_the_middle(self, visitor: Visitor, number: int, seconds: float) -> None:
        """Begins a run, and closes the page after so many seconds, or at its end."""
        _choose(visitor, make_photo(self._side, self._side, seed=number))
        threading.Timer(seconds, visitor.leave).start()
        try:
            visitor.compare(BPP, ["jpeg"])
        except (RuntimeError, httpx.HTTPError):
            return  # there was no place, or the connection was closed under it


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=20, help=f"at once, at most {NUM_LIGHTS // 2}")
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--side", type=int, default=256, help="of the pictures, in pixels")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        server, address = start_server(Path(temporary))
        try:
            result = measure(Bench(address, arguments.side), server.pid, arguments.visitors, arguments.jobs)
            result |= kill(Bench(address, arguments.side), server, Path(temporary))
        finally:
            server.kill()
            server.wait()
    print(as_table(result))


def measure(bench: Bench, pid: int, visitors: int, jobs: int) -> dict[str, float]:
    """What the table shows of a server that goes on."""
    waits: list[float] = []
    ended = threading.Event()

    def look() -> None:
        with Visitor(bench.address) as visitor:
            while not ended.wait(1):
                started = time.monotonic()
                visitor.get("/config").raise_for_status()
                waits.append(time.monotonic() - started)

    bench.visit(0)  # loads the model
    bench.seconds.clear()
    result: dict[str, float] = {"visitors at once": visitors, "jobs": jobs}
    with ThreadPoolExecutor(visitors) as pool:
        looking = threading.Thread(target=look)
        looking.start()
        for first, last in ((0, visitors), (visitors, jobs // 2), (jobs // 2, jobs)):
            list(pool.map(bench.visit, range(first, last)))
            result[f"memory after {last} jobs, GB"] = _memory(pid) / 1e9
        ended.set()
        looking.join()
    result |= {
        "wrong pictures": len(bench.wrong),
        "told their number in the line": bench.told,
        "median seconds of a visit": statistics.median(bench.seconds),
        "longest visit, seconds": max(bench.seconds),
        "median seconds of a request without the model": statistics.median(waits),
        "longest of these, seconds": max(waits),
    }
    return result | crowd(bench, 2 * visitors) | leavers(bench, visitors)


def crowd(bench: Bench, count: int) -> dict[str, float]:
    """How many of so many at once are served, and how many are told that the line is full."""
    open_pages = [Visitor(bench.address) for _ in range(count)]
    refused, others = [], []

    def visit(number: int) -> None:
        try:
            bench.visit(10_000 + number, open_pages[number])
        except RuntimeError as error:
            (refused if "waiting already" in str(error) else others).append(str(error))

    wrong = len(bench.wrong)
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(visit, range(count)))
    for problem in others:
        print(problem, file=sys.stderr)
    return {
        f"of {count} at once: served": count - len(refused) - len(others),
        "told that the line is full": len(refused),
        "anything else, or a wrong picture": len(others) + len(bench.wrong) - wrong,
    }


def leavers(bench: Bench, count: int) -> dict[str, float]:
    """What a visitor waits alone, and after so many have left in the middle of their runs."""

    def alone() -> float:
        bench.visit(time.monotonic_ns())
        return bench.seconds[-1]

    quiet = alone()
    open_pages = [Visitor(bench.address) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda n: bench.leave_in_the_middle(open_pages[n], n, 1), range(count)))
    return {"a visit alone, seconds": quiet, f"a visit after {count} have left, seconds": alone()}


def kill(bench: Bench, server: subprocess.Popen[str], temporary: Path) -> dict[str, float]:
    """How many files a killed server leaves, and how many are there when the next one is up."""
    visitor = Visitor(bench.address)
    run = threading.Thread(target=_ignoring(bench.visit), args=(1, visitor))
    run.start()
    wait(lambda: visitor.notes)
    server.kill()
    server.wait()
    run.join()
    left = {path for path in temporary.rglob("*") if path.is_file()}
    following, _ = start_server(temporary)
    try:
        kept = [path for path in left if path.exists()]
    finally:
        following.terminate()
        following.wait()
    return {"files when the server was killed": len(left), "of these after the next start": len(kept)}


def as_table(result: dict[str, float]) -> str:
    """The measurements as a markdown table."""
    rows = [
        f"| {name} | {value} |" if isinstance(value, int) else f"| {name} | {value:.2f} |"
        for name, value in result.items()
    ]
    return "\n".join(["| | |", "|---|---:|", *rows])


def _ignoring(function: Callable[..., None]) -> Callable[..., None]:
    """``function`` without the errors of a connection that breaks."""

    def run(*arguments: object) -> None:
        try:
            function(*arguments)
        except (RuntimeError, httpx.HTTPError):
            return

    return run


def _choose(visitor: Visitor, picture: Image.Image) -> None:
    file = io.BytesIO()
    picture.save(file, "PNG")
    visitor.choose("picture.png", file.getvalue())


def _lit(photo: Image.Image, number: int) -> Image.Image:
    """The photograph under one of ``NUM_LIGHTS`` coloured lights."""
    return Image.fromarray(np.rint(np.asarray(photo) * LIGHTS[number]).astype(np.uint8))


def _light(pixels: np.ndarray, photo: Image.Image) -> int:
    """The light under which the photograph's mean colour comes nearest to that of ``pixels``."""
    means = LIGHTS * np.asarray(photo).mean((0, 1))
    return int(np.abs(means - pixels.mean((0, 1))).sum(1).argmin())


def _fetched(visitor: Visitor, file: dict[str, Any]) -> bytes:
    return visitor.get(file["url"]).raise_for_status().content


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def _memory(pid: int) -> int:
    """Resident memory of a process in bytes (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
