"""What figures were measured with: versions of libraries and encoders, and the machine."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import features

import sprdiff

_LIBRARIES = (
    *("torch", "torchvision", "diffusers", "transformers", "compressai", "numpy", "pillow"),
    *("pillow-heif", "pillow-jxl-plugin", "lpips", "pyiqa", "pytorch-msssim", "torchmetrics"),
)
_ENCODERS = {"libjpeg-turbo": "libjpeg_turbo", "libwebp": "webp", "openjpeg": "jpg_2000", "libavif": "avif"}


def environment() -> dict[str, Mapping[str, Any]]:
    """Versions of the libraries and of the encoders within them, and the machine."""
    versions = {"sprdiff": sprdiff.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    encoders = {name: features.version(feature) for name, feature in _ENCODERS.items()}
    encoders |= _more_encoders()
    machine = {
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    return {"versions": versions, "encoders": encoders, "machine": machine}


def _more_encoders() -> dict[str, str]:
    """The codecs that libraries wrap: libavif, libheif."""
    found = {}
    if features.check("avif"):
        from PIL import _avif  # Pillow gives these versions nowhere else

        found["avif-codecs"] = _avif.codec_versions()
    with contextlib.suppress(ImportError):
        import pillow_heif

        about = pillow_heif.libheif_info()
        found["heic"] = f"libheif {about['libheif']}, {about['HEIF']}"
    return found


def processor() -> str:
    """The processor's name."""
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # not on every system
        return None
