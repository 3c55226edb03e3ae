"""Evaluation of a folder of images on a stand-in for the model and real baselines."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from fakes import FINGERPRINT, FakePipeline
from PIL import Image, ImageFilter

from sprdiff.baselines import BASELINES
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.evaluation.results import csv_text, means, read_rows
from sprdiff.evaluation.runner import evaluate

SIZE = (96, 64)
METHOD_IDS = ("sprdiff-coarse", "sprdiff-final", "jpeg")


def _image(seed: int = 0) -> Image.Image:
    gradient = Image.radial_gradient("L").resize(SIZE).rotate(45 * seed)
    bands = gradient, gradient.transpose(Image.Transpose.FLIP_LEFT_RIGHT), gradient.filter(ImageFilter.EMBOSS)
    return Image.merge("RGB", bands)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "set"
    (folder / "deeper").mkdir(parents=True)
    _image(0).save(folder / "a.png")
    _image(1).save(folder / "deeper" / "b.png")
    (folder / "README.txt").write_text("not an image, and no candidate")
    return folder


def _evaluate(folder: Path, out: Path, pipeline=None, methods=METHOD_IDS, bpps=(1.0, 2.0), **options):
    options = {"metrics": ["psnr-rgb"], **options}
    return evaluate(folder, methods, bpps, out, pipeline=pipeline or FakePipeline(), **options)


def test_rows_means_settings_and_versions(folder, tmp_path):
    out = tmp_path / "out"
    evaluation = _evaluate(folder, out)
    rows = read_rows(out / "rows.jsonl")
    assert evaluation.computed == len(rows) == 2 * 2 * 3
    assert {row["image"] for row in rows} == {"a.png", "deeper/b.png"}
    summary = json.loads((out / "summary.json").read_bytes())
    assert summary == evaluation.summary
    assert summary["failed"] == {}
    assert summary["settings"]["fingerprint"] == FINGERPRINT
    assert summary["settings"]["metrics"] == ["psnr-rgb"]
    (run,) = summary["settings"]["runs"]
    assert run["bpps"] == [1.0, 2.0]
    assert {"torch", "pillow", "sprdiff"} <= set(run["versions"])
    for mean in summary["means"]:
        group = [
            row for row in rows if (row["method"], row["target_bpp"]) == (mean["method"], mean["target_bpp"])
        ]
        assert mean["images"] == 2
        assert mean["bpp"] == pytest.approx(sum(row["bpp"] for row in group) / 2)
        values = [row["metrics"]["psnr-rgb"] for row in group]
        assert mean["metrics"]["psnr-rgb"]["mean"] == pytest.approx(sum(values) / 2)
    table = list(csv.DictReader(io.StringIO((out / "rows.csv").read_text())))
    assert len(table) == len(rows)
    measured = {(row["image"], row["method"], row["target_bpp"]): row["metrics"]["psnr-rgb"] for row in rows}
    for row in table:
        assert float(row["psnr-rgb"]) == measured[row["image"], row["method"], float(row["target_bpp"])]
    assert sorted(path.name for path in out.iterdir()) == [
        "rows.csv",
        "rows.jsonl",
        "settings.json",
        "summary.json",
    ]


def test_finished_rows_are_not_computed_again(folder, tmp_path):
    first = _evaluate(folder, tmp_path / "out", bpps=[1.0])
    pipeline = FakePipeline()
    again = _evaluate(folder, tmp_path / "out", pipeline, bpps=[1.0])
    assert again.computed == 0
    assert pipeline.calls["encode"] == 0
    assert again.summary["means"] == first.summary["means"]
    more = _evaluate(folder, tmp_path / "out", pipeline)
    assert more.computed == 2 * 3
    assert pipeline.calls["encode"] == 2
    assert len(more.summary["means"]) == 6


def test_a_kill_in_the_middle_costs_one_row(folder, tmp_path):
    whole = _evaluate(folder, tmp_path / "whole", bpps=[1.0])

    class Killed(BaseException):
        pass

    def progress(share: float, text: str) -> None:
        if share > 0.6:
            raise Killed

    out = tmp_path / "out"
    with pytest.raises(Killed):
        _evaluate(folder, out, bpps=[1.0], progress=progress)
    lines = (out / "rows.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    (out / "rows.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:40])  # torn while it was written
    resumed = _evaluate(folder, out, bpps=[1.0])
    assert resumed.computed == 3
    assert len(read_rows(out / "rows.jsonl")) == 6
    assert _without_seconds(resumed) == _without_seconds(whole)


def _without_seconds(evaluation) -> list[dict]:
    return [{k: v for k, v in mean.items() if "seconds" not in k} for mean in evaluation.summary["means"]]


def test_a_bad_file_is_reported_skipped_and_tried_again(folder, tmp_path):
    content = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(content[:100])
    reported = []
    evaluation = _evaluate(folder, tmp_path / "out", on_failure=lambda *failure: reported.append(failure))
    assert list(evaluation.failed) == ["a.png"]
    assert reported == list(evaluation.failed.items())
    assert evaluation.computed == 6
    (folder / "a.png").write_bytes(content)
    assert _evaluate(folder, tmp_path / "out").computed == 6


def test_a_method_without_weights_is_reported_once_and_the_others_are_measured(folder, tmp_path, monkeypatch):
    class Missing:
        def compress(self, image, *, max_bytes):
            raise WeightsError("its weights are not here")

    monkeypatch.setitem(BASELINES, "webp", Missing())
    reported = []
    methods = ["sprdiff-coarse", "webp", "jpeg"]
    evaluation = _evaluate(
        folder, tmp_path / "out", methods=methods, on_failure=lambda *failure: reported.append(failure)
    )
    assert reported == [("webp", "its weights are not here")]
    assert evaluation.failed == dict(reported)
    assert evaluation.computed == 2 * 2 * 2
    assert {mean["method"] for mean in evaluation.summary["means"]} == {"sprdiff-coarse", "jpeg"}


def test_an_image_that_changed_is_measured_again_and_counted_once(folder, tmp_path):
    _evaluate(folder, tmp_path / "out", bpps=[1.0])
    shutil.copy(folder / "deeper" / "b.png", folder / "a.png")
    evaluation = _evaluate(folder, tmp_path / "out", bpps=[1.0])
    assert evaluation.computed == 3
    for mean in evaluation.summary["means"]:
        assert mean["images"] == 2
    table = list(csv.DictReader(io.StringIO((tmp_path / "out" / "rows.csv").read_text())))
    by_image = {row["image"]: row["psnr-rgb"] for row in table if row["method"] == "jpeg"}
    assert by_image["a.png"] == by_image["deeper/b.png"]


def test_rows_of_other_settings_are_not_mixed(folder, tmp_path):
    out = tmp_path / "out"
    _evaluate(folder, out, bpps=[1.0], methods=["jpeg"])
    _evaluate(folder, out, bpps=[1.0])
    with pytest.raises(SettingsError, match=r"holds rows with metrics .*psnr-rgb.*, now it is .*ms-ssim-rgb"):
        _evaluate(folder, out, metrics=["ms-ssim-rgb"])
    # As versions left it that could take more than one step.
    path = out / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_inference_steps": 4}))
    with pytest.raises(SettingsError, match="holds rows with 4 diffusion steps, now there is one"):
        _evaluate(folder, out, bpps=[1.0])


def test_another_checkpoint_makes_its_rows_anew_and_keeps_those_of_the_baselines(folder, tmp_path):
    out = tmp_path / "out"
    first = _evaluate(folder, out, bpps=[1.0], methods=["jpeg"])
    assert first.summary["settings"]["fingerprint"] is None
    assert _evaluate(folder, out, bpps=[1.0]).computed == 4  # two outputs of SPRDiff, two images
    other = FakePipeline("ab" * 32)
    evaluation = _evaluate(folder, out, other, bpps=[1.0])
    assert evaluation.computed == 4
    assert other.calls["encode"] == 2
    assert evaluation.summary["settings"]["fingerprint"] == other.fingerprint
    assert [mean["images"] for mean in evaluation.summary["means"]] == [2, 2, 2]
    fingerprints = {row["method"]: row["fingerprint"] for row in read_rows(out / "rows.jsonl")[-4:]}
    assert fingerprints == {"sprdiff-coarse": other.fingerprint, "sprdiff-final": other.fingerprint}
    again = _evaluate(folder, out, bpps=[1.0], methods=["jpeg"])  # baselines alone go with any checkpoint
    assert again.computed == 0
    assert again.summary["settings"]["fingerprint"] == other.fingerprint
    assert len(again.summary["means"]) == 3


def test_foreign_files_in_the_output_folder_are_refused(folder, tmp_path):
    (tmp_path / "rows.jsonl").write_text("hello\n")
    with pytest.raises(SettingsError, match=r"rows\.jsonl is not a rows file"):
        _evaluate(folder, tmp_path)
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(SettingsError, match=r"settings\.json is not a settings file"):
        _evaluate(folder, tmp_path)


def test_progress_counts_rows_and_ends_at_all(folder, tmp_path):
    shares = []
    _evaluate(folder, tmp_path / "out", progress=lambda share, text: shares.append(share))
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert len(set(shares)) == 2 * 2 * 3 + 1
    shares.clear()
    _evaluate(
        folder, tmp_path / "out", bpps=[1.0, 2.0, 3.0], progress=lambda share, text: shares.append(share)
    )
    assert shares[0] == pytest.approx(2 / 3)  # an estimate of the time left begins from what there is


def test_no_image_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="There is no folder"):
        _evaluate(tmp_path / "none", tmp_path / "out")
    (tmp_path / ".hidden.png").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"There is no image .*\.png"):
        _evaluate(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# results


def _row(value: float | None, bpp: float = 1.0, reason: str | None = None) -> dict:
    return {
        "image": "a.png",
        "method": "jpeg",
        "target_bpp": 1.0,
        "bpp": bpp,
        "over_budget": value is None,
        "settings": {"quality": 3},
        "metrics": {"ms-ssim-rgb": value},
        "reasons": {} if reason is None else {"ms-ssim-rgb": reason},
        "encode_seconds": 1.0,
        "decode_seconds": 2.0,
    }


def test_means_state_the_dashes_and_their_reasons():
    (mean,) = means([_row(0.5, 0.5), _row(0.75, 1.0), _row(None, 3.0, "too small")])
    assert mean["images"] == 3
    assert mean["over_budget"] == 1
    assert mean["bpp"] == 1.5
    assert mean["metrics"]["ms-ssim-rgb"] == {"mean": 0.625, "dashes": 1, "reasons": ["too small"]}
    (mean,) = means([_row(None, reason="too small")])
    assert mean["metrics"]["ms-ssim-rgb"]["mean"] is None


def test_metrics_are_averaged_per_image_and_not_over_all_pixels():
    """Decibels are averaged; the PSNR of the mean squared error would be 23.0 here."""
    rows = [_row(20.0), _row(40.0)]
    for row in rows:
        row["metrics"] = {"psnr-rgb": row["metrics"]["ms-ssim-rgb"]}
    (mean,) = means(rows)
    assert mean["metrics"]["psnr-rgb"]["mean"] == 30.0


def test_csv_has_a_dash_as_an_empty_cell():
    table = list(csv.DictReader(io.StringIO(csv_text([_row(0.5), _row(None, reason="too small")]))))
    assert [row["ms-ssim-rgb"] for row in table] == ["0.5", ""]
    assert json.loads(table[0]["settings"]) == {"quality": 3}
