"""Pieces that several tabs are made of: notes, the file picker, the viewer."""

from __future__ import annotations

import html
from functools import cache
from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parent / "static"


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


def file_picker(elem_id: str, *, action: str, accept: str, label: str, tab_id: str) -> gr.HTML:
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
        tab_id=tab_id,
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
