"""Bitrates are right: a row's bytes are those of a file that is kept, and that file alone is the picture."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
from conftest import make_photo
from fakes import FakePipeline
from PIL import Image

import sprdiff
from sprdiff.baselines import LEARNED
from sprdiff.cli import main
from sprdiff.evaluation.results import read_rows
from sprdiff.evaluation.runner import evaluate
from sprdiff.methods import METHODS
from sprdiff.metrics import psnr

# Those whose weights need not be fetched.
ALL = tuple(method for method in METHODS if method not in LEARNED)
SIZE = (96, 64)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "set" / "deeper").mkdir(parents=True)
    make_photo(*SIZE).save(tmp_path / "set" / "a.png")
    make_photo(*SIZE, seed=1).save(tmp_path / "set" / "deeper" / "b.png")
    return tmp_path / "set"


def _evaluate(folder: Path, out: Path, pipeline=None, methods=ALL, keep=True):
    return evaluate(
        folder,
        methods,
        [0.5, 1.5],
        out,
        pipeline=pipeline or FakePipeline(),
        metrics=["psnr-rgb"],
        keep=keep,
    )


def _decode_alone(path: Path, method: str, tmp_path: Path, monkeypatch) -> Image.Image:
    """By the command line for streams, by Pillow for all others: from the file, with nothing beside it."""
    if path.suffix == ".spr":
        monkeypatch.setitem(vars(sprdiff), "SPRDiffPipeline", FakePipeline)
        target = tmp_path / "decoded.png"
        option = ["--coarse-only"] if method == "sprdiff-coarse" else []
        assert main(["decompress", str(path), str(target), "--force", *option]) == 0
        path = target
    with Image.open(path) as image:
        picture = image.convert("RGB")
    return picture if picture.size == SIZE else picture.resize(SIZE, Image.Resampling.LANCZOS)


def test_bytes_are_those_on_disk_and_the_file_alone_is_the_measured_picture(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    _evaluate(folder, out)
    rows = read_rows(out / "rows.jsonl")
    assert len(rows) == 2 * 2 * len(ALL)
    for row in rows:
        path = out / row["file"]
        data = path.read_bytes()
        assert row["num_bytes"] == path.stat().st_size == len(data)
        assert row["bpp"] == 8 * path.stat().st_size / (SIZE[0] * SIZE[1])
        assert row["file_sha256"] == hashlib.sha256(data).hexdigest()
        decoded = _decode_alone(path, row["method"], tmp_path, monkeypatch)
        assert hashlib.sha256(decoded.tobytes()).hexdigest() == row["picture_sha256"]
        original = Image.open(folder / row["image"]).convert("RGB")
        assert psnr(original, decoded) == row["metrics"]["psnr-rgb"]
        assert row["over_budget"] or row["num_bytes"] <= row["target_bpp"] * SIZE[0] * SIZE[1] / 8


def test_both_outputs_of_the_model_are_one_file_and_nothing_else_is_kept(folder, tmp_path):
    out = tmp_path / "out"
    _evaluate(folder, out, methods=["sprdiff-coarse", "sprdiff-final", "jpeg"])
    rows = read_rows(out / "rows.jsonl")
    files = {path.relative_to(out).as_posix() for path in (out / "files").rglob("*") if path.is_file()}
    assert files == {row["file"] for row in rows}
    assert len(files) == 2 * 2 * 2
    assert "files/deeper/b.png/sprdiff-0.5.spr" in files


def test_without_keep_there_is_no_file(folder, tmp_path):
    _evaluate(folder, tmp_path / "out", methods=["jpeg"], keep=False)
    assert not (tmp_path / "out" / "files").exists()
    assert {row["file"] for row in read_rows(tmp_path / "out" / "rows.jsonl")} == {None}


def test_a_kept_file_that_is_not_there_is_made_again(folder, tmp_path):
    out = tmp_path / "out"
    _evaluate(folder, out, methods=["jpeg"], keep=False)
    assert _evaluate(folder, out, methods=["jpeg"]).computed == 4  # kept from now on
    assert _evaluate(folder, out, methods=["jpeg"]).computed == 0
    (out / "files" / "a.png" / "jpeg-0.5.jpg").write_bytes(b"cut")
    evaluation = _evaluate(folder, out, methods=["jpeg"])
    assert evaluation.computed == 1
    assert [mean["images"] for mean in evaluation.summary["means"]] == [2, 2]


def test_the_analysis_is_done_once_an_image_and_not_once_a_rate(folder, tmp_path):
    pipeline = FakePipeline()
    _evaluate(folder, tmp_path / "out", pipeline, methods=["sprdiff-coarse", "sprdiff-final"], keep=False)
    assert (pipeline.calls["analyze"], pipeline.calls["encode"]) == (2, 4)


def test_an_analysis_that_is_handed_over_gives_the_same_stream():
    from tiny import small_pipeline

    pipeline, image = small_pipeline(), make_photo(80, 64)
    analysis = pipeline.analyze(image)
    for max_bytes in (40, 400):
        alone = pipeline.encode(image, max_bytes=max_bytes)
        assert pipeline.encode(image, max_bytes=max_bytes, analysis=analysis).data == alone.data


def test_versions_machine_and_checkpoint_are_recorded(folder, tmp_path):
    _evaluate(folder, tmp_path / "out", methods=["jpeg", "sprdiff-coarse"])
    settings = json.loads((tmp_path / "out" / "settings.json").read_bytes())
    (run,) = settings["runs"]
    assert {"torch", "pillow", "numpy", "sprdiff", "python", "pyiqa"} <= set(run["versions"])
    assert {"libjpeg-turbo", "libwebp", "openjpeg", "libavif", "avif-codecs"} <= set(run["encoders"])
    assert all(any(digit.isdigit() for digit in version) for version in run["encoders"].values())
    assert run["machine"]["cores"] >= 1
    assert run["machine"]["processor"]
    assert settings["fingerprint"] == run["fingerprint"] == FakePipeline().fingerprint
    fingerprints = {row["method"]: row["fingerprint"] for row in read_rows(tmp_path / "out" / "rows.jsonl")}
    assert fingerprints == {"jpeg": None, "sprdiff-coarse": FakePipeline().fingerprint}


def test_the_original_may_be_of_any_mode_and_the_rows_are_of_what_is_shown(tmp_path):
    (tmp_path / "set").mkdir()
    file = io.BytesIO()
    make_photo(*SIZE).convert("L").save(file, "PNG")
    (tmp_path / "set" / "grey.png").write_bytes(file.getvalue())
    _evaluate(tmp_path / "set", tmp_path / "out", methods=["jpeg"])
    (row, _) = read_rows(tmp_path / "out" / "rows.jsonl")
    assert row["sha256"] == hashlib.sha256(file.getvalue()).hexdigest()
    assert (row["width"], row["height"]) == SIZE
