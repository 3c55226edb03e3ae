"""The How it works tab: a drawing of the system, short words, and what it cannot do."""

from __future__ import annotations

import html
from collections.abc import Iterable

import gradio as gr

from sprdiff.ui import parts, texts


def build_how_tab() -> None:
    """One page of text; nothing on it moves."""
    gr.HTML(how_html(), js_on_load=None, apply_default_css=False, elem_classes="how-part")


def how_html() -> str:
    """The tab's contents."""
    steps = "".join(
        f"<li><h2>{html.escape(title)}</h2><p>{html.escape(text)}</p></li>" for title, text in texts.HOW_STEPS
    )
    return (
        '<article class="how">'
        f'<p class="lead">{html.escape(texts.HOW_LEAD)}</p>'
        f'<figure class="diagram">{parts.static_text("diagram.svg")}</figure>'
        f'<ol class="steps">{steps}</ol>'
        '<div class="sources">'
        f'<section><h2>From the paper, <a href="{texts.PAPER_URL}" rel="noreferrer">arXiv 2606.01608</a></h2>'
        f"{_list(texts.HOW_PAPER)}</section>"
        f"<section><h2>Ours</h2>{_list(texts.HOW_OURS)}</section>"
        f"<section><h2>Limits</h2>{_list(texts.HOW_LIMITS)}</section>"
        "</div>"
        f'<section class="numbers"><h2>The numbers</h2><p>{html.escape(texts.HOW_NUMBERS)}</p></section>'
        "</article>"
    )


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"
