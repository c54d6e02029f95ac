"""Nodes and targets for the tests of targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uair.ir.graph import Node, Tensor, constant
from uair.ops.base import Operator
from uair.targets.target import Target
from uair.text import parse_type


def tensor(spec: str | float | None) -> Tensor | None:
    """An operand: a type ("f32[1,3,8,8]"), a constant of a type ("=f32[8,3,3,3]"), a scalar constant, or nothing."""
    if spec is None:
        return None
    if isinstance(spec, (int, float)):
        return constant(np.float32(spec))
    if spec.startswith("="):
        type_ = parse_type(spec[1:])
        shape = tuple(d for d in type_.dims if isinstance(d, int))
        return constant(np.zeros(shape, type_.dtype.numpy))
    return Tensor(parse_type(spec))


def make(op: Operator, *operands: str | float | None) -> Node:
    """A node that belongs to no graph."""
    return op.node(*(tensor(o) for o in operands))


def dequantized(spec: str) -> Tensor:
    """A float activation of a quantized model."""
    from uair.ops import Dequantize

    return Dequantize()(tensor(spec), constant(np.float32(0.1)), constant(np.int8(0)))


class ListedTarget(Target):
    """A target whose ONNX form of every node is given by a function of the operator's name."""

    def emitted_ops(self, node: Node) -> Sequence[str] | None:
        return {"Conv2D": ["Conv"], "Linear": ["Gemm"], "LogicalAnd": ["And"]}.get(node.op_type, [node.op_type])
