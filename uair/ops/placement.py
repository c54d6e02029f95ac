"""Placement: which device runs which part of a model, and what is copied between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np

from uair.ir.dims import InferredShape, symbols_of
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import copied_nodes
from uair.ir.types import TensorType, inferred
from uair.ops.base import Operator, Results, Sample, bad, case, operator, require, unify_extents
from uair.ops.control import Call, ControlFlow
from uair.ops.elementwise import Add

FAMILY = "placement"


@operator(inputs="operands*", family=FAMILY)
class Placed(ControlFlow):
    """The results of `body` for the operands, computed on `device`.

    The body takes the operands as its inputs and sees nothing else of the graph around it: it is a model of its own,
    which the device's toolchain compiles. Its outputs are the results. The meaning is that of the body in any case; an
    interpreter may be told to round as the device does. Source: UAIR's partition pass.

    Attributes:
        body: what is computed.
        device: name of the target that runs it, or "cpu".
    """

    body: Graph | None = None
    device: str = ""

    def result_count(self) -> int:
        return 0 if self.body is None else len(self.body.outputs)

    def infer(self, *operands: TensorType) -> Results:
        require(self.body is not None, "body is missing")
        require(self.device, "the device has no name")
        body = cast(Graph, self.body)
        require(
            len(body.inputs) == len(operands), "the body takes {} values, {} are given", len(body.inputs), len(operands)
        )
        for i, (formal, actual) in enumerate(zip(body.inputs, operands, strict=True)):
            require(_fits(formal.type, actual), "operand {} is {}, the body takes {}", i, actual, formal.type)
        require(not body.captures(), "the body uses tensors of the graph around it")
        seen = frozenset(symbols_of(d for t in operands for d in t.shape or ()))
        return tuple(_outside(t.type, seen) for t in body.outputs)

    def execute(self, call: Call, *operands: Any) -> tuple[Any, ...]:
        return call(cast(Graph, self.body), operands)

    def decompose(self, *operands: Tensor) -> tuple[Tensor, ...]:
        """The body's nodes: what knows no devices runs them in the node's place."""
        body = cast(Graph, self.body)
        copies = dict(zip(body.inputs, operands, strict=True))
        for _ in copied_nodes(body, copies):
            pass  # each is found again as the producer of what stands for its results
        return tuple(copies.get(t, t) for t in body.outputs)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 0 if self.body is None else sum(map(_flops, self.body))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(body=_adding(), device="npu"), "f32[2,3]")
        yield bad(cls(device="npu"), "f32[2,3]", because="body is missing")
        yield bad(cls(body=_adding()), "f32[2,3]", because="no name")
        yield bad(cls(body=_adding(), device="npu"), "f32[3,3]", because="the body takes f32[2,3]")
        yield bad(cls(body=_adding(), device="npu"), "f32[2,3]", "f32[2,3]", because="takes 1 values, 2 are given")


def _fits(formal: TensorType, actual: TensorType) -> bool:
    """Whether a value can be what the body takes."""
    if formal.dtype is not actual.dtype or formal.containers != actual.containers:
        return False
    if formal.shape is None or actual.shape is None:
        return True
    return len(formal.shape) == len(actual.shape) and all(
        unify_extents(f, a) for f, a in zip(formal.shape, actual.shape, strict=True)
    )


def _outside(t: TensorType, seen: frozenset[str]) -> TensorType:
    """A type from inside of the body as it is outside: sizes that only the body knows are open."""
    if t.shape is None or t.containers:
        return t
    shape: InferredShape = tuple(d if seen.issuperset(symbols_of((d,))) else None for d in t.shape)
    return inferred(t.dtype, shape)


def _flops(node: Node) -> int:
    operands = [None if t is None else t.type for t in node.inputs]
    return node.op.flops(operands, [t.type for t in node.outputs])


@operator(inputs="x", family=FAMILY)
class Transfer(Operator):
    """x, copied from one device's memory to another's: y = x.

    Source: UAIR's partition pass, which puts one between parts of a model on different devices.

    Attributes:
        source: the device that x was computed on.
        destination: the device that reads y.
    """

    source: str = ""
    destination: str = ""

    def infer(self, x: TensorType) -> TensorType:
        require(self.source and self.destination, "both devices need a name")
        return inferred(x.dtype, x.shape)

    def evaluate(self, x: Array) -> Array:
        return x

    def decompose(self, x: Tensor) -> Tensor:
        return x

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 0

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(source="npu", destination="cpu"), "f32[2,3]")
        yield case(cls(source="cpu", destination="npu"), "i8[4]")
        yield bad(cls(source="npu"), "f32[2,3]", because="both devices need a name")


def _adding() -> Graph:
    """X + 1."""
    graph = Graph("body")
    x = graph.add_input("x", TensorType(DType.F32, (2, 3)))
    graph.add_output("y", graph.append(Node(Add(), [x, constant(np.float32(1), "one")], name="add")).output)
    return graph
