"""The endpoints for programs: /compress, /decompress and /compare, typed by hidden components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from sprdiff.errors import SettingsError
from sprdiff.files import write_file
from sprdiff.types import Progress
from sprdiff.ui import handlers, texts
from sprdiff.ui.compare_tab import DEFAULT_BPP, LEARNED_CHOICES, baseline_choices
from sprdiff.ui.desk import Desk
from sprdiff.ui.jobs import turn
from sprdiff.ui.records import METRIC_IDS, SPRDIFF_METHODS
from sprdiff.ui.sessions import file_stem

API_SESSION = "/api"
"""Ending of a program's session."""


def build_api(desk: Desk) -> None:
    """Registers the endpoints; nothing of it is seen on the page."""
    methods = [*SPRDIFF_METHODS, *(method for _, method in baseline_choices())]
    with gr.Column(visible=False):
        image = gr.File(label="Image")
        stream = gr.File(label="Stream (.spr)")
        target_bpp = gr.Number(DEFAULT_BPP, label="Target in bits per pixel", minimum=0, maximum=24)
        # Not the learned ones: they would make every call wait for their weights.
        learned = {method for _, method in LEARNED_CHOICES}
        ready = [method for method in methods if method not in learned]
        chosen = gr.CheckboxGroup(methods, value=ready, label="Methods")
        # Unknown names reach us, and are told which there are.
        model = gr.Dropdown(desk.models.names, label="Model", allow_custom_value=True)
        out_stream = gr.File(label="Stream (.spr)")
        out_coarse = gr.File(label="Coarse picture (PNG)")
        out_final = gr.File(label="Final picture (PNG)")
        out_files = gr.File(label="Files and pictures", file_count="multiple")
        facts = gr.JSON(label="Facts")
        endpoints = {name: gr.Button(name) for name in ("compress", "decompress", "compare")}

    def present(request: gr.Request) -> Progress:
        """A report that raises once the program has left, which is when its heartbeat ends."""
        key = f"{request.session_hash}{API_SESSION}"
        # Gradio drops the waiting calls of most programs that have left, not of all.
        if desk.sessions.has_left(key):
            raise SettingsError(texts.PAGE_CLOSED)
        stop = desk.sessions.of(key).new_run()

        def report(share: float, note: str) -> None:
            if stop.is_set():
                raise SettingsError(texts.PAGE_CLOSED)

        return report

    def compress(
        image: str, target_bpp: float, model: str, request: gr.Request
    ) -> tuple[str, dict[str, Any]]:
        with handlers.clear_errors():
            return compress_file(desk, image, target_bpp, model, present(request))

    def decompress(stream: str, model: str, request: gr.Request) -> tuple[str, str, dict[str, Any]]:
        with handlers.clear_errors():
            return decompress_file(desk, stream, model, present(request))

    def compare(
        image: str, target_bpp: float, methods: list[str], model: str, request: gr.Request
    ) -> tuple[dict[str, Any], list[str]]:
        with handlers.clear_errors():
            return compare_file(desk, image, target_bpp, methods, model, present(request))

    # One at a time: the others wait in gradio's queue, which is finite, takes up no thread, and drops those
    # whose clients have left.
    options = {"concurrency_limit": 1, "concurrency_id": "api", "show_progress": "hidden"}
    endpoints["compress"].click(
        compress,
        [image, target_bpp, model],
        [out_stream, facts],
        api_name="compress",
        api_description=texts.API_COMPRESS,
        **options,
    )
    endpoints["decompress"].click(
        decompress,
        [stream, model],
        [out_coarse, out_final, facts],
        api_name="decompress",
        api_description=texts.API_DECOMPRESS,
        **options,
    )
    endpoints["compare"].click(
        compare,
        [image, target_bpp, chosen, model],
        [facts, out_files],
        api_name="compare",
        api_description=texts.API_COMPARE,
        **options,
    )


def compress_file(
    desk: Desk, path: str | None, target_bpp: float, model: str | None, report: Progress
) -> tuple[str, dict[str, Any]]:
    """Path of the stream of the picture at ``path``, and its facts; ends with what ``report`` raises.

    Args:
        model: name of the model; None for the first of the page.
    Raises:
        SPRDiffError: not a picture, a target out of range, or no model of the page.
    """
    from sprdiff.metrics.rate import bpp

    path = _given(path)
    image = desk.read_picture(path)
    with desk.models[model].use(report) as pipeline:
        encoded = pipeline.encode(
            image, target_bpp=handlers.check_target(target_bpp), on_step=lambda share: report(share, "")
        )
    file = desk.scratch.answer_folder() / f"{file_stem(Path(path).stem)}.spr"
    write_file(file, encoded.data)
    return str(file), {
        "bytes": len(encoded.data),
        "max_bytes": encoded.max_bytes,
        "bpp": bpp(len(encoded.data), *image.size),
        "width": image.width,
        "height": image.height,
        "settings": dict(encoded.settings),
        "over_budget": encoded.over_budget,
    }


def decompress_file(
    desk: Desk, path: str | None, model: str | None, report: Progress
) -> tuple[str, str, dict[str, Any]]:
    """Paths of the coarse and the final picture of the stream at ``path``, and its header.

    Ends with what ``report`` raises.

    Args:
        model: name of the model, unless one that was used before is known to have made the stream; None for
            the first of the page.
    Raises:
        SettingsError: no model of the page.
        BitstreamError: a damaged or foreign file, or one of another model.
    """
    from dataclasses import asdict

    from sprdiff.images import save_png

    data = Path(_given(path)).read_bytes()
    named = desk.models[model]
    with (desk.models.maker(data) or named).use(report) as pipeline:
        decoded = pipeline.decode_coarse(data, on_step=lambda share: report(share, ""))
        final = pipeline.refine(decoded, on_step=lambda share: report(share, ""))
    folder = desk.scratch.answer_folder()
    save_png(decoded.image, folder / "coarse.png")
    save_png(final, folder / "final.png")
    return str(folder / "coarse.png"), str(folder / "final.png"), asdict(decoded.info)


def compare_file(
    desk: Desk,
    path: str | None,
    target_bpp: float,
    methods: list[str],
    model: str | None,
    report: Progress,
) -> tuple[dict[str, Any], list[str]]:
    """The record of ``write_comparison``, and the paths of every file, picture and ``results.json``.

    Ends with what ``report`` raises.

    Args:
        model: name of the model; None for the first of the page.
    Raises:
        SPRDiffError: not a picture, a target out of range, no known method, or no model of the page.
    """
    from sprdiff.comparison.folder import write_comparison

    path, chosen = _given(path), desk.models[model]
    image = desk.read_picture(path)
    pipeline = chosen.get(report)
    folder = desk.scratch.answer_folder()
    record = write_comparison(
        image,
        folder,
        methods,
        pipeline,
        target_bpp=handlers.check_target(target_bpp),
        metrics=METRIC_IDS,
        source=Path(path).name,
        progress=report,
        coding=turn(chosen.lock, report),
        measuring=turn(desk.measuring, report),
    )
    return record, [str(file) for file in sorted(folder.iterdir())]


def _given(path: str | None) -> str:
    if not path:
        raise SettingsError("No file was given.")
    return path
