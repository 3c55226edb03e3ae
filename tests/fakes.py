"""A stand-in for ``SPRDiffPipeline``: a real, tiny codec with the same methods and the same errors.

It stores a heavily downscaled picture, so its bytes, budgets and pictures are as real as the model's, and a
test of the command line, the comparison or the page needs no weights. ``calls`` counts what was asked for.
"""

from __future__ import annotations

import hashlib
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable

from PIL import Image, ImageFilter

from sprdiff.errors import BitstreamError, InputImageError, SettingsError, WeightsError
from sprdiff.types import DecodedImage, EncodedImage, RateBreakdown, StreamInfo

_HEADER = struct.Struct("<4s4sBHH")
_CHECKSUM = struct.Struct("<I")
_MAGIC = b"FAKE"


class FakePipeline:
    """Codes an image as ``1 + quality // 4`` pixels on its longer side, zlib compressed.

    Args:
        fingerprint: hexadecimal, 8 digits; a stream of another fingerprint is refused.
        seconds: how long each encode, coarse decode and diffusion step takes at least.
    """

    def __init__(self, fingerprint: str = "fa4e0001", seconds: float = 0.0) -> None:
        self.fingerprint = fingerprint
        self.seconds = seconds
        self.calls: Counter[str] = Counter()

    @classmethod
    def from_pretrained(cls, folder_or_hub_id: str, revision: str | None = None) -> FakePipeline:
        """A pipeline, or ``WeightsError`` for a name with "missing" in it."""
        if "missing" in str(folder_or_hub_id):
            raise WeightsError(f"There is no checkpoint at {folder_or_hub_id}.")
        return cls()

    def encode(
        self,
        image: Image.Image,
        *,
        target_bpp: float | None = None,
        quality: int | None = None,
        max_bytes: int | None = None,
    ) -> EncodedImage:
        """The best stream within the budget, or of the quality; exactly one of the three is given."""
        self.calls["encode"] += 1
        if sum(option is not None for option in (target_bpp, quality, max_bytes)) != 1:
            raise SettingsError("Give exactly one of target_bpp, quality and max_bytes.")
        if quality is not None and not 0 <= quality <= 255:
            raise SettingsError(f"quality must be from 0 to 255, got {quality}.")
        if target_bpp is not None and not target_bpp > 0:
            raise SettingsError(f"target_bpp must be above 0, got {target_bpp}.")
        if min(image.size) < 16:
            raise InputImageError(f"Images must be at least 16 x 16, got {image.width} x {image.height}.")
        time.sleep(self.seconds)
        image = image.convert("RGB")
        if target_bpp is not None:
            max_bytes = int(target_bpp * image.width * image.height / 8)
        data = self._stream(image, 0 if quality is None else quality)
        chosen = 0 if quality is None else quality
        over_budget = False
        if max_bytes is not None:
            over_budget = len(data) > max_bytes
            for candidate in range(0 if over_budget else 255, 0, -4):
                stream = self._stream(image, candidate)
                if len(stream) <= max_bytes:
                    data, chosen = stream, candidate
                    break
        return EncodedImage(
            "sprdiff",
            data,
            ".spr",
            *image.size,
            settings={"quality": chosen},
            max_bytes=max_bytes,
            over_budget=over_budget,
        )

    def compress(
        self, image: Image.Image, *, target_bpp: float | None = None, quality: int | None = None
    ) -> bytes:
        """The bytes of ``encode``."""
        return self.encode(image, target_bpp=target_bpp, quality=quality).data

    def decompress(
        self,
        data: bytes,
        *,
        coarse_only: bool = False,
        num_inference_steps: int = 1,
        on_coarse: Callable[[Image.Image], None] | None = None,
    ) -> DecodedImage:
        """Coarse is a nearest, final a smooth enlargement, sharper with every step."""
        self.calls["decompress"] += 1
        if num_inference_steps < 1:
            raise SettingsError(f"num_inference_steps must be at least 1, got {num_inference_steps}.")
        info, small = self._parse(data)
        time.sleep(self.seconds)
        coarse = small.resize((info.width, info.height), Image.Resampling.NEAREST)
        self.calls["coarse"] += 1
        if on_coarse is not None:
            on_coarse(coarse)
        if coarse_only:
            return DecodedImage(coarse, None, info)
        time.sleep(self.seconds * num_inference_steps)
        final = small.resize((info.width, info.height), Image.Resampling.BICUBIC)
        for _ in range(num_inference_steps - 1):
            final = final.filter(ImageFilter.UnsharpMask(2, 50, 0))
        self.calls["final"] += 1
        return DecodedImage(coarse, final, info)

    def inspect(self, data: bytes) -> StreamInfo:
        """The header and the byte split."""
        return self._parse(data)[0]

    def symbols_hash(self, data: bytes) -> str:
        """SHA-256 of the stored pixels."""
        return hashlib.sha256(self._parse(data)[1].tobytes()).hexdigest()

    def _stream(self, image: Image.Image, quality: int) -> bytes:
        header = _HEADER.pack(_MAGIC, bytes.fromhex(self.fingerprint), quality, *image.size)
        small = image.resize(_small_size(image.size, quality), Image.Resampling.BOX)
        body = header + zlib.compress(small.tobytes(), 9)
        return body + _CHECKSUM.pack(zlib.crc32(body))

    def _parse(self, data: bytes) -> tuple[StreamInfo, Image.Image]:
        overhead = _HEADER.size + _CHECKSUM.size
        if len(data) < overhead or data[:4] != _MAGIC:
            raise BitstreamError("This is not a SPRDiff stream.")
        _, fingerprint, quality, width, height = _HEADER.unpack_from(data)
        if _CHECKSUM.unpack(data[-4:])[0] != zlib.crc32(data[:-4]):
            raise BitstreamError("The checksum does not match: the stream is cut short or altered.")
        if fingerprint.hex() != self.fingerprint:
            raise BitstreamError(
                f"This stream was made with checkpoint {fingerprint.hex()}, "
                f"the loaded one is {self.fingerprint}."
            )
        size = _small_size((width, height), quality)
        pixels = zlib.decompressobj().decompress(data[_HEADER.size : -4], size[0] * size[1] * 3 + 1)
        if len(pixels) != size[0] * size[1] * 3:
            raise BitstreamError("The payload has the wrong length.")
        rate = RateBreakdown(overhead, 1, len(data) - overhead - 1)
        num_bytes = len(data)
        bpp = 8 * num_bytes / (width * height)
        info = StreamInfo(1, fingerprint.hex(), quality, width, height, num_bytes, bpp, rate)
        return info, Image.frombytes("RGB", size, pixels)


def _small_size(size: tuple[int, int], quality: int) -> tuple[int, int]:
    longer = 1 + quality // 4
    factor = longer / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
