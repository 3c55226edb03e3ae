"""A study as its page reads it: pictures under numbers that say nothing, rounds of trials, and a sealed key.

::

    pictures, reconstructions --shuffle--> images 0..n          which the page shows
    draw_trials, once a round -----------> rounds of [picture, left, right, original] numbers
    labels, methods of the images -------> key, in base64       which the page opens at the end

The key is encoded, not encrypted: it keeps the names from being read by accident.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from sprdiff.blind.trials import Trial, draw_trials

TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class StudyPicture:
    """One picture of a study.

    Attributes:
        name: of the picture, which no other of the study has.
        original: what the page loads: a data URL, or what becomes an address on the way to it.
        reconstructions: the same for each method, by id; all of them within the budget.
    """

    name: str
    original: Any
    reconstructions: Mapping[str, Any]


def study_id(*content: object) -> str:
    """Twelve hexadecimal digits that stand for all that a study is made of."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def draw_rounds(pictures: Sequence[StudyPicture], trials: int, rounds: int, seed: str) -> list[list[Trial]]:
    """Several draws of the same study; a visitor gets one of them.

    Raises:
        SettingsError: as ``draw_trials`` does.
    """
    candidates = {picture.name: list(picture.reconstructions) for picture in pictures}
    return [draw_trials(candidates, trials, f"{seed}/{number}") for number in range(rounds)]


def study_data(
    study: str,
    pictures: Sequence[StudyPicture],
    rounds: Sequence[Sequence[Trial]],
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """What ``templates/study.js`` is given, as JSON data.

    Args:
        study: its id.
        labels: name of every method, by id.
    """
    images: list[tuple[str, str | None, Any]] = [
        (picture.name, None, picture.original) for picture in pictures
    ]
    images += [
        (picture.name, method, image)
        for picture in pictures
        for method, image in picture.reconstructions.items()
    ]
    random.Random(study).shuffle(images)
    number = {(name, method): place for place, (name, method, _) in enumerate(images)}
    methods = sorted({method for _, method, _ in images if method is not None})
    key = {
        "labels": {method: labels[method] for method in methods},
        "images": [{"picture": name, "method": method} for name, method, _ in images],
    }
    return {
        "study": study,
        "images": [image for *_, image in images],
        "rounds": [
            [
                [number[trial.picture, method] for method in (trial.left, trial.right, None)]
                for trial in trials
            ]
            for trials in rounds
        ],
        "key": base64.b64encode(json.dumps(key).encode()).decode(),
    }


def build_page(data: Mapping[str, Any], *, lead: str) -> str:
    """The study as one HTML file that needs no other and no network.

    Args:
        data: of ``study_data``, every image a data URL.
        lead: one or two sentences under the title.
    """
    page = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html")
    # In a script element only "<" could end the text too early.
    return page.render(lead=lead, data=Markup(json.dumps(data).replace("<", "\\u003c")))
