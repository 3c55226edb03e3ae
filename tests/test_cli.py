"""The command line on a stand-in for the model, and once as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import fails, files_in, run_json, save_photo
from fakes import FakePipeline
from PIL import Image

import sprdiff
from sprdiff.bitstream import read_header
from sprdiff.cli import main

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.usefixtures("fake_model")


@pytest.fixture
def photo(tmp_path) -> Path:
    return save_photo(tmp_path / "photo.png")


# compress


def test_compress_to_a_budget(photo, tmp_path, capsys):
    record = run_json(capsys, "compress", photo, tmp_path / "photo.spr", "--bpp", "1")
    data = (tmp_path / "photo.spr").read_bytes()
    assert record["num_bytes"] == len(data) <= record["max_bytes"] == 768
    assert record["bpp"] == 8 * len(data) / (96 * 64)
    assert record["over_budget"] is False
    assert read_header(data).quality == record["quality"]


def test_compress_to_a_quality(photo, tmp_path, capsys):
    record = run_json(capsys, "compress", photo, tmp_path / "photo.spr", "--quality", "9")
    assert record["quality"] == 9
    assert record["max_bytes"] is None


def test_text_output_is_one_line_a_file(photo, tmp_path, capsys):
    assert main(["compress", str(photo), str(tmp_path / "photo.spr"), "--bpp", "1"]) == 0
    output = capsys.readouterr()
    num_bytes = (tmp_path / "photo.spr").stat().st_size
    assert output.out.startswith(f"{tmp_path / 'photo.spr'}: {num_bytes} bytes, ")
    assert output.out.count("\n") == 1
    assert output.err == ""


def test_budget_out_of_reach_writes_the_smallest_and_warns_with_both_numbers(photo, tmp_path, capsys):
    assert main(["compress", str(photo), str(tmp_path / "a.spr"), "--bpp", "0.01", "--json"]) == 0
    output = capsys.readouterr()
    record = json.loads(output.out)
    assert record["over_budget"] is True
    assert record["num_bytes"] == (tmp_path / "a.spr").stat().st_size
    assert f"{record['num_bytes']} bytes" in output.err
    assert "7 bytes (0.01 bpp)" in output.err
    assert output.err.startswith("warning: ")


def test_several_images_go_to_a_folder_that_is_made(tmp_path, capsys):
    photos = [save_photo(tmp_path / name) for name in ("a.png", "b.jpg")]
    record = run_json(capsys, "compress", *photos, tmp_path / "new" / "folder", "--bpp", "1")
    assert files_in(tmp_path / "new" / "folder") == ["a.spr", "b.spr"]
    assert [Path(done["output"]).name for done in record["files"]] == ["a.spr", "b.spr"]


@pytest.mark.parametrize("trailing", ["/", ""])
def test_one_image_into_a_folder(photo, tmp_path, trailing):
    folder = tmp_path / "folder"
    if not trailing:
        folder.mkdir()
    assert main(["compress", str(photo), f"{folder}{trailing}", "--bpp", "1"]) == 0
    assert files_in(folder) == ["photo.spr"]


def test_a_bad_image_among_several_is_reported_and_the_others_are_done(photo, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    arguments = ["compress", str(bad), str(photo), str(tmp_path / "out"), "--bpp", "1", "--json"]
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"error: {bad}: ")
    assert output.err.count("\n") == 1
    assert "error" in json.loads(output.out)["files"][0]
    assert files_in(tmp_path / "out") == ["photo.spr"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "exactly one of --bpp, --max-bytes and --quality"),
        (["--bpp", "1", "--quality", "3"], "exactly one of --bpp, --max-bytes and --quality"),
        (["--bpp", "0"], "above 0 and at most 24, got 0"),
        (["--bpp", "nan"], "above 0 and at most 24, got nan"),
        (["--bpp", "25"], "above 0 and at most 24, got 25"),
        (["--bpp", "few"], "Invalid value for '--bpp'"),
        (["--quality", "256"], "Invalid value for '--quality'"),
        (["--quality", "-1"], "Invalid value for '--quality'"),
        (["--bpp", "1", "--model", "missing"], "There is no folder 'missing'"),
        (["--bpp", "1", "--fast"], "No such option: --fast"),
    ],
)
def test_bad_options_end_in_one_line_and_leave_nothing(photo, tmp_path, capsys, options, message):
    assert message in fails(capsys, "compress", photo, f"{tmp_path}/new/", *options)
    assert files_in(tmp_path) == ["photo.png"]


def test_bad_paths_end_in_one_line_and_leave_nothing(photo, tmp_path, capsys):
    other = save_photo(tmp_path / "other" / "photo.jpg")
    before = files_in(tmp_path)

    def message(*paths: str | Path) -> str:
        return fails(capsys, "compress", *paths, "--bpp", "1")

    assert "There is no file" in message(tmp_path / "none.png", tmp_path / "none.spr")
    (tmp_path / "empty").mkdir()
    assert "No file in the folder" in message(tmp_path / "empty", tmp_path / "none.spr")
    (tmp_path / "empty").rmdir()
    assert "must end in .spr" in message(photo, other)
    assert "is a folder; " in message(photo, other, photo)
    assert "the output is a folder, got" in message(photo, other, tmp_path / "out.spr")
    assert "would both become" in message(photo, other, tmp_path / "out")
    assert "is not a folder" in message(photo, photo / "photo.spr")
    assert "Name the output" in message(photo)
    assert files_in(tmp_path) == before


def test_an_input_is_never_overwritten(tmp_path, capsys):
    stream = save_photo(tmp_path / "photo.png").rename(tmp_path / "photo.spr")  # an image, whatever its name
    before = stream.read_bytes()
    assert "would overwrite an input" in fails(capsys, "compress", stream, stream, "--bpp", "1")
    assert "would overwrite an input" in fails(capsys, "compress", stream, tmp_path, "--bpp", "1")
    assert stream.read_bytes() == before


def test_the_output_appears_whole_or_not_at_all(photo, tmp_path, capsys, monkeypatch):
    def full_disk(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(os, "replace", full_disk)
    assert "No space left" in fails(capsys, "compress", photo, tmp_path / "photo.spr", "--bpp", "1")
    assert files_in(tmp_path) == ["photo.png"]


def test_errors_are_json_too(tmp_path, capsys):
    record = run_json(capsys, "compress", tmp_path / "none.png", tmp_path / "a.spr", "--bpp", "1", code=2)
    assert record == {"error": f"There is no file {tmp_path / 'none.png'}."}


# decompress and info


@pytest.fixture
def stream(photo, tmp_path, capsys) -> Path:
    path = tmp_path / "photo.spr"
    assert main(["compress", str(photo), str(path), "--bpp", "1"]) == 0
    capsys.readouterr()
    return path


def test_decompress_writes_what_the_pipeline_decodes(stream, tmp_path, capsys):
    out, coarse = tmp_path / "out.png", tmp_path / "coarse.png"
    record = run_json(capsys, "decompress", stream, out, "--coarse", coarse)
    decoded = FakePipeline().decompress(stream.read_bytes())
    assert Image.open(out).tobytes() == decoded.final.tobytes()
    assert Image.open(coarse).tobytes() == decoded.coarse.tobytes()
    assert record["picture"] == "final"
    assert (record["width"], record["height"]) == (96, 64)


def test_decompress_coarse_only(stream, tmp_path, capsys):
    record = run_json(capsys, "decompress", stream, tmp_path / "out.png", "--coarse-only")
    decoded = FakePipeline().decompress(stream.read_bytes(), coarse_only=True)
    assert Image.open(tmp_path / "out.png").tobytes() == decoded.coarse.tobytes()
    assert record["picture"] == "coarse"


def test_decompress_bad_input(stream, photo, tmp_path, capsys):
    cut = tmp_path / "cut.spr"
    cut.write_bytes(stream.read_bytes()[:-5])
    before = files_in(tmp_path)
    out = tmp_path / "out.png"
    assert "checksum" in fails(capsys, "decompress", cut, out)
    assert "not a .spr stream" in fails(capsys, "decompress", photo, out)
    assert "must end in .png or .jpg or" in fails(capsys, "decompress", stream, tmp_path / "out.gif")
    assert "contradicts" in fails(capsys, "decompress", stream, out, "--format", "webp")
    coarse = ("--coarse", tmp_path / "coarse.png")
    assert "--coarse-only" in fails(capsys, "decompress", stream, out, "--coarse-only", *coarse)
    assert "both become" in fails(capsys, "decompress", stream, out, "--coarse", out)
    assert "--steps" in fails(capsys, "decompress", stream, out, "--steps", "2")
    assert files_in(tmp_path) == before


def test_info(stream, capsys):
    record = run_json(capsys, "info", stream, "--symbols-hash")
    data = stream.read_bytes()
    assert record["num_bytes"] == len(data) == sum(record["rate"].values())
    assert record["symbols_hash"] == FakePipeline().symbols_hash(data)
    assert main(["info", str(stream)]) == 0
    text = capsys.readouterr().out
    assert f"num_bytes: {len(data)}\n" in text
    assert "header_bytes: " in text
    assert "symbols_hash" not in text


def test_info_without_the_right_model_shows_the_header_and_says_why(stream, capsys, monkeypatch):
    record = run_json(capsys, "info", stream, "--model", "missing")
    assert record["rate"] is None
    assert "There is no folder 'missing'" in record["rate_note"]
    monkeypatch.setattr(FakePipeline, "from_pretrained", lambda name: FakePipeline("ab" * 32))
    record = run_json(capsys, "info", stream)
    assert record["rate"] is None
    assert "the loaded one is abab" in record["rate_note"]
    assert "another checkpoint" in fails(capsys, "info", stream, "--symbols-hash")


def test_info_of_something_else(photo, tmp_path, capsys):
    assert "not a .spr stream" in fails(capsys, "info", photo)
    assert "There is no file" in fails(capsys, "info", tmp_path / "none.spr")


# the program


def test_interrupt_is_no_traceback(photo, tmp_path, capsys, monkeypatch):
    def interrupted(self, *arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(FakePipeline, "encode", interrupted)
    assert main(["compress", str(photo), str(tmp_path / "a.spr"), "--bpp", "1"]) == 130
    assert capsys.readouterr().err.strip() == "error: interrupted"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{sprdiff.__version__}\n"


def test_help_and_a_bad_argument_as_a_process_load_no_heavy_library():
    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-X", "importtime", "-m", "sprdiff", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    shown = run("--help")
    assert shown.returncode == 0
    for command in ("compress", "decompress", "info", "compare", "evaluate", "plot", "report"):
        assert command in shown.stdout
    refused = run("compress", "none.png", "none.spr", "--bpp", "0.03")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.splitlines()[-1] == "error: There is no file none.png."
    for process in (shown, refused):
        assert not any(line.endswith(("| torch", "| diffusers")) for line in process.stderr.splitlines())


def test_bad_arguments_of_every_command_are_found_before_torch_is_imported(photo, tmp_path):
    """One process for all of them: none may import it."""
    (tmp_path / "empty").mkdir()
    stream = tmp_path / "a.spr"
    stream.write_bytes(FakePipeline().encode(Image.open(photo), quality=9).data)
    out = ["-o", "out", "--bpp", "1"]
    commands = {
        "Unknown method 'bmp'": ["compare", "photo.png", *out, "--methods", "bmp"],
        "Unknown metric 'speed'": ["compare", "photo.png", *out, "--metrics", "speed"],
        "An animation ends in": ["compare", "photo.png", *out, "--flicker", "a.avi"],
        "There is no image in empty": ["evaluate", "empty", *out],
        "Unknown metric 'haste'": ["evaluate", ".", *out, "--metrics", "haste"],
        "Unknown method 'gif'": ["blind", ".", *out, "--methods", "gif"],
        "There is no none;": ["plot", "none"],
        "There is no empty/summary.json": ["report", "empty"],
        "There is no folder 'nope'": ["compress", "photo.png", "b.spr", "--bpp", "1", "--model", "nope"],
        "no folder 'never'": ["decompress", "a.spr", "b.png", "--model", "never"],
        "no folder 'nowhere'": ["serve", "--model", "nowhere"],
        "There is no file none.spr": ["info", "none.spr"],
    }
    program = (
        "import sys\nfrom sprdiff.cli import main\n"
        f"codes = [main(arguments) for arguments in {list(commands.values())!r}]\n"
        "print(codes, 'torch' in sys.modules, 'gradio' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == f"{[2] * len(commands)} False False\n", done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(commands)
    for line, message in zip(lines, commands, strict=True):
        assert line.startswith("error: ") and message in line
    assert files_in(tmp_path) == ["a.spr", "empty", "photo.png"]
