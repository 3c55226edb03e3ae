"""The codecs SPRDiff is compared with, each under the same byte budget; they compute no metric."""

from sprdiff.baselines.learned import LEARNED, LearnedCodec
from sprdiff.baselines.pillow import AVIF, HEIC, JPEG, JPEG2000, JPEG_XL, WEBP, PillowCodec
from sprdiff.images import register_plugins
from sprdiff.types import ImageCodec

__all__ = ["BASELINES", "LEARNED", "LearnedCodec", "PillowCodec"]

BASELINES: dict[str, ImageCodec] = {codec.id: codec for codec in (JPEG, WEBP, JPEG2000, AVIF)}
"""Codecs by id; ``jpeg-xl`` and ``heic`` only where their Pillow plugins are installed, the learned ones
always: whether their weights can be had shows at the first use.
"""

BASELINES |= {codec.id: codec for codec in (JPEG_XL, HEIC) if codec.id in register_plugins()}
BASELINES |= LEARNED
