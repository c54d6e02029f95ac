"""Folding computations on constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from uair.ir import Graph, Module, Node, constant
from uair.ops import NonZero, Range, Unique
from uair.ops.base import Operator
from uair.passes.fold_constants import FoldConstants
from uair.pipeline import PassManager


def folded(op: Operator, *operands: Any) -> Graph:
    graph = Graph()
    node = graph.append(Node(op, [constant(np.asarray(o)) for o in operands]))
    for i, tensor in enumerate(node.outputs):
        graph.add_output(f"y{i}", tensor)
    module = Module("m", {"main": graph})
    PassManager([FoldConstants()]).run(module)
    return module.main


@pytest.mark.parametrize(
    ("op", "operands"),
    [
        (Range(), [np.float32(0), np.float32(40), np.float32(1)]),
        (Range(), [np.float32(0), np.float32(1), np.float32(0.1)]),
        (Range(), [np.float64(1), np.float64(-1), np.float64(-0.3)]),
        (Range(), [np.int64(0), np.int64(1000), np.int64(3)]),
        (Range(), [np.float32(3), np.float32(1), np.float32(1)]),
        (NonZero(), [np.array([[0, 2], [3, 0]], np.float32)]),
        (Unique(), [np.array([3, 1, 3, 2], np.int64)]),
        (Unique(axis=1), [np.array([[1, 1, 0], [2, 2, 5]], np.float32)]),
    ],
)
def test_results_whose_size_the_values_decide_are_folded(op: Operator, operands: list[Any]) -> None:
    graph = folded(op, *operands)
    assert not list(graph)
    for got, want in zip(graph.outputs, op.evaluate_all([np.asarray(o) for o in operands]), strict=True):
        assert got.type.shape == want.shape
        np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("operands", [(0, 1 << 40, 1), (0, 10, 0)])
def test_a_range_that_no_disk_holds_or_that_has_no_end_is_left(operands: tuple[int, int, int]) -> None:
    assert [n.op_type for n in folded(Range(), *map(np.int64, operands))] == ["Range"]
