"""``compare`` and ``evaluate`` on the command line, on a stand-in for the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import fails, files_in, run_json, save_photo
from fakes import FakePipeline
from PIL import Image

import sprdiff
from sprdiff.cli import main, texts

pytestmark = pytest.mark.usefixtures("fake_model")


@pytest.fixture
def photo(tmp_path) -> Path:
    return save_photo(tmp_path / "photo.png")


def test_compare_writes_every_picture_and_file(photo, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("--bpp", "1", "--out", out, "--metrics", "psnr-rgb")
    record = run_json(
        capsys, "compare", photo, "--methods", "jpeg,sprdiff-final,sprdiff-coarse,webp", *arguments
    )
    methods = ["sprdiff-coarse", "sprdiff-final", "jpeg", "webp"]
    assert [row["method"] for row in record["results"]] == methods
    pictures = [f"{method}.png" for method in methods]
    files = ["jpeg.jpg", "original.png", "results.json", "sprdiff.spr", "webp.webp"]
    assert files_in(out) == sorted(files + pictures)
    assert json.loads((out / "results.json").read_bytes()) == record
    decoded = FakePipeline().decompress((out / "sprdiff.spr").read_bytes())
    assert Image.open(out / "sprdiff-final.png").tobytes() == decoded.final.tobytes()
    assert Image.open(out / "sprdiff-coarse.png").tobytes() == decoded.coarse.tobytes()
    for row in record["results"]:
        assert row["num_bytes"] == (out / row["file"]).stat().st_size
        assert row["metrics"]["psnr-rgb"] > 10


def test_compare_as_text_says_why_there_is_a_dash(tmp_path, capsys):
    small = save_photo(tmp_path / "small.png", (40, 40))
    command = [
        "compare",
        str(small),
        "--bpp",
        "4",
        "--methods",
        "jpeg,webp",
        "--metrics",
        "ms-ssim-rgb,psnr-rgb",
    ]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ms-ssim", "psnr"]
    assert lines[1].split() == ["method", "bytes", "bpp", "rgb", "rgb"]
    assert [line.split()[0] for line in lines[2:]] == ["jpeg", "webp", "-", "Written"]
    assert {len(line) for line in lines[:4]} == {len(lines[0])} and lines[2].split()[3] == "-"
    assert lines[4].startswith("- in ms-ssim-rgb: ")


def test_tables_fit_a_terminal():
    metrics = ("ms-ssim-rgb", "ms-ssim-y", "lpips-alex", "lpips-vgg", "dists")
    numbers = {"psnr-rgb": 24.4, **dict.fromkeys(metrics, 0.5)}
    row = {"method": "sprdiff-coarse", "num_bytes": 1460, "bpp": 0.0297, "scale": 1.0, "over_budget": False}
    lines = texts.results([{**row, "metrics": numbers}])
    assert max(map(len, lines)) <= 80 and lines[-1].split()[2:4] == ["0.0297", "24.40"]
    smaller = texts.results([{**row, "metrics": numbers}, {**row, "scale": 0.5, "metrics": numbers}])
    assert [line.split()[3] for line in smaller[1:]] == ["scale", "1.000", "0.500"]
    mean = {**row, "target_bpp": 0.03, "images": 24, "metrics": {k: {"mean": v} for k, v in numbers.items()}}
    lines = texts.means([mean])
    assert max(map(len, lines)) <= 80 and lines[-1] == "Averages of 24 images"
    lines = texts.means([mean, {**mean, "images": 23}])
    assert lines[1].split()[3] == "images" and lines[-1].split()[3] == "23"


def test_compare_leaves_nothing_when_it_fails(photo, tmp_path, capsys, monkeypatch):
    def broken(self, *arguments, **options):
        raise sprdiff.errors.BitstreamError("out of order")

    monkeypatch.setattr(FakePipeline, "refine", broken)
    out = tmp_path / "out"
    assert "out of order" in fails(
        capsys, "compare", photo, "--bpp", "1", "--out", out, "--methods", "sprdiff-final"
    )
    assert not out.exists() or files_in(out) == []


def test_compare_bad_input(photo, tmp_path, capsys):
    def message(*options: str | Path) -> str:
        return fails(capsys, "compare", photo, *options)

    assert "Missing option '--bpp'" in message("--out", tmp_path / "o")
    assert "known are sprdiff-coarse" in message("--bpp", "1", "--out", tmp_path / "o", "--methods", "bmp")
    assert "known are psnr-rgb" in message("--bpp", "1", "--out", tmp_path / "o", "--metrics", "speed")
    assert "is not a folder" in message("--bpp", "1", "--out", photo)
    original = save_photo(tmp_path / "original.png")
    assert "would overwrite the input" in fails(capsys, "compare", original, "--bpp", "1", "--out", tmp_path)
    assert files_in(tmp_path) == ["original.png", "photo.png"]


def test_evaluate_reports_a_bad_file_and_goes_on(tmp_path, capsys):
    photo = save_photo(tmp_path / "set" / "photo.png")
    (tmp_path / "set" / "broken.png").write_bytes(photo.read_bytes()[:200])
    command = ["evaluate", str(tmp_path / "set"), "--methods", "sprdiff-coarse,jpeg", "--bpp", "1,2"]
    command += ["--metrics", "psnr-rgb", "--out", str(tmp_path / "out"), "--json"]
    assert main(command) == 1
    output = capsys.readouterr()
    record = json.loads(output.out)
    assert "error: broken.png: " in output.err
    assert list(record["failed"]) == ["broken.png"]
    assert [(row["method"], row["target_bpp"], row["images"]) for row in record["means"]] == [
        ("sprdiff-coarse", 1.0, 1),
        ("jpeg", 1.0, 1),
        ("sprdiff-coarse", 2.0, 1),
        ("jpeg", 2.0, 1),
    ]
    assert record["computed"] == 4


def test_evaluate_bad_input(tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    arguments = ("--methods", "jpeg", "--out", tmp_path / "out")
    assert "There is no image" in fails(capsys, "evaluate", empty, "--bpp", "1", *arguments)
    assert "'much' is not a number" in fails(capsys, "evaluate", empty, "--bpp", "1,much", *arguments)
    assert "There is no folder" in fails(capsys, "evaluate", tmp_path / "none", "--bpp", "1", *arguments)
    assert files_in(tmp_path) == ["empty"]
