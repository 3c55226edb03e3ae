"""Pieces that several tabs are made of: notes, the file picker, the viewer."""

from __future__ import annotations

import html
from functools import cache
from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parent / "static"
QUIET = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
"""Of every event of the page: it shows its own progress, no program calls it, the model's lock queues it."""


@cache
def static_text(name: str) -> str:
    """A file of ``static/``."""
    return (STATIC / name).read_text(encoding="utf-8")


def heading(label: str, note: str) -> gr.HTML:
    """The name of a control and one sentence about it."""
    return gr.HTML(
        f'<div class="control-head"><h2>{html.escape(label)}</h2><p>{html.escape(note)}</p></div>',
        js_on_load=None,
        apply_default_css=False,
    )


def note(text: str) -> gr.HTML:
    """One sentence in small type."""
    return gr.HTML(f'<p class="note">{html.escape(text)}</p>', js_on_load=None, apply_default_css=False)


def status(elem_id: str) -> gr.HTML:
    """The line above the pictures that says what is going on; see ``handlers.status_html``."""
    return gr.HTML("", js_on_load=None, apply_default_css=False, elem_id=elem_id, elem_classes="status-part")


def awaited(elem_id: str) -> gr.HTML:
    """Says to the viewer which numbers wait for weights; its value is ``handlers.Shown.awaited``.

    Apart from the viewer, whose files the server would read anew and whose every part the browser would draw
    anew for each percent.
    """
    return gr.HTML(
        {},
        html_template="<span hidden></span>",
        js_on_load='watch("value", () => document.dispatchEvent('
        'new CustomEvent("sprdiff-awaited", { detail: props.value || {} })));',
        apply_default_css=False,
        elem_id=elem_id,
    )


def file_picker(elem_id: str, *, action: str, accept: str, label: str) -> gr.HTML:
    """A place to drop, paste or choose a file; its ``picked`` event carries ``path`` and ``name``.

    Files dropped or pasted anywhere on the page go to the picker whose tab is open.
    """
    template = (
        '<label class="picker"><input type="file" accept="{accept}" aria-label="{label}">'
        '<span class="picker-action">{action}</span><span class="picker-name"></span></label>'
        '<p class="picker-problem" role="alert" hidden></p>'
    )
    return gr.HTML(
        None,
        html_template=template.format(accept=accept, label=html.escape(label), action=html.escape(action)),
        js_on_load=static_text("picker.js"),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="picker-part",
    )


def viewer(elem_id: str, *, empty: str) -> gr.HTML:
    """The viewer; its value is what ``sprdiff.ui.panels.viewer_value`` returns."""
    return gr.HTML(
        None,
        html_template=static_text("viewer.html").replace("@empty", html.escape(empty)),
        js_on_load=static_text("viewer.js"),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="viewer-part",
    )
