"""Read-only and full places, of caches, outputs and temporary files: one sentence that names the place.

Each in a process of its own: see ``read_only``. What is not to be written is not needed either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import make_photo
from hub import REPO_ID, HubServer
from slow_server import SlowServer
from test_weights import write_checkpoint

TESTS = Path(__file__).resolve().parent
DEAD_ENDPOINT = "http://127.0.0.1:9"  # the discard port: nothing listens there
RESOLVE = """
import sys, read_only
from sprdiff.checkpoint.weights import resolve
from sprdiff.errors import WeightsError
wanted, *protected = sys.argv[1:]
for folder in protected:
    read_only.protect(folder)
try:
    print(resolve(wanted))
except WeightsError as error:
    print("error:", error)
"""
METRIC = """
import sys, read_only
from PIL import Image
from sprdiff import metrics
read_only.protect(sys.argv[1])
picture = Image.new("RGB", (64, 64))
print(metrics.measure(picture, picture, ["psnr-rgb", "lpips-alex"]))
"""
DOWNLOAD = """
import resource, sys
from sprdiff.errors import WeightsError
from sprdiff.metrics.download import cached_weights
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for _ in range(2):
    try:
        cached_weights(sys.argv[1], "checkpoints")
    except WeightsError as error:
        print(error)
"""
PAGE_FILES = """
import resource, sys
from pathlib import Path
from sprdiff.ui.sessions import Session, file_data
folder = Path(sys.argv[1])
whole = folder / "whole.png"
whole.write_bytes(bytes(8192))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
session = Session(folder)
for write in (
    lambda: session.save_bytes(bytes(8192), "photo", ".spr"),
    lambda: session.save_zip([file_data(whole)], {}, "photo"),
):
    try:
        write()
    except OSError as error:
        print(Path(error.filename).name, error.strerror)
print(*sorted(path.name for path in folder.iterdir()))
"""
COMMAND = """
import sys, read_only, sprdiff
from fakes import FakePipeline
from sprdiff.cli import main
vars(sprdiff)["SPRDiffPipeline"] = FakePipeline
read_only.protect(sys.argv[1])
sys.exit(main(sys.argv[2:]))
"""


def run(code: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
    paths = {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent)))}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, env=clean | settings | paths | environment, capture_output=True, text=True, timeout=120
    )


def test_a_cache_of_the_hub_that_cannot_be_written_is_named(tmp_path):
    checkpoint, home = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "home"
    with HubServer({"main": checkpoint}) as hub:
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home)}
        answer = run(RESOLVE, REPO_ID, home, **environment).stdout
        assert answer.startswith("error:") and answer.count("\n") == 1
        assert f"stored in the cache {home / 'hub'}: " in answer and "Read-only file system" in answer
        assert "HF_HOME names another place" in answer
        assert not home.exists()
        elsewhere = run(RESOLVE, REPO_ID, home, **environment | {"HF_HOME": str(tmp_path / "other")})
        assert elsewhere.stdout.startswith(str(tmp_path / "other"))


def test_a_whole_cache_of_the_hub_need_not_be_writable(tmp_path):
    checkpoint, home = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "home"
    with HubServer({"main": checkpoint}) as hub:
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home)}
        found = run(RESOLVE, REPO_ID, **environment).stdout
        assert found.startswith(str(home))
        for wanted in (REPO_ID, f"{REPO_ID}@{hub.commits['main']}"):
            assert run(RESOLVE, wanted, home, **environment).stdout == found
    assert run(RESOLVE, REPO_ID, home, **environment | {"HF_ENDPOINT": DEAD_ENDPOINT}).stdout == found


def test_a_metric_whose_weights_cannot_be_stored_says_why_and_the_others_go_on(tmp_path):
    cache = tmp_path / "torch"
    done = run(METRIC, cache, TORCH_HOME=str(cache))
    assert done.returncode == 0, done.stderr
    assert f"its weights cannot be stored in {cache / 'hub'}" in done.stdout
    assert "(Read-only file system)" in done.stdout and "psnr-rgb" in done.stdout
    assert not cache.exists()


def test_a_disk_that_fills_during_a_download_is_named_and_not_tried_again(tmp_path):
    """By the largest size of a file, which the system holds root to as well."""
    with SlowServer({"net.pth": bytes(10_000)}) as server:
        done = run(DOWNLOAD, f"{server.url}/net.pth", TORCH_HOME=str(tmp_path))
        assert len(server.requests) == 1
    folder = tmp_path / "hub" / "checkpoints"
    assert done.stdout == f"its weights cannot be stored in {folder} (File too large)\n" * 2
    assert not (folder / "net.pth").exists()


def test_a_read_only_output_ends_each_file_with_its_name_and_not_the_batch(tmp_path):
    """The permission to write is there, as far as the system says, so that it is found out at the end."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    out.mkdir()
    for name in ("a", "b"):
        make_photo(64, 64).save(photos / f"{name}.png")
    done = run(COMMAND, out, "compress", photos, "-o", out, "--quality", "20", "--json")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    for name, line in zip("ab", lines, strict=True):
        assert line == f"error: {photos / name}.png: {out / name}.spr: Read-only file system"
    assert ["error" in each for each in json.loads(done.stdout)["files"]] == [True, True]
    assert list(out.iterdir()) == []


def test_a_disk_that_fills_under_the_page_names_the_file_and_leaves_no_half(tmp_path):
    done = run(PAGE_FILES, tmp_path)
    assert done.stdout.splitlines() == ["photo.spr File too large", "photo.zip File too large", "whole.png"]


def test_the_page_without_any_temporary_folder_ends_with_one_line():
    done = run(COMMAND, "/", "serve", "--port", "0")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: No usable temporary directory found in [")
    assert done.stderr.count("\n") == 1
