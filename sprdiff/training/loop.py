"""The training loop of every stage: time budget, EMA weights, resumable state, validation table."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers.training_utils import EMAModel
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from sprdiff.errors import WeightsError
from sprdiff.training.data import Crops, Source, list_images, split, stream, validation_images

SAVE_EVERY_MINUTES = 4.0
# The share of the time after which the learning rate falls.
DECAY_FROM = 0.6


@dataclass(frozen=True)
class StageOptions:
    """What a run asks of a stage beyond its defaults.

    Attributes:
        without: what an ablation leaves out, of the stage's ``ablations``.
        only: train these parts of the stage alone; none for all of them.
        backbones: folder with the weights of the networks that teach, see
            :func:`sprdiff.training.backbones.feature_network` and :mod:`sprdiff.training.real_esrgan`.
        taught: folder of a teacher's pictures, see :mod:`sprdiff.training.teacher`.
    """

    without: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    backbones: Path | None = None
    taught: Path | None = None


class Stage(ABC):
    """What one stage trains, and how.

    Attributes:
        name: as given on the command line.
        objective: the module whose parameters are trained; its forward returns a dict of losses with
            the total under ``loss``.
        batch_size, crop, max_zoom, graphics, learning_rate, ema_decay: settings of the loop.
        ablations, separable: what the stage can be trained without, and which of its parts alone; see
            :class:`StageOptions`.
    """

    name: str
    ablations: tuple[str, ...] = ()
    separable: tuple[str, ...] = ()
    objective: nn.Module
    batch_size: int = 16
    crop: int = 256
    max_zoom: float = 1.5
    graphics: float = 0.0
    learning_rate: float = 5e-4
    ema_decay: float = 0.998
    gradient_clip: float = 0.5

    def source(self, paths: list[Path], seed: int) -> Source:
        """Where batches come from.

        Args:
            paths: the photographs to train on.
        """
        return Crops(paths, self.crop, self.max_zoom, seed, self.graphics)

    def before_step(self, accelerator: Accelerator, crops: Any) -> Any:
        """The objective's batch, for example with what frozen parts make of the crops (B, 3, H, W)."""
        return to_device(crops, accelerator)

    def after_step(self, accelerator: Accelerator, batch: Any, progress: float) -> dict[str, Tensor]:
        """Work of a stage after the objective's step, for example a discriminator's; gives what to log."""
        return {}

    def extra_state(self) -> dict[str, Any]:
        """Objects with ``state_dict`` beside the objective that a resumed run needs."""
        return {}

    @abstractmethod
    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        """Rows of a table, measured on held-out pictures (1, 3, H, W) in [-1, 1]."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the trained parts into ``folder``."""


def to_device(pictures: Tensor, accelerator: Accelerator) -> Tensor:
    """Pictures (B, C, H, W) where the objective is, channels last."""
    return pictures.to(accelerator.device, memory_format=torch.channels_last)


def learning_rate_factor(progress: float) -> float:
    """The share of its peak that a learning rate has when this share of the time is over."""
    falling = max(0.0, progress - DECAY_FROM) / (1 - DECAY_FROM)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * falling))


class _Progress:
    """Steps and minutes so far, and whose state it is; part of the resumable state.

    Args:
        shapes: of the trained parameters in order. Optimizer and EMA know them by position only, and a
            state of other parts would be loaded without a word.
    """

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        self.step = 0
        self.minutes = 0.0
        self.shapes = shapes

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "minutes": self.minutes, "shapes": self.shapes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state.get("shapes", self.shapes) != self.shapes:
            raise WeightsError("The saved state is of other parts than this stage trains; start without it.")
        self.step, self.minutes = int(state["step"]), float(state["minutes"])


