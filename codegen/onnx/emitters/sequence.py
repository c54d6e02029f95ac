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
    """Before opset 18 the operand must be there, and be an optional."""
    if e.opset >= 18:
        e.result("OptionalHasElement", *e.operands)
    elif not e.given(0):
        raise NotExpressible("ONNX OptionalHasElement has an operand before opset 18")
    else:
        e.result("OptionalHasElement", _as_optional(e))


def _as_optional(e: Emission) -> str:
    if e.type(0).containers[:1] == (Container.OPTIONAL,):
        return e.x()
    return e.op("Optional", e.x(), type=e.type(0).within(Container.OPTIONAL))


@EMITTERS.of(OptionalGetElement)
def get_element(e: Emission, op: OptionalGetElement) -> None:
    """What is no optional is taken as it is."""
    if e.type(0).containers[:1] != (Container.OPTIONAL,):
        e.alias()
        return
    if e.opset < 15:
        raise NotExpressible("ONNX has optionals from opset 15 on")
    e.result("OptionalGetElement", e.x())
