"""What each part brings, as markdown tables or JSON.

    python benchmarks/ablations.py left-out KODAK
    python benchmarks/ablations.py retrained PHOTOGRAPHS --taught TAUGHT --out RUNS

``left-out`` decodes the same bytes again and again, each time without one part of the diffusion model: its
U-Net (the latents of the coarse picture go straight to the VAE's decoder), its noise, or one of its two
conditions, which it was trained to do without now and then. Given are averages over the pictures and, for the
perceptual metrics, how much worse each is than that of the whole, with the standard error of that difference.

``retrained`` trains every run from the checkpoint's weights, with one thread and one seed, two at a time.
What is left out is zero in training and validation alike (``--without`` of ``python -m sprdiff.training``).
The other parts have these steps to take its place, no more. Runs that are already there are not made again.
All its figures are of held-out photographs; rates are estimates of the entropy model, by which BD-rate
compares the codec's runs with their control.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Annotated

import typer

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from sprdiff.evaluation.bd_rate import bd_rate  # noqa: E402
from sprdiff.evaluation.curves import Curve, Point  # noqa: E402

if TYPE_CHECKING:
    from sprdiff import SPRDiffPipeline

CHECKPOINT = REPOSITORY / "checkpoints" / "sprdiff-tiny"
CONTROL = "nothing"
NAMES = {
    CONTROL: "nothing",
    "unet": "the U-Net",
    "noise": "the noise",
    "f_sem": "the semantic features f_sem",
    "f_dist": "the distortion features f_dist",
    "semantic_tokens": "the semantic tokens",
    "pixel_features": "the pixel features",
    "coarse": "the coarse module (its linear path is left)",
}
LEFT_OUT = ("unet", "noise", "semantic_tokens", "pixel_features")
METRICS = ("psnr-rgb", "ms-ssim-rgb", "lpips-alex", "lpips-vgg", "dists")
PERCEPTUAL = METRICS[2:]
RETRAINED = {
    "codec": (CONTROL, "f_sem", "f_dist"),
    "diffusion": (CONTROL, "semantic_tokens", "pixel_features", "coarse"),
}
FINAL_FIGURES = {
    "psnr_final": ("PSNR", ".2f"),
    "lpips_vgg_final": ("LPIPS (VGG)", ".3f"),
    "dists_final": ("DISTS", ".3f"),
    "energy_final": ("gradient energy", ".2f"),
}

app = typer.Typer(help=__doc__.split("\n\n")[0])
Json = Annotated[bool, typer.Option("--json", help="Print all figures instead of tables.")]


@contextmanager
def without(pipeline: SPRDiffPipeline, part: str) -> Iterator[None]:
    """``pipeline`` decodes without ``part``, of ``LEFT_OUT``."""
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

    from sprdiff.reconstruction.conditions import drop

    if part == "noise":
        add_noise = pipeline.scheduler.add_noise
        pipeline.scheduler.add_noise = lambda x, noise, t: add_noise(x, torch.zeros_like(noise), t)
        try:
            yield
        finally:
            del pipeline.scheduler.add_noise
        return
    if part == "unet":
        hook = pipeline.unet.register_forward_hook(
            lambda module, inputs, out: UNet2DConditionOutput(sample=torch.zeros_like(out.sample))
        )
    else:
        kept = [torch.tensor([part != name]) for name in ("semantic_tokens", "pixel_features")]
        hook = pipeline.conditions.register_forward_hook(lambda module, inputs, out: drop(out, *kept))
    try:
        yield
    finally:
        hook.remove()


def measure_left_out(
    paths: list[Path], bpp: float, pipeline: SPRDiffPipeline
) -> dict[str, list[dict[str, float]]]:
    """A row of metrics for each picture, by what is left out; ``levels`` is how much the samples changed."""
    import numpy as np

    from sprdiff.images import load_image
    from sprdiff.metrics import measure

    rows: dict[str, list[dict[str, float]]] = {part: [] for part in (CONTROL, *LEFT_OUT)}
    for path in paths:
        original = load_image(path)
        data = pipeline.compress(original, target_bpp=bpp)
        whole = pipeline.decompress(data).final
        pictures = {CONTROL: whole}
        for part in LEFT_OUT:
            with without(pipeline, part):
                pictures[part] = pipeline.decompress(data).final
        for part, picture in pictures.items():
            change = np.abs(np.asarray(picture, float) - np.asarray(whole, float)).mean()
            values = {id: each.value for id, each in measure(original, picture, METRICS).items()}
            rows[part].append({"levels": float(change), **values})
    return rows


def left_out_table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Averages; behind perceptual metrics, the loss against the whole and its standard error."""
    from sprdiff.metrics import METRICS as known

    heads = ["levels changed", *(known[id].label for id in METRICS)]
    lines = [f"| final picture without | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for part, each in rows.items():
        cells = [f"{fmean(row['levels'] for row in each):.2f}"]
        for id in METRICS:
            cell = f"{fmean(row[id] for row in each):.{known[id].decimals}f}"
            if id in PERCEPTUAL and part != CONTROL:
                losses = [row[id] - whole[id] for row, whole in zip(each, rows[CONTROL], strict=True)]
                error = stdev(losses) / len(losses) ** 0.5 if len(losses) > 1 else float("nan")
                cell += f" ({fmean(losses):+.4f} ± {error:.4f})"
            cells.append(cell)
        lines.append(f"| {NAMES[part]} | {' | '.join(cells)} |")
    return "\n".join(lines)


@app.command()
def left_out(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of PNG images.")],
    bpp: Annotated[float, typer.Option(help="Budget of every stream.")] = 0.03,
    model: Annotated[str, typer.Option(help="Checkpoint folder or Hub id.")] = str(CHECKPOINT),
    as_json: Json = False,
) -> None:
    """The finished model without a part, on the same bytes."""
    from sprdiff import SPRDiffPipeline

    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise typer.BadParameter(f"{folder} holds no PNG image.")
    rows = measure_left_out(paths, bpp, SPRDiffPipeline.from_pretrained(model))
    print(json.dumps(rows, indent=2) if as_json else left_out_table(rows))


def train(
    stage: str, part: str, photographs: Path, out: Path, checkpoint: Path, steps: int, more: list[str]
) -> list[dict]:
    """The last validation of one run, which is made if it is not there."""
    run = out / f"{stage}-{part}"
    log = run / f"{stage}.jsonl"
    if not _last_rows(log, steps):
        command = [
            sys.executable, "-m", "sprdiff.training", stage, "--data", str(photographs), "--out", str(run),
            "--start", str(checkpoint), "--steps", str(steps), "--validate-every", str(steps),
            "--resume", *more,
        ]  # fmt: skip
        if part != CONTROL:
            command += ["--without", part]
        run.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        with (run / "output.txt").open("w") as output:
            subprocess.run(command, check=True, env=environment, stdout=output, stderr=subprocess.STDOUT)
    return _last_rows(log, steps)


def _last_rows(log: Path, steps: int) -> list[dict]:
    """The rows of the validation at the end of a run of so many steps, or none."""
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [row for row in rows if row["step"] == steps]


def _curve(part: str, rows: list[dict]) -> Curve:
    points = [Point(row["bpp_estimated"], {"psnr-rgb": row["psnr_coarse"]}) for row in rows]
    return Curve(part, NAMES[part], tuple(points))


def retrained_table(results: dict[str, dict[str, list[dict]]]) -> str:
    """Two markdown tables: the codec's runs, and the diffusion stage's at each quality."""
    lines = ["| codec trained without | steps | BD-rate of the coarse picture |", "|---|---:|---:|"]
    curves = {part: _curve(part, rows) for part, rows in results["codec"].items()}
    for part, rows in results["codec"].items():
        change = bd_rate(curves[CONTROL], curves[part], "psnr-rgb")
        cell = change.reason if change.value is None else f"{change.value:+.1f} %"
        lines.append(f"| {NAMES[part]} | {rows[0]['step']} | {cell} |")
    heads = [head for head, _ in FINAL_FIGURES.values()]
    lines += [
        "",
        f"| diffusion trained without | steps | quality | {' | '.join(heads)} |",
        f"|---|---:|---:|{'---:|' * len(heads)}",
    ]
    for part, rows in results["diffusion"].items():
        for row in rows:
            cells = [f"{row[key]:{form}}" for key, (_, form) in FINAL_FIGURES.items()]
            lines.append(f"| {NAMES[part]} | {row['step']} | {row['quality']} | {' | '.join(cells)} |")
    return "\n".join(lines)


@app.command()
def retrained(
    photographs: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="As in training.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")],
    checkpoint: Annotated[Path, typer.Option(help="Where all of them start.")] = CHECKPOINT,
    steps: Annotated[int, typer.Option(help="Of each run.")] = 240,
    taught: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="As for python -m sprdiff.training."),
    ] = None,
    backbones: Annotated[Path | None, typer.Option(help="As for python -m sprdiff.training.")] = None,
    as_json: Json = False,
) -> None:
    """Brief trainings without a part, from the same checkpoint."""
    given = {"--taught": taught, "--backbones": backbones}
    more = [word for name, folder in given.items() if folder for word in (name, str(folder))]
    jobs = [(stage, part) for stage, parts in RETRAINED.items() for part in parts]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda job: train(*job, photographs, out, checkpoint, steps, more), jobs))
    results: dict[str, dict[str, list[dict]]] = {stage: {} for stage in RETRAINED}
    for (stage, part), each in zip(jobs, rows, strict=True):
        results[stage][part] = each
    print(json.dumps(results, indent=2) if as_json else retrained_table(results))


if __name__ == "__main__":
    app()
