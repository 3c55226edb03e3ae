"""Streams of all sizes and qualities decode to what is committed; the whole matrix is in benchmarks/."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sprdiff import bitstream

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "expected" / "golden"
RECORD = json.loads((GOLDEN / "golden.json").read_text())
SMALL = ("one-pixel", "smallest-best", "odd-best", "face", "portrait", "red", "grayscale")


def stream(name: str) -> bytes:
    return (GOLDEN / f"{name}.spr").read_bytes()


def test_there_are_some_of_all_sizes_qualities_and_versions_and_they_are_small(pipeline):
    assert RECORD["fingerprint"] == pipeline.fingerprint
    headers = [bitstream.read_header(stream(name)) for name in RECORD["symbols"]]
    assert {header.version for header in headers} == {bitstream.COLOUR, bitstream.GRAYSCALE}
    assert {0, 255} <= {header.quality for header in headers}
    sides = [(header.width, header.height) for header in headers]
    assert (1, 1) in sides and (16, 16) in sides
    assert any(width > 1024 for width, _ in sides) and any(height > 1024 for _, height in sides)
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 1_000_000


@pytest.mark.parametrize(("threads", "onednn"), [(1, True), (2, False), (4, True)])
def test_symbols_are_the_committed_ones(pipeline, threads, onednn):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.backends.mkldnn.flags(enabled=onednn):
            found = {name: pipeline.symbols_hash(stream(name)) for name in RECORD["symbols"]}
    finally:
        torch.set_num_threads(before)
    assert found == RECORD["symbols"]


@pytest.mark.parametrize("name", SMALL)
def test_pictures_are_the_committed_ones(pipeline, name):
    decoded = pipeline.decompress(stream(name))
    pictures = np.concatenate([np.asarray(decoded.coarse), np.asarray(decoded.final)]).astype(int)
    with Image.open(GOLDEN / f"{name}.webp") as image:
        assert (np.abs(pictures - np.asarray(image.convert("RGB"))) <= 1).mean() >= 0.999


def test_symbols_are_the_committed_ones_on_another_processor(monkeypatch):
    """In a process of its own, as benchmarks/golden_streams.py does for every setting."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import golden_streams

    results = golden_streams.run(
        golden_streams.ENVIRONMENTS["ATen default"], "check_variants", pictures=False
    )
    assert len(results) == len(golden_streams.VARIANTS)
    streams = len(RECORD["symbols"])
    assert all(result["symbols"] == result["streams"] == streams for result in results.values())


@pytest.mark.parametrize("seed", [1, 2])
def test_changed_and_sealed_streams_are_pictures_or_errors(monkeypatch, seed):
    """A few of those of benchmarks/fuzz_streams.py."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr(sys, "path", sys.path)
    import fuzz_streams

    ends = fuzz_streams.fuzz(250, seed)
    assert sum(ends.values()) == 250
    assert ends["a picture"] > 5, "streams that were not changed in what decides"
    decoded = ("symbols are coded", "ends before", "decoded symbol")
    assert sum(number for end, number in ends.items() if any(each in end for each in decoded)) > 20
