"""Files in and out of a command: which file becomes which, checked before any work, and written whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sprdiff.errors import SettingsError


@dataclass(frozen=True)
class Job:
    """One input file and the output file it becomes."""

    source: Path
    target: Path


def plan_jobs(inputs: Sequence[str], output: str, suffix: str) -> list[Job]:
    """The jobs of ``IN... OUT``: OUT is a file for one input, or a folder, which may be missing.

    An output keeps the name of its input with another ending. Nothing is written or made.

    Args:
        inputs: paths of files.
        output: a trailing slash makes it a folder.
        suffix: ending of the outputs, with its dot.
    Raises:
        SettingsError: an input is missing, the output has another ending or nowhere to be written, two
            outputs would have one name, or an output would overwrite an input.
    """
    sources = [_check_source(Path(path)) for path in inputs]
    out = Path(output)
    if out.is_dir() or output.endswith(("/", os.sep)) or len(sources) > 1:
        if out.exists() and not out.is_dir():
            raise SettingsError(
                f"With several inputs the last argument is the output folder; {out} is a file."
            )
        if out.suffix == suffix and not out.is_dir():
            raise SettingsError(f"With several inputs the last argument is the output folder, got {out}.")
        jobs = [Job(source, out / (source.stem + suffix)) for source in sources]
    else:
        if out.suffix.lower() != suffix:
            raise SettingsError(f"The output file must end in {suffix}, got {out}.")
        jobs = [Job(sources[0], out)]
    _check_targets(jobs)
    return jobs


def check_folder(folder: Path) -> None:
    """Passes if files can be written to ``folder``, which is made later if it is missing.

    Raises:
        SettingsError: it, or the first folder above it that exists, is not a folder or not writable.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise SettingsError(f"{existing} is not a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise SettingsError(f"The folder {existing} is not writable.")


def write_file(path: Path, data: bytes | str) -> None:
    """The whole file or none: written under a temporary name in the same folder, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _check_source(path: Path) -> Path:
    if not path.exists():
        raise SettingsError(f"There is no file {path}.")
    if not path.is_file():
        raise SettingsError(f"{path} is a folder; name the files in it.")
    return path


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
            if job.target.exists() and job.target.samefile(other.source):
                raise SettingsError(f"The output {job.target} would overwrite an input.")
        check_folder(job.target.parent)
