"""One result as JSON data, for ``results.json`` of a comparison and the rows of an evaluation."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from sprdiff.comparison.compare import MethodResult
from sprdiff.metrics import MetricValue

Row = dict[str, Any]


def method_row(result: MethodResult, *, target_bpp: float) -> Row:
    """One result as JSON data: bytes, bpp, scale, settings, hashes of the file and of the decoded pixels,
    metrics, reasons of the dashes, seconds.
    """
    encoded = result.encoded
    return {
        "method": result.method,
        "target_bpp": target_bpp,
        "num_bytes": result.num_bytes,
        "bpp": result.bpp,
        "max_bytes": encoded.max_bytes,
        "over_budget": encoded.over_budget,
        "scale": encoded.scale,
        "settings": dict(encoded.settings),
        "file_sha256": hashlib.sha256(encoded.data).hexdigest(),
        "picture_sha256": hashlib.sha256(result.image.tobytes()).hexdigest(),
        **metric_fields(result.metrics),
        "encode_seconds": round(result.encode_seconds, 4),
        "decode_seconds": round(result.decode_seconds, 4),
    }


def metric_fields(metrics: Mapping[str, MetricValue]) -> Row:
    """Of one row: ``metrics``, the values by id, and ``reasons`` of those that are None."""
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for metric, measured in metrics.items():
        # JSON has no infinity, which is the PSNR of identical pictures.
        finite = measured.value is not None and math.isfinite(measured.value)
        values[metric] = measured.value if finite else None
        if not finite:
            reasons[metric] = measured.reason or "not a finite number: the pictures are identical"
    return {"metrics": values, "reasons": reasons}


def json_text(data: object) -> str:
    """Indented JSON that ends with a newline."""
    return json.dumps(data, indent=2, allow_nan=False) + "\n"
