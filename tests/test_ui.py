"""The page without a browser: its handlers are plain functions, its endpoints answer a client."""

from __future__ import annotations

import ast
import base64
import csv
import io
import json
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from fakes import FakePipeline
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file
from PIL import Image, ImageChops

from sprdiff.errors import BitstreamError, InputImageError, SettingsError, WeightsError
from sprdiff.metrics import METRICS, MetricValue
from sprdiff.metrics.rate import max_bytes
from sprdiff.ui import build_app, handlers, jobs, launch_options, panels, texts
from sprdiff.ui.compare_tab import EXAMPLE_TITLES, EXAMPLES, baseline_choices
from sprdiff.ui.desk import Desk
from sprdiff.ui.how_tab import how_html
from sprdiff.ui.model import BackgroundModel
from sprdiff.ui.page import model_html
from sprdiff.ui.sessions import Session, Sessions, file_stem
from sprdiff.ui.sweep import SWEEP_BPPS, run_sweep
from sprdiff.ui.takeaway import make_figure

REPOSITORY = Path(__file__).resolve().parent.parent
BPP = 0.2
"""The test photograph is so small that less would not hold a JPEG."""


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and ImageChops.difference(one, other).getbbox() is None


@pytest.fixture
def desk() -> Desk:
    return Desk(FakePipeline, "fake")


@pytest.fixture
def session():
    session = Session()
    yield session
    session.close()


@pytest.fixture
def picture(photo, session, tmp_path):
    photo.save(tmp_path / "a photo.png")
    return handlers.show_picture(session, str(tmp_path / "a photo.png"), "a photo.png")[0]


# ---- the house ---------------------------------------------------------------------------------------------


def test_app_is_short_and_knows_no_model():
    source = (REPOSITORY / "app.py").read_text(encoding="utf-8")
    imported = {
        name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module])
    }
    assert len(source.splitlines()) < 60
    assert not {"torch", "gradio"} & {name.split(".")[0] for name in imported}


def test_the_page_builds_without_torch():
    code = (
        "import os, sys; os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'\n"
        "from sprdiff.ui import build_app, launch_options\n"
        "build_app(lambda: None, model_name='none'); launch_options()\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, timeout=120)


def test_launch_calls_nobody():
    options = launch_options()
    assert options["run_history"] is False and options["enable_monitoring"] is False
    assert options["max_file_size"]
    assert not re.search(r"url\((?!data:)|@import|https?://", options["css"])
    assert not re.search(r"https?://", options["js"])


def test_only_the_three_endpoints_are_public():
    app = build_app(FakePipeline, model_name="fake")
    info = app.get_api_info()
    assert set(info["named_endpoints"]) == {"/compress", "/decompress", "/compare"}
    assert not info["unnamed_endpoints"]


def test_static_templates_are_no_template_strings():
    for file in (Path(handlers.__file__).parent / "static").glob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert "`" not in text and "${" not in text, f"{file.name} would be filled in by gradio"


def test_texts_hold_no_emoji_and_end_as_sentences():
    notes = [value for name, value in vars(texts).items() if name.endswith(("_NOTE", "_LEAD"))]
    assert len(notes) > 5
    for note in notes:
        assert note.endswith("."), note
        assert all(ord(letter) < 0x2600 for letter in note), note


# ---- words and numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "text"),
    [
        (1.0, "full size"),
        (1 / 3, "1/3 size"),
        (0.125, "1/8 size"),
        (0.332, "1/3 size"),
        (0.7, "70% size"),
    ],
)
def test_scale_text(scale, text):
    assert panels.scale_text(scale) == text


def test_small_texts():
    assert panels.bytes_text(1) == "1 byte" and panels.bytes_text(1474) == "1,474 bytes"
    assert panels.bpp_text(8 * 1474 / (768 * 512)) == "0.0300"
    assert panels.ratio_text(1474, 768, 512) == "800 : 1"
    assert panels.seconds_text(0.0423) == "42 ms" and panels.seconds_text(2.34) == "2.3 s"


