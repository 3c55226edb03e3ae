"""A folder of pictures as a blind test: every picture coded, one page for reviewers, one key."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from sprdiff.blind.study import StudyPicture, build_page, draw_rounds, study_data, study_id
from sprdiff.blind.trials import TRIALS, check_trials, questions
from sprdiff.comparison.compare import MethodResult, code
from sprdiff.comparison.environment import environment
from sprdiff.comparison.rows import json_text, method_row
from sprdiff.errors import SettingsError, SPRDiffError
from sprdiff.evaluation.datasets import find_images
from sprdiff.files import write_file
from sprdiff.images import load_image
from sprdiff.methods import METHODS
from sprdiff.metrics.rate import max_bytes

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline
    from sprdiff.types import Progress

PAGE, KEY = "blind.html", "key.json"
ROUNDS = 64
"""Draws in one page: reviewers seldom get the same."""

MAX_PAGE_BYTES = 250_000_000
"""Far more than phones open or mail servers accept."""


def write_study(
    folder: Path,
    out: Path,
    methods: Sequence[str],
    pipeline: SPRDiffPipeline | None,
    *,
    target_bpp: float,
    trials: int | None = None,
    seed: int = 0,
    progress: Progress,
) -> dict[str, Any]:
    """The content of ``key.json``, after it and ``blind.html`` have been written to ``out``.

    A method whose smallest file for a picture exceeds the budget is not shown of that picture. Nothing is
    written unless all goes well.

    Args:
        folder: of the pictures, searched with its folders.
        out: made if it is missing.
        methods: ids, at least two, as ``sprdiff.methods.check_methods`` returns them.
        pipeline: the model; None will do for baselines alone.
        target_bpp: the budget of every file in bits per pixel, above 0 and at most 24.
        trials: questions a reviewer answers; ten by default, or all where there are fewer.
        seed: decides what is drawn.
    Raises:
        SettingsError: fewer than two methods, no picture with two methods within the budget, too few
            different questions, or a page too large.
        SPRDiffError: a picture that cannot be read or coded; the message names it.
    """
    paths = find_images(folder, out)
    check_plan(paths, methods, trials)
    pictures: list[StudyPicture] = []
    records: list[dict[str, Any]] = []
    size = 0
    for place, path in enumerate(paths):
        name = path.relative_to(folder).as_posix()

        def report(share: float, text: str, name: str = name, place: int = place) -> None:
            progress((place + share) / len(paths), f"{name}: {text}")

        try:
            picture, record = _code(path, name, methods, pipeline, target_bpp, report)
        except SPRDiffError as error:
            raise type(error)(f"{name}: {error}") from error
        records.append(record)
        if len(picture.reconstructions) >= 2:
            pictures.append(picture)
            size += sum(len(image) for image in (picture.original, *picture.reconstructions.values()))
        if size > MAX_PAGE_BYTES:
            raise SettingsError(
                f"A page can have at most {MAX_PAGE_BYTES:,} bytes; after {place + 1} of {len(paths)} "
                f"pictures it has {size:,}. Use fewer or smaller pictures."
            )
    possible = len(questions({picture.name: list(picture.reconstructions) for picture in pictures}))
    if possible == 0:
        raise SettingsError(
            f"At {target_bpp:g} bits per pixel no picture has two methods whose files fit; use a larger "
            "budget or other methods."
        )
    trials = min(TRIALS, possible) if trials is None else trials
    study = study_id(target_bpp, seed, trials, records)
    rounds = draw_rounds(pictures, trials, ROUNDS, str(seed))
    lead = f"Every file was compressed to at most {target_bpp:.3g} bits per pixel of its original."
    page = build_page(study_data(study, pictures, rounds, METHODS), lead=lead)
    record = {
        "study": study,
        "target_bpp": target_bpp,
        "methods": {method: METHODS[method] for method in methods},
        "fingerprint": None if pipeline is None else pipeline.fingerprint,
        "seed": seed,
        "trials": trials,
        "page_bytes": len(page.encode()),
        "pictures": records,
        "rounds": [[[trial.picture, trial.left, trial.right] for trial in drawn] for drawn in rounds],
        **environment(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / PAGE, page)
    write_file(out / KEY, json_text(record))
    return record


def check_plan(paths: Sequence[Path], methods: Sequence[str], trials: int | None) -> None:
    """Passes if the pictures and methods can make as many different questions, before any work.

    Raises:
        SettingsError: fewer than two methods, or more trials than questions.
    """
    if len(methods) < 2:
        raise SettingsError(
            f"A blind test needs at least 2 methods, got {len(methods)}: {', '.join(methods)}."
        )
    check_trials(len(questions({str(path): methods for path in paths})), trials)


def data_url(image: Image.Image) -> str:
    """The picture as a data URL: PNG, without metadata and thus without a hint of how it came to be."""
    clean = image.convert("RGB")
    clean.info = {}
    file = io.BytesIO()
    clean.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _code(
    path: Path,
    name: str,
    methods: Sequence[str],
    pipeline: SPRDiffPipeline | None,
    target_bpp: float,
    progress: Progress,
) -> tuple[StudyPicture, dict[str, Any]]:
    """One picture with what each method made of it, and its part of the key."""
    image = load_image(path)
    results: list[MethodResult] = list(
        code(image, methods, pipeline, target_bpp=target_bpp, progress=progress)
    )
    fitting = {result.method: data_url(result.image) for result in results if not result.encoded.over_budget}
    rows = []
    for result in results:
        row = method_row(result, target_bpp=target_bpp)
        kept = (
            "method",
            "num_bytes",
            "bpp",
            "over_budget",
            "scale",
            "settings",
            "file_sha256",
            "picture_sha256",
        )
        rows.append({key: row[key] for key in kept})
    record = {
        "name": name,
        "width": image.width,
        "height": image.height,
        "max_bytes": max_bytes(target_bpp, *image.size),
        "picture_sha256": hashlib.sha256(image.tobytes()).hexdigest(),
        "results": rows,
    }
    return StudyPicture(name, data_url(image), fitting), record
