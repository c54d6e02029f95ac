"""Folding computations on shapes."""

from __future__ import annotations

import numpy as np

from uair.ir import DType, Graph, Module, Node, constant
from uair.ops import Cast
from uair.passes.fold_shapes import FoldShapes
from uair.pipeline import PassManager


def test_a_number_that_an_element_type_cannot_hold_wraps_around_as_cast_does() -> None:
    numbers = np.array([2**63 - 1, -(2**31) - 1, 7], np.int64)
    graph = Graph()
    graph.add_output("y", graph.append(Node(Cast(to=DType.I32), [constant(numbers)])).output)
    module = Module("m", {"main": graph})
    PassManager([FoldShapes()]).run(module)
    (result,) = module.main.outputs
    np.testing.assert_array_equal(result.numpy(), Cast(to=DType.I32).evaluate(numbers))