def test_metric_cells_give_a_dash_its_reason():
    cells = panels.metric_cells({"psnr-rgb": MetricValue(23.456), "dists": MetricValue(None, "no weights")})
    assert [cell["id"] for cell in cells] == ["psnr-rgb", "ms-ssim-rgb", "lpips-alex", "dists"]
    assert cells[0]["text"] == "23.46" and cells[0]["reason"] == ""
    assert (cells[3]["text"], cells[3]["reason"]) == ("–", "no weights")
    assert cells[1]["reason"]


def panel(psnr: float | None, lpips: float | None, over_budget: bool = False) -> dict:
    values = {"psnr-rgb": MetricValue(psnr), "lpips-alex": MetricValue(lpips)}
    return {"cells": panels.metric_cells(values), "over_budget": over_budget}


def test_best_is_marked_within_the_budget_in_the_right_direction():
    shown = [panel(20, 0.3), panel(22, 0.5), panel(30, 0.1, over_budget=True), panel(22.001, None)]
    panels.mark_best(shown)
    assert [p["cells"][0]["best"] for p in shown] == [False, True, False, True]
    assert [p["cells"][2]["best"] for p in shown] == [True, False, False, False]
    assert METRICS["lpips-alex"].higher_is_better is False


def test_a_single_value_is_no_best():
    shown = [panel(20, None), panel(None, None)]
    panels.mark_best(shown)
    assert not any(cell["best"] for p in shown for cell in p["cells"])


@pytest.mark.parametrize(
    ("given", "stem"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("été <b>", "t-b"),
        ("", "picture"),
        (".hidden", "hidden"),
        ("x" * 200, "x" * 80),
    ],
)
def test_file_stem(given, stem):
    assert file_stem(given) == stem


def test_html_is_escaped():
    info = FakePipeline().inspect(FakePipeline().compress(Image.new("RGB", (64, 64)), quality=20))
    for text in (
        handlers.status_html(0.5, "<img src=x>"),
        handlers.header_html(info, "<img src=x>"),
        model_html(handlers_state("<img src=x>")),
    ):
        assert "<img" not in text and "&lt;img" in text


def handlers_state(detail: str):
    model = BackgroundModel(lambda: (_ for _ in ()).throw(WeightsError(detail)), "fake")
    with pytest.raises(WeightsError):
        model.get()
    return model.state


def test_status_keeps_the_bar_between_0_and_100():
    assert 'value="100"' in handlers.status_html(1.7, "")
    assert "progress" not in handlers.status_html(None, "done")


def test_how_it_works_names_the_paper_and_the_limits():
    text = how_html()
    assert "2606.01608" in text and "<svg" in text
    assert all(word in text for word in ("From the paper", "Ours", "Limits"))


def test_examples_are_there_with_their_credits():
    credits = (REPOSITORY / "assets" / "README.md").read_text(encoding="utf-8")
    for name in EXAMPLE_TITLES:
        assert (EXAMPLES / name).is_file()
        assert f"examples/{name}" in credits
    assert len(EXAMPLE_TITLES) >= 3


# ---- input -------------------------------------------------------------------------------------------------


def test_only_uploads_are_read(tmp_path):
    outside = tmp_path / "secret.png"
    outside.write_bytes(b"x")
    for data in (
        {"path": str(outside)},
        {"path": str(Path(get_upload_folder()) / ".." / "x")},
        {},
        None,
        "x",
    ):
        with pytest.raises(SettingsError, match="did not arrive"):
            handlers.uploaded_file(data)
    inside = Path(get_upload_folder()) / "test-upload" / "a.png"
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.write_bytes(b"x")
    try:
        assert handlers.uploaded_file({"path": str(inside), "name": "../b.png"}) == (str(inside), "b.png")
    finally:
        inside.unlink()


