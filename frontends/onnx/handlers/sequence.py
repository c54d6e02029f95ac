"""Sequences and optionals."""

from __future__ import annotations

from uair.frontends.onnx.interface import value_type
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.frontends.onnx.tensors import dtype_of
from uair.ir.dtype import DType
from uair.ir.types import Container
from uair.ops import (
    ConcatFromSequence,
    Identity,
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

FAMILY = Family()


@FAMILY.op("SequenceEmpty", 11)
def _empty(n: OnnxNode) -> Result:
    code = n.attributes.integer("dtype", None)
    return n(SequenceConstruct(dtype=DType.F32 if code is None else dtype_of(code, n.place)))


@FAMILY.op("SequenceConstruct", 11)
def _construct(n: OnnxNode) -> Result:
    return n(SequenceConstruct(), *n.present())


@FAMILY.op("SequenceInsert", 11)
def _insert(n: OnnxNode) -> Result:
    return n(SequenceInsert(), n[0], n[1], n.optional(2))


@FAMILY.op("SequenceErase", 11)
def _erase(n: OnnxNode) -> Result:
    return n(SequenceErase(), n[0], n.optional(1))


@FAMILY.op("SequenceAt", 11)
def _at(n: OnnxNode) -> Result:
    return n(SequenceAt(), n[0], n[1])


@FAMILY.op("SequenceLength", 11)
def _length(n: OnnxNode) -> Result:
    return n(SequenceLength(), n[0])


@FAMILY.op("SplitToSequence", 11, 24)
def _split(n: OnnxNode) -> Result:
    """`keepdims` counts only when no sizes are given."""
    op = SplitToSequence(axis=n.attributes.integer("axis", 0), keepdims=n.attributes.flag("keepdims", True))
    return n(op, n[0], n.optional(1))


@FAMILY.op("ConcatFromSequence", 11)
def _concat(n: OnnxNode) -> Result:
    n.attributes.required("axis")
    op = ConcatFromSequence(axis=n.attributes.integer("axis", 0), new_axis=n.attributes.flag("new_axis"))
    return n(op, n[0])


@FAMILY.op("Optional", 15, 28)
def _optional(n: OnnxNode) -> Result:
    """Without an operand, the attribute says what the optional would hold."""
    value = n.optional(0)
    if value is not None:
        return n(OptionalConstruct(), value)
    n.attributes.required("type")
    held = value_type(n.attributes.type("type"), n.op_type, n.importer.names, n.place)
    if held is None:
        n.refuse("the attribute 'type' names no type")
    # the type as it is inside of a container, where sizes have no names
    return n(OptionalConstruct(held=(held.within(Container.OPTIONAL).inner,)))


@FAMILY.op("OptionalHasElement", 15, 18, 28)
def _has(n: OnnxNode) -> Result:
    return n(OptionalHasElement(), n.optional(0))


@FAMILY.op("OptionalGetElement", 15, 18, 28)
def _get(n: OnnxNode) -> Result:
    x = n[0]
    return n(OptionalGetElement() if x.type.containers[:1] == (Container.OPTIONAL,) else Identity(), x)
