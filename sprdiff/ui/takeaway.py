"""What visitors take from a finished comparison besides its files: the figure for slides."""

from __future__ import annotations

from typing import Any

from sprdiff.errors import SettingsError
from sprdiff.ui import texts
from sprdiff.ui.sessions import Session, file_data


def make_figure(session: Session, crop: Any) -> dict[str, Any]:
    """The value of the viewer with links to the figure of the comparison on view.

    Args:
        crop: the part to magnify, as shares of the sides; None for the busiest one.
    Raises:
        SettingsError: no finished comparison is on view, the crop is none, or the page was closed.
    """
    from sprdiff.comparison.figure import draw, write_figure

    run = session.on_view
    if run is None:
        raise SettingsError(texts.NOTHING_TO_TAKE)
    if crop is not None and not isinstance(crop, list | tuple):
        raise SettingsError(texts.NOTHING_TO_TAKE)
    with session.writing():
        figure = draw(run.record, run.folder, crop=crop)
        paths = write_figure(figure, run.folder / f"{run.stem}-figure")
    return {**run.value, "figure": [file_data(path) for path in paths]}
