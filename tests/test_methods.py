"""The two outputs of SPRDiff share the work of one stream, and each has the time of all its own."""

from __future__ import annotations

import time

import pytest
from fakes import FakePipeline
from PIL import Image

from sprdiff.errors import BitstreamError, SettingsError
from sprdiff.methods import METHODS, build_methods, check_methods, code_baseline, code_sprdiff

BOTH = ("sprdiff-coarse", "sprdiff-final")
SIZE = (96, 64)


@pytest.fixture
def image() -> Image.Image:
    return Image.radial_gradient("L").resize(SIZE).convert("RGB")


def code(pipeline: FakePipeline, image: Image.Image, ids=BOTH, *, max_bytes: int = 500, steps=None):
    """What ``code_sprdiff`` yields; the steps that it begins are appended to ``steps``."""
    steps = [] if steps is None else steps
    return code_sprdiff(ids, image, pipeline, max_bytes, lambda *step: steps.append(step))


def test_known_ids():
    assert list(METHODS)[:2] == list(BOTH)
    assert {"jpeg", "webp", "jpeg2000", "avif"} <= set(METHODS)
    assert check_methods(["avif", "sprdiff-final", "jpeg", "avif", "sprdiff-coarse"]) == [
        "sprdiff-coarse",
        "sprdiff-final",
        "avif",
        "jpeg",
    ]


def test_every_codec_states_its_id_and_label():
    for method, codec in build_methods(METHODS, FakePipeline()).items():
        assert codec.id == method
        assert codec.label == METHODS[method]


@pytest.mark.parametrize(
    ("ids", "message"), [(["bmp"], r"'bmp'; known are sprdiff-coarse, .*avif"), ([], "No method was given")]
)
def test_unknown_ids_are_refused_with_the_known_ones(ids, message):
    with pytest.raises(SettingsError, match=message):
        build_methods(ids, FakePipeline())


def test_baselines_need_no_model_and_sprdiff_does(image):
    codec = build_methods(["jpeg"])["jpeg"]
    steps = []
    ((method, coded),) = code_baseline("jpeg", image, 1000, lambda *step: steps.append(step))
    assert method == "jpeg" and steps == [("jpeg", "encoding"), ("jpeg", "decoding")]
    assert coded.encoded == codec.compress(image, max_bytes=1000)
    assert coded.image.tobytes() == codec.decompress(coded.encoded.data, size=SIZE).tobytes()
    assert coded.encode_seconds > 0 and coded.decode_seconds > 0
    with pytest.raises(SettingsError, match="need a model"):
        build_methods(["jpeg", "sprdiff-final"])


@pytest.mark.parametrize("method", BOTH)
def test_each_output_alone_is_the_one_of_the_stream(image, method):
    pipeline = FakePipeline()
    codec = build_methods([method], pipeline)[method]
    encoded = codec.compress(image, max_bytes=500)
    assert encoded == FakePipeline().encode(image, max_bytes=500)
    picture = codec.decompress(encoded.data, size=SIZE)
    expected = FakePipeline().decompress(encoded.data)
    assert picture.tobytes() == (expected.coarse if method == BOTH[0] else expected.final).tobytes()
    assert pipeline.calls["final"] == (method == BOTH[1])


def test_both_outputs_share_one_encode_and_the_coarse_picture(image):
    pipeline, steps = FakePipeline(), []
    pictures = code(pipeline, image, steps=steps)
    method, coarse = next(pictures)
    assert method == BOTH[0]
    assert pipeline.calls["final"] == 0  # the coarse picture is there before the diffusion runs
    ((method, final),) = pictures
    assert method == BOTH[1] and final.encoded is coarse.encoded
    assert pipeline.calls == {"analyze": 1, "encode": 1, "decompress": 1, "coarse": 1, "final": 1}
    assert steps == [(BOTH[0], "encoding"), (BOTH[0], "decoding"), (BOTH[1], "decoding")]
    expected = FakePipeline().decompress(coarse.encoded.data)
    assert coarse.image.tobytes() == expected.coarse.tobytes()
    assert final.image.tobytes() == expected.final.tobytes()


@pytest.mark.parametrize("method", BOTH)
def test_one_output_is_coded_alone(image, method):
    pipeline, steps = FakePipeline(), []
    ((found, coded),) = code(pipeline, image, [method], steps=steps)
    assert found == method and steps == [(method, "encoding"), (method, "decoding")]
    expected = FakePipeline().decompress(coded.encoded.data)
    assert coded.image.tobytes() == (expected.coarse if method == BOTH[0] else expected.final).tobytes()
    assert pipeline.calls["final"] == (method == BOTH[1])


def test_times_are_those_of_the_work_and_not_of_what_lies_between(image):
    pictures = code(FakePipeline(seconds=0.05), image)
    _, coarse = next(pictures)
    time.sleep(1.5)  # somebody measures the coarse picture
    _, final = next(pictures)
    assert coarse.encode_seconds == final.encode_seconds >= 0.05
    assert 0.05 <= coarse.decode_seconds < 1.3
    assert coarse.decode_seconds + 0.05 <= final.decode_seconds < 1.4


def test_an_error_of_the_pipeline_reaches_whoever_asks(image):
    codecs = build_methods(BOTH, FakePipeline())
    data = codecs[BOTH[0]].compress(image, max_bytes=500).data[:-1]
    for codec in codecs.values():
        with pytest.raises(BitstreamError, match="checksum"):
            codec.decompress(data, size=SIZE)


def test_the_analysis_is_shared_by_all_budgets_of_an_image_and_counted_in_the_time_of_each(image):
    pipeline = FakePipeline()
    analyze = pipeline.analyze

    def slow(picture: Image.Image, **options) -> Image.Image:
        time.sleep(0.2)
        return analyze(picture, **options)

    pipeline.analyze = slow
    for max_bytes in (300, 500):
        ((_, coded),) = code(pipeline, image.copy(), BOTH[1:], max_bytes=max_bytes)
        assert coded.encoded.data == FakePipeline().encode(image, max_bytes=max_bytes).data
        assert coded.encode_seconds >= 0.2
    assert pipeline.calls["analyze"] == 1
    list(code(pipeline, image.rotate(180), BOTH[1:], max_bytes=300))
    assert pipeline.calls["analyze"] == 2
    other = FakePipeline()
    list(code(other, image, BOTH[1:], max_bytes=300))
    assert other.calls["analyze"] == 1  # another model sees another picture
