"""What happens when somebody does something on the page: plain functions, no components.

The heavy modules (torch behind ``sprdiff.images`` and the comparison) are imported inside the functions, so
that the page is up before they are.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder

from sprdiff import bitstream
from sprdiff.budget import check_bpp
from sprdiff.errors import BitstreamError, SettingsError, SPRDiffError, WeightsError
from sprdiff.types import Progress
from sprdiff.ui import texts
from sprdiff.ui.board import Board, missing_text
from sprdiff.ui.desk import Desk, comparison_key
from sprdiff.ui.jobs import Step, follow
from sprdiff.ui.panels import (
    bpp_text,
    byte_strip,
    bytes_text,
    original_panel,
    plain_panel,
    viewer_value,
)
from sprdiff.ui.records import (
    METRIC_IDS,
    SPRDIFF_METHODS,
    Awaited,
    Measured,
    Missing,
    Picture,
    StreamDetail,
    Unmeasured,
)
from sprdiff.ui.sessions import Session, file_stem, original_stem

if TYPE_CHECKING:
    from sprdiff.types import StreamInfo
    from sprdiff.ui.model import ModelState

logger = logging.getLogger(__name__)

BPP_STEPS = (0.005, 0.006, 0.008, 0.01, 0.012, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1)
BPP_PRESETS = (0.01, 0.02, 0.03, 0.05)


@dataclass(frozen=True)
class Shown:
    """One frame of a run.

    Attributes:
        viewer: what the viewer shows; None leaves it as it is.
        status: the status line.
        running: whether it goes on.
        awaited: metrics that wait for their weights, with a few words on how far they are.
    """

    viewer: dict[str, Any] | None
    status: str
    running: bool
    awaited: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turns our errors into a sentence on the page, and any other into a line in the log."""
    try:
        yield
    except gr.Error:
        raise
    except SPRDiffError as error:
        raise gr.Error(html.escape(str(error)), title=texts.PROBLEM, print_exception=False) from error
    except OSError as error:
        logger.exception("a file cannot be written or read: %s", error.filename or "its name is not known")
        reason = html.escape(error.strerror or type(error).__name__)
        raise gr.Error(
            texts.DISK.format(reason=reason), title=texts.PROBLEM, print_exception=False
        ) from error
    except Exception as error:
        logger.exception("a handler failed")
        raise gr.Error(texts.UNEXPECTED, title=texts.PROBLEM, print_exception=False) from error


def uploaded_file(data: Any) -> tuple[str, str]:
    """Path and name of a file that came through gradio's upload.

    The page sends the path, so it is checked: only files in the upload folder are ours to read.

    Raises:
        SettingsError: it lies elsewhere.
    """
    path = Path(str(data.get("path", ""))) if isinstance(data, dict) else Path()
    if not path.is_file() or not path.resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise SettingsError(texts.NO_UPLOAD)
    return str(path), Path(str(data.get("name") or path.name)).name


def show_picture(desk: Desk, session: Session, path: str, name: str) -> tuple[Picture, dict[str, Any]]:
    """The chosen photograph and the viewer with nothing but it.

    Raises:
        InputImageError: not a picture, or outside the limits.
    """
    image = desk.read_picture(path)
    session.new_run()
    picture = Picture(path, name, *image.size)
    panel = original_panel(session.save_picture(image, original_stem(name)), *image.size)
    session.show([panel])
    return picture, viewer_value([panel], size=image.size, title=name)


def check_target(value: Any) -> float:
    """The bitrate that the target control holds, in bits per pixel.

    Raises:
        SettingsError: no number above 0 and at most 24.
    """
    target_bpp = value.get("bpp") if isinstance(value, dict) else value
    if not isinstance(target_bpp, int | float):
        raise SettingsError(f"The target must be a number of bits per pixel, got {target_bpp}.")
    return check_bpp(float(target_bpp))


