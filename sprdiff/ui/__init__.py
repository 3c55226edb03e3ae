"""The page; gradio is used in this folder only."""

from sprdiff.ui.model import Checkpoint
from sprdiff.ui.page import build_app, launch_options

__all__ = ["Checkpoint", "build_app", "launch_options"]
