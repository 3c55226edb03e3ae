"""The Sweep tab: the rate-distortion curve of the photograph that is chosen on the Compare tab."""

from __future__ import annotations

import html
from collections.abc import Iterator

import gradio as gr

from sprdiff.ui import handlers, parts, texts
from sprdiff.ui.compare_tab import methods_control
from sprdiff.ui.desk import Desk
from sprdiff.ui.records import Picture
from sprdiff.ui.sweep import run_sweep


def build_sweep_tab(desk: Desk, picture: gr.State) -> None:
    """Lays out the tab and wires it; ``picture`` is the state of the Compare tab."""
    with gr.Row(elem_classes="desk"):
        with gr.Column(elem_classes="rail", scale=0, min_width=280):
            parts.heading(texts.SWEEP_LABEL, texts.SWEEP_NOTE)
            parts.heading(texts.METHODS_LABEL, texts.METHODS_NOTE)
            methods = methods_control()
            with gr.Row(elem_classes="run-row"):
                run = gr.Button(texts.SWEEP_RUN, variant="primary", elem_classes="run", elem_id="sweep-run")
                stop = gr.Button(texts.STOP, interactive=False, elem_classes="stop", elem_id="sweep-stop")
            parts.note(texts.SWEEP_RUN_NOTE)
        with gr.Column(elem_classes="stage-column", scale=1):
            status = parts.status("sweep-status")
            chart = gr.HTML(
                None,
                html_template=parts.static_text("chart.html").replace(
                    "@empty", html.escape(texts.SWEEP_EMPTY)
                ),
                js_on_load=parts.static_text("plot.js") + parts.static_text("chart.js"),
                apply_default_css=False,
                elem_id="sweep-chart",
            )

    def buttons(running: bool) -> tuple:
        return gr.update(interactive=not running), gr.update(interactive=running)

    def on_run(chosen: Picture | None, against: list[str], request: gr.Request) -> Iterator[tuple]:
        session = desk.sessions.of(f"{request.session_hash}/sweep")
        with handlers.clear_errors():
            for frame in run_sweep(desk, session, chosen, against):
                value = gr.skip() if frame.viewer is None else frame.viewer
                yield value, frame.status, *buttons(frame.running)

    def on_failure() -> tuple:
        return handlers.status_html(None, ""), *buttons(False)

    def on_stop(request: gr.Request) -> None:
        desk.sessions.of(f"{request.session_hash}/sweep").stop()

    running = run.click(on_run, [picture, methods], [chart, status, run, stop], **parts.QUIET)
    running.failure(on_failure, None, [status, run, stop], **parts.QUIET)
    stop.click(on_stop, None, None, queue=False, **parts.QUIET)
