"""The other tabs in headless Chromium, and files that are none of ours."""

from __future__ import annotations

import numpy as np
import pytest
from browser import wait
from fakes import FakePipeline
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from sprdiff.ui.sweep import SWEEP_BPPS

pytestmark = pytest.mark.browser

BPP = 0.05


def test_a_sweep_draws_points_that_open_their_pictures(page, photo_file):
    page.choose(photo_file)
    for name in ("WebP", "JPEG 2000", "AVIF"):
        page.tab("Sweep")
        page.driver.find_element(
            By.XPATH,
            f"//*[@id='sweep-run']/ancestor::*[contains(@class,'rail')]//label[contains(.,'{name}')]",
        ).click()
    page.find("#sweep-run").click()
    wait(lambda: page.count(".c-mark") >= 2, "the first points")
    wait(
        lambda: page.count(".c-mark") == 3 * len(SWEEP_BPPS) and page.find("#sweep-run").is_enabled(),
        "all points",
        240,
    )
    page.run(
        "document.querySelector('.c-final .c-mark').dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    # In one script: the chart may be drawn anew between finding the link and reading it.
    read = "return document.querySelector('.c-point a')?.href"
    link = wait(lambda: page.run(read), "the picture of the point")
    expected = FakePipeline().decompress(page.fetch(link)).final
    assert np.array_equal(page.pixels(".c-point img"), np.asarray(expected))
    page.driver.find_element(By.XPATH, "//button[text()='MS-SSIM']").click()
    label = "return document.querySelector('.c-plot svg')?.getAttribute('aria-label') ?? ''"
    wait(lambda: "MS-SSIM" in page.run(label), "the other metric")
    table = page.fetch(page.run("return document.querySelector('.c-csv a').href")).decode()
    assert len(table.splitlines()) == 1 + 3 * len(SWEEP_BPPS)


def test_decode_tab_shows_what_the_file_holds(page, tmp_path, page_photo):
    data = FakePipeline().compress(page_photo, target_bpp=BPP)
    (tmp_path / "a.spr").write_bytes(data)
    page.tab("Decode")
    page.upload("#stream-picker", tmp_path / "a.spr")
    ready = "#decode-viewer .v-card:not(.v-pending)"
    wait(lambda: page.count(ready) == 2, "both pictures")
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
    toast = wait(
        lambda: page.run("return document.querySelector('.toast-body')?.innerText || ''"), "a message"
    )
    assert sentence in toast and "<b>" not in toast


def test_published_curves_are_chosen_by_set_metric_and_method(page):
    page.tab("Published")
    wait(lambda: page.count(".p-line") > 5, "the curves")
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
    wait(lambda: page.find("#blind .blind-empty").is_displayed(), "the request to compare first")
    page.tab("Compare")
    page.choose(photo_file)
    page.set_bpp(BPP)
    page.compare()
    page.tab("Blind test")
    wait(lambda: page.count("#blind .blind.ready") == 1, "the first question")
    assert not page.find("#blind .blind-empty").is_displayed()
    shown = page.find("#blind").text
    assert not any(name in shown for name in ("SPRDiff", "AVIF", "WebP", "JPEG"))
    for trial in range(1, 11):
        wait(
            lambda trial=trial: (
                page.count("#blind .blind.ready") == 1
                and page.find("#blind .b-count").text == f"{trial} of 10"
            ),
            f"question {trial}",
        )
        ActionChains(page.driver).send_keys(Keys.ARROW_LEFT if trial % 2 else Keys.ARROW_RIGHT).perform()
    wait(lambda: "Thank you: 10 answers" in page.find("#blind .b-result").text, "the result")
    assert "JPEG" in page.find("#blind .b-result").text
    # Left and opened again, it is the same study, and its answers are there.
    page.tab("Compare")
    page.tab("Blind test")
    wait(lambda: "Thank you: 10 answers" in page.find("#blind .b-result").text, "the same result")
