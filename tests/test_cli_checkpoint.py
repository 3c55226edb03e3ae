"""The command line and the comparison with the embedded checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run_json
from PIL import Image

import sprdiff
from sprdiff.checkpoint.weights import embedded_checkpoint
from sprdiff.cli import main

pytestmark = pytest.mark.skipif(
    not (embedded_checkpoint() / "model_index.json").is_file(), reason="the embedded checkpoint is not here"
)

ROOT = Path(__file__).resolve().parent.parent
SIZE = (144, 112)


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch, pipeline):
    """Every command gets the pipeline of the whole test run: loading it takes longer than using it."""
    loaded = type("Loaded", (), {"from_pretrained": staticmethod(lambda model: pipeline)})
    monkeypatch.setitem(vars(sprdiff), "SPRDiffPipeline", loaded)


@pytest.fixture
def path(photo, tmp_path) -> Path:
    photo.resize(SIZE).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_compress_info_decompress(path, tmp_path, capsys):
    stream, final, coarse = (tmp_path / name for name in ("a.spr", "final.png", "coarse.png"))
    made = run_json(capsys, "compress", path, stream, "--bpp", "0.2")
    assert made["over_budget"] is False
    assert stream.stat().st_size == made["num_bytes"] <= made["max_bytes"]
    shown = run_json(capsys, "info", stream, "--symbols-hash")
    assert (shown["quality"], shown["width"], shown["height"]) == (made["quality"], *SIZE)
    assert sum(shown["rate"].values()) == made["num_bytes"]
    assert len(shown["symbols_hash"]) == 64
    run_json(capsys, "decompress", stream, final, "--coarse", coarse)
    run_json(capsys, "decompress", stream, tmp_path / "alone.png", "--coarse-only")
    assert Image.open(final).size == SIZE
    assert Image.open(coarse).tobytes() == Image.open(tmp_path / "alone.png").tobytes()
    assert Image.open(coarse).tobytes() != Image.open(final).tobytes()


def test_compare_shows_what_the_stream_decodes_to(path, tmp_path, capsys):
    out = tmp_path / "out"
    methods = "sprdiff-coarse,sprdiff-final,webp"
    options = ("--bpp", "0.2", "--out", out, "--methods", methods, "--metrics", "psnr-rgb")
    record = run_json(capsys, "compare", path, *options)
    run_json(capsys, "decompress", out / "sprdiff.spr", tmp_path / "f.png", "--coarse", tmp_path / "c.png")
    assert Image.open(out / "sprdiff-final.png").tobytes() == Image.open(tmp_path / "f.png").tobytes()
    assert Image.open(out / "sprdiff-coarse.png").tobytes() == Image.open(tmp_path / "c.png").tobytes()
    coarse, final, _ = record["results"]
    assert coarse["num_bytes"] == final["num_bytes"] == (out / "sprdiff.spr").stat().st_size
    assert coarse["encode_seconds"] == final["encode_seconds"]
    assert coarse["decode_seconds"] < final["decode_seconds"]


def test_a_process_of_its_own_loads_the_checkpoint(path, tmp_path, pipeline):
    stream = tmp_path / "a.spr"
    command = [
        sys.executable,
        "-m",
        "sprdiff",
        "compress",
        str(path),
        str(stream),
        "--quality",
        "40",
        "--json",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "nobody looks at a bar in a pipe"
    assert json.loads(done.stdout)["num_bytes"] == stream.stat().st_size
    assert stream.read_bytes() == pipeline.compress(Image.open(path), quality=40)


def test_a_stream_of_another_checkpoint_is_refused_in_one_line(path, tmp_path, capsys):
    stream = tmp_path / "a.spr"
    run_json(capsys, "compress", path, stream, "--quality", "0")
    data = bytearray(stream.read_bytes())
    data[2] ^= 1
    stream.write_bytes(data)
    assert main(["decompress", str(stream), str(tmp_path / "out.png")]) == 2
    assert "another checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_a_command_in_a_pipe_says_nothing_but_its_result(path, tmp_path):
    """In processes of their own, with all that the libraries have to say when they load the checkpoint."""
    stream = tmp_path / "a.spr"
    for arguments in (
        ["compress", path, stream, "--bpp", "0.2"],
        ["decompress", stream, tmp_path / "final.png"],
        ["info", stream, "--symbols-hash"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "sprdiff", *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0 and done.stderr == "" and done.stdout.strip()
