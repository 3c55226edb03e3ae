"""``python -m sprdiff.training STAGE --data DIR --out DIR [--resume | --restart] [--set NAME=VALUE ...]``."""

from __future__ import annotations

import shutil
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from accelerate.utils import set_seed

from sprdiff.checkpoint.config import PRESETS
from sprdiff.checkpoint.parts import PART_CLASSES
from sprdiff.training import command
from sprdiff.training.data import Crops, list_images, split
from sprdiff.training.loop import Schedule, Training
from sprdiff.training.settings import parse_change, read_settings
from sprdiff.training.stage import StageOptions
from sprdiff.training.stages import STAGES

# Settings by preset and stage, where those of the tiny preset, which are the defaults, would not do.
RECIPES = Path(__file__).parent / "recipes"

# Members that are known when it runs; mypy wants to read them.
StageName = Enum("StageName", {name: name for name in STAGES}, type=str)  # type: ignore[misc]
PresetName = Enum("PresetName", {name: name for name in PRESETS}, type=str)  # type: ignore[misc]


def unpack(checkpoint: Path, run: Path) -> None:
    """Lay out a checkpoint's parts as the stages would have left them; what the run has stays."""
    for name in PART_CLASSES:
        if not (run / name).exists():
            shutil.copytree(checkpoint / name, run / name)


def main(
    stage: Annotated[StageName, typer.Argument(help="What to train, in this order.")],
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of photographs.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; each stage adds its parts to it.")],
    preset: Annotated[PresetName, typer.Option(help="Sizes of the parts.")] = PresetName["tiny"],
    steps: Annotated[
        int | None, typer.Option(min=1, help="In all, over every resumed run; short for --set steps=N.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="A ceiling, over every resumed run: training stops where it is then."),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--restart",
            help="Go on from the last saved state, or begin anew with the run's weights; to be said where "
            "there is one.",
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Checkpoint whose parts to train further."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="An ablation: f_dist, f_sem (codec); semantic_tokens, pixel_features, coarse (diffusion)."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Train this part alone: fusion, latent_codec, coarse (codec)."),
    ] = None,
    backbones: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder with tf_efficientnet_lite0.safetensors, tf_efficientnet_lite2.safetensors (without "
            "it they are fetched from the Hugging Face Hub) and, for the teacher, realesrgan-x4plus.bin.",
        ),
    ] = None,
    taught: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Pictures of python -m sprdiff.training.teacher; without it the run's teacher is asked at "
            "every step, which a GPU does in no time.",
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="YAML or JSON with settings of the stage; a run's STAGE.yaml is one. Without it, those of "
            "the preset.",
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, for example weights.l1=0.5 or adversary.share=0.6."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare crops ahead, for a GPU.")] = 0,
    tracker: Annotated[
        str,
        typer.Option(help="Where curves and pictures go: tensorboard, wandb, others of accelerate's, none."),
    ] = "tensorboard",
    validate_every: Annotated[int, typer.Option(min=1, help="Steps between validations.")] = 200,
    save_every: Annotated[
        int, typer.Option(min=1, help="Steps between saved states: what a kill can cost.")
    ] = 200,
) -> None:
    """Train one stage of SPRDiff; run the stages in the order in which they are listed."""
    build = STAGES[stage.value]
    unknown = set(without or ()) - set(build.ablations)
    if unknown:
        known = ", ".join(build.ablations) or "nothing"
        raise typer.BadParameter(
            f"The {stage.value} stage can go without {known}; not {', '.join(sorted(unknown))}."
        )
    strange = set(only or ()) - set(build.separable)
    if strange:
        known = ", ".join(build.separable) or "no part"
        raise typer.BadParameter(
            f"The {stage.value} stage can train {known} alone; not {', '.join(sorted(strange))}."
        )
    if taught is not None and not build.follows_teacher:
        raise typer.BadParameter(f"The {stage.value} stage follows no teacher; leave out --taught.")
    options = StageOptions(frozenset(without or ()), frozenset(only or ()), backbones, taught)
    if start is not None:
        unpack(start, out)
    changes = dict(map(parse_change, change or ()))
    if steps is not None:
        changes["steps"] = steps
    recipe = RECIPES / preset.value / f"{stage.value}.yaml"
    if settings is None and recipe.exists():
        settings = recipe
    chosen = read_settings(build.settings_type, settings, changes)
    set_seed(chosen.seed)  # initial weights: the same in every process
    # Statistics for closed-form starts; a resumed run has them in its state.
    statistics = Crops(split(list_images(data))[0][:400], chosen.crop, chosen.max_zoom, chosen.seed)
    training = build(chosen, PRESETS[preset.value], out, statistics, options)
    schedule = Schedule(
        validate_every=validate_every,
        save_every=save_every,
        minutes=minutes,
        resume=resume,
        workers=workers,
        tracker=None if tracker == "none" else tracker,
    )
    Training(training, data, out, schedule).run()


if __name__ == "__main__":
    command.run(main)
