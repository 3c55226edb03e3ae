"""The training loop of every stage: schedule, steps, EMA weights, validation table."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast, set_seed
from diffusers.training_utils import EMAModel
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from sprdiff.errors import SettingsError
from sprdiff.training.data import list_images, split, stream, validation_images
from sprdiff.training.frozen import Frozen
from sprdiff.training.saved_state import Clock, Plain, SavedState
from sprdiff.training.stage import Stage, learning_rate_factor, to_device

# Held-out pictures that a tracker shows.
SHOWN = 4
TRACKER_ARGUMENTS = {"tensorboard": {"dataformats": "NHWC"}}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long a run lasts and what it writes; what is learned depends on the stage's settings alone.

    Attributes:
        validate_every, save_every: steps between validations, and between saved states.
        minutes: a ceiling over all resumed runs, at which a run stops where it is; none for no ceiling.
        resume: go on from the last saved state, if there is one, or begin anew in spite of it; None
            where there is to be none, so that no run is lost for a forgotten word.
        workers: processes that prepare batches ahead, see :func:`sprdiff.training.data.stream`.
        tracker: one of accelerate's, such as ``tensorboard`` or ``wandb``, that is given curves and pictures.
            TensorBoard's files go to ``logs`` in the run.
        log_every: steps between the points of its curves.
    """

    validate_every: int = 200
    save_every: int = 200
    minutes: float | None = None
    resume: bool | None = None
    workers: int = 0
    tracker: str | None = None
    log_every: int = 10


