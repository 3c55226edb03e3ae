"""The numbers and plots of README and model card, made from the embedded checkpoint by one command.

    python assets/make_results.py KODAK

evaluates the folder with the 24 Kodak images (an earlier run in ``--work`` is continued: what does not depend
on the checkpoint is not computed again), writes ``assets/results/kodak.json``, tables and plots, puts the
table between the marks in README.md and the model card, and leaves a page for reading in ``--work``. With
``--ours`` the classical codecs' averages are those of ``kodak.json`` as it is: they do not depend on the
checkpoint, and are five of the seven methods.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from huggingface_hub import EvalResult, ModelCard

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sprdiff.checkpoint.weights import embedded_checkpoint  # noqa: E402
from sprdiff.cli import main as run_command  # noqa: E402
from sprdiff.evaluation.curves import AXES  # noqa: E402
from sprdiff.evaluation.tables import means_markdown  # noqa: E402
from sprdiff.files import write_file  # noqa: E402
from sprdiff.methods import METHODS as LABELS  # noqa: E402

OURS = ("sprdiff-coarse", "sprdiff-final")
CLASSICAL = ("jpeg", "webp", "jpeg2000", "avif", "jpeg-xl")
BPPS = (0.01, 0.0205, 0.03, 0.05)
METRICS = ("psnr-rgb", "ms-ssim-rgb", "ms-ssim-y", "lpips-alex", "lpips-vgg", "dists", "gmsd", "fsim")
RESULTS = ROOT / "assets" / "results"
RECORD = RESULTS / "kodak.json"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
CARD = embedded_checkpoint() / "README.md"
SHOWN_BPP = 0.03
PLOTS = ("psnr-rgb", "ms-ssim-y", "lpips-alex", "dists")


def make(
    kodak: Annotated[Path, typer.Argument(help="Folder with kodim01.png to kodim24.png.")],
    work: Annotated[Path, typer.Option(help="Folder for rows and files.")] = Path("results/kodak"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    ours: Annotated[bool, typer.Option("--ours", help="Keep the averages of the classical codecs.")] = False,
) -> None:
    """Make all of it."""
    methods = OURS if ours else OURS + CLASSICAL
    evaluate = ["evaluate", str(kodak), "--methods", ",".join(methods), "--bpp", ",".join(map(str, BPPS))]
    evaluate += ["--metrics", ",".join(METRICS), "--keep", "--jobs", str(jobs), "--out", str(work)]
    evaluate += ["--model", str(embedded_checkpoint())]
    run(evaluate)
    shown = work
    if ours:
        shown = work / "with-classical"
        shown.mkdir(exist_ok=True)
        summary, before = (json.loads(file.read_bytes()) for file in (work / "summary.json", RECORD))
        write_file(shown / "summary.json", json.dumps(with_classical(summary, before)))
    run(["plot", str(shown), "--published", "kodak", "--out", str(RESULTS), "--name", "kodak", "--force"])
    run(["report", str(work), "--published", "kodak", "--model", str(embedded_checkpoint())])
    record = json.loads(RECORD.read_bytes())
    for path, text in ((ROOT / "README.md", readme_block(record)), (CARD, card_block(record))):
        if path.exists() and BEGIN in path.read_text(encoding="utf-8"):
            write_file(path, replaced(path.read_text(encoding="utf-8"), text))
            if path == CARD:
                write_file(path, with_model_index(path.read_text(encoding="utf-8"), record))
        else:
            print(f"{path} has no {BEGIN}, so the table is not put there:\n{text}", file=sys.stderr)


def run(command: list[str]) -> None:
    """A command of ours; ends this one where it fails."""
    print("python -m sprdiff", shlex.join(command), flush=True)
    code = run_command(command)
    if code:
        raise typer.Exit(code)


def with_classical(summary: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """A summary of ours with the averages of the classical codecs from before, and the runs that gave them.

    Raises:
        typer.BadParameter: they were measured with other versions of packages or encoders.
    """
    (new, *_), (*_, old) = summary["settings"]["runs"], before["settings"]["runs"]
    for group in ("versions", "encoders"):
        changed = [name for name, version in old[group].items() if new[group].get(name) != version]
        if changed:
            raise typer.BadParameter(f"--ours needs the {', '.join(changed)} of the results of before.")
    runs = before["settings"]["runs"] + summary["settings"]["runs"]
    return summary | {
        "means": summary["means"] + [row for row in before["means"] if row["method"] in CLASSICAL],
        "settings": summary["settings"] | {"runs": runs},
    }


def replaced(text: str, block: str) -> str:
    """``text`` with ``block`` between the marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{block}{END}{after}"


