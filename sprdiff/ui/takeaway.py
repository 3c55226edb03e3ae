"""What visitors take from a finished comparison besides its files: a figure for slides, an animation."""

from __future__ import annotations

from typing import Any

from sprdiff.errors import SettingsError
from sprdiff.ui import texts
from sprdiff.ui.sessions import Finished, Session, file_data


def make_figure(session: Session, crop: Any) -> dict[str, Any]:
    """The value of the viewer with links to the figure of the comparison on view, PNG and PDF.

    Args:
        crop: the part to magnify, as shares of the sides; that in which methods differ most without it.
    Raises:
        SettingsError: no finished comparison is on view, the crop is none, or the page was closed.
    """
    from sprdiff.comparison.figure import draw, write_figure

    run = _on_view(session, crop)
    with session.writing():
        figure = draw(run.record, run.folder, crop=crop)
        paths = write_figure(figure, run.folder / f"{run.stem}-figure")
    run.value["figure"] = [file_data(path) for path in paths]
    return run.value


def make_flicker(session: Session, crop: Any) -> dict[str, Any]:
    """The same with links to animations: GIF, APNG, and MP4 where ffmpeg is installed.

    Args:
        crop: the part to show, as shares of the sides; the whole picture without it.
    Raises:
        SettingsError: as ``make_figure``.
    """
    from sprdiff.comparison.flicker import has_ffmpeg, write_flicker

    run = _on_view(session, crop)
    kinds = (".gif", ".apng", ".mp4") if has_ffmpeg() else (".gif", ".apng")
    with session.writing():
        paths = [
            write_flicker(run.record, run.folder / f"{run.stem}-flicker{kind}", crop=crop) for kind in kinds
        ]
    run.value["flicker"] = [file_data(path) for path in paths]
    return run.value


def _on_view(session: Session, crop: Any) -> Finished:
    run = session.on_view
    if run is None or (crop is not None and not isinstance(crop, list | tuple)):
        raise SettingsError(texts.NOTHING_TO_TAKE)
    return run
