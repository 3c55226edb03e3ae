"""The figure for slides: what it says and shows, and that nothing on it overlaps, is cut or is too small."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from comparisons import METHODS, make_comparison, record_of
from PIL import Image

from sprdiff.comparison.crops import check_crop, pixel_box, telling_crop
from sprdiff.comparison.exports import write_exports
from sprdiff.comparison.figure import draw, shown_metrics
from sprdiff.errors import SettingsError

LONG_NAME = "A learned codec with a name that goes on, 2020"
SHAPES = [(48, 32), (32, 48), (40, 40), (96, 32), (32, 96), (36, 64)]


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_comparison(tmp_path)


def made_record(folder: Path, size: tuple[int, int], count: int) -> dict:
    """A comparison of ``count`` methods of which captions have most to say, every other with a long name."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(folder / "p.png")
    row = {
        "method": "sprdiff-final",
        "picture": "p.png",
        "num_bytes": 123456,
        "bpp": 0.1234,
        "scale": 0.5,
        "metrics": {"psnr-rgb": 23.58, "ms-ssim-rgb": 0.783, "lpips-alex": 0.4529, "dists": 0.2585},
        "reasons": {},
    }
    labels = itertools.islice(itertools.cycle(["SPRDiff final", LONG_NAME]), count)
    rows = [{**row, "label": label, "over_budget": i == 1} for i, label in enumerate(labels)]
    return {
        "original": "p.png",
        "width": size[0],
        "height": size[1],
        "target_bpp": 0.0205,
        "source": "a photograph whose name says " + "everything about it " * 8,
        "fingerprint": "0123456789abcdef",
        "results": rows,
    }


def test_the_figure_is_a_slide_at_300_dpi_and_a_pdf_with_its_fonts(folder):
    png, pdf = write_exports(record_of(folder), folder, figure=True)
    with Image.open(png) as image:
        assert image.size == (4000, 2250)
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF") and data.rstrip().endswith(b"%%EOF")
    assert b"/FontFile2" in data and b"/Type3" not in data
    again, _ = write_exports(record_of(folder), folder, figure=True)
    assert again.read_bytes() == png.read_bytes()


def test_the_figure_says_what_was_measured(folder):
    record = record_of(folder)
    words = [text.get_text().rstrip(",") for text in draw(record, folder).texts]
    assert "a <photo>, $5 or $6.png" in words
    for row in record["results"]:
        assert row["label"] in words
        assert f"PSNR {row['metrics']['psnr-rgb']:.2f} dB" in words
        assert f"{row['num_bytes']:,} bytes" in words and f"{row['bpp']:.4f} bpp" in words


def test_captions_name_the_metrics_that_were_chosen(folder):
    record = record_of(folder)
    words = " ".join(text.get_text() for text in draw(record, folder, metrics=["ms-ssim-rgb"]).texts)
    assert words.count("MS-SSIM") == len(METHODS) and "PSNR" not in words
    with pytest.raises(SettingsError, match="cannot show 'dists'; measured were psnr-rgb, ms-ssim-rgb"):
        draw(record, folder, metrics=["dists"])
    many = {
        "results": [{"metrics": dict.fromkeys(["psnr-rgb", "ms-ssim-y", "gmsd", "lpips-vgg", "dists"], 1.0)}]
    }
    assert shown_metrics(many, None) == ["psnr-rgb", "dists"]
    few = {"results": [{"metrics": dict.fromkeys(["lpips-vgg", "gmsd"], 1.0)}]}
    assert set(shown_metrics(few, None)) == {"lpips-vgg", "gmsd"}


def test_the_magnifier_shows_the_pixels_of_the_crop(folder):
    figure = draw(record_of(folder), folder, crop=(0.25, 0.5, 0.5, 0.75))
    names = ["original", *METHODS]
    assert len(figure.axes) == 2 * len(names)
    for whole_axes, part_axes, name in zip(figure.axes[::2], figure.axes[1::2], names, strict=True):
        (whole,), (part,) = whole_axes.images, part_axes.images
        expected = np.asarray(Image.open(folder / f"{name}.png"))
        np.testing.assert_array_equal(np.asarray(whole.get_array()), expected)
        np.testing.assert_array_equal(np.asarray(part.get_array()), expected[88:132, 48:96])


