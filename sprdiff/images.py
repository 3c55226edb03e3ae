"""Pictures in and out: anything Pillow opens becomes 8-bit sRGB, within limits that the errors name.

    file, bytes or PIL image -> first frame -> colour to sRGB -> 8 bit -> alpha over white -> upright, RGB

This is the only place where ranges, sizes and colour change.
"""

from __future__ import annotations

import functools
import io
import math
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError

from sprdiff.bitstream import MAX_PIXELS, MAX_SIDE
from sprdiff.errors import InputImageError
from sprdiff.files import write_file

if TYPE_CHECKING:
    import torch

MIN_SIDE = 16
"""Shortest side in pixels. The longest, and the most pixels, are those that a stream can hold."""

MAX_TILE_PIXELS = 16_777_216
"""Largest width x height of a tile of a TIFF."""

# fmt: off
FORMATS = frozenset({
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "MPO", "PCX", "PNG", "PPM", "PSD", "QOI",
    "SGI", "TGA", "TIFF", "WEBP",
})
# fmt: on
"""Pillow's names of what is read. Of all of these the size is known before any pixel is decoded; others hand
files to external programs (EPS), or hold pictures larger than they say (icons)."""

_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})

ImageSource = str | os.PathLike | bytes | BinaryIO | Image.Image


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An 8-bit sRGB picture, upright and opaque, without metadata.

    The EXIF orientation is applied, an ICC profile is converted to sRGB, transparency is laid over white,
    16 bit is scaled (65535 becomes 255), and of an animation the first frame is taken. Values of mode ``I``
    are 16 bit where they come from a file; in memory, and for mode ``F``, see ``_eight_bit``.

    Args:
        source: path, contents, open binary file, or a PIL image of any mode.
        max_pixels: largest width x height.
    Raises:
        InputImageError: not a picture, truncated, or outside the limits; names the limit and the value found.
    """
    image = source if isinstance(source, Image.Image) else _open(source, max_pixels)
    _check_size(image.width, image.height, max_pixels)
    _check_tiles(image)
    try:
        image.load()
    except (
        Exception
    ) as error:  # decoders of broken files raise nearly anything: OSError, SyntaxError, IndexError
        raise InputImageError(f"The image file is damaged or incomplete: {error}") from error
    rgb = _flatten(image)
    # JPEG XL has an orientation of its own, which the decoder applies, and a tag beside it means nothing;
    # except in a recompressed JPEG, of which the plugin gives the stored pixels.
    turned = image.format == "JXL" and not image.jpeg
    upright = rgb if turned else _upright(rgb, image)
    upright.info = {}
    return upright


PICTURE_FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
}
"""What decoded pictures are written as, by ending: Pillow's format and options. Only JPEG loses something."""


def picture_bytes(image: Image.Image, suffix: str = ".png") -> bytes:
    """The picture as a file without metadata.

    Args:
        suffix: a key of ``PICTURE_FORMATS``.
    """
    clean = image.copy()
    clean.info = {}  # Pillow would write a colour profile or text found here into the file
    kind, options = PICTURE_FORMATS[suffix]
    file = io.BytesIO()
    clean.save(file, format=kind, **options)
    return file.getvalue()


def save_png(image: Image.Image, path: str | os.PathLike) -> None:
    """Write an 8-bit lossless PNG without metadata; the file appears under its name only when it is whole."""
    write_file(Path(path), picture_bytes(image))


def to_tensor(image: Image.Image) -> torch.Tensor:
    """The RGB picture as (1, 3, H, W), float32, [0, 1].

    Raises:
        ValueError: the picture is not RGB; ``load_image`` makes it so.
    """
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB picture, got mode {image.mode}")
    import torch  # here: arguments are checked, and pictures read, without it

    pixels = torch.from_numpy(np.array(image))  # (H, W, 3), uint8
    return pixels.permute(2, 0, 1)[None].to(torch.float32) / 255


def to_image(x: torch.Tensor) -> Image.Image:
    """The 8-bit RGB picture of a (1, 3, H, W) or (3, H, W) tensor in [0, 1]; values outside are clipped.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    if x.dim() == 4 and x.shape[0] == 1:
        x = x[0]
    if x.dim() != 3 or x.shape[0] != 3:
        raise ValueError(f"expected a tensor of shape (1, 3, H, W), got {tuple(x.shape)}")
    x = x.detach().cpu().float()
    if not x.isfinite().all():
        raise ValueError("the tensor holds values that are not finite")
    pixels = (x.clamp(0, 1) * 255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """(B, C, H, W) extended at the right and bottom by replication until ``multiple`` divides H and W."""
    import torch.nn.functional as F

    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def crop_to(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The top left ``size`` (height, width) of (B, C, H, W): undoes ``pad_to_multiple``."""
    height, width = size
    return x[..., :height, :width]


