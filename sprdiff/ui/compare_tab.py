"""The Compare tab: a photograph and a target on the left, the viewer on the right."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from sprdiff.checkpoint.bundled import bundled
from sprdiff.errors import SettingsError
from sprdiff.ui import handlers, parts, texts
from sprdiff.ui.desk import Desk
from sprdiff.ui.records import Picture
from sprdiff.ui.sessions import Session
from sprdiff.ui.takeaway import make_figure, make_flicker

EXAMPLES = bundled("assets/examples")
EXAMPLE_TITLES = {
    "coffee.png": "Coffee",
    "chelsea.png": "Chelsea the cat",
    "astronaut.png": "Eileen Collins",
    "rocket.jpg": "Lift-off",
}
FIRST_EXAMPLE = "coffee.png"
BASELINE_CHOICES = [("JPEG", "jpeg"), ("WebP", "webp"), ("JPEG 2000", "jpeg2000"), ("AVIF", "avif")]
PLUGIN_CHOICES = {"pillow_jxl": ("JPEG XL", "jpeg-xl"), "pillow_heif": ("HEIC", "heic")}
LEARNED_CHOICES = [
    ("Ballé 2018", "bmshj2018-hyperprior"),
    ("Minnen 2018", "mbt2018-mean"),
    ("Cheng 2020", "cheng2020-anchor"),
]
DEFAULT_BPP = 0.03


@dataclass(frozen=True)
class CompareTab:
    """The components of the tab that events read or write; ``picture`` holds the chosen photograph."""

    picture: gr.State
    picker: gr.HTML
    examples: gr.HTML
    target: gr.HTML
    methods: gr.CheckboxGroup
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    viewer: gr.HTML
    awaited: gr.HTML
    left: gr.Dropdown
    right: gr.Dropdown
    pair: gr.ImageSlider

    @property
    def rest(self) -> list[Any]:
        """What ``_at_rest`` fills."""
        return [self.run, self.stop, self.left, self.right, self.pair]

    @property
    def picture_outputs(self) -> list[Any]:
        """What ``_shown_picture`` fills."""
        return [self.picture, self.viewer, self.target, *self.rest]


def build_compare_tab(desk: Desk, app: gr.Blocks) -> CompareTab:
    """Lays out the tab and wires it; the first example is chosen when the page loads."""
    with gr.Row(elem_classes="desk"):
        with gr.Column(elem_classes="rail", scale=0, min_width=280):
            controls = _build_rail()
        with gr.Column(elem_classes="stage-column", scale=1):
            controls |= _build_stage()
    tab = CompareTab(picture=gr.State(None), **controls)
    _wire_picture(desk, tab, app)
    _wire_run(desk, tab)
    return tab


def _build_rail() -> dict[str, Any]:
    parts.heading(texts.PICTURE_LABEL, texts.PICTURE_NOTE)
    picker = parts.file_picker(
        "picture-picker",
        action=texts.PICTURE_ACTION,
        accept="image/*,.jp2,.avif,.heic,.heif,.jxl,.tif,.tiff",
        label=texts.PICTURE_LABEL,
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
    methods = methods_control()
    with gr.Row(elem_classes="run-row"):
        run = gr.Button(texts.RUN, variant="primary", elem_id="run", elem_classes="run")
        stop = gr.Button(texts.STOP, interactive=False, elem_id="stop", elem_classes="stop")
    parts.note(texts.RUN_NOTE)
    return {
        "picker": picker,
        "examples": examples,
        "target": target,
        "methods": methods,
        "run": run,
        "stop": stop,
    }


def _build_stage() -> dict[str, Any]:
    status = parts.status("status")
    viewer = parts.viewer("viewer", empty=texts.NO_PICTURE)
    awaited = parts.awaited("awaited")
    with gr.Column(elem_classes="pair"):
        parts.heading(texts.SLIDER_TITLE, texts.SLIDER_NOTE)
        with gr.Row():
            left = gr.Dropdown([], label=texts.SLIDER_LEFT, info=texts.SLIDER_LEFT_NOTE, elem_id="pair-left")
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
    return {
        "status": status,
        "viewer": viewer,
        "awaited": awaited,
        "left": left,
        "right": right,
        "pair": pair,
    }


def _wire_picture(desk: Desk, tab: CompareTab, app: gr.Blocks) -> None:
    def on_picked(event: gr.EventData, old: dict[str, Any], request: gr.Request) -> tuple:
        with handlers.clear_errors():
            path, name = handlers.uploaded_file(event._data)
            return _shown_picture(desk, desk.sessions.of(request.session_hash), path, name, old)

    def on_example(event: gr.EventData, old: dict[str, Any], request: gr.Request) -> tuple:
        with handlers.clear_errors():
            name = str((event._data or {}).get("name"))
            if name not in EXAMPLE_TITLES:
                raise SettingsError(texts.NO_UPLOAD)
            session = desk.sessions.of(request.session_hash)
            return _shown_picture(desk, session, str(EXAMPLES / name), name, old)

    def on_load(old: dict[str, Any], request: gr.Request) -> tuple:
        with handlers.clear_errors():
            session = desk.sessions.of(request.session_hash)
            return _shown_picture(desk, session, str(EXAMPLES / FIRST_EXAMPLE), FIRST_EXAMPLE, old)

    tab.picker.picked(on_picked, tab.target, tab.picture_outputs, **parts.QUIET)
    tab.examples.pick(on_example, tab.target, tab.picture_outputs, **parts.QUIET)
    app.load(on_load, tab.target, tab.picture_outputs, **parts.QUIET)


def _wire_run(desk: Desk, tab: CompareTab) -> None:
    def on_run(
        chosen: Picture | None, wanted: dict[str, Any], against: list[str], request: gr.Request
    ) -> Iterator[tuple]:
        session = desk.sessions.of(request.session_hash)
        skip = gr.skip()
        busy = (gr.update(interactive=False), gr.update(interactive=True), skip, skip, skip)
        with handlers.clear_errors():
            for frame in handlers.run_comparison(desk, session, chosen, wanted, against):
                value = skip if frame.viewer is None else frame.viewer
                rest = busy if frame.running else _at_rest(session)
                yield value, frame.status, dict(frame.awaited), *rest

    def on_failure(request: gr.Request) -> tuple:
        return handlers.status_html(None, ""), {}, *_at_rest(desk.sessions.of(request.session_hash))

    def on_stop(request: gr.Request) -> None:
        desk.sessions.of(request.session_hash).stop()

    def on_figure(event: gr.EventData, request: gr.Request) -> Iterator[tuple]:
        yield gr.skip(), handlers.status_html(0.5, texts.DRAWING)
        with handlers.clear_errors():
            session = desk.sessions.of(request.session_hash)
            value = make_figure(session, (event._data or {}).get("crop"))
        yield value, handlers.status_html(None, texts.FIGURE_READY)

    def on_flicker(event: gr.EventData, request: gr.Request) -> Iterator[tuple]:
        yield gr.skip(), handlers.status_html(0.5, texts.ANIMATING)
        with handlers.clear_errors():
            session = desk.sessions.of(request.session_hash)
            value = make_flicker(session, (event._data or {}).get("crop"))
        yield value, handlers.status_html(None, texts.FLICKER_READY)

    def on_pair(first: str | None, second: str | None, request: gr.Request) -> tuple[str, str] | None:
        return handlers.slider_pair(desk.sessions.of(request.session_hash), first, second)

    inputs = [tab.picture, tab.target, tab.methods]
    running = tab.run.click(on_run, inputs, [tab.viewer, tab.status, tab.awaited, *tab.rest], **parts.QUIET)
    running.failure(on_failure, None, [tab.status, tab.awaited, *tab.rest], **parts.QUIET)
    tab.stop.click(on_stop, None, None, queue=False, **parts.QUIET)
    drawing = tab.viewer.figure(on_figure, None, [tab.viewer, tab.status], **parts.QUIET)
    drawing.failure(lambda: handlers.status_html(None, ""), None, tab.status, **parts.QUIET)
    animating = tab.viewer.flicker(on_flicker, None, [tab.viewer, tab.status], **parts.QUIET)
    animating.failure(lambda: handlers.status_html(None, ""), None, tab.status, **parts.QUIET)
    gr.on([tab.left.input, tab.right.input], on_pair, [tab.left, tab.right], tab.pair, **parts.QUIET)


def _shown_picture(desk: Desk, session: Session, path: str, name: str, old: dict[str, Any] | None) -> tuple:
    """The chosen picture, the viewer with it, the target with its size, and all at rest."""
    chosen, value = handlers.show_picture(desk, session, path, name)
    # Nothing else of what the browser sent goes back to it.
    bpp = old.get("bpp") if isinstance(old, dict) else None
    bpp = bpp if isinstance(bpp, int | float) else DEFAULT_BPP
    target = {"bpp": bpp, "size": [chosen.width, chosen.height]}
    return chosen, value, target, *_at_rest(session)


def _at_rest(session: Session) -> tuple:
    """Run can be pressed, Stop cannot, and the slider holds the original and the best panel so far."""
    choices = handlers.panel_choices(session)
    ids = [panel_id for _, panel_id in choices]
    left = "original" if "original" in ids else None
    right = "sprdiff-final" if "sprdiff-final" in ids else (ids[-1] if len(ids) > 1 else None)
    return (
        gr.update(interactive=True),
        gr.update(interactive=False),
        gr.update(choices=choices, value=left),
        gr.update(choices=choices, value=right),
        handlers.slider_pair(session, left, right),
    )


def methods_control() -> gr.CheckboxGroup:
    """The baselines; those of Pillow are chosen."""
    return gr.CheckboxGroup(
        baseline_choices(),
        value=[method for _, method in BASELINE_CHOICES],
        label=texts.METHODS_LABEL,
        show_label=False,
        container=False,
        elem_classes="methods",
    )


def baseline_choices() -> list[tuple[str, str]]:
    """Pillow's codecs, those whose plugin is installed, and the learned ones."""
    plugins = [choice for module, choice in PLUGIN_CHOICES.items() if importlib.util.find_spec(module)]
    return BASELINE_CHOICES + plugins + LEARNED_CHOICES


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
            image.draft("RGB", (256, 256))  # of a JPEG, a reduced picture is decoded
            thumbnail = image.convert("RGB")
        side = min(thumbnail.size)
        left, top = (thumbnail.width - side) // 2, (thumbnail.height - side) // 2
        thumbnail = thumbnail.crop((left, top, left + side, top + side)).resize(
            (128, 128), Image.Resampling.LANCZOS
        )
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
