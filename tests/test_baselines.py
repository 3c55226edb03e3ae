"""Every baseline keeps its budget in real bytes, and its picture comes from the real file."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sprdiff.baselines import BASELINES, PillowCodec
from sprdiff.baselines.pillow import _without_comments
from sprdiff.baselines.search import (
    SCALES,
    Candidate,
    approach_ratio,
    best_within,
    enlarge,
    fit_quality,
    shrink,
)
from sprdiff.errors import InputImageError

PILLOW = [id for id, codec in BASELINES.items() if isinstance(codec, PillowCodec)]
CLASSICAL = ["jpeg", "webp", "jpeg2000", "avif"]


def psnr_db(a: Image.Image, b: Image.Image) -> float:
    return 10 * np.log10(255**2 / np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2))


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """192 x 128: smooth areas, edges and texture, as a photograph has them."""
    random = np.random.default_rng(1)
    image = Image.fromarray(random.integers(0, 256, (8, 12, 3), np.uint8)).resize((192, 128))
    texture = Image.fromarray(random.integers(0, 256, (128, 192, 3), np.uint8)).filter(ImageFilter.BoxBlur(1))
    image = Image.blend(image, texture, 0.15)
    image.paste((230, 220, 40), (30, 40, 90, 100))
    return image


def test_the_four_of_pillow_are_always_there():
    assert list(BASELINES)[:4] == CLASSICAL
    assert all(codec.id == id for id, codec in BASELINES.items())
    assert len({codec.extension for codec in BASELINES.values()}) == len(BASELINES)


@pytest.mark.parametrize("id", PILLOW)
@pytest.mark.parametrize("max_bytes", [900, 2500])
def test_budget_is_kept_and_used(photo, id, max_bytes):
    codec = BASELINES[id]
    encoded = codec.compress(photo, max_bytes=max_bytes)
    assert not encoded.over_budget
    assert 0.75 * max_bytes < len(encoded.data) <= max_bytes
    assert (encoded.method, encoded.extension, encoded.max_bytes) == (id, codec.extension, max_bytes)
    assert (encoded.width, encoded.height) == photo.size
    assert encoded.scale in SCALES


@pytest.mark.parametrize("id", PILLOW)
def test_the_picture_is_that_of_the_file(photo, id, tmp_path):
    codec = BASELINES[id]
    encoded = codec.compress(photo, max_bytes=1500)
    path = tmp_path / f"photo{encoded.extension}"
    path.write_bytes(encoded.data)
    with Image.open(path) as stored:
        expected = (round(192 * encoded.scale), round(128 * encoded.scale))
        assert stored.size == expected
        by_hand = stored.convert("RGB").resize(photo.size, Image.Resampling.LANCZOS)
    decoded = codec.decompress(path.read_bytes(), size=photo.size)
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(by_hand))
    assert decoded.mode == "RGB" and decoded.size == photo.size and decoded.info == {}
    assert psnr_db(photo, decoded) > 18


@pytest.mark.parametrize("id", PILLOW)
def test_files_and_pictures_are_the_same_every_time(photo, id):
    codec = BASELINES[id]
    first, second = (codec.compress(photo, max_bytes=1200) for _ in range(2))
    assert first == second
    pictures = [np.asarray(codec.decompress(first.data, size=photo.size)) for _ in range(2)]
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize("id", CLASSICAL)
def test_more_bytes_are_never_worse(photo, id):
    codec = BASELINES[id]
    quality = [
        psnr_db(photo, codec.decompress(codec.compress(photo, max_bytes=budget).data, size=photo.size))
        for budget in (700, 1400, 2800, 5600)
    ]
    assert quality == sorted(quality) and quality[-1] > quality[0] + 1


@pytest.mark.parametrize("id", PILLOW)
@pytest.mark.parametrize("max_bytes", [0, 20])
def test_out_of_reach_gives_the_smallest_file_and_says_so(photo, id, max_bytes):
    codec = BASELINES[id]
    encoded = codec.compress(photo, max_bytes=max_bytes)
    assert encoded.over_budget and len(encoded.data) > max_bytes
    assert encoded.scale == 1 / 8
    assert len(encoded.data) < 700
    assert codec.decompress(encoded.data, size=photo.size).size == photo.size


@pytest.mark.parametrize("id", PILLOW)
@pytest.mark.parametrize("size", [(16, 16), (17, 61), (130, 33)])
def test_small_and_odd_sizes(photo, id, size):
    picture = photo.resize(size)
    encoded = BASELINES[id].compress(picture, max_bytes=1500)
    assert not encoded.over_budget
    assert BASELINES[id].decompress(encoded.data, size=size).size == size


@pytest.mark.parametrize("id", PILLOW)
def test_generous_budget_keeps_full_size(photo, id):
    encoded = BASELINES[id].compress(photo, max_bytes=200_000)
    assert encoded.scale == 1
    assert psnr_db(photo, BASELINES[id].decompress(encoded.data, size=photo.size)) > 33


@pytest.mark.parametrize("id", PILLOW)
def test_no_metadata_in_the_file(photo, id):
    tagged = photo.copy()
    exif = Image.Exif()
    exif[0x010E] = "a secret description"
    tagged.info = {
        "exif": exif.tobytes(),
        "xmp": b"<x>a secret</x>",
        "comment": b"a secret",
        "icc_profile": b"a secret profile",
    }
    encoded = BASELINES[id].compress(tagged, max_bytes=3000)
    assert b"secret" not in encoded.data
    assert encoded.data == BASELINES[id].compress(photo, max_bytes=3000).data


@pytest.mark.parametrize("id", PILLOW)
@pytest.mark.parametrize("damage", ["empty", "truncated", "foreign"])
def test_damaged_files_are_named(photo, id, damage):
    data = BASELINES[id].compress(photo, max_bytes=1500).data
    foreign = io.BytesIO()
    photo.save(foreign, "BMP")
    broken = {"empty": b"", "truncated": data[:30], "foreign": foreign.getvalue()}[damage]
    with pytest.raises(InputImageError, match=f"not a whole {BASELINES[id].label} file"):
        BASELINES[id].decompress(broken, size=photo.size)


@pytest.mark.parametrize("id", [id for id in PILLOW if id != "webp"])
def test_a_grayscale_picture_spends_nothing_on_colour(photo, id):
    codec, gray = BASELINES[id], photo.convert("L").convert("RGB")
    encoded = codec.compress(gray, max_bytes=900)
    assert encoded.settings["chroma"] == "4:0:0"
    made = codec.decompress(encoded.data, size=gray.size)
    assert len({channel.tobytes() for channel in made.split()}) == 1
    assert codec.compress(photo, max_bytes=900).settings["chroma"] != "4:0:0"
    in_colour = {chroma: each for chroma, each in codec.rate_controls.items() if chroma != "4:0:0"}
    other = replace(codec, rate_controls=in_colour).compress(gray, max_bytes=900)
    assert psnr_db(gray, made) >= psnr_db(gray, codec.decompress(other.data, size=gray.size)) - 0.01


def test_wrong_arguments(photo):
    with pytest.raises(ValueError, match="mode L"):
        BASELINES["jpeg"].compress(photo.convert("L"), max_bytes=100)
    with pytest.raises(ValueError, match="negative"):
        BASELINES["jpeg"].compress(photo, max_bytes=-1)


def test_settings_reproduce_the_file(photo):
    encoded = BASELINES["webp"].compress(photo, max_bytes=1200)
    file = io.BytesIO()
    shrink(photo, encoded.scale).save(file, "WEBP", quality=encoded.settings["quality"], method=6)
    assert file.getvalue() == encoded.data


def test_openjpeg_comment_is_taken_out_and_nothing_else(photo):
    file = io.BytesIO()
    photo.save(file, "JPEG2000", no_jp2=True, irreversible=True, quality_mode="rates", quality_layers=[30])
    stripped = _without_comments(file.getvalue())
    assert b"Created by OpenJPEG" in file.getvalue() and b"OpenJPEG" not in stripped
    pictures = [np.asarray(Image.open(io.BytesIO(data))) for data in (file.getvalue(), stripped)]
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize("floor", [0, 10, 50])
@pytest.mark.parametrize("max_bytes", [0, 9, 10, 11, 57, 73, 74, 1000])
def test_bisection_finds_the_highest_quality_that_fits(floor, max_bytes):
    sizes = {quality: floor + quality * 3 // 4 for quality in range(101)}
    found = fit_quality(lambda _, quality: bytes(sizes[quality]), 0, 100)(None, max_bytes)
    fitting = [quality for quality, size in sizes.items() if size <= max_bytes]
    assert found.setting == max(fitting, default=0)
    assert len(found.data) == sizes[found.setting]


def test_ratio_control_corrects_an_encoder_that_misses():
    picture = Image.new("RGB", (100, 100))
    for bias in (-40, 0, 40):
        found = approach_ratio(lambda _, ratio, bias=bias: bytes(round(30000 / ratio) + bias))(picture, 500)
        assert 495 <= len(found.data) <= 500
    stubborn = approach_ratio(lambda _, ratio: bytes(800))(picture, 500)
    assert len(stubborn.data) == 800


def test_search_keeps_the_scale_with_the_least_error(photo):
    """Against trying everything: the scales that are not tried are not the best ones."""
    picture = photo.filter(ImageFilter.GaussianBlur(3))

    def encode(image: Image.Image, quality: int) -> bytes:
        file = io.BytesIO()
        image.save(file, "WEBP", quality=quality)
        return file.getvalue()

    def decode(data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB")

    control = fit_quality(encode, 0, 100)
    for max_bytes in (250, 500, 1500):
        found = best_within(picture, max_bytes, {"only": control}, decode)
        every = {scale: control(shrink(picture, scale), max_bytes).data for scale in SCALES}
        quality = {
            scale: psnr_db(picture, enlarge(decode(data), picture.size))
            for scale, data in every.items()
            if len(data) <= max_bytes
        }
        assert found.scale == max(quality, key=quality.get)
        assert not found.over_budget and found.variant == "only"


def test_search_takes_the_better_variant(photo):
    def fixed(image: Image.Image, max_bytes: int, colours: int) -> Candidate:
        file = io.BytesIO()
        image.quantize(colours).save(file, "PNG")
        return Candidate(file.getvalue(), colours)

    def decode(data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB")

    variants = {"coarse": partial(fixed, colours=4), "fine": partial(fixed, colours=128)}
    assert best_within(photo, 1_000_000, variants, decode).variant == "fine"
    nothing = best_within(photo, 1, variants, decode)
    assert (nothing.variant, nothing.scale, nothing.over_budget) == ("coarse", 1 / 8, True)


@pytest.mark.parametrize("scale", SCALES)
def test_scales_round_to_whole_pixels(photo, scale):
    assert shrink(photo, scale).size == (round(192 * scale), round(128 * scale))
    assert shrink(photo.crop((0, 0, 16, 3)), scale).height >= 1
