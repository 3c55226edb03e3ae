"""Plots and tables of an evaluation, as files and by the command line."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from sprdiff.cli import main
from sprdiff.errors import SettingsError
from sprdiff.evaluation import plots
from sprdiff.evaluation.figures import read_results, record, write_figures
from sprdiff.metrics import METRICS

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = (0.01, 0.0205, 0.03, 0.05)
QUALITY = {
    "avif": ((21.2, 0.62), (22.5, 0.72), (23.4, 0.77), (24.6, 0.83)),
    "jpeg": ((20.1, 0.55), (20.1, 0.55), (21.5, 0.68), (22.5, 0.75)),
    "sprdiff-final": ((21.0, 0.64), (22.0, 0.74), (22.6, 0.78), (23.5, 0.83)),
}


def make_summary(methods=tuple(QUALITY), name: str = "kodak") -> dict:
    """As ``evaluate`` leaves it; JPEG cannot reach the two lowest budgets."""
    means = []
    for method in methods:
        for budget, (psnr, ms_ssim) in zip(BUDGETS, QUALITY[method], strict=True):
            over = 24 if method == "jpeg" and budget < 0.03 else 0
            metrics = {
                "psnr-rgb": {"mean": psnr, "dashes": 0},
                "ms-ssim-y": {"mean": ms_ssim, "dashes": 0},
                "lpips-vgg": {"mean": None, "dashes": 24, "reasons": ["its weights are not here"]},
            }
            times = {"encode_seconds": 0.2, "decode_seconds": 0.1}
            means.append(
                {"method": method, "target_bpp": budget, "bpp": 0.0212 if over else 0.98 * budget}
                | {"images": 24, "over_budget": over, "metrics": metrics, **times}
            )
    run = {"started": "2026-11-21T09:00:00+00:00", "folder": f"/somewhere/{name}", "model": None}
    run |= {"methods": list(methods), "bpps": list(BUDGETS), "versions": {"pillow": "12.3.0"}}
    run |= {"encoders": {"libavif": "1.4.2"}, "machine": {"cores": 2, "processor": "x"}, "processes": 1}
    settings = {
        "fingerprint": "ab" * 32,
        "metrics": list(METRICS)[:3],
        "runs": [run],
    }
    return {"dataset": name, "means": means, "failed": {}, "settings": settings}


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(make_summary()))
    return folder


def _write(folder: Path, out: Path, **options) -> list[Path]:
    return write_figures(read_results([folder], **options), out, "kodak", progress=lambda share, text: None)


def test_every_measured_metric_is_plotted_in_three_formats(folder, tmp_path):
    written = _write(folder, tmp_path / "plots", published="kodak")
    expected = [
        f"kodak-{metric}.{kind}" for metric in ("psnr-rgb", "ms-ssim-y") for kind in ("png", "pdf", "svg")
    ]
    assert [path.name for path in written] == [*expected, "kodak-bd.csv", "kodak.md", "kodak.json"]
    with Image.open(tmp_path / "plots" / "kodak-psnr-rgb.png") as image:
        assert min(image.size) > 600
    assert (tmp_path / "plots" / "kodak-psnr-rgb.pdf").read_bytes().startswith(b"%PDF")
    ElementTree.parse(tmp_path / "plots" / "kodak-psnr-rgb.svg")


def test_the_same_results_give_the_same_bytes(folder, tmp_path):
    for first, second in zip(_write(folder, tmp_path / "a"), _write(folder, tmp_path / "b"), strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_measured_lines_are_solid_and_published_ones_dashed_with_their_sources(folder):
    results = read_results([folder], published="kodak")
    caption = plots.caption_of("psnr-rgb", results.curves, results.data_set, results.published_set)
    figure = plots.draw("psnr-rgb", results.curves, caption=caption)
    (axes,) = figure.axes
    styles = {
        line.get_label(): line.get_linestyle() for line in axes.lines if not line.get_label().startswith("_")
    }
    measured = {"AVIF", "JPEG", "SPRDiff final"}
    assert measured < set(styles)
    assert {label for label, style in styles.items() if style == "-"} == measured
    assert all(label.endswith("]") for label in set(styles) - measured)
    (line,) = [line for line in axes.lines if line.get_label() == "AVIF"]
    assert list(line.get_ydata()) == [psnr for psnr, _ in QUALITY["avif"]]
    assert "measured here on kodak (24 images)" in caption
    assert "published on kodak, not run here" in caption
    assert "[1] github.com/cshw2021/SPRDiff (digitised figure), arxiv.org/abs/2606.01608" in caption
    shown = {label.split("[")[1] for label in set(styles) - measured}
    for number in (each.rstrip("]") for each in shown):
        assert f"[{number}] " in caption
    assert "Hollow: some images exceed the budget" in caption
    texts = [text.get_text() for text in figure.texts]
    assert any("cshw2021" in text for text in texts)


def test_kinds_of_a_metric_do_not_share_an_axis(folder):
    results = read_results([folder], published="kodak")
    luma = {curve.label for curve in plots.visible("ms-ssim-y", results.curves)}
    assert "SPRDiff [1]" in luma
    assert not any(label.startswith(("VTM", "RDEIC-2", "DiffEIC [2]")) for label in luma)  # published for RGB


def test_a_curve_beyond_what_is_measured_does_not_stretch_the_plot(folder):
    results = read_results([folder], published="kodak")
    (axes,) = plots.draw("psnr-rgb", results.curves).axes
    assert axes.get_xlim()[1] < 0.07
    assert 14 < axes.get_ylim()[0] < axes.get_ylim()[1] < 32


def test_a_page_gets_a_plot_in_its_own_colours(folder):
    results = read_results([folder])
    text = plots.page_svg(plots.draw("psnr-rgb", results.curves))
    root = ElementTree.fromstring(text)
    assert "currentColor" in text
    assert "#010203" not in text
    assert "width" not in root.attrib
    assert root.attrib["viewBox"]


def test_deltas_are_written_with_the_reasons_of_the_dashes(folder, tmp_path):
    _write(folder, tmp_path, published="kodak", anchor="avif")
    table = list(csv.DictReader((tmp_path / "kodak-bd.csv").open()))
    by_key = {(row["curve"], row["metric"]): row for row in table}
    assert float(by_key["sprdiff-final", "psnr-rgb"]["bd_rate_percent"]) > 0
    jpeg = by_key["jpeg", "psnr-rgb"]
    assert (jpeg["bd_rate_percent"], jpeg["reason"]) == ("", "the curve has 3 points, 4 are needed")
    assert "luma" not in by_key["SPRDiff [1]", "ms-ssim-y"]["reason"]
    text = (tmp_path / "kodak.md").read_text()
    assert "| 0.01 | JPEG | 0.0212 | 20.10 | 0.5500 | 24 of 24 |" in text
    assert "the curve has 3 points, 4 are needed" in text


def test_the_record_can_be_read_again_and_names_no_folder_of_this_machine(folder, tmp_path):
    results = read_results([folder])
    _write(folder, tmp_path / "plots")
    text = (tmp_path / "plots" / "kodak.json").read_text()
    assert "/somewhere" not in text
    assert json.loads(text) == json.loads(json.dumps(record(results)))
    again = read_results([tmp_path / "plots" / "kodak.json"])
    assert [curve.points for curve in again.curves] == [curve.points for curve in results.curves]
    assert again.data_set == results.data_set


def test_two_results_share_a_plot(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "summary.json").write_text(json.dumps(make_summary(["avif"])))
    results = read_results([folder, other])
    assert [curve.id for curve in results.curves] == ["avif@results", "jpeg", "sprdiff-final", "avif@other"]
    assert len(record(results)["means"]) == 16


def test_results_without_rows_are_refused(folder):
    (folder / "summary.json").write_text(json.dumps(make_summary() | {"means": []}))
    with pytest.raises(SettingsError, match="holds no finished rows"):
        read_results([folder])


# the command


def test_plot_command(folder, capsys):
    assert main(["plot", str(folder), "--published", "kodak", "--anchor", "jpeg", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["left_out"] == ["lpips-vgg"]
    assert shown["bd"]["anchor"] == "jpeg"
    assert all(Path(path).is_file() for path in shown["files"])
    assert {Path(path).parent for path in shown["files"]} == {folder / "plots"}
    assert main(["plot", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "Not plotted, since there is no value: lpips-vgg" in text
    assert "| against AVIF |" in text


def test_published_curves_of_other_images_are_warned_of(folder, capsys):
    assert main(["plot", str(folder), "--published", "tecnick"]) == 0
    assert "measured on kodak, published on tecnick: these are other images" in capsys.readouterr().err
    assert main(["plot", str(folder), "--published", "kodak"]) == 0
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--published", "nowhere"], "no published results 'nowhere'"),
        (["--anchor", "bpg"], "no curve 'bpg'"),
        (["--name", "a/b"], "'a/b' is not the name of a file"),
    ],
)
def test_plot_command_with_bad_options(folder, capsys, options, message):
    assert main(["plot", str(folder), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "plots").exists()


def test_matplotlib_is_imported_where_it_draws_only():
    package = ROOT / "sprdiff"
    drawing = re.compile(r"(from matplotlib\S* import|import matplotlib\.)")
    drawn = {
        str(path.relative_to(package)) for path in package.rglob("*.py") if drawing.search(path.read_text())
    }
    assert drawn == {"evaluation/plots.py", "comparison/figure.py"}
    code = "import sys, sprdiff.evaluation.figures; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
