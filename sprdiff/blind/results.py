"""What the votes say: how often each method was chosen, with the interval that so few answers allow."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sprdiff.blind.votes import Vote

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rate:
    """How often something was chosen.

    Attributes:
        name: id of a method, or ``left`` for the side.
        against: id of the one method it was compared with; None for all together.
        wins, trials: how often it was chosen, and shown.
        share: wins / trials, in [0, 1].
        low, high: Wilson's interval of the share at 95 % (Wilson 1927), which takes answers as independent.
    """

    name: str
    against: str | None
    wins: int
    trials: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcome:
    """All votes of one study.

    Attributes:
        runs: how many runs through it, complete or not.
        votes: how many answers.
        methods, pairs: the most often chosen first; each pair with its winner as ``name``.
        left: how often the left side was chosen: far from one half, the votes say more about the side.
    """

    study: str
    runs: int
    votes: int
    methods: list[Rate]
    pairs: list[Rate]
    left: Rate


def rate(name: str, wins: int, trials: int, against: str | None = None) -> Rate:
    """The share of ``wins`` in ``trials``, at least 1, with its interval."""
    from scipy.stats import binomtest

    interval = binomtest(wins, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Rate(name, against, wins, trials, wins / trials, float(interval.low), float(interval.high))


def outcomes(votes: Sequence[Vote]) -> list[Outcome]:
    """One for each study among the votes, in the order in which they appear."""
    studies: dict[str, list[Vote]] = {}
    for vote in votes:
        studies.setdefault(vote.study, []).append(vote)
    return [_outcome(study, of_study) for study, of_study in studies.items()]


def csv_text(found: Sequence[Outcome]) -> str:
    """A row for each method and each pair of every study."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["study", "method", "against", "wins", "trials", "share", "low", "high"])
    for outcome in found:
        for row in (*outcome.methods, *outcome.pairs):
            numbers = (f"{value:.4f}" for value in (row.share, row.low, row.high))
            writer.writerow([outcome.study, row.name, row.against or "all", row.wins, row.trials, *numbers])
    return text.getvalue()


def table(outcome: Outcome) -> list[str]:
    """The outcome as lines of text; shares and intervals in per cent."""
    rows = [("method", "against", "wins", "trials", "share", "95 % interval")]
    for row in (*outcome.methods, *outcome.pairs):
        rows.append(
            (
                row.name,
                row.against or "all",
                str(row.wins),
                str(row.trials),
                _percent(row.share),
                _interval(row),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    about = f"Study {outcome.study}: {outcome.votes} answers of {outcome.runs} runs"
    side = f"The left side was chosen in {_percent(outcome.left.share)} ({_interval(outcome.left)})."
    return [about, *lines, side]


def _outcome(study: str, votes: Sequence[Vote]) -> Outcome:
    wins = Counter((vote.nearer, vote.other) for vote in votes)
    shown = Counter(method for vote in votes for method in (vote.left, vote.right))
    won = Counter(vote.nearer for vote in votes)
    methods = [rate(method, won[method], trials) for method, trials in shown.items()]
    pairs = []
    for one, other in sorted({(min(pair), max(pair)) for pair in wins}):
        if wins[one, other] < wins[other, one]:
            one, other = other, one
        pairs.append(rate(one, wins[one, other], wins[one, other] + wins[other, one], other))
    return Outcome(
        study=study,
        runs=len({vote.run for vote in votes}),
        votes=len(votes),
        methods=sorted(methods, key=_rank),
        pairs=sorted(pairs, key=_rank),
        left=rate("left", sum(vote.nearer == vote.left for vote in votes), len(votes)),
    )


def _rank(row: Rate) -> tuple[Any, ...]:
    return -row.share, -row.trials, row.name


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(row: Rate) -> str:
    return f"{100 * row.low:.0f} to {100 * row.high:.0f} %"
