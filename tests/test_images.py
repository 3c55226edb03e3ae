"""Every mode, orientation and depth becomes the same upright 8-bit sRGB picture; every limit is named."""

import io

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms

from sprdiff.errors import InputImageError
from sprdiff.images import (
    crop_to,
    load_image,
    pad_to_multiple,
    register_plugins,
    save_png,
    to_image,
    to_tensor,
)


def file_of(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=file_format, **options)
    return file.getvalue()


@pytest.fixture
def photo() -> Image.Image:
    """40 x 24, smooth, without symmetry, so that every turn of it differs."""
    y, x = np.mgrid[0:24, 0:40]
    return Image.fromarray(np.stack([x * 6, y * 10, 255 - x * 3 - y * 4], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "file", "image"])
def test_every_source_gives_the_same_picture(photo, tmp_path, kind):
    path = tmp_path / "photo.png"
    photo.save(path)
    source = {
        "path": path,
        "str": str(path),
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
        "image": photo,
    }[kind]
    loaded = load_image(source)
    assert loaded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(photo))


def test_the_given_image_is_left_as_it_was(photo):
    photo.info["comment"] = "kept"
    loaded = load_image(photo)
    loaded.putpixel((0, 0), (9, 9, 9))
    assert photo.getpixel((0, 0)) == (0, 0, 255)
    assert photo.info == {"comment": "kept"}
    assert loaded.info == {}


@pytest.mark.parametrize(
    ("mode", "tolerance"),
    [("RGBA", 0), ("RGBa", 0), ("RGBX", 0), ("CMYK", 1), ("YCbCr", 3), ("HSV", 8)],
)
def test_colour_modes(photo, mode, tolerance):
    loaded = np.asarray(load_image(photo.convert(mode))).astype(int)
    assert np.abs(loaded - np.asarray(photo)).max() <= tolerance


@pytest.mark.parametrize("mode", ["L", "LA", "I", "F"])
def test_gray_modes(photo, mode):
    gray = photo.convert("L")
    expected = np.repeat(np.asarray(gray)[..., None], 3, axis=2)
    np.testing.assert_array_equal(np.asarray(load_image(gray.convert(mode))), expected)


def test_lab(photo):
    lab = ImageCms.profileToProfile(
        photo, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    loaded = np.asarray(load_image(lab)).astype(int)
    assert np.abs(loaded - np.asarray(photo)).mean() < 2


def test_one_bit(photo):
    bits = photo.convert("1")
    np.testing.assert_array_equal(np.asarray(load_image(bits))[..., 1], np.asarray(bits) * 255)


def test_palette(photo):
    palette = photo.quantize(16)
    np.testing.assert_array_equal(
        np.asarray(load_image(file_of(palette))), np.asarray(palette.convert("RGB"))
    )


def test_transparent_palette_entry_becomes_white():
    indices = np.zeros((16, 16), np.uint8)
    indices[:, 8:] = 1
    palette = Image.fromarray(indices).convert("P")
    palette.putpalette([200, 0, 0, 0, 0, 90])
    loaded = load_image(file_of(palette, transparency=0))
    assert loaded.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.getpixel((15, 0)) == (0, 0, 90)


def test_transparent_key_colour_becomes_white():
    gray = Image.new("L", (16, 16), 7)
    gray.putpixel((3, 3), 8)
    loaded = load_image(file_of(gray, transparency=7))
    assert loaded.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.getpixel((3, 3)) == (8, 8, 8)


@pytest.mark.parametrize(
    ("alpha", "red", "expected"),
    [(0, 0, 255), (255, 10, 10), (128, 0, 127), (128, 255, 255), (1, 0, 254), (64, 100, 216), (254, 0, 1)],
)
def test_alpha_over_white_is_exact(alpha, red, expected):
    """round(c * a / 255 + 255 - a), worked out by hand: 64 of 100 gives 25.098 + 191 = 216.098."""
    loaded = load_image(Image.new("RGBA", (16, 16), (red, 0, 0, alpha)))
    assert loaded.getpixel((5, 5)) == (expected, 255 - alpha, 255 - alpha)


def test_gray_alpha_over_white():
    assert load_image(Image.new("LA", (16, 16), (0, 128))).getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
@pytest.mark.parametrize("as_file", [True, False])
def test_sixteen_bit_ramp_is_scaled_not_clipped(mode, as_file):
    ramp = np.linspace(0, 65535, 16 * 64).round().astype(np.uint16).reshape(16, 64)
    image = Image.fromarray(ramp)
    if mode == "I":
        image = Image.fromarray(ramp.astype(np.int32))
    elif mode == "I;16B":
        image = Image.frombytes("I;16B", (64, 16), ramp.astype(">u2").tobytes())
    if as_file:
        image = Image.open(io.BytesIO(file_of(image, "TIFF" if mode == "I;16B" else "PNG")))
    loaded = np.asarray(load_image(image))
    np.testing.assert_array_equal(loaded[..., 0], np.rint(ramp / 257).astype(np.uint8))
    assert (loaded[..., 0] == loaded[..., 2]).all()


def test_dark_sixteen_bit_file_stays_dark():
    dark = Image.fromarray(np.full((16, 16), 200, np.uint16))
    assert load_image(file_of(dark)).getpixel((0, 0)) == (1, 1, 1)


def test_sixteen_bit_key_colour_becomes_white():
    ramp = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    image = Image.open(io.BytesIO(file_of(Image.fromarray(ramp))))
    image.load()
    image.info["transparency"] = 512
    loaded = load_image(image)
    assert loaded.getpixel((2, 0)) == (255, 255, 255)
    assert loaded.getpixel((3, 0)) == (3, 3, 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),  # unit range
        ([0.0, 100.4, 255.0], [0, 100, 255]),  # 8-bit range
        ([0.0, 32768.0, 65535.0], [0, 128, 255]),  # 16-bit range
        ([-1.0, 0.0, 3.0], [0, 64, 255]),  # none of these: from minimum to maximum
        ([-2.0, -2.0, -2.0], [0, 0, 0]),
    ],
)
def test_float_ranges(values, expected):
    array = np.repeat(np.array(values, np.float32)[None], 16, axis=0).repeat(6, axis=1)
    assert [load_image(Image.fromarray(array)).getpixel((6 * i, 0))[0] for i in range(3)] == expected


