"""What visitors take from the page in headless Chromium: zip, figure, animation, report."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from browser import METHODS, wait
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By

pytestmark = pytest.mark.browser


def test_everything_comes_as_one_zip(page, photo_file):
    page.choose(photo_file)
    page.compare()
    data = page.fetch(page.link("Everything as one zip"))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        record = json.loads(archive.read("results.json"))
        for row in record["results"]:
            assert len(archive.read(row["file"])) == row["num_bytes"]
    assert [row["method"] for row in record["results"]] == list(METHODS)


def test_the_figure_is_drawn_of_the_zoomed_part_and_opens(page, photo_file):
    page.choose(photo_file)
    page.compare()
    page.find("#viewer [data-zoom=in]").click()
    page.find(".v-draw").click()
    wait(lambda: page.count(".v-take-links a") == 4, "the figure")
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
    wait(lambda: page.count(".v-take-links a") == 4, "the figure")
    page.driver.find_element(By.XPATH, "//button[.='Make an animation']").click()
    wait(lambda: page.count(".v-take-links a") >= 6, "the animation")
    first = page.fetch(page.link("Animation as APNG"))
    with Image.open(io.BytesIO(first)) as animation:
        assert animation.n_frames == 4
    assert page.fetch(page.link("Figure as PDF")).startswith(b"%PDF")
    wait(lambda: page.find(".v-figure[data-of=flicker] img").is_displayed(), "the animation on the page")
    page.find("#viewer [data-zoom=in]").click()
    page.driver.find_element(By.XPATH, "//button[.='Make the animation again']").click()
    wait(lambda: page.fetch(page.link("Animation as APNG")) != first, "the animation of the part")


def test_the_report_works_on_its_own(page, photo_file, tmp_path, page_photo):
    page.choose(photo_file)
    page.compare()
    (tmp_path / "report.html").write_bytes(page.fetch(page.link("Report as one HTML page")))
    page.driver.get((tmp_path / "report.html").as_uri())
    assert page.run("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.count(".picture") == len(METHODS) + 1
    assert np.array_equal(page.pixels(".picture"), np.asarray(page_photo))
    line = page.find("#line")
    before = line.rect["x"]
    ActionChains(page.driver).click_and_hold(line).move_by_offset(90, 0).release().perform()
    assert line.rect["x"] == pytest.approx(before + 90, abs=3)
    page.find("#left").send_keys("AVIF")
    assert page.find("#left-tag").text.startswith("AVIF")
    assert np.array_equal(page.pixels("#under"), page.pixels("figure:last-child .picture"))
