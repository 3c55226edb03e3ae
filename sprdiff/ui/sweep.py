"""The rate-distortion curve of one picture: every method at several budgets, point by point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprdiff.errors import SettingsError
from sprdiff.types import Progress
from sprdiff.ui import texts
from sprdiff.ui.board import missing_text
from sprdiff.ui.desk import Desk
from sprdiff.ui.handlers import Shown, status_html
from sprdiff.ui.jobs import Step, follow
from sprdiff.ui.panels import bpp_text, bytes_text, metric_cells, metric_columns, scale_text
from sprdiff.ui.records import PANEL_METRIC_IDS, SPRDIFF_METHODS, Measured, Missing, Picture
from sprdiff.ui.sessions import Session, file_stem, original_stem

if TYPE_CHECKING:
    from sprdiff.comparison.compare import MethodResult

SWEEP_BPPS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1)


def run_sweep(
    desk: Desk, session: Session, picture: Picture | None, methods: Sequence[str]
) -> Iterator[Shown]:
    """The frames of one sweep: the chart with every point so far, and where the work is.

    Raises:
        SPRDiffError: no picture, or what a codec says of it.
    """
    if picture is None:
        raise SettingsError(texts.NO_PICTURE)
    desk.line.check_room()
    method_ids = [*SPRDIFF_METHODS, *methods]
    model = desk.models[session.model]
    stop = session.new_run()
    yield Shown(None, status_html(0.0, texts.READING_PICTURE), True)
    image = desk.read_picture(picture.path)
    chart = _Chart(session, picture, session.save_picture(image, original_stem(picture.name)))
    yield Shown(chart.value(), status_html(0.0, texts.STARTING), True)

    missing: list[Missing] = []

    def work(report: Progress, emit: Callable[[Any], None]) -> None:
        for index, target_bpp in enumerate(SWEEP_BPPS):
            remembered = desk.remembered(model, image, method_ids, target_bpp, PANEL_METRIC_IDS)
            if remembered is not None:
                for result in remembered.results:
                    emit((target_bpp, result))
                continue

            def report_all(fraction: float, note: str, index: int = index, bpp: float = target_bpp) -> None:
                report((index + fraction) / len(SWEEP_BPPS), f"{bpp:g} bpp, {note}")

            def emit_result(value: Any, bpp: float = target_bpp) -> None:
                if isinstance(value, Missing):
                    missing.append(value)
                elif isinstance(value, Measured):
                    for result in value.results:
                        if len(result.metrics) == len(PANEL_METRIC_IDS):
                            emit((bpp, result))

            desk.compare(model, image, method_ids, target_bpp, report_all, emit_result, PANEL_METRIC_IDS)

    wanted = len(SWEEP_BPPS) * len(method_ids)
    fraction = 0.0
    for event in follow(work, stop):
        if isinstance(event, Step):
            fraction = event.fraction
            yield Shown(None, status_html(fraction, event.note), True)
        else:
            chart.add(*event.value)
            note = f"{len(chart.points)} of {wanted} points"
            yield Shown(chart.value(), status_html(fraction, note), True)
    if not session.is_current(stop):
        return
    done = len(chart.points) + len(missing) == wanted
    reasons = " ".join(dict.fromkeys(missing_text(item) for item in missing))
    yield Shown(chart.value(with_csv=True), status_html(None, reasons if done else texts.STOPPED), False)


class _Chart:
    """The points of one sweep while they come in."""

    def __init__(self, session: Session, picture: Picture, original: dict[str, Any]) -> None:
        self.points: list[dict[str, Any]] = []
        self._session = session
        self._picture = picture
        self._original = original
        self._rows: list[dict[str, Any]] = []

    def add(self, target_bpp: float, result: MethodResult) -> None:
        from sprdiff.comparison.rows import method_row

        stem = f"{file_stem(Path(self._picture.name).stem)[:40]}-{target_bpp:g}bpp-{result.method}"
        encoded = result.encoded
        facts = [bytes_text(result.num_bytes), f"{bpp_text(result.bpp)} bpp", scale_text(encoded.scale)]
        self.points.append(
            {
                "method": result.method,
                "label": result.label,
                "bpp": result.bpp,
                "target": f"{target_bpp:g}",
                "over_budget": encoded.over_budget,
                "facts": facts,
                "cells": metric_cells(result.metrics, ids=PANEL_METRIC_IDS),
                "picture": self._session.save_picture(result.image, stem),
                "file": self._session.save_bytes(encoded.data, stem, encoded.extension),
            }
        )
        self._rows.append({"image": self._picture.name} | method_row(result, target_bpp=target_bpp))

    def value(self, *, with_csv: bool = False) -> dict[str, Any]:
        from sprdiff.evaluation.results import csv_text

        table = None
        if with_csv and self._rows:
            stem = f"{file_stem(Path(self._picture.name).stem)[:40]}-sweep"
            table = self._session.save_bytes(csv_text(self._rows).encode(), stem, ".csv")
        return {
            "title": self._picture.name,
            "size": [self._picture.width, self._picture.height],
            "original": self._original,
            "columns": metric_columns(PANEL_METRIC_IDS),
            "points": list(self.points),
            "csv": table,
        }
