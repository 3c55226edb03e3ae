"""Colours of wide gamuts: worked out from primaries and curves, and what littleCMS makes of the profile."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from conftest import make_photo
from PIL import Image

from sprdiff.images import is_grayscale, load_image

D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
PRIMARIES = {
    "sRGB": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "Display P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "Adobe RGB": ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060)),
}
"""xy of red, green and blue, at white D65 (IEC 61966-2-1, SMPTE EG 432-1, Adobe RGB 1998)."""
ADOBE_GAMMA = 563 / 256
SPACES = ("Display P3", "Adobe RGB")


def xyz(xy: tuple[float, float]) -> np.ndarray:
    x, y = xy
    return np.array([x / y, 1.0, (1 - x - y) / y])


def to_xyz(space: str) -> np.ndarray:
    """Linear RGB to XYZ at D65, (3, 3)."""
    columns = np.stack([xyz(xy) for xy in PRIMARIES[space]], axis=1)
    return columns * np.linalg.solve(columns, xyz(D65))


def linear(values: np.ndarray, space: str) -> np.ndarray:
    """Light of coded values, both in [0, 1]."""
    if space == "Adobe RGB":
        return values**ADOBE_GAMMA
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_levels(levels: np.ndarray, space: str) -> np.ndarray:
    """8-bit levels (N, 3) of a space as those of sRGB, clipped to its gamut; nothing of ICC is used."""
    light = linear(levels / 255, space) @ (np.linalg.inv(to_xyz("sRGB")) @ to_xyz(space)).T
    light = light.clip(0, 1)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return 255 * coded


def profile(space: str) -> bytes:
    """An ICC profile (version 2, matrix and curves) of a space, as its vendors write them."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    scale = np.diag((bradford @ xyz(D50)) / (bradford @ xyz(D65)))
    colorants = np.linalg.inv(bradford) @ scale @ bradford @ to_xyz(space)  # columns at D50

    def fixed(values) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    steps = np.rint(65535 * linear(np.linspace(0, 1, 1024), space)).astype(">u2")
    curve = b"curv" + bytes(4) + struct.pack(">I", len(steps)) + steps.tobytes()
    name = space.encode() + b"\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78)
    tags = {
        b"desc": description,
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + fixed(xyz(D50)),
        **{
            tag: b"XYZ " + bytes(4) + fixed(colorants[:, channel])
            for channel, tag in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))
        },
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    place, table, content = 128 + 4 + 12 * len(tags), b"", b""
    for tag, data in tags.items():
        table += tag + struct.pack(">II", place + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", place + len(content), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + fixed(xyz(D50)) + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + content


@pytest.fixture
def levels() -> np.ndarray:
    """Every corner, gray and many colours between, (N, 3) float64."""
    axis = np.linspace(0, 255, 9).round()
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def loaded(levels: np.ndarray, icc_profile: bytes) -> np.ndarray:
    """What a file with these levels and this profile is read as, (N, 3)."""
    pixels = np.repeat(levels.astype(np.uint8)[None], 16, axis=0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", icc_profile=icc_profile)
    return np.asarray(load_image(file.getvalue()))[0].astype(float)


@pytest.mark.parametrize("space", SPACES)
def test_a_wide_gamut_comes_out_in_the_right_colours(levels, space):
    expected = srgb_levels(levels, space)
    found = loaded(levels, profile(space))
    assert np.abs(expected - levels).max() > 20, "these are other colours"
    assert np.abs(found - expected).max() <= 1
    assert np.abs(found - expected).mean() < 0.5


def test_values_that_others_publish():
    """Full red of Display P3 lies outside sRGB; (234, 51, 35) is pure red of sRGB in Display P3."""
    found = loaded(np.array([[234, 51, 35], [255, 0, 0], [128, 128, 128]] * 6), profile("Display P3"))
    assert np.abs(found[0] - (255, 0, 0)).max() <= 5
    assert tuple(found[1]) == (255, 0, 0)
    assert np.abs(found[2] - 128).max() <= 1


@pytest.mark.parametrize("tint", [0, 2, 3])
def test_a_tint_that_no_one_sees_is_no_colour(tint):
    gray = make_photo(64, 48).convert("L")
    channels = [gray, gray, gray.point(lambda level: min(level + tint, 255))]
    assert is_grayscale(Image.merge("RGB", channels)) == (tint <= 2)
    assert not is_grayscale(make_photo(64, 48))


def test_grays_stay_gray(levels):
    grays = np.repeat(np.arange(256.0)[:, None], 3, axis=1)
    assert np.ptp(loaded(grays, profile("Adobe RGB")), axis=1).max() <= 1
