"""The files of a Hugging Face Space that serves the page, taken from a git checkout of the project.

The page computes on the CPU, so a Space needs no GPU, and ``spaces.GPU`` (ZeroGPU) would bring it nothing.
"""

from __future__ import annotations

import subprocess
from fnmatch import fnmatch
from pathlib import Path

from sprdiff.errors import HubError

ROOT = Path(__file__).resolve().parents[2]

NEEDED = ("README.md", "app.py", "packages.txt", "requirements.txt")
"""What the Hub reads or starts."""

LEFT_OUT = (".*", "tests/*", "benchmarks/*", "requirements-dev.txt", "assets/make_*.py")
"""Patterns of what develops the project and is neither run by the page nor shown by README."""

CPU_INDEX = """\
# A Space without a GPU: this index has torch built for the CPU, without gigabytes of CUDA libraries, and pip
# takes its version (+cpu) before the same one of PyPI.
--extra-index-url https://download.pytorch.org/whl/cpu
"""


def space_files(root: Path = ROOT) -> dict[str, Path | bytes]:
    """Path in the Space to the file that goes there: what git tracks in ``root``, less ``LEFT_OUT``.

    Files are taken as they lie in the working tree. ``requirements.txt`` asks for the CPU build of torch.

    Raises:
        HubError: ``root`` is no git checkout of the project, or a tracked file is missing from it.
    """
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", b"").decode(errors="replace").strip() or error
        raise HubError(
            f"A Space is made from a git checkout of SPRDiff; git cannot list the files of {root}: {reason}"
        ) from error
    tracked = [path for path in listed.decode().split("\0") if path]
    untracked = [path for path in NEEDED if path not in tracked]
    if untracked:
        raise HubError(f"A Space needs {', '.join(untracked)}, which git does not track in {root}.")
    missing = [path for path in tracked if not (root / path).is_file()]
    if missing:
        raise HubError(f"git tracks files that are not in {root}: {', '.join(missing)}.")
    files: dict[str, Path | bytes] = {
        path: root / path for path in tracked if not any(fnmatch(path, pattern) for pattern in LEFT_OUT)
    }
    requirements = (root / "requirements.txt").read_text(encoding="utf-8")
    files["requirements.txt"] = (CPU_INDEX + requirements).encode()
    return files
