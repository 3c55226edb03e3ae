"""What many visitors at once meet, as a markdown table: waits, wrong pictures, memory before and after.

    python benchmarks/load.py --visitors 20 --jobs 200

Starts ``sprdiff serve`` in a process of its own. Each visitor drops pictures of its own and compares them
with JPEG, over HTTP, until all jobs are done; meanwhile another asks for what needs no model.
"""

from __future__ import annotations

import argparse
import io
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from conftest import make_photo  # noqa: E402
from visitors import Visitor  # noqa: E402


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--side", type=int, default=256, help="of the pictures, in pixels")
    arguments = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "OMP_NUM_THREADS": "2"}
    environment = {key: value for key, value in environment.items() if not key.startswith("MALLOC_")}
    command = [sys.executable, "-u", "-m", "sprdiff", "serve"]
    server = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        # The last that gradio says: before it, it asks itself for the page and must not be kept busy.
        while "public link" not in (line := server.stdout.readline()):
            if not line:
                sys.exit("the server ended")
        print(as_table(measure(f"http://127.0.0.1:{port}/", server.pid, arguments)))
    finally:
        server.terminate()
        server.wait()


def measure(address: str, pid: int, arguments: argparse.Namespace) -> dict[str, float]:
    """What the table shows."""
    wrong: list[int] = []
    seconds: list[float] = []
    waits: list[float] = []
    ended = threading.Event()

    def job(number: int) -> None:
        picture = make_photo(arguments.side, arguments.side, seed=number)
        file = io.BytesIO()
        picture.save(file, "PNG")
        started = time.monotonic()
        with Visitor(address) as visitor:
            visitor.choose(f"{number}.png", file.getvalue())
            panels = visitor.compare(0.1, ["jpeg"])["panels"]
            seconds.append(time.monotonic() - started)
            shown = {panel["id"]: _fetched(visitor, panel) for panel in panels}
        if not np.array_equal(shown["original"], np.asarray(picture)) or len(shown) != 4:
            wrong.append(number)

    def look() -> None:
        with Visitor(address) as visitor:
            while not ended.wait(1):
                started = time.monotonic()
                visitor.get("/config").raise_for_status()
                waits.append(time.monotonic() - started)

    job(10_000)  # loads the model
    seconds.clear()
    with ThreadPoolExecutor(arguments.visitors + 1) as pool:
        looking = pool.submit(look)
        half = arguments.jobs // 2
        list(pool.map(job, range(half)))
        middle = _memory(pid)
        list(pool.map(job, range(half, arguments.jobs)))
        ended.set()
        looking.result()
    return {
        "jobs": arguments.jobs,
        "visitors at once": arguments.visitors,
        "wrong pictures": len(wrong),
        "median seconds of a visit": statistics.median(seconds),
        "longest visit, seconds": max(seconds),
        "median seconds of a request without the model": statistics.median(waits),
        "longest of these, seconds": max(waits),
        "memory after half of the jobs, GB": middle / 1e9,
        "memory after all jobs, GB": _memory(pid) / 1e9,
    }


def as_table(result: dict[str, float]) -> str:
    """The measurements as a markdown table."""
    rows = [f"| {name} | {value:.2f} |" for name, value in result.items()]
    return "\n".join(["| | |", "|---|---:|", *rows])


def _fetched(visitor: Visitor, panel: dict) -> np.ndarray:
    content = visitor.get(panel["picture"]["url"]).raise_for_status().content
    return np.asarray(Image.open(io.BytesIO(content)))


def _memory(pid: int) -> int:
    """Resident memory of a process in bytes (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
