"""The codecs SPRDiff is compared with, each under the same byte budget; they compute no metric."""

from sprdiff.baselines.pillow import AVIF, HEIC, JPEG, JPEG2000, JPEG_XL, WEBP, PillowCodec
from sprdiff.images import register_plugins

__all__ = ["BASELINES", "PillowCodec"]

BASELINES: dict[str, PillowCodec] = {codec.id: codec for codec in (JPEG, WEBP, JPEG2000, AVIF)}
"""Codecs that can run here, by id; ``jpeg-xl`` and ``heic`` only where their Pillow plugins are installed."""

BASELINES |= {codec.id: codec for codec in (JPEG_XL, HEIC) if codec.id in register_plugins()}
