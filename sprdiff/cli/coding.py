"""The commands that code: ``compress``, ``decompress`` and ``info``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sprdiff.bitstream import MAX_PIXELS, read_header
from sprdiff.budget import check_bpp
from sprdiff.cli import console, texts
from sprdiff.cli.jobs import PIPE, Job, inputs_and_output, plan_jobs, write_output
from sprdiff.cli.options import Force, Json, MaxPixels, Model, load_pipeline
from sprdiff.errors import SettingsError, SPRDiffError, WeightsError
from sprdiff.evaluation.datasets import IMAGE_SUFFIXES
from sprdiff.types import OnStep

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline
    from sprdiff.types import DecodedImage, EncodedImage, StreamInfo

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
Work = Callable[["SPRDiffPipeline", Job, OnStep], dict[str, Any]]
Out = Annotated[
    str | None, typer.Option("--out", "-o", help="A file or a folder, instead of the last argument.")
]


class PictureFormat(StrEnum):
    """Of decoded pictures whose name does not say it."""

    png = "png"
    jpg = "jpg"
    webp = "webp"


def compress(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Images, folders of them, or - for standard input; without --out the last one is the "
            "output: a .spr file, a folder, or - for standard output.",
        ),
    ],
    out: Out = None,
    bpp: Annotated[float | None, typer.Option(help="Budget in bits per pixel for the whole file.")] = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, help="Budget in bytes for each file.")] = None,
    quality: Annotated[int | None, typer.Option(min=0, max=255, help="0 (smallest) to 255 (best).")] = None,
    force: Force = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    model: Model = None,
    as_json: Json = False,
) -> int:
    """Compress images to .spr files.

    sprdiff compress photo.png photo.spr --bpp 0.03

    sprdiff compress photos/ -o streams --max-bytes 1000
    """
    if sum(value is not None for value in (bpp, max_bytes, quality)) != 1:
        raise SettingsError("Give exactly one of --bpp, --max-bytes and --quality.")
    if bpp is not None:
        check_bpp(bpp)
    inputs, output = inputs_and_output(paths, out)
    jobs = plan_jobs(inputs, output, suffixes=[".spr"], read=IMAGE_SUFFIXES, force=force)

    def encode(pipeline: SPRDiffPipeline, job: Job, on_step: OnStep) -> dict[str, Any]:
        from sprdiff.images import load_image

        image = load_image(job.read())
        started = time.perf_counter()
        encoded = pipeline.encode(
            image, target_bpp=bpp, quality=quality, max_bytes=max_bytes, on_step=on_step
        )
        seconds = time.perf_counter() - started
        write_output(job.target, encoded.data)
        record = _encoded_record(encoded, bpp) | {"encode_seconds": round(seconds, 3)}
        if encoded.over_budget:
            asked = "" if bpp is None else f" ({bpp:g} bpp)"
            console.warn(
                f"{job.name}: the smallest stream has {len(encoded.data)} bytes ({record['bpp']:.4f} bpp), "
                f"over the budget of {encoded.max_bytes} bytes{asked}"
            )
        return record

    return _run_jobs(jobs, model, max_pixels, "compressing", encode, texts.encoded, as_json)


def decompress(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Streams, folders of them, or - for standard input; without --out the last one is the "
            "output: a .png, .jpg or .webp file, a folder, or - for standard output.",
        ),
    ],
    out: Out = None,
    coarse: Annotated[
        str | None, typer.Option(help="Also write the coarse reconstruction: a file, or a folder.")
    ] = None,
    coarse_only: Annotated[
        bool, typer.Option("--coarse-only", help="OUT is the coarse reconstruction; no diffusion.")
    ] = False,
    picture_format: Annotated[
        PictureFormat | None,
        typer.Option(
            "--format",
            help="Of pictures in a folder, and on standard output; png by default. PNG and WebP lose "
            "nothing, JPEG has quality 95.",
        ),
    ] = None,
    force: Force = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    model: Model = None,
    as_json: Json = False,
) -> int:
    """Decompress .spr files to pictures.

    sprdiff decompress photo.spr photo.png --coarse coarse.png

    sprdiff decompress streams/ -o pictures --format webp
    """
    if coarse_only and coarse is not None:
        raise SettingsError("--coarse-only makes no use of --coarse.")
    inputs, output = inputs_and_output(paths, out)
    suffix = f".{picture_format or PictureFormat.png}"
    plan = partial(plan_jobs, inputs, suffixes=PICTURES, read={".spr"}, suffix=suffix, force=force)
    jobs = plan(output)
    if picture_format is not None and any(job.target.suffix not in ("", suffix) for job in jobs):
        raise SettingsError(f"--format {picture_format} contradicts the name of {jobs[0].target}.")
    coarse_jobs = [] if coarse is None else plan(coarse)
    coarse_targets = {job.source: job.target for job in coarse_jobs}
    finals = {job.target.resolve() for job in jobs}
    for target in coarse_targets.values():
        if target.resolve() in finals:
            raise SettingsError(f"The coarse and the final picture would both become {target}.")

    def write(decoded: DecodedImage, job: Job) -> dict[str, Any]:
        from sprdiff.images import picture_bytes

        target = coarse_targets.get(job.source)
        for image, where in ((decoded.coarse, target), (decoded.final or decoded.coarse, job.target)):
            if where is not None:
                write_output(where, picture_bytes(image, where.suffix.lower() or suffix))
        return {
            "picture": "final" if decoded.final else "coarse",
            "coarse": None if target is None else str(target),
        } | asdict(decoded.info)

    def decode(pipeline: SPRDiffPipeline, job: Job, on_step: OnStep) -> dict[str, Any]:
        started = time.perf_counter()
        decoded = pipeline.decompress(job.read(), coarse_only=coarse_only, on_step=on_step)
        seconds = time.perf_counter() - started
        return write(decoded, job) | {"decode_seconds": round(seconds, 3)}

    return _run_jobs(jobs, model, max_pixels, "decompressing", decode, texts.decoded, as_json)


def info(
    paths: Annotated[list[Path], typer.Argument(metavar="STREAM")],
    symbols_hash: Annotated[
        bool, typer.Option("--symbols-hash", help="Also the SHA-256 of the decoded integer symbols.")
    ] = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Show the header of .spr files and where their bytes went."""
    streams = {path: Job(path, PIPE).read() for path in _existing(paths)}
    # What is no stream at all is found before the model is loaded.
    headers = {path: read_header(data) for path, data in streams.items()}
    records = []
    with console.progress_bar() as progress:
        pipeline: SPRDiffPipeline | None = None
        try:
            pipeline = load_pipeline(model, progress)
            pipeline.max_pixels = max_pixels
        except WeightsError as error:
            if symbols_hash:
                raise
            reason = f"the byte split needs a model: {error}"
        for path, header in headers.items():
            record: dict[str, Any] = {"input": str(path)} | asdict(header)
            if pipeline is None:
                record["rate_note"] = reason
            else:
                record |= _byte_split(pipeline, header, streams[path])
                if symbols_hash:
                    record["symbols_hash"] = pipeline.symbols_hash(streams[path])
            records.append(record)
    text = "\n\n".join(
        "\n".join(f"{key}: {value}" for key, value in texts.flat(record).items()) for record in records
    )
    console.show(records[0] if len(records) == 1 else {"files": records}, text, as_json=as_json)


