"""The Compare tab in headless Chromium, with the stand-in for the model and the real baselines."""

from __future__ import annotations

import io
import json
import threading
import time
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from browser import METHODS, Page, resize, wait
from conftest import make_photo
from fakes import FINGERPRINT, FakePipeline
from PIL import Image
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from sprdiff.baselines import BASELINES
from sprdiff.errors import WeightsError
from sprdiff.metrics import METRICS
from sprdiff.metrics.rate import max_bytes
from sprdiff.ui import Checkpoint, build_app, launch_options

pytestmark = pytest.mark.browser

BPP = 0.05


def test_all_pictures_come_before_a_number_that_takes_long(page, tmp_path, monkeypatch):
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

    make_photo(360, 240, seed=8).save(tmp_path / "not compared before.png")
    page.choose(tmp_path / "not compared before.png")
    page.set_bpp(BPP)
    try:
        page.find("#run").click()
        wait(lambda: page.panels() == ["original", *METHODS], "all pictures")
        wait(lambda: not any("…" in text for text in beside("PSNR, dB")), "PSNR of all")
        assert beside("LPIPS") == beside("DISTS") == {"… not measured yet"}
        assert not page.idle(), "it goes on"
    finally:
        arrived.set()
    # As good as each other: all are the best.
    there = {"0.2500 best within the budget"}
    wait(lambda: beside("LPIPS") == beside("DISTS") == there and page.idle(), "the last number")


def test_upload_run_and_see_seven_pictures_that_are_their_files(page, photo_file, page_photo):
    page.choose(photo_file)
    page.set_bpp(BPP)
    budget = max_bytes(BPP, *page_photo.size)
    assert f"{budget:,} bytes" in page.find(".target-budget").text
    page.find("#run").click()
    seen: list[list[str]] = []

    def finished() -> bool:
        panels = page.panels()
        if not seen or seen[-1] != panels:
            seen.append(panels)
        return panels == ["original", *METHODS]

    wait(finished, "all panels", 240)
    # Every state on the way is a beginning of the whole: coarse, then final, then the others.
    assert len(seen) >= 4
    assert all(panels == ["original", *METHODS][: len(panels)] for panels in seen)
    wait(page.idle, "the end of the run")

    assert np.array_equal(page.pixels("[data-panel=original] img"), np.asarray(page_photo))
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
            expected = BASELINES[method].decompress(data, size=page_photo.size)
        assert np.array_equal(page.pixels(f"{card} img"), np.asarray(expected)), method
        with Image.open(io.BytesIO(picture)) as png:
            assert png.format == "PNG" and np.array_equal(np.asarray(png), np.asarray(expected)), method
        row = page.run(
            "return [...document.querySelectorAll(arguments[0])].map(c => c.innerText)",
            f".v-table tr[data-panel={method}] td",
        )
        assert row[0] == f"{len(data):,}"
        assert row[1] == f"{8 * len(data) / (page_photo.width * page_photo.height):.4f}"
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
    wait(lambda: "sprdiff-coarse" in page.panels(), "the coarse picture")
    started = time.monotonic()
    page.find("#stop").click()
    wait(page.idle, "the run to stop")
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
    wait(lambda: "From the cache" in page.find("#status").text, "the cached result")
    assert time.monotonic() - started < 3
    wait(page.idle, "the end of the run")


def test_a_target_in_bytes(page, photo_file):
    page.choose(photo_file)
    field = page.find(".target-bytes input")
    field.clear()
    field.send_keys("1000", Keys.TAB)
    assert "at most 1,000 bytes" in page.find(".target-budget").text
    page.compare()
    assert "at most 1,000 bytes" in page.find(".v-title p").text


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
            wait(lambda: driver.find_elements(By.XPATH, option), "the models")[0].click()

        wait(lambda: "Model ready" in page.model_state() and "first" in page.model_state(), "the first model")
        choose("other")
        wait(lambda: "Model ready" in page.model_state() and "other" in page.model_state(), "the other model")
        page.choose(photo_file)
        page.compare()
        title = page.run("return document.querySelector('#viewer h2').parentElement.textContent")
        assert "SPRDiff by other" in title
        choose("broken")
        told = "return document.querySelector('.toast-wrap')?.textContent ?? ''"
        wait(lambda: "nobody/nothing" in page.run(told), "the reason")
        wait(
            lambda: "Model ready" in page.model_state() and "other" in page.model_state(),
            "the model that stays",
        )
        assert page.run("return document.querySelector('#model-choice input').value") == "other"
    finally:
        app.close()
