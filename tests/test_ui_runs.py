"""Runs of the page without a browser: its handlers are plain functions."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from fakes import FakePipeline
from pictures import same_pixels
from PIL import Image

from sprdiff.errors import BitstreamError, SettingsError, WeightsError
from sprdiff.metrics import METRICS
from sprdiff.metrics.rate import max_bytes
from sprdiff.ui import handlers, jobs, panels, texts
from sprdiff.ui.desk import Desk
from sprdiff.ui.sweep import SWEEP_BPPS, run_sweep
from sprdiff.ui.takeaway import make_figure, make_flicker

REPOSITORY = Path(__file__).resolve().parent.parent
BPP = 0.2
"""The test photograph is so small that less would not hold a JPEG."""


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
            assert same_pixels(shown, expected), entry["id"]


def test_a_picture_is_there_before_its_numbers(desk, session, picture):
    frames = [frame.viewer for frame in run(desk, session, picture, methods=["jpeg"]) if frame.viewer]
    first = next(value for value in frames if len(value["panels"]) == 2)
    assert [cell["text"] for cell in first["panels"][1]["cells"]] == [panels.WAITING] * 5
    assert Path(first["panels"][1]["picture"]["path"]).is_file()
    assert all(cell["text"] != panels.WAITING for entry in frames[-1]["panels"] for cell in entry["cells"])


class Held:
    """A deep metric that waits until it is let go, as one whose weights are being fetched."""

    def __init__(self, monkeypatch, metric: str = "lpips-alex") -> None:
        self._free = threading.Event()
        monkeypatch.setitem(METRICS, metric, replace(METRICS[metric], function=self._measure))

    def let_go(self) -> None:
        self._free.set()

    def _measure(self, reference, image) -> float:
        assert self._free.wait(120)
        return 0.5


def until(frames, words: str) -> dict:
    """What the viewer shows once the status line holds these words."""
    shown = None
    for frame in frames:
        shown = frame.viewer or shown
        if words in frame.status:
            return shown
    raise AssertionError(f"the run ended without {words!r}")


def test_metrics_hold_up_no_picture_and_no_other_visitor(desk, session, picture, monkeypatch):
    """While LPIPS waits for its weights every picture, PSNR and MS-SSIM are there, for two visitors."""
    lpips = Held(monkeypatch)
    other = desk.sessions.of("other")
    frames = handlers.run_comparison(desk, session, picture, {"bpp": BPP}, ["jpeg"])
    others = handlers.run_comparison(desk, other, picture, {"bpp": BPP / 2}, ["jpeg"])
    for shown in (until(frames, "measuring LPIPS"), until(others, texts.BUSY)):
        ids = [entry["id"] for entry in shown["panels"]]
        assert ids == ["original", "sprdiff-coarse", "sprdiff-final", "jpeg"]
        for entry in shown["panels"][1:]:
            by_id = {cell["id"]: cell for cell in entry["cells"]}
            assert panels.WAITING not in (by_id["psnr-rgb"]["text"], by_id["ms-ssim-rgb"]["text"])
            assert by_id["lpips-alex"]["text"] == by_id["dists"]["text"] == panels.WAITING
            assert not by_id["lpips-alex"]["best"]
    assert not desk.model.lock.locked()
    lpips.let_go()
    for last in (list(frames)[-1], list(others)[-1]):
        assert [entry["cells"][2]["text"] for entry in last.viewer["panels"][1:]] == ["0.5000"] * 3
        assert not last.running and last.viewer["bundle"] is not None


def test_a_stop_while_measuring_keeps_pictures_and_numbers(desk, session, picture, monkeypatch):
    lpips = Held(monkeypatch)
    frames = handlers.run_comparison(desk, session, picture, {"bpp": BPP}, ["jpeg"])
    until(frames, "measuring LPIPS")
    session.stop()
    last = list(frames)[-1]
    assert texts.STOPPED in last.status and not last.running
    for entry in last.viewer["panels"][1:]:
        number, *_, dash = (cell["text"] for cell in entry["cells"])
        assert number not in (panels.WAITING, panels.NO_VALUE) and dash == panels.NO_VALUE
    lpips.let_go()
    again = run(desk, session, picture, methods=["jpeg"])[-1]
    assert again.viewer["bundle"] is not None
    assert [entry["cells"][2]["text"] for entry in again.viewer["panels"][1:]] == ["0.5000"] * 3


def test_the_bar_never_goes_back(desk, session, picture, monkeypatch):
    monkeypatch.setattr(jobs, "STEP_SECONDS", 0)  # every step of a run that takes no time
    frames = [*run(desk, session, picture, methods=["jpeg", "webp"]), *run_sweep(desk, session, picture, [])]
    ends = [index for index, frame in enumerate(frames) if not frame.running]
    assert len(ends) == 2
    for first, last in zip([0, ends[0] + 1], ends, strict=True):
        shares = [
            int(re.search(r'<progress max="100" value="(\d+)"', frame.status)[1])
            for frame in frames[first:last]
        ]
        assert shares[0] == 0 and shares == sorted(shares) and shares[-1] > 90


def test_a_baseline_that_fails_is_left_out_and_the_others_are_measured(
    desk, session, picture, monkeypatch, caplog
):
    from sprdiff.baselines import BASELINES

    class Broken:
        def compress(self, image, *, max_bytes):
            raise OSError("encoder error -2")

    monkeypatch.setitem(BASELINES, "webp", Broken())
    value = run(desk, session, picture, methods=["webp", "jpeg"])[-1].viewer
    assert [(m["label"], m["reason"]) for m in value["missing"]] == [("WebP", texts.METHOD_FAILED)]
    assert [entry["id"] for entry in value["panels"]][-1] == "jpeg"
    assert all(entry["cells"][0]["number"] for entry in value["panels"][1:])
    assert "encoder error -2" in caplog.text


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
    moving = make_flicker(session, [0.1, 0.1, 0.4, 0.4])
    assert moving["figure"] == drawn["figure"] and moving["panels"] == value["panels"]
    gif, apng = (Path(file["path"]) for file in moving["flicker"][:2])
    assert (gif.suffix, apng.suffix) == (".gif", ".apng")
    with Image.open(apng) as animation:
        assert animation.n_frames == len(value["panels"]) == 4
    handlers.show_picture(desk, session, picture.path, "another.png")
    for make in (make_figure, make_flicker):
        with pytest.raises(SettingsError, match="Compare something first"):
            make(session, None)


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
    assert record["vgg_dtype"] in ("float32", "bfloat16")
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
    assert desk.remembered(desk.model, Image.open(picture.path), ["x"], BPP) is None


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
    _, value = handlers.show_picture(desk, session, picture.path, "another.png")
    assert list(frames) == [], "the old run draws nothing any more"
    assert list(session.shown) == ["original"] and value["title"] == "another.png"


def test_pictures_of_one_name_do_not_meet(desk, session, photo, tmp_path):
    values = []
    for image in (photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
        image.save(tmp_path / "a.png")
        chosen, _ = handlers.show_picture(desk, session, str(tmp_path / "a.png"), "a.png")
        values.append(run(desk, session, chosen, methods=[])[-1].viewer)
    for value, image in zip(values, (photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), strict=True):
        with Image.open(value["panels"][0]["picture"]["path"]) as shown:
            assert same_pixels(shown, image)


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
            assert same_pixels(shown, image)
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
