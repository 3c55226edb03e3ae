"""Twenty visitors at once, over HTTP: nobody gets another's picture, and who has left costs nothing."""

from __future__ import annotations

import errno
import io
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from conftest import make_photo
from fakes import FakePipeline
from pictures import same_pixels
from PIL import Image
from visitors import Visitor, start_server, wait

from sprdiff.baselines import BASELINES
from sprdiff.errors import SettingsError
from sprdiff.metrics import METRICS
from sprdiff.ui import build_app, handlers, jobs, launch_options, texts
from sprdiff.ui.api import compare_file
from sprdiff.ui.page import MAX_PAGES
from sprdiff.ui.panels import METRIC_IDS
from sprdiff.ui.scratch import remove_abandoned

VISITORS = 20
BPP = 0.4


@pytest.fixture(autouse=True)
def quick_metrics(monkeypatch):
    """Deep metrics would fetch their weights."""
    for metric in METRIC_IDS:
        if METRICS[metric].deep:
            monkeypatch.setitem(METRICS, metric, replace(METRICS[metric], function=lambda *_: 0.5))


@contextmanager
def served(pipeline: FakePipeline) -> Iterator[str]:
    """The page's address."""
    app = build_app(lambda: pipeline, model_name="fake")
    _, address, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        yield address
    finally:
        app.close()


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def fetched(visitor: Visitor, file: dict) -> bytes:
    return visitor.get(file["url"]).raise_for_status().content


def test_twenty_visitors_get_their_own_pictures_and_know_their_place():
    pipeline = FakePipeline(seconds=0.05)
    photos = [make_photo(96, 96, seed=seed) for seed in range(VISITORS)]
    waits: list[float] = []
    ended = threading.Event()

    def visit(number: int) -> list[str]:
        with Visitor(address) as visitor:
            visitor.choose(f"{number}.png", png(photos[number]))
            panels = {panel["id"]: panel for panel in visitor.compare(BPP, [])["panels"]}
            with Image.open(io.BytesIO(fetched(visitor, panels["original"]["picture"]))) as shown:
                assert same_pixels(shown, photos[number])
            data = fetched(visitor, panels["sprdiff-final"]["file"])
            assert data == FakePipeline().compress(photos[number], target_bpp=BPP)
            return visitor.notes

    def look() -> None:
        with Visitor(address) as other:
            while not ended.wait(1):
                started = time.monotonic()
                other.get("/config").raise_for_status()
                waits.append(time.monotonic() - started)

    with served(pipeline) as address, ThreadPoolExecutor(VISITORS + 1) as pool:
        looking = pool.submit(look)
        try:
            notes = list(pool.map(visit, range(VISITORS)))
        finally:
            ended.set()
        looking.result()
    assert any(texts.WAITING.format(number=5) in note for each in notes for note in each)
    assert pipeline.calls["encode"] == VISITORS + 1, "one each, and one to warm up"
    # Requests that need no model; generous, since this process is server and visitors at once.
    assert sorted(waits)[len(waits) // 2] < 5


def test_a_browser_that_closes_in_the_middle_frees_its_place():
    pipeline = FakePipeline(seconds=0.3)
    with served(pipeline) as address:
        leavers = [Visitor(address) for _ in range(8)]
        for number, visitor in enumerate(leavers):
            visitor.choose("a.png", png(make_photo(160, 160, seed=number)))
        threads = [threading.Thread(target=_left_to_run, args=(visitor,), daemon=True) for visitor in leavers]
        for thread in threads:
            thread.start()
        assert wait(lambda: pipeline.calls["encode"] >= 2)
        for visitor in leavers:
            visitor.leave()
        time.sleep(2)  # to notice
        done = pipeline.calls["encode"]
        assert done < 8
        with Visitor(address) as visitor:
            visitor.choose("b.png", png(make_photo(160, 160, seed=99)))
            assert len(visitor.compare(BPP, [])["panels"]) == 3
        assert pipeline.calls["encode"] == done + 1, "none of those who left was served"


def _left_to_run(visitor: Visitor) -> None:
    try:
        visitor.compare(BPP, [])
    except Exception:  # the connection is closed under it
        return


# ---- the line ----------------------------------------------------------------------------------------------


def test_the_line_is_kept_in_order_and_says_its_numbers():
    line, gate, order, notes = jobs.Line(1, 5), threading.Event(), [], []

    def run(name: int) -> None:
        with line.turn(lambda share, note: notes.append((name, note))):
            order.append(name)
            gate.wait(10)

    threads = []
    for name in range(3):
        threads.append(threading.Thread(target=run, args=(name,)))
        threads[-1].start()
        time.sleep(0.1)
    assert wait(lambda: (2, texts.WAITING.format(number=2)) in notes)
    assert (1, texts.WAITING.format(number=1)) in notes and order == [0]
    gate.set()
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2]


