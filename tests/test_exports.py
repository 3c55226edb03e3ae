"""Page and zip of a comparison hold what was compared, and come from the command line with all the rest."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from comparisons import make_comparison, record_of
from fakes import FakePipeline
from PIL import Image

import sprdiff
from sprdiff.cli import main
from sprdiff.comparison.exports import write_exports
from sprdiff.comparison.page import build_page


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_comparison(tmp_path)


def test_the_page_needs_nothing_else_and_holds_the_files(folder):
    record = record_of(folder)
    page = build_page(record, folder)
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "a &lt;photo&gt;, $5" in page and "<photo>" not in page
    held = {
        name: base64.b64decode(data) for data, name in re.findall(r'base64,([^"]+)" download="(.+?)"', page)
    }
    names = {"original.png"} | {row[key] for row in record["results"] for key in ("file", "picture")}
    assert set(held) == names
    for name, data in held.items():
        assert data == (folder / name).read_bytes()


def test_the_zip_holds_all_of_it(folder):
    made = write_exports(record_of(folder), folder, figure=True, html=True, as_zip=True)
    assert [path.name for path in made] == ["figure.png", "figure.pdf", "report.html", "comparison.zip"]
    with zipfile.ZipFile(folder / "comparison.zip") as archive:
        assert archive.testzip() is None
        wanted = {path.name for path in folder.iterdir()} - {"comparison.zip"}
        assert set(archive.namelist()) == wanted
        with Image.open(io.BytesIO(archive.read("sprdiff-final.png"))) as picture:
            data = archive.read("sprdiff.spr")
            np.testing.assert_array_equal(
                np.asarray(picture), np.asarray(FakePipeline().decompress(data).final)
            )


def test_the_command_line_makes_them(photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sprdiff, "SPRDiffPipeline", FakePipeline, raising=False)
    photo.save(tmp_path / "a.png")
    out = tmp_path / "out"
    options = ["--methods", "webp,jpeg", "--metrics", "psnr-rgb,ms-ssim-rgb", "--bpp", "0.3", "--json"]
    more = ["--figure", "--slide", "4:3", "--figure-metrics", "psnr-rgb", "--crop", "96,0,48,44"]
    more += ["--flicker", "f.gif", "--against", "jpeg", "--html", "--zip"]
    assert main(["compare", str(tmp_path / "a.png"), "--out", str(out), *options, *more]) == 0
    exports = json.loads(capsys.readouterr().out)["exports"]
    assert exports == ["figure.png", "figure.pdf", "f.gif", "report.html", "comparison.zip"]
    assert all((out / name).stat().st_size > 1000 for name in exports)
    with Image.open(out / "figure.png") as figure:
        assert figure.size == (3000, 2250)
    with zipfile.ZipFile(out / "comparison.zip") as archive:
        assert "f.gif" in archive.namelist()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--crop", "0,0,20,20"], "--crop is for --figure and --flicker"),
        (["--figure", "--crop", "0,0,20"], "four whole numbers of pixels"),
        (["--figure", "--crop", "0,0,0.5,0.5"], "four whole numbers of pixels"),
        (["--figure", "--crop", "180,0,20,20"], "does not lie in the picture of 192 x 176 pixels"),
        (["--figure", "--crop", "0,0,4,20"], "at least 8 pixels a side, got 4 x 20"),
        (["--figure", "--slide", "3:2"], "3:2"),
        (["--figure", "--figure-metrics", "dists"], "'dists' is not among those of --metrics: psnr-rgb"),
        (["--figure-metrics", "psnr-rgb"], "--figure-metrics is for --figure"),
        (["--flicker", "f.webm"], "ends in .apng, .gif, .mp4, got f.webm"),
        (["--flicker", "other/f.gif"], "name it without other"),
        (["--flicker", "f.gif", "--against", "avif"], "'avif' is not among those of --methods: webp"),
        (["--against", "webp"], "--against is for --flicker"),
    ],
)
def test_what_cannot_be_made_is_said_before_anything_is_coded(photo, tmp_path, capsys, more, message):
    photo.save(tmp_path / "a.png")
    out = tmp_path / "out"
    options = ["--methods", "webp", "--metrics", "psnr-rgb", "--bpp", "0.3", "--out", str(out)]
    assert main(["compare", str(tmp_path / "a.png"), *options, *more]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert not out.exists()
