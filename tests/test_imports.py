"""Modules import in one direction, also inside functions and for types alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def test_no_circle_of_imports():
    # An __init__ names what its folder offers; the modules in the folder do not import from it.
    files = {
        ".".join(file.relative_to(REPOSITORY).with_suffix("").parts): file
        for file in (REPOSITORY / "sprdiff").rglob("*.py")
        if file.stem != "__init__"
    }

    def imported(file: Path) -> Iterator[str]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                yield from {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & set(
                    files
                )

    order = TopologicalSorter({name: imported(file) for name, file in files.items()})
    assert len(list(order.static_order())) == len(files), "a circle raises CycleError"
