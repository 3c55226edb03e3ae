"""The files of a Hugging Face Space that serves the page, taken from a git checkout of the project.

By default it computes on the CPU. On ZeroGPU it borrows a GPU for each step; see :mod:`sprdiff.ui.zero_gpu`.
"""

from __future__ import annotations

import re
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

ZERO_GPU = "zero-a10g"
"""The hardware that lends a GPU for a call at a time, as the Hub names it, whatever GPU that is."""

SPACES = """\
spaces                           # asks ZeroGPU for a GPU
"""

ZERO_GPU_PYTHON = "3.12.12"
"""For ZeroGPU. What is documented of it is 3.10, for which torch is not made any more; not tried there."""


def space_files(root: Path = ROOT, *, hardware: str | None = None) -> dict[str, Path | bytes]:
    """Path in the Space to the file that goes there: what git tracks in ``root``, less ``LEFT_OUT``.

    Files are taken as they lie in the working tree. ``requirements.txt`` asks for the CPU build of torch; for
    ZeroGPU it asks for the one with CUDA and for ``spaces``, and ``README.md`` for a Python that runs there.

    Args:
        root: of the checkout.
        hardware: that the files are for; None for a CPU.
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
    if hardware == ZERO_GPU:
        files["requirements.txt"] = (requirements + SPACES).encode()
        files["README.md"] = _for_zero_gpu((root / "README.md").read_text(encoding="utf-8")).encode()
    else:
        files["requirements.txt"] = (CPU_INDEX + requirements).encode()
    return files


def _for_zero_gpu(readme: str) -> str:
    """The same with other values in its metadata.

    Raises:
        HubError: they are not there.
    """
    for name, value in {"python_version": f'"{ZERO_GPU_PYTHON}"', "suggested_hardware": ZERO_GPU}.items():
        readme, found = re.subn(rf"(?m)^({name}:) .*$", rf"\1 {value}", readme, count=1)
        if not found:
            raise HubError(f"The metadata of README.md lack {name}.")
    return readme