def test_show_picture_writes_exactly_the_loaded_picture(photo, session, tmp_path):
    turned = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(turned, exif=exif)
    picture, value = handlers.show_picture(session, str(turned), "turned.png")
    assert (picture.width, picture.height) == (photo.height, photo.width)
    assert value["size"] == [photo.height, photo.width]
    with Image.open(value["panels"][0]["picture"]["path"]) as shown:
        assert shown.format == "PNG"
        assert same(shown, photo.transpose(Image.Transpose.ROTATE_270))


def test_show_picture_refuses_what_is_none(session, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputImageError):
        handlers.show_picture(session, str(tmp_path / "a.png"), "a.png")


@pytest.mark.parametrize("target", [None, {}, {"bpp": 0}, {"bpp": "1"}, {"bpp": 25}, {"bpp": float("nan")}])
def test_targets_out_of_range(target):
    with pytest.raises(SettingsError, match="above 0"):
        handlers.check_target(target)


# ---- a run -------------------------------------------------------------------------------------------------


def run(desk, session, picture, methods=("jpeg", "webp", "jpeg2000", "avif"), bpp=BPP):
    return list(handlers.run_comparison(desk, session, picture, {"bpp": bpp}, list(methods)))


def test_a_run_shows_its_panels_in_order_and_keeps_the_budget(desk, session, picture):
    frames = run(desk, session, picture)
    states = [tuple(p["id"] for p in frame.viewer["panels"]) for frame in frames if frame.viewer]
    seen = [list(state) for state in dict.fromkeys(states)]
    final = ["original", "sprdiff-coarse", "sprdiff-final", "jpeg", "webp", "jpeg2000", "avif"]
    assert seen[0] == ["original"] and seen[1] == final[:2] and seen[2] == final[:3] and seen[-1] == final
    assert frames[0].running and not frames[-1].running
    assert frames[-1].viewer["pending"] == []
    budget = max_bytes(BPP, picture.width, picture.height)
    assert f"{budget:,} bytes" in frames[-1].viewer["settings"]
    for entry in frames[-1].viewer["panels"][1:]:
        size = Path(entry["file"]["path"]).stat().st_size
        assert entry["bytes"] == f"{size:,}"
        assert entry["over_budget"] == (size > budget)


def test_every_picture_is_the_decode_of_the_file_beside_it(desk, session, picture):
    from sprdiff.baselines import BASELINES

    value = run(desk, session, picture)[-1].viewer
    for entry in value["panels"][1:]:
        data = Path(entry["file"]["path"]).read_bytes()
        if entry["id"].startswith("sprdiff"):
            decoded = FakePipeline().decompress(data)
            expected = decoded.coarse if entry["id"] == "sprdiff-coarse" else decoded.final
        else:
            expected = BASELINES[entry["id"]].decompress(data, size=(picture.width, picture.height))
        with Image.open(entry["picture"]["path"]) as shown:
            assert same(shown, expected), entry["id"]


def test_a_picture_is_there_before_its_numbers(desk, session, picture):
    frames = [frame.viewer for frame in run(desk, session, picture, methods=["jpeg"]) if frame.viewer]
    first = next(value for value in frames if len(value["panels"]) == 2)
    assert [cell["text"] for cell in first["panels"][1]["cells"]] == [panels.WAITING] * 4
    assert Path(first["panels"][1]["picture"]["path"]).is_file()
    assert all(cell["text"] != panels.WAITING for entry in frames[-1]["panels"] for cell in entry["cells"])


def test_the_bits_by_block_are_those_of_the_pipeline(desk, session, picture):
    value = run(desk, session, picture, methods=[])[-1].viewer
    bits = FakePipeline().bit_map(Path(value["panels"][1]["file"]["path"]).read_bytes())
    blocks = value["stream"]["blocks"]
    assert (blocks["rows"], blocks["columns"]) == bits.shape == (11, 12)
    levels = np.frombuffer(base64.b64decode(blocks["base64"]), np.uint8).reshape(bits.shape)
    np.testing.assert_allclose(levels * float(blocks["most"]) / 255, bits, atol=bits.max() / 200)
    assert panels.bytes_text(round(bits.sum() / 8)) in blocks["legend"]


