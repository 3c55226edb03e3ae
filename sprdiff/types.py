"""What crosses the borders between folders: frozen records and protocols, no logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

OnStep = Callable[[float], None]
"""Called before each step of some work with the share of it that is done, in [0, 1]; may raise to end it."""

OnBytes = Callable[[int, int], None]
"""Called while something is downloaded, with the bytes that have arrived and those of all of it."""

Progress = Callable[[float, str], None]
"""Called with the share of the work that is done, in [0, 1], and what is going on."""


@dataclass(frozen=True)
class RateBreakdown:
    """Where the bytes of one stream went.

    Attributes:
        header_bytes: everything that is not entropy coded: header and checksum.
        z_bytes: the hyper-latent, rounded up to bytes from its information content.
        y_bytes: the rest: the latent, and the few bytes with which the entropy coder ends.
    """

    header_bytes: int
    z_bytes: int
    y_bytes: int


@dataclass(frozen=True)
class EncodedImage:
    """One compressed file and how it came to be.

    Attributes:
        method: id of the codec in lower kebab case, for example ``sprdiff`` or ``avif``.
        data: the file, byte for byte; its length is the rate that is reported.
        extension: file name extension with its dot.
        width, height: size of the original in pixels.
        scale: side length of the coded picture over that of the original, 1.0 for full size.
        settings: what was chosen to meet the budget, for example ``{"quality": 31}``.
        max_bytes: the budget in bytes; None if the settings were given instead.
        over_budget: True where even the smallest file of this codec exceeds ``max_bytes``.
    """

    method: str
    data: bytes = field(repr=False)
    extension: str
    width: int
    height: int
    scale: float = 1.0
    settings: Mapping[str, int | float | str] = field(default_factory=dict)
    max_bytes: int | None = None
    over_budget: bool = False


@dataclass(frozen=True)
class StreamInfo:
    """The header of a ``.spr`` stream and where its bytes went.

    Attributes:
        version: version of the bitstream.
        fingerprint: first bytes of the checkpoint's SHA-256, hexadecimal.
        quality: 0 (smallest) to 255 (best).
        width, height: of the original, in pixels.
        num_bytes: of the whole stream.
        bpp: 8 * num_bytes / (width * height).
        grayscale: the original is without colour, and so is what the stream decodes to.
        rate: the split of ``num_bytes``; None without a model to read the payload with.
    """

    version: int
    fingerprint: str
    quality: int
    width: int
    height: int
    num_bytes: int
    bpp: float
    grayscale: bool = False
    rate: RateBreakdown | None = None


@dataclass(frozen=True)
class CoarseImage:
    """A stream half decoded: the coarse reconstruction, from which the final picture is made.

    Attributes:
        image: RGB, size of the original.
        x: the same, (1, 3, H, W) float32 in [-1, 1], neither rounded nor cropped.
        info: the header and the byte split.
    """

    image: Image.Image
    x: Tensor = field(repr=False)
    info: StreamInfo


@dataclass(frozen=True)
class DecodedImage:
    """What a ``.spr`` stream decodes to.

    Attributes:
        coarse: the coarse reconstruction, RGB, size of the original.
        final: the output of the diffusion model; None if only the coarse one was asked for.
        info: the header and the byte split.
    """

    coarse: Image.Image
    final: Image.Image | None
    info: StreamInfo


class ImageCodec(Protocol):
    """A codec that meets a byte budget; SPRDiff and every baseline are one."""

    @property
    def id(self) -> str:
        """Lower kebab case."""
        ...

    @property
    def label(self) -> str:
        """For tables."""
        ...

    @property
    def extension(self) -> str:
        """Of its files, with the dot."""
        ...

    def compress(self, image: Image.Image, *, max_bytes: int) -> EncodedImage:
        """The best file within ``max_bytes``, or the smallest one, marked ``over_budget``.

        Args:
            image: RGB, as ``sprdiff.images.load_image`` returns it.
            max_bytes: budget for the whole file.
        """
        ...

    def decompress(self, data: bytes, *, size: tuple[int, int]) -> Image.Image:
        """The picture that ``data`` holds, RGB, brought to ``size`` (width, height) if coded smaller."""
        ...
