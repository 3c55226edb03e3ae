"""``python -m sprdiff.training.export RUN CHECKPOINT``: a run's parts as one half-precision checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from sprdiff.checkpoint.config import PRESETS
from sprdiff.checkpoint.parts import PART_CLASSES, build_part, load_part
from sprdiff.diffusion.denoiser import initialize
from sprdiff.pipeline import SPRDiffPipeline
from sprdiff.training import command
from sprdiff.training.diffusion_stage import DiffusionSettings, DiffusionStage
from sprdiff.training.settings import read_settings


def trained_decoding(run: Path) -> dict[str, Any]:
    """The settings of decoding that the run's denoiser was trained with; none where it has no such file."""
    file = run / f"{DiffusionStage.name}.yaml"
    if not file.exists():
        return {}
    return {"start_timesteps": read_settings(DiffusionSettings, file).start_timesteps}


def main(
    run: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder that the stages wrote.")],
    checkpoint: Annotated[Path, typer.Argument(help="Folder to write; replaced as a whole.")],
    preset: Annotated[str, typer.Option(help="The one that the run was trained with.")] = "tiny",
    max_shard_size: Annotated[
        str, typer.Option(help="Of a file with weights. Above 10 MB a Space takes it through LFS alone.")
    ] = "9MB",
) -> None:
    """Collect a run's parts into a checkpoint that SPRDiffPipeline.from_pretrained loads."""
    parts = {}
    for name in PART_CLASSES:
        if not (run / name).exists():
            typer.echo(f"{name} is not trained yet: it starts from its initial weights", err=True)
            parts[name] = build_part(name, PRESETS[preset])
            if name == "unet":
                initialize(parts[name])
        else:
            parts[name] = load_part(name, run)
    pipeline = SPRDiffPipeline(**parts, decoding=trained_decoding(run))
    for part in pipeline.components.values():
        if hasattr(part, "half"):
            part.half()
    partial = checkpoint.with_name(checkpoint.name + ".tmp")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.save_pretrained(partial, max_shard_size=max_shard_size)
    # diffusers notes where a part was loaded from: a path of the training machine, of no use elsewhere.
    for path in partial.glob("*/config.json"):
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    card = checkpoint / "README.md"
    if card.exists():
        shutil.copy(card, partial)
    # What it was trained with, beside the card: of each stage, as its last run left it.
    for settings in sorted(run.glob("*.yaml")):
        (partial / "training").mkdir(exist_ok=True)
        shutil.copy(settings, partial / "training")
    shutil.rmtree(checkpoint, ignore_errors=True)
    partial.rename(checkpoint)
    typer.echo(f"{checkpoint}: fingerprint {pipeline.fingerprint}")


if __name__ == "__main__":
    command.run(main)