def test_no_bits_at_all_are_a_map_of_nothing():
    blocks = panels.block_map(np.zeros((2, 3)))
    assert base64.b64decode(blocks["base64"]) == bytes(6) and blocks["most"] == "0.0"


def test_a_baseline_without_weights_is_left_out_with_the_reason(desk, session, picture, monkeypatch):
    from sprdiff.baselines import BASELINES

    class Without:
        def compress(self, image, *, max_bytes):
            raise WeightsError("its weights are not here")

    monkeypatch.setitem(BASELINES, "webp", Without())
    value = run(desk, session, picture, methods=["webp", "jpeg"])[-1].viewer
    assert [p["id"] for p in value["panels"]] == ["original", "sprdiff-coarse", "sprdiff-final", "jpeg"]
    assert [(m["label"], m["reason"]) for m in value["missing"]] == [("WebP", "its weights are not here")]
    assert value["pending"] == [] and value["bundle"] is not None
    frames = list(run_sweep(desk, session, picture, ["webp"]))
    assert "its weights are not here" in frames[-1].status and frames[-1].viewer["csv"] is not None


def test_a_figure_is_made_of_what_is_on_view(desk, session, picture):
    with pytest.raises(SettingsError, match="Compare something first"):
        make_figure(session, None)
    value = run(desk, session, picture, methods=["jpeg"])[-1].viewer
    with pytest.raises(SettingsError, match="crop"):
        make_figure(session, [0, 0, 2, 1])
    drawn = make_figure(session, [0.1, 0.1, 0.4, 0.4])
    assert drawn["panels"] == value["panels"]
    png, pdf = (Path(file["path"]) for file in drawn["figure"])
    assert Image.open(png).size == (4000, 2250) and pdf.read_bytes().startswith(b"%PDF")
    handlers.show_picture(session, picture.path, "another.png")
    with pytest.raises(SettingsError, match="Compare something first"):
        make_figure(session, None)


def test_the_strip_holds_the_file_and_its_split(desk, session, picture):
    value = run(desk, session, picture, methods=[])[-1].viewer
    size = Path(value["panels"][1]["file"]["path"]).stat().st_size
    assert sum(value["stream"]["split"]) == size
    assert value["stream"]["total"] == panels.bytes_text(size)


def test_the_zip_holds_what_was_compared(desk, session, picture):
    value = run(desk, session, picture, methods=["jpeg"])[-1].viewer
    with zipfile.ZipFile(value["bundle"]["path"]) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for entry in value["panels"]:
        for file in filter(None, (entry["picture"], entry["file"])):
            assert held[file["orig_name"]] == Path(file["path"]).read_bytes()
    assert held[value["page"]["orig_name"]].startswith(b"<!DOCTYPE html>")
    record = json.loads(held["results.json"])
    assert [row["method"] for row in record["results"]] == ["sprdiff-coarse", "sprdiff-final", "jpeg"]
    assert record["fingerprint"] == FakePipeline().fingerprint
    assert [row["num_bytes"] for row in record["results"]] == [
        Path(entry["file"]["path"]).stat().st_size for entry in value["panels"][1:]
    ]


def test_a_repeated_setting_comes_from_the_cache(desk, session, picture):
    first = run(desk, session, picture, methods=["jpeg"])[-1]
    calls = dict(desk.model.get().calls)
    frames = run(desk, session, picture, methods=["jpeg"])
    assert desk.model.get().calls == calls
    assert texts.CACHED in frames[-1].status
    assert [p["bytes"] for p in frames[-1].viewer["panels"]] == [p["bytes"] for p in first.viewer["panels"]]
    assert frames[-1].viewer["stream"] == first.viewer["stream"]
    run(desk, session, picture, methods=["jpeg"], bpp=BPP / 2)
    assert desk.model.get().calls != calls


def test_a_run_needs_a_picture(desk, session):
    with pytest.raises(SettingsError, match="photograph"):
        run(desk, session, None)


