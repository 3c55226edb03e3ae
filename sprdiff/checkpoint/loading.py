"""What ``from_pretrained`` can be asked for, and the parts of a checkpoint as constructor arguments.

The arguments are diffusers': a precision for all parts or for each, a device, and how to use the Hub.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError

from sprdiff.checkpoint.parts import PART_CLASSES, load_part
from sprdiff.checkpoint.weights import HubOptions
from sprdiff.decoding import DecodingSettings
from sprdiff.errors import SettingsError, WeightsError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
EXACT_PART = "latent_codec"
"""It keeps float32: rounded weights would decode other symbols."""

Precision: TypeAlias = torch.dtype | str
"""One of ``PRECISIONS``, by its name or as torch has it."""


def part_precisions(
    dtype: Precision | Mapping[str, Precision] | None,
    torch_dtype: Precision | Mapping[str, Precision] | None = None,
) -> dict[str, torch.dtype]:
    """The precision of every part with weights.

    Args:
        dtype: of all parts but the latent codec, or of some by name, ``default`` being the others'; None is
            float32.
        torch_dtype: the older name of ``dtype``.
    Raises:
        SettingsError: no precision in which the parts can work, no such part, or both are given.
    """
    if dtype is not None and torch_dtype is not None:
        raise SettingsError("dtype and torch_dtype are two names of one argument: give one.")
    name = "dtype" if torch_dtype is None else "torch_dtype"
    dtype = torch_dtype if dtype is None else dtype
    networks = [part for part in PART_CLASSES if part != "scheduler"]
    if not isinstance(dtype, Mapping):
        dtype = {"default": torch.float32 if dtype is None else _precision(dtype, name)}
    unknown = [part for part in dtype if part not in (*networks, "default")]
    if unknown:
        raise SettingsError(f"{name} has {unknown[0]!r}; it can name {', '.join((*networks, 'default'))}.")
    precisions = {part: _precision(value, f"{name}[{part!r}]") for part, value in dtype.items()}
    exact = precisions.get(EXACT_PART, torch.float32)
    if exact != torch.float32:
        raise SettingsError(
            f"{name}[{EXACT_PART!r}] must be float32, in which symbols are exact, got {exact}."
        )
    default = precisions.get("default", torch.float32)
    return {part: precisions.get(part, default) for part in networks} | {EXACT_PART: torch.float32}


def check_device(device: str | int | torch.device, name: str = "device_map") -> torch.device:
    """The device, if coding works there.

    Args:
        name: what errors call it.
    Raises:
        SettingsError: there is no such device here, or it has no float64, in which symbols are exact.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, dtype=torch.float64, device=found)
    # TypeError: no float64, or nothing like a device. AssertionError: torch was built without CUDA.
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise SettingsError(
            f"{name} must be a device of this machine that has float64, for example cpu or cuda, got "
            f"{device!r}: {str(error).splitlines()[0]}"
        ) from error
    if found.type == "meta":
        raise SettingsError(f"{name} must be a device that computes, got {device!r}.")
    return found


def check_source(named: str | os.PathLike, revision: str | None, options: HubOptions) -> None:
    """Passes if everything that says where a checkpoint comes from is of its type.

    Raises:
        SettingsError: something is not, or contradicts another.
    """
    if not isinstance(named, str | os.PathLike):
        raise SettingsError(
            f"pretrained_model_name_or_path must be a folder or owner/name[@revision], got {named!r}."
        )
    allowed: dict[str, tuple[Any, tuple[type, ...], str]] = {
        "revision": (revision, (str,), "a branch, tag or commit"),
        "cache_dir": (options["cache_dir"], (str, os.PathLike), "a folder"),
        "token": (options["token"], (str, bool), "a token, or True for the one of `hf auth login`"),
    }
    for name, (value, kinds, what) in allowed.items():
        if value is not None and not isinstance(value, kinds):
            raise SettingsError(f"{name} must be {what}, or None; got {value!r}.")
    switches = {
        "local_files_only": options["local_files_only"],
        "force_download": options["force_download"],
    }
    for name, switch in switches.items():
        if not isinstance(switch, bool):
            raise SettingsError(f"{name} must be True or False, got {switch!r}.")
    if options["local_files_only"] and options["force_download"]:
        raise SettingsError("local_files_only and force_download contradict each other: choose one.")


def load_arguments(folder: Path, named: str | Path) -> dict[str, Any]:
    """The arguments of ``SPRDiffPipeline`` that a checkpoint holds: its parts, float32, on the CPU.

    Args:
        folder: as ``sprdiff.checkpoint.weights.resolve`` returns it.
        named: what errors call the checkpoint.
    Raises:
        WeightsError: it is not complete, or made of classes that are not this project's.
    """
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    for name, kinds in PART_CLASSES.items():
        found, known = index.get(name, [None, None])[1], [kind.__name__ for kind in kinds]
        if found not in known:
            raise WeightsError(f"{named}: part {name} is a {found}, not a {' or '.join(known)}.")
    try:
        parts = {name: load_part(name, folder) for name in PART_CLASSES}
        settings = {key: index.get(key) for key in ("decoding", "former_fingerprints")}
        DecodingSettings(**(settings["decoding"] or {}))  # a name that is none is found here
        return parts | settings | {"bit_price": float(index.get("bit_price", 0.0))}
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(f"{named} cannot be loaded: {error}") from error


def _precision(value: Precision, name: str) -> torch.dtype:
    found = PRECISIONS.get(value.removeprefix("torch.")) if isinstance(value, str) else value
    if found not in PRECISIONS.values():
        raise SettingsError(
            f"{name} must be {', '.join(PRECISIONS)}, as a torch.dtype or its name; got {value!r}."
        )
    return found
