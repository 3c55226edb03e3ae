"""The page as a whole: header, tabs, and what ``launch`` needs to know."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from starlette.middleware import Middleware

from sprdiff.bitstream import MAX_PIXELS
from sprdiff.ui import parts, texts
from sprdiff.ui.api import API_SESSION, build_api
from sprdiff.ui.blind_tab import build_blind_tab
from sprdiff.ui.compare_tab import EXAMPLES, build_compare_tab
from sprdiff.ui.decode_tab import build_decode_tab
from sprdiff.ui.desk import WAITING_RUNS, Desk
from sprdiff.ui.doors import Doors
from sprdiff.ui.how_tab import build_how_tab
from sprdiff.ui.model import ModelState
from sprdiff.ui.published_tab import build_published_tab
from sprdiff.ui.sweep_tab import build_sweep_tab
from sprdiff.ui.theme import build_css, build_theme

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

MAX_UPLOAD = "64mb"
CACHE_SECONDS = 6 * 3600


def build_app(
    pipeline_loader: Callable[[], SPRDiffPipeline],
    *,
    model_name: str,
    votes: Path | None = None,
    max_pixels: int = MAX_PIXELS,
) -> gr.Blocks:
    """The page, not launched; see ``launch_options``.

    Args:
        pipeline_loader: makes the pipeline; called in the background once the page is first opened.
        model_name: what the page calls the model.
        votes: folder that keeps the answers of blind tests; without it they stay in the browser.
        max_pixels: of a picture; larger ones are refused before they are decoded.
    """
    desk = Desk(pipeline_loader, model_name, max_pixels)
    with gr.Blocks(
        title=texts.TITLE,
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(CACHE_SECONDS // 6, CACHE_SECONDS),
    ) as app:
        with gr.Row(elem_classes="masthead"):
            gr.HTML(
                parts.static_text("masthead.html").replace("@tagline", texts.TAGLINE),
                js_on_load=None,
                apply_default_css=False,
            )
            model = gr.HTML(
                model_html(desk.model.state), js_on_load=None, apply_default_css=False, elem_id="model-state"
            )
        with gr.Tabs(elem_classes="pages"):
            with gr.Tab("Compare", id="compare"):
                compare = build_compare_tab(desk, app)
            with gr.Tab("Sweep", id="sweep"):
                build_sweep_tab(desk, compare.picture)
            with gr.Tab("Decode", id="decode"):
                build_decode_tab(desk)
            with gr.Tab("Blind test", id="blind") as blind:
                build_blind_tab(blind, desk, votes)
            with gr.Tab("Published", id="published") as published:
                build_published_tab(published)
            with gr.Tab("How it works", id="how"):
                build_how_tab()
        build_api(desk)

        def on_model() -> Iterator[str]:
            desk.model.start()
            for state in desk.model.states():
                yield model_html(state)

        def on_close(request: gr.Request) -> None:
            for tab in ("", "/decode", "/sweep", API_SESSION):
                desk.sessions.close(f"{request.session_hash}{tab}")

        app.load(on_model, None, model, **parts.QUIET)
        app.unload(on_close)
    app.queue(max_size=32)
    return app


def launch_options() -> dict[str, Any]:
    """What ``gr.Blocks.launch`` gets besides host and port: the look, and nothing that calls home."""
    return {
        "theme": build_theme(),
        "css": build_css(),
        "js": parts.static_text("page.js"),
        "footer_links": ["api"],
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": MAX_UPLOAD,
        "allowed_paths": [str(EXAMPLES)],
        "ssr_mode": False,
        # Whoever waits in the line of runs takes one.
        "max_threads": 40 + WAITING_RUNS,
        "app_kwargs": {"middleware": [Middleware(Doors)]},
    }


def model_html(state: ModelState) -> str:
    """One line about the model, with the reason where there is none."""
    word = {
        "waiting": texts.MODEL_WAITING,
        "loading": texts.MODEL_LOADING,
        "ready": texts.MODEL_READY,
        "failed": texts.MODEL_FAILED,
    }[state.phase]
    detail = f'<span class="model-detail">{html.escape(state.detail)}</span>' if state.detail else ""
    return (
        f'<p class="model" data-phase="{state.phase}" role="status"><i></i><b>{word}</b> '
        f"<span>{html.escape(state.name)}</span> {detail}</p>"
    )