def test_stop_keeps_what_was_ready_and_frees_the_model(session, picture):
    desk = Desk(lambda: FakePipeline(seconds=0.2), "fake")
    frames = []
    for frame in handlers.run_comparison(desk, session, picture, {"bpp": BPP}, ["jpeg", "avif"]):
        frames.append(frame)
        if frame.viewer and len(frame.viewer["panels"]) == 2:
            session.stop()
    assert [p["id"] for p in frames[-1].viewer["panels"]] == ["original", "sprdiff-coarse"]
    assert texts.STOPPED in frames[-1].status and not frames[-1].running
    assert desk.model.lock.acquire(timeout=10)
    desk.model.lock.release()
    assert desk.remembered(Image.open(picture.path), ["x"], BPP) is None


def test_a_failed_run_waits_for_nothing(session, picture):
    def load():
        raise WeightsError("There is no checkpoint at nowhere.")

    seen = []
    with pytest.raises(WeightsError, match="nowhere"):
        for frame in handlers.run_comparison(Desk(load, "none"), session, picture, {"bpp": BPP}, ["jpeg"]):
            seen.append(frame)
    assert seen[-1].viewer["pending"] == [] and not seen[-1].running


def test_a_new_picture_takes_the_viewer_from_a_run(session, picture):
    desk = Desk(lambda: FakePipeline(seconds=0.1), "fake")
    frames = handlers.run_comparison(desk, session, picture, {"bpp": BPP}, ["jpeg"])
    while (frame := next(frames)).viewer is None or len(frame.viewer["panels"]) < 2:
        pass
    _, value = handlers.show_picture(session, picture.path, "another.png")
    assert list(frames) == [], "the old run draws nothing any more"
    assert list(session.shown) == ["original"] and value["title"] == "another.png"


