"""Batches without end, the same after a stop, in any number of processes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info


class Source(Protocol):
    """Where crops come from."""

    def crop(self, random: np.random.Generator) -> Any:
        """One, chosen at random."""

    def collate(self, crops: list[Any]) -> Any:
        """A batch of crops."""


class _Stream(IterableDataset):
    """See :func:`stream`."""

    def __init__(
        self, source: Source, count: int, seed: int, first_step: int, rank: int, processes: int
    ) -> None:
        super().__init__()
        self.source, self.count, self.start = source, count, seed
        self.first_step, self.rank, self.processes = first_step, rank, processes

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        own, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in itertools.count(self.first_step + own, workers):
            first = (step * self.processes + self.rank) * self.count
            seeds = ((self.start, index) for index in range(first, first + self.count))
            yield self.source.collate([self.source.crop(np.random.default_rng(seed)) for seed in seeds])


def stream(
    source: Source,
    count: int,
    seed: int,
    *,
    first_step: int = 0,
    rank: int = 0,
    processes: int = 1,
    workers: int = 0,
) -> Iterator[Any]:
    """The batches of one process for ever.

    Every crop has random numbers of its own, by its place in the whole run: neither a stop nor the number of
    workers changes what is seen, and ``processes`` share the batches that one would see.

    Args:
        source: of the crops.
        count: crops a step in this process.
        seed: of the random choices.
        first_step: of the run that goes on.
        rank: which of the ``processes`` this is.
        workers: child processes that prepare batches ahead; 0 to prepare each when it is asked for.
    """
    loader: Iterable[Any] = DataLoader(
        _Stream(source, count, seed, first_step, rank, processes),
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
        # DataLoader draws a seed; from torch's global generator it would change a resumed run's numbers.
        generator=torch.Generator(),
    )
    return iter(loader)
