"""Pictures in and out: anything Pillow opens becomes 8-bit sRGB, within limits that the errors name.

This is the only place where ranges, sizes and colour change.
"""

from sprdiff.images.colour import is_grayscale
from sprdiff.images.jpeg_xl import jxl_size
from sprdiff.images.limits import MAX_PIXELS, MAX_SIDE, MAX_TILE_PIXELS, MIN_SIDE
from sprdiff.images.reading import FORMATS, ImageSource, load_image, register_plugins
from sprdiff.images.tensors import crop_to, pad_to_multiple, to_image, to_tensor
from sprdiff.images.writing import PICTURE_FORMATS, picture_bytes, save_png

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MAX_TILE_PIXELS",
    "MIN_SIDE",
    "PICTURE_FORMATS",
    "ImageSource",
    "crop_to",
    "is_grayscale",
    "jxl_size",
    "load_image",
    "pad_to_multiple",
    "picture_bytes",
    "register_plugins",
    "save_png",
    "to_image",
    "to_tensor",
]
