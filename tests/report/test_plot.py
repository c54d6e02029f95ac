"""Plots: every mark stands where its value belongs, and a plot is well-formed whatever it shows."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from tests.report.helpers import SVG
from uair.report.plot import BLUE, BOTTOM, LEFT, RED, RIGHT, TOP, Axis, Plot, around, nice_step


def drawn(plot: Plot) -> ElementTree.Element:
    return ElementTree.fromstring(ElementTree.tostring(plot.element()))


def test_marks_stand_where_their_values_belong() -> None:
    plot = Plot(Axis("x", 0, 10), Axis("y", -1, 1), width=500, height=300)
    plot.points([(0, -1), (10, 1), (5, 0), (99, -99)], BLUE, ["a", "b", "c", "outside"], "points")
    width, height = 500 - LEFT - RIGHT, 300 - TOP - BOTTOM
    expected = [(0, 0), (1, 1), (0.5, 0.5), (1, 0)]
    circles = drawn(plot).findall(f"{SVG}circle")
    for circle, (x, y) in zip(circles, expected, strict=True):
        assert float(circle.attrib["cx"]) == pytest.approx(LEFT + x * width, abs=0.1)
        assert float(circle.attrib["cy"]) == pytest.approx(300 - BOTTOM - y * height, abs=0.1)
    assert [c.findtext(f"{SVG}title") for c in circles] == ["a", "b", "c", "outside"]


def test_a_histogram_with_its_range() -> None:
    plot = Plot(Axis("value", 0, 4), Axis("count", 1, 1000, log=True))
    plot.bars([0, 1, 2, 3, 4], [1000, 10, 0, 1], BLUE, "values")
    plot.mark(2.5, RED, "range")
    root = drawn(plot)
    *bars, legend_values, legend_range = root.findall(f"{SVG}rect")
    assert len(bars) == 3 and {legend_values.attrib["fill"], legend_range.attrib["fill"]} == {BLUE, RED}
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[0] == pytest.approx(260 - TOP - BOTTOM) and heights[1] == pytest.approx(heights[0] / 3, abs=0.1)
    assert heights[2] < 1  # one value: the bottom of the axis, but not invisible
    marked = [line for line in root.findall(f"{SVG}line") if line.get("stroke") == RED]
    assert len(marked) == 1 and float(marked[0].attrib["x1"]) == pytest.approx(
        LEFT + 0.625 * (900 - LEFT - RIGHT), abs=0.1
    )


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.7, 0.004), (0, 1e-9), (1e9, 3e9), (5, 5), (-130, 42)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    ticks = Axis("", low, high).ticks()
    assert 1 <= len(ticks) <= 7
    assert all(low - 1e-9 <= value <= high + 1e-9 and float(text) == pytest.approx(value) for value, text in ticks)


def test_ticks_of_powers_and_names() -> None:
    assert [text for _, text in Axis("", 0.05, 2000, log=True).ticks()] == ["0.1", "1", "10", "100", "1000"]
    assert len(Axis("", 1e-30, 1, log=True).ticks()) <= 7
    names = Axis("", 0, 99, names=tuple(map(str, range(100)))).ticks()
    assert len(names) <= 12 and names[1] == (9.0, "9")


def test_axes_have_room_around_what_they_show() -> None:
    assert around([1, 3], room=0.5) == (0, 4)
    assert around([10, 20], zero=True) == (0, 21)
    low, high = around([math.inf, math.nan])
    assert low < high
    assert all(a < b for a, b in (around([0.0]), around([-7.0]), around([1e-12, 1e-12])))


def test_steps_are_round() -> None:
    assert [nice_step(v) for v in (0.9, 1, 1.01, 2.2, 3, 7, 0.03)] == [1, 1, 2, 2.5, 5, 10, pytest.approx(0.05)]