def _byte_split(pipeline: SPRDiffPipeline, header: StreamInfo, data: bytes) -> dict[str, Any]:
    """Where the bytes of a stream went, or why that cannot be told."""
    if any(each.startswith(header.fingerprint) for each in pipeline.readable_fingerprints):
        return asdict(pipeline.inspect(data))
    return {
        "rate_note": f"the byte split needs the checkpoint {header.fingerprint}, "
        f"the loaded one is {pipeline.fingerprint[: len(header.fingerprint)]}"
    }


def _existing(paths: Sequence[Path]) -> Sequence[Path]:
    for path in paths:
        if path != PIPE and not path.is_file():
            raise SettingsError(f"There is no file {path}.")
    return paths


def _run_jobs(
    jobs: Sequence[Job],
    model: str | None,
    max_pixels: int,
    doing: str,
    work: Work,
    text: Callable[[dict[str, Any]], str],
    as_json: bool,
) -> int:
    """Does every job, reports those that fail, shows one record (of one job) or all; 2 if any failed."""
    if as_json and any(job.target == PIPE for job in jobs):
        raise SettingsError("Standard output cannot hold both the file and --json.")
    records = []
    failed = False
    with console.progress_bar() as progress:
        pipeline = load_pipeline(model, progress)
        pipeline.max_pixels = max_pixels
        for index, job in enumerate(jobs):

            def on_step(share: float, index: int = index, job: Job = job) -> None:
                progress((index + share) / len(jobs), f"{job.name}: {doing}")

            on_step(0.0)
            try:
                done = {"input": job.name, "output": str(job.target)} | work(pipeline, job, on_step)
            except (SPRDiffError, OSError) as error:  # OSError: a full disk, a folder that went
                if len(jobs) == 1:
                    if isinstance(error, OSError):
                        raise
                    raise type(error)(f"{job.name}: {error}") from error
                message = texts.failure(error)
                console.fail(f"{job.name}: {message}")
                done = {"input": job.name, "output": str(job.target), "error": message}
                failed = True
            records.append(done)
    shown = [record for record in records if "error" not in record and record["output"] != str(PIPE)]
    console.show(
        records[0] if len(jobs) == 1 else {"files": records},
        "\n".join(text(record) for record in shown),
        as_json=as_json,
    )
    return 2 if failed else 0


def _encoded_record(encoded: EncodedImage, target_bpp: float | None) -> dict[str, Any]:
    from sprdiff.metrics import rate

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
