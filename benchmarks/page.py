"""How long somebody at the page waits, as a markdown table or JSON.

    python benchmarks/page.py --image kodim15.png

Starts ``app.py`` in a process of its own and drives it in headless Chromium (selenium and chromedriver, as
the tests do): from the command to a page that takes input, from Compare to the first picture and to the
last, and the same once more, from the cache. The page itself takes the times, so that nobody asks it twenty
times a second. Browser and server share the cores here; ``comparison.py`` has the server alone. With
``--shots FOLDER`` it leaves screenshots of every tab, at three widths, light and dark.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from selenium.common.exceptions import WebDriverException

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

import browser  # noqa: E402

from sprdiff.ui import texts  # noqa: E402

LIMITS = {
    "interactive_seconds": 12.0,
    "coarse_seconds": 2.5,
    "all_panels_seconds": 15.0,
    "all_numbers_seconds": 12.0,
    "cached_seconds": 0.3,
}
"""What the project promises for 768 x 512 on two cores."""
LABELS = {
    "interactive_seconds": "from `python app.py` to a page that takes input",
    "model_seconds": "from `python app.py` to the model being ready",
    "coarse_seconds": "from Compare to the coarse picture",
    "final_seconds": "from Compare to the final picture",
    "all_panels_seconds": "from Compare to the last of all pictures",
    "all_numbers_seconds": "from Compare to the last number, a browser on the same cores",
    "cached_seconds": "the same setting again",
}
SHOT_WIDTHS = ((390, 844), (1280, 900), (2560, 1440))
THEMES = ("light", "dark")
TABS = ("Compare", "Sweep", "Decode", "Blind test", "Published", "How it works")
SWEEP_POINTS = "#sweep-chart .c-mark"
wait = partial(browser.wait, seconds=180)
STOPWATCH = """
const times = window.stopwatch = {}, begun = performance.now();
const shows = (id) => document.querySelector(`#viewer .v-card[data-panel="${id}"] img`)?.naturalWidth;
const run = document.querySelector("#run");
let running = false;
const note = (name, there) => {
  if (there && !(name in times)) times[name] = (performance.now() - begun) / 1000;
};
const look = () => {
  running ||= run.disabled;
  note("coarse_seconds", shows("sprdiff-coarse"));
  note("final_seconds", shows("sprdiff-final"));
  note("all_panels_seconds", shows("sprdiff-final") && !document.querySelector("#viewer .v-pending"));
  note("all_numbers_seconds", running && !run.disabled);
};
// Whenever something changes or a picture has been loaded: looking many times a second would cost the cores.
new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
document.addEventListener("load", look, true);
run.click();
"""
"""Presses Compare and notes, in seconds, when what is waited for is there."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, required=True, help="picture to compare on")
    parser.add_argument("--shots", type=Path, help="folder for screenshots")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = measure(arguments.image.resolve(), arguments.shots)
    print(json.dumps(result, indent=2) if arguments.json else as_table(result))


def measure(image: Path, shots: Path | None) -> dict:
    """The waits in seconds, and the panels that were waited for."""
    with browser.chromium() as driver, server() as (url, started):
        browser.resize(driver, 1280, 900)
        page = browser.Page(driver, url)
        result: dict[str, Any] = {"image": image.name}
        while True:
            try:
                driver.get(url)
                break
            except WebDriverException:  # nobody listens yet
                time.sleep(browser.POLL_SECONDS)
        wait(lambda: _takes_input(page), "the page")
        result["interactive_seconds"] = time.monotonic() - started
        wait(lambda: texts.MODEL_READY in page.model_state(), "the model")
        result["model_seconds"] = time.monotonic() - started
        page.choose(image)
        page.run(STOPWATCH)
        wait(lambda: page.run("return 'all_numbers_seconds' in window.stopwatch"), "the last number", every=1)
        result |= page.run("return window.stopwatch")
        result["panels"] = page.panels()
        begun = page.press_compare()
        wait(lambda: texts.CACHED in page.find("#status").text, "the cache")
        result["cached_seconds"] = time.monotonic() - begun
        if shots is not None:
            take_shots(page, shots)
    return result


@contextmanager
def server() -> Iterator[tuple[str, float]]:
    """``app.py`` on a free port: its address, and when it was started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "app.py"), "--port", str(port)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    try:
        yield f"http://127.0.0.1:{port}", started
    finally:
        process.terminate()
        process.wait()


def take_shots(page: browser.Page, folder: Path) -> None:
    """The whole of every tab at three widths, light and dark, after a comparison, a sweep and a decode."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = folder / "shown.spr"
    stream.write_bytes(
        page.fetch(page.find("#viewer [data-panel=sprdiff-final] .v-links a").get_attribute("href"))
    )
    page.tab("Decode")
    page.upload("#stream-picker", stream)
    wait(lambda: page.count("#decode-viewer .v-card:not(.v-pending)") == 2, "the decoded pictures")
    page.tab("Sweep")
    page.run(
        "document.querySelectorAll('.rail:has(#sweep-run) .methods input:checked').forEach("
        "(box) => box.closest('label').textContent.includes('AVIF') || box.click())"
    )
    page.find("#sweep-run").click()
    wait(lambda: page.count(SWEEP_POINTS) and page.find("#sweep-run").is_enabled(), "the sweep", seconds=600)
    for theme in THEMES:
        for width, height in SHOT_WIDTHS:
            browser.resize(page.driver, width, height, mobile=width < 500)
            page.run("document.body.classList.toggle('dark', arguments[0])", theme == "dark")
            page.run("document.dispatchEvent(new Event('sprdiff-theme'))")
            for tab in TABS:
                page.tab(tab)
                time.sleep(1)  # pictures and curves are placed
                shot = page.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
                name = f"{tab.lower().replace(' ', '-')}-{width}-{theme}.png"
                (folder / name).write_bytes(base64.b64decode(shot["data"]))


def _takes_input(page: browser.Page) -> bool:
    button = "const run = document.querySelector('#run'); return !!run && !run.disabled && !!run.offsetParent"
    return bool(page.run(button) and page.panels())


def as_table(result: dict) -> str:
    """The result as a markdown table."""
    rows = ["| wait | time | limit |", "|---|---|---|"]
    for key, label in LABELS.items():
        limit = f"{LIMITS[key]:g} s" if key in LIMITS else ""
        rows.append(f"| {label} | {result[key]:.2f} s | {limit} |")
    return "\n".join([*rows, "", f"{result['image']}; panels: {', '.join(result['panels'])}."])


if __name__ == "__main__":
    main()
