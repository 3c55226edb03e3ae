"""The page in headless Chromium, with the stand-in for the model and the real baselines."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from conftest import make_photo
from fakes import FINGERPRINT, FakePipeline
from PIL import Image
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from sprdiff.baselines import BASELINES
from sprdiff.errors import WeightsError
from sprdiff.metrics import METRICS
from sprdiff.metrics.rate import max_bytes
from sprdiff.ui import Checkpoint, build_app, launch_options
from sprdiff.ui.sweep import SWEEP_BPPS

pytestmark = pytest.mark.browser

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and CHROMEDRIVER):
    pytest.skip("chromium and chromedriver are not installed", allow_module_level=True)

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1280,900"
)
PHOTO = make_photo(360, 240)
BPP = 0.05
METHODS = ["sprdiff-coarse", "sprdiff-final", "jpeg", "webp", "jpeg2000", "avif"]
READY = "#viewer .v-card:not(.v-pending)"


class Page:
    """A browser tab and the few things that tests do with it."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver, self.url = driver, url

    def open(self, query: str = "") -> Page:
        self.driver.get(self.url + query)
        self.wait(lambda: self.count(f"{READY} img:not([class])") == 1, "the first example")
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := condition():
                return value
            time.sleep(0.05)
        raise AssertionError(f"waited {seconds} s in vain for {what}")

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def count(self, selector: str) -> int:
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)

    def panels(self) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map(c => c.dataset.panel)", READY
        )

    def tab(self, name: str) -> None:
        self.driver.find_element(By.XPATH, f"//button[@role='tab'][normalize-space()='{name}']").click()

    def upload(self, picker: str, path: Path) -> None:
        self.find(f"{picker} input[type=file]").send_keys(str(path))

    def choose(self, path: Path) -> None:
        self.upload("#picture-picker", path)
        title = "return document.querySelector('#viewer h2').textContent"
        self.wait(
            lambda: self.run(title) == path.name and self.panels() == ["original"], "the uploaded picture"
        )

    def set_bpp(self, bpp: float) -> None:
        self.find(f"#target .preset[data-bpp='{bpp:g}']").click()

    def compare(self) -> None:
        self.find("#run").click()
        self.wait(lambda: self.panels() == ["original", *METHODS] and self.idle(), "all panels", 60)

    def idle(self) -> bool:
        return self.find("#run").is_enabled()

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
        self.wait(
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


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = build_app(lambda: FakePipeline(seconds=0.3), model_name="stand-in")
    _, address, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield address
    app.close()


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(CHROMEDRIVER))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, url) -> Iterator[Page]:
    driver.get("about:blank")  # leaving a page may abort what it still waits for
    driver.get_log("browser")
    resize(driver, 1280, 900)
    yield Page(driver, url).open()
    problems = [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
    assert not problems, problems


@pytest.fixture
def photo_file(tmp_path) -> Path:
    PHOTO.save(tmp_path / "a photo.png")
    return tmp_path / "a photo.png"


def resize(driver: Chrome, width: int, height: int, mobile: bool = False) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def test_all_pictures_come_before_a_number_that_takes_long(page, photo_file, monkeypatch):
    """The deep metrics wait here as if their weights were still on the way."""
    arrived = threading.Event()

    def slow(reference: Any, image: Any) -> float:
        assert arrived.wait(60)
        return 0.25

    for metric in ("lpips-alex", "lpips-vgg", "dists"):
        monkeypatch.setitem(METRICS, metric, replace(METRICS[metric], function=slow))

    def beside(label: str) -> set[str]:
        """What the pictures, but for the original, have under a label."""
        script = """return [...document.querySelectorAll('#viewer .v-card dt')].filter(
            t => t.textContent === arguments[0]).map(t => t.nextElementSibling.textContent)"""
        return set(page.run(script, label))

    page.choose(photo_file)
    page.set_bpp(0.03)  # nobody has compared it before
    try:
        page.find("#run").click()
        page.wait(lambda: page.panels() == ["original", *METHODS], "all pictures")
        page.wait(lambda: not any("…" in text for text in beside("PSNR, dB")), "PSNR of all")
        assert beside("LPIPS") == beside("DISTS") == {"… not measured yet"}
        assert not page.idle(), "it goes on"
    finally:
        arrived.set()
    # As good as each other: all are the best.
    there = {"0.2500 best within the budget"}
    page.wait(lambda: beside("LPIPS") == beside("DISTS") == there and page.idle(), "the last number")


def test_upload_run_and_see_seven_pictures_that_are_their_files(page, photo_file):
    page.choose(photo_file)
    page.set_bpp(BPP)
    budget = max_bytes(BPP, *PHOTO.size)
    assert f"{budget:,} bytes" in page.find(".target-budget").text
    page.find("#run").click()
    seen: list[list[str]] = []

    def finished() -> bool:
        panels = page.panels()
        if not seen or seen[-1] != panels:
            seen.append(panels)
        return panels == ["original", *METHODS]

    page.wait(finished, "all panels", 60)
    # Every state on the way is a beginning of the whole: coarse, then final, then the others.
    assert len(seen) >= 4
    assert all(panels == ["original", *METHODS][: len(panels)] for panels in seen)
    page.wait(page.idle, "the end of the run")

    assert np.array_equal(page.pixels("[data-panel=original] img"), np.asarray(PHOTO))
    for method in METHODS:
        card = f".v-card[data-panel={method}]"
        links = [
            link.get_attribute("href") for link in page.driver.find_elements(By.CSS_SELECTOR, f"{card} a")
        ]
        data, picture = page.fetch(links[0]), page.fetch(links[1])
        if method.startswith("sprdiff"):
            decoded = FakePipeline().decompress(data)
            expected = decoded.coarse if method == "sprdiff-coarse" else decoded.final
        else:
            expected = BASELINES[method].decompress(data, size=PHOTO.size)
        assert np.array_equal(page.pixels(f"{card} img"), np.asarray(expected)), method
        with Image.open(io.BytesIO(picture)) as png:
            assert png.format == "PNG" and np.array_equal(np.asarray(png), np.asarray(expected)), method
        row = page.run(
            "return [...document.querySelectorAll(arguments[0])].map(c => c.innerText)",
            f".v-table tr[data-panel={method}] td",
        )
        assert row[0] == f"{len(data):,}"
        assert row[1] == f"{8 * len(data) / (PHOTO.width * PHOTO.height):.4f}"
        over = page.count(f"{card} .v-over-budget")
        assert over == (len(data) > budget)
    assert page.count(".v-table td.best") >= 1
    assert page.find(".v-bytes").is_displayed()
    assert page.count("#pair-slider img") == 2


def test_nothing_leaves_this_machine(page, photo_file):
    page.choose(photo_file)
    page.compare()
    for name in ("Decode", "Published", "How it works", "Compare"):
        page.tab(name)
    hosts = set()
    for entry in page.driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            address = urlsplit(message["params"]["request"]["url"])
            if address.scheme in ("http", "https", "ws", "wss"):
                hosts.add(address.hostname)
    assert hosts == {"127.0.0.1"}
    assert page.run("return document.fonts.check('16px Archivo')")


def test_stop_keeps_what_is_there(page):
    page.find("#run").click()
    page.wait(lambda: "sprdiff-coarse" in page.panels(), "the coarse picture")
    started = time.monotonic()
    page.find("#stop").click()
    page.wait(page.idle, "the run to stop")
    assert time.monotonic() - started < 2
    assert "Stopped" in page.find("#status").text
    assert page.count("#viewer .v-pending") == 0
    assert "avif" not in page.panels()


def test_moving_the_target_starts_nothing_and_results_keep_their_settings(page, photo_file):
    page.choose(photo_file)
    page.set_bpp(BPP)
    page.compare()
    page.set_bpp(0.01)
    page.find(".target-range").send_keys(Keys.ARROW_RIGHT)
    assert page.find(".target-bpp").text == "0.012"
    time.sleep(0.5)
    assert page.idle()
    assert f"{BPP:g} bits per pixel" in page.find(".v-title p").text
    page.set_bpp(BPP)
    started = time.monotonic()
    page.find("#run").click()
    page.wait(lambda: "From the cache" in page.find("#status").text, "the cached result")
    assert time.monotonic() - started < 3
    page.wait(page.idle, "the end of the run")


def test_a_target_in_bytes(page, photo_file):
    page.choose(photo_file)
    field = page.find(".target-bytes input")
    field.clear()
    field.send_keys("1000", Keys.TAB)
    assert "at most 1,000 bytes" in page.find(".target-budget").text
    page.compare()
    assert "at most 1,000 bytes" in page.find(".v-title p").text


def test_all_panels_share_one_zoom(page, photo_file):
    page.choose(photo_file)
    page.compare()
    first = page.find("#viewer .v-card .v-port")
    fit = page.transforms()
    assert len(fit) == 1
    page.run("document.querySelector('#viewer .viewer').focus()")
    box = first.rect
    page.run(
        """const p = document.querySelector('#viewer .v-card .v-port'), b = p.getBoundingClientRect();
        p.dispatchEvent(new WheelEvent('wheel', {deltaY: -600, bubbles: true, cancelable: true,
          clientX: b.left + b.width / 4, clientY: b.top + b.height / 4}));"""
    )
    zoomed = page.transforms()
    assert len(zoomed) == 1 and zoomed != fit
    ActionChains(page.driver).move_to_element(first).click_and_hold().move_by_offset(
        -round(box["width"] / 4), 0
    ).release().perform()
    moved = page.transforms()
    assert len(moved) == 1 and moved != zoomed
    assert (
        page.run("return document.querySelector('#viewer .v-card img').style.imageRendering") == "pixelated"
    )
    page.find("#viewer .viewer").send_keys("0")
    assert page.transforms() == fit


def test_wheel_scrolls_the_page_until_the_viewer_is_used(page):
    page.run("document.activeElement.blur()")
    prevented = page.run(
        """const e = new WheelEvent('wheel', {deltaY: 100, bubbles: true, cancelable: true});
        document.querySelector('#viewer .v-port').dispatchEvent(e); return e.defaultPrevented;"""
    )
    assert prevented is False


def test_keyboard_switches_and_flicks(page, photo_file):
    page.choose(photo_file)
    page.compare()
    viewer = page.find("#viewer .viewer")
    page.find("#viewer button[data-mode=one]").click()
    shown = "return document.querySelector('#viewer .v-port[data-side=a] .v-tag b').textContent"
    assert page.run(shown) == "SPRDiff final"
    viewer.send_keys(Keys.ARROW_RIGHT)
    assert page.run(shown) == "JPEG"
    viewer.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.run(shown) == "SPRDiff coarse"
    page.run("arguments[0].focus()", viewer)
    ActionChains(page.driver).key_down(Keys.SPACE).perform()
    assert page.run(shown) == "Original"
    ActionChains(page.driver).key_up(Keys.SPACE).perform()
    assert page.run(shown) == "SPRDiff coarse"


def test_a_line_between_any_two(page, photo_file):
    page.choose(photo_file)
    page.compare()
    page.find("#viewer button[data-mode=split]").click()
    tags = "return [...document.querySelectorAll('#viewer .v-stage .v-tag b')].map(b => b.textContent)"
    assert page.run(tags) == ["Original", "SPRDiff final"]
    page.find("#viewer select[data-side=a]").send_keys("AVIF")
    assert page.run(tags) == ["AVIF", "SPRDiff final"]
    divider = page.find("#viewer .v-divider")
    before = divider.rect["x"]
    ActionChains(page.driver).click_and_hold(divider).move_by_offset(120, 0).release().perform()
    assert divider.rect["x"] == pytest.approx(before + 120, abs=3)
    divider.send_keys(Keys.ARROW_LEFT)
    assert divider.rect["x"] < before + 120
    assert len(page.transforms()) == 1


def test_errors_are_the_difference_to_the_original(page, photo_file):
    page.choose(photo_file)
    page.compare()
    assert not page.find(".v-legend").is_displayed()
    page.find("#viewer [data-act=errors]").click()
    assert page.find(".v-legend").is_displayed()
    blends = page.run(
        """return [...document.querySelectorAll('#viewer .v-card')].map(c => {
          const r = c.querySelector('.v-reference'), s = getComputedStyle(r);
          return [c.dataset.panel, s.display, s.mixBlendMode, getComputedStyle(r.parentElement).filter,
                  r.src === document.querySelector('[data-panel=original] img').src,
                  r.style.transform === c.querySelector('img').style.transform]; })"""
    )
    assert blends[0][:2] == ["original", "none"]
    assert all(row[1:] == ["block", "difference", "brightness(4)", True, True] for row in blends[1:])
    page.find("#viewer [data-act=errors]").click()
    assert page.count("#viewer .v-errors") == 0


def test_everything_comes_as_one_zip(page, photo_file):
    page.choose(photo_file)
    page.compare()
    data = page.fetch(page.link("Everything as one zip"))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        record = json.loads(archive.read("results.json"))
        for row in record["results"]:
            assert len(archive.read(row["file"])) == row["num_bytes"]
    assert [row["method"] for row in record["results"]] == METHODS


def test_a_sweep_draws_points_that_open_their_pictures(page, photo_file):
    page.choose(photo_file)
    for name in ("WebP", "JPEG 2000", "AVIF"):
        page.tab("Sweep")
        page.driver.find_element(
            By.XPATH,
            f"//*[@id='sweep-run']/ancestor::*[contains(@class,'rail')]//label[contains(.,'{name}')]",
        ).click()
    page.find("#sweep-run").click()
    page.wait(lambda: page.count(".c-mark") >= 2, "the first points")
    page.wait(
        lambda: page.count(".c-mark") == 3 * len(SWEEP_BPPS) and page.find("#sweep-run").is_enabled(),
        "all points",
        60,
    )
    page.run(
        "document.querySelector('.c-final .c-mark').dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    # In one script: the chart may be drawn anew between finding the link and reading it.
    read = "return document.querySelector('.c-point a')?.href"
    link = page.wait(lambda: page.run(read), "the picture of the point")
    expected = FakePipeline().decompress(page.fetch(link)).final
    assert np.array_equal(page.pixels(".c-point img"), np.asarray(expected))
    page.driver.find_element(By.XPATH, "//button[text()='MS-SSIM']").click()
    label = "return document.querySelector('.c-plot svg')?.getAttribute('aria-label') ?? ''"
    page.wait(lambda: "MS-SSIM" in page.run(label), "the other metric")
    table = page.fetch(page.run("return document.querySelector('.c-csv a').href")).decode()
    assert len(table.splitlines()) == 1 + 3 * len(SWEEP_BPPS)


def test_decode_tab_shows_what_the_file_holds(page, tmp_path):
    data = FakePipeline().compress(PHOTO, target_bpp=BPP)
    (tmp_path / "a.spr").write_bytes(data)
    page.tab("Decode")
    page.upload("#stream-picker", tmp_path / "a.spr")
    ready = "#decode-viewer .v-card:not(.v-pending)"
    page.wait(lambda: page.count(ready) == 2, "both pictures")
    expected = FakePipeline().decompress(data)
    for name in ("coarse", "final"):
        shown = page.pixels(f"#decode-viewer [data-panel=sprdiff-{name}] img")
        assert np.array_equal(shown, np.asarray(getattr(expected, name)))
    facts = page.find("#decode-status").text
    assert f"{len(data):,} bytes" in facts and "360 × 240" in facts and "Latent y" in facts


@pytest.mark.parametrize(
    ("picker", "tab", "sentence"),
    [("#stream-picker", "Decode", "not a .spr stream"), ("#picture-picker", "Compare", "image")],
)
def test_a_foreign_file_is_one_clear_sentence(page, tmp_path, picker, tab, sentence):
    (tmp_path / "bad.spr").write_bytes(b"<b>neither</b> picture nor stream" * 20)
    page.tab(tab)
    page.upload(picker, tmp_path / "bad.spr")
    toast = page.wait(
        lambda: page.run("return document.querySelector('.toast-body')?.innerText || ''"), "a message"
    )
    assert sentence in toast and "<b>" not in toast


@pytest.mark.parametrize("width", [390, 1280, 2560])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_its_width(page, width, theme):
    resize(page.driver, width, 844 if width == 390 else 1400, mobile=width == 390)
    page.open(f"?__theme={theme}")
    assert page.run("return document.documentElement.scrollWidth") <= width
    dark = page.run("return getComputedStyle(document.querySelector('gradio-app')).backgroundColor")
    assert dark == ("rgb(20, 20, 20)" if theme == "dark" else "rgb(240, 240, 240)")
    # No control is cut off or hidden behind another.
    covered = page.run(
        """const all = '#run, .preset, .example, .picker, #viewer .v-bar button';
        return [...document.querySelectorAll(all)].filter(e => {
          e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();
          if (!b.width) return false;
          const hit = document.elementFromPoint(b.left + b.width / 2, b.top + b.height / 2);
          return b.right > innerWidth + 1 || !(e.contains(hit) || hit.contains(e));
        }).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert covered == []


def test_dark_and_light_can_be_chosen_and_stay(page):
    button = page.find(".theme-button")
    was_dark = page.run("return document.body.classList.contains('dark')")
    button.click()
    assert page.run("return document.body.classList.contains('dark')") != was_dark
    page.open()
    assert page.run("return document.body.classList.contains('dark')") != was_dark
    page.run("localStorage.clear()")


def test_every_control_has_a_name_and_every_picture_an_alternative(page, photo_file):
    page.choose(photo_file)
    page.compare()
    nameless = page.run(
        """const name = e => (e.getAttribute('aria-label') || e.getAttribute('title') || e.innerText ||
            (e.labels && [...e.labels].map(l => l.innerText).join('')) || e.placeholder || '').trim();
        return [...document.querySelectorAll('button, a, input, select, [role=slider]')]
          .filter(e => e.offsetParent && !name(e)).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    unsaid = "#viewer .v-card img:not([alt]), #viewer .v-card img[alt='']:not([class]), .example img[alt='']"
    assert page.count(unsaid) == 0


# ---- what is taken away ------------------------------------------------------------------------------------


def test_the_figure_is_drawn_of_the_zoomed_part_and_opens(page, photo_file):
    page.choose(photo_file)
    page.compare()
    page.find("#viewer [data-zoom=in]").click()
    page.find(".v-draw").click()
    page.wait(lambda: page.count(".v-take-links a") == 4, "the figure", 60)
    png = page.fetch(page.link("Figure as PNG, 300 dpi"))
    pdf = page.fetch(page.link("Figure as PDF"))
    with Image.open(io.BytesIO(png)) as figure:
        assert figure.size == (4000, 2250)
    assert pdf.startswith(b"%PDF")
    assert page.find(".v-figure img").is_displayed()


def test_the_animation_is_of_the_zoomed_part_and_keeps_the_figure(page, photo_file):
    page.choose(photo_file)
    page.compare()
    page.driver.find_element(By.XPATH, "//button[.='Draw a figure for slides']").click()
    page.wait(lambda: page.count(".v-take-links a") == 4, "the figure", 60)
    page.driver.find_element(By.XPATH, "//button[.='Make an animation']").click()
    page.wait(lambda: page.count(".v-take-links a") >= 6, "the animation", 60)
    first = page.fetch(page.link("Animation as APNG"))
    with Image.open(io.BytesIO(first)) as animation:
        assert animation.n_frames == 4
    assert page.fetch(page.link("Figure as PDF")).startswith(b"%PDF")
    page.wait(lambda: page.find(".v-figure[data-of=flicker] img").is_displayed(), "the animation on the page")
    page.find("#viewer [data-zoom=in]").click()
    page.driver.find_element(By.XPATH, "//button[.='Make the animation again']").click()
    page.wait(lambda: page.fetch(page.link("Animation as APNG")) != first, "the animation of the part", 60)


def test_the_report_works_on_its_own(page, photo_file, tmp_path):
    page.choose(photo_file)
    page.compare()
    (tmp_path / "report.html").write_bytes(page.fetch(page.link("Report as one HTML page")))
    page.driver.get((tmp_path / "report.html").as_uri())
    assert page.run("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.count(".picture") == len(METHODS) + 1
    assert np.array_equal(page.pixels(".picture"), np.asarray(PHOTO))
    line = page.find("#line")
    before = line.rect["x"]
    ActionChains(page.driver).click_and_hold(line).move_by_offset(90, 0).release().perform()
    assert line.rect["x"] == pytest.approx(before + 90, abs=3)
    page.find("#left").send_keys("AVIF")
    assert page.find("#left-tag").text.startswith("AVIF")
    assert np.array_equal(page.pixels("#under"), page.pixels("figure:last-child .picture"))


def test_bits_lie_over_the_pictures_of_the_stream(page, photo_file):
    page.choose(photo_file)
    page.compare()
    page.find("#viewer [data-act=bits]").click()
    assert page.find(".v-legend-bits").is_displayed() and "16 × 16" in page.find(".v-bits-words").text
    shown = page.run(
        """return [...document.querySelectorAll('#viewer .v-card')].filter(c =>
          getComputedStyle(c.querySelector('.v-bits')).display === 'block').map(c => c.dataset.panel)"""
    )
    assert shown == ["original", "sprdiff-coarse", "sprdiff-final"]
    sides = page.run(
        "const b = document.querySelector('#viewer .v-bits'); return [b.naturalWidth, b.naturalHeight]"
    )
    assert sides == [23, 15]
    page.find("#viewer .viewer").send_keys("b")
    assert page.count("#viewer .v-with-bits") == 0


# ---- touch, full screen, accessibility ---------------------------------------------------------------------


def test_two_fingers_zoom_and_one_pans(page, photo_file):
    resize(page.driver, 390, 844, mobile=True)
    page.choose(photo_file)
    page.compare()
    page.run("document.querySelector('#viewer .v-port').scrollIntoView({block: 'center'})")
    x, y, width, height = page.run(
        "const b = document.querySelector('#viewer .v-port').getBoundingClientRect();"
        "return [b.left, b.top, b.width, b.height]"
    )

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x + px * width, "y": y + py * height, "id": i} for i, (px, py) in enumerate(points)]
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    fit = page.transforms()
    touch("touchStart", (0.45, 0.5), (0.55, 0.5))
    for spread in (0.1, 0.2, 0.3):
        touch("touchMove", (0.45 - spread, 0.5), (0.55 + spread, 0.5))
    touch("touchEnd")
    zoomed = page.transforms()
    assert len(zoomed) == 1 and float(next(iter(zoomed)).split()[0]) > 2 * float(next(iter(fit)).split()[0])
    touch("touchStart", (0.5, 0.5))
    for share in (0.45, 0.4, 0.3):
        touch("touchMove", (share, 0.5))
    touch("touchEnd")
    panned = page.transforms()
    assert len(panned) == 1 and float(next(iter(panned)).split()[1]) > float(next(iter(zoomed)).split()[1])


def test_full_screen_and_back(page):
    full = "return document.fullscreenElement === document.querySelector('#viewer .viewer')"
    page.find("#viewer [data-act=full]").click()
    page.wait(lambda: page.run(full), "the full screen")
    assert page.run("return document.activeElement.closest('.viewer') !== null")
    page.find("#viewer [data-act=full]").send_keys("f")
    page.wait(lambda: not page.run(full), "the page again")


AXE = os.environ.get("SPRDIFF_AXE", "")


@pytest.mark.skipif(not Path(AXE).is_file(), reason="SPRDIFF_AXE does not name axe.min.js")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(page, photo_file, theme):
    page.open(f"?__theme={theme}")
    page.choose(photo_file)
    page.compare()
    page.run(Path(AXE).read_text(encoding="utf-8"))
    found = []
    for tab in ("Compare", "Sweep", "Decode", "Published", "How it works"):
        page.tab(tab)
        if tab == "Published":
            page.wait(lambda: page.count(".p-line") > 5, "the curves")
        result = page.driver.execute_async_script(
            """const done = arguments[0];
            axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}).then(r =>
              done(r.violations.map(v =>
                [v.id, v.nodes.map(n => n.html.slice(0, 160) + ' ' + n.failureSummary)])))"""
        )
        found += [(tab, rule, nodes) for rule, nodes in result]
    assert found == []


def test_published_curves_are_chosen_by_set_metric_and_method(page):
    page.tab("Published")
    page.wait(lambda: page.count(".p-line") > 5, "the curves")
    page.driver.find_element(By.XPATH, "//*[@class='v-group p-metrics']/button[text()='LPIPS (VGG)']").click()
    assert "LPIPS (VGG)" in page.find(".published svg[role=group]").get_attribute("aria-label")
    left_out = page.find(".p-left-out").text
    assert "AlexNet, which is another kind" in left_out
    before = page.count(".p-line")
    page.find(".p-row input").click()
    assert page.count(".p-line") == before - 1
    # What others reported links to its source; what was measured here has none to link to.
    assert page.count(".p-row.p-ours") == 2, "coarse and final stand beside the published curves"
    unlinked = page.run(
        "return [...document.querySelectorAll('.p-row')].filter(r => !r.querySelector(\"a[href^='https://']\"))"
        ".map(r => r.querySelector('label').textContent.trim().split(',')[0])"
    )
    assert unlinked == ["SPRDiff coarse", "SPRDiff final", "JPEG", "WebP", "JPEG 2000", "AVIF", "JPEG XL"]
    assert page.count(".p-row a[href^='https://']") > 5
    page.driver.find_element(By.XPATH, "//*[@class='v-group p-sets']/button[text()='DIV2K']").click()
    assert page.find(".published h2").text == "DIV2K"
    labels = page.run("return [...document.querySelectorAll('.p-metrics button')].map(b => b.textContent)")
    assert "LPIPS (VGG)" not in labels and "LPIPS (AlexNet)" in labels


def test_a_blind_test_of_what_was_compared(page, photo_file):
    page.tab("Blind test")
    page.wait(lambda: page.find("#blind .blind-empty").is_displayed(), "the request to compare first")
    page.tab("Compare")
    page.choose(photo_file)
    page.set_bpp(BPP)
    page.compare()
    page.tab("Blind test")
    page.wait(lambda: page.count("#blind .blind.ready") == 1, "the first question")
    assert not page.find("#blind .blind-empty").is_displayed()
    shown = page.find("#blind").text
    assert not any(name in shown for name in ("SPRDiff", "AVIF", "WebP", "JPEG"))
    for trial in range(1, 11):
        page.wait(
            lambda trial=trial: (
                page.count("#blind .blind.ready") == 1
                and page.find("#blind .b-count").text == f"{trial} of 10"
            ),
            f"question {trial}",
        )
        ActionChains(page.driver).send_keys(Keys.ARROW_LEFT if trial % 2 else Keys.ARROW_RIGHT).perform()
    page.wait(lambda: "Thank you: 10 answers" in page.find("#blind .b-result").text, "the result")
    assert "JPEG" in page.find("#blind .b-result").text
    # Left and opened again, it is the same study, and its answers are there.
    page.tab("Compare")
    page.tab("Blind test")
    page.wait(lambda: "Thank you: 10 answers" in page.find("#blind .b-result").text, "the same result")


def test_a_visitor_chooses_among_models(driver, photo_file):
    """Results name the model that made them; one that cannot be loaded leaves the old one and says why."""

    def broken() -> FakePipeline:
        raise WeightsError("There is no repository nobody/nothing.")

    others = [Checkpoint("other", lambda: FakePipeline(FINGERPRINT[::-1])), Checkpoint("broken", broken)]
    app = build_app(FakePipeline, model_name="first", others=others)
    _, address, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        resize(driver, 1280, 900)
        page = Page(driver, address).open()

        def choose(name: str) -> None:
            page.find("#model-choice input").click()
            option = f"//div[@id='model-choice']//li[normalize-space()='{name}' or @aria-label='{name}']"
            page.wait(lambda: driver.find_elements(By.XPATH, option), "the models")[0].click()

        def state() -> str:
            return page.find("#model-state").text

        page.wait(lambda: "Model ready" in state() and "first" in state(), "the first model")
        choose("other")
        page.wait(lambda: "Model ready" in state() and "other" in state(), "the other model")
        page.choose(photo_file)
        page.compare()
        title = page.run("return document.querySelector('#viewer h2').parentElement.textContent")
        assert "SPRDiff by other" in title
        choose("broken")
        told = "return document.querySelector('.toast-wrap')?.textContent ?? ''"
        page.wait(lambda: "nobody/nothing" in page.run(told), "the reason")
        page.wait(lambda: "Model ready" in state() and "other" in state(), "the model that stays")
        assert page.run("return document.querySelector('#model-choice input').value") == "other"
    finally:
        app.close()
