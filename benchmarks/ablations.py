"""What each part brings: brief trainings without it, from the same checkpoint, as a markdown table or JSON.

    python benchmarks/ablations.py PHOTOGRAPHS --out RUNS                  # seven runs of six minutes
    python benchmarks/ablations.py PHOTOGRAPHS --out RUNS --minutes 60     # each run for an hour

Every run starts from the checkpoint's weights, with one thread and the same seed; two run at a time. What is
left out is zero in training and validation alike (``--without`` of ``python -m sprdiff.training``). The other
parts have these minutes to take its place, no more: the longer the runs, the smaller the differences. Runs
that are already in RUNS are not made again.

All figures are of held-out photographs: 1 - SSIM is ``sprdiff.training.losses.structure_loss``, rates are
estimates of the entropy model, by which BD-rate compares the codec's runs with their control.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from sprdiff.evaluation.bd_rate import bd_rate  # noqa: E402
from sprdiff.evaluation.curves import Curve, Point  # noqa: E402

CHECKPOINT = REPOSITORY / "checkpoints" / "sprdiff-tiny"
CONTROL = "nothing"
RUNS = {
    "codec": (CONTROL, "f_sem", "f_dist"),
    "diffusion": (CONTROL, "semantic_tokens", "pixel_features", "coarse"),
}
NAMES = {
    CONTROL: "nothing (control)",
    "f_sem": "the semantic features f_sem",
    "f_dist": "the distortion features f_dist",
    "semantic_tokens": "the semantic tokens",
    "pixel_features": "the pixel features",
    "coarse": "the coarse module (its linear path is left)",
}
FINAL_FIGURES = {
    "psnr_final": ("PSNR", ".2f"),
    "structure_final": ("1 - SSIM", ".3f"),
    "energy_final": ("gradient energy", ".2f"),
    "semantic_final": ("likeness of f_sem", ".3f"),
}


def train(stage: str, without: str, arguments: argparse.Namespace) -> list[dict]:
    """The last validation of one run, which is made if it is not there."""
    run = arguments.out / f"{stage}-{without}"
    log = run / f"{stage}.jsonl"
    if not _last_rows(log, arguments.minutes):
        command = [
            sys.executable, "-m", "sprdiff.training", stage, "--data", str(arguments.photographs),
            "--out", str(run), "--start", str(arguments.checkpoint), "--minutes", str(arguments.minutes),
            "--validate-every", str(arguments.minutes + 1), "--resume",
        ]  # fmt: skip
        if without != CONTROL:
            command += ["--without", without]
        run.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        with (run / "output.txt").open("w") as output:
            subprocess.run(command, check=True, env=environment, stdout=output, stderr=subprocess.STDOUT)
    return _last_rows(log, arguments.minutes)


def _last_rows(log: Path, minutes: float) -> list[dict]:
    """The rows of the validation at the end of a run of so many minutes, or none."""
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [row for row in rows if row["step"] == rows[-1]["step"] and row["minutes"] >= minutes - 0.01]


def _curve(without: str, rows: list[dict]) -> Curve:
    points = [Point(row["bpp_estimated"], {"psnr-rgb": row["psnr_coarse"]}) for row in rows]
    return Curve(without, NAMES[without], tuple(points))


def as_table(results: dict[str, dict[str, list[dict]]]) -> str:
    """Two markdown tables: the codec's runs, and the diffusion stage's at each quality."""
    lines = ["| codec without | steps | BD-rate of the coarse picture |", "|---|---:|---:|"]
    curves = {without: _curve(without, rows) for without, rows in results["codec"].items()}
    for without, rows in results["codec"].items():
        change = bd_rate(curves[CONTROL], curves[without], "psnr-rgb")
        cell = change.reason if change.value is None else f"{change.value:+.1f} %"
        lines.append(f"| {NAMES[without]} | {rows[0]['step']} | {cell} |")
    heads = [head for head, _ in FINAL_FIGURES.values()]
    lines += [
        "",
        f"| diffusion without | steps | quality | {' | '.join(heads)} |",
        f"|---|---:|---:|{'---:|' * len(heads)}",
    ]
    for without, rows in results["diffusion"].items():
        for row in rows:
            cells = [f"{row[key]:{form}}" for key, (_, form) in FINAL_FIGURES.items()]
            lines.append(f"| {NAMES[without]} | {row['step']} | {row['quality']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photographs", type=Path, help="the folder of the training")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="where all of them start")
    parser.add_argument("--minutes", type=float, default=6.0, help="of each run")
    parser.add_argument("--json", action="store_true", help="print the validations instead of tables")
    arguments = parser.parse_args()
    jobs = [(stage, without) for stage, names in RUNS.items() for without in names]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda job: train(*job, arguments), jobs))
    results: dict[str, dict[str, list[dict]]] = {stage: {} for stage in RUNS}
    for (stage, without), each in zip(jobs, rows, strict=True):
        results[stage][without] = each
    print(json.dumps(results, indent=2) if arguments.json else as_table(results))


if __name__ == "__main__":
    main()