def test_who_leaves_the_line_is_not_waited_for():
    line = jobs.Line(1, 5)

    def leave(share: float, note: str) -> None:
        raise jobs.Stopped

    with line.turn(leave), pytest.raises(jobs.Stopped), line.turn(leave):
        pass
    with line.turn(leave):
        pass


def test_a_full_line_is_one_sentence():
    line, gate = jobs.Line(1, 2), threading.Event()

    def run() -> None:
        with line.turn(lambda share, note: None):
            gate.wait(10)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        line.check_room()
        thread.start()
        time.sleep(0.1)
    with pytest.raises(SettingsError, match="2 runs are waiting already"):
        line.check_room()
    gate.set()
    for thread in threads:
        thread.join(10)
    line.check_room()


# ---- what must not be shared or kept -----------------------------------------------------------------------


def test_programs_measure_in_turn_with_the_page(desk, photo, tmp_path):
    photo.save(tmp_path / "a.png")

    def report(share: float, note: str) -> None:
        if note == texts.BUSY:
            raise jobs.Stopped

    with desk.measuring, pytest.raises(jobs.Stopped):
        compare_file(desk, str(tmp_path / "a.png"), BPP, ["jpeg"], None, report)
    assert desk.model.lock.acquire(timeout=1)


def test_a_failure_of_a_baseline_is_not_remembered(desk, session, picture, monkeypatch):
    class Broken:
        label = "WebP"

        def compress(self, image: Image.Image, *, max_bytes: int) -> None:
            raise OSError("encoder error -2")

    def last() -> dict:
        return list(handlers.run_comparison(desk, session, picture, {"bpp": BPP}, ["webp"]))[-1].viewer

    with monkeypatch.context() as broken:
        broken.setitem(BASELINES, "webp", Broken())
        assert [each["label"] for each in last()["missing"]] == ["WebP"]
    again = last()
    assert again["missing"] == [] and again["panels"][-1]["id"] == "webp"


def test_gradio_keeps_the_components_of_the_last_pages_alone():
    app = build_app(FakePipeline, model_name="fake")
    app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        for page in range(MAX_PAGES + 20):
            assert app.state_holder[str(page)] is not None  # made at the first call of a page
        assert len(app.state_holder.session_data) <= MAX_PAGES + 1
    finally:
        app.close()


def test_uploads_to_a_killed_server_go_when_the_next_one_begins(tmp_path, monkeypatch):
    server, address = start_server(tmp_path)
    try:
        with Visitor(address) as visitor:
            uploaded = Path(visitor.upload("a.png", png(make_photo(96, 96))))
        assert uploaded.is_file() and uploaded.is_relative_to(tmp_path)
    finally:
        server.kill()
        server.wait()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    remove_abandoned()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_full_disk_is_a_sentence_and_named_in_the_log(desk, session, photo, tmp_path, monkeypatch, caplog):
    photo.save(tmp_path / "a.png")

    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(gr.Error, match="cannot write its files"), handlers.clear_errors():
        handlers.show_picture(desk, session, str(tmp_path / "a.png"), "a.png")
    assert str(session.run_folder) in caplog.text
