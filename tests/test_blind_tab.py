"""What the page makes of a visitor's comparisons for a blind test, and what it keeps of the answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sprdiff.blind.votes import read_votes
from sprdiff.ui.blind_tab import keep_votes, open_study
from sprdiff.ui.sessions import Finished, Session


@pytest.fixture
def session():
    session = Session()
    yield session
    session.close()


def finish(session: Session, name: str, methods: dict[str, bool], bpp: float = 0.03, salt: str = "") -> None:
    """A finished comparison; ``methods`` says whose file is over the budget."""
    rows = [
        {"method": method, "picture": f"{method}.png", "picture_sha256": method + salt, "over_budget": over}
        for method, over in methods.items()
    ]
    record = {"source": name, "target_bpp": bpp, "original": "original.png", "results": rows}
    run = Finished(Path("/nowhere") / name, name, record, {})
    session.finish((name, bpp, tuple(methods), salt), run)


FOUR = dict.fromkeys(("sprdiff-final", "avif", "webp", "jpeg"), False)


def test_a_study_is_made_of_the_comparisons_at_one_budget(session):
    assert open_study(session) is None and session.study is None
    finish(session, "a.png", FOUR, bpp=0.05)
    finish(session, "b.png", FOUR | {"jpeg": True})
    finish(session, "c.png", FOUR)
    study = open_study(session)
    # Two pictures at 0.03: an original each, three and four methods.
    assert len(study["images"]) == 2 + 3 + 4
    assert all(len(trials) == 9 for trials in study["rounds"]), "three pairs and six"
    assert {image["path"].split("/")[2] for image in study["images"]} == {"b.png", "c.png"}


def test_a_picture_compared_again_is_there_once(session):
    finish(session, "a.png", FOUR)
    first = open_study(session)["study"]
    assert open_study(session)["study"] == first, "opened again it is the same"
    finish(session, "a.png", FOUR, salt="other")
    again = open_study(session)
    assert again["study"] != first and len(again["images"]) == 1 + 4


def test_one_method_within_the_budget_is_no_study(session):
    finish(session, "a.png", {"avif": False, "jpeg": True})
    assert open_study(session) is None


def test_answers_are_kept_without_names(session, tmp_path):
    finish(session, "my holiday.png", FOUR)
    study = open_study(session)
    rounds = session.study[1]
    answers = ["left", "right"] * 3
    taken = {"study": study["study"], "run": "0123456789abcdef", "round": 1, "answers": answers}
    keep_votes(session, taken, tmp_path / "votes")
    (file,) = (tmp_path / "votes").iterdir()
    assert "holiday" not in file.read_text()
    votes = read_votes(file)
    assert [vote.nearer for vote in votes] == [
        getattr(trial, side) for trial, side in zip(rounds[1], answers, strict=True)
    ]
    assert {vote.picture for vote in votes} == {"picture 1"}
    keep_votes(session, taken, tmp_path / "votes")
    assert len(list((tmp_path / "votes").iterdir())) == 1, "sent twice it counts once"


@pytest.mark.parametrize(
    "change",
    [
        {"study": "000000000000"},
        {"run": "../../etc/passwd"},
        {"run": 5},
        {"round": 99},
        {"round": True},
        {"answers": ["left"]},
        {"answers": ["up"] * 6},
        {"answers": "left"},
    ],
)
def test_answers_that_do_not_fit_are_not_kept(change, session, tmp_path):
    finish(session, "a.png", FOUR)
    study = open_study(session)
    taken = {"study": study["study"], "run": "0123456789abcdef", "round": 0, "answers": ["left"] * 6}
    keep_votes(session, taken | change, tmp_path / "votes")
    keep_votes(session, None, tmp_path / "votes")
    assert not (tmp_path / "votes").exists()
