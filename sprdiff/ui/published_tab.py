"""The Published tab: what others reported, with the source of each curve, and what was measured here."""

from __future__ import annotations

import html

import gradio as gr

from sprdiff.ui import handlers, parts, texts
from sprdiff.ui.published import published_value


def build_published_tab(tab: gr.Tab) -> None:
    """Lays out the tab; its curves are read when it is first opened."""
    gr.HTML(
        f'<p class="note tab-lead">{html.escape(texts.PUBLISHED_NOTE)}</p>',
        js_on_load=None,
        apply_default_css=False,
    )
    chart = gr.HTML(
        None,
        html_template=parts.static_text("published.html"),
        js_on_load=parts.static_text("plot.js") + parts.static_text("published.js"),
        apply_default_css=False,
        elem_id="published-chart",
    )

    def on_open() -> dict:
        with handlers.clear_errors():
            return published_value()

    tab.select(on_open, None, chart, **parts.QUIET)
