"""The report: one page, everything inside it, which works in a browser without a network."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import make_photo
from fakes import FakePipeline
from PIL import Image

import sprdiff
from sprdiff.cli import main
from sprdiff.evaluation.figures import read_results
from sprdiff.evaluation.report import Options, build_report, commands
from sprdiff.evaluation.results import read_rows
from sprdiff.evaluation.runner import evaluate

METHODS = ("sprdiff-coarse", "sprdiff-final", "jpeg", "webp")
CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking "
    "--disable-component-update --disable-sync --force-prefers-reduced-motion"
)
NAMES = ("a.png", "b<i>.png", "c.png", "d.png", "e.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Results of five small images, one with a name that must be escaped; files kept."""
    home = tmp_path_factory.mktemp("report")
    (home / "set").mkdir()
    for seed, name in enumerate(NAMES):
        make_photo(96, 64, seed).save(home / "set" / name)
    (home / "set" / "bad.png").write_bytes(b"not an image")
    evaluate(
        home / "set",
        METHODS,
        [0.5, 1.5],
        home / "results",
        pipeline=FakePipeline(),
        metrics=["psnr-rgb", "ms-ssim-rgb", "gmsd"],
        keep=True,
    )
    return home / "results"


def _page(folder: Path, load=FakePipeline, **options) -> str:
    results = read_results([folder])
    return build_report(results, [folder], load, Options(**options), progress=lambda share, text: None)


@pytest.fixture(scope="module")
def page(folder) -> str:
    return _page(folder)


def test_nothing_is_fetched_from_elsewhere(page):
    assert page.startswith("<!DOCTYPE html>")
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    references = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^">)\s]+)', without_namespaces)
    assert references
    assert {each[:1] if each[:1] == "#" else each.partition(",")[0] for each in references} <= {
        "#",
        "data:image/png;base64",
        "${...}",
    } | {each for each in references if each.startswith(("picture.src", "#"))}
    assert "@import" not in page


def test_every_row_is_there_and_what_is_not_a_number_says_why(page, folder):
    rows = read_rows(folder / "rows.jsonl")
    body = page[page.index('<table id="rows">') :]
    assert body.count("<tr><td>") == len(rows) == len(NAMES) * 2 * len(METHODS)
    for row in rows:
        assert f"{row['metrics']['psnr-rgb']:.2f}" in body
        assert f'data-value="{row["metrics"]["psnr-rgb"]}"' in body
    assert 'title="needs at least 161 pixels a side, the picture has 64"' in body
    assert "MS-SSIM (RGB): needs at least 161 pixels a side" in page


def test_names_are_escaped(page):
    assert "b&lt;i&gt;.png" in page
    assert "b<i>" not in page


def test_a_bad_file_plots_settings_and_commands_are_shown(page, folder):
    assert "What could not be measured" in page
    assert "bad.png" in page
    assert page.count("<svg") == 2  # PSNR and GMSD
    settings = json.loads((folder / "settings.json").read_bytes())
    (run,) = settings["runs"]
    for version in (run["versions"]["pillow"], run["encoders"]["libavif"], FakePipeline().fingerprint):
        assert version in page
    assert "python -m sprdiff evaluate" in page
    assert "--methods sprdiff-coarse,sprdiff-final,jpeg,webp --bpp 0.5,1.5" in page


def test_the_commands_repeat_the_settings():
    from test_figures import make_summary

    summary = make_summary(["avif"], "my photos")
    summary["settings"]["runs"][0] |= {"set_metrics": ["fid"], "model": "owner/model"}
    first, second, third = commands(summary, Path("results/a b"), "kodak")
    assert first == (
        "python -m sprdiff evaluate '/somewhere/my photos' --methods avif --bpp 0.01,0.0205,0.03,0.05 "
        "--metrics psnr-rgb,ms-ssim-rgb,ms-ssim-y,fid --model owner/model --keep --out 'a b'"
    )
    assert second == "python -m sprdiff plot 'a b' --published kodak"
    assert third == "python -m sprdiff report 'a b' --published kodak"


def _pictures(page: str) -> dict[str, Image.Image]:
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', page)
    return {alt: Image.open(io.BytesIO(base64.b64decode(data))) for data, alt in found}


