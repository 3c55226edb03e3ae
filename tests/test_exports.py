"""Figure, page and zip of a comparison open, hold what was compared, and come from the command line too."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fakes import FakePipeline
from PIL import Image

import sprdiff
from sprdiff.cli import main
from sprdiff.comparison.exports import write_exports
from sprdiff.comparison.figure import busiest_crop, check_crop, draw
from sprdiff.comparison.folder import write_comparison
from sprdiff.comparison.page import build_page
from sprdiff.errors import SettingsError

METHODS = ["sprdiff-coarse", "sprdiff-final", "webp"]


@pytest.fixture
def folder(photo, tmp_path) -> Path:
    write_comparison(
        photo,
        tmp_path,
        METHODS,
        FakePipeline(),
        target_bpp=0.2,
        metrics=["psnr-rgb", "ms-ssim-rgb"],
        source="a <photo>.png",
    )
    return tmp_path


def record_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_the_figure_is_a_slide_at_300_dpi_and_a_pdf_with_its_fonts(folder):
    png, pdf = write_exports(record_of(folder), folder, figure=True)
    with Image.open(png) as image:
        assert image.size == (4000, 2250)
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF") and data.rstrip().endswith(b"%%EOF")
    assert b"/FontFile2" in data and b"/Type3" not in data


def test_the_figure_says_what_was_measured(folder):
    record = record_of(folder)
    words = [text.get_text().rstrip(",") for text in draw(record, folder).texts]
    assert "a <photo>.png" in words
    for row in record["results"]:
        assert row["label"] in words
        assert f"PSNR {row['metrics']['psnr-rgb']:.2f} dB" in words
        assert f"{row['num_bytes']:,} bytes" in words and f"{row['bpp']:.4f} bpp" in words


def test_the_magnifier_shows_the_pixels_of_the_crop(folder):
    figure = draw(record_of(folder), folder, crop=(0.25, 0.5, 0.5, 0.75))
    assert len(figure.axes) == len(METHODS) + 1
    for axes, name in zip(figure.axes, ["original", *METHODS], strict=True):
        whole, part = (np.asarray(image.get_array()) for image in axes.images)
        with Image.open(folder / f"{name}.png") as picture:
            expected = np.asarray(picture)
        np.testing.assert_array_equal(whole, expected)
        np.testing.assert_array_equal(part, expected[88:132, 48:96])


def test_without_a_crop_the_busiest_part_is_magnified():
    image = Image.new("RGB", (256, 256), "grey")
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    image.paste(Image.fromarray(noise), (170, 20))
    left, top, right, bottom = busiest_crop(image)
    assert 0.6 < (left + right) / 2 < 0.9 and 0.05 < (top + bottom) / 2 < 0.35


@pytest.mark.parametrize(
    "crop", [(0.5, 0.5, 0.5, 0.9), (0, 0, 1.1, 1), (0, 0, 1), (0, 0, "1", 1), (float("nan"), 0, 1, 1)]
)
def test_what_is_no_crop_is_refused(crop):
    with pytest.raises(SettingsError, match="crop"):
        check_crop(crop)


@pytest.mark.parametrize("count", [1, 2, 6, 7, 10])
@pytest.mark.parametrize("size", [(48, 32), (32, 48), (40, 40), (160, 32), (32, 160), (36, 64)])
def test_nothing_on_the_slide_overlaps_or_is_cut(size, count, tmp_path):
    """Pictures of six shapes and up to ten methods, with everything that a caption can say."""
    Image.new("RGB", size, "gray").save(tmp_path / "p.png")
    row = {
        "label": "A learned codec with a long name",
        "method": "sprdiff-final",
        "picture": "p.png",
        "num_bytes": 123456,
        "bpp": 0.1234,
        "scale": 0.5,
        "over_budget": True,
        "metrics": {"psnr-rgb": 23.58, "ms-ssim-rgb": 0.783, "lpips-alex": 0.4529, "dists": 0.2585},
        "reasons": {},
    }
    record = {
        "original": "p.png",
        "width": size[0],
        "height": size[1],
        "target_bpp": 0.0205,
        "source": "a photograph whose name says " + "everything about it " * 8,
        "fingerprint": "0123456789abcdef",
        "results": [row] * count,
    }
    figure = draw(record, tmp_path)
    renderer = figure.canvas.get_renderer()
    pictures = [axes.get_window_extent(renderer) for axes in figure.axes]
    texts = [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
    assert len(pictures) == count + 1 and len(texts) > 6 * count
    whole = figure.bbox
    for box in (*pictures, *texts):
        assert 0 <= box.x0 < box.x1 <= whole.width and 0 <= box.y0 < box.y1 <= whole.height
    for one, other in itertools.combinations((*pictures, *texts), 2):
        # Letters may reach below their line by less than a point.
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        down = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across <= 1 or down <= figure.dpi / 72, "two things lie on each other"
    assert pictures[0].height > 0.3 * figure.dpi, "too small to see"


def test_the_page_needs_nothing_else_and_holds_the_files(folder):
    record = record_of(folder)
    page = build_page(record, folder)
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "a &lt;photo&gt;.png" in page and "<photo>" not in page
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
    options = ["--methods", "webp", "--metrics", "psnr-rgb", "--bpp", "0.3", "--out", str(out), "--json"]
    more = ["--figure", "--crop", "0,0,0.5,0.5", "--html", "--zip"]
    assert main(["compare", str(tmp_path / "a.png"), *options, *more]) == 0
    exports = json.loads(capsys.readouterr().out)["exports"]
    assert exports == ["figure.png", "figure.pdf", "report.html", "comparison.zip"]
    assert all((out / name).stat().st_size > 1000 for name in exports)
    assert main(["compare", str(tmp_path / "a.png"), *options, "--crop", "0,0,1,1"]) == 2
    assert main(["compare", str(tmp_path / "a.png"), *options, "--figure", "--crop", "1,0,0,1"]) == 2
