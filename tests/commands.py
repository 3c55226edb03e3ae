"""Commands of ``python -m sprdiff`` in this process: what they read, and what they must leave behind."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from pytest import CaptureFixture

from sprdiff.cli import main


def run_json(capsys: CaptureFixture[str], *arguments: str | Path, code: int = 0) -> dict:
    """The one JSON object that the command leaves on stdout."""
    assert main([*map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def fails(capsys: CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line on stderr with which the command ends."""
    assert main([*map(str, arguments)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1, output.err
    return output.err


def save_photo(path: Path, size: tuple[int, int] = (96, 64)) -> Path:
    """A file with a picture of that size, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    gradient = Image.radial_gradient("L").resize(size)
    Image.merge("RGB", (gradient, gradient.transpose(Image.Transpose.ROTATE_180), gradient)).save(path)
    return path


def files_in(folder: Path) -> list[str]:
    """Relative paths of all that is in it, folders too, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
