"""What is made of a folder of ``compare`` for others: a figure, an animation, one HTML page, one zip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sprdiff.comparison.figure import draw, write_figure
from sprdiff.comparison.flicker import write_flicker
from sprdiff.comparison.page import build_page
from sprdiff.comparison.record import Record, files_of
from sprdiff.files import write_file, write_zip


def write_exports(
    record: Record,
    folder: Path,
    *,
    figure: bool = False,
    slide: str = "16:9",
    metrics: Sequence[str] | None = None,
    flicker: str | None = None,
    baseline: str | None = None,
    crop: Sequence[float] | None = None,
    html: bool = False,
    as_zip: bool = False,
) -> list[Path]:
    """``figure.png`` and ``.pdf``, an animation, ``report.html``, ``comparison.zip`` in ``folder``, as asked.

    Args:
        record: what ``results.json`` in ``folder`` holds.
        slide, metrics: of the figure; see ``figure.draw``.
        flicker: name of the animation; see ``flicker.check_flicker``.
        baseline: the one in the animation; see ``flicker.write_flicker``.
        crop: what the figure magnifies and the animation shows.
        as_zip: the zip holds the pictures, the files, the record, and what else is made here.
    Raises:
        SettingsError: as ``figure.draw`` and ``flicker.write_flicker`` do.
    """
    made: list[Path] = []
    if figure:
        drawn = draw(record, folder, crop=crop, slide=slide, metrics=metrics)
        made += write_figure(drawn, folder / "figure")
    if flicker is not None:
        made.append(write_flicker(record, folder / flicker, crop=crop, baseline=baseline))
    if html:
        made.append(folder / "report.html")
        write_file(made[-1], build_page(record, folder))
    if as_zip:
        path = folder / "comparison.zip"
        write_zip(path, {file.name: file for file in (*files_of(record, folder), *made)})
        made.append(path)
    return made
