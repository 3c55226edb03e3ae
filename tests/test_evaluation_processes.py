"""The same rows from one process, from two, from two that were launched, and after a kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import make_photo
from fakes import FakePipeline

from sprdiff.errors import SPRDiffError
from sprdiff.evaluation import parallel
from sprdiff.evaluation.results import append_rows, read_rows
from sprdiff.evaluation.runner import evaluate

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("sprdiff-coarse", "sprdiff-final", "jpeg")
BASELINES = ("jpeg", "webp")


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for seed in range(3):
        make_photo(64, 48, seed).save(folder / f"{seed}.png")
    return folder


def _evaluate(folder: Path, out: Path, methods=METHODS, **options):
    pipeline = FakePipeline() if methods is METHODS else None
    return evaluate(folder, methods, [1.0, 2.0], out, pipeline=pipeline, metrics=["psnr-rgb"], **options)


def _rows(out: Path) -> list[dict]:
    """Without what differs from run to run, in any order."""
    rows = [{k: v for k, v in row.items() if "seconds" not in k} for row in read_rows(out / "rows.jsonl")]
    return sorted(rows, key=lambda row: (row["image"], row["method"], row["target_bpp"]))


def _without_seconds(table: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in table]


def test_two_processes_make_the_same_rows_as_one(folder, tmp_path):
    (folder / "bad.png").write_bytes(b"not an image")
    one = _evaluate(folder, tmp_path / "one")
    shares, failures = [], []
    two = _evaluate(
        folder,
        tmp_path / "two",
        jobs=2,
        load=FakePipeline,
        progress=lambda share, text: shares.append(share),
        on_failure=lambda *failure: failures.append(failure),
    )
    assert _rows(tmp_path / "two") == _rows(tmp_path / "one")
    assert two.computed == one.computed == 18
    assert two.failed == one.failed
    assert failures == list(two.failed.items())
    assert _without_seconds(two.summary["means"]) == _without_seconds(one.summary["means"])
    assert two.summary["settings"]["runs"][0]["processes"] == 2
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert parallel.part_paths(tmp_path / "two") == []


def test_what_a_killed_run_left_in_parts_is_not_computed_again(folder, tmp_path):
    _evaluate(folder, tmp_path / "whole")
    rows = read_rows(tmp_path / "whole" / "rows.jsonl")
    out = tmp_path / "out"
    out.mkdir()
    append_rows(parallel.part_path(out, 0), rows[:5])
    append_rows(parallel.part_path(out, 1), rows[5:9])
    with parallel.part_path(out, 1).open("ab") as part:
        part.write(b'{"image": "2.p')  # the row in the making
    assert _evaluate(folder, out).computed == 18 - 9
    assert _rows(out) == _rows(tmp_path / "whole")
    assert parallel.part_paths(out) == []


def test_processes_end_when_the_one_that_started_them_is_killed(folder, tmp_path):
    for number in range(3, 40):
        make_photo(200, 150, number).save(folder / f"{number}.png")
    out = tmp_path / "out"
    run = subprocess.Popen([sys.executable, *_command(folder, out), "--jobs", "2"], cwd=ROOT)
    try:
        while len([part for part in parallel.part_paths(out) if part.stat().st_size]) < 2:
            assert run.poll() is None
            time.sleep(0.05)
        ours = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    finally:
        run.kill()
    run.wait()
    end = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in ours):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert sum(len(read_rows(part)) for part in parallel.part_paths(out)) < 40 * 4, "not to the last picture"


def _end_at_once() -> None:
    os._exit(7)


def test_a_process_that_dies_is_reported_and_the_rest_can_be_done_later(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "_POLL_SECONDS", 0.2)
    with pytest.raises(SPRDiffError, match=r"Process \d of 2 ended with code 7.*goes on from there"):
        _evaluate(folder, tmp_path / "out", jobs=2, load=_end_at_once)
    assert _evaluate(folder, tmp_path / "out").computed == 18


def _missing_model() -> FakePipeline:
    return FakePipeline.from_pretrained("missing")


def test_an_error_of_a_process_is_the_error_of_the_run(folder, tmp_path):
    with pytest.raises(SPRDiffError, match="There is no checkpoint at missing"):
        _evaluate(folder, tmp_path / "out", jobs=2, load=_missing_model)


def _command(folder: Path, out: Path) -> list[str]:
    options = ["--methods", ",".join(BASELINES), "--bpp", "1,2", "--metrics", "psnr-rgb", "--out", str(out)]
    return ["-m", "sprdiff", "evaluate", str(folder), *options]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_launched_processes_make_the_same_rows_as_one(folder, tmp_path):
    """On CPUs ``accelerate launch`` starts one process; RANK and WORLD_SIZE make two of them a group."""
    _evaluate(folder, tmp_path / "one", methods=BASELINES)
    out = tmp_path / "two"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--cpu", "--num_processes", "2"]
    launch += ["--main_process_port", str(_free_port()), *_command(folder, out)]
    processes = []
    for rank in ("0", "1"):
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        processes.append(
            subprocess.Popen(
                launch,
                env=os.environ | group,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert _rows(out) == _rows(tmp_path / "one")
    assert "jpeg" in outputs[0][0]  # the first process shows the result, the other nothing
    assert outputs[1][0] == ""
    assert parallel.part_paths(out) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_process_loses_no_finished_row_and_leaves_no_half_one(folder, tmp_path):
    for seed in range(3, 12):  # more than are measured until the kill arrives
        make_photo(64, 48, seed).save(folder / f"{seed}.png")
    _evaluate(folder, tmp_path / "whole", methods=BASELINES)
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, *_command(folder, out)], cwd=ROOT, stderr=subprocess.DEVNULL)
    rows_path, deadline = out / "rows.jsonl", time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if rows_path.exists() and rows_path.read_bytes().count(b"\n") >= 2:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it had ended before"
    finished = rows_path.read_bytes().count(b"\n")
    assert 2 <= finished < 48
    assert _evaluate(folder, out, methods=BASELINES).computed == 48 - finished
    assert _rows(out) == _rows(tmp_path / "whole")
