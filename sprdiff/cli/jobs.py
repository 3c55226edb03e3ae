"""Files in and out of a command: which becomes which, checked before any work; standard input and output."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from sprdiff.errors import SettingsError
from sprdiff.files import check_folder, write_file

PIPE = Path("-")
"""Standard input as a source, standard output as a target."""


@dataclass(frozen=True)
class Job:
    """One input file and the output file it becomes."""

    source: Path
    target: Path

    def read(self) -> bytes:
        """The input.

        Raises:
            SettingsError: it should come from standard input, and nothing is piped in.
        """
        if self.source != PIPE:
            return self.source.read_bytes()
        if sys.stdin is None or sys.stdin.isatty():
            raise SettingsError("- reads standard input, and nothing is piped into it.")
        return sys.stdin.buffer.read()

    @property
    def name(self) -> str:
        """Of the input, for people."""
        return "standard input" if self.source == PIPE else str(self.source)


def write_output(target: Path, data: bytes) -> None:
    """The whole file, in a folder that is made where it is missing, or all of it to standard output."""
    if target == PIPE:
        stdout = _standard_output().buffer
        stdout.write(data)
        stdout.flush()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(target, data)


def inputs_and_output(paths: Sequence[str], out: str | None) -> tuple[list[str], str]:
    """``IN... OUT``, or ``IN... -o OUT``.

    Raises:
        SettingsError: there is no output.
    """
    if out is not None:
        return list(paths), out
    if len(paths) < 2:
        raise SettingsError(f"Name the output: {paths[0]} OUT, or -o OUT.")
    return list(paths[:-1]), paths[-1]


def plan_jobs(
    inputs: Sequence[str],
    output: str,
    *,
    suffixes: Sequence[str],
    read: Collection[str],
    suffix: str | None = None,
    force: bool = False,
) -> list[Job]:
    """The jobs of ``IN... OUT``: OUT is a file for one input, or a folder, which may be missing.

    An output keeps the name of its input with another ending. Nothing is written or made.

    Args:
        inputs: paths of files, of folders whose files are meant, or ``-``.
        output: a trailing slash makes it a folder; ``-`` is standard output.
        suffixes: that an output file may have, with their dots.
        read: endings of the files that are taken from folders.
        suffix: of outputs in a folder; the first of ``suffixes`` by default.
        force: outputs may exist.
    Raises:
        SettingsError: an input is missing, the output has another ending or nowhere to be written, two
            outputs would have one name, an output exists, or would overwrite an input.
    """
    sources = [source for path in inputs for source in _sources(Path(path), read)]
    several = len(sources) > 1 or any(Path(path).is_dir() for path in inputs)
    if output == "-":
        if several:
            raise SettingsError(f"Standard output takes one file; there are {len(sources)}.")
        if _standard_output().isatty():
            raise SettingsError("- writes to standard output, a terminal here; name a file, or pipe it on.")
        return [Job(sources[0], PIPE)]
    out, suffix = Path(output), suffix or suffixes[0]
    if out.is_dir() or output.endswith(("/", os.sep)) or several:
        if out.exists() and not out.is_dir():
            raise SettingsError(f"With several inputs the output is a folder; {out} is a file.")
        if out.suffix.lower() in suffixes and not out.is_dir():
            raise SettingsError(f"With several inputs the output is a folder, got {out}.")
        if PIPE in sources:
            raise SettingsError(f"Standard input has no name for a file in {out}; name the output file.")
        jobs = [Job(source, out / (source.stem + suffix)) for source in sources]
    else:
        if out.suffix.lower() not in suffixes:
            raise SettingsError(f"The output file must end in {' or '.join(suffixes)}, got {out}.")
        jobs = [Job(sources[0], out)]
    _check_targets(jobs)
    check_new([job.target for job in jobs], force)
    return jobs


def check_new(targets: Sequence[Path], force: bool) -> None:
    """Passes if nothing would be overwritten, or everything may be.

    Raises:
        SettingsError: a file exists.
    """
    there = [] if force else [target for target in targets if target.exists()]
    if there:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise SettingsError(f"{there[0]} exists{more}; --force overwrites.")


def _standard_output() -> TextIOWrapper:
    """That of the process, wherever ``sys.stdout`` leads just now.

    Raises:
        SettingsError: it is closed.
    """
    if sys.__stdout__ is None:
        raise SettingsError("- writes to standard output, which is closed.")
    return sys.__stdout__


def _sources(path: Path, read: Collection[str]) -> list[Path]:
    if path == PIPE or path.is_file():
        return [path]
    if not path.exists():
        raise SettingsError(f"There is no file {path}.")
    found = sorted(
        each
        for each in path.iterdir()
        if each.suffix.lower() in read and not each.name.startswith(".") and each.is_file()
    )
    if not found:
        raise SettingsError(f"No file in the folder {path} ends in {' or '.join(sorted(read))}.")
    return found


def _check_targets(jobs: Sequence[Job]) -> None:
    made_from: dict[Path, Path] = {}
    for job in jobs:
        target = job.target.resolve()
        if target in made_from:
            raise SettingsError(f"{made_from[target]} and {job.source} would both become {job.target}.")
        made_from[target] = job.source
        if job.target.is_dir():
            raise SettingsError(f"The output {job.target} is a folder.")
        for other in jobs:
            if other.source != PIPE and job.target.exists() and job.target.samefile(other.source):
                raise SettingsError(f"The output {job.target} would overwrite an input.")
        check_folder(job.target.parent)