@functools.cache
def register_plugins() -> frozenset[str]:
    """Ids of the optional Pillow plugins found here, ``jpeg-xl`` and ``heic``, after registering them."""
    found = set()
    try:
        import pillow_jxl  # noqa: F401 (registers itself)

        found.add("jpeg-xl")
    except ImportError:
        pass
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        found.add("heic")
    except ImportError:
        pass
    return frozenset(found)


def _open(source: str | os.PathLike | bytes | BinaryIO, max_pixels: int) -> Image.Image:
    register_plugins()
    if isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    elif not (isinstance(source, str | os.PathLike) or hasattr(source, "read")):
        raise TypeError(f"expected a path, bytes, an open file or a PIL image, got {type(source).__name__}")
    try:
        size = _size_before_opening(source)
        if size is not None:
            _check_size(*size, max_pixels)
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels; our own limit is below that and is checked by the caller.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(source)
    except InputImageError:
        raise
    except Image.DecompressionBombError as error:
        found = int(re.search(r"\d+", str(error))[0])
        raise InputImageError(
            f"The image has {found:,} pixels; at most {max_pixels:,} are coded here."
        ) from error
    except UnidentifiedImageError as error:
        raise InputImageError("This is not an image file, or its format is not supported.") from error
    except FileNotFoundError as error:
        raise InputImageError(f"There is no file {error.filename}.") from error
    except Exception as error:  # readers of broken headers raise nearly anything
        raise InputImageError(f"The image file cannot be read: {error}") from error
    if image.format not in FORMATS:
        raise InputImageError(f"Pictures in the format {image.format} are not read here; save it as PNG.")
    return image


def _size_before_opening(source: str | os.PathLike | BinaryIO) -> tuple[int, int] | None:
    """Of a JPEG XL file, whose plugin decodes all pixels when it opens one; None for any other."""
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return jxl_size(file)
    place = source.tell()
    try:
        return jxl_size(source)
    finally:
        source.seek(place)


def jxl_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height of a JPEG XL file, read at its start; None for any other file.

    The size header of ISO/IEC 18181-1, with which the codestream begins. That lies bare, or in a box of
    ISO/IEC 18181-2. The picture may be turned by its own orientation, which exchanges the two.

    Raises:
        ValueError: a JPEG XL file without a size.
    """
    start = file.read(12)
    if start == b"\0\0\0\x0cJXL \r\n\x87\n":
        start = _jxl_codestream(file)
    elif not start.startswith(b"\xff\x0a"):
        return None
    if len(start) < 11 or not start.startswith(b"\xff\x0a"):
        raise ValueError("a JPEG XL file without a codestream")
    bits = int.from_bytes(start[2:11], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    in_eights = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if in_eights else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = take(3)
    if ratio == 0:
        return side(), height
    numerator, denominator = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * numerator // denominator, height


def _jxl_codestream(file: BinaryIO) -> bytes:
    """The first bytes of the codestream, of a file that is read as far as its first box; b"" without one."""
    while len(header := file.read(8)) == 8:
        size, kind, read = int.from_bytes(header[:4], "big"), header[4:], 8
        if size == 1:
            size, read = int.from_bytes(file.read(8), "big"), 16
        if kind == b"jxlp":
            file.read(4)  # which part it is
        if kind in (b"jxlc", b"jxlp"):
            return file.read(12)
        if size < read:  # 0: to the end of the file
            break
        file.seek(size - read, os.SEEK_CUR)
    return b""


def _check_tiles(image: Image.Image) -> None:
    """Raise ``InputImageError`` for a TIFF with tiles of more pixels than a picture may have.

    Each is decoded whole, however little of it the picture shows: 249 kB held 256 MB for 64 x 64 pixels.
    """
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag, 1) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
    if all(isinstance(side, int) for side in sides) and sides[0] * sides[1] > MAX_TILE_PIXELS:
        raise InputImageError(
            f"The image has tiles of {sides[0]} x {sides[1]} pixels; at most {MAX_TILE_PIXELS:,} allowed."
        )


def _check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ``InputImageError`` unless both sides and the area lie within the limits."""
    if min(width, height) < MIN_SIDE:
        raise InputImageError(
            f"The image is {width} x {height} pixels; each side must have at least {MIN_SIDE}."
        )
    if max(width, height) > MAX_SIDE:
        raise InputImageError(f"The image is {width} x {height} pixels; no side may exceed {MAX_SIDE}.")
    if width * height > max_pixels:
        raise InputImageError(
            f"The image is {width} x {height} = {width * height:,} pixels; at most {max_pixels:,} are coded "
            "here."
        )


