"""Animations of a comparison: what is in them, in which order, and that other programs can open them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from comparisons import make_comparison, record_of
from PIL import Image

from sprdiff.comparison.flicker import check_flicker, chosen_rows, draw_frames, write_flicker
from sprdiff.errors import SettingsError


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_comparison(tmp_path, "jpeg", target_bpp=0.3)


def enlarged(path: Path, factor: int) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).repeat(factor, 0).repeat(factor, 1)


def test_an_apng_holds_the_decoded_pixels_in_order_with_a_label_below(folder):
    path = write_flicker(record_of(folder), folder / "f.apng", baseline="webp")
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.info["loop"]) == (4, 0)
        labels = []
        for index, name in enumerate(["original", "sprdiff-coarse", "sprdiff-final", "webp"]):
            animation.seek(index)
            frame = np.asarray(animation.convert("RGB"))
            assert animation.info["duration"] == 1000
            np.testing.assert_array_equal(frame[: 3 * 176, : 3 * 192], enlarged(folder / f"{name}.png", 3))
            labels.append(frame[3 * 176 :])
    for label in labels:
        assert (label < 128).any(), "no letters"
    assert len({label.tobytes() for label in labels}) == 4
    assert not list(folder.glob(".*"))


def test_a_gif_has_colours_of_its_own_in_each_picture(folder):
    path = write_flicker(record_of(folder), folder / "f.gif")
    frames = draw_frames(record_of(folder), folder)
    with Image.open(path) as animation:
        assert animation.n_frames == 4
        for index, frame in enumerate(frames):
            animation.seek(index)
            shown = np.asarray(animation.convert("RGB"), int)
            assert np.abs(shown - np.asarray(frame, int)).mean() < 4


def test_labels_below_a_narrow_picture_begin_at_one_place(tmp_path):
    folder = make_comparison(tmp_path, "jpeg", target_bpp=0.3)
    record = record_of(folder)
    for name in ("original", *(row["method"] for row in record["results"])):
        Image.new("RGB", (250, 750)).save(folder / f"{name}.png")
    record |= {"width": 250, "height": 750}
    frames = [np.asarray(frame.convert("L"))[750:] for frame in draw_frames(record, folder)]
    begins = [int((label < 128).any(0).argmax()) for label in frames]
    assert min(begins) > 10 and max(begins) - min(begins) <= 3, "letters differ in their first stroke alone"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_an_mp4_plays_every_picture_for_a_second_in_its_colours(folder):
    path = write_flicker(record_of(folder), folder / "f.mp4")
    for index, frame in enumerate(draw_frames(record_of(folder), folder)):
        command = ["ffmpeg", "-loglevel", "error", "-ss", f"{4 + index + 0.5}", "-i", str(path)]
        command += ["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
        pixels = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
        shown = pixels.reshape(frame.height, frame.width, 3).astype(int)
        assert np.abs(shown - np.asarray(frame, int)).mean() < 3


def test_without_ffmpeg_an_mp4_is_refused_in_one_sentence(folder, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SettingsError, match="needs the program ffmpeg, which is not installed here"):
        write_flicker(record_of(folder), folder / "f.mp4")
    assert check_flicker("f.gif") == "f.gif"


def test_what_ffmpeg_says_is_handed_on_and_nothing_is_left(folder, tmp_path_factory, monkeypatch):
    programs = tmp_path_factory.mktemp("programs")
    (programs / "ffmpeg").write_text("#!/bin/sh\necho 'Unknown encoder' >&2\nexit 1\n")
    (programs / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    before = sorted(folder.iterdir())
    with pytest.raises(SettingsError, match="ffmpeg made no MP4: Unknown encoder"):
        write_flicker(record_of(folder), folder / "f.mp4")
    assert sorted(folder.iterdir()) == before


def test_a_crop_is_all_that_is_shown(folder):
    frames = draw_frames(record_of(folder), folder, crop=(0.25, 0.5, 0.5, 0.75))
    whole = np.asarray(Image.open(folder / "original.png"))
    part = whole[88:132, 48:96].repeat(13, 0).repeat(13, 1)
    np.testing.assert_array_equal(np.asarray(frames[0])[: 44 * 13, : 48 * 13], part)


def test_the_baseline_is_the_best_within_its_budget_or_the_one_asked_for():
    def row(method: str, lpips: float | None, psnr: float, over: bool = False) -> dict:
        return {"method": method, "metrics": {"lpips-alex": lpips, "psnr-rgb": psnr}, "over_budget": over}

    rows = [
        row("sprdiff-final", 0.2, 24),
        row("jpeg", 0.7, 22),
        row("avif", 0.5, 23),
        row("webp", 0.1, 30, True),
    ]
    chosen = lambda rows, asked=None: [row["method"] for row in chosen_rows({"results": rows}, asked)]  # noqa: E731
    assert chosen(rows) == ["sprdiff-final", "avif"]
    assert chosen(rows, "jpeg") == ["sprdiff-final", "jpeg"]
    assert chosen(rows[:1]) == ["sprdiff-final"]
    assert chosen([row("jpeg", None, 22), row("avif", None, 23)]) == ["avif"]
    with pytest.raises(SettingsError, match="no result of 'heic'; there are sprdiff-final, jpeg"):
        chosen(rows, "heic")


@pytest.mark.parametrize("size", [(64, 64), (31, 9), (2000, 3000), (701, 233)])
def test_frames_are_of_one_even_size_that_fits_a_projector_and_labels_fit(size, tmp_path):
    Image.new("RGB", size, "gray").save(tmp_path / "p.png")
    row = {"picture": "p.png", "label": "JPEG 2000", "num_bytes": 22462, "bpp": 0.0299, "scale": 0.25}
    rows = [
        {**row, "method": method, "over_budget": method == "jpeg", "metrics": {}}
        for method in ("sprdiff-coarse", "sprdiff-final", "jpeg")
    ]
    record = {"original": "p.png", "width": size[0], "height": size[1], "results": rows}
    frames = draw_frames(record, tmp_path)
    (one,) = {frame.size for frame in frames}
    assert one[0] % 2 == one[1] % 2 == 0 and 320 <= one[0] <= 1920 and one[1] <= 1080
    for frame in frames:
        label = np.asarray(frame)[-10:]
        assert (label[:, -1] == 255).all(), "the label is cut"
