"""The command that compares methods: ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sprdiff.budget import check_bpp
from sprdiff.cli import console, texts
from sprdiff.cli.jobs import check_new
from sprdiff.cli.options import (
    METHODS,
    METRICS,
    Force,
    Json,
    Methods,
    Metrics,
    Model,
    load_pipeline,
    number,
    split,
)
from sprdiff.errors import SettingsError
from sprdiff.files import check_folder


def compare(
    paths: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Images, or folders of them.")],
    bpp: Annotated[float, typer.Option(help="Budget of every file in bits per pixel.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the pictures, the files and results.json; with several images, for theirs.",
        ),
    ],
    methods: Methods = METHODS,
    metrics: Metrics = METRICS,
    figure: Annotated[
        bool, typer.Option("--figure", help="Also figure.png and figure.pdf for slides.")
    ] = False,
    slide: Annotated[Literal["16:9", "4:3"], typer.Option(help="Shape of the figure.")] = "16:9",
    figure_metrics: Annotated[
        str | None, typer.Option(help="Metrics in the figure, of those measured; at most four by default.")
    ] = None,
    flicker: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Also an animation of original, coarse, final and a baseline: a name that ends in .apng, "
            ".gif or .mp4 (by ffmpeg).",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="The baseline in the animation; the best one by default."),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="Part in pixels that the figure magnifies and the animation shows; by default the figure "
            "magnifies where methods differ most, and the animation shows all.",
        ),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Also report.html, one page with a slider.")] = False,
    as_zip: Annotated[bool, typer.Option("--zip", help="Also comparison.zip with all of it.")] = False,
    force: Force = False,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Compare methods on images at the same number of bytes.

    sprdiff compare photo.png --bpp 0.03 -o comparison --figure --html --flicker flicker.gif
    """
    check_bpp(bpp)
    part = None if crop is None else [number(value) for value in split(crop)]
    _check_use("--crop", part, "--figure and --flicker", figure or flicker is not None)
    _check_use("--figure-metrics", figure_metrics, "--figure", figure)
    _check_use("--against", against, "--flicker", flicker is not None)
    folders = _folders(paths, out)
    check_folder(out)
    check_new([folder / "results.json" for folder in folders.values()], force)
    from sprdiff.comparison.compare import check_metrics
    from sprdiff.methods import check_methods, needs_pipeline

    method_ids, metric_ids = check_methods(split(methods)), check_metrics(split(metrics))
    for path, folder in folders.items():
        if path.resolve().parent == folder.resolve() and path.stem in {"original", *method_ids}:
            raise SettingsError(f"A picture in {folder} would overwrite the input {path.name}.")
    chosen = None if figure_metrics is None else _subset(split(figure_metrics), metric_ids, "--metrics")
    if against is not None:
        _subset([against], method_ids, "--methods")
    if flicker is not None:
        from sprdiff.comparison.flicker import check_flicker

        check_flicker(flicker)
    records: list[dict[str, Any]] = []
    with console.progress_bar() as progress:
        progress(0.0, "Loading the libraries")
        from sprdiff.comparison.crops import crop_of_pixels
        from sprdiff.comparison.exports import write_exports
        from sprdiff.comparison.folder import write_comparison
        from sprdiff.images import load_image

        # Before the first picture is coded: a crop that does not lie in the last one is found now.
        crops = {
            path: None if part is None else crop_of_pixels(part, load_image(path).size) for path in folders
        }
        pipeline = load_pipeline(model, progress) if needs_pipeline(method_ids) else None
        for index, (path, folder) in enumerate(folders.items()):

            def report(share: float, text: str, index: int = index, name: str = path.name) -> None:
                progress((index + share) / len(folders), text if len(folders) == 1 else f"{name}: {text}")

            record = write_comparison(
                load_image(path),
                folder,
                method_ids,
                pipeline,
                target_bpp=bpp,
                metrics=metric_ids,
                source=path.name,
                progress=report,
            )
            exports = write_exports(
                record,
                folder,
                figure=figure,
                slide=slide,
                metrics=chosen,
                flicker=flicker,
                baseline=against,
                crop=crops[path],
                html=html,
                as_zip=as_zip,
            )
            records.append(record | ({"exports": [file.name for file in exports]} if exports else {}))
    lines = []
    for record, folder in zip(records, folders.values(), strict=True):
        lines += texts.results(record["results"])
        lines += texts.dashes(
            (metric, why) for row in record["results"] for metric, why in row["reasons"].items()
        )
        lines.append(f"Written to {folder}")
    shown = records[0] if len(records) == 1 else {"files": records}
    console.show(shown, "\n".join(lines), as_json=as_json)


def _check_use(option: str, value: object, others: str, used: bool) -> None:
    """Passes if the option is not given, or what it is for is."""
    if value is not None and not used:
        raise SettingsError(f"{option} is for {others}.")


def _subset(ids: list[str], known: list[str], option: str) -> list[str]:
    """The ids, all of them among those of another option."""
    for each in ids:
        if each not in known:
            raise SettingsError(f"{each!r} is not among those of {option}: {', '.join(known)}.")
    return ids


def _folders(paths: list[Path], out: Path) -> dict[Path, Path]:
    """Where each image's comparison goes: ``out``, or, of several, a folder of the image's name in it.

    Raises:
        SettingsError: there is no such file or no image in a folder, or two images have one name.
    """
    from sprdiff.evaluation.datasets import find_images

    images: list[Path] = []
    for path in paths:
        if path.is_dir():
            images += find_images(path, out)
        elif path.is_file():
            images.append(path)
        else:
            raise SettingsError(f"There is no file {path}.")
    if len(images) == 1 and not paths[0].is_dir():
        return {images[0]: out}
    folders: dict[Path, Path] = {}
    for image in images:
        folder = out / image.stem
        if folder in folders.values():
            other = next(path for path, taken in folders.items() if taken == folder)
            raise SettingsError(f"{other} and {image} would both go to {folder}.")
        folders[image] = folder
    return folders