def run_comparison(
    desk: Desk, session: Session, picture: Picture | None, target: Any, methods: Sequence[str]
) -> Iterator[Shown]:
    """The frames of one comparison: panels as they become ready, and where the work is.

    Raises:
        SPRDiffError: no picture, no codec, or what a codec says of the picture.
    """
    if picture is None:
        raise SettingsError(texts.NO_PICTURE)
    target_bpp = check_target(target)
    method_ids = [*SPRDIFF_METHODS, *methods]
    model = desk.models[session.model]
    desk.line.check_room()
    stop = session.new_run()
    yield Shown(None, status_html(0.0, texts.READING_PICTURE), True)
    image = desk.read_picture(picture.path)
    key = (picture.name, *comparison_key(model, image, method_ids, target_bpp))
    finished = session.finished(key)
    if finished is not None and not finished.record["missing"]:
        yield Shown(finished.value, status_html(None, texts.CACHED), False)
        return
    made_by = model.name if len(desk.models.names) > 1 else ""
    board = Board(session, picture, target_bpp, method_ids, image, made_by)
    remembered = desk.remembered(model, image, method_ids, target_bpp)
    if remembered is not None:
        for result in remembered.results:
            board.add(result)
        board.detail = remembered.detail
        board.finish(key, model.fingerprint)
        yield Shown(board.viewer(), status_html(None, texts.CACHED), False)
        return
    yield Shown(board.viewer(), status_html(0.0, texts.STARTING), True)

    def work(report: Progress, emit: Callable[[Any], None]) -> None:
        desk.compare(model, image, method_ids, target_bpp, report, emit)

    fraction, note = 0.0, ""
    awaited: dict[str, str] = {}
    try:
        for event in follow(work, stop):
            if isinstance(event, Step):
                fraction, note = event.fraction, event.note
                yield Shown(None, status_html(fraction, note), True, awaited)
                continue
            if isinstance(event.value, Awaited):
                awaited = {event.value.metric: event.value.state} if event.value.state else {}
                yield Shown(None, status_html(fraction, note), True, awaited)
                continue
            note = _put(board, event.value)
            yield Shown(board.viewer(), status_html(fraction, note), True)
    except Exception:
        board.give_up()
        yield Shown(board.viewer(), status_html(None, ""), False)
        raise
    if not session.is_current(stop):
        return  # another picture or run has taken the viewer
    if board.done:
        board.finish(key, model.fingerprint)
    board.give_up()
    yield Shown(board.viewer(), status_html(None, "" if board.done else texts.STOPPED), False)


def _put(board: Board, value: Unmeasured | Measured | Missing | StreamDetail) -> str:
    """Puts what a comparison emitted on the board; a note about it."""
    if isinstance(value, StreamDetail):
        board.detail = value
        return texts.LOOKED_INTO
    if isinstance(value, Missing):
        board.miss(value)
        return missing_text(value)
    if isinstance(value, Unmeasured):
        board.show(value.result)
        return texts.IS_READY.format(label=value.result.label)
    for result in value.results:
        if len(result.metrics) == len(METRIC_IDS):
            board.add(result)
        else:
            board.show(result)
    count = len(value.results[-1].metrics)
    return texts.ARE_MEASURED.format(count=count, all=len(METRIC_IDS))


def decode_file(desk: Desk, session: Session, path: str, name: str) -> Iterator[Shown]:
    """The frames of one decode: the coarse picture, then the final one, the header and the byte split.

    Raises:
        BitstreamError: a damaged or foreign file, or one of another model.
    """
    desk.line.check_room()
    data = Path(path).read_bytes()
    stem = file_stem(Path(name).stem)
    stop = session.new_run()
    yield Shown(None, status_html(0.0, texts.READING_FILE), True)

    # The header names the checkpoint that made the stream, whatever this visitor has chosen.
    model = desk.models.maker(data) or desk.models[session.model]

    def work(report: Progress, emit: Callable[[Any], None]) -> None:
        report(0.1, texts.READING_SYMBOLS if model.state.phase == "ready" else texts.MODEL_LOADING)
        # Every step reports, so that a visitor who has left does not keep the model to the end.
        with desk.line.turn(report), model.use(report) as pipeline:
            try:
                emit(pipeline.inspect(data))
            except BitstreamError as error:
                named = bitstream.read_header(data).fingerprint
                ours = any(each.startswith(named) for each in pipeline.readable_fingerprints)
                if ours or len(desk.models.names) == 1:
                    raise
                raise BitstreamError(texts.OTHER_MODEL.format(reason=error)) from error
            coarse = pipeline.decode_coarse(
                data, on_step=lambda share: report(0.1 + 0.2 * share, texts.READING_SYMBOLS)
            )
            emit(("coarse", coarse.image, None))
            final = pipeline.refine(coarse, on_step=lambda share: report(0.3 + 0.6 * share, texts.DIFFUSION))
            emit(("final", final, StreamDetail(coarse.info.rate, pipeline.bit_map(data))))

    panels: list[dict[str, Any]] = []
    info: StreamInfo | None = None
    for event in follow(work, stop):
        if isinstance(event, Step):
            yield Shown(None, status_html(event.fraction, event.note), True)
            continue
        if info is None:
            info = event.value
            yield Shown(None, header_html(info, model.name), True)
            continue
        kind, image, detail = event.value
        file = session.save_bytes(data, stem, ".spr")
        facts = [f"{info.width} × {info.height}", f"{bytes_text(info.num_bytes)}, {bpp_text(info.bpp)} bpp"]
        panels.append(
            plain_panel(
                f"sprdiff-{kind}",
                f"SPRDiff {kind}",
                session.save_picture(image, f"{stem}-{kind}"),
                file,
                facts,
            )
        )
        value = viewer_value(
            panels,
            size=image.size,
            title=name,
            pending=[] if kind == "final" else ["SPRDiff final"],
            stream=byte_strip(data, detail or StreamDetail(info.rate, None)),
        )
        yield Shown(value, header_html(info, model.name), kind != "final")


