"""The resumable state of a run: what of it is ours, and a folder that a kill never leaves half written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from sprdiff.errors import WeightsError


class SavedState:
    """The folder in which accelerate keeps a run's state.

    The next state is written beside the last one, then takes its place by two renames. Whatever moment a
    kill comes at, one of both is whole, and :meth:`recover` finds it.

    Args:
        folder: of the state; ``.tmp`` and ``.old`` beside it are this class's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.next = folder.with_name(folder.name + ".tmp")
        self._old = folder.with_name(folder.name + ".old")

    def exists(self) -> bool:
        """Whether there is a whole state, be it under the name of the one before."""
        return self.folder.exists() or self._old.exists()

    def recover(self) -> None:
        """Put back what a kill between the two renames left under another name."""
        if self._old.exists() and not self.folder.exists():
            os.replace(self._old, self.folder)

    def clear_next(self) -> None:
        """Make room for the state that is to be written to ``next``."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.next, ignore_errors=True)

    def replace(self) -> None:
        """Put what was written to ``next`` into the place of the last state."""
        if self.folder.exists():
            shutil.rmtree(self._old, ignore_errors=True)
            os.replace(self.folder, self._old)
        os.replace(self.next, self.folder)
        shutil.rmtree(self._old, ignore_errors=True)


class Clock:
    """Steps and minutes so far, and whose state it is; part of the resumable state.

    Args:
        shapes: of the trained parameters in order. Optimizer and EMA know them by position only, and a
            state of other parts would be loaded without a word.
    """

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        self.step = 0
        self.minutes = 0.0
        self.shapes = shapes

    def state_dict(self) -> dict[str, Any]:
        """What is saved."""
        return {"step": self.step, "minutes": self.minutes, "shapes": self.shapes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was saved.

        Raises:
            WeightsError: it is of other parts.
        """
        if state.get("shapes", self.shapes) != self.shapes:
            raise WeightsError("The saved state is of other parts than this stage trains; start without it.")
        self.step, self.minutes = int(state["step"]), float(state["minutes"])


class Plain:
    """Gives accelerate the state of an object that is not a prepared model, and hides all else of it."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def state_dict(self) -> dict[str, Any]:
        """Of the object."""
        return self.target.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Into the object."""
        self.target.load_state_dict(state)
