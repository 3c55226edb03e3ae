"""The panels of one run while they fill up, and what can be taken away once it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprdiff.ui import texts
from sprdiff.ui.panels import (
    byte_strip,
    bytes_text,
    mark_best,
    method_panel,
    missing_panel,
    original_panel,
    viewer_value,
    without_waiting,
)
from sprdiff.ui.records import SPRDIFF_METHODS, Missing, Picture, StreamDetail
from sprdiff.ui.sessions import Finished, Session, file_stem, original_stem

if TYPE_CHECKING:
    from PIL import Image

    from sprdiff.comparison.compare import MethodResult


class Board:
    """What the viewer shows of one run.

    Args:
        method_ids: those that a panel is expected of.
        image: the original, RGB.
        model: name of the checkpoint, where there are several.
    Attributes:
        detail: of the SPRDiff stream, once it is known.
        pending: labels of the methods without a picture, by id.
    """

    def __init__(
        self,
        session: Session,
        picture: Picture,
        target_bpp: float,
        method_ids: Sequence[str],
        image: Image.Image,
        model: str = "",
    ) -> None:
        from sprdiff.methods import METHODS
        from sprdiff.metrics.rate import max_bytes

        self._session = session
        self._picture = picture
        self._target_bpp = target_bpp
        self._methods = list(method_ids)
        self._stem = f"{file_stem(Path(picture.name).stem)[:40]}-{target_bpp:.3g}bpp"
        budget = bytes_text(max_bytes(target_bpp, *image.size))
        self._settings = f"{target_bpp:.3g} bits per pixel, at most {budget}"
        if model:
            self._settings += f", SPRDiff by {model}"
        self._original = original_panel(session.save_picture(image, original_stem(picture.name)), *image.size)
        self._panels: dict[str, dict[str, Any]] = {}
        self._results: dict[str, MethodResult] = {}
        self._missing: dict[str, dict[str, Any]] = {}
        self._page: dict[str, Any] | None = None
        self._bundle: dict[str, Any] | None = None
        self._stream: bytes | None = None
        self.detail: StreamDetail | None = None
        self.pending = {method: METHODS.get(method, method) for method in method_ids}

    @property
    def done(self) -> bool:
        """Whether each method is measured or missing."""
        return len(self._results) + len(self._missing) == len(self._methods)

    def show(self, result: MethodResult) -> None:
        """A picture, and the numbers it has so far."""
        self._put(result, waiting=True)

    def add(self, result: MethodResult) -> None:
        """A picture with all of its numbers."""
        self._put(result, waiting=False)
        self._results[result.method] = result

    def _put(self, result: MethodResult, *, waiting: bool) -> None:
        panel = self._panels.get(result.method)
        if result.method in SPRDIFF_METHODS:
            self._stream = result.encoded.data
        if panel is None:
            stem = f"{self._stem}-{result.method}"
            file_name = self._stem if result.method in SPRDIFF_METHODS else stem
            picture = self._session.save_picture(result.image, stem)
            file = self._session.save_bytes(result.encoded.data, file_name, result.encoded.extension)
            self.pending.pop(result.method, None)
        else:
            picture, file = panel["picture"], panel["file"]
        self._panels[result.method] = method_panel(result, picture, file, waiting=waiting)
        mark_best(list(self._panels.values()))

    def miss(self, missing: Missing) -> None:
        """A method that cannot take part."""
        label = self.pending.pop(missing.method, missing.method)
        self._missing[missing.method] = missing_panel(missing.method, label, missing.reason)

    def give_up(self) -> None:
        """Nothing more comes: no panel is waited for, and no number."""
        self.pending.clear()
        for panel in self._panels.values():
            panel["cells"] = [without_waiting(cell) for cell in panel["cells"]]

    def finish(self, key: tuple, fingerprint: str) -> None:
        """Makes the page and the zip of a run in which nothing is pending, and keeps it under ``key``."""
        from sprdiff.comparison.page import build_page
        from sprdiff.comparison.rows import json_text

        record = self._record(fingerprint)
        page = build_page(record, self._session.run_folder)
        self._page = self._session.save_bytes(page.encode(), f"{self._stem}-report", ".html")
        shown = [self._original, *self._panels.values()]
        files = [file for panel in shown for file in (panel["picture"], panel["file"]) if file]
        texts_by_name = {"results.json": json_text(record)}
        self._bundle = self._session.save_zip([*files, self._page], texts_by_name, self._stem)
        self._session.finish(key, Finished(self._session.run_folder, self._stem, record, self.viewer()))

    def viewer(self) -> dict[str, Any]:
        """The value of the viewer as things stand."""
        panels = [self._original, *self._panels.values()]
        self._session.show(panels)
        stream = None if self._stream is None else byte_strip(self._stream, self.detail)
        return viewer_value(
            panels,
            size=(self._picture.width, self._picture.height),
            title=self._picture.name,
            settings=self._settings,
            pending=list(self.pending.values()),
            missing=list(self._missing.values()),
            bundle=self._bundle,
            page=self._page,
            stream=stream,
        )

    def _record(self, fingerprint: str) -> dict[str, Any]:
        """What ``results.json`` holds: what ``sprdiff.comparison.folder`` writes, and VGG-16's precision."""
        from sprdiff.comparison.environment import environment
        from sprdiff.comparison.rows import method_row
        from sprdiff.metrics.deep import reduced_dtype

        rows = []
        for method, result in self._results.items():
            panel = self._panels[method]
            names = {"file": panel["file"]["orig_name"], "picture": panel["picture"]["orig_name"]}
            row = method_row(result, target_bpp=self._target_bpp)
            rows.append(row | {"label": result.label} | names)
        return {
            "source": self._picture.name,
            "width": self._picture.width,
            "height": self._picture.height,
            "target_bpp": self._target_bpp,
            "fingerprint": fingerprint,
            "original": self._original["picture"]["orig_name"],
            "results": rows,
            "missing": {method: panel["reason"] for method, panel in self._missing.items()},
            "vgg_dtype": reduced_dtype(),
            **environment(),
        }


def missing_text(missing: Missing) -> str:
    """One sentence about a method that cannot take part."""
    from sprdiff.methods import METHODS

    return texts.MISSING.format(label=METHODS.get(missing.method, missing.method), reason=missing.reason)
