"""The Compare tab: a photograph and a target on the left, the viewer on the right."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from sprdiff.ui import handlers, parts, texts
from sprdiff.ui.desk import Desk, Picture

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
EXAMPLE_TITLES = {
    "coffee.png": "Coffee",
    "chelsea.png": "Chelsea the cat",
    "astronaut.png": "Eileen Collins",
    "rocket.jpg": "Lift-off",
}
FIRST_EXAMPLE = "coffee.png"
BASELINE_CHOICES = [("JPEG", "jpeg"), ("WebP", "webp"), ("JPEG 2000", "jpeg2000"), ("AVIF", "avif")]
PLUGIN_CHOICES = {"pillow_jxl": ("JPEG XL", "jpeg-xl"), "pillow_heif": ("HEIC", "heic")}
DEFAULT_BPP = 0.03


def build_compare_tab(desk: Desk) -> dict[str, Any]:
    """Lays out the tab and wires it; the components that the page's load event fills."""
    picture = gr.State(None)
    with gr.Row(elem_classes="desk"):
        with gr.Column(elem_classes="rail", scale=0, min_width=280):
            parts.heading(texts.PICTURE_LABEL, texts.PICTURE_NOTE)
            picker = parts.file_picker(
                "picture-picker",
                action=texts.PICTURE_ACTION,
                accept="image/*,.jp2,.avif,.heic,.heif,.jxl,.tif,.tiff",
                label=texts.PICTURE_LABEL,
                tab_id="compare",
            )
            examples = gr.HTML(
                examples_html(EXAMPLES),
                js_on_load=parts.static_text("examples.js"),
                apply_default_css=False,
                elem_id="examples",
            )
            parts.heading(texts.TARGET_LABEL, texts.TARGET_NOTE)
            target = target_control()
            parts.heading(texts.METHODS_LABEL, texts.METHODS_NOTE)
            methods = gr.CheckboxGroup(
                baseline_choices(),
                value=[method for _, method in BASELINE_CHOICES],
                label=texts.METHODS_LABEL,
                show_label=False,
                container=False,
                elem_id="methods",
            )
            with gr.Row(elem_classes="run-row"):
                run = gr.Button(texts.RUN, variant="primary", elem_id="run")
                stop = gr.Button(texts.STOP, variant="secondary", interactive=False, elem_id="stop")
            gr.HTML(
                f'<p class="note">{html.escape(texts.RUN_NOTE)}</p>', js_on_load=None, apply_default_css=False
            )
        with gr.Column(elem_classes="stage-column", scale=1):
            status = gr.HTML(
                handlers.status_html(None, ""), js_on_load=None, apply_default_css=False, elem_id="status"
            )
            viewer = parts.viewer("viewer", empty=texts.NO_PICTURE)
            with gr.Column(elem_classes="pair", elem_id="pair"):
                parts.heading(texts.SLIDER_TITLE, texts.SLIDER_NOTE)
                with gr.Row():
                    left = gr.Dropdown(
                        [], label=texts.SLIDER_LEFT, info=texts.SLIDER_LEFT_NOTE, elem_id="pair-left"
                    )
                    right = gr.Dropdown(
                        [], label=texts.SLIDER_RIGHT, info=texts.SLIDER_RIGHT_NOTE, elem_id="pair-right"
                    )
                pair = gr.ImageSlider(
                    type="filepath",
                    show_label=False,
                    container=False,
                    interactive=False,
                    max_height=900,
                    buttons=["fullscreen"],
                    elem_id="pair-slider",
                )

    def on_picked(event: gr.EventData, old: dict[str, Any], request: gr.Request) -> tuple:
        with handlers.clear_errors():
            path, name = handlers.uploaded_file(event._data)
            return shown_picture(path, name, old, request)

    def on_example(event: gr.EventData, old: dict[str, Any], request: gr.Request) -> tuple:
        with handlers.clear_errors():
            name = str((event._data or {}).get("name"))
            if name not in EXAMPLE_TITLES:
                raise gr.Error(texts.NO_UPLOAD, title=texts.PROBLEM, print_exception=False)
            return shown_picture(str(EXAMPLES / name), name, old, request)

    def shown_picture(path: str, name: str, old: dict[str, Any], request: gr.Request) -> tuple:
        session = desk.sessions.of(request.session_hash)
        chosen, value = handlers.show_picture(session, path, name)
        return chosen, value, {**(old or {}), "size": [chosen.width, chosen.height]}, *idle(session)

    def idle(session: Any) -> tuple:
        choices = handlers.panel_choices(session)
        ids = [panel_id for _, panel_id in choices]
        left_id = "original" if "original" in ids else None
        right_id = "sprdiff-final" if "sprdiff-final" in ids else (ids[-1] if len(ids) > 1 else None)
        return (
            gr.update(interactive=True),
            gr.update(interactive=False),
            gr.update(choices=choices, value=left_id),
            gr.update(choices=choices, value=right_id),
            handlers.slider_pair(session, left_id, right_id),
        )

    def on_run(
        chosen: Picture | None, wanted: dict[str, Any], against: list[str], request: gr.Request
    ) -> Iterator[tuple]:
        session = desk.sessions.of(request.session_hash)
        skip = gr.skip()
        busy = (gr.update(interactive=False), gr.update(interactive=True), skip, skip, skip)
        with handlers.clear_errors():
            for frame in handlers.run_comparison(desk, session, chosen, wanted, against):
                value = skip if frame.viewer is None else frame.viewer
                yield value, frame.status, *(busy if frame.running else idle(session))

    def on_failure(request: gr.Request) -> tuple:
        return handlers.status_html(None, ""), *idle(desk.sessions.of(request.session_hash))

    def on_stop(request: gr.Request) -> None:
        desk.sessions.of(request.session_hash).stop()

    def on_pair(first: str | None, second: str | None, request: gr.Request) -> tuple[str, str] | None:
        return handlers.slider_pair(desk.sessions.of(request.session_hash), first, second)

    quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    after = [run, stop, left, right, pair]
    picker.picked(on_picked, target, [picture, viewer, target, *after], **quiet)
    examples.pick(on_example, target, [picture, viewer, target, *after], **quiet)
    running = run.click(on_run, [picture, target, methods], [viewer, status, *after], **quiet)
    running.failure(on_failure, None, [status, *after], **quiet)
    stop.click(on_stop, None, None, queue=False, **quiet)
    gr.on([left.input, right.input], on_pair, [left, right], pair, **quiet)

    def on_load(old: dict[str, Any], request: gr.Request) -> tuple:
        with handlers.clear_errors():
            return shown_picture(str(EXAMPLES / FIRST_EXAMPLE), FIRST_EXAMPLE, old, request)

    return {
        "on_load": on_load,
        "inputs": target,
        "outputs": [picture, viewer, target, *after],
        "options": quiet,
    }


