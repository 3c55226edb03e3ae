"""What every command takes beside its own options."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Common:
    """Options of every command.

    Attributes:
        quiet: no progress, no warning and no text on stdout.
        verbose: show what other libraries say, and where an error arose.
        threads: of the processor; None for all cores.
        device: to compute on; None for the CPU.
    """

    quiet: bool = False
    verbose: bool = False
    threads: int | None = None
    device: str | None = None


COMMON = Common()
"""Of the command that runs; a process runs one at a time."""
