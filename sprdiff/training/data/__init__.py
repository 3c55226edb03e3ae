"""What a training sees: crops of a folder of photographs, drawn pictures among them, or what a teacher made.

``photographs`` finds and decodes pictures, ``crops`` and ``taught`` cut from them, ``batches`` joins them.
"""

from sprdiff.training.data.batches import Source, stream
from sprdiff.training.data.crops import Crops
from sprdiff.training.data.photographs import (
    Photographs,
    Place,
    list_images,
    read_image,
    split,
    to_pixels,
    to_uint8,
    validation_images,
)
from sprdiff.training.data.taught import Taught, TaughtBatch, TaughtCrops, taught_pictures

__all__ = [
    "Crops",
    "Photographs",
    "Place",
    "Source",
    "Taught",
    "TaughtBatch",
    "TaughtCrops",
    "list_images",
    "read_image",
    "split",
    "stream",
    "taught_pictures",
    "to_pixels",
    "to_uint8",
    "validation_images",
]