def test_worst_and_best_are_those_of_the_rows_with_the_very_pictures(page, folder):
    rows = [row for row in read_rows(folder / "rows.jsonl") if row["target_bpp"] == 0.5]
    ranked = sorted(
        (row for row in rows if row["method"] == "sprdiff-final"), key=lambda row: row["metrics"]["psnr-rgb"]
    )
    headings = re.findall(r'class="kind (\w+)">\w+</span> ([^<]+?)\s*</h3>', page)
    expected = [("worst", row["image"]) for row in ranked[:2]] + [
        ("best", row["image"]) for row in ranked[:-3:-1]
    ]
    assert headings == [(kind, name.replace("<", "&lt;").replace(">", "&gt;")) for kind, name in expected]
    pictures = _pictures(page)
    assert len(pictures) == 4 * 4  # the original, both outputs, and the best of the others
    worst = ranked[0]
    name = worst["image"].replace("<", "&lt;").replace(">", "&gt;")
    decoded = FakePipeline().decompress((folder / worst["file"]).read_bytes())
    assert pictures[f"{name}, SPRDiff final"].tobytes() == decoded.final.tobytes()
    assert pictures[f"{name}, SPRDiff coarse"].tobytes() == decoded.coarse.tobytes()
    original = Image.open(folder.parent / "set" / worst["image"]).convert("RGB")
    assert pictures[f"{name}, Original"].tobytes() == original.tobytes()


def test_by_another_metric_and_without_cases(folder):
    assert "By GMSD of SPRDiff final" in _page(folder, by="gmsd", cases=1)
    assert "Worst and best" not in _page(folder, cases=0)


def test_a_picture_that_cannot_be_shown_says_why(folder, tmp_path):
    page = _page(folder, load=lambda: FakePipeline("cd" * 32), images=tmp_path)
    assert "the original is not there; say where it is with --images" in page
    assert "it was made with another checkpoint than the one that is loaded" in page
    assert len(_pictures(page)) == 4  # those of the baseline


def test_a_large_picture_is_shown_in_part(tmp_path):
    (tmp_path / "set").mkdir()
    Image.radial_gradient("L").resize((1400, 900)).convert("RGB").save(tmp_path / "set" / "a.png")
    options = {"pipeline": None, "metrics": ["psnr-rgb"], "keep": True}
    evaluate(tmp_path / "set", ["jpeg"], [0.3], tmp_path / "out", **options)
    page = _page(tmp_path / "out")
    assert "the middle of it" in page
    assert {picture.size for picture in _pictures(page).values()} == {(1024, 768)}


def test_report_command(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(vars(sprdiff), "SPRDiffPipeline", FakePipeline)
    out = tmp_path / "pages" / "a.html"
    assert main(["report", str(folder), "--out", str(out), "--title", "A title & more", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"file": str(out), "num_bytes": out.stat().st_size}
    assert "<title>A title &amp; more</title>" in out.read_text()
    assert main(["report", str(folder), "--out", str(tmp_path / "a.txt")]) == 2
    assert "must end in .html" in capsys.readouterr().err
    assert main(["report", str(out)]) == 2
    assert "is none" in capsys.readouterr().err


@pytest.mark.browser
@pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromedriver are not installed")
def test_in_a_browser_the_table_sorts_and_filters_offline(page, tmp_path):
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    path = tmp_path / "report.html"
    path.write_text(page)
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options=options, service=Service(CHROMEDRIVER))
    try:
        browser.get(path.as_uri())

        def column(place: int) -> list[str]:
            cells = f"#rows tbody tr:not([hidden]) td:nth-child({place})"
            return [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, cells)]

        head = browser.find_element(By.XPATH, "//table[@id='rows']//button[.='PSNR (RGB)']")
        head.click()
        values = [float(text) for text in column(7)]
        assert values == sorted(values)
        head.click()
        assert [float(text) for text in column(7)] == sorted(values, reverse=True)
        Select(browser.find_element(By.ID, "filter-method")).select_by_visible_text("JPEG")
        Select(browser.find_element(By.ID, "filter-budget")).select_by_visible_text("0.5")
        assert set(column(2)) == {"JPEG"}
        assert len(column(2)) == len(NAMES)
        assert (
            browser.find_element(By.ID, "count").text
            == f"{len(NAMES)} of {len(NAMES) * 2 * len(METHODS)} rows"
        )
        browser.find_element(By.ID, "filter-image").send_keys("c.p")
        assert column(1) == ["c.png"]
        browser.find_element(By.CSS_SELECTOR, ".panels img").click()
        assert browser.find_element(By.ID, "full").is_displayed()
        assert browser.get_log("browser") == []
        requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        urls = [
            each["params"]["request"]["url"]
            for each in requests
            if each["method"] == "Network.requestWillBeSent"
        ]
        assert all(url.startswith(("file:", "data:")) for url in urls)
    finally:
        browser.quit()
