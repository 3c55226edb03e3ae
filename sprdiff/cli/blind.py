"""The commands of blind tests: ``blind`` makes one, ``blind-results`` joins what reviewers answered."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sprdiff.budget import check_bpp
from sprdiff.cli import console
from sprdiff.cli.jobs import check_new
from sprdiff.cli.options import Force, Json, Methods, Model, load_pipeline, split
from sprdiff.errors import SettingsError
from sprdiff.files import check_folder, write_file

LARGE_PAGE = 20_000_000
"""Bytes; mail servers often refuse more."""


def blind(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for blind.html and key.json.")],
    bpp: Annotated[float, typer.Option(help="Budget of every file in bits per pixel.")] = 0.03,
    methods: Methods = "sprdiff-final,avif,webp",
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Questions for each reviewer; 10, or all there are, by default."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which questions are drawn.")] = 0,
    force: Force = False,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Make a blind test of a folder: one HTML page to mail to reviewers, and the key to it.

    The page asks which of two unlabelled reconstructions is nearer to the original, keeps the answers in the
    browser, and gives them as a CSV file for blind-results.
    """
    check_bpp(bpp)
    if not folder.is_dir():
        raise SettingsError(f"There is no folder {folder}.")
    check_folder(out)
    from sprdiff.blind.folder import KEY, PAGE, check_plan, write_study
    from sprdiff.evaluation.datasets import find_images
    from sprdiff.methods import check_methods, needs_pipeline

    method_ids = check_methods(split(methods))
    check_plan(find_images(folder, out), method_ids, trials)
    check_new([out / PAGE, out / KEY], force)
    with console.progress_bar(lines_when_piped=True) as progress:
        record = write_study(
            folder,
            out,
            method_ids,
            load_pipeline(model, progress) if needs_pipeline(method_ids) else None,
            target_bpp=bpp,
            trials=trials,
            seed=seed,
            progress=progress,
        )
    for method in method_ids:
        over = [
            picture["name"]
            for picture in record["pictures"]
            for row in picture["results"]
            if row["method"] == method and row["over_budget"]
        ]
        if over:
            console.warn(f"{method} is not shown of {', '.join(over)}: its smallest file is over the budget")
    if record["page_bytes"] > LARGE_PAGE:
        console.warn(
            f"{PAGE} has {record['page_bytes'] / 1e6:.0f} MB; many mail servers refuse more than 20 MB"
        )
    shown = {"page": str(out / PAGE), "key": str(out / KEY), **record}
    lines = [
        f"Study {record['study']}: {record['trials']} questions for each reviewer, "
        f"{len(record['pictures'])} pictures, {len(method_ids)} methods",
        f"{out / PAGE} ({record['page_bytes'] / 1e6:.1f} MB) is for reviewers, {out / KEY} for you",
    ]
    console.show(shown, "\n".join(lines), as_json=as_json)


def blind_results(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILES", help="CSV files of reviewers, or .jsonl of serve --votes."),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also the table as a .csv file.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Join the answers of a blind test: wins of each method and pair, with 95 % intervals."""
    from sprdiff.blind import results
    from sprdiff.blind.votes import read_votes, without_repetitions

    if out is not None:
        if out.suffix.lower() != ".csv":
            raise SettingsError(f"The table must end in .csv, got {out}.")
        if any(path.resolve() == out.resolve() for path in files):
            raise SettingsError(f"The table {out} would overwrite an input.")
        check_folder(out.parent)
        check_new([out], force)
    read = [vote for path in files for vote in read_votes(path)]
    if not read:
        raise SettingsError(f"There is no vote in {', '.join(map(str, files))}.")
    votes, repeated = without_repetitions(read)
    if repeated:
        console.warn(f"{repeated} votes are there more than once; each counts once")
    found = results.outcomes(votes)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_file(out, results.csv_text(found))
    lines = [line for outcome in found for line in ("", *results.table(outcome))][1:]
    lines += [f"Written to {out}"] if out is not None else []
    record = {"repeated": repeated, "studies": [asdict(outcome) for outcome in found]}
    console.show(record, "\n".join(lines), as_json=as_json)
