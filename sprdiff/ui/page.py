"""The page as a whole: header, tabs, and what ``launch`` needs to know."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from starlette.middleware import Middleware

from sprdiff.bitstream import MAX_PIXELS
from sprdiff.types import OnBytes
from sprdiff.ui import handlers, parts, texts
from sprdiff.ui.api import API_SESSION, build_api
from sprdiff.ui.blind_tab import build_blind_tab
from sprdiff.ui.compare_tab import EXAMPLES, build_compare_tab
from sprdiff.ui.decode_tab import build_decode_tab
from sprdiff.ui.desk import WAITING_RUNS, Desk
from sprdiff.ui.doors import Doors
from sprdiff.ui.how_tab import build_how_tab
from sprdiff.ui.model import Checkpoint, ModelState
from sprdiff.ui.published_tab import build_published_tab
from sprdiff.ui.sweep_tab import build_sweep_tab
from sprdiff.ui.theme import build_css, build_theme
from sprdiff.ui.weights import fetch_state

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

MAX_UPLOAD = "64mb"
MAX_PAGES = 100
CACHE_SECONDS = 6 * 3600
WEIGHTS_SECONDS = 0.5
QUEUE_SECONDS = 0.01
"""Between two looks of gradio's queue for a press of a button."""


def build_app(
    pipeline_loader: Callable[[], SPRDiffPipeline],
    *,
    model_name: str,
    fetch_model: Callable[[OnBytes], int] | None = None,
    others: Sequence[Checkpoint] = (),
    votes: Path | None = None,
    max_pixels: int = MAX_PIXELS,
    fetch_weights: bool = False,
) -> gr.Blocks:
    """The page, not launched; see ``launch_options``.

    Args:
        pipeline_loader: makes the pipeline; called in the background once the page is first opened.
        model_name: what the page calls the model.
        fetch_model: see ``Checkpoint.fetch``.
        others: models that a visitor may choose instead, in a drop-down.
        votes: folder that keeps the answers of blind tests; without it they stay in the browser.
        max_pixels: of a picture; larger ones are refused before they are decoded.
        fetch_weights: fetch what the metrics need as soon as the page is built, not at their first use.
    """
    desk = Desk(
        pipeline_loader,
        model_name,
        max_pixels,
        fetch_model=fetch_model,
        others=others,
        fetch_weights=fetch_weights,
    )
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
            choice = None
            if others:
                choice = gr.Dropdown(
                    desk.models.names,
                    label=texts.MODEL_LABEL,
                    elem_id="model-choice",
                    elem_classes="model-choice",
                    filterable=False,
                    container=False,
                )
            with gr.Column(elem_classes="states"):
                model = _line(model_html(desk.model.state), "model-state")
                weights = _line("", "weights-state")
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

        async def on_weights() -> AsyncIterator[str]:
            # Async, so that an open page takes no thread while they are fetched.
            while desk.weights.fetching:
                yield weights_html()
                await asyncio.sleep(WEIGHTS_SECONDS)
            yield ""

        def on_choice(name: str, request: gr.Request) -> Iterator[tuple[Any, Any]]:
            with handlers.clear_errors():
                for state in handlers.choose_model(desk, request.session_hash, name):
                    yield model_html(state), gr.skip() if state.name == name else state.name

        def on_close(request: gr.Request) -> None:
            for each in (
                *handlers.sessions_of_page(request.session_hash),
                f"{request.session_hash}{API_SESSION}",
            ):
                desk.sessions.close(each)

        app.load(on_weights, None, weights, **parts.QUIET)
        if choice is not None:
            choice.input(on_choice, choice, [model, choice], **parts.QUIET)
        app.load(on_model, None, model, **parts.QUIET)
        app.unload(on_close)
    app.queue(max_size=32)
    # gradio's queue looks for work a thousand times a second, and a hundred times for progress bars, which
    # the page does not have: 7 % of a core, day and night.
    app._queue.sleep_when_free = QUEUE_SECONDS
    app._queue.progress_update_sleep_when_free = 1.0
    return app


def _line(value: str, elem_id: str) -> gr.HTML:
    return gr.HTML(value, js_on_load=None, apply_default_css=False, elem_id=elem_id)


def launch_options() -> dict[str, Any]:
    """What ``gr.Blocks.launch`` gets besides host and port: the look, without telemetry."""
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
        # Each run that waits in the line takes one.
        "max_threads": 40 + WAITING_RUNS,
        # Gradio keeps the components of closed pages too, about 1 MB each, and by default of 10,000 pages.
        "state_session_capacity": MAX_PAGES,
        "app_kwargs": {"middleware": [Middleware(Doors)]},
    }


def model_html(state: ModelState) -> str:
    """One line about the model, with the reason where there is none."""
    word = {
        "waiting": texts.MODEL_WAITING,
        "fetching": texts.MODEL_FETCHING,
        "loading": texts.MODEL_LOADING,
        "ready": texts.MODEL_READY,
        "failed": texts.MODEL_FAILED,
    }[state.phase]
    detail = f'<span class="model-detail">{html.escape(state.detail)}</span>' if state.detail else ""
    return (
        f'<p class="model" data-phase="{state.phase}" role="status"><i></i><b>{word}</b> '
        f"<span>{html.escape(state.name)}</span> {detail}</p>"
    )


def weights_html() -> str:
    """One line about the weights that are on their way."""
    state = fetch_state()
    percent = round(100 * state.share)
    return (
        f'<p class="model" data-phase="loading"><i></i><span>{html.escape(state.sentence)}</span></p>'
        f'<progress class="weights-bar" max="100" value="{percent}" aria-label="{texts.FETCHING}">'
        "</progress>"
    )
