"""A run in several processes: started here on one machine, or by ``accelerate launch`` on any number.

``accelerate launch`` starts a process for each GPU. On CPUs it leaves that to MPI, or to a launcher that sets
RANK and WORLD_SIZE for each process, as ``torchrun --nproc-per-node 2 -m sprdiff evaluate ...`` does.

Every process takes each n-th image and writes its rows to a file of its own, ``rows.part-I.jsonl``, so that
no two write to one; the files become one at the end, or, after a kill, when the run is continued.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprdiff.comparison.rows import Row
from sprdiff.errors import SPRDiffError
from sprdiff.evaluation.plan import Plan, RowKey
from sprdiff.evaluation.worker import Share, measure_images
from sprdiff.types import Progress

if TYPE_CHECKING:
    from accelerate import PartialState

    from sprdiff.pipeline import SPRDiffPipeline

Load = Callable[[], "SPRDiffPipeline | None"]
"""Makes the model of a process; can be sent to it, so it is a function or a ``functools.partial`` of one."""

_POLL_SECONDS = 1.0
_GROUP_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def launched() -> PartialState | None:
    """The group of processes that ``accelerate launch`` has started this one in; None if there is none."""
    if all(int(os.environ.get(name, "1")) == 1 for name in _GROUP_SIZES):
        return None
    import torch
    from accelerate import PartialState

    # The processes meet at the end only, and some finish long before others.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=7))


def gather(state: PartialState | None, items: list) -> list:
    """The items of all processes, in each; it also waits until all have come here."""
    if state is None:
        return items
    from accelerate.utils import gather_object

    return gather_object(items)


def part_path(out: Path, index: int) -> Path:
    """The rows of one process."""
    return out / f"rows.part-{index}.jsonl"


def part_paths(out: Path) -> list[Path]:
    """The parts in the folder, also those of a run that was killed."""
    return sorted(out.glob("rows.part-*.jsonl"))


@dataclass(frozen=True)
class _Work:
    """The arguments of a process."""

    plan: Plan
    paths: list[Path]
    folder: Path
    rows: dict[RowKey, Row]
    load: Load
    threads: int


def measure_in_processes(
    plan: Plan,
    paths: Sequence[Path],
    folder: Path,
    rows: Mapping[RowKey, Row],
    load: Load,
    jobs: int,
    *,
    progress: Progress,
    on_failure: Callable[[str, str], None],
) -> list[Share]:
    """The shares of ``jobs`` new processes; the arguments are those of ``worker.measure_images``.

    Not by ``concurrent.futures``: its pools say nothing between a call and its result, and here every row is
    progress.

    Raises:
        SPRDiffError: a process ended by itself; its finished rows are there, and the run can be continued.
    """
    # Not forked: torch's threads do not survive that.
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    processes = []
    for index in range(jobs):
        work = _Work(plan, list(paths[index::jobs]), folder, dict(rows), load, threads)
        # A daemon is ended by this process as it ends, unless it is killed: see _serve.
        processes.append(context.Process(target=_serve, args=(index, work, messages), daemon=True))
    shares: dict[int, Share] = {}
    reported: set[tuple[str, str]] = set()
    done = dict.fromkeys(range(jobs), 0.0)
    weights = [len(paths[index::jobs]) / len(paths) for index in range(jobs)]
    try:
        for process in processes:
            process.start()
        while len(shares) < jobs:
            try:
                index, kind, content = messages.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                _check_alive(processes, shares)
                continue
            if kind == "progress":
                done[index], text = content
                progress(sum(weights[each] * share for each, share in done.items()), text)
            elif kind == "failure":
                if content not in reported:  # a method without weights fails in every process
                    on_failure(*content)
                reported.add(content)
            elif kind == "error":
                raise content
            else:
                shares[index] = content
        for process in processes:
            process.join()
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
    return list(shares.values())


def _serve(index: int, work: _Work, messages: Any) -> None:
    try:
        import torch

        def progress(share: float, text: str) -> None:
            if parent is not None and not parent.is_alive():
                messages.cancel_join_thread()  # nobody reads what waits there
                raise SystemExit
            messages.put((index, "progress", (share, text)))

        parent = multiprocessing.parent_process()
        torch.set_num_threads(work.threads)
        share = measure_images(
            work.plan,
            work.paths,
            work.folder,
            work.rows,
            part_path(work.plan.out, index),
            work.load(),
            progress=progress,
            on_failure=lambda name, message: messages.put((index, "failure", (name, message))),
        )
        messages.put((index, "share", share))
    except KeyboardInterrupt:
        pass  # the first process says so
    except SPRDiffError as error:
        messages.put((index, "error", error))


def _check_alive(processes: Sequence[Any], shares: Mapping[int, Share]) -> None:
    for index, process in enumerate(processes):
        if index not in shares and process.exitcode is not None:
            raise SPRDiffError(
                f"Process {index + 1} of {len(processes)} ended with code {process.exitcode}. The rows that "
                "were finished are kept; the same command goes on from there."
            )