class Training:
    """One stage in training, in one process or several.

    Args:
        stage: what is trained.
        data: folder of photographs.
        out: folder of the run: parts, ``STAGE.yaml`` with the settings, ``STAGE.jsonl`` with the validation
            table, and resumable state.
        schedule: how long, and what on the way.
    Raises:
        SettingsError: the processes cannot share a batch equally, or a saved state would be lost.
        WeightsError: the saved state is of other parts.
    """

    def __init__(self, stage: Stage, data: Path, out: Path, schedule: Schedule) -> None:
        self.stage, self.out, self.schedule = stage, out, schedule
        self.state = SavedState(out / "state" / stage.name)
        if schedule.resume is None and self.state.exists():
            raise SettingsError(
                f"{self.state.folder} holds a saved state: --resume goes on from it, --restart begins anew "
                "with the weights of the run and replaces it."
            )
        self.settings = settings = stage.settings
        # Not every step reaches every parameter: some losses come in turn.
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = accelerator = Accelerator(
            mixed_precision=settings.mixed_precision,
            gradient_accumulation_steps=settings.accumulate,
            kwargs_handlers=[unused],
            log_with=schedule.tracker,
            project_dir=out / "logs",
        )
        processes, batch_size = accelerator.num_processes, settings.batch_size
        if batch_size % (processes * settings.accumulate):
            raise SettingsError(
                f"{processes} processes cannot share a batch of {batch_size} crops equally in "
                f"{settings.accumulate} pass(es)."
            )
        self.share = batch_size // (processes * settings.accumulate)
        # On a GPU: crops are all of one size, so the fastest convolutions are worth looking for.
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
        set_seed(settings.seed, device_specific=True)
        self.console = Console(stderr=True)
        training, held_out = split(list_images(data))
        self.source = stage.source(training)
        pictures = validation_images(held_out) if accelerator.is_main_process else []
        self.held_out = [to_device(x, accelerator) for x in pictures]

        stage.objective.to(accelerator.device, memory_format=torch.channels_last)
        self._store_frozen(half=True)
        self.parameters = [p for p in stage.objective.parameters() if p.requires_grad]
        self.ema = EMAModel(
            self.parameters, decay=settings.ema_decay, use_ema_warmup=True, power=0.75, foreach=True
        )
        self.ema.to(accelerator.device)
        optimizer = torch.optim.AdamW(
            self.parameters,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.objective, self.optimizer = accelerator.prepare(stage.objective, optimizer)
        self.trained = (self.objective, *stage.prepare(accelerator))
        self.clock = Clock([tuple(p.shape) for p in self.parameters])
        for item in [self.clock, self.ema, *stage.extra_state().values()]:
            accelerator.register_for_checkpointing(Plain(item))
        self.averages: dict[str, Tensor] = {}
        out.mkdir(parents=True, exist_ok=True)
        if accelerator.is_main_process:
            settings.write(out / f"{stage.name}.yaml")
            self.state.recover()
        accelerator.wait_for_everyone()
        accelerator.init_trackers(stage.name, _flat(settings.model_dump()))
        if schedule.resume and self.state.exists():
            accelerator.load_state(str(self.state.folder))
            self.ema.to(accelerator.device)  # its state comes from the CPU
            self._say(f"{stage.name}: resumed at step {self.clock.step}, minute {self.clock.minutes:.1f}")
        self.validated = self.saved = self.clock.step

    @property
    def finished(self) -> bool:
        """Whether the last step is taken, or the ceiling reached."""
        return self.clock.step >= self.settings.steps or self._out_of_time()

    def run(self) -> None:
        """Train to the end of the schedule, or its ceiling, validate and save."""
        batches = self.batches()
        self.stage.objective.train()
        with self._progress() as progress:
            steps = self.settings.steps
            task = progress.add_task(self.stage.name, total=steps, completed=self.clock.step, logs="")
            shown = 0.0
            while not self.finished:
                self._track(self.step(batches))
                if time.monotonic() - shown > 1:
                    progress.update(task, completed=self.clock.step, logs=self.logs())
                    shown = time.monotonic()
                self.after_step()
        if self.clock.step > self.validated:
            self.validate()
        if self.clock.step > self.saved or not self.state.exists():
            self.save()
        self.accelerator.end_training()

    def batches(self) -> Iterator[Any]:
        """This process's batches, from the step at which the run is."""
        return stream(
            self.source,
            self.share,
            self.settings.seed,
            first_step=self.clock.step * self.settings.accumulate,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            workers=self.schedule.workers,
        )

    def after_step(self) -> None:
        """Validate and save, where that is due."""
        if self.clock.step % self.schedule.validate_every == 0:
            self._say(self.logs())
            self.validate()
        if self.clock.step % self.schedule.save_every == 0:
            self.save()

    def step(self, batches: Iterator[Any]) -> dict[str, Tensor]:
        """One step of the optimizers, from the next batches of the stage's source.

        Gives the losses, of the last batch where a step takes several, and the gradient's norm.
        """
        clock, settings = self.clock, self.settings
        started = time.monotonic()
        progress = clock.step / settings.steps
        warmup = min(1.0, (clock.step + 1) / max(1, settings.warmup_steps))
        for group in self.optimizer.param_groups:
            factor = learning_rate_factor(progress, settings)
            group["lr"] = settings.learning_rate * warmup * factor
        for _ in range(settings.accumulate):
            with self.accelerator.accumulate(*self.trained):
                values = self._pass(next(batches), progress)
        clock.step += 1
        clock.minutes += (time.monotonic() - started) / 60
        for key, value in values.items():
            self.averages[key] = torch.lerp(self.averages.get(key, value), value, 0.02)
        return values

    def _pass(self, crops: Any, progress: float) -> dict[str, Tensor]:
        """Gradients of one batch; the last of a step moves the weights."""
        stage, accelerator = self.stage, self.accelerator
        batch = stage.before_step(accelerator, crops)
        with accelerator.autocast():
            losses = self.objective(batch, progress)
        accelerator.backward(losses["loss"])
        if accelerator.sync_gradients:
            norm = accelerator.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
            losses["norm"] = norm
            if torch.isfinite(norm):
                self.optimizer.step()
                self.ema.step(self.parameters)
            self.optimizer.zero_grad()
        losses |= stage.after_step(accelerator, batch, progress)
        # On a device these stay there until they are shown: reading one waits for all that runs.
        return {key: torch.as_tensor(value).detach().float() for key, value in losses.items()}

    def logs(self) -> str:
        """The step, and averages over the last fifty steps or so."""
        values = " ".join(f"{key} {float(value):.4g}" for key, value in self.averages.items())
        return f"step {self.clock.step} {values}"

    def save(self) -> None:
        """The stage's parts with EMA weights, and the resumable state; a kill leaves the last one whole."""
        if self.accelerator.is_main_process:
            self.state.clear_next()
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(self.state.next))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            with self._averaged():
                self.stage.save(self.out)
            self.state.replace()
        self.accelerator.wait_for_everyone()
        self.saved = self.clock.step

    def validate(self) -> None:
        """Measure the EMA weights on held-out pictures, and add the rows to the table."""
        stage = self.stage
        if self.accelerator.is_main_process:
            stage.objective.eval()
            # These pictures are of many sizes: here the search for fast convolutions would be the slow part.
            # Random numbers of validation must not change those of the training.
            devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
            self._store_frozen(half=False)
            with (
                self._averaged(),
                torch.no_grad(),
                torch.backends.cudnn.flags(benchmark=False),
                torch.random.fork_rng(devices),
            ):
                rows = stage.validate(self.held_out)
                pictures = stage.pictures(self.held_out[:SHOWN]) if self.schedule.tracker else {}
            stage.objective.train()
            self._store_frozen(half=True)
            self._write(rows)
            self._show(rows, pictures)
        self.accelerator.wait_for_everyone()
        self.validated = self.clock.step

    def _progress(self) -> Progress:
        columns = (
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[logs]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        return Progress(*columns, console=self.console, disable=not self.accelerator.is_main_process)

    def _track(self, values: dict[str, Tensor]) -> None:
        """Give the tracker a step's losses, where that is due."""
        if self.schedule.tracker and self.clock.step % self.schedule.log_every == 0:
            rate = self.optimizer.param_groups[0]["lr"]
            self.accelerator.log({**values, "learning_rate": rate}, step=self.clock.step)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        moment = {
            "stage": self.stage.name,
            "step": self.clock.step,
            "minutes": round(self.clock.minutes, 2),
        }
        with (self.out / f"{self.stage.name}.jsonl").open("a") as log:
            for row in rows:
                row = {**moment, **row}
                log.write(json.dumps(row) + "\n")
                self._say(
                    "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
                )

    def _show(self, rows: list[dict[str, Any]], pictures: dict[str, Tensor]) -> None:
        """Give the tracker a validation's rows, apart by quality, and its pictures."""
        for row in rows:
            place = f"held out, quality {row['quality']}" if "quality" in row else "held out"
            figures = {f"{place}/{key}": value for key, value in row.items() if key != "quality"}
            self.accelerator.log(figures, step=self.clock.step)
        levels = {
            name: (x.float().clamp(-1, 1) * 127.5 + 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            for name, x in pictures.items()
        }
        for tracker in self.accelerator.trackers if levels else ():
            if hasattr(tracker, "log_images"):
                tracker.log_images(levels, step=self.clock.step, **TRACKER_ARGUMENTS.get(tracker.name, {}))

    def _store_frozen(self, half: bool) -> None:
        """Frozen weights in half precision, if the stage trains in it, or single: not all is validated so."""
        if self.settings.mixed_precision == "bf16":
            for module in self.stage.objective.modules():
                if isinstance(module, Frozen):
                    module.store_as(torch.bfloat16 if half else torch.float32)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The EMA weights in place of the trained ones."""
        self.ema.store(self.parameters)
        self.ema.copy_to(self.parameters)
        try:
            yield
        finally:
            self.ema.restore(self.parameters)

    def _out_of_time(self) -> bool:
        """Whether the ceiling is reached, by the first process's clock: all stop at the same step."""
        if self.schedule.minutes is None:
            return False
        reached = torch.tensor(self.clock.minutes >= self.schedule.minutes, device=self.accelerator.device)
        return bool(broadcast(reached.int()))

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            self.console.print(text)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, int | float | str | bool]:
    """Settings as trackers take them: no groups, and nothing but numbers and words."""
    flat: dict[str, int | float | str | bool] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, int | float | str | bool) else str(value)
    return flat
