"""Pictures as PIL images, arrays, tensors and lists: the same pixels in, the same pixels out."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from sprdiff.errors import InputImageError, SettingsError
from sprdiff.images import load_image
from sprdiff.pipeline.pictures import as_output, as_picture, as_pictures, check_output_type

PHOTO = Image.fromarray(np.random.default_rng(3).integers(0, 256, (20, 31, 3), np.uint8))
PIXELS = np.array(PHOTO)
FORMS = {
    "uint8": lambda pixels: pixels,
    "float32": lambda pixels: pixels.astype(np.float32) / 255,
    "float64": lambda pixels: pixels / 255,
    "float16": lambda pixels: (pixels / 255).astype(np.float16),
    "not contiguous": lambda pixels: np.asfortranarray(pixels)[:, ::-1][:, ::-1],
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_and_tensors_are_the_picture_they_hold(form):
    array = FORMS[form](PIXELS)
    tensor = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)
    for image in (array, tensor, tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor):
        assert as_picture(image).tobytes() == PHOTO.tobytes()


def test_bfloat16_is_rounded_to_the_nearest_level():
    tensor = torch.from_numpy(PIXELS / 255).permute(2, 0, 1).bfloat16()
    expected = (tensor.double() * 255).round().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(as_picture(tensor)), expected)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_gray_and_transparent_ones_are_as_pil_has_them(mode):
    picture = PHOTO.convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(PHOTO.size))
    array = np.array(picture).reshape(*PIXELS.shape[:2], -1)
    expected = load_image(picture).tobytes()
    assert as_picture(array).tobytes() == as_picture(torch.from_numpy(array).permute(2, 0, 1)).tobytes()
    assert as_picture(array).tobytes() == as_picture(picture).tobytes() == expected


@pytest.mark.parametrize(
    ("images", "several"),
    [
        (PHOTO, False),
        (PIXELS, False),
        ([PHOTO], True),
        ((PHOTO, PIXELS, PIXELS / 255), True),
        (np.stack([PIXELS, PIXELS]), True),
        (torch.from_numpy(PIXELS).permute(2, 0, 1)[None], True),
    ],
)
def test_what_is_a_list_is_told_apart(images, several):
    pictures, found = as_pictures(images)
    assert found == several
    assert len(pictures) == (len(images) if several else 1)
    assert all(picture.tobytes() == PHOTO.tobytes() for picture in pictures)


@pytest.mark.parametrize("output_type", ["pil", "np", "pt"])
def test_pictures_come_back_as_they_are_asked_for(output_type):
    check_output_type(output_type)
    given = as_output(PHOTO, output_type)
    assert as_picture(given).tobytes() == PHOTO.tobytes()
    if output_type == "np":
        assert given.shape == (20, 31, 3) and given.dtype == np.float32 and given.max() <= 1
    if output_type == "pt":
        assert given.shape == (3, 20, 31) and given.dtype == torch.float32 and given.max() <= 1


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ("photo.png", SettingsError, "image must be a PIL image, a numpy array or a tensor, got str"),
        (None, SettingsError, "got NoneType"),
        ([], SettingsError, "at least one picture"),
        ([PHOTO, 3], SettingsError, r"image\[1\] must be a PIL image, .* got int"),
        ([[PHOTO]], SettingsError, r"image\[0\] must be .* got list"),
        (PIXELS[..., 0], SettingsError, r"an array must be \(H, W, 3\), .* got an array of shape \(20, 31\)"),
        (PIXELS.transpose(2, 0, 1), SettingsError, r"got an array of shape \(3, 20, 31\)"),
        (torch.from_numpy(PIXELS), SettingsError, r"a tensor must be \(3, H, W\), .* shape \(20, 31, 3\)"),
        (PIXELS.astype(np.int64), SettingsError, "uint8, or floats in [0, 1], got int64"),
        (PIXELS > 9, SettingsError, "got bool"),
        (PIXELS / 127.5 - 1, InputImageError, r"image: Floats must be in [0, 1], and these are from -1 to 1"),
        (PIXELS.astype(np.float32), InputImageError, "from 0 to 255"),
        (np.full((20, 20, 3), np.nan), InputImageError, "from nan to nan"),
        (np.zeros((20, 9, 3)), InputImageError, "image: The image is 9 x 20 pixels"),
        (np.zeros((0, 20, 3)), InputImageError, "20 x 0 pixels"),
        (Image.new("L", (15, 40)), InputImageError, "15 x 40"),
    ],
)
def test_what_is_no_picture_is_named(image, error, message):
    with pytest.raises(error, match=message.replace("[0, 1]", re.escape("[0, 1]"))):
        as_pictures(image)


def test_values_that_round_to_a_level_are_taken():
    """A picture that was resized may be a little outside."""
    around = np.clip(PIXELS / 255 * 1.003 - 0.0015, -0.0015, 1.0015)
    assert around.min() < 0 and around.max() > 1
    assert np.abs(np.asarray(as_picture(around), int) - PIXELS).max() <= 1


@pytest.mark.parametrize("output_type", ["PIL", None, "latent"])
def test_other_outputs_are_refused(output_type):
    with pytest.raises(
        SettingsError, match=rf"output_type must be one of 'pil', 'np', 'pt', got {output_type!r}"
    ):
        check_output_type(output_type)
