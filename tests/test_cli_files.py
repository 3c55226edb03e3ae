"""Files of the command line: pipes, folders, formats, what may be overwritten, what one bad file costs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import fails, run_json
from conftest import make_photo
from fakes import FakePipeline
from PIL import Image, ImageChops, ImageStat

from sprdiff import files
from sprdiff.cli import main
from sprdiff.images import load_image

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        make_photo(96, 64, i).save(folder / f"{i}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_stands_for_the_files_in_it(photos, tmp_path, capsys, fake_model):
    streams, pictures = tmp_path / "streams", tmp_path / "pictures"
    record = run_json(capsys, "compress", photos, "-o", streams, "--max-bytes", "700")
    assert sorted(path.name for path in streams.iterdir()) == ["0.spr", "1.spr", "2.spr"]
    assert all(done["num_bytes"] <= done["max_bytes"] == 700 for done in record["files"])
    shown = run_json(capsys, "info", *sorted(streams.iterdir()))
    assert [each["num_bytes"] for each in shown["files"]] == [done["num_bytes"] for done in record["files"]]
    run_json(capsys, "decompress", streams, pictures, "--format", "webp", "--coarse", tmp_path / "coarse")
    decoded = FakePipeline().decompress((streams / "1.spr").read_bytes())
    assert load_image(pictures / "1.webp").tobytes() == decoded.final.tobytes()
    assert load_image(tmp_path / "coarse" / "1.webp").tobytes() == decoded.coarse.tobytes()
    out = tmp_path / "comparisons"
    options = ("--bpp", "1", "--methods", "jpeg,webp", "--metrics", "psnr-rgb", "-o", out)
    record = run_json(capsys, "compare", photos / "0.png", photos / "2.png", *options)
    assert [each["source"] for each in record["files"]] == ["0.png", "2.png"]
    assert sorted(path.parent.name for path in out.glob("*/results.json")) == ["0", "2"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp"])
def test_a_picture_is_what_its_name_says(photos, tmp_path, suffix, fake_model):
    stream, out = tmp_path / "a.spr", tmp_path / f"a.{suffix}"
    assert main(["compress", str(photos / "0.png"), str(stream), "--bpp", "1"]) == 0
    assert main(["decompress", str(stream), str(out)]) == 0
    final = FakePipeline().decompress(stream.read_bytes()).final
    with Image.open(out) as image:
        assert image.format == {"png": "PNG", "webp": "WEBP"}.get(suffix, "JPEG") and image.size == final.size
        if suffix in ("png", "webp"):
            assert image.convert("RGB").tobytes() == final.tobytes()


def test_nothing_is_overwritten_unless_it_is_asked_for(photos, tmp_path, capsys, fake_model):
    photo, stream, picture = photos / "0.png", tmp_path / "a.spr", tmp_path / "a.png"
    compress, decompress = ("compress", photo, stream, "--bpp", "1"), ("decompress", stream, picture)
    for command, target in ((compress, stream), (decompress, picture)):
        run_json(capsys, *command)
        before = target.stat()
        assert f"{target} exists; --force overwrites" in fails(capsys, *command)
        assert target.stat().st_mtime_ns == before.st_mtime_ns
        run_json(capsys, *command, "--force")
        assert target.stat().st_ino != before.st_ino
    out = tmp_path / "out"
    compare = ("compare", photo, "--bpp", "1", "-o", out, "--methods", "jpeg", "--metrics", "psnr-rgb")
    run_json(capsys, *compare)
    assert "results.json exists" in fails(capsys, *compare)
    run_json(capsys, *compare, "-f")
    (tmp_path / "many").mkdir()
    for i in (1, 2):
        (tmp_path / "many" / f"{i}.spr").touch()
    message = fails(capsys, "compress", photos, "-o", tmp_path / "many", "--bpp", "1")
    assert "1.spr exists (and 1 more)" in message and not (tmp_path / "many" / "0.spr").exists()


def test_a_full_disk_ends_one_file_and_not_the_others(photos, tmp_path, capsys, monkeypatch, fake_model):
    replace = os.replace

    def full(source, target):
        if Path(target).name == "1.spr":
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    out = tmp_path / "out"
    assert main(["compress", str(photos), "-o", str(out), "--bpp", "1", "--json"]) == 2
    output = capsys.readouterr()
    assert f"{out / '1.spr'}: No space left on device\n" in output.err
    done = json.loads(output.out)["files"]
    assert ["error" in each for each in done] == [False, True, False]
    assert sorted(path.name for path in out.iterdir()) == ["0.spr", "2.spr"], "no half file"


def test_quiet_says_nothing_and_json_still_does(photos, tmp_path, capsys, fake_model):
    command = ["compress", str(photos), "-o", str(tmp_path / "out"), "--bpp", "0.001", "-q"]
    assert main(command) == 0, "over budget, of which others are warned"
    assert capsys.readouterr() == ("", "")
    assert len(run_json(capsys, *command, "--force")["files"]) == 3
    assert "error: There is no file" in fails(capsys, "info", tmp_path / "none.spr", "-q")


def test_a_device_that_is_not_there(photos, tmp_path, capsys, fake_model, monkeypatch):
    monkeypatch.setattr(FakePipeline, "from_pretrained", lambda *_: pytest.fail("the model was loaded"))
    command = ("compress", photos / "0.png", tmp_path / "a.spr", "--bpp", "1")
    message = fails(capsys, *command, "--device", "abacus")
    assert (
        "--device must be a device of this machine" in message and "got 'abacus': Expected one of" in message
    )


def test_standard_input_and_output_refuse_what_has_no_sense(photos, tmp_path, capsys, fake_model):
    assert "Standard output takes one file; there are 3" in fails(
        capsys, "compress", photos, "-o", "-", "--bpp", "1"
    )
    assert "has no name" in fails(capsys, "compress", "-", f"{tmp_path}/", "--bpp", "1")
    assert main(["compress", str(photos / "0.png"), "-", "--bpp", "1", "--json"]) == 2
    assert "cannot hold both" in json.loads(capsys.readouterr().out)["error"]


def test_through_pipes_as_processes(photo, tmp_path, pipeline):
    """Real processes with the embedded checkpoint: a picture in, a stream through, a picture out."""
    small = photo.resize((144, 112))
    file = io.BytesIO()
    small.save(file, "PNG")

    def run(*arguments: str, given: bytes) -> bytes:
        command = [sys.executable, "-m", "sprdiff", *arguments]
        done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, timeout=180)
        assert done.returncode == 0 and done.stderr == b"", done.stderr
        return done.stdout

    data = run("compress", "-", "-", "--quality", "60", given=file.getvalue())
    assert data == pipeline.compress(small, quality=60)
    made = run("decompress", "-", "-", "--coarse-only", "--format", "webp", "--threads", "1", given=data)
    with Image.open(io.BytesIO(made)) as image:
        assert image.format == "WEBP"
        # Symbols are the same with any number of threads; sums of pixels are not, to the last digit.
        expected = pipeline.decompress(data, coarse_only=True).coarse
        assert ImageStat.Stat(ImageChops.difference(image.convert("RGB"), expected)).extrema[0][1] <= 1


def test_ctrl_c_that_a_library_swallows_is_one_line(monkeypatch, capsys):
    def half_imported(arguments):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise AttributeError("module 'numpy' has no attribute 'iterable'")

    monkeypatch.setattr("sprdiff.cli.app.run", half_imported)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main([]) == 130 and capsys.readouterr().err == "error: interrupted\n"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.setattr("sprdiff.cli.app.run", lambda arguments: {}["no interrupt"])
    with pytest.raises(KeyError):
        main([])


def test_ctrl_c_while_libraries_are_imported_is_one_line(photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    # A terminal sends the signal to the whole group; background jobs of a shell have it ignored.
    process = subprocess.Popen(
        [sys.executable, "-m", "sprdiff", "compress", "photo.png", "a.spr", "--bpp", "0.1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    # Python ends by the signal itself where it came within exec(), as in dataclasses: 130 to a shell, too.
    assert process.returncode in (130, -signal.SIGINT)
    assert (out, err) == ("", "error: interrupted\n")
    assert not (tmp_path / "a.spr").exists()
