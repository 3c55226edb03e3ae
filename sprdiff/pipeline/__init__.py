"""SPRDiff from a photograph to bytes and back: what it takes and gives, how it fills a budget."""

from sprdiff.pipeline.pipeline import SPRDiffPipeline

__all__ = ["SPRDiffPipeline"]
