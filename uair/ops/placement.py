"""Placement: which device runs which part of a model, what it computes as one, and what is copied between devices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops.base import Operator, Results, Sample, bad, case, operator, require
from uair.ops.control import Isolated
from uair.ops.elementwise import Add

FAMILY = "placement"


@operator(inputs="operands*", family=FAMILY)
class Placed(Isolated):
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

    def infer(self, *operands: TensorType) -> Results:
        require(self.device, "the device has no name")
        return super().infer(*operands)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(body=_adding(), device="npu"), "f32[2,3]")
        yield bad(cls(device="npu"), "f32[2,3]", because="body is missing")
        yield bad(cls(body=_adding()), "f32[2,3]", because="no name")
        yield bad(cls(body=_adding(), device="npu"), "f32[3,3]", because="the body takes f32[2,3]")
        yield bad(cls(body=_adding(), device="npu"), "f32[2,3]", "f32[2,3]", because="takes 1 values, 2 are given")


@operator(inputs="operands*", family=FAMILY)
class Fused(Isolated):
    """The results of `body` for the operands, computed by a device as one: a convolution with the activation behind it.

    The body holds the nodes as they were, takes the operands as its inputs and sees nothing else of the graph around
    it. The meaning is that of the body, so that this is no second way to say what its nodes say: it only shows which of
    them a compiler makes one step of. No rule, quantization or codegen meets it: what runs passes puts the nodes back
    into the graph first, but for the passes that say they know groups. Source: UAIR's form-groups pass; the same as an
    HLO `fusion`, a primitive function of TVM, or a dispatch region of IREE.

    Attributes:
        body: the nodes.
    """

    body: Graph | None = None

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(body=_adding()), "f32[2,3]")
        yield bad(cls(), "f32[2,3]", because="body is missing")
        yield bad(cls(body=_adding()), "f32[3,3]", because="the body takes f32[2,3]")
        yield bad(cls(body=_adding()), "f32[2,3]", "f32[2,3]", because="takes 1 values, 2 are given")


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
