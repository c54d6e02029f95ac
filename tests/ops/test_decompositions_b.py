"""What a composite operator stands for means the same: evaluate(op) equals the interpreted decomposition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from uair.codegen.reference import run
from uair.ir import DType, Graph, Module, Node, Tensor, TensorType
from uair.ops.base import Operator
from uair.ops.linear import Linear
from uair.ops.normalization import LRN, BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LpNormalize, RMSNorm

CASES: list[tuple[Operator, tuple[tuple[int, ...] | None, ...]]] = [
    (Linear(), ((2, 3, 4), (5, 4), (5,))),
    (Linear(transpose_w=False), ((2, 4), (4, 5))),
    (BatchNorm(epsilon=1e-3), ((2, 3, 4, 5), (3,), (3,), (3,), (3,))),
    (BatchNorm(), ((2, 3), (3,), (3,), (3,), (3,))),
    (LayerNorm(epsilon=1e-3), ((2, 3, 8), (8,), (8,))),
    (LayerNorm(axis=-2), ((2, 3, 8), (3, 8))),
    (LayerNorm(), ((2, 8), None, (8,))),
    (RMSNorm(axis=1), ((2, 3, 8), (3, 8))),
    (RMSNorm(), ((2, 8),)),
    (InstanceNorm(), ((2, 3, 4, 5), (3,), (3,))),
    (InstanceNorm(), ((2, 3, 6),)),
    (GroupNorm(groups=2), ((2, 4, 3, 3), (4,), (4,))),
    (GroupNorm(groups=4), ((1, 4, 5),)),
    (LRN(size=3, alpha=0.5, bias=2.0), ((2, 5, 3, 4),)),
    (LRN(size=4, alpha=0.5), ((2, 5, 6),)),
    (LpNormalize(axis=1), ((2, 3, 4),)),
    (LpNormalize(p=1), ((2, 3, 4),)),
]


def emit(graph: Graph, tensor: Tensor) -> None:
    """Take the nodes that lead to a tensor into the graph, operands first."""
    node = tensor.producer
    if node is None or node.graph is graph:
        return
    for operand in node.inputs:
        if operand is not None:
            emit(graph, operand)
    graph.append(node)


@pytest.mark.parametrize(("op", "shapes"), CASES, ids=str)
def test_decomposition_means_the_same(op: Operator, shapes: tuple[tuple[int, ...] | None, ...]) -> None:
    rng = np.random.default_rng(0)
    arrays: list[Any] = [None if s is None else rng.uniform(0.2, 2, s).astype(np.float32) for s in shapes]
    graph = Graph()
    operands = [
        None if a is None else graph.add_input(f"i{i}", TensorType(DType.F32, a.shape)) for i, a in enumerate(arrays)
    ]
    simpler = op.decompose(*operands)
    assert isinstance(simpler, Tensor)
    assert simpler.type == Node(op, operands).output.type
    emit(graph, simpler)
    assert all(not isinstance(node.op, type(op)) for node in graph)
    graph.add_output("y", simpler)
    feeds = {f"i{i}": a for i, a in enumerate(arrays) if a is not None}
    got = run(Module(graphs={"main": graph}), feeds)["y"]
    np.testing.assert_allclose(got, op.evaluate_all(arrays)[0], rtol=2e-5, atol=2e-6)


def test_a_decomposition_that_would_lose_its_epsilon_is_not_offered() -> None:
    x = Tensor(TensorType(DType.F16, (2, 3)), "x")
    assert LpNormalize().decompose(x) is None
    assert LpNormalize(epsilon=1e-3).decompose(x) is not None
