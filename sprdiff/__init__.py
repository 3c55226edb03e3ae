"""SPRDiff: ultra-low-bitrate image compression with semantic and pixel representations (arXiv 2606.01608).

``from sprdiff import SPRDiffPipeline`` is the public entry point to the codec. Importing ``sprdiff`` itself
stays light: the pipeline and the libraries under it are imported when the name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

__version__ = "0.1.0"
__all__ = ["SPRDiffPipeline", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "SPRDiffPipeline":
        from sprdiff.pipeline import SPRDiffPipeline

        return SPRDiffPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
