"""Constants with values that no training leaves there."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import DTypeLike

from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, constant
from uair.ir.types import TensorType
from uair.ops import Add, MatMul, Mul
from uair.passes.quantization.broken import CHUNK, all_finite, broken_weights

TYPES = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, ml_dtypes.float8_e5m2)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("at", [0, CHUNK - 1, CHUNK, CHUNK + 4])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_anywhere_is_found(dtype: DTypeLike, at: int, value: float) -> None:
    values = np.full((CHUNK + 5,), -1.5, dtype)
    assert all_finite(values)
    values[at] = value
    assert not all_finite(values)
    assert not all_finite(values[None].T)


def test_the_greatest_numbers_are_finite() -> None:
    for dtype in TYPES:
        most = ml_dtypes.finfo(dtype).max  # type: ignore[no-untyped-call]
        assert all_finite(np.array([[most, -most, 0]], dtype))


def test_infinities_that_mask_are_no_fault() -> None:
    graph = Graph("main")
    x = graph.add_input("x", TensorType(DType.F32, (2, 3)))
    scale = np.array([[0, -np.inf, 0], [0, 0, np.nan]], np.float32)
    masking = np.array([-np.inf, 0, 0], np.float32)
    masked = graph.append(Node(Add(), [x, constant(masking, "mask")])).output
    bad = graph.append(Node(Mul(), [masked, constant(scale, "bad")], name="scale")).output
    weight = np.zeros((3, 4), np.float32)
    weight[2, 1] = -np.inf
    graph.add_output("y", graph.append(Node(MatMul(), [bad, constant(weight, "w")], name="dense")).output)
    assert broken_weights(graph) == [
        "constant 'bad' of Mul 'scale' holds nan at [1, 2], 1 of 6 values are no numbers",
        "constant 'w' of MatMul 'dense' holds -inf at [2, 1], 1 of 12 values are no numbers",
    ]
