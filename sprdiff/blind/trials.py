"""Which two reconstructions of which picture are shown on which side: drawn at random, but evenly."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sprdiff.errors import SettingsError

TRIALS = 10
"""Of one run, where nothing else is asked for: about two minutes."""


@dataclass(frozen=True)
class Trial:
    """One question: a picture by name, and the ids of the methods on the left and on the right."""

    picture: str
    left: str
    right: str


def questions(candidates: Mapping[str, Collection[str]]) -> list[tuple[str, str, str]]:
    """Every picture with every pair of its methods, the pair in alphabetical order.

    Args:
        candidates: for each picture the ids of the methods that it can be shown of.
    """
    return [
        (picture, one, other)
        for picture, methods in candidates.items()
        for one, other in itertools.combinations(sorted(methods), 2)
    ]


def check_trials(possible: int, count: int | None) -> None:
    """Passes if ``count`` trials can be drawn from ``possible`` questions; None is as many as there are.

    Raises:
        SettingsError: they cannot.
    """
    if count is not None and not 1 <= count <= possible:
        raise SettingsError(
            f"A run can have 1 to {possible} trials, as many as there are pictures times pairs of methods, "
            f"got {count}."
        )


def draw_trials(candidates: Mapping[str, Collection[str]], count: int, seed: str) -> list[Trial]:
    """``count`` different questions in random order; the same ones for the same arguments.

    Each pair of methods is drawn equally often, or once more than another, as long as it has a picture left;
    so is each side of a pair. Within that, pictures take turns.

    Args:
        candidates: as for ``questions``.
        count: at least 1.
        seed: any text.
    Raises:
        SettingsError: there are not as many different questions.
    """
    left = questions(candidates)
    check_trials(len(left), count)
    generator = random.Random(seed)
    generator.shuffle(left)  # ties are broken by this order
    pairs: Counter[tuple[str, str]] = Counter()
    pictures: Counter[str] = Counter()
    turned: dict[tuple[str, str], bool] = {}
    trials = []
    for _ in range(count):
        question = min(left, key=lambda each: (pairs[each[1:]], pictures[each[0]]))
        left.remove(question)
        picture, *pair = question
        key = (pair[0], pair[1])
        pairs[key] += 1
        pictures[picture] += 1
        turned[key] = not turned.get(key, generator.random() < 0.5)
        trials.append(Trial(picture, *(reversed(pair) if turned[key] else pair)))
    generator.shuffle(trials)
    return trials
