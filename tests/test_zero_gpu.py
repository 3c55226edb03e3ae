"""Steps that borrow a GPU, with a module that plays ``spaces``: no ZeroGPU machine is at hand."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import make_photo
from gradio.context import LocalContext
from tiny import small_pipeline

from sprdiff.methods import COARSE, FINAL, code_sprdiff
from sprdiff.types import CoarseImage
from sprdiff.ui import zero_gpu
from sprdiff.ui.jobs import Result, follow


class Spaces(ModuleType):
    """Calls through, and lets nothing pass that another process could not be sent.

    Attributes:
        calls: what each borrowed call was given, and what it gave.
        durations: of the decorated functions.
    """

    def __init__(self) -> None:
        super().__init__("spaces")
        self.calls: list[tuple[Any, Any]] = []
        self.durations: list[int] = []

    def GPU(self, *, duration: int) -> Callable[[Callable], Callable]:
        self.durations.append(duration)

        def decorate(task: Callable) -> Callable:
            def call(*arguments: Any) -> Any:
                result = pickle.loads(pickle.dumps(task(*pickle.loads(pickle.dumps(arguments)))))
                self.calls.append((arguments, result))
                return result

            return call

        return decorate


@pytest.fixture
def spaces(monkeypatch) -> Spaces:
    module = Spaces()
    monkeypatch.setitem(sys.modules, "spaces", module)
    monkeypatch.setenv(zero_gpu.VARIABLE, "true")
    monkeypatch.setattr(zero_gpu, "DEVICE", "cpu")
    return module


def test_steps_on_a_lent_gpu_give_what_they_give_without(spaces):
    pipeline = small_pipeline()
    borrower = zero_gpu.borrowing(pipeline)
    assert spaces.durations == [zero_gpu.SECONDS] * len(zero_gpu.STEPS)
    image, steps = make_photo(128, 64), []

    def outputs(of) -> dict:
        return dict(code_sprdiff([COARSE, FINAL], image, of, 400, lambda method, doing: steps.append))

    made = outputs(borrower)
    assert [type(result) for _, result in spaces.calls[2:]] == [CoarseImage, type(image)]
    assert len(spaces.calls) == 4, "analyze, encode, decode_coarse and refine, none within another"
    assert steps == [0.0, 0.0, 0.0], "callbacks stay here"
    for method, plain in outputs(pipeline).items():
        assert made[method].encoded.data == plain.encoded.data
        assert np.array_equal(np.asarray(made[method].image), np.asarray(plain.image))
    assert len(spaces.calls) == 4, "the pipeline itself borrows nothing"
    data = plain.encoded.data
    assert borrower.inspect(data) == pipeline.inspect(data)
    assert np.array_equal(borrower.bit_map(data), pipeline.bit_map(data))
    info, bits = borrower.look_into(data)
    assert info == pipeline.inspect(data) and np.array_equal(bits, pipeline.bit_map(data))
    assert borrower.decompress(data).final.tobytes() == plain.image.tobytes()
    assert len(spaces.calls) == 9
    assert borrower.fingerprint == pipeline.fingerprint


def test_nothing_is_borrowed_elsewhere(spaces, monkeypatch):
    pipeline = small_pipeline()
    monkeypatch.delenv(zero_gpu.VARIABLE)
    assert not zero_gpu.is_lent() and zero_gpu.borrowing(pipeline) is pipeline
    monkeypatch.setenv(zero_gpu.VARIABLE, "true")
    monkeypatch.setitem(sys.modules, "spaces", None)  # not installed
    assert not zero_gpu.is_lent() and zero_gpu.borrowing(pipeline) is pipeline
    assert spaces.durations == []


def test_models_are_loaded_before_the_page_is_launched_where_gpus_are_lent(spaces, monkeypatch):
    from sprdiff.cli import main

    loaded, served = [], []

    def load(checkpoint):
        loaded.append((checkpoint, threading.current_thread()))
        return small_pipeline()

    class Page:
        def launch(self, **options) -> None:
            served.append(list(loaded))

    monkeypatch.setattr("sprdiff.cli.serve.load_pipeline", load)
    monkeypatch.setattr("sprdiff.ui.build_app", lambda load, **options: served.append(load()) or Page())
    command = ["serve", "--model", "owner/one", "--model", "owner/two", "--max-pixels", "500"]
    assert main(command) == 0
    borrower, before = served
    assert borrower.max_pixels == 500 and len(spaces.durations) == 2 * len(zero_gpu.STEPS)
    main_thread = threading.main_thread()
    assert before == loaded == [("owner/one", main_thread), ("owner/two", main_thread)]
    with pytest.raises(Exception, match="500"):
        borrower.encode(make_photo(64, 64), quality=1)

    monkeypatch.delenv(zero_gpu.VARIABLE)
    loaded.clear()
    monkeypatch.setattr("sprdiff.ui.build_app", lambda load, **options: Page())
    assert main(command) == 0 and loaded == [], "elsewhere when the page is first opened"


def test_a_run_knows_whose_it_is():
    token = LocalContext.request.set("somebody")
    try:
        steps = list(follow(lambda report, emit: emit(LocalContext.request.get()), threading.Event()))
    finally:
        LocalContext.request.reset(token)
    assert steps == [Result("somebody")]
