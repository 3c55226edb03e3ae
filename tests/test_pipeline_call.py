"""``pipeline(image, ...)``, as diffusers' pipelines are called."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_photo
from PIL import Image
from tiny import small_pipeline

from sprdiff.errors import InputImageError, SettingsError
from sprdiff.pipeline import SPRDiffPipeline


@pytest.fixture(scope="module")
def small() -> SPRDiffPipeline:
    return small_pipeline()


def test_a_call_is_a_stream_and_what_it_decodes_to(small, photo):
    result = small(photo, target_bpp=0.5)
    encoded = small.encode(photo, target_bpp=0.5)
    decoded = small.decompress(result.data)
    assert result.data == encoded.data and result.over_budget is False
    assert result.coarse.tobytes() == decoded.coarse.tobytes()
    assert result.final.tobytes() == decoded.final.tobytes()
    assert result.info == decoded.info and result.info.num_bytes == len(result.data)
    assert result["final"] is result.final and result[0] is result.data  # as diffusers' outputs
    data, coarse, final, *rest = small(photo, 0.5, return_dict=False)
    assert data == result.data and rest == [result.info, False]
    assert (coarse.tobytes(), final.tobytes()) == (result.coarse.tobytes(), result.final.tobytes())


def test_the_three_kinds_of_budget(small, photo):
    assert small(photo, quality=90).info.quality == 90
    limited = small(photo, max_bytes=600)
    assert len(limited.data) <= 600 and not limited.over_budget
    assert small(photo, max_bytes=1).over_budget


@pytest.mark.parametrize("output_type", ["pil", "np", "pt"])
def test_arrays_and_tensors_code_like_the_picture(small, photo, output_type):
    pixels = np.array(photo)
    expected = small(photo, quality=100)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    for image in (pixels, pixels / 255, tensor, tensor / 255):
        result = small(image, quality=100, output_type=output_type)
        assert result.data == expected.data
        assert small.encode(image, quality=100).data == expected.data
        for name in ("coarse", "final"):
            shown = np.asarray(expected[name], np.float32) / 255
            picture = result[name]
            if output_type == "pil":
                assert picture.tobytes() == expected[name].tobytes()
            elif output_type == "np":
                assert picture.shape == (176, 192, 3) and np.array_equal(picture, shown)
            else:
                assert picture.shape == (3, 176, 192)
                assert torch.equal(picture, torch.from_numpy(shown).permute(2, 0, 1))


def test_a_list_gives_lists(small):
    photos = [make_photo(70, 64), np.array(make_photo(64, 90)), torch.zeros(3, 64, 64)]
    result = small(photos, target_bpp=0.6)
    assert [picture.size for picture in result.final] == [(70, 64), (64, 90), (64, 64)]
    for place, photo in enumerate(photos):
        alone = small(photo, target_bpp=0.6)
        assert result.data[place] == alone.data
        assert result.coarse[place].tobytes() == alone.coarse.tobytes()
        assert result.final[place].tobytes() == alone.final.tobytes()
        assert (result.info[place], result.over_budget[place]) == (alone.info, alone.over_budget)
    batch = torch.stack([torch.zeros(3, 64, 64)])
    assert small(batch, target_bpp=0.6).data == [result.data[2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of target_bpp, quality and max_bytes"),
        ({"quality": 3, "target_bpp": 0.03}, "exactly one"),
        ({"target_bpp": "0.03"}, "target_bpp must be a number above 0 and at most 24, got '0.03'"),
        ({"target_bpp": 0}, "target_bpp must be a number above 0 and at most 24, got 0"),
        ({"target_bpp": float("nan")}, "got nan"),
        ({"target_bpp": True}, "got True"),
        ({"quality": 256}, "quality must be a whole number from 0 to 255, got 256"),
        ({"quality": 3.5}, "quality must be .* got 3.5"),
        ({"max_bytes": -1}, "max_bytes must be a whole number of at least 0, got -1"),
        ({"max_bytes": 10.0}, "max_bytes must be .* got 10.0"),
        ({"quality": 3, "output_type": "jpg"}, "output_type must be one of 'pil', 'np', 'pt', got 'jpg'"),
    ],
)
def test_a_wrong_argument_is_named(small, photo, arguments, message):
    with pytest.raises(SettingsError, match=message):
        small(photo, **arguments)
    if "output_type" not in arguments:
        with pytest.raises(SettingsError, match=message):
            small.encode(photo, **arguments)


def test_numbers_of_numpy_are_numbers(small, photo):
    assert small.compress(photo, quality=np.int64(90)) == small.compress(photo, quality=90)
    assert small.compress(photo, target_bpp=np.float32(0.5)) == small.compress(photo, target_bpp=0.5)


def test_a_wrong_picture_is_named_before_any_is_coded(small, photo, monkeypatch):
    monkeypatch.setattr(small, "analyze", lambda *_, **__: pytest.fail("a picture was coded"))
    with pytest.raises(InputImageError, match=r"image\[1\]: The image is 9 x 40"):
        small([photo, Image.new("RGB", (9, 40))], target_bpp=0.03)
    with pytest.raises(SettingsError, match=r"image must be a PIL image, .* got str"):
        small.encode("photo.png", target_bpp=0.03)
    with pytest.raises(SettingsError, match=r"image must be .* got list"):
        small.encode([photo], target_bpp=0.03)


@pytest.mark.parametrize("method", ["decompress", "decode_coarse", "inspect", "symbols_hash", "bit_map"])
def test_a_stream_is_bytes(small, method):
    with pytest.raises(SettingsError, match="data must be bytes, got str"):
        getattr(small, method)("photo.spr")
