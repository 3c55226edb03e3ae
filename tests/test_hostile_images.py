"""Every hostile image gives a picture or one sentence, in bounded time and memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_images import file_of, photo, tiled_tiff, write_folder
from PIL import Image

from sprdiff.errors import InputImageError
from sprdiff.images import jxl_size, load_image, register_plugins

REPOSITORY = Path(__file__).resolve().parent.parent
MAX_PIXELS = 16_000_000
"""The page's limit of pixels."""
MAX_SECONDS = 3.0
MAX_MEMORY_BYTES = 300_000_000
"""Above what the program takes before; four bytes a pixel, three times at once, are 192 MB."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    write_folder(folder)
    return folder


@pytest.fixture(scope="module")
def outcomes(folder) -> dict[str, dict]:
    """What became of each file, in a process that nothing else has used."""
    script = (
        "import sys; sys.path.insert(0, 'tests'); import test_hostile_images as t; "
        "t.print_outcomes(sys.argv[1])"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(folder)]
    child = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(child.stdout.splitlines()[-1])


def print_outcomes(folder: str) -> None:
    """One JSON object: by name the picture's size or the sentence, the seconds, and the memory it added."""
    import resource
    import time

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    load_image(photo())
    before, outcomes = peak(), {}
    for path in sorted(Path(folder).iterdir()):
        started = time.process_time()
        try:
            found: dict = {"size": load_image(path, max_pixels=MAX_PIXELS).size}
        except InputImageError as error:
            found = {"sentence": str(error)}
        outcomes[path.name] = found | {"seconds": time.process_time() - started, "memory": peak() - before}
    print(json.dumps(outcomes))


def test_every_file_gives_a_picture_or_a_sentence(folder, outcomes):
    assert len(outcomes) == len(list(folder.iterdir())) > 70
    for name, found in outcomes.items():
        if name.startswith("good"):
            assert "size" in found, (name, found)
        elif name.startswith("bad"):
            sentence = found["sentence"]
            assert sentence.strip() and "\n" not in sentence and "Traceback" not in sentence, (name, found)


def test_none_takes_long_or_much_memory(outcomes):
    for name, found in outcomes.items():
        assert found["seconds"] < MAX_SECONDS, name
        assert found["memory"] < MAX_MEMORY_BYTES, name


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif", "ppm", "tga", "qoi", "jxl"])
def test_a_size_above_the_limits_is_named_before_any_pixel_is_read(outcomes, kind):
    if kind == "jxl" and "jpeg-xl" not in register_plugins():
        pytest.skip("pillow-jxl-plugin is not installed")
    sentence = outcomes[f"bad-65535.{kind}"]["sentence"]
    assert re.search("65535 x 65535 .*16383|4,294,836,225 pixels; at most 16,000,000", sentence)


def test_a_smaller_limit_is_kept_and_named():
    assert load_image(photo(40, 30), max_pixels=1200).size == (40, 30)
    with pytest.raises(InputImageError, match="40 x 31 = 1,240 pixels; at most 1,200"):
        load_image(photo(40, 31), max_pixels=1200)


def test_a_large_tile_is_named():
    with pytest.raises(InputImageError, match="tiles of 8000 x 8000 pixels; at most 16,777,216"):
        load_image(tiled_tiff(64, 8000))
    assert load_image(tiled_tiff(64, 1024)).size == (64, 64)


@pytest.mark.parametrize("size", [(16, 16), (40, 24), (640, 480), (1920, 1080), (513, 514), (9000, 16)])
@pytest.mark.parametrize("boxed", [False, True])
def test_the_size_of_a_jpeg_xl_file_is_read_without_its_pixels(tmp_path, size, boxed):
    if "jpeg-xl" not in register_plugins():
        pytest.skip("pillow-jxl-plugin is not installed")
    # A comment of 9 kB puts the codestream far behind the start.
    exif = Image.Exif()
    exif[270] = "x" * 9000
    options = {"exif": exif.tobytes()} if boxed else {}
    path = tmp_path / "a.jxl"
    path.write_bytes(file_of(Image.new("RGB", size), "JXL", **options))
    with path.open("rb") as file:
        assert jxl_size(file) == size
