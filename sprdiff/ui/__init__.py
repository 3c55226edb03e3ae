"""The page; gradio is used in this folder only."""

from sprdiff.ui.model import Checkpoint
from sprdiff.ui.page import build_app, launch_options
from sprdiff.ui.scratch import Scratch

__all__ = ["Checkpoint", "Scratch", "build_app", "launch_options"]
