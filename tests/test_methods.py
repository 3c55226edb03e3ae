"""The adapters share the work of one stream, and report its whole time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import FakePipeline
from PIL import Image

from sprdiff.errors import BitstreamError, SettingsError
from sprdiff.methods import METHODS, build_methods, check_methods, timed_compress, timed_decompress

BOTH = ("sprdiff-coarse", "sprdiff-final")
SIZE = (96, 64)


@pytest.fixture
def image() -> Image.Image:
    return Image.radial_gradient("L").resize(SIZE).convert("RGB")


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
    encoded, seconds = timed_compress(codec, image, max_bytes=1000)
    decoded, _ = timed_decompress(codec, encoded.data, size=image.size)
    assert len(encoded.data) <= 1000
    assert decoded.size == SIZE
    assert seconds > 0
    with pytest.raises(SettingsError, match="need a model"):
        build_methods(["jpeg", "sprdiff-final"])


def test_both_outputs_share_one_encode_and_one_decode(image):
    pipeline = FakePipeline()
    coarse, final = build_methods(BOTH, pipeline).values()
    encoded = coarse.compress(image, max_bytes=500)
    assert final.compress(image.copy(), max_bytes=500) is encoded
    shown = coarse.decompress(encoded.data, size=SIZE)
    assert pipeline.calls["final"] == 0  # the coarse picture is there before the diffusion runs
    finished = final.decompress(encoded.data, size=SIZE)
    assert pipeline.calls == {"analyze": 1, "encode": 1, "decompress": 1, "coarse": 1, "final": 1}
    expected = FakePipeline().decompress(encoded.data)
    assert shown.tobytes() == expected.coarse.tobytes()
    assert finished.tobytes() == expected.final.tobytes()
    assert shown.tobytes() != finished.tobytes()


def test_another_image_or_budget_is_encoded_anew(image):
    pipeline = FakePipeline()
    coarse, final = build_methods(BOTH, pipeline).values()
    first = coarse.compress(image, max_bytes=500)
    assert len(final.compress(image, max_bytes=100).data) <= 100
    assert final.compress(image.rotate(180), max_bytes=500).data != first.data
    assert pipeline.calls["encode"] == 3


def test_coarse_alone_runs_no_diffusion(image):
    pipeline = FakePipeline()
    codec = build_methods(BOTH[:1], pipeline)[BOTH[0]]
    codec.decompress(codec.compress(image, max_bytes=500).data, size=SIZE)
    assert pipeline.calls["final"] == 0


def test_final_alone_waits_for_nobody(image):
    codec = build_methods(BOTH[1:], FakePipeline())[BOTH[1]]
    encoded = codec.compress(image, max_bytes=500)
    expected = FakePipeline().decompress(encoded.data).final
    assert codec.decompress(encoded.data, size=SIZE).tobytes() == expected.tobytes()


def test_times_are_those_of_the_work_and_not_of_the_wait(image):
    coarse, final = build_methods(BOTH, FakePipeline(seconds=0.05)).values()
    encoded, coarse_encode = timed_compress(coarse, image, max_bytes=500)
    _, final_encode = timed_compress(final, image, max_bytes=500)
    assert coarse_encode == final_encode >= 0.05
    _, coarse_decode = timed_decompress(coarse, encoded.data, size=SIZE)
    time.sleep(1.5)  # somebody measures the coarse picture
    _, final_decode = timed_decompress(final, encoded.data, size=SIZE)
    assert 0.05 <= coarse_decode < 1.3
    assert 0.1 <= final_decode < 1.4


def test_an_error_of_the_pipeline_reaches_whoever_asks(image):
    coarse, final = build_methods(BOTH, FakePipeline()).values()
    data = coarse.compress(image, max_bytes=500).data[:-1]
    for codec in (coarse, final):
        with pytest.raises(BitstreamError, match="checksum"):
            codec.decompress(data, size=SIZE)


def test_only_the_latest_decodes_are_kept(image):
    pipeline = FakePipeline()
    coarse, final = build_methods(BOTH, pipeline).values()
    streams = [coarse.compress(image, max_bytes=max_bytes).data for max_bytes in (100, 200, 300, 400)]
    for data in streams:
        coarse.decompress(data, size=SIZE)
    assert pipeline.calls["coarse"] == 4
    final.decompress(streams[-1], size=SIZE)
    assert pipeline.calls["coarse"] == 4
    expected = FakePipeline().decompress(streams[0]).final
    assert final.decompress(streams[0], size=SIZE).tobytes() == expected.tobytes()
    assert pipeline.calls["coarse"] == 5, "it had been let go of"


def test_threads_share_the_work_too(image):
    pipeline = FakePipeline(seconds=0.02)
    coarse, final = build_methods(BOTH, pipeline).values()

    def code(codec):
        return codec.decompress(codec.compress(image, max_bytes=500).data, size=SIZE).tobytes()

    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(code, [coarse, final] * 4))
    assert len(set(pictures)) == 2
    assert pipeline.calls == {"analyze": 1, "encode": 1, "decompress": 1, "coarse": 1, "final": 1}


def test_the_analysis_is_shared_by_all_budgets_of_an_image_and_counted_in_the_time_of_each(image):
    pipeline = FakePipeline()
    analyze = pipeline.analyze

    def slow(picture: Image.Image) -> Image.Image:
        time.sleep(0.2)
        return analyze(picture)

    pipeline.analyze = slow
    times = []
    for max_bytes in (300, 500):
        (codec,) = build_methods(["sprdiff-final"], pipeline).values()
        encoded, seconds = timed_compress(codec, image.copy(), max_bytes=max_bytes)
        assert encoded.data == FakePipeline().encode(image, max_bytes=max_bytes).data
        times.append(seconds)
    assert pipeline.calls["analyze"] == 1
    assert min(times) >= 0.2
    timed_compress(codec, image.rotate(180), max_bytes=300)
    assert pipeline.calls["analyze"] == 2
    other = FakePipeline()
    timed_compress(build_methods(["sprdiff-final"], other)["sprdiff-final"], image, max_bytes=300)
    assert other.calls["analyze"] == 1  # another model sees another picture
