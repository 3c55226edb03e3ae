"""The page while the weights of its metrics are on their way from a slow server."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from browser import Page, resize, wait
from fakes import FakePipeline
from slow_server import SlowServer

from sprdiff.errors import WeightsError
from sprdiff.metrics.download import cached_weights
from sprdiff.ui import build_app, handlers, jobs, launch_options, page, weights
from sprdiff.ui.desk import Desk
from sprdiff.ui.panels import WAITING
from sprdiff.ui.sessions import Session

BODY = bytes(range(250)) * 120
NAME = "net.pth"


def cells(value: dict, column: int) -> set[str]:
    return {panel["cells"][column]["text"] for panel in value["panels"] if panel["cells"]}


@pytest.fixture
def slow(torch_cache, monkeypatch):
    """30 kB of weights for the deep metrics, at 10 kB/s, which stop half way until they are let go on."""
    with SlowServer({NAME: BODY}, seconds=0.1) as server:
        server.held_at = 15_000

        def file():
            return cached_weights(f"{server.url}/{NAME}", "checkpoints")

        for metric in ("lpips-alex", "lpips-vgg", "dists"):
            monkeypatch.setitem(weights.WEIGHTS, metric, (file,))
        monkeypatch.setattr(weights, "START_SECONDS", 0.0)
        monkeypatch.setattr("sprdiff.metrics.deep.cached_weights", no_weights)
        monkeypatch.setattr("sprdiff.metrics.backbones.cached_weights", no_weights)
        yield server


def no_weights(*arguments, **options):
    raise WeightsError("none of its own in this test")


def test_all_pictures_and_quick_numbers_come_while_the_weights_are_fetched(
    slow, session, picture, monkeypatch
):
    monkeypatch.setattr(jobs, "STEP_SECONDS", 0)  # every step of a download that is over at once
    desk = Desk(FakePipeline, "fake", fetch_weights=True)
    methods = ["jpeg", "webp", "jpeg2000", "avif"]
    shares, cells_said, complete = [], [], False
    for frame in handlers.run_comparison(desk, session, picture, {"bpp": 0.2}, methods):
        if frame.viewer is not None:
            complete = len(frame.viewer["panels"]) == 7 and WAITING not in cells(frame.viewer, 1)
            last = frame.viewer
        if "Fetching 30 kB of weights" in frame.status:
            assert complete and cells(last, 2) == {WAITING}
            shares.append(frame.status)
            cells_said.append(dict(frame.awaited))
            if "50 %" in frame.status:
                slow.go_on.set()
    assert len(set(shares)) > 1, "the bar moves"
    assert {"lpips-alex": "fetching weights, 50 %"} in cells_said, "and the cells say so"
    assert not frame.awaited
    assert WAITING not in cells(last, 2) | cells(last, 3) | cells(last, 4)
    assert len(slow.requests) == 1, "one download for the page and its visitors"


@pytest.mark.browser
def test_the_cells_that_wait_say_how_far_their_weights_are(driver, slow, photo_file):
    app = build_app(FakePipeline, model_name="fake", fetch_weights=True)
    _, address, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        resize(driver, 1280, 900)
        page = Page(driver, address).open()

        def said(metric: str) -> list[str]:
            """What the places of a metric show, beside the pictures and in the table."""
            script = """return [...document.querySelectorAll('#viewer .v-metrics, #viewer .v-table tbody tr')]
              .map(box => box.querySelectorAll('dd, td')).map(all => [...all].map(cell => cell.innerText))"""
            beside = {"lpips-alex": 2, "dists": 3}[metric]
            return [row[beside if len(row) == 4 else 4 + beside].split("\n")[0] for row in page.run(script)]

        page.choose(photo_file)
        page.set_bpp(0.03)
        page.press_compare()
        wait(lambda: said("lpips-alex") == ["fetching weights, 50 %"] * 12, "the state of the weights")
        assert said("dists") == ["…"] * 12, "its turn comes later"
        page.run(
            """const link = document.querySelector('#viewer .v-links a');
            window.states = [];
            document.addEventListener('sprdiff-awaited', event =>
              window.states.push([event.detail['lpips-alex'], document.contains(link)]));"""
        )
        slow.go_on.set()
        wait(page.idle, "the last number")
        states = [state for state in page.run("return window.states") if state[0]]
        assert len({words for words, _ in states}) > 1, "it moves"
        assert all(there for _, there in states), "and what somebody may be clicking on stays"
        assert set(said("lpips-alex") + said("dists")) == {"–"}
        assert "none of its own in this test" in page.find(".v-table").text, "with the reason"
    finally:
        app.close()


def test_who_waits_for_weights_keeps_nobody_from_pictures(slow, session, picture, monkeypatch):
    """Where one run works at once, and it waits for a slow download, the pictures of the next one come."""
    monkeypatch.setattr("sprdiff.ui.desk.RUNS", 1)
    desk = Desk(FakePipeline, "fake", fetch_weights=True)

    def frames(session: Session) -> Iterator[handlers.Shown]:
        return handlers.run_comparison(desk, session, picture, {"bpp": 0.2}, ["jpeg"])

    first = frames(session)
    next(frame for frame in first if "Fetching 30 kB" in frame.status)  # and left there
    values = []
    for frame in frames(desk.sessions.of("another visitor")):
        values += [frame.viewer] if frame.viewer else []
        if "Fetching 30 kB" in frame.status:
            break
    assert len(values[-1]["panels"]) == 4 and WAITING not in cells(values[-1], 1)
    slow.go_on.set()
    assert "Fetching" not in list(first)[-1].status, "it had its weights in the end"


def test_the_masthead_says_how_far_it_is(slow):
    desk = Desk(FakePipeline, "fake", fetch_weights=True)
    seen = set()
    while desk.weights.fetching:
        seen.add(page.weights_html())
        if "50 %" in "".join(seen):
            slow.go_on.set()
        time.sleep(0.01)
    assert any("Fetching 30 kB of weights for the metrics, 50 %" in line for line in seen)


def test_a_visitor_who_stops_does_not_wait_for_weights(slow, session, picture):
    desk = Desk(FakePipeline, "fake")
    for frame in handlers.run_comparison(desk, session, picture, {"bpp": 0.2}, []):
        if "Fetching 30 kB" in frame.status:
            session.stop()
    assert "Stopped" in frame.status
    assert weights.downloads(), "the download goes on"
    slow.go_on.set()
    desk.weights.wait("dists")


def test_without_a_network_the_reason_comes_at_once(torch_cache, monkeypatch, session, picture):
    def no_network(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    desk = Desk(FakePipeline, "fake", fetch_weights=True)
    *_, last = handlers.run_comparison(desk, session, picture, {"bpp": 0.2}, [])
    reasons = {panel["cells"][2]["reason"] for panel in last.viewer["panels"] if panel["cells"]}
    assert reasons == {
        "its weights are not here and download.pytorch.org does not give them (Name or service not known)"
    }
