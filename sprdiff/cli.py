"""The command line: ``python -m sprdiff`` and ``compress | decompress | info | compare``, what
``sprdiff.cli_evaluation`` and ``sprdiff.cli_blind`` add, ``serve``, and ``hub`` of ``sprdiff.cli_hub``.

Exit code 0: done. 1: ``evaluate`` had to skip images. 2: bad input, with one line on stderr. 130:
interrupted. Libraries that take seconds to import are imported within the commands, so that ``--help`` is
fast and bad arguments are found at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import sprdiff
from sprdiff import cli_texts as texts
from sprdiff import console
from sprdiff.bitstream import MAX_PIXELS, read_header
from sprdiff.budget import check_bpp
from sprdiff.cli_blind import blind, blind_results
from sprdiff.cli_evaluation import evaluate, plot, report
from sprdiff.cli_hub import hub
from sprdiff.cli_options import (
    METHODS,
    METRICS,
    Json,
    MaxPixels,
    Methods,
    Metrics,
    Model,
    load_pipeline,
    number,
    split,
)
from sprdiff.cli_serve import serve
from sprdiff.errors import SettingsError, SPRDiffError, WeightsError
from sprdiff.files import Job, check_folder, plan_jobs, write_file
from sprdiff.metrics import rate

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline
    from sprdiff.types import DecodedImage, EncodedImage

app = typer.Typer(
    name="sprdiff",
    help="Ultra-low-bitrate image compression with semantic and pixel representations (arXiv 2606.01608).",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code; errors of the user become one line, not a traceback.

    Args:
        arguments: without the name of the program; those of the process by default.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    console.quiet_libraries()
    try:
        code = app(arguments or ["--help"], prog_name="python -m sprdiff", standalone_mode=False) or 0
        if code == _INTERRUPTED:  # typer has turned Ctrl-C into this code and said nothing
            console.fail("interrupted")
        return code
    except typer.TyperException as error:
        message = error.format_message()
    except (SPRDiffError, OSError) as error:  # OSError: a full disk, a file without permission
        message = str(error)
    console.fail(message)
    if "--json" in arguments:
        console.show({"error": message}, message, as_json=True)
    return 2


@app.callback(invoke_without_command=True)
def _program(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        print(sprdiff.__version__)
        raise typer.Exit


@app.command()
def compress(
    inputs: Annotated[list[str], typer.Argument(metavar="IN", help="Images.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A .spr file, or a folder.")],
    bpp: Annotated[float | None, typer.Option(help="Budget in bits per pixel for the whole file.")] = None,
    quality: Annotated[int | None, typer.Option(min=0, max=255, help="0 (smallest) to 255 (best).")] = None,
    model: Model = None,
    as_json: Json = False,
) -> int:
    """Compress images to .spr files; OUT is a folder if there are several."""
    if (bpp is None) == (quality is None):
        raise SettingsError("Give exactly one of --bpp and --quality.")
    if bpp is not None:
        check_bpp(bpp)
    jobs = plan_jobs(inputs, out, ".spr")

    def encode(pipeline: SPRDiffPipeline, job: Job) -> dict[str, Any]:
        from sprdiff.images import load_image

        image = load_image(job.source)
        started = time.perf_counter()
        encoded = pipeline.encode(image, target_bpp=bpp, quality=quality)
        seconds = time.perf_counter() - started
        _write(job.target, encoded.data)
        record = _encoded_record(encoded, bpp) | {"encode_seconds": round(seconds, 3)}
        if encoded.over_budget:
            console.warn(
                f"{job.source}: the smallest stream has {len(encoded.data)} bytes ({record['bpp']:.4f} bpp), "
                f"over the budget of {encoded.max_bytes} bytes ({bpp:g} bpp)"
            )
        return record

    return _run_jobs(jobs, model, "compressing", encode, texts.encoded, as_json)


@app.command()
def decompress(
    inputs: Annotated[list[str], typer.Argument(metavar="IN", help="Streams.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A .png file, or a folder.")],
    coarse: Annotated[
        str | None, typer.Option(help="Also write the coarse reconstruction: a .png file, or a folder.")
    ] = None,
    coarse_only: Annotated[
        bool, typer.Option("--coarse-only", help="OUT is the coarse reconstruction; no diffusion.")
    ] = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    model: Model = None,
    as_json: Json = False,
) -> int:
    """Decompress .spr files to PNG; OUT is a folder if there are several."""
    if coarse_only and coarse is not None:
        raise SettingsError("--coarse-only makes no use of --coarse.")
    jobs = plan_jobs(inputs, out, ".png")
    coarse_jobs = [] if coarse is None else plan_jobs(inputs, coarse, ".png")
    coarse_targets = {job.source: job.target for job in coarse_jobs}
    finals = {job.target.resolve() for job in jobs}
    for target in coarse_targets.values():
        if target.resolve() in finals:
            raise SettingsError(f"The coarse and the final picture would both become {target}.")

    def decode(pipeline: SPRDiffPipeline, job: Job) -> dict[str, Any]:
        pipeline.max_pixels = max_pixels
        started = time.perf_counter()
        decoded = pipeline.decompress(job.source.read_bytes(), coarse_only=coarse_only)
        seconds = time.perf_counter() - started
        return _write_pictures(decoded, job, coarse_targets.get(job.source)) | {
            "decode_seconds": round(seconds, 3)
        }

    return _run_jobs(jobs, model, "decompressing", decode, texts.decoded, as_json)


@app.command()
def info(
    path: Annotated[Path, typer.Argument(metavar="IN.spr")],
    symbols_hash: Annotated[
        bool, typer.Option("--symbols-hash", help="Also the SHA-256 of the decoded integer symbols.")
    ] = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Show the header of a .spr file and where its bytes went."""
    if not path.is_file():
        raise SettingsError(f"There is no file {path}.")
    data = path.read_bytes()
    header = read_header(data)  # what is no stream at all is found before the model is loaded
    record: dict[str, Any] = {"input": str(path)} | asdict(header)
    with console.progress_bar() as progress:
        try:
            pipeline = load_pipeline(model, progress)
            pipeline.max_pixels = max_pixels
            if pipeline.fingerprint.startswith(header.fingerprint):
                record |= asdict(pipeline.inspect(data))
            else:
                record["rate_note"] = (
                    f"the byte split needs the checkpoint {header.fingerprint}, "
                    f"the loaded one is {pipeline.fingerprint[: len(header.fingerprint)]}"
                )
            if symbols_hash:
                record["symbols_hash"] = pipeline.symbols_hash(data)
        except WeightsError as error:
            if symbols_hash:
                raise
            record["rate_note"] = f"the byte split needs a model: {error}"
    text = "\n".join(f"{key}: {value}" for key, value in texts.flat(record).items())
    console.show(record, text, as_json=as_json)


