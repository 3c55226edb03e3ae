"""What is made of a folder of ``compare`` for others: a figure for slides, one HTML page, one zip."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from sprdiff.comparison.figure import check_crop, draw, write_figure
from sprdiff.comparison.page import build_page
from sprdiff.comparison.record import Record, files_of
from sprdiff.files import write_file

__all__ = ["check_crop", "write_exports", "write_zip"]


def write_exports(
    record: Record,
    folder: Path,
    *,
    crop: Sequence[float] | None = None,
    figure: bool = False,
    html: bool = False,
    as_zip: bool = False,
) -> list[Path]:
    """``figure.png``, ``figure.pdf``, ``report.html`` and ``comparison.zip`` in ``folder``, as asked for.

    Args:
        record: what ``results.json`` in ``folder`` holds.
        crop: see ``figure.draw``.
        as_zip: the zip holds the pictures, the files, the record, and what else is made here.
    Raises:
        SettingsError: the crop is none.
    """
    made: list[Path] = []
    if figure:
        made += write_figure(draw(record, folder, crop=crop), folder / "figure")
    if html:
        made.append(folder / "report.html")
        write_file(made[-1], build_page(record, folder))
    if as_zip:
        path = folder / "comparison.zip"
        write_zip(path, [*files_of(record, folder), *made])
        made.append(path)
    return made


def write_zip(path: Path, files: Iterable[Path]) -> None:
    """The files, each once, under their names; stored, since hardly anything of it can be made smaller."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for file in dict.fromkeys(files):
                archive.write(file, file.name)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
