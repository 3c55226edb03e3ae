"""Files that come with the project but are no Python: the embedded checkpoint, pictures, published curves."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled(path: str) -> Path:
    """Where ``path``, relative to the repository, lies: in an installed package, or beside it.

    It need not exist.
    """
    installed = _PACKAGE / path
    return installed if installed.exists() else _PACKAGE.parent / path
