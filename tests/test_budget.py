"""The best file within a budget: that it is found, and in how few tries."""

from __future__ import annotations

import math

import pytest

from sprdiff.budget import best_quality
from sprdiff.pipeline.rate_control import best_within, fill_budget


class Coder:
    """Files whose size grows by ``growth`` with every quality; remembers what it was asked for."""

    def __init__(self, growth: float) -> None:
        self.growth = growth
        self.asked: list[int] = []

    def __call__(self, quality: int, price: float = 0.0) -> bytes:
        self.asked.append(quality)
        return bytes(round(11 * self.growth**quality))

    def best(self, limit: int, lowest: int, highest: int) -> int:
        fitting = [q for q in range(lowest, highest + 1) if round(11 * self.growth**q) <= limit]
        return max(fitting, default=lowest)


@pytest.mark.parametrize("limit", [0, 10, 11, 57, 100, 1000, 5000])
@pytest.mark.parametrize(("growth", "told"), [(1.02, None), (1.02, 1.02), (1.02, 1.1), (1.005, 1.02)])
def test_the_best_that_fits_is_found(limit, growth, told):
    code = Coder(growth)
    guide = None if told is None else math.log(told)
    quality, data = best_quality(code, limit, lowest=0, highest=255, first=127, growth=guide)
    assert quality == code.best(limit, 0, 255)
    assert data == Coder(growth)(quality)
    assert len(code.asked) == len(set(code.asked)), "no quality is coded twice"
    assert len(code.asked) <= 14


def test_a_line_that_is_right_spares_most_tries():
    for limit in range(20, 1700, 40):
        code = Coder(1.02)
        best_quality(code, limit, lowest=0, highest=255, first=127, growth=math.log(1.02))
        assert len(code.asked) <= 4, limit


@pytest.mark.parametrize("limit", [0, 10, 12, 40, 90])
def test_a_budget_out_of_reach_costs_one_file_where_the_lowest_is_first(limit):
    code = Coder(1.02)
    quality, _ = best_quality(code, limit, lowest=3, highest=100, first=3)
    assert quality == code.best(limit, 3, 100)
    assert set(code.asked) <= set(range(3, 101))
    if limit < 12:
        assert code.asked == [3]


@pytest.mark.parametrize("limit", [10, 11, 57, 100, 1000, 5000])
def test_the_pipelines_search_finds_the_best_at_no_price(limit):
    code = Coder(1.02)
    assert best_within(code, limit)[0] == code.best(limit, 0, 255)
    assert len(code.asked) <= 14 + 6


def test_what_a_step_of_quality_leaves_of_a_budget_is_filled():
    def code(quality: int, price: float) -> bytes:
        return bytes(int((100 + 10 * quality) * (1 - 20 * price)))

    assert fill_budget(code, 5, bytes(150), 153) == (5, bytes(150)), "nothing to gain"
    quality, data = fill_budget(code, 5, bytes(150), 158)
    assert quality == 6
    assert 0.97 * 158 <= len(data) <= 158
    assert fill_budget(code, 255, bytes(150), 158) == (255, bytes(150)), "there is no better quality"
    assert fill_budget(code, 0, bytes(100), 50) == (0, bytes(100)), "over budget anyway"
    assert fill_budget(lambda quality, price: bytes(999), 5, bytes(150), 158) == (5, bytes(150))
