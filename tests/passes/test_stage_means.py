"""Means over large images become stages of depthwise convolutions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from uair.codegen.reference import run
from uair.ops import Conv2D
from uair.passes.stage_means import StageMeans, windows
from uair.pipeline import PassManager
from uair.testing import assert_keeps
from uair.text import parse_module


@pytest.mark.parametrize("extent", range(1, 400))
def test_windows_are_few_and_short(extent: int) -> None:
    found = windows(extent, 7)
    product = math.prod(found)
    assert max(found) <= 7
    assert extent <= product < extent * 7 / 6 + 1
    assert 7 ** (len(found) - 1) < extent or len(found) == 1


def test_windows_that_fill_the_extent_are_preferred() -> None:
    assert [math.prod(windows(extent, 7)) for extent in (8, 12, 14, 42, 49, 96)] == [8, 12, 14, 42, 49, 96]


@pytest.mark.parametrize("shape", ["2,3,16,16", "1,5,3,96", "1,2,1,13", "2,1,23,5", "1,2,53,61", "N,4,8,8"])
@pytest.mark.parametrize(
    ("mean", "tail"), [("GlobalAvgPool(%x)", ""), ("ReduceMean(%x)", " {axes = [-1,2], keepdims = false}")]
)
def test_values_stay(shape: str, mean: str, tail: str) -> None:
    module = parse_module(f"%x: f32[{shape}]  %y = {mean}{tail}")
    concrete = [int(d) if d != "N" else 3 for d in shape.split(",")]
    x = np.random.default_rng(0).normal(1, 1, concrete).astype(np.float32)
    before = run(module, {"x": x})["y"]
    PassManager([StageMeans()], []).run(module)
    convolutions = [node.op for node in module.main if isinstance(node.op, Conv2D)]
    assert convolutions
    assert all(max(op.strides) <= 7 and max(op.pads) < 7 and op.groups == concrete[1] for op in convolutions)
    np.testing.assert_allclose(run(module, {"x": x})["y"], before, rtol=2e-6)


@pytest.mark.parametrize(
    "text",
    [
        "%x: f32[1,3,7,7]  %y = GlobalAvgPool(%x)",
        "%x: f32[1,3,16,16]  %y = ReduceMean(%x) {axes = [3]}",
        "%x: f32[1,3,16,16]  %y = ReduceMean(%x)",
        "%x: f32[1,3,16]  %y = GlobalAvgPool(%x)",
        "%x: f32[1,3,N,16]  %y = GlobalAvgPool(%x)",
        "%x: f64[1,3,16,16]  %y = GlobalAvgPool(%x)",
    ],
)
def test_keeps(text: str) -> None:
    assert_keeps(StageMeans(), text)
