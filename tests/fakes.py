"""A stand-in for ``SPRDiffPipeline``: a real, tiny codec with the same methods and the same errors.

It stores a heavily downscaled picture in the real container, so its bytes, budgets and pictures are as real
as the model's, and a test of the command line, the comparison or the page needs no weights.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
from PIL import Image

from sprdiff import bitstream
from sprdiff.errors import BitstreamError, InputImageError, SettingsError, WeightsError
from sprdiff.types import CoarseImage, DecodedImage, EncodedImage, OnStep, RateBreakdown, StreamInfo

FINGERPRINT = hashlib.sha256(b"fake checkpoint").hexdigest()


class FakePipeline:
    """Codes an image as ``1 + quality // 4`` pixels on its longer side, zlib compressed.

    Args:
        fingerprint: SHA-256 in hexadecimal; a stream of another fingerprint is refused.
        seconds: how long each encode, coarse decode and diffusion takes at least.
    Attributes:
        max_pixels: streams of larger pictures are refused.
        calls: how often ``analyze``, ``encode`` and ``decompress`` were called, a ``coarse`` and a
            ``final`` image made.
    """

    def __init__(self, fingerprint: str = FINGERPRINT, seconds: float = 0.0) -> None:
        self.fingerprint = fingerprint
        self.readable_fingerprints = (fingerprint,)
        self.seconds = seconds
        self.max_pixels = bitstream.MAX_PIXELS
        self.calls: Counter[str] = Counter()

    @classmethod
    def from_pretrained(cls, folder_or_hub_id: str, revision: str | None = None) -> FakePipeline:
        """A pipeline, or ``WeightsError`` for a name with "missing" in it."""
        if "missing" in str(folder_or_hub_id):
            raise WeightsError(f"There is no checkpoint at {folder_or_hub_id}.")
        return cls()

    def analyze(self, image: Image.Image, *, on_step: OnStep | None = None) -> Image.Image:
        """What all qualities start from."""
        if on_step is not None:
            on_step(0.0)
        self.calls["analyze"] += 1
        return image.convert("RGB")

    def encode(
        self,
        image: Image.Image,
        *,
        target_bpp: float | None = None,
        quality: int | None = None,
        max_bytes: int | None = None,
        analysis: Image.Image | None = None,
        on_step: OnStep | None = None,
    ) -> EncodedImage:
        """The best stream within the budget, or of the quality; exactly one of the three is given."""
        if on_step is not None:
            on_step(0.0)
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
        image = self.analyze(image) if analysis is None else analysis
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
        on_step: OnStep | None = None,
    ) -> DecodedImage:
        """Coarse is a nearest, final a smooth enlargement; ``on_step`` comes before each."""
        coarse = self.decode_coarse(data, on_step=on_step)
        final = None if coarse_only else self.refine(coarse, on_step=on_step)
        return DecodedImage(coarse.image, final, coarse.info)

    def decode_coarse(self, data: bytes, *, on_step: OnStep | None = None) -> CoarseImage:
        """The first half of ``decompress``."""
        self.calls["decompress"] += 1
        info, small = self._parse(data)
        if on_step is not None:
            on_step(0.0)
        time.sleep(self.seconds)
        coarse = small.resize((info.width, info.height), Image.Resampling.NEAREST)
        self.calls["coarse"] += 1
        return CoarseImage(coarse, small, info)

    def refine(self, coarse: CoarseImage, *, on_step: OnStep | None = None) -> Image.Image:
        """The second half."""
        if on_step is not None:
            on_step(0.25)
        time.sleep(self.seconds)
        final = coarse.x.resize(coarse.image.size, Image.Resampling.BICUBIC)
        self.calls["final"] += 1
        return final

    def inspect(self, data: bytes) -> StreamInfo:
        """The header and the byte split."""
        return self._parse(data)[0]

    def symbols_hash(self, data: bytes) -> str:
        """SHA-256 of the stored pixels."""
        return hashlib.sha256(self._parse(data)[1].tobytes()).hexdigest()

    def bit_map(self, data: bytes) -> np.ndarray:
        """(H, W) float64: bits of each block of 16 x 16 pixels, more where the stored picture is lighter."""
        info, small = self._parse(data)
        blocks = small.convert("L").resize((-(-info.width // 16), -(-info.height // 16)))
        weights = np.asarray(blocks, dtype=np.float64) + 1
        return weights * (8 * (info.rate.z_bytes + info.rate.y_bytes) / weights.sum())

    def look_into(self, data: bytes) -> tuple[StreamInfo, np.ndarray]:
        """Both."""
        return self.inspect(data), self.bit_map(data)

    def _stream(self, image: Image.Image, quality: int) -> bytes:
        small = image.resize(_small_size(image.size, quality), Image.Resampling.BOX)
        payload = zlib.compress(small.tobytes(), 9)
        return bitstream.pack(quality, *image.size, payload, bytes.fromhex(self.fingerprint))

    def _parse(self, data: bytes) -> tuple[StreamInfo, Image.Image]:
        header, payload = bitstream.unpack(data, bytes.fromhex(self.fingerprint))
        if header.width * header.height > self.max_pixels:
            raise BitstreamError(f"At most {self.max_pixels:,} pixels are decoded here.")
        size = _small_size((header.width, header.height), header.quality)
        try:
            pixels = zlib.decompressobj().decompress(payload, size[0] * size[1] * 3 + 1)
        except zlib.error as error:
            raise BitstreamError(f"The payload cannot be decoded: {error}.") from error
        if len(pixels) != size[0] * size[1] * 3:
            raise BitstreamError("The payload has the wrong length.")
        rate = RateBreakdown(len(data) - len(payload), 1, len(payload) - 1)
        return replace(bitstream.read_header(data), rate=rate), Image.frombytes("RGB", size, pixels)


def _small_size(size: tuple[int, int], quality: int) -> tuple[int, int]:
    longer = 1 + quality // 4
    factor = longer / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
