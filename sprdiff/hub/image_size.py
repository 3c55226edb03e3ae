"""How large what a list of requirements brings is, told from the packages that are installed here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

# huggingface_hub, without which nothing here works, requires it.
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CUDA_PACKAGES = ("nvidia-*", "cuda-*", "triton")
CUDA_FILES = ("torch/lib/*cuda*", "torch/lib/*nvshmem*")
"""What only torch built for CUDA holds."""


@dataclass(frozen=True)
class InstalledSize:
    """Of packages and all that they require.

    Attributes:
        num_bytes: of their files, those included that were compiled when they were installed.
        packages: how many there are.
        missing: what is required and not installed here, so not counted.
    """

    num_bytes: int
    packages: int
    missing: tuple[str, ...]


def installed_size(requirements: str, *, cuda: bool) -> InstalledSize:
    """The size of an environment that holds what is required, in the versions that are installed here.

    Args:
        requirements: lines as in ``requirements.txt``.
        cuda: with what torch needs for a GPU; without, as torch built for the CPU is installed.
    """
    lines = (line.partition("#")[0].strip() for line in requirements.splitlines())
    wanted = [Requirement(line) for line in lines if line and not line.startswith("-")]
    packages: dict[str, metadata.Distribution] = {}
    missing = set()
    known: set[tuple[str, str]] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if not cuda and any(fnmatch(name, pattern) for pattern in CUDA_PACKAGES):
            continue
        try:
            packages[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            missing.add(name)
            continue
        for extra in {"", *requirement.extras} - {extra for each, extra in known if each == name}:
            known.add((name, extra))
            wanted += _required(packages[name], extra)
    num_bytes = sum(_num_bytes(package, cuda) for package in packages.values())
    return InstalledSize(num_bytes, len(packages), tuple(sorted(missing)))


def _required(package: metadata.Distribution, extra: str) -> Iterator[Requirement]:
    for requirement in map(Requirement, package.requires or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _num_bytes(package: metadata.Distribution, cuda: bool) -> int:
    total = 0
    for file in package.files or ():
        if cuda or not any(fnmatch(file.as_posix(), pattern) for pattern in CUDA_FILES):
            with contextlib.suppress(FileNotFoundError):  # a list may name what was removed since
                total += Path(file.locate()).stat().st_size
    return total
