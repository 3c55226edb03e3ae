"""The viewer in headless Chromium: zoom, keyboard, the line between two, overlays, touch."""

from __future__ import annotations

import pytest
from browser import resize, wait
from selenium.webdriver import ActionChains, Keys

pytestmark = pytest.mark.browser


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
    wait(lambda: page.run(full), "the full screen")
    assert page.run("return document.activeElement.closest('.viewer') !== null")
    page.find("#viewer [data-act=full]").send_keys("f")
    wait(lambda: not page.run(full), "the page again")
