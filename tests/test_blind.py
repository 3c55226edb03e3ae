"""Blind tests: what is drawn, what votes say, and the two commands."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import make_photo
from PIL import Image

from sprdiff.blind import folder as blind_folder
from sprdiff.blind import results
from sprdiff.blind.trials import draw_trials, questions
from sprdiff.blind.votes import Vote, csv_text, json_line, read_votes, without_repetitions
from sprdiff.cli import main
from sprdiff.errors import SettingsError
from sprdiff.methods import METHODS

CANDIDATES = {name: ["sprdiff-final", "avif", "webp"] for name in "abcde"}
CHOSEN = ["sprdiff-final", "avif", "webp"]
BPP = 0.5


pytestmark = pytest.mark.usefixtures("fake_model")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    for seed, name in enumerate(("a.png", "b.png", "more/c <&.png")):
        make_photo(96 + 16 * seed, 80, seed=seed).save(folder / name)
    return folder


def vote(
    nearer: str, other: str, *, trial: int = 1, run: str = "r", left: str = "", study: str = "s"
) -> Vote:
    sides = (nearer, other) if left in ("", nearer) else (other, nearer)
    return Vote(study, run, trial, "a.png", *sides, nearer)


def fails(capsys, *arguments: str | Path) -> str:
    """The one line on stderr with which the command ends."""
    assert main([*map(str, arguments)]) == 2
    output = capsys.readouterr()
    lines = [line for line in output.err.splitlines() if line.startswith("error: ")]
    assert output.out == "" and len(lines) == 1
    return lines[0]


# ---- trials ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [1, 7, 10, 15])
def test_trials_are_different_and_every_pair_and_side_is_drawn_equally_often(seed, count):
    trials = draw_trials(CANDIDATES, count, str(seed))
    asked = [(trial.picture, frozenset((trial.left, trial.right))) for trial in trials]
    assert len(set(asked)) == count
    pairs = Counter(pair for _, pair in asked)
    counts = [pairs[frozenset(pair)] for pair in itertools.combinations(CHOSEN, 2)]
    assert max(counts) - min(counts) <= 1
    for pair in pairs:
        lefts = Counter(trial.left for trial in trials if {trial.left, trial.right} == pair)
        assert max(lefts.values()) - min(lefts[method] for method in pair) <= 1
    shown = Counter(trial.picture for trial in trials)
    assert max(shown.values()) - min(shown[name] for name in CANDIDATES) <= 1


def test_the_seed_decides_and_every_question_comes_up():
    assert draw_trials(CANDIDATES, 10, "1") == draw_trials(CANDIDATES, 10, "1")
    drawn = [draw_trials(CANDIDATES, 10, str(seed)) for seed in range(40)]
    assert len({tuple(trials) for trials in drawn}) == 40
    every = {(trial.picture, trial.left, trial.right) for trials in drawn for trial in trials}
    assert len(every) == 2 * len(questions(CANDIDATES)) == 30
    firsts = {trials[0].left for trials in drawn}
    assert firsts == set(CHOSEN)


def test_a_method_that_is_missing_for_a_picture_is_never_shown_of_it():
    candidates = {"a": ["avif", "webp"], "b": ["avif", "webp", "jpeg"], "c": ["jpeg"]}
    trials = draw_trials(candidates, 4, "0")
    assert Counter(trial.picture for trial in trials) == {"a": 1, "b": 3}
    assert all({trial.left, trial.right} <= set(candidates[trial.picture]) for trial in trials)


@pytest.mark.parametrize("count", [0, 16])
def test_more_trials_than_questions_are_refused(count):
    with pytest.raises(SettingsError, match=rf"1 to 15 trials.*got {count}"):
        draw_trials(CANDIDATES, count, "0")


# ---- votes -------------------------------------------------------------------------------------------------

VOTES = [
    vote("avif", "webp", trial=1),
    vote("webp", "avif", trial=2, left="avif"),
    Vote("s", "q", 1, 'a, "b"\n.png', "jpeg", "avif", "jpeg"),
]


def test_votes_come_back_from_both_kinds_of_file(tmp_path):
    (tmp_path / "v.csv").write_text(csv_text(VOTES))
    (tmp_path / "v.jsonl").write_text("".join(map(json_line, VOTES)))
    assert read_votes(tmp_path / "v.csv") == read_votes(tmp_path / "v.jsonl") == VOTES


def test_a_spreadsheet_may_have_saved_the_file_again(tmp_path):
    text = csv_text(VOTES[:2]).replace(",", ";").replace("\n", "\r\n")
    (tmp_path / "v.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_votes(tmp_path / "v.csv") == VOTES[:2]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("v.csv", b"a,b\n1,2\n", "no file of votes.*study.*missing"),
        ("v.csv", b"", "no file of votes"),
        ("v.csv", b"\xff\xfe\x00", "not text in UTF-8"),
        ("v.csv", csv_text(VOTES[:1]).replace(",1,", ",one,").encode(), "line 2: trial must be.*got one"),
        ("v.csv", csv_text(VOTES[:1]).replace("webp,avif\n", "webp,jpeg\n").encode(), "line 2: nearer.*jpeg"),
        ("v.csv", csv_text(VOTES[:1]).replace("avif,webp,avif", "avif,avif,avif").encode(), "two different"),
        ("v.csv", csv_text(VOTES[:1]).encode() + b"s,r,2,a.png,avif\n", "line 3: not a vote"),
        ("v.jsonl", b'{"study": 1\n', "line 1: not JSON"),
        ("v.jsonl", json_line(VOTES[0]).encode() + b"[]\n", "line 2: not a vote"),
    ],
)
def test_what_is_no_vote_is_refused_with_its_line(name, data, message, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SettingsError, match=message):
        read_votes(tmp_path / name)
    with pytest.raises(SettingsError, match="There is no file"):
        read_votes(tmp_path / "missing.csv")


def test_a_file_given_twice_counts_once():
    assert without_repetitions([*VOTES, *VOTES[:2]]) == (VOTES, 2)


# ---- results -----------------------------------------------------------------------------------------------


def wilson(wins: int, trials: int) -> tuple[float, float]:
    """Written out from Wilson 1927, as the page computes it."""
    z, share = 1.959963984540054, wins / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    return max(0, middle - reach), min(1, middle + reach)


@pytest.mark.parametrize(("wins", "trials"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (52, 100)])
def test_the_interval_is_wilsons(wins, trials):
    found = results.rate("avif", wins, trials)
    assert (found.low, found.high) == pytest.approx(wilson(wins, trials), abs=1e-12)
    assert found.low <= found.share <= found.high


def test_wins_by_method_and_by_pair():
    votes = [vote("avif", "webp", trial=n, left="webp") for n in range(3)]
    votes += [vote("webp", "avif", trial=3), vote("jpeg", "avif", trial=4), vote("jpeg", "avif", run="q")]
    (outcome,) = results.outcomes(votes)
    assert (outcome.study, outcome.runs, outcome.votes) == ("s", 2, 6)
    assert [(row.name, row.wins, row.trials) for row in outcome.methods] == [
        ("jpeg", 2, 2),
        ("avif", 3, 6),
        ("webp", 1, 4),
    ]
    assert [(row.name, row.against, row.wins, row.trials) for row in outcome.pairs] == [
        ("jpeg", "avif", 2, 2),
        ("avif", "webp", 3, 4),
    ]
    assert (outcome.left.wins, outcome.left.trials) == (3, 6)
    table = results.csv_text([outcome]).splitlines()
    assert table[0] == "study,method,against,wins,trials,share,low,high"
    assert table[1].startswith("s,jpeg,all,2,2,1.0000,0.34") and len(table) == 6


def test_studies_are_not_mixed():
    found = results.outcomes([vote("avif", "webp"), vote("webp", "avif", study="t")])
    assert [(outcome.study, outcome.votes) for outcome in found] == [("s", 1), ("t", 1)]


# ---- the commands ------------------------------------------------------------------------------------------


def make(pictures: Path, out: Path, *more: str) -> dict:
    assert main(["blind", str(pictures), "--out", str(out), "--bpp", str(BPP), "--json", *more]) == 0
    return json.loads((out / "key.json").read_text())


def data_of(out: Path) -> dict:
    page = (out / "blind.html").read_text()
    return json.loads(
        re.search(r'<script type="application/json" id="study-data">(.*?)</script>', page).group(1)
    )


def test_the_page_holds_every_picture_without_loss_and_no_name_in_sight(pictures, tmp_path, capsys):
    key = make(pictures, tmp_path / "out")
    shown = json.loads(capsys.readouterr().out)
    assert shown["study"] == key["study"] and sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "blind.html",
        "key.json",
    ]
    page = (tmp_path / "out" / "blind.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)|https?://", page)
    for name in (*METHODS, *METHODS.values(), "c <&.png"):
        assert name.lower() not in re.sub(r"base64,[^\"]+", "", page).lower()

    data = data_of(tmp_path / "out")
    sealed = json.loads(base64.b64decode(data["key"]))
    assert sealed["labels"] == {method: METHODS[method] for method in CHOSEN}
    hashes = {}
    for record in key["pictures"]:
        hashes[record["name"], None] = record["picture_sha256"]
        assert all(row["num_bytes"] <= record["max_bytes"] for row in record["results"])
        hashes |= {(record["name"], row["method"]): row["picture_sha256"] for row in record["results"]}
    assert len(hashes) == len(data["images"]) == 3 * 4
    for url, what in zip(data["images"], sealed["images"], strict=True):
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
            assert (
                hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()
                == hashes[what["picture"], what["method"]]
            )

    # A round asks for what the key says, each trial the two pictures and their original.
    assert len(data["rounds"]) == blind_folder.ROUNDS and data["study"] == key["study"]
    for numbers, trials in zip(data["rounds"], key["rounds"], strict=True):
        for (left, right, original), trial in zip(numbers, trials, strict=True):
            said = [sealed["images"][number] for number in (left, right, original)]
            assert [said[0]["picture"], said[0]["method"], said[1]["method"]] == trial
            assert said[2] == {"picture": trial[0], "method": None} and said[1]["picture"] == trial[0]
    assert len(key["rounds"][0]) == key["trials"] == 9  # three pictures, three pairs: fewer than ten


def test_the_same_command_makes_the_same_page_and_another_seed_another(pictures, tmp_path):
    for name, seed in (("one", "0"), ("same", "0"), ("other", "5")):
        make(pictures, tmp_path / name, "--trials", "2", "--seed", seed, "--methods", "webp,jpeg")
    page = {name: (tmp_path / name / "blind.html").read_text() for name in ("one", "same", "other")}
    assert page["one"] == page["same"] != page["other"]
    assert {len(trials) for trials in data_of(tmp_path / "one")["rounds"]} == {2}


def test_what_cannot_be_a_study_is_one_line_and_leaves_nothing(pictures, tmp_path, capsys):
    out = tmp_path / "out"
    common = ["blind", pictures, "--out", out]
    assert "at least 2 methods, got 1: webp" in fails(capsys, *common, "--methods", "webp")
    assert "Unknown method 'gif'" in fails(capsys, *common, "--methods", "webp,gif")
    assert "at most 24, got 25" in fails(capsys, *common, "--bpp", "25")
    assert "There is no folder" in fails(capsys, "blind", tmp_path / "none", "--out", out)
    (tmp_path / "empty").mkdir()
    assert "There is no image" in fails(capsys, "blind", tmp_path / "empty", "--out", out)
    message = fails(capsys, *common, "--methods", "webp,jpeg", "--trials", "4")
    assert "1 to 3 trials" in message and "got 4" in message
    assert "no picture has two methods" in fails(capsys, *common, "--methods", "webp,jpeg", "--bpp", "0.0001")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"no picture")
    assert "x.png: " in fails(capsys, "blind", tmp_path / "bad", "--out", out, "--methods", "webp,jpeg")
    assert not out.exists()


def test_a_page_that_grows_too_large_is_refused(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(blind_folder, "MAX_PAGE_BYTES", 10_000)
    message = fails(
        capsys, "blind", pictures, "--out", tmp_path / "out", "--methods", "webp,jpeg", "--bpp", "1"
    )
    assert "at most 10,000 bytes; after 1 of 3 pictures" in message


def test_a_method_over_the_budget_is_left_out_of_that_picture_and_said(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    make_photo(640, 480).save(tmp_path / "in" / "large.png")
    make_photo(64, 64).save(tmp_path / "in" / "small.png")
    out = tmp_path / "out"
    options = ["--bpp", "0.1", "--methods", "webp,jpeg,avif", "--out", str(out)]
    assert main(["blind", str(tmp_path / "in"), *options]) == 0
    key = json.loads((out / "key.json").read_text())
    over = {
        (picture["name"], row["method"])
        for picture in key["pictures"]
        for row in picture["results"]
        if row["over_budget"]
    }
    assert over and not any(name == "large.png" for name, _ in over)
    drawn = {(name, method) for trials in key["rounds"] for name, *pair in trials for method in pair}
    assert drawn and not drawn & over
    assert "small.png: its smallest file is over the budget" in capsys.readouterr().err


def test_the_answers_of_several_reviewers_become_one_table(tmp_path, capsys):
    for run, nearer in (("r1", "avif"), ("r2", "avif"), ("r3", "webp")):
        other = "webp" if nearer == "avif" else "avif"
        votes = [vote(nearer, other, run=run, trial=trial, left="avif") for trial in (1, 2)]
        (tmp_path / f"{run}.csv").write_text(csv_text(votes))
    files = [str(tmp_path / f"r{number}.csv") for number in (1, 2, 3, 3)]
    table = tmp_path / "new" / "table.csv"
    assert main(["blind-results", *files, "--out", str(table)]) == 0
    output = capsys.readouterr()
    assert "Study s: 6 answers of 3 runs" in output.out and "2 votes are there more than once" in output.err
    low, high = wilson(4, 6)
    assert re.search(rf"avif +all +4 +6 +67 % +{100 * low:.0f} to {100 * high:.0f} %", output.out)
    assert table.read_text() == results.csv_text(
        results.outcomes(without_repetitions([vote for file in files for vote in read_votes(Path(file))])[0])
    )
    assert main(["blind-results", *files, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["repeated"] == 2 and record["studies"][0]["methods"][0]["name"] == "avif"


def test_results_refuse_what_they_would_overwrite_and_what_is_empty(tmp_path, capsys):
    file = tmp_path / "r.csv"
    file.write_text(csv_text([]))
    assert "There is no vote in" in fails(capsys, "blind-results", file)
    assert "would overwrite an input" in fails(capsys, "blind-results", file, "--out", file)
    assert "must end in .csv" in fails(capsys, "blind-results", file, "--out", tmp_path / "table.txt")


def test_the_pictures_of_the_page_are_those_of_the_files():
    photo = make_photo(50, 40)
    with Image.open(io.BytesIO(base64.b64decode(blind_folder.data_url(photo).partition(",")[2]))) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.asarray(photo))
        assert image.info.get("icc_profile") is None
