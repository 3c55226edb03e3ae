"""Several models on one page: what a visitor chooses, what stays in memory, what a failure leaves."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fakes import FINGERPRINT, FakePipeline
from gradio_client import Client, handle_file

from sprdiff.errors import BitstreamError, SettingsError, WeightsError
from sprdiff.ui import build_app, handlers, launch_options
from sprdiff.ui.desk import Desk
from sprdiff.ui.model import RESERVED_BYTES, Checkpoint, Models

OTHER = FINGERPRINT[::-1]


def other() -> FakePipeline:
    return FakePipeline(OTHER)


def missing(on_bytes) -> int:
    raise WeightsError("There is no repository nobody/nothing.")


@pytest.fixture
def desk() -> Desk:
    others = [Checkpoint("other", other), Checkpoint("missing", FakePipeline, missing)]
    return Desk(FakePipeline, "fake", others=others)


def choose(desk: Desk, name: str) -> list[str]:
    return [state.phase for state in handlers.choose_model(desk, "visitor", name)]


def frames(desk: Desk, session, picture) -> list:
    return list(handlers.run_comparison(desk, session, picture, {"bpp": 0.2}, []))


def test_a_visitor_chooses_for_herself(desk, picture):
    mine, theirs = desk.sessions.of("visitor"), desk.sessions.of("somebody else")
    assert choose(desk, "other")[-1] == "ready"
    assert mine.model == desk.sessions.of("visitor/decode").model == "other"
    assert theirs.model is None
    for session, name, fingerprint in ((mine, "other", OTHER), (theirs, "fake", FINGERPRINT)):
        last = frames(desk, session, picture)[-1]
        assert last.viewer["settings"].endswith(f", SPRDiff by {name}")
        assert session.on_view.record["fingerprint"] == fingerprint
    assert choose(desk, "fake")[-1] == "ready"
    assert frames(desk, mine, picture)[-1].viewer["settings"].endswith("SPRDiff by fake"), "not the other's"


def test_a_model_that_cannot_be_had_leaves_the_other_one(desk):
    desk.model.get()
    states = handlers.choose_model(desk, "visitor", "missing")
    with pytest.raises(WeightsError, match=r"missing cannot be used, so fake stays\. There is no repository"):
        for state in states:
            last = state
    assert (last.name, last.phase) == ("fake", "ready")
    assert desk.sessions.of("visitor").model is None and desk.model.state.phase == "ready"
    with pytest.raises(SettingsError, match="no model 'nonsense' here, only: fake, other, missing"):
        choose(desk, "nonsense")


def test_the_later_choice_wins():
    gate = threading.Event()
    slow = Checkpoint("slow", lambda: gate.wait(10) and FakePipeline(OTHER))
    desk = Desk(FakePipeline, "fake", others=[slow])
    desk.model.get()
    first = handlers.choose_model(desk, "visitor", "slow")
    assert next(first).phase == "loading"
    assert choose(desk, "fake")[-1] == "ready"
    gate.set()
    list(first)
    assert desk.sessions.of("visitor").model == "fake"


def test_a_download_says_how_far_it_is():
    arrived = iter([(0, 61_000_000), (24_400_000, 61_000_000), (24_400_001, 61_000_000)])
    go_on = threading.Event()

    def fetch(on_bytes) -> int:
        for received, total in arrived:
            on_bytes(received, total)
        go_on.wait(10)
        return 61_000_000

    model = Models([Checkpoint("large", FakePipeline, fetch)]).default
    model.start()
    seen, notes = [], []

    def report(share: float, note: str) -> None:
        notes.append(note)
        go_on.set()

    follower = threading.Thread(target=lambda: seen.extend(model.states()))
    follower.start()
    model.get(report)
    follower.join(10)
    assert notes[0] == "Downloading the model: 24 MB of 61 MB, 40 %"
    assert "24 MB of 61 MB, 40 %" in [state.detail for state in seen if state.phase == "fetching"]
    assert seen[-1].detail == FINGERPRINT[:12], "then what it always was"


@pytest.mark.parametrize(("available", "kept"), [(RESERVED_BYTES + 2000, 2), (RESERVED_BYTES + 1999, 1)])
def test_two_stay_in_memory_only_where_there_is_room(available, kept):
    checkpoints = [
        Checkpoint(name, load, lambda on_bytes: 1000) for name, load in (("a", FakePipeline), ("b", other))
    ]
    models = Models(checkpoints, available=lambda: available)
    a, b = models["a"], models["b"]
    first = a.get()
    with a.use(lambda *step: None) as pipeline:
        assert pipeline is first
        b.start()
        assert b.state.phase != "ready", "who works is not interrupted"
    b.get()
    assert sum(each.state.phase == "ready" for each in (a, b)) == kept
    with a.use(lambda *step: None) as pipeline:
        assert (pipeline is first) == (kept == 2)
    assert sum(each.state.phase == "ready" for each in (a, b)) == kept


def test_what_cannot_be_fetched_pushes_nothing_out_of_memory():
    models = Models([Checkpoint("a", FakePipeline), Checkpoint("b", other, missing)], available=lambda: 0)
    first = models["a"].get()
    with pytest.raises(WeightsError):
        models["b"].get()
    assert models["a"].get() is first


def test_a_stream_is_read_by_the_model_that_made_it(desk, session, photo, tmp_path):
    data = other().compress(photo, target_bpp=0.2)
    (tmp_path / "a.spr").write_bytes(data)

    def decode() -> list:
        return list(handlers.decode_file(desk, session, str(tmp_path / "a.spr"), "a.spr"))

    with pytest.raises(BitstreamError, match=r"another checkpoint.* Choose the model on this page"):
        decode()
    desk.models["other"].get()
    assert "other, fingerprint" in decode()[-1].status


def test_programs_name_the_model(photo, tmp_path):
    photo.save(tmp_path / "a.png")
    image = handle_file(str(tmp_path / "a.png"))
    app = build_app(FakePipeline, model_name="fake", others=[Checkpoint("other", other)])
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        client = Client(url, verbose=False)

        def fingerprint(**model: str) -> str:
            methods = ["sprdiff-coarse"]
            report, _ = client.predict(image, 0.2, methods, api_name="/compare", **model)
            return report["fingerprint"]

        assert fingerprint() == FINGERPRINT, "the first, where none is named"
        assert fingerprint(model="other") == OTHER
        for call in ([image, 0.2, "nonsense", "/compress"], [image, 0.2, ["webp"], "nonsense", "/compare"]):
            with pytest.raises(Exception, match=r"no model .*nonsense.* here, only: fake, other"):
                client.predict(*call[:-1], api_name=call[-1])
        stream, _ = client.predict(image, 0.2, model="other", api_name="/compress")
        assert Path(stream).read_bytes() == other().compress(photo, target_bpp=0.2)
        *_, header = client.predict(handle_file(stream), api_name="/decompress")
        assert OTHER.startswith(header["fingerprint"]), "the one that made it, whichever is named"
    finally:
        app.close()