def plots(record: dict[str, Any]) -> list[str]:
    """The metrics that README shows as plots, of those that were measured."""
    return [metric for metric in PLOTS if metric in record["settings"]["metrics"]]


def with_model_index(card: str, record: dict[str, Any]) -> str:
    """A model card whose metadata hold the averages of the final picture, as the Hub shows them."""
    known = ModelCard(card)
    known.data.model_name = CARD.parent.name
    known.data.eval_results = [
        EvalResult(
            task_type="image-to-image",
            task_name="Image compression",
            dataset_type=record["dataset"],
            dataset_config=f"at most {row['target_bpp']:g} bits per pixel",  # a group of its own
            dataset_name=f"{record['dataset'].capitalize()}, {row['images']} images",
            metric_type=metric,
            metric_name=AXES[metric].label,
            metric_value=round(row["metrics"][metric]["mean"], 4),
        )
        for row in record["means"]
        for metric in record["settings"]["metrics"]
        if row["method"] == "sprdiff-final" and row["metrics"][metric]["mean"] is not None
    ]
    return str(known)


def readme_block(record: dict[str, Any]) -> str:
    """The averages at one budget, the plots, and where the rest is."""
    metrics = plots(record)
    images = max(row["images"] for row in record["means"])
    rows = [row for row in record["means"] if row["target_bpp"] == SHOWN_BPP]
    shown = "\n".join(
        f'<img src="assets/results/kodak-{each}.png" width="49%" alt="{AXES[each].label} over bpp">'
        for each in metrics
    )
    return (
        f"Kodak, {images} images, at most {SHOWN_BPP} bpp, averages over images; {mark(record)}:\n\n"
        f"{means_markdown(ordered(rows), metrics)}\n"
        f"{shown}\n\n"
        "Other budgets and metrics, BD-rates and settings: [`kodak.md`](assets/results/kodak.md). Dashed "
        "curves are their authors' figures ([`SOURCES.md`](assets/published/SOURCES.md)), not run here.\n"
    )


def mark(record: dict[str, Any]) -> str:
    """Which checkpoint the numbers are of."""
    return f"checkpoint `{record['settings']['fingerprint'][:12]}`"


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows by budget, and of each budget in the order of the methods."""
    order = list(LABELS)
    return sorted(rows, key=lambda row: (row["target_bpp"], order.index(row["method"])))


def card_block(record: dict[str, Any]) -> str:
    """The averages at every budget of both outputs, and of every method at 0.03 bpp."""
    metrics = [
        metric
        for metric in record["settings"]["metrics"]
        if any(row["metrics"][metric]["mean"] is not None for row in record["means"])
    ]
    rows = ordered(record["means"])
    chosen = [row for row in rows if row["target_bpp"] == SHOWN_BPP or row["method"].startswith("sprdiff")]
    images = max(row["images"] for row in record["means"])
    return (
        f"Kodak, {images} images, bytes of real files, averages over images; {mark(record)}. "
        f"Every method at {SHOWN_BPP} bpp, ours at all budgets:\n\n"
        f"{means_markdown(chosen, metrics)}"
    )


if __name__ == "__main__":
    typer.run(make)
