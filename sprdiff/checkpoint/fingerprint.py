"""What a stream says about its checkpoint: one digest over all that decides symbols and pictures."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

from diffusers import DDPMScheduler
from torch import nn
from transformers import PreTrainedModel

from sprdiff.decoding import DecodingSettings

# Of transformers' configurations: about files and versions, or derived from the number of layers.
_FILE_KEYS = ("architectures", "dtype", "model_type", "transformers_version")
_DERIVED_KEYS = ("stage_names", "out_features", "out_indices")


def weights_digest(parts: Mapping[str, Any]) -> bytes:
    """SHA-256 over every weight and table: the whole fingerprint before configurations counted.

    Taken over half-precision values, in which checkpoints are stored, so that loading and saving again does
    not change it.
    """
    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        if not isinstance(part, nn.Module):
            continue
        for key, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name}.{key}{tuple(tensor.shape)}".encode())
            stored = tensor.half() if tensor.is_floating_point() else tensor
            digest.update(stored.cpu().contiguous().numpy().tobytes())
    return digest.digest()


def checkpoint_digest(weights: bytes, parts: Mapping[str, Any], settings: DecodingSettings) -> bytes:
    """SHA-256 over :func:`weights_digest`, every part's class and configuration, and the decoding settings.

    Of settings counts what differs from the defaults: a library that adds one does not change the digest. So
    the defaults of a released class must stay what they are.
    """
    what: dict[str, Any] = {name: [type(part).__name__, part_settings(part)] for name, part in parts.items()}
    what["decoding"] = _differing(vars(settings), vars(DecodingSettings()))
    return hashlib.sha256(weights + json.dumps(what, sort_keys=True).encode()).digest()


def part_settings(part: nn.Module | DDPMScheduler) -> dict[str, Any]:
    """The settings that a part's class knows, as far as they differ from its defaults."""
    if isinstance(part, PreTrainedModel):
        found, defaults = part.config.to_dict(), type(part.config)().to_dict()
        for key in (*_FILE_KEYS, *_DERIVED_KEYS):
            found.pop(key, None)
    else:
        parameters = inspect.signature(type(part).__init__).parameters
        found, defaults = part.config, {key: each.default for key, each in parameters.items()}
    return _differing(found, defaults)


def _differing(found: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _plain(value)
        for key, value in found.items()
        if key in defaults and not key.startswith("_") and _plain(value) != _plain(defaults[key])
    }


def _plain(value: Any) -> Any:
    """``value`` as it is after being stored as JSON and read again, all numbers float."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