def header_html(info: StreamInfo, model_name: str) -> str:
    """The header of a stream and its byte split, as a list of facts."""
    facts = [
        ("Size", f"{info.width} × {info.height}"),
        ("File", bytes_text(info.num_bytes)),
        ("Rate", f"{bpp_text(info.bpp)} bpp"),
        ("Quality", f"{info.quality} of 255"),
        ("Colour", "none, the original is grayscale" if info.grayscale else "yes"),
        ("Format version", str(info.version)),
        ("Model", f"{model_name}, fingerprint {info.fingerprint[:12]}"),
    ]
    if info.rate is not None:
        facts += [
            ("Header and checksum", bytes_text(info.rate.header_bytes)),
            ("Hyper-latent z", bytes_text(info.rate.z_bytes)),
            ("Latent y", bytes_text(info.rate.y_bytes)),
        ]
    rows = "".join(f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in facts)
    return f'<dl class="facts">{rows}</dl>'


def status_html(fraction: float | None, note: str) -> str:
    """The status line; ``fraction`` None once nothing runs."""
    text = f'<span class="status-note">{html.escape(note)}</span>' if note else ""
    if fraction is None:
        return f'<div class="status" role="status">{text}</div>'
    percent = round(100 * min(max(fraction, 0.0), 1.0))
    bar = f'<progress max="100" value="{percent}" aria-label="Progress">{percent} %</progress>'
    return f'<div class="status" role="status">{bar}{text}</div>'


def sessions_of_page(session_hash: str | None) -> list[str]:
    """Of every tab that has one of its own, so that its runs do not stop each other's."""
    return [f"{session_hash}{tab}" for tab in ("", "/decode", "/sweep")]


def choose_model(desk: Desk, session_hash: str | None, name: str) -> Iterator[ModelState]:
    """The states of a model on its way to being that of a visitor, who keeps the other one until it is ready.

    A later choice of the same visitor takes the place of one whose model is not ready yet.

    Raises:
        SettingsError: no such model.
        WeightsError: it cannot be loaded; before that, the last state is that of the one that stays.
    """
    model = desk.models[name]
    sessions = [desk.sessions.of(each) for each in sessions_of_page(session_hash)]
    kept = desk.models[sessions[0].model]
    sessions[0].wanted = name
    model.start()
    for state in model.states():
        if sessions[0].wanted != name:
            return
        if state.phase != "failed":
            yield state
    if state.phase == "failed":
        yield kept.state
        raise WeightsError(texts.MODEL_KEPT.format(name=name, kept=kept.name, reason=state.detail))
    for session in sessions:
        session.model = name


def panel_choices(session: Session) -> list[tuple[str, str]]:
    """Label and id of every panel on view."""
    return [(label, panel_id) for panel_id, (label, _) in session.shown.items()]


def slider_pair(session: Session, left: str | None, right: str | None) -> tuple[str, str] | None:
    """The PNG paths of two panels on view, or None if one of them is not there."""
    if left not in session.shown or right not in session.shown:
        return None
    return session.shown[left][1], session.shown[right][1]