def test_the_part_in_which_methods_differ_most_is_magnified():
    noise = np.random.default_rng(0)
    original = Image.fromarray(noise.integers(0, 256, (176, 256, 3), np.uint8))  # busy everywhere
    one, other = original.copy(), original.copy()
    one.paste("white", (190, 20, 240, 60))
    other.paste("black", (190, 20, 240, 60))
    for pictures in ([one, other, original], [one]):
        left, top, right, bottom = telling_crop(original, pictures, 1.5)
        assert 190 < 128 * (left + right) < 240 and 20 < 88 * (top + bottom) < 60
        assert (right - left) * 256 / ((bottom - top) * 176) == pytest.approx(1.5)
        assert (right - left) * (bottom - top) == pytest.approx(1 / 16)
    both = [original.copy(), one]
    both[0].paste(one.crop((190, 20, 240, 60)), (190, 20))  # wrong in the same way: they do not differ
    both[1] = both[0].copy()
    both[1].paste("red", (10, 120, 50, 160))
    left, top, _, bottom = telling_crop(original, both, 1.0)
    assert left < 0.3 and (top + bottom) / 2 > 0.6


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [(8, 8), (1, 40), (640, 20), (300, 200)])
def test_every_crop_lies_in_its_picture(size, ratio):
    noise = np.random.default_rng(1)
    pictures = [Image.fromarray(noise.integers(0, 256, (size[1], size[0], 3), np.uint8)) for _ in range(3)]
    crop = check_crop(telling_crop(pictures[0], pictures[1:], ratio))
    left, top, right, bottom = pixel_box(crop, size)
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]


@pytest.mark.parametrize(
    "crop", [(0.5, 0.5, 0.5, 0.9), (0, 0, 1.1, 1), (0, 0, 1), (0, 0, "1", 1), (float("nan"), 0, 1, 1)]
)
def test_what_is_no_crop_is_refused(crop):
    with pytest.raises(SettingsError, match="crop"):
        check_crop(crop)


@pytest.mark.parametrize("count", [2, 5, 7, 10])
@pytest.mark.parametrize("size", SHAPES)
def test_nothing_on_a_slide_overlaps_is_cut_or_too_small(size, count, tmp_path):
    check_slide_of(draw(made_record(tmp_path, size, count), tmp_path), size, count, least=1 / 3)


@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize("size", SHAPES)
def test_nor_on_an_older_slide_with_a_flat_crop(size, count, tmp_path):
    """The worst case: a crop three times wider than the picture is in proportion."""
    figure = draw(made_record(tmp_path, size, count), tmp_path, slide="4:3", crop=(0.3, 0.4, 0.6, 0.5))
    check_slide_of(figure, size, count, least=1 / 5)


def check_slide_of(figure, size: tuple[int, int], count: int, least: float) -> None:
    """By the boxes of what is drawn.

    Args:
        least: area of pictures and crops over what the same pictures could take on a slide with nothing else.
    """
    boxes = [axes.get_window_extent() for axes in figure.axes]
    pictures, crops = boxes[::2], boxes[1::2]
    texts = [text.get_window_extent() for text in figure.texts if text.get_text()]
    assert len(pictures) == len(crops) == count + 1 and len(texts) >= 4 + 7 * count
    for box in (*boxes, *texts):
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width and 0 <= box.y0 < box.y1 <= figure.bbox.height
    for one, other in itertools.combinations([*boxes, *texts], 2):
        assert not overlap(one, other), "two things lie on each other"
    share = sum(box.width * box.height for box in boxes) / bare_area(size, count + 1, figure.bbox)
    assert share > least, f"pictures and crops take {share:.2f} of what bare pictures could"


def bare_area(size: tuple[int, int], count: int, slide) -> float:
    """The largest area of ``count`` equal pictures in a plain grid that fills the slide."""
    ratio = size[0] / size[1]
    widths = [
        min(slide.width / columns, slide.height / math.ceil(count / columns) * ratio)
        for columns in range(1, count + 1)
    ]
    return count * max(widths) ** 2 / ratio


def overlap(one, other) -> float:
    """Area in square pixels; less than two pixels across or down are a matter of rounding."""
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    down = min(one.y1, other.y1) - max(one.y0, other.y0)
    return across * down if min(across, down) > 2 else 0.0


def test_letters_can_be_read_from_the_back(tmp_path):
    for count in (1, 10):
        figure = draw(made_record(tmp_path, (48, 32), count), tmp_path)
        assert min(text.get_fontsize() for text in figure.texts) >= 8
