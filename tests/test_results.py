"""The shipped numbers are those of the shipped checkpoint, as ``assets/make_results.py`` makes them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import typer
from huggingface_hub import ModelCard
from PIL import Image
from test_figures import make_summary

from sprdiff.checkpoint.weights import embedded_checkpoint
from sprdiff.evaluation.figures import means_mark, read_results, write_figures

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "assets" / "results"
ANEW = "make them anew: python assets/make_results.py KODAK"

_spec = importlib.util.spec_from_file_location("make_results", ROOT / "assets" / "make_results.py")
make_results = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_results)


def check_results(fingerprint: str, results: Path, readme: str, card: str) -> list[str]:
    """What is out of date, in words."""
    path = results / "kodak.json"
    if not path.is_file():
        return [f"there is no {path.name}; {ANEW}"]
    record = json.loads(path.read_bytes())
    wrong = []
    if record["settings"]["fingerprint"] != fingerprint:
        wrong.append(f"{path.name} is of another checkpoint; {ANEW}")
    for metric in make_results.plots(record):
        with Image.open(results / f"kodak-{metric}.png") as plot:
            if plot.info.get("Description") != means_mark(record):
                wrong.append(f"the plot of {metric} is of other numbers; {ANEW}")
    if make_results.readme_block(record) not in readme:
        wrong.append(f"README.md shows other numbers; {ANEW}")
    if make_results.BEGIN in card and make_results.card_block(record) not in card:
        wrong.append(f"the model card shows other numbers; {ANEW}")
    if make_results.with_model_index(card, record) != card:
        wrong.append(f"the model card's metadata hold other numbers; {ANEW}")
    return wrong


@pytest.fixture
def made(tmp_path) -> tuple[Path, str, str]:
    """Results as the command leaves them: their folder, the README and the card."""
    (tmp_path / "work").mkdir()
    summary = make_summary()
    summary["settings"]["metrics"] = ["psnr-rgb", "ms-ssim-y", "lpips-vgg"]
    (tmp_path / "work" / "summary.json").write_text(json.dumps(summary))
    results = read_results([tmp_path / "work"])
    write_figures(results, tmp_path / "results", "kodak", progress=lambda share, text: None)
    record = json.loads((tmp_path / "results" / "kodak.json").read_bytes())
    marks = f"before\n{make_results.BEGIN}\nold\n{make_results.END}\nafter\n"
    readme = make_results.replaced(marks, make_results.readme_block(record))
    card = make_results.replaced(f"---\nlicense: mit\n---\n{marks}", make_results.card_block(record))
    return tmp_path / "results", readme, make_results.with_model_index(card, record)


def test_what_the_command_made_is_up_to_date(made):
    assert check_results("ab" * 32, *made) == []
    _, readme, _ = made
    assert readme.startswith("before\n")
    assert readme.endswith("after\n")
    assert "old" not in readme
    assert "| 0.03 | AVIF | 0.0294 | 23.40 | 0.7700 |" in readme
    assert "LPIPS" not in readme  # without a value there is no column


def test_the_cards_metadata_hold_every_budget_of_the_final_picture(made):
    results, _, card = made
    record = json.loads((results / "kodak.json").read_bytes())
    means = {row["target_bpp"]: row["metrics"] for row in record["means"] if row["method"] == "sprdiff-final"}
    shown = ModelCard(card).data.eval_results
    known = [
        metric for metrics in means.values() for metric in metrics if metrics[metric]["mean"] is not None
    ]
    assert means and len(shown) == len(known)
    for each in shown:
        (bpp,) = (budget for budget in means if f"at most {budget:g} bits" in each.dataset_config)
        assert each.metric_value == pytest.approx(means[bpp][each.metric_type]["mean"], abs=1e-4)


def test_what_is_out_of_date_is_found(made):
    results, readme, card = made
    (wrong,) = check_results("cd" * 32, results, readme, card)
    assert "another checkpoint" in wrong
    assert any("README.md" in each for each in check_results("ab" * 32, results, "", card))
    (wrong,) = check_results("ab" * 32, results, readme, card.replace(" value: ", " value: 9", 1))
    assert "the model card's metadata" in wrong
    path = results / "kodak.json"
    path.write_text(path.read_text().replace("23.4", "29.9"))
    wrong = check_results("ab" * 32, results, readme, card)
    assert [each.split(";")[0] for each in wrong] == [
        "the plot of psnr-rgb is of other numbers",
        "the plot of ms-ssim-y is of other numbers",
        "README.md shows other numbers",
        "the model card shows other numbers",
    ]
    path.unlink()
    assert "there is no kodak.json" in check_results("ab" * 32, results, readme, card)[0]


def test_the_shipped_results_are_those_of_the_shipped_checkpoint(request):
    if not (embedded_checkpoint() / "model_index.json").is_file():
        pytest.skip("there is no embedded checkpoint")
    pipeline = request.getfixturevalue("pipeline")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    card = (embedded_checkpoint() / "README.md").read_text(encoding="utf-8")
    assert check_results(pipeline.fingerprint, RESULTS, readme, card) == []


def test_a_summary_of_ours_gets_the_classical_codecs_of_before():
    def summary(methods, versions):
        runs = [{"versions": versions, "encoders": {"libjpeg-turbo": "3.1"}}]
        return {
            "means": [{"method": method} for method in methods],
            "settings": {"runs": runs, "metrics": []},
        }

    before = summary(["sprdiff-final", "jpeg", "avif"], {"pillow": "12.3"})
    merged = make_results.with_classical(summary(["sprdiff-final"], {"pillow": "12.3"}), before)
    assert [row["method"] for row in merged["means"]] == ["sprdiff-final", "jpeg", "avif"]
    assert len(merged["settings"]["runs"]) == 2
    with pytest.raises(typer.BadParameter, match="needs the pillow of"):
        make_results.with_classical(summary(["sprdiff-final"], {"pillow": "12.4"}), before)
