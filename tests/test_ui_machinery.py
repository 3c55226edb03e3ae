"""What works behind the page: the model in the background, jobs, sessions, and endpoints for programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import gradio as gr
import pytest
from fakes import FakePipeline
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from pictures import same_pixels
from PIL import Image

from sprdiff.errors import BitstreamError, SettingsError, WeightsError
from sprdiff.ui import build_app, jobs, launch_options, texts
from sprdiff.ui.compare_tab import baseline_choices
from sprdiff.ui.desk import Desk
from sprdiff.ui.model import BackgroundModel
from sprdiff.ui.scratch import KEPT_SECONDS, Scratch, remove_abandoned
from sprdiff.ui.sessions import IDLE_SECONDS, Sessions

REPOSITORY = Path(__file__).resolve().parent.parent
BPP = 0.2
"""The test photograph is so small that less would not hold a JPEG."""


# ---- the machinery -----------------------------------------------------------------------------------------


def test_the_model_loads_in_the_background_and_says_so():
    gate = threading.Event()

    def load():
        gate.wait(10)
        return FakePipeline()

    model = BackgroundModel(load, "fake")
    assert model.state.phase == "waiting"
    model.start()
    states = model.states()
    assert next(states).phase == "loading"
    gate.set()
    assert next(states).phase == "ready"
    assert list(states) == []
    assert model.get() is model.get()


def test_a_model_that_cannot_be_had_is_one_sentence_and_tried_again():
    tries = []

    def load():
        tries.append(1)
        if len(tries) == 1:
            raise WeightsError("There is no checkpoint at nowhere.")
        return FakePipeline()

    model = BackgroundModel(load, "fake")
    with pytest.raises(WeightsError, match="no checkpoint at nowhere"):
        model.get()
    assert model.state.phase == "failed"
    assert model.get().fingerprint == FakePipeline().fingerprint


def test_a_failing_warm_up_harms_nothing():
    phases = []

    def warm_up(pipeline):
        phases.append(model.state.phase)
        raise OSError("no weights")

    model = BackgroundModel(FakePipeline, "fake", warm_up)
    assert model.get() is model.get()
    assert phases == ["loading"] and model.state.phase == "ready"


def test_the_model_is_warm_when_it_is_ready():
    desk = Desk(FakePipeline, "fake")
    assert desk.model.get().calls["decompress"] == 1


def test_two_runs_never_use_the_model_together():
    lock, inside, most = threading.Lock(), [], []

    def work(report, emit):
        with jobs.turn(lock, report):
            inside.append(1)
            most.append(len(inside))
            report(0.5, "half")
            threading.Event().wait(0.05)
            emit("done")
            inside.pop()

    seen: list[list] = [[], []]
    threads = [
        threading.Thread(target=lambda to=to: to.extend(jobs.follow(work, threading.Event()))) for to in seen
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1, 1]
    assert [events[-1] for events in seen] == [jobs.Result("done")] * 2


def test_a_waiting_run_says_so_and_can_be_stopped():
    lock, stop = threading.Lock(), threading.Event()

    def work(report, emit):
        with jobs.turn(lock, report):
            emit("never")

    with lock:
        events = jobs.follow(work, stop)
        assert next(events) == jobs.Step(0.0, texts.BUSY)
        stop.set()
        assert list(events) == []


def test_errors_of_the_work_reach_the_follower():
    def work(report, emit):
        with jobs.turn(lock, report):
            raise BitstreamError("broken")

    lock = threading.Lock()
    with pytest.raises(BitstreamError, match="broken"):
        list(jobs.follow(work, threading.Event()))
    assert not lock.locked()


def test_a_session_takes_its_files_with_it(photo):
    sessions = Sessions(Scratch())
    session = sessions.of("one")
    assert sessions.of("one") is session and sessions.of("two") is not session
    path = Path(session.save_picture(photo, "a")["path"])
    stop = session.new_run()
    assert path.is_file() and not stop.is_set()
    sessions.close("one")
    assert not session.folder.exists() and stop.is_set()
    assert sessions.of("one") is not session
    with pytest.raises(SettingsError, match="closed"):
        session.save_bytes(b"late", "a", ".spr")
    for name in ("one", "two"):
        sessions.close(name)


def test_a_session_that_nobody_uses_is_closed(monkeypatch):
    sessions = Sessions(Scratch())
    session = sessions.of("one")
    session.used -= IDLE_SECONDS - 60
    sessions.of("two")
    assert session.folder.exists(), "not yet"
    session.used -= 120
    sessions.of("two")
    assert not session.folder.exists()


def test_answers_are_removed_after_an_hour():
    scratch = Scratch()
    old, young = scratch.answer_folder(), scratch.answer_folder()
    page = scratch.new_folder("page")
    long_ago = time.time() - KEPT_SECONDS - 1
    for folder in (old, page):
        os.utime(folder, (long_ago, long_ago))
    scratch.answer_folder()
    assert not old.exists() and young.exists() and page.exists()
    scratch.close()
    assert not scratch.folder.exists()


def test_a_killed_servers_files_go_when_another_begins(tmp_path, monkeypatch):
    script = (
        "import sys, time; from sprdiff.ui.scratch import Scratch; s = Scratch(); "
        "(s.new_folder('page') / 'a.png').write_bytes(b'x'); print(s.folder, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    servers = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        dead, alive = (Path(server.stdout.readline().strip()) for server in servers)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        remove_abandoned()
        assert dead.exists() and alive.exists()
        servers[0].kill()
        servers[0].wait()
        remove_abandoned()
        assert not dead.exists() and (alive / ".alive").exists()
    finally:
        for server in servers:
            server.kill()
            server.wait()


# ---- programs ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client():
    app = build_app(FakePipeline, model_name="fake")
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, server_port=None, **launch_options())
    yield Client(url, verbose=False)
    app.close()


def test_endpoints_answer_a_client(client, photo, tmp_path):
    photo.save(tmp_path / "a.png")
    image = handle_file(str(tmp_path / "a.png"))
    stream, facts = client.predict(image=image, target_bpp=BPP, api_name="/compress")
    data = Path(stream).read_bytes()
    assert data == FakePipeline().compress(photo, target_bpp=BPP)
    assert facts["bytes"] == len(data) <= facts["max_bytes"]
    assert facts["bpp"] == pytest.approx(8 * len(data) / (photo.width * photo.height))

    coarse, final, header = client.predict(stream=handle_file(stream), api_name="/decompress")
    expected = FakePipeline().decompress(data)
    with Image.open(coarse) as one, Image.open(final) as two:
        assert same_pixels(one, expected.coarse) and same_pixels(two, expected.final)
    assert (header["width"], header["height"]) == photo.size
    assert sum(header["rate"].values()) == len(data)

    report, files = client.predict(
        image=image, target_bpp=BPP, methods=["sprdiff-final", "webp"], api_name="/compare"
    )
    assert [row["method"] for row in report["results"]] == ["sprdiff-final", "webp"]
    by_name = {Path(file).name: Path(file) for file in files}
    names = {"original.png", "results.json", "sprdiff-final.png", "sprdiff.spr", "webp.png", "webp.webp"}
    assert set(by_name) == names
    assert by_name["webp.webp"].stat().st_size == report["results"][1]["num_bytes"]


def test_an_endpoint_refuses_in_one_sentence(client, tmp_path):
    (tmp_path / "a.spr").write_bytes(b"nothing of ours")
    with pytest.raises(Exception, match=r"not a \.spr stream"):
        client.predict(stream=handle_file(str(tmp_path / "a.spr")), api_name="/decompress")


def test_baseline_choices_are_known_methods():
    from sprdiff.methods import METHODS

    assert {method for _, method in baseline_choices()} <= set(METHODS)


def test_calls_that_nobody_waits_for_are_not_made(monkeypatch):
    """Those that lie in the queue when their client leaves, nor one that gets there afterwards."""
    monkeypatch.setenv("GRADIO_HEARTBEAT_INTERVAL", "0.3")
    gate, left = threading.Event(), threading.Event()
    close = Sessions.close

    def notice(sessions, session_hash):
        close(sessions, session_hash)
        left.set()

    class Gated(FakePipeline):
        def encode(self, image, **options):
            self.calls["begun"] += 1
            assert gate.wait(120)
            return super().encode(image, **options)

    monkeypatch.setattr(Sessions, "close", notice)
    pipeline = Gated()
    app = build_app(lambda: pipeline, model_name="fake")
    _, address, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    gate.set()
    picture = str(REPOSITORY / "assets/examples/chelsea.png")
    try:
        stays = Client(address, verbose=False)
        stays.predict(handle_file(picture), 0.2, api_name="/compress")  # after those that warm the model up
        gate.clear()
        begun = pipeline.calls["begun"]
        script = """
