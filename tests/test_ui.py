"""The page without a browser: how it is built, its words and numbers, what it takes in."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import FakePipeline
from gradio.utils import get_upload_folder
from pictures import same_pixels
from PIL import Image

from sprdiff.errors import InputImageError, SettingsError, WeightsError
from sprdiff.metrics import METRICS, MetricValue
from sprdiff.ui import build_app, handlers, launch_options, panels, texts
from sprdiff.ui.compare_tab import EXAMPLE_TITLES, EXAMPLES
from sprdiff.ui.how_tab import how_html
from sprdiff.ui.model import BackgroundModel
from sprdiff.ui.page import model_html
from sprdiff.ui.sessions import file_stem

REPOSITORY = Path(__file__).resolve().parent.parent
BPP = 0.2
"""The test photograph is so small that less would not hold a JPEG."""


# ---- layout and settings -----------------------------------------------------------------------------------


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
    assert [cell["id"] for cell in cells] == ["psnr-rgb", "ms-ssim-rgb", "lpips-alex", "dists", "lpips-vgg"]
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


def test_nothing_is_best_while_a_number_is_waited_for():
    shown = [panel(20, 0.3), panel(22, 0.5)]
    shown.append(
        {"cells": panels.metric_cells({"psnr-rgb": MetricValue(21)}, waiting=True), "over_budget": False}
    )
    panels.mark_best(shown)
    assert [p["cells"][0]["best"] for p in shown] == [False, True, False]
    assert not any(p["cells"][2]["best"] for p in shown)


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


def test_show_picture_writes_exactly_the_loaded_picture(photo, desk, session, tmp_path):
    turned = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(turned, exif=exif)
    picture, value = handlers.show_picture(desk, session, str(turned), "turned.png")
    assert (picture.width, picture.height) == (photo.height, photo.width)
    assert value["size"] == [photo.height, photo.width]
    with Image.open(value["panels"][0]["picture"]["path"]) as shown:
        assert shown.format == "PNG"
        assert same_pixels(shown, photo.transpose(Image.Transpose.ROTATE_270))


def test_show_picture_refuses_what_is_none(desk, session, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputImageError):
        handlers.show_picture(desk, session, str(tmp_path / "a.png"), "a.png")


@pytest.mark.parametrize("target", [None, {}, {"bpp": 0}, {"bpp": "1"}, {"bpp": 25}, {"bpp": float("nan")}])
def test_targets_out_of_range(target):
    with pytest.raises(SettingsError, match=r"above 0|a number of bits per pixel"):
        handlers.check_target(target)
