"""What a run has to do: which rows an image needs, which of the rows at hand still count, where files go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sprdiff.comparison.rows import Row
from sprdiff.evaluation.datasets import SourceImage
from sprdiff.methods import needs_pipeline
from sprdiff.types import EncodedImage

RowKey = tuple[str, str, str, float]
"""Image, SHA-256 of its file, method, budget: there is one row for each that counts."""


@dataclass(frozen=True)
class Plan:
    """What is to be computed for every image; it can be sent to another process.

    Attributes:
        method_ids, bpps, metric_ids: one row for each method and budget, with all these metrics.
        set_metric_ids: measured over all images of a method and budget, at the end.
        fingerprint: of the checkpoint that rows of SPRDiff must have been made with; None if there is none.
        out: folder of the results.
        keep: whether every compressed file stays in ``out``.
    """

    method_ids: tuple[str, ...]
    bpps: tuple[float, ...]
    metric_ids: tuple[str, ...]
    set_metric_ids: tuple[str, ...]
    fingerprint: str | None
    out: Path
    keep: bool

    @property
    def rows_per_image(self) -> int:
        """Rows that every image gets."""
        return len(self.method_ids) * len(self.bpps)

    def fingerprint_of(self, method: str) -> str | None:
        """What a row of this method states: baselines have nothing to do with the checkpoint."""
        return self.fingerprint if needs_pipeline([method]) else None

    def current(self, rows: Iterable[Row]) -> dict[RowKey, Row]:
        """The rows that were not made with another checkpoint, the last where there are several of one."""
        return {
            row_key(row): row
            for row in rows
            if row["fingerprint"] in (None, self.fingerprint_of(row["method"]))
        }

    def missing(self, rows: Mapping[RowKey, Row], image: SourceImage, target_bpp: float) -> list[str]:
        """The methods without a row for this image and budget, or without its file where that is kept."""

        def is_done(method: str) -> bool:
            row = rows.get((image.name, image.sha256, method, target_bpp))
            return row is not None and (not self.keep or self._has_file(row))

        return [method for method in self.method_ids if not is_done(method)]

    def file_name(self, image: str, encoded: EncodedImage, target_bpp: float) -> str:
        """Where a file is kept, relative to ``out``; both outputs of SPRDiff come from one file."""
        return f"files/{image}/{encoded.method}-{target_bpp:g}{encoded.extension}"

    def _has_file(self, row: Row) -> bool:
        path = self.out / (row["file"] or ".")
        return path.is_file() and path.stat().st_size == row["num_bytes"]


def row_key(row: Row) -> RowKey:
    """The row's identity; ``KeyError`` if it is not one of ours."""
    return row["image"], row["sha256"], row["method"], row["target_bpp"]
