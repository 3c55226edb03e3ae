"""How long somebody at the page waits, as a markdown table or JSON.

    python benchmarks/page.py --image kodim15.png

Starts ``app.py`` in a process of its own and drives it in headless Chromium (selenium and chromedriver, as
the tests do): from the command to a page that takes input, from Compare to the first picture and to the
last, and the same once more, from the cache. With ``--shots FOLDER`` it leaves screenshots of every tab, at
three widths, light and dark.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from sprdiff.ui import texts  # noqa: E402

LIMITS = {
    "interactive_seconds": 12.0,
    "coarse_seconds": 2.5,
    "all_panels_seconds": 15.0,
    "cached_seconds": 0.3,
}
"""What the project promises for 768 x 512 on two cores."""
LABELS = {
    "interactive_seconds": "from `python app.py` to a page that takes input",
    "model_seconds": "from `python app.py` to the model being ready",
    "coarse_seconds": "from Compare to the coarse picture",
    "final_seconds": "from Compare to the final picture",
    "all_panels_seconds": "from Compare to the last of all panels",
    "cached_seconds": "the same setting again",
}
SHOT_WIDTHS = ((390, 844), (1280, 900), (2560, 1440))
TABS = ("Compare", "Sweep", "Decode", "Published", "How it works")
READY = "#viewer .v-card:not(.v-pending)"
# Each look costs the same two cores a few milliseconds.
POLL_SECONDS = 0.05


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
    with browser() as driver, server() as (url, started):
        result = {"image": image.name}
        while True:
            try:
                driver.get(url)
                break
            except WebDriverException:  # nobody listens yet
                time.sleep(POLL_SECONDS)
        wait(lambda: _is_ready(driver), "the page")
        result["interactive_seconds"] = time.monotonic() - started
        wait(lambda: texts.MODEL_READY in driver.find_element(By.ID, "model-state").text, "the model")
        result["model_seconds"] = time.monotonic() - started
        driver.find_element(By.CSS_SELECTOR, "#picture-picker input[type=file]").send_keys(str(image))
        title = "return document.querySelector('#viewer h2')?.textContent"
        wait(lambda: driver.execute_script(title) == image.name and _panels(driver) == ["original"], "upload")
        begun = _press_compare(driver)
        wait(lambda: "sprdiff-coarse" in _panels(driver), "the coarse picture")
        result["coarse_seconds"] = time.monotonic() - begun
        wait(lambda: "sprdiff-final" in _panels(driver), "the final picture")
        result["final_seconds"] = time.monotonic() - begun
        wait(lambda: driver.find_element(By.ID, "run").is_enabled(), "all panels")
        result["all_panels_seconds"] = time.monotonic() - begun
        result["panels"] = _panels(driver)
        begun = _press_compare(driver)
        wait(lambda: texts.CACHED in driver.execute_script("return document.body.innerText"), "the cache")
        result["cached_seconds"] = time.monotonic() - begun
        if shots is not None:
            take_shots(driver, url, shots)
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


@contextmanager
def browser() -> Iterator[Chrome]:
    """Headless Chromium with a profile of its own."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or sys.exit("chromium is not installed")
    with tempfile.TemporaryDirectory() as profile:
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            resize(driver, 1280, 900)
            yield driver
        finally:
            driver.quit()


def wait(condition: Callable[[], object], what: str, seconds: float = 180) -> None:
    """Until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"Waited {seconds:g} s in vain for {what}.")
        time.sleep(POLL_SECONDS)


def resize(driver: Chrome, width: int, height: int) -> None:
    """The size of the page, which may be smaller than a window can be."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def take_shots(driver: Chrome, url: str, folder: Path) -> None:
    """Every tab at three widths, light and dark, as they are after a comparison."""
    folder.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        for width, height in SHOT_WIDTHS:
            resize(driver, width, height)
            driver.execute_script("document.body.classList.toggle('dark', arguments[0])", theme == "dark")
            for tab in TABS:
                driver.find_element(By.XPATH, f"//button[@role='tab'][normalize-space()='{tab}']").click()
                time.sleep(0.6)
                driver.save_screenshot(str(folder / f"{tab.lower().replace(' ', '-')}-{width}-{theme}.png"))


def _is_ready(driver: Chrome) -> bool:
    button = "const run = document.querySelector('#run'); return !!run && !run.disabled && !!run.offsetParent"
    return bool(driver.execute_script(button) and _panels(driver))


def _press_compare(driver: Chrome) -> float:
    button = driver.find_element(By.ID, "run")
    begun = time.monotonic()
    button.click()
    return begun


def _panels(driver: Chrome) -> list[str]:
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(card => card.dataset.panel)", READY
    )


def as_table(result: dict) -> str:
    """The result as a markdown table."""
    rows = ["| wait | time | limit |", "|---|---|---|"]
    for key, label in LABELS.items():
        limit = f"{LIMITS[key]:g} s" if key in LIMITS else ""
        rows.append(f"| {label} | {result[key]:.2f} s | {limit} |")
    return "\n".join([*rows, "", f"{result['image']}; panels: {', '.join(result['panels'])}."])


if __name__ == "__main__":
    main()