def _flatten(image: Image.Image) -> Image.Image:
    """RGB, 8 bit, of a loaded picture: colour converted to sRGB, transparency over white. A new picture."""
    profile = image.info.get("icc_profile")
    if image.mode in _SIXTEEN_BIT_MODES or image.mode in ("I", "F"):
        alpha = _key_alpha(image)
        image = _eight_bit(image)
    else:
        image, alpha = _split_alpha(image)
    return _over_white(_to_srgb(image, profile), alpha)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grayscale (``L``) of a picture with one channel of more than 8 bits.

    ``I;16`` and what a file gives as ``I`` are 16 bit. Floats, and integers made in memory, carry no range:
    the smallest of 1 (floats only), 255 and 65535 that holds all of them is taken, and where none does,
    their own minimum and maximum.

    Raises:
        InputImageError: a value is not finite.
    """
    values = np.asarray(image)  # (H, W)
    least, most = float(values.min()), float(values.max())
    if not (math.isfinite(least) and math.isfinite(most)):  # NaN is the minimum of all that it is among
        raise InputImageError("The image holds values that are not finite numbers.")
    if image.mode in _SIXTEEN_BIT_MODES:
        tops: tuple[float, ...] = (65535,)
    elif image.mode == "I":
        tops = (255, 65535) if image.format is None else (65535,)
    else:
        tops = (1, 255, 65535)
    low, high = 0.0, next((top for top in tops if most <= top), None)
    if least < 0 or high is None:
        low, high = least, max(most, least + 1)
    scaled = np.empty(values.shape, np.uint8)
    for row, out in zip(values, scaled, strict=True):  # of all rows at once, the doubles would be large
        out[:] = np.rint((row.astype(np.float64) - low) * (255 / (high - low)))
    return Image.fromarray(scaled)


def _key_alpha(image: Image.Image) -> Image.Image | None:
    """Alpha of a 16-bit grayscale PNG in which one gray value stands for transparent; None without one."""
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return None
    return Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8))


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture without transparency, in a mode that a colour profile applies to, and its alpha or None."""
    if image.mode in ("RGBa", "La"):
        image = image.convert(image.mode.upper())  # undo the premultiplication
    elif image.mode == "PA" or (image.mode not in ("RGBA", "LA") and image.has_transparency_data):
        image = image.convert("RGBA")  # palette entries or key colours become an alpha channel
    elif image.mode == "P":
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    if image.mode in ("RGBA", "LA"):
        return image.convert(image.mode[:-1]), image.getchannel("A")
    return image, None


def _over_white(rgb: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """round((colour * alpha + 255 * (255 - alpha)) / 255) in the 8-bit values, as browsers blend."""
    if alpha is None or alpha.getextrema() == (255, 255):
        return rgb.copy()
    white = Image.new("RGB", rgb.size, "white")
    white.paste(rgb, mask=alpha)
    return white


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB of an opaque picture; through its colour profile where it has a usable one."""
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if image.mode == "YCbCr" or image.mode == "HSV" or image.mode == "RGBX":
        image = image.convert("RGB")
    if profile:
        try:
            transform = ImageCms.buildTransform(
                io.BytesIO(profile),
                ImageCms.createProfile("sRGB"),
                image.mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if not _is_identity(transform, image.mode):
                return ImageCms.applyTransform(image, transform)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a broken profile, or one of another colour space: viewers ignore it, so do we
    return image.convert("RGB")


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether no colour moves by more than one level: then sRGB pictures stay exactly as they are."""
    if mode == "CMYK":
        return False
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    probe = Image.fromarray(grid).convert(mode)
    moved = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int) - np.asarray(
        probe.convert("RGB")
    )
    return bool(np.abs(moved).max() <= 1)


def _upright(rgb: Image.Image, original: Image.Image) -> Image.Image:
    """``rgb`` turned as the EXIF data of ``original`` demand."""
    try:
        orientation = original.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken metadata are ignored; their parser raises nearly anything
        return rgb
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation if orientation in range(1, 9) else 1
    rgb.info = {"exif": exif.tobytes()}
    return ImageOps.exif_transpose(rgb)
