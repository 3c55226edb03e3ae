"""How the page looks in headless Chromium: widths, light and dark, names for those who cannot see it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from browser import axe_violations, resize, wait

pytestmark = pytest.mark.browser

AXE = os.environ.get("SPRDIFF_AXE", "")


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


@pytest.mark.skipif(not Path(AXE).is_file(), reason="SPRDIFF_AXE does not name axe.min.js")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(page, photo_file, theme):
    page.open(f"?__theme={theme}")
    page.choose(photo_file)
    page.compare()
    found = []
    for tab in ("Compare", "Sweep", "Decode", "Published", "How it works"):
        page.tab(tab)
        if tab == "Published":
            wait(lambda: page.count(".p-line") > 5, "the curves")
        found += [(tab, *violation) for violation in axe_violations(page.driver, Path(AXE))]
    assert found == []
