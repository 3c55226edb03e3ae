"""What calling the pipeline gives."""

from __future__ import annotations

from dataclasses import dataclass

from diffusers.utils import BaseOutput

from sprdiff.pipeline.pictures import Picture
from sprdiff.types import StreamInfo


@dataclass
class SPRDiffOutput(BaseOutput):
    """A picture's stream and what it decodes to; each attribute is a list where several pictures were given.

    Attributes:
        data: the ``.spr`` stream, all of it: its length is the rate.
        coarse: the coarse reconstruction, size of the original.
        final: the output of the diffusion model.
        info: the header of the stream, its bits per pixel and its byte split.
        over_budget: True where even the smallest stream exceeds what was asked for.
    """

    data: bytes | list[bytes]
    coarse: Picture | list[Picture]
    final: Picture | list[Picture]
    info: StreamInfo | list[StreamInfo]
    over_budget: bool | list[bool]