def test_pictures_of_one_name_do_not_meet(desk, session, photo, tmp_path):
    values = []
    for image in (photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
        image.save(tmp_path / "a.png")
        chosen, _ = handlers.show_picture(session, str(tmp_path / "a.png"), "a.png")
        values.append(run(desk, session, chosen, methods=[])[-1].viewer)
    for value, image in zip(values, (photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), strict=True):
        with Image.open(value["panels"][0]["picture"]["path"]) as shown:
            assert same(shown, image)


def test_the_slider_takes_only_panels_on_view(desk, session, picture):
    run(desk, session, picture, methods=["jpeg"])
    assert [name for _, name in handlers.panel_choices(session)] == [
        "original",
        "sprdiff-coarse",
        "sprdiff-final",
        "jpeg",
    ]
    left, right = handlers.slider_pair(session, "original", "jpeg")
    assert left.endswith("original.png") and right.endswith("jpeg.png")
    assert handlers.slider_pair(session, "original", "/etc/passwd") is None


def test_a_sweep_measures_every_method_at_every_budget(desk, session, picture):
    frames = list(run_sweep(desk, session, picture, ["jpeg"]))
    counts = [len(frame.viewer["points"]) for frame in frames if frame.viewer]
    wanted = len(SWEEP_BPPS) * 3
    assert counts[0] == 0 and counts[-1] == wanted and sorted(counts) == counts
    value = frames[-1].viewer
    for point in value["points"]:
        size = Path(point["file"]["path"]).stat().st_size
        assert point["bpp"] == 8 * size / (picture.width * picture.height)
        budget = max_bytes(float(point["target"]), picture.width, picture.height)
        assert point["over_budget"] == (size > budget)
    rows = list(csv.DictReader(io.StringIO(Path(value["csv"]["path"]).read_text())))
    assert [float(row["psnr-rgb"]) for row in rows] == pytest.approx(
        [point["cells"][0]["number"] for point in value["points"]], abs=0.01
    )
    calls = dict(desk.model.get().calls)
    again = list(run_sweep(desk, session, picture, ["jpeg"]))[-1].viewer
    assert [p["bpp"] for p in again["points"]] == [p["bpp"] for p in value["points"]]
    assert desk.model.get().calls == calls, "a sweep done before comes from the cache"


def test_a_stopped_sweep_keeps_its_points(session, picture):
    desk = Desk(lambda: FakePipeline(seconds=0.1), "fake")
    frames = []
    for frame in run_sweep(desk, session, picture, []):
        frames.append(frame)
        if frame.viewer and len(frame.viewer["points"]) == 3:
            session.stop()
    assert len(frames[-1].viewer["points"]) == 3 and texts.STOPPED in frames[-1].status
    assert frames[-1].viewer["csv"] is not None


# ---- decode ------------------------------------------------------------------------------------------------


def decode(desk, session, data, tmp_path):
    (tmp_path / "a.spr").write_bytes(data)
    return list(handlers.decode_file(desk, session, str(tmp_path / "a.spr"), "a.spr"))


def test_decode_shows_coarse_first_and_the_header(desk, session, photo, tmp_path):
    data = FakePipeline().compress(photo, quality=60)
    frames = [frame for frame in decode(desk, session, data, tmp_path) if frame.viewer]
    assert [[p["id"] for p in frame.viewer["panels"]] for frame in frames] == [
        ["sprdiff-coarse"],
        ["sprdiff-coarse", "sprdiff-final"],
    ]
    expected = FakePipeline().decompress(data)
    for entry, image in zip(frames[-1].viewer["panels"], (expected.coarse, expected.final), strict=True):
        with Image.open(entry["picture"]["path"]) as shown:
            assert same(shown, image)
    for fact in ("192 × 176", "60 of 255", panels.bytes_text(len(data)), "Latent y"):
        assert fact in frames[-1].status


@pytest.mark.parametrize("damage", ["foreign", "truncated", "altered", "other model"])
def test_a_file_that_cannot_be_decoded_is_one_sentence(desk, session, photo, tmp_path, damage):
    data = FakePipeline().compress(photo, quality=60)
    data = {
        "foreign": b"<script>alert(1)</script>" * 9,
        "truncated": data[:-5],
        "altered": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        "other model": FakePipeline(fingerprint="ab" * 32).compress(photo, quality=60),
    }[damage]
    with pytest.raises(BitstreamError):
        decode(desk, session, data, tmp_path)
    with pytest.raises(gr.Error) as caught, handlers.clear_errors():
        decode(desk, session, data, tmp_path)
    assert "<" not in caught.value.message and caught.value.message.endswith(".")
    assert desk.model.lock.acquire(timeout=5)


def test_bugs_are_logged_and_hidden(caplog):
    with pytest.raises(gr.Error, match="log"), handlers.clear_errors():
        raise ZeroDivisionError("secret path")
    assert "secret path" in caplog.text


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
        inside.append(1)
        most.append(len(inside))
        report(0.5, "half")
        threading.Event().wait(0.05)
        emit("done")
        inside.pop()

    seen: list[list] = [[], []]
    threads = [
        threading.Thread(target=lambda to=to: to.extend(jobs.follow(work, lock, threading.Event())))
        for to in seen
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1, 1]
    assert [events[-1] for events in seen] == [jobs.Result("done")] * 2


def test_a_waiting_run_says_so_and_can_be_stopped():
    lock, stop = threading.Lock(), threading.Event()
    with lock:
        events = jobs.follow(lambda report, emit: emit("never"), lock, stop)
        assert next(events) == jobs.Step(0.0, texts.BUSY)
        stop.set()
        assert list(events) == []


def test_errors_of_the_work_reach_the_follower():
    def work(report, emit):
        raise BitstreamError("broken")

    lock = threading.Lock()
    with pytest.raises(BitstreamError, match="broken"):
        list(jobs.follow(work, lock, threading.Event()))
    assert not lock.locked()


def test_a_session_takes_its_files_with_it(photo):
    sessions = Sessions()
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
        assert same(one, expected.coarse) and same(two, expected.final)
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