class _Plain:
    """Gives accelerate the state of an object that is not a prepared model."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def state_dict(self) -> dict[str, Any]:
        return self.target.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.target.load_state_dict(state)


def run(
    stage: Stage,
    data: Path,
    out: Path,
    *,
    minutes: float,
    resume: bool,
    seed: int,
    validate_every_minutes: float,
    workers: int = 0,
) -> None:
    """Train ``stage`` for ``minutes`` in all, over as many runs as it takes.

    The learning rate keeps its peak until DECAY_FROM, then falls along a cosine to 2 % of it. A run that is
    killed loses at most ``SAVE_EVERY_MINUTES``; ``resume`` goes on from the last state. ``workers``: see
    :func:`sprdiff.training.data.stream`.
    """
    # On a GPU: crops are all of one size, so the fastest convolutions are worth looking for.
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    accelerator = Accelerator(mixed_precision="bf16")
    set_seed(seed, device_specific=True)
    console = Console(stderr=True)
    training, held_out = split(list_images(data))
    own_seed = seed + 1000 * accelerator.process_index
    crops = stage.source(training, own_seed)
    validation = validation_images(held_out) if accelerator.is_main_process else []
    validation = [to_device(x, accelerator) for x in validation]

    stage.objective.to(accelerator.device, memory_format=torch.channels_last)
    parameters = [p for p in stage.objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=stage.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
    )
    ema = EMAModel(parameters, decay=stage.ema_decay, use_ema_warmup=True, power=0.75, foreach=True)
    ema.to(accelerator.device)
    objective, optimizer = accelerator.prepare(stage.objective, optimizer)
    clock = _Progress([tuple(p.shape) for p in parameters])
    for item in [clock, ema, *stage.extra_state().values()]:
        accelerator.register_for_checkpointing(_Plain(item))
    state = out / "state" / stage.name
    if resume and state.exists():
        accelerator.load_state(str(state))
        own_seed += clock.step
        console.print(f"{stage.name}: resumed at step {clock.step}, minute {clock.minutes:.1f}")

    def save() -> None:
        if accelerator.is_main_process:
            state.parent.mkdir(parents=True, exist_ok=True)
        temporary = state.with_name(state.name + ".tmp")
        accelerator.save_state(str(temporary))
        if accelerator.is_main_process:
            ema.store(parameters)
            ema.copy_to(parameters)
            stage.save(out)
            ema.restore(parameters)
            old = state.with_name(state.name + ".old")
            if state.exists():
                os.replace(state, old)
            os.replace(temporary, state)
            shutil.rmtree(old, ignore_errors=True)
        accelerator.wait_for_everyone()

    def validate() -> None:
        if not accelerator.is_main_process:
            return
        ema.store(parameters)
        ema.copy_to(parameters)
        stage.objective.eval()
        # These pictures are of many sizes: here the search for fast convolutions would be the slow part.
        with torch.no_grad(), torch.backends.cudnn.flags(benchmark=False):
            rows = stage.validate(validation)
        stage.objective.train()
        ema.restore(parameters)
        with (out / f"{stage.name}.jsonl").open("a") as log:
            for row in rows:
                row = {"stage": stage.name, "step": clock.step, "minutes": round(clock.minutes, 2), **row}
                log.write(json.dumps(row) + "\n")
                console.print(
                    "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
                )

    out.mkdir(parents=True, exist_ok=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[logs]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    stage.objective.train()
    last_save = last_validation = clock.minutes
    averages: dict[str, Tensor] = {}
    batches = stream(crops, stage.batch_size, own_seed, workers)

    def logs_text() -> str:
        return f"step {clock.step} " + " ".join(f"{k} {float(v):.4g}" for k, v in averages.items())

    shown = 0.0
    with Progress(*columns, console=console, disable=not accelerator.is_main_process) as bar:
        task = bar.add_task(stage.name, total=minutes, completed=clock.minutes, logs="")
        while clock.minutes < minutes:
            started = time.monotonic()
            progress = clock.minutes / minutes
            warmup = min(1.0, (clock.step + 1) / 100)
            for group in optimizer.param_groups:
                group["lr"] = stage.learning_rate * warmup * learning_rate_factor(progress)
            batch = stage.before_step(accelerator, next(batches))
            with accelerator.autocast():
                losses = objective(batch, progress)
            optimizer.zero_grad()
            accelerator.backward(losses["loss"])
            norm = accelerator.clip_grad_norm_(parameters, stage.gradient_clip)
            if torch.isfinite(norm):
                optimizer.step()
                ema.step(parameters)
            logs = stage.after_step(accelerator, batch, progress)
            clock.step += 1
            clock.minutes += (time.monotonic() - started) / 60
            # On a device these stay there until they are shown: reading one waits for all that runs.
            for key, value in {**logs, **losses, "norm": norm}.items():
                number = torch.as_tensor(value).detach().float()
                averages[key] = torch.lerp(averages.get(key, number), number, 0.02)
            if time.monotonic() - shown > 1:
                bar.update(task, completed=clock.minutes, logs=logs_text())
                shown = time.monotonic()
            if clock.minutes - last_validation >= validate_every_minutes:
                console.print(logs_text())
                validate()
                last_validation = clock.minutes
            if clock.minutes - last_save >= SAVE_EVERY_MINUTES:
                save()
                last_save = clock.minutes
    validate()
    save()
    accelerator.end_training()
