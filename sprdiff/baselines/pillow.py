"""The classical codecs, as Pillow and its plugins ship them. Files carry pixels only, no metadata."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from PIL import Image

from sprdiff.baselines.search import SCALES, RateControl, approach_ratio, best_within, enlarge, fit_quality
from sprdiff.errors import InputImageError
from sprdiff.images import is_grayscale
from sprdiff.types import EncodedImage

_GRAY = "4:0:0"
"""The chroma format of luma alone: for grayscale pictures, and the only one tried for them."""


@dataclass(frozen=True)
class PillowCodec:
    """One classical codec under a byte budget; satisfies ``sprdiff.types.ImageCodec``.

    Attributes:
        id: lower kebab case.
        label: for tables.
        extension: of its files, with the dot.
        pillow_format: as Pillow names it.
        rate_controls: by chroma format, each makes the largest file of a picture within a number of bytes.
        setting: what the rate control chooses; its key in ``EncodedImage.settings``, beside ``chroma``.
        patience: see ``best_within``.
    """

    id: str
    label: str
    extension: str
    pillow_format: str
    rate_controls: Mapping[str, RateControl] = field(repr=False)
    setting: str = "quality"
    patience: int = 2

    def compress(self, image: Image.Image, *, max_bytes: int) -> EncodedImage:
        """The file within ``max_bytes`` that is best in PSNR over scale, quality and chroma format.

        Args:
            image: RGB.
            max_bytes: budget for the whole file.
        Returns:
            Its bytes, scale and setting; the smallest file, marked ``over_budget``, if none fits.
        Raises:
            ValueError: the picture is not RGB, or the budget is negative.
        """
        if image.mode != "RGB":
            raise ValueError(f"expected an RGB picture, got mode {image.mode}")
        if max_bytes < 0:
            raise ValueError(f"the budget cannot be negative, got {max_bytes} bytes")
        bare = image.copy()
        bare.info = {}  # Pillow would write a comment, profile or EXIF data found here into the file
        found = best_within(bare, max_bytes, self._rate_controls(bare), self._decode, self.patience)
        return EncodedImage(
            method=self.id,
            data=found.candidate.data,
            extension=self.extension,
            width=image.width,
            height=image.height,
            scale=found.scale,
            settings={self.setting: found.candidate.setting, "chroma": found.variant},
            max_bytes=max_bytes,
            over_budget=found.over_budget,
        )

    def _rate_controls(self, image: Image.Image) -> Mapping[str, RateControl]:
        gray = _GRAY in self.rate_controls and is_grayscale(image)
        return {chroma: each for chroma, each in self.rate_controls.items() if (chroma == _GRAY) == gray}

    def decompress(self, data: bytes, *, size: tuple[int, int]) -> Image.Image:
        """The picture in ``data``, RGB, enlarged (Lanczos) to ``size`` (width, height) if coded smaller.

        Raises:
            InputImageError: ``data`` is not a whole file of this format.
        """
        return enlarge(self._decode(data), size)

    def _decode(self, data: bytes) -> Image.Image:
        try:
            with Image.open(io.BytesIO(data), formats=[self.pillow_format]) as image:
                picture = image.convert("RGB")
        except Exception as error:  # decoders of broken files raise nearly anything
            raise InputImageError(f"This is not a whole {self.label} file: {error}") from error
        picture.info = {}
        return picture


def _save(image: Image.Image, pillow_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=pillow_format, **options)
    return file.getvalue()


def _as_chroma(image: Image.Image, chroma: str) -> Image.Image:
    """``L`` for codecs that tell from the mode how many channels they are to code."""
    return image.convert("L") if chroma == _GRAY else image


_GROWTH = 0.03
"""Of a small file with a step of quality, about: of JPEG, WebP and AVIF. JPEG XL's do not always grow."""


def _by_quality(
    encode: Callable[..., bytes], chroma: tuple[str, ...], highest: int = 100, growth: float | None = None
) -> dict[str, RateControl]:
    """One rate control per chroma format, over the qualities from 0 to ``highest``."""
    return {each: fit_quality(functools.partial(encode, chroma=each), 0, highest, growth) for each in chroma}


