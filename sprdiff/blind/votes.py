"""Answers of blind tests as files: CSV, which reviewers send, and JSON Lines, which the page keeps."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from sprdiff.errors import SettingsError


@dataclass(frozen=True)
class Vote:
    """One answer.

    Attributes:
        study: id of the pictures, methods and budget that were compared.
        run: random id of one run through the study; it says nothing about a person.
        trial: place in the run, from 1.
        picture: name of the picture.
        left, right: ids of the methods that were shown there.
        nearer: the one of the two that was said to be nearer to the original.
    """

    study: str
    run: str
    trial: int
    picture: str
    left: str
    right: str
    nearer: str

    @property
    def other(self) -> str:
        """The method that was not chosen."""
        return self.right if self.nearer == self.left else self.left


COLUMNS = tuple(field.name for field in fields(Vote))


def json_line(vote: Vote) -> str:
    """The vote as one line of JSON, with its end."""
    return json.dumps(asdict(vote)) + "\n"


def csv_text(votes: Iterable[Vote]) -> str:
    """The votes as CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(asdict(vote).values() for vote in votes)
    return text.getvalue()


def read_votes(path: Path) -> list[Vote]:
    """The votes of a CSV file, also one that a spreadsheet has saved again, or of one that ends in .jsonl.

    Raises:
        SettingsError: no such file, or a line in it is no vote; the message names the line.
    """
    if not path.is_file():
        raise SettingsError(f"There is no file {path}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not text in UTF-8.") from error
    if path.suffix.lower() == ".jsonl":
        lines = enumerate(text.splitlines(), 1)
        return [_from_json(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    head = text.partition("\n")[0]
    # Spreadsheets separate by semicolons where the comma is the decimal sign.
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in head else ",")
    _check_columns(reader.fieldnames or (), path)
    return [_vote(row, f"{path}, line {reader.line_num}") for row in reader]


def without_repetitions(votes: Iterable[Vote]) -> tuple[list[Vote], int]:
    """The first vote of each trial of each run, and how many others there were: a file given twice."""
    first: dict[tuple[str, str, int], Vote] = {}
    repeated = 0
    for vote in votes:
        key = (vote.study, vote.run, vote.trial)
        repeated += key in first
        first.setdefault(key, vote)
    return list(first.values()), repeated


def _from_json(line: str, where: str) -> Vote:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SettingsError(f"{where}: not JSON.") from error
    values = row if isinstance(row, dict) else {}
    return _vote({key: str(value) for key, value in values.items()}, where)


def _check_columns(found: Sequence[str], path: Path) -> None:
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        raise SettingsError(
            f"{path} is no file of votes: its first line must name {', '.join(COLUMNS)}; "
            f"{', '.join(missing)} is missing."
        )


def _vote(row: Mapping[str, str], where: str) -> Vote:
    if any(not row.get(column) for column in COLUMNS):
        raise SettingsError(f"{where}: not a vote; it needs {', '.join(COLUMNS)}.")
    values = {column: row[column].strip() for column in COLUMNS}
    if not values["trial"].isdecimal():
        raise SettingsError(f"{where}: trial must be a whole number, got {values['trial']}.")
    vote = Vote(trial=int(values.pop("trial")), **values)
    if vote.left == vote.right or vote.nearer not in (vote.left, vote.right):
        raise SettingsError(
            f"{where}: nearer must be one of two different methods, got {vote.nearer} of {vote.left} and "
            f"{vote.right}."
        )
    return vote