import sys, time
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
client = Client(sys.argv[1], verbose=False)
jobs = [client.submit(handle_file(sys.argv[2]), 0.2, api_name="/compress") for _ in range(30)]
while not all(job.status().code.name in ("IN_QUEUE", "PROCESSING") for job in jobs):
    time.sleep(0.05)
print(client.session_hash, flush=True)
time.sleep(120)
"""
        leaver = subprocess.Popen(
            [sys.executable, "-c", script, address, picture], stdout=subprocess.PIPE, text=True
        )
        session_hash = leaver.stdout.readline().strip()
        assert session_hash
        leaver.kill()
        leaver.wait()
        assert left.wait(60), "its heartbeat never ended"
        gate.set()
        # Behind the others in the queue, so they have had their turn when it has its answer.
        stays.predict(handle_file(picture), 0.2, api_name="/compress")
        # The one that ran when its client left, and the next client's.
        assert pipeline.calls["begun"] == begun + 2

        late = Client(address, verbose=False)
        late.session_hash = session_hash
        with pytest.raises(AppError, match=re.escape(texts.PAGE_CLOSED)):
            late.predict(handle_file(picture), 0.2, api_name="/compress")
        assert pipeline.calls["begun"] == begun + 2
    finally:
        gate.set()
        app.close()


def test_the_queue_of_gradio_has_the_pace_that_the_page_sets():
    """Under other names the page would set them without an effect."""
    ours, theirs = (
        vars(app._queue) for app in (build_app(FakePipeline, model_name="fake"), gr.Blocks().queue())
    )
    for name in ("sleep_when_free", "progress_update_sleep_when_free"):
        assert ours[name] > theirs[name]


def test_steps_that_follow_each_other_closely_are_drawn_once_and_the_last_one_in_time():
    go_on = threading.Event()

    def work(report, emit):
        for number in range(100):
            report(number / 100, "quick")
        emit("a picture")
        for number in range(100):
            report(number / 100, f"step {number}")
        assert go_on.wait(30)

    events = jobs.follow(work, threading.Event())
    assert next(events) == jobs.Step(0.0, "quick")
    assert next(events) == jobs.Result("a picture"), "and none of the steps before it"
    assert next(events) == jobs.Step(0.99, "step 99"), "although nothing follows"
    go_on.set()
    assert list(events) == []


def test_a_process_that_ends_while_a_run_computes_ends_in_order():
    """A daemon thread inside torch aborted it (exit code 134, or -6)."""
    script = """
import threading, torch
from sprdiff.ui.jobs import follow
def work(report, emit):
    x = torch.rand(400, 400)
    while True:
        report(0.5, "computing")
        for _ in range(20):
            x = (x @ x).softmax(0)
run = follow(work, threading.Event())
next(run)
print("ended")
"""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr


def test_a_process_that_ends_while_the_metrics_warm_up_ends_in_order():
    script = """
import threading, torch
from fakes import FakePipeline
from sprdiff import metrics
from sprdiff.ui.desk import Desk
measuring = threading.Event()
def measure(reference, image, ids):
    x = torch.rand(400, 400)
    for _ in range(400 if reference.width > 192 else 1):
        measuring.set()
        x = (x @ x).softmax(0)
metrics.measure = measure
desk = Desk(FakePipeline, "fake", fetch_weights=True)
desk.weights.wait = lambda metric, report=None: None
desk.model.get()
measuring.wait()
print("ended")
"""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])},
        )
        assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