def _jpeg(image: Image.Image, quality: int, chroma: str) -> bytes:
    """With Huffman tables of its own; progressive where smaller, which it is not for tiny ones."""
    options: dict[str, object] = {} if chroma == _GRAY else {"subsampling": chroma}
    files = [
        _save(_as_chroma(image, chroma), "JPEG", quality=quality, optimize=True, progressive=each, **options)
        for each in (False, True)
    ]
    return min(files, key=len)


def _webp(image: Image.Image, quality: int, chroma: str) -> bytes:
    """Lossy WebP knows no other chroma format than 4:2:0."""
    return _save(image, "WEBP", quality=quality, method=6)


def _avif(image: Image.Image, quality: int, chroma: str) -> bytes:
    """Tuned for PSNR, because that is what the search maximizes; in one tile.

    Above a megapixel the encoder is hurried: a 12 megapixel photograph would take minutes otherwise.
    """
    speed = 6 if image.width * image.height <= 1_000_000 else 9
    options = {"speed": speed, "autotiling": False, "advanced": {"tune": "psnr"}}
    return _save(image, "AVIF", quality=quality, subsampling=chroma, **options)


def _jpeg2000(image: Image.Image, ratio: float, chroma: str) -> bytes:
    """A bare codestream at a compression ratio (of RGB): 9/7 wavelet, no file format boxes, no comment."""
    image = _as_chroma(image, chroma)
    ratio *= len(image.getbands()) / 3
    options = {"irreversible": True, "quality_mode": "rates", "quality_layers": [ratio]}
    levels = min(6, max(1, min(image.size).bit_length() - 2))  # no deeper than the picture is large
    return _without_comments(_save(image, "JPEG2000", no_jp2=True, num_resolutions=levels, **options))


def _without_comments(codestream: bytes) -> bytes:
    """The JPEG 2000 codestream less the comment in its main header, in which OpenJPEG names its version.

    The main header is a row of marker segments (marker, then a length that counts itself) between SOC and
    the first SOT; nothing in it refers to a position in the file, so one can be taken out.
    """
    soc, sot, com = b"\xff\x4f", b"\xff\x90", b"\xff\x64"
    kept, position = [soc], 2
    while (marker := codestream[position : position + 2]) != sot:
        end = position + 2 + int.from_bytes(codestream[position + 2 : position + 4], "big")
        if marker != com:
            kept.append(codestream[position:end])
        position = end
    return b"".join([*kept, codestream[position:]])


def _jpeg_xl(image: Image.Image, quality: int, chroma: str) -> bytes:
    return _save(_as_chroma(image, chroma), "JXL", quality=quality, effort=8)


def _heic(image: Image.Image, quality: int, chroma: str) -> bytes:
    options: dict[str, object] = {} if chroma == _GRAY else {"chroma": int(chroma.replace(":", ""))}
    return _save(_as_chroma(image, chroma), "HEIF", quality=quality, **options)


JPEG = PillowCodec("jpeg", "JPEG", ".jpg", "JPEG", _by_quality(_jpeg, ("4:2:0", _GRAY), 95, _GROWTH))
WEBP = PillowCodec("webp", "WebP", ".webp", "WEBP", _by_quality(_webp, ("4:2:0",), growth=_GROWTH))
# JPEG 2000 is a pyramid itself: all scales come out nearly alike, without one peak, so all are tried.
JPEG2000 = PillowCodec(
    "jpeg2000",
    "JPEG 2000",
    ".j2k",
    "JPEG2000",
    {each: approach_ratio(functools.partial(_jpeg2000, chroma=each)) for each in ("4:4:4", _GRAY)},
    setting="ratio",
    patience=len(SCALES),
)
AVIF = PillowCodec(
    "avif", "AVIF", ".avif", "AVIF", _by_quality(_avif, ("4:2:0", "4:4:4", _GRAY), growth=_GROWTH)
)
# Quality 100 is lossless in JPEG XL, and the plugin refuses it unless that is asked for.
JPEG_XL = PillowCodec(
    "jpeg-xl", "JPEG XL", ".jxl", "JXL", _by_quality(_jpeg_xl, ("4:4:4", _GRAY), highest=99)
)
HEIC = PillowCodec("heic", "HEIC", ".heic", "HEIF", _by_quality(_heic, ("4:2:0", _GRAY)))
