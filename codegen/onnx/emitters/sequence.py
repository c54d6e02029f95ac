"""Sequences and optionals."""

from __future__ import annotations

from onnx import AttributeProto

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.values import Texts, put_type
from uair.codegen.onnx.writer import Emission
from uair.ir.types import Container
from uair.ops.sequence import (
    ConcatFromSequence,
    OptionalConstruct,
    OptionalGetElement,
    OptionalHasElement,
    SequenceAt,
    SequenceConstruct,
    SequenceErase,
    SequenceInsert,
    SequenceLength,
    SplitToSequence,
)

EMITTERS = Emitters()
EMITTERS.direct(
    {
        SequenceAt: "SequenceAt",
        SequenceErase: "SequenceErase",
        SequenceInsert: "SequenceInsert",
        SequenceLength: "SequenceLength",
    }
)


@EMITTERS.of(SequenceConstruct)
def construct(e: Emission, op: SequenceConstruct) -> None:
    """An empty one is an operator of its own."""
    if e.node.inputs:
        e.result("SequenceConstruct", *e.operands)
    else:
        e.result("SequenceEmpty", dtype=op.dtype)


@EMITTERS.of(SplitToSequence)
def split(e: Emission, op: SplitToSequence) -> None:
    """`keepdims` counts only when no sizes are given."""
    e.result("SplitToSequence", *e.operands, axis=e.axis(op.axis), keepdims=op.keepdims)


@EMITTERS.of(ConcatFromSequence)
def concat(e: Emission, op: ConcatFromSequence) -> None:
    """ConcatFromSequence."""
    e.result("ConcatFromSequence", e.x(), axis=op.axis, new_axis=op.new_axis)


@EMITTERS.of(OptionalConstruct, since=15)
def optional(e: Emission, op: OptionalConstruct) -> None:
    """Without an operand the attribute says what it would hold."""
    if e.given(0):
        e.result("Optional", e.x())
        return
    held = AttributeProto(name="type", type=AttributeProto.TYPE_PROTO)
    put_type(held.tp, op.held[0], Texts())
    e.result("Optional", type=held)


@EMITTERS.of(OptionalHasElement, since=15)
def has_element(e: Emission, op: OptionalHasElement) -> None:
    """Of what is no optional the answer is known: the decomposition is a constant."""
    if not e.given(0) or e.type(0).containers[:1] != (Container.OPTIONAL,):
        raise NotExpressible("the answer is a constant")
    e.result("OptionalHasElement", e.x())


@EMITTERS.of(OptionalGetElement)
def get_element(e: Emission, op: OptionalGetElement) -> None:
    """What is no optional is taken as it is."""
    if e.type(0).containers[:1] != (Container.OPTIONAL,):
        e.alias()
        return
    if e.opset < 15:
        raise NotExpressible("ONNX has optionals from opset 15 on")
    e.result("OptionalGetElement", e.x())
