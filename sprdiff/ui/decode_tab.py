"""The Decode tab: a .spr file goes in; its two pictures, its header and its byte split come out."""

from __future__ import annotations

import html
from collections.abc import Iterator

import gradio as gr

from sprdiff.ui import handlers, parts, texts
from sprdiff.ui.desk import Desk


def build_decode_tab(desk: Desk) -> None:
    """Lays out the tab and wires it."""
    with gr.Row(elem_classes="desk"):
        with gr.Column(elem_classes="rail", scale=0, min_width=280):
            parts.heading(texts.DECODE_LABEL, texts.DECODE_NOTE)
            picker = parts.file_picker(
                "stream-picker",
                action=texts.DECODE_ACTION,
                accept=".spr",
                label=texts.DECODE_LABEL,
            )
            status = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="decode-status")
            gr.HTML(
                f'<div class="control-head"><h2>{html.escape(texts.DECODE_TITLE)}</h2>'
                f"<p>{html.escape(texts.DECODE_LEAD)}</p></div>",
                js_on_load=None,
                apply_default_css=False,
            )
        with gr.Column(elem_classes="stage-column", scale=1):
            viewer = parts.viewer("decode-viewer", empty=texts.DECODE_NOTE)

    def on_picked(event: gr.EventData, request: gr.Request) -> Iterator[tuple]:
        # A page has two sessions, so that decoding does not stop a comparison.
        session = desk.sessions.of(f"{request.session_hash}/decode")
        with handlers.clear_errors():
            path, name = handlers.uploaded_file(event._data)
            for frame in handlers.decode_file(desk, session, path, name):
                yield gr.skip() if frame.viewer is None else frame.viewer, frame.status

    picked = picker.picked(on_picked, None, [viewer, status], **parts.QUIET)
    picked.failure(lambda: (None, handlers.status_html(None, "")), None, [viewer, status], **parts.QUIET)
