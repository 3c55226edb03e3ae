"""The page for reviewers in headless Chromium, opened as the file that was mailed."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from browser import axe_violations, prefer, resize, wait
from conftest import make_photo
from fakes import FakePipeline
from PIL import Image
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from sprdiff.blind import results
from sprdiff.blind.folder import write_study
from sprdiff.blind.votes import read_votes
from sprdiff.methods import METHODS

pytestmark = pytest.mark.browser

CHOSEN = ["sprdiff-coarse", "jpeg", "avif"]
AXE = os.environ.get("SPRDIFF_AXE", "")


class Study:
    """The open page and what tests do with it."""

    def __init__(self, driver: Chrome, folder: Path) -> None:
        self.driver, self.folder = driver, folder
        self.key = json.loads((folder / "key.json").read_text())

    def open(self, *, forget: bool = False) -> Study:
        self.driver.get((self.folder / "blind.html").as_uri())
        if forget:
            self.run("localStorage.clear()")
            self.driver.refresh()
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def ready(self) -> None:
        wait(lambda: self.run("return document.querySelector('.blind.ready') !== null"), "the pictures")

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def answer(self, key: str) -> None:
        self.ready()
        self.press(key)

    def count(self) -> str:
        return self.driver.find_element(By.CSS_SELECTOR, ".b-count").text

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    def state(self) -> dict:
        return json.loads(
            self.run("return localStorage.getItem('blind-test-' + arguments[0])", self.key["study"])
        )

    def pixels(self, side: str) -> np.ndarray:
        """The whole picture that one of the three images holds."""
        source = self.run("return document.querySelector(`figure[data-side=${arguments[0]}] img`).src", side)
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
            return np.asarray(image.convert("RGB"))

    def visible(self) -> dict[str, bool]:
        """Whether each of the three pictures can be seen as itself."""
        script = """
            return Object.fromEntries([...document.querySelectorAll('figure')].map(f => {
              const over = f.querySelector('.b-reference');
              const covered = over && getComputedStyle(over).visibility === 'visible';
              return [f.dataset.side, getComputedStyle(f).visibility === 'visible' && !covered];
            }))"""
        return self.run(script)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("blind")
    (folder / "in").mkdir()
    for seed in range(4):
        make_photo(240 + 16 * seed, 176, seed).save(folder / "in" / f"photo, {seed}.png")
    write_study(
        folder / "in",
        folder / "out",
        CHOSEN,
        FakePipeline(),
        target_bpp=0.3,
        progress=lambda share, text: None,
    )
    return folder / "out"


@pytest.fixture
def study(driver, folder) -> Iterator[Study]:
    driver.get("about:blank")  # what another page still says belongs to that page
    look(driver, 1280, "light")
    driver.get_log("browser")
    driver.get_log("performance")
    yield Study(driver, folder).open(forget=True)
    assert driver.get_log("browser") == []
    sent = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [
        each["params"]["request"]["url"] for each in sent if each["method"] == "Network.requestWillBeSent"
    ]
    assert all(url.startswith(("file:", "data:")) for url in urls)


def look(driver: Chrome, width: int, scheme: str) -> None:
    resize(driver, width, 844, mobile=width < 500)
    prefer(driver, scheme)


def test_a_whole_study_by_keyboard_with_a_reload_on_the_way(study, tmp_path):
    keys = [Keys.ARROW_LEFT, Keys.ARROW_RIGHT] * 5
    trials = None
    for place, key in enumerate(keys):
        study.ready()
        assert study.count() == f"{place + 1} of 10"
        assert not any(label in study.text() for label in METHODS.values()), "no name before the end"
        if place == 6:
            before = study.state()
            study.open()
            study.ready()
            assert study.state() == before and study.count() == "7 of 10"
        study.answer(key)
        trials = study.key["rounds"][study.state()["round"]]
    wait(lambda: "Thank you" in study.text(), "the result")

    link = study.driver.find_element(By.LINK_TEXT, "Answers as CSV")
    file = tmp_path / link.get_attribute("download")
    file.write_text(unquote(link.get_attribute("href").partition(",")[2]))
    votes = read_votes(file)
    assert [[vote.picture, vote.left, vote.right] for vote in votes] == trials
    assert [vote.nearer == vote.left for vote in votes] == [key == Keys.ARROW_LEFT for key in keys]
    assert {vote.study for vote in votes} == {study.key["study"]} and len({vote.run for vote in votes}) == 1

    # What the page says is what the command says of its file.
    (outcome,) = results.outcomes(votes)
    tables = study.driver.find_elements(By.CSS_SELECTOR, ".b-result table")
    shown = [
        [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")]
        for table in tables[:2]
        for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")
    ]
    expected = [
        [
            METHODS[row.name] + (f" over {METHODS[row.against]}" if row.against else ""),
            f"{row.wins} of {row.trials}",
            f"{100 * row.share:.0f} %",
            f"{100 * row.low:.0f} to {100 * row.high:.0f} %",
        ]
        for row in (*outcome.methods, *outcome.pairs)
    ]
    assert sorted(row[:4] for row in shown) == sorted(expected)

    # It stays through a reload, and another run is another draw with another id.
    study.open()
    wait(lambda: "Thank you: 10 answers" in study.text(), "the result again")
    study.driver.find_element(By.CSS_SELECTOR, "[data-act=again]").click()
    study.ready()
    assert study.count() == "1 of 10" and study.state()["run"] != votes[0].run


def test_the_pictures_are_those_of_the_trial(study):
    study.ready()
    trial = None
    for _ in range(2):
        place = len(study.state()["answers"]) if trial else 0
        if trial:
            trial = study.key["rounds"][study.state()["round"]][place]
            original = Image.open(study.folder.parent / "in" / trial[0]).convert("RGB")
            np.testing.assert_array_equal(study.pixels("original"), np.asarray(original))
            assert study.pixels("left").shape == study.pixels("right").shape == study.pixels("original").shape
            assert not np.array_equal(study.pixels("left"), study.pixels("right"))
            return
        study.answer(Keys.ARROW_LEFT)
        study.ready()
        trial = True


def test_space_flickers_between_the_original_and_the_two(study):
    study.ready()
    every, none = (
        {"left": True, "original": True, "right": True},
        {"left": False, "original": True, "right": False},
    )
    assert study.visible() == every
    study.press(" ")
    assert study.visible() == none
    study.press(" ")
    assert study.visible() == every
    study.press("3")
    seen = [[side for side, shown in study.visible().items() if shown]]
    for _ in range(4):
        study.press(" ")
        seen.append([side for side, shown in study.visible().items() if shown])
    assert seen == [["right"], ["original"], ["left"], ["original"], ["right"]]


def test_undo_zoom_and_a_mouse(study):
    study.ready()
    study.driver.find_element(By.CSS_SELECTOR, "[data-answer=right]").click()
    study.ready()
    assert study.state()["answers"] == ["right"]
    study.press(" ")  # flickers; it does not press the button once more
    assert study.state()["answers"] == ["right"] and not study.visible()["left"]
    study.press(Keys.BACKSPACE)
    study.ready()
    assert study.state()["answers"] == [] and study.count() == "1 of 10"
    assert not study.driver.find_element(By.CSS_SELECTOR, "[data-act=back]").is_enabled()
    transform = """return [...document.querySelectorAll('.b-port img')].map(
        i => new DOMMatrix(getComputedStyle(i).transform).a)"""
    assert set(study.run(transform)) == {1}
    study.press("z")
    assert set(study.run(transform)) == {2}
    origin = "return getComputedStyle(document.querySelector('.b-port img')).transformOrigin"
    before = study.run(origin)
    ActionChains(study.driver).key_down(Keys.SHIFT).send_keys(Keys.ARROW_LEFT).key_up(Keys.SHIFT).perform()
    assert study.run(origin) != before and study.state()["answers"] == []
    study.driver.find_element(By.CSS_SELECTOR, "figure[data-side=right] .b-port").click()
    assert set(study.run(transform)) == {1}


def test_damaged_memory_starts_anew(study):
    for kept in ('{"round": 9999, "answers": []}', '{"round": 0, "answers": ["up"]}', "nonsense", "null"):
        study.run(
            "localStorage.setItem('blind-test-' + arguments[0], arguments[1])", study.key["study"], kept
        )
        study.open()
        study.ready()
        assert study.count() == "1 of 10"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_its_width_and_axe_finds_nothing(study, width, scheme):
    look(study.driver, width, scheme)
    study.open(forget=True)
    study.ready()
    found = []
    for part in ("question", "result"):
        assert study.run("return document.documentElement.scrollWidth") <= width
        buttons = study.run(
            """return [...document.querySelectorAll('.blind button, .blind a')].filter(e => e.offsetParent)
              .map(e => e.getBoundingClientRect())
              .filter(b => b.right > innerWidth + 1 || b.height < 24).length"""
        )
        assert buttons == 0
        if Path(AXE).is_file():
            found += [(part, *violation) for violation in axe_violations(study.driver, Path(AXE))]
        if part == "question":
            for _ in range(10):
                study.answer(Keys.ARROW_RIGHT)
            wait(lambda: "Thank you" in study.text(), "the result")
    assert found == []
