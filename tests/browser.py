"""Headless Chromium and the page in it, as the tests and ``benchmarks/page.py`` drive them."""

from __future__ import annotations

import base64
import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1280,900"
)
READY = "#viewer .v-card:not(.v-pending)"
METHODS = ("sprdiff-coarse", "sprdiff-final", "jpeg", "webp", "jpeg2000", "avif")
"""Those of the page as it opens."""
POLL_SECONDS = 0.05
"""Each look costs the cores that the codec works on a few milliseconds."""


@contextmanager
def chromium(*, logs: bool = False) -> Iterator[Chrome]:
    """A browser with a profile of its own.

    Args:
        logs: keep what the console and the network say, for ``get_log``.
    Raises:
        FileNotFoundError: chromium or chromedriver is not installed.
    """
    if not (CHROMIUM and CHROMEDRIVER):
        raise FileNotFoundError("chromium and chromedriver are not installed")
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    if logs:
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options.add_argument(f"--user-data-dir={profile}")
        driver = Chrome(options=options, service=Service(CHROMEDRIVER))
        try:
            driver.set_script_timeout(20)
            yield driver
        finally:
            driver.quit()


def resize(driver: Chrome, width: int, height: int, *, mobile: bool = False) -> None:
    """The size of the page in pixels, which may be smaller than a window can be."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def prefer(driver: Chrome, scheme: str) -> None:
    """``light`` or ``dark`` as the system's choice; empty for the browser's own."""
    features = [{"name": "prefers-color-scheme", "value": scheme}] if scheme else []
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def wait(condition: Callable[[], Any], what: str, seconds: float = 90, *, every: float = POLL_SECONDS) -> Any:
    """The first true value of ``condition``, which is asked for every so many seconds.

    What the page drew anew while the condition looked at it, is looked at again.

    Raises:
        AssertionError: there was none in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(StaleElementReferenceException):
            if value := condition():
                return value
        time.sleep(every)
    raise AssertionError(f"waited {seconds:g} s in vain for {what}")


def axe_violations(driver: Chrome, axe: Path) -> list[tuple[str, list[str]]]:
    """What axe-core finds against WCAG 2.1 A and AA on the open page: rules, each with its elements.

    Args:
        axe: ``axe.min.js``.
    """
    if not driver.execute_script("return 'axe' in window"):
        driver.execute_script(axe.read_text(encoding="utf-8"))
    return driver.execute_async_script(
        """const done = arguments[0];
        axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}).then(r =>
          done(r.violations.map(v =>
            [v.id, v.nodes.map(n => n.html.slice(0, 160) + ' ' + n.failureSummary)])))"""
    )


class Page:
    """The page at ``url`` in a browser, and what is done with it."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver, self.url = driver, url

    def open(self, query: str = "") -> Page:
        self.driver.get(self.url + query)
        wait(lambda: self.count(f"{READY} img:not([class])") == 1, "the first example")
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def count(self, selector: str) -> int:
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)

    def panels(self) -> list[str]:
        """Ids of the panels with a picture, in their order."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map(c => c.dataset.panel)", READY
        )

    def tab(self, name: str) -> None:
        self.driver.find_element(By.XPATH, f"//button[@role='tab'][normalize-space()='{name}']").click()

    def upload(self, picker: str, path: Path) -> None:
        self.find(f"{picker} input[type=file]").send_keys(str(path))

    def choose(self, path: Path) -> None:
        self.upload("#picture-picker", path)
        title = "return document.querySelector('#viewer h2')?.textContent"
        wait(lambda: self.run(title) == path.name and self.panels() == ["original"], "the uploaded picture")

    def set_bpp(self, bpp: float) -> None:
        self.find(f"#target .preset[data-bpp='{bpp:g}']").click()

    def press_compare(self) -> float:
        """When the button was pressed, in seconds of the monotonic clock."""
        button = self.find("#run")
        pressed = time.monotonic()
        button.click()
        return pressed

    def compare(self, methods: Sequence[str] = METHODS) -> None:
        self.press_compare()
        wait(lambda: self.panels() == ["original", *methods] and self.idle(), "all panels", 240)

    def idle(self) -> bool:
        return self.find("#run").is_enabled()

    def model_state(self) -> str:
        return self.find("#model-state").text

    def link(self, text: str) -> str:
        """The address behind a link."""
        return self.driver.find_element(By.LINK_TEXT, text).get_attribute("href")

    def fetch(self, url: str) -> bytes:
        """The bytes behind a link, fetched by the page itself."""
        script = (
            "const done = arguments[1]; fetch(arguments[0]).then(r => r.blob()).then(b => {"
            "const f = new FileReader(); f.onload = () => done(f.result.split(',')[1]);"
            "f.readAsDataURL(b); });"
        )
        return base64.b64decode(self.driver.execute_async_script(script, url))

    def pixels(self, selector: str) -> np.ndarray:
        """What an image element shows, (H, W, 3) uint8, read back from a canvas."""
        script = (
            "const i = document.querySelector(arguments[0]); const c = document.createElement('canvas');"
            "c.width = i.naturalWidth; c.height = i.naturalHeight; const p = c.getContext('2d');"
            "p.drawImage(i, 0, 0); return c.toDataURL('image/png').split(',')[1];"
        )
        wait(
            lambda: self.run("const i = document.querySelector(arguments[0]); return i.complete", selector),
            selector,
        )
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(self.run(script, selector)))).convert("RGB"))

    def transforms(self) -> set[str]:
        """Zoom and centre of each visible panel, in picture coordinates, worked out from what is drawn."""
        script = """
            return [...document.querySelectorAll('#viewer .v-port')].filter(p => p.offsetParent).map(p => {
              const i = p.querySelector('img'), m = new DOMMatrix(i.style.transform);
              const w = parseFloat(i.style.width), h = parseFloat(i.style.height);
              return [(m.a * w / p.clientWidth).toFixed(2),
                      ((p.clientWidth / 2 - m.e) / (m.a * w)).toFixed(2),
                      ((p.clientHeight / 2 - m.f) / (m.d * h)).toFixed(2)].join(' ');
            });"""
        return set(self.run(script))
