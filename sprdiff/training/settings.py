"""Settings: all that decides what a stage learns, from its defaults, a file, and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from pydantic import ValidationError as InvalidSettings

from sprdiff.errors import SettingsError
from sprdiff.files import write_file

Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(gt=0, multiple_of=64)]
Zoom = Annotated[float, Field(ge=1)]
Reduction = Annotated[float, Field(gt=0, le=1)]
Tint = Annotated[float, Field(ge=0, le=0.5)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class Group(BaseModel):
    """Values that belong together: checked, not changed afterwards, and no name that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def write(self, file: Path) -> None:
        """As YAML, which :func:`read_settings` takes."""
        write_file(file, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False).encode())


class Settings(Group):
    """What every stage has; each adds its own.

    Attributes:
        steps: of the optimizer, over every resumed run; the learning rate falls over the last of them.
        batch_size: crops a step, shared by the processes.
        accumulate: passes that a step is divided into where its crops do not fit in memory at once.
        crop: side of a crop in pixels, divisible by 64.
        max_zoom, min_zoom, turned, tint, graphics, sources: see :class:`sprdiff.training.data.Crops`.
        learning_rate: its peak.
        warmup_steps: in which it rises.
        decay_from: the share of the steps after which it falls.
        decay_to: the share of its peak that is left at the end.
        ema_decay: of the averaged weights, which are what is saved.
        betas, weight_decay: of AdamW (arXiv:1711.05101).
        gradient_clip: the largest norm of a step's gradient.
        seed: of the initial weights, the order of the data, and everything random in the stage.
        mixed_precision: ``bf16``, or ``no`` for single precision. Not ``fp16``: the adversary's gradients
            would stay scaled.
    """

    steps: PositiveInt = 2000
    batch_size: PositiveInt = 16
    accumulate: PositiveInt = 1
    crop: Side = 256
    max_zoom: Zoom = 1.5
    min_zoom: Reduction = 1.0
    turned: Share = 0.0
    tint: Tint = 0.0
    graphics: Share = 0.0
    sources: dict[str, NonNegativeFloat] = {}
    learning_rate: PositiveFloat = 5e-4
    warmup_steps: NonNegativeInt = 100
    decay_from: Decay = 0.6
    decay_to: Share = 0.02
    ema_decay: Decay = 0.998
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: NonNegativeFloat = 1e-4
    gradient_clip: PositiveFloat = 0.5
    seed: int = 0
    mixed_precision: Literal["bf16", "no"] = "bf16"


AnySettings = TypeVar("AnySettings", bound=Group)


def read_settings(
    kind: type[AnySettings], file: Path | None = None, changes: dict[str, Any] | None = None
) -> AnySettings:
    """Settings of a kind: its defaults, then what a file says, then ``changes``.

    Args:
        kind: of a stage, for example.
        file: YAML or JSON, a mapping from names to values.
        changes: by name; the name of a group's value has a dot, such as ``weights.l1``.
    Raises:
        SettingsError: the file is none, a name is not known, or a value is not allowed.
    """
    # The stage's own defaults, not those of a group's class: where a group is named in part, the rest stays.
    values = kind().model_dump()
    if file is not None:
        try:
            read = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SettingsError(f"The settings in {file} cannot be read: {error}") from error
        if not isinstance(read, dict):
            raise SettingsError(f"{file} holds no settings: not a mapping from names to values.")
        values = _merged(values, read)
    for name, value in (changes or {}).items():
        for each in reversed(name.split(".")):
            value = {each: value}
        values = _merged(values, value)
    try:
        return kind.model_validate(values)
    except InvalidSettings as error:
        raise SettingsError("\n".join(_explained(kind, each) for each in error.errors())) from error


def parse_change(text: str) -> tuple[str, Any]:
    """Name and value of ``NAME=VALUE``, the value in YAML.

    Raises:
        SettingsError: it has another form.
    """
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise SettingsError(f"A setting is given as NAME=VALUE, got {text!r}.")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingsError(f"The value of {name} is not YAML: {value!r}") from error


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``values`` with ``changes``, group by group."""
    merged = dict(values)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(values.get(name), dict)
        merged[name] = _merged(values[name], value) if both else value
    return merged


def _explained(kind: type[Group], error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{name} is no setting here; there are {', '.join(kind.model_fields)}."
    return f"The setting {name} cannot be {error['input']!r}: {error['msg']}."
