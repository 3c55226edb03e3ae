"""The share of a run that one process does: rows of its images, written one by one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sprdiff.comparison.compare import MethodResult, compare
from sprdiff.comparison.rows import Row, method_row
from sprdiff.errors import SPRDiffError, WeightsError
from sprdiff.evaluation.datasets import SourceImage, identify, read_bytes
from sprdiff.evaluation.plan import Plan, RowKey
from sprdiff.evaluation.results import append_row
from sprdiff.files import write_file
from sprdiff.images import load_image
from sprdiff.types import Progress

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline


@dataclass
class Share:
    """What one process has done.

    Attributes:
        rows: the new ones.
        images: name and SHA-256 of every image that could be read, measured now or before.
        failed: message by image, or by method where that cannot run at all.
    """

    rows: list[Row] = field(default_factory=list)
    images: set[tuple[str, str]] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


def measure_images(
    plan: Plan,
    paths: Sequence[Path],
    folder: Path,
    rows: Mapping[RowKey, Row],
    rows_path: Path,
    pipeline: SPRDiffPipeline | None,
    *,
    progress: Progress,
    on_failure: Callable[[str, str], None],
) -> Share:
    """Appends the rows that are missing to ``rows_path``; images that cannot be coded are reported.

    A method whose weights cannot be had is reported once and left out.

    Args:
        paths: the images of this process, in ``folder``.
        rows: those that count already.
        progress: called with the share of the rows that are there; first with those of earlier runs, so
            that an estimate of the time left can begin from there.
        on_failure: called at once with the image and what is wrong with it.
    """
    share = Share()

    def fail(name: str, reason: str) -> None:
        share.failed[name] = reason
        on_failure(name, reason)

    images: list[SourceImage] = []
    for path in paths:
        try:
            images.append(identify(path, folder))
        except SPRDiffError as error:
            fail(path.relative_to(folder).as_posix(), str(error))
    share.images = {(image.name, image.sha256) for image in images}

    unavailable: set[str] = set()

    def leave_out(method: str, error: Exception) -> None:
        if not isinstance(error, WeightsError):
            raise error
        unavailable.add(method)
        fail(method, str(error))

    expected = max(1, plan.rows_per_image * len(paths))
    left = {image: sum(len(plan.missing(rows, image, bpp)) for bpp in plan.bpps) for image in images}
    progress(1 - sum(left.values()) / expected, "")
    for image in images:
        if not left[image]:
            continue
        progress(1 - sum(left.values()) / expected, image.name)
        try:
            for row in _new_rows(plan, rows, image, pipeline, unavailable, leave_out):
                append_row(rows_path, row)
                share.rows.append(row)
                left[image] -= 1
                progress(1 - sum(left.values()) / expected, image.name)
        except SPRDiffError as error:
            fail(image.name, str(error))
        left[image] = 0
    return share


def _new_rows(
    plan: Plan,
    rows: Mapping[RowKey, Row],
    image: SourceImage,
    pipeline: SPRDiffPipeline | None,
    unavailable: Collection[str],
    leave_out: Callable[[str, Exception], None],
) -> Iterator[Row]:
    """The rows of one image that are not in ``rows``, each as soon as it is measured."""
    picture = None
    # From the largest budget down: if one is too small for the image, the others are done by then.
    for target_bpp in sorted(plan.bpps, reverse=True):
        missing = [m for m in plan.missing(rows, image, target_bpp) if m not in unavailable]
        if not missing:
            continue
        picture = picture or load_image(read_bytes(image.path))
        for result in compare(
            picture,
            missing,
            pipeline,
            target_bpp=target_bpp,
            metrics=plan.metric_ids,
            on_missing=leave_out,
        ):
            yield _row(plan, image, target_bpp, result)


def _row(plan: Plan, image: SourceImage, target_bpp: float, result: MethodResult) -> Row:
    file = None
    if plan.keep:
        file = plan.file_name(image.name, result.encoded, target_bpp)
        (plan.out / file).parent.mkdir(parents=True, exist_ok=True)
        write_file(plan.out / file, result.encoded.data)
    size = {"width": result.image.width, "height": result.image.height}
    identity = {"image": image.name, "sha256": image.sha256, **size}
    provenance = {"fingerprint": plan.fingerprint_of(result.method), "file": file}
    return identity | method_row(result, target_bpp=target_bpp) | provenance