def baseline_choices() -> list[tuple[str, str]]:
    """Pillow's codecs, and those whose plugin is installed."""
    plugins = [choice for module, choice in PLUGIN_CHOICES.items() if importlib.util.find_spec(module)]
    return BASELINE_CHOICES + plugins


def target_control() -> gr.HTML:
    """The bitrate: a slider in log-like steps, presets and the byte budget; value ``{"bpp", "size"}``."""
    presets = "".join(
        f'<button type="button" class="preset" data-bpp="{bpp:g}">{bpp:g}</button>'
        for bpp in handlers.BPP_PRESETS
    )
    template = (
        parts.static_text("target.html")
        .replace("@presets", presets)
        .replace("@last", str(len(handlers.BPP_STEPS) - 1))
        .replace("@start", str(handlers.BPP_STEPS.index(DEFAULT_BPP)))
        .replace("@steps", ",".join(f"{bpp:g}" for bpp in handlers.BPP_STEPS))
    )
    return gr.HTML(
        {"bpp": DEFAULT_BPP, "size": None},
        html_template=template,
        js_on_load=parts.static_text("target.js"),
        apply_default_css=False,
        elem_id="target",
    )


def examples_html(folder: Path) -> str:
    """Thumbnails of the examples as buttons, the pictures inside the page."""
    buttons = []
    for name, title in EXAMPLE_TITLES.items():
        if not (folder / name).is_file():
            continue
        with Image.open(folder / name) as image:
            thumbnail = image.convert("RGB")
        side = min(thumbnail.size)
        left, top = (thumbnail.width - side) // 2, (thumbnail.height - side) // 2
        thumbnail = thumbnail.crop((left, top, left + side, top + side)).resize((128, 128), Image.LANCZOS)
        buffer = io.BytesIO()
        thumbnail.save(buffer, "JPEG", quality=85)
        source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        buttons.append(
            f'<button type="button" class="example" data-example="{name}" title="{html.escape(title)}">'
            f'<img src="{source}" alt="{html.escape(title)}" width="128" height="128"></button>'
        )
    if not buttons:
        return ""
    note = html.escape(texts.EXAMPLES_NOTE)
    group = f'<div class="examples" role="group" aria-label="{texts.EXAMPLES_LABEL}">{"".join(buttons)}</div>'
    return f'{group}<p class="note">{note}</p>'