@app.command()
def compare(
    path: Annotated[Path, typer.Argument(metavar="IN")],
    bpp: Annotated[float, typer.Option(help="Budget of every file in bits per pixel.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures, the files and results.json.")],
    methods: Methods = METHODS,
    metrics: Metrics = METRICS,
    figure: Annotated[
        bool, typer.Option("--figure", help="Also figure.png and figure.pdf for slides.")
    ] = False,
    crop: Annotated[
        str | None, typer.Option(help="Part the figure magnifies: left,top,right,bottom from 0 to 1.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Also report.html, one page with a slider.")] = False,
    as_zip: Annotated[bool, typer.Option("--zip", help="Also comparison.zip with all of it.")] = False,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Compare methods on one image at the same number of bytes."""
    check_bpp(bpp)
    part = None if crop is None else [number(value) for value in split(crop)]
    if part is not None and not figure:
        raise SettingsError("--crop is for --figure.")
    if not path.is_file():
        raise SettingsError(f"There is no file {path}.")
    check_folder(out)
    with console.progress_bar() as progress:
        progress(0.0, "Loading the libraries")
        from sprdiff.evaluation.comparison import check_metrics
        from sprdiff.evaluation.comparison_folder import write_comparison
        from sprdiff.evaluation.exports import check_crop, write_exports
        from sprdiff.images import load_image
        from sprdiff.methods import check_methods, needs_pipeline

        method_ids, metric_ids = check_methods(split(methods)), check_metrics(split(metrics))
        if path.resolve().parent == out.resolve() and path.stem in {"original", *method_ids}:
            raise SettingsError(f"A picture in {out} would overwrite the input {path.name}.")
        if part is not None:
            check_crop(part)
        image = load_image(path)
        record = write_comparison(
            image,
            out,
            method_ids,
            load_pipeline(model, progress) if needs_pipeline(method_ids) else None,
            target_bpp=bpp,
            metrics=metric_ids,
            source=path.name,
            progress=progress,
        )
        exports = write_exports(record, out, crop=part, figure=figure, html=html, as_zip=as_zip)
        record |= {"exports": [file.name for file in exports]} if exports else {}
    lines = [texts.result(row) for row in record["results"]]
    lines += texts.dashes(
        (metric, why) for row in record["results"] for metric, why in row["reasons"].items()
    )
    console.show(record, "\n".join([*lines, f"Written to {out}"]), as_json=as_json)


for _command in (evaluate, plot, report, blind, blind_results, serve):
    app.command()(_command)
app.add_typer(hub, name="hub")


def _run_jobs(
    jobs: Sequence[Job],
    model: str | None,
    doing: str,
    work: Callable[[SPRDiffPipeline, Job], dict[str, Any]],
    text: Callable[[dict[str, Any]], str],
    as_json: bool,
) -> int:
    """Does every job, reports those that fail, shows one record (of one job) or all; 2 if any failed."""
    records = []
    failed = False
    with console.progress_bar() as progress:
        pipeline = load_pipeline(model, progress)
        for index, job in enumerate(jobs):
            progress(index / len(jobs), f"{job.source.name}: {doing}")
            try:
                done = {"input": str(job.source), "output": str(job.target)} | work(pipeline, job)
            except SPRDiffError as error:
                if len(jobs) == 1:
                    raise type(error)(f"{job.source}: {error}") from error
                console.fail(f"{job.source}: {error}")
                done = {"input": str(job.source), "error": str(error)}
                failed = True
            records.append(done)
    shown = "\n".join(text(record) for record in records if "error" not in record)
    console.show(records[0] if len(jobs) == 1 else {"files": records}, shown, as_json=as_json)
    return 2 if failed else 0


def _write(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(target, data)


def _write_pictures(decoded: DecodedImage, job: Job, coarse_target: Path | None) -> dict[str, Any]:
    """Writes the picture that was asked for, and the coarse one to ``coarse_target`` if there is one."""
    from sprdiff.images import save_png

    if coarse_target is not None:
        coarse_target.parent.mkdir(parents=True, exist_ok=True)
        save_png(decoded.coarse, coarse_target)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    save_png(decoded.final or decoded.coarse, job.target)
    return {
        "picture": "final" if decoded.final else "coarse",
        "coarse": None if coarse_target is None else str(coarse_target),
    } | asdict(decoded.info)


def _encoded_record(encoded: EncodedImage, target_bpp: float | None) -> dict[str, Any]:
    return {
        "width": encoded.width,
        "height": encoded.height,
        "num_bytes": len(encoded.data),
        "bpp": rate.bpp(len(encoded.data), encoded.width, encoded.height),
        "target_bpp": target_bpp,
        "max_bytes": encoded.max_bytes,
        "over_budget": encoded.over_budget,
        **encoded.settings,
    }
