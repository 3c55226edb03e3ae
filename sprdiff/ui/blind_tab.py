"""The Blind test tab: which of two unlabelled pictures of the visitor's own comparisons is nearer?"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from sprdiff.files import write_file
from sprdiff.ui import handlers, parts, texts
from sprdiff.ui.desk import Desk
from sprdiff.ui.sessions import Finished, Session, file_data

if TYPE_CHECKING:
    from sprdiff.blind.study import StudyPicture
    from sprdiff.blind.trials import Trial

ROUNDS = 8
"""Random orders of one study, so that a visitor who starts again seldom gets the same."""


def build_blind_tab(tab: gr.Tab, desk: Desk, votes: Path | None) -> None:
    """Lays out the tab; a study is made whenever it is opened.

    Args:
        votes: folder that keeps the answers, one JSON line each; without it they stay in the browser.
    """
    from sprdiff.blind.study import TEMPLATES

    lead = texts.BLIND_LEAD + " " + (texts.BLIND_KEPT if votes else texts.BLIND_NOT_KEPT)
    gr.HTML(f'<p class="note tab-lead">{html.escape(lead)}</p>', js_on_load=None, apply_default_css=False)
    template = (TEMPLATES / "study.html").read_text(encoding="utf-8")
    study = gr.HTML(
        None,
        html_template=f'{template}<p class="blind-empty">{html.escape(texts.BLIND_EMPTY)}</p>',
        js_on_load=(TEMPLATES / "study.js").read_text(encoding="utf-8") + parts.static_text("blind.js"),
        apply_default_css=False,
        elem_id="blind",
    )

    def on_open(request: gr.Request) -> dict[str, Any] | None:
        with handlers.clear_errors():
            return open_study(desk.sessions.of(request.session_hash))

    def on_ended(event: gr.EventData, request: gr.Request) -> None:
        if votes is not None:
            with handlers.clear_errors():
                keep_votes(desk.sessions.of(request.session_hash), event._data, votes)

    tab.select(on_open, None, study, **parts.QUIET)
    study.ended(on_ended, None, None, **parts.QUIET)


def open_study(session: Session) -> dict[str, Any] | None:
    """A study of the visitor's finished comparisons at the budget of the one on view.

    Returns:
        What ``study_data`` made; None where no comparison with two methods within the budget is there.
    """
    from sprdiff.blind.study import draw_rounds, study_data, study_id
    from sprdiff.blind.trials import TRIALS, questions
    from sprdiff.methods import METHODS

    session.study = None
    if session.on_view is None:
        return None
    budget = session.on_view.record["target_bpp"]
    runs = [run for run in session.finished_runs if run.record["target_bpp"] == budget]
    # A picture that was compared again is there once, as it was compared last.
    pictures = {picture.name: picture for picture in map(_picture, runs)}
    shown = [picture for picture in pictures.values() if len(picture.reconstructions) >= 2]
    possible = len(questions({picture.name: list(picture.reconstructions) for picture in shown}))
    if not possible:
        return None
    content = [
        [run.record["source"], [row["picture_sha256"] for row in run.record["results"]]] for run in runs
    ]
    study = study_id(budget, content)
    rounds = draw_rounds(shown, min(TRIALS, possible), ROUNDS, study)
    session.study = (study, rounds)
    return study_data(study, shown, rounds, METHODS)


def _picture(run: Finished) -> StudyPicture:
    from sprdiff.blind.study import StudyPicture

    within = [row for row in run.record["results"] if not row["over_budget"]]
    return StudyPicture(
        run.record["source"],
        file_data(run.folder / run.record["original"]),
        {row["method"]: file_data(run.folder / row["picture"]) for row in within},
    )


def keep_votes(session: Session, taken: Any, folder: Path) -> None:
    """Write the answers of one run through the session's study, as one file of JSON lines.

    A picture's name is private, and none is written: pictures are numbered.

    Args:
        taken: of the browser: ``study``, ``run``, ``round`` and ``answers``; what does not fit is left out.
        folder: made if it is missing.
    """
    from sprdiff.blind.votes import Vote, json_line

    if session.study is None:
        return
    study, rounds = session.study
    answered = _answered(taken, study, rounds)
    if answered is None:
        return
    run, trials, answers = answered
    names = sorted({trial.picture for each in rounds for trial in each})
    lines = [
        json_line(
            Vote(
                study,
                run,
                place,
                f"picture {names.index(trial.picture) + 1}",
                trial.left,
                trial.right,
                getattr(trial, answer),
            )
        )
        for place, (trial, answer) in enumerate(zip(trials, answers, strict=True), 1)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / f"{study}-{run}.jsonl", "".join(lines))


def _answered(
    taken: Any, study: str, rounds: Sequence[list[Trial]]
) -> tuple[str, list[Trial], list[str]] | None:
    """Run, trials and answers in what a browser sent; None where they are not those of the study."""
    if not isinstance(taken, dict) or taken.get("study") != study:
        return None
    run, number, answers = taken.get("run"), taken.get("round"), taken.get("answers")
    if not isinstance(run, str) or not re.fullmatch("[0-9a-f]{16}", run):
        return None
    if type(number) is not int or not 0 <= number < len(rounds):
        return None
    if not isinstance(answers, list) or len(answers) != len(rounds[number]):
        return None
    if any(answer not in ("left", "right") for answer in answers):
        return None
    return run, rounds[number], answers