def test_floats_that_are_no_numbers():
    array = np.zeros((16, 16), np.float32)
    array[2, 2] = np.nan
    with pytest.raises(InputImageError, match="not finite"):
        load_image(Image.fromarray(array))


TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # stored turned left; the tag asks for a turn to the right
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation_is_undone(photo, orientation):
    turn = TURNS[orientation]
    stored = photo if turn is None else photo.transpose(turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    loaded = load_image(file_of(stored, exif=exif.tobytes()))
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(photo))
    assert loaded.info == {}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00garbage"])
def test_broken_exif_is_ignored(photo, exif):
    np.testing.assert_array_equal(np.asarray(load_image(file_of(photo, exif=exif))), np.asarray(photo))


def swapped_profile() -> bytes:
    """An RGB profile with the colours of sRGB but the names of red and blue exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def test_colour_profile_is_converted(photo):
    loaded = np.asarray(load_image(file_of(photo, icc_profile=swapped_profile()))).astype(int)
    assert np.abs(loaded - np.asarray(photo)[..., ::-1]).max() <= 2


def test_colour_profile_leaves_alpha_alone():
    image = Image.new("RGBA", (16, 16), (0, 0, 255, 128))
    red, green, blue = load_image(file_of(image, icc_profile=swapped_profile())).getpixel((0, 0))
    assert abs(red - 255) <= 1 and abs(green - 127) <= 1 and abs(blue - 127) <= 1


def test_srgb_profile_changes_nothing(photo):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(
        np.asarray(load_image(file_of(photo, icc_profile=profile))), np.asarray(photo)
    )


@pytest.mark.parametrize("profile", [b"not a profile", b"\x00" * 200])
def test_broken_colour_profile_is_ignored(photo, profile):
    np.testing.assert_array_equal(
        np.asarray(load_image(file_of(photo, icc_profile=profile))), np.asarray(photo)
    )


def test_profile_of_another_colour_space_is_ignored(photo):
    gray = photo.convert("L")
    loaded = load_image(file_of(gray, icc_profile=swapped_profile()))
    np.testing.assert_array_equal(np.asarray(loaded)[..., 0], np.asarray(gray))


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(file_format):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = file_of(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert load_image(data).getpixel((4, 4)) == (250, 0, 0)


@pytest.mark.parametrize(
    "file_format", ["JPEG", "WEBP", "AVIF", "JPEG2000", "BMP", "TIFF", "GIF", "PPM", "TGA"]
)
def test_file_formats(photo, file_format):
    large = photo.resize((160, 96))
    loaded = np.asarray(load_image(file_of(large, file_format))).astype(float)
    assert loaded.shape == (96, 160, 3)
    assert np.abs(loaded - np.asarray(large)).mean() < 6


@pytest.mark.parametrize(("plugin", "file_format"), [("heic", "HEIF"), ("jpeg-xl", "JXL")])
def test_plugin_formats(photo, plugin, file_format):
    if plugin not in register_plugins():
        pytest.skip(f"the Pillow plugin for {plugin} is not installed")
    large = photo.resize((160, 96))
    loaded = np.asarray(load_image(file_of(large, file_format, quality=95))).astype(float)
    assert np.abs(loaded - np.asarray(large)).mean() < 6


def test_orientation_of_heic(photo):
    if "heic" not in register_plugins():
        pytest.skip("pillow-heif is not installed")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    assert load_image(file_of(photo, "HEIF", exif=exif.tobytes())).size == (24, 40)


@pytest.mark.parametrize(("source", "size"), [("JPEG", (24, 40)), ("PNG", (40, 24))])
def test_orientation_of_jpeg_xl(photo, tmp_path, source, size):
    """In a recompressed JPEG the tag counts; otherwise the orientation inside the codestream rules."""
    if "jpeg-xl" not in register_plugins():
        pytest.skip("pillow-jxl-plugin is not installed")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "photo"
    photo.save(path, format=source, exif=exif.tobytes())
    with Image.open(path) as stored:
        data = file_of(stored, "JXL", lossless_jpeg=source == "JPEG")
    assert load_image(data).size == size


def test_cmyk_jpeg(photo):
    loaded = np.asarray(load_image(file_of(photo.convert("CMYK"), "JPEG", quality=100))).astype(int)
    assert np.abs(loaded - np.asarray(photo)).mean() < 4


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", bytes(1000)])
def test_not_an_image(data):
    with pytest.raises(InputImageError, match=r"not an image file|cannot be read"):
        load_image(data)


def test_missing_file(tmp_path):
    with pytest.raises(InputImageError, match=r"There is no file .*gone\.png"):
        load_image(tmp_path / "gone.png")


def test_folder(tmp_path):
    with pytest.raises(InputImageError, match="cannot be read"):
        load_image(tmp_path)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP"])
def test_truncated(file_format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = file_of(Image.fromarray(noise), file_format)
    with pytest.raises(InputImageError, match=r"damaged or incomplete|cannot be read|not an image file"):
        load_image(data[: len(data) // 2])


def test_drawing_formats_are_refused(photo):
    with pytest.raises(InputImageError, match="format EPS are not read"):
        load_image(file_of(photo, "EPS"))


@pytest.mark.parametrize(
    ("size", "found"), [((15, 400), "15 x 400"), ((400, 15), "400 x 15"), ((1, 1), "1 x 1")]
)
def test_too_small(size, found):
    with pytest.raises(InputImageError, match=f"{found} pixels; each side must have at least 16"):
        load_image(file_of(Image.new("RGB", size)))


def test_smallest_and_longest_are_allowed():
    assert load_image(Image.new("RGB", (16, 16))).size == (16, 16)
    assert load_image(Image.new("RGB", (16383, 16))).size == (16383, 16)


def test_side_too_long():
    with pytest.raises(InputImageError, match="16384 x 16 pixels; no side may exceed 16383"):
        load_image(file_of(Image.new("L", (16384, 16))))


def bmp_header(width: int, height: int) -> bytes:
    """A BMP that claims a size and holds no pixels."""
    head = b"BM" + (54).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    sizes = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return head + (40).to_bytes(4, "little") + sizes + b"\x01\x00\x18\x00" + bytes(24)


def test_too_many_pixels():
    with pytest.raises(InputImageError, match="8001 x 8000 = 64,008,000 pixels; at most 64,000,000"):
        load_image(bmp_header(8001, 8000))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [10000, 16000, 100000])
def test_decompression_bomb(side):
    with pytest.raises(InputImageError, match=r"64,000,000|no side may exceed 16383"):
        load_image(bmp_header(side, side))


def test_save_png_is_lossless_and_clean(photo, tmp_path):
    photo.info["icc_profile"] = swapped_profile()
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    save_png(photo, path)
    saved = Image.open(path)
    np.testing.assert_array_equal(np.asarray(saved), np.asarray(photo))
    assert saved.format == "PNG" and saved.info == {}
    assert [file.name for file in tmp_path.iterdir()] == ["out.png"]


def test_save_png_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="cannot write mode HSV"):
        save_png(Image.new("HSV", (16, 16)), path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_tensor_round_trip_is_exact():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([values, values.T, values[::-1]], axis=-1))
    x = to_tensor(image)
    assert x.shape == (1, 3, 16, 16) and x.dtype == torch.float32
    assert x.min() == 0 and x.max() == 1
    for back in (to_image(x), to_image(x[0]), to_image(x.double())):
        np.testing.assert_array_equal(np.asarray(back), np.asarray(image))


def test_to_image_rounds_and_clips():
    x = torch.tensor([-0.3, 0.49 / 255, 0.51 / 255, 7.0]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    assert np.asarray(to_image(x))[0, :, 0].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 4, 4), (4, 4)])
def test_to_image_wrong_shape(shape):
    with pytest.raises(ValueError, match="expected a tensor of shape"):
        to_image(torch.zeros(shape))


def test_to_image_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        to_image(torch.full((1, 3, 2, 2), float("nan")))


def test_to_tensor_wrong_mode():
    with pytest.raises(ValueError, match="mode L"):
        to_tensor(Image.new("L", (16, 16)))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 31), (1, 40)])
def test_padding_replicates_and_is_undone(height, width):
    x = torch.rand(1, 3, height, width)
    padded = pad_to_multiple(x, 16)
    assert padded.shape[-2] % 16 == 0 and padded.shape[-1] % 16 == 0
    assert padded.shape[-2] - height < 16 and padded.shape[-1] - width < 16
    torch.testing.assert_close(padded[..., -1, -1], x[..., -1, -1])
    torch.testing.assert_close(crop_to(padded, (height, width)), x)
