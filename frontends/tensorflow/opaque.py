"""Operators of somebody's own, kept as they are: a SavedModel tells the types of their results.

Such operators are named "Namespace>Operator" (https://www.tensorflow.org/guide/create_op). The model's list of
operators holds their definitions, and its functions record the shapes of all results.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from uair.frontends.tensorflow.graphdef import NodeDef
from uair.frontends.tensorflow.node import TfNode
from uair.frontends.tensorflow.tensors import DTYPES, dtype_name, shape_of
from uair.frontends.tensorflow.wire import Message
from uair.ir.graph import Tensor
from uair.ir.types import TensorType
from uair.ops.custom import Opaque

SHAPES = "_output_shapes"
_MOST_RESULTS = 4096


def operators_of(definitions: Message) -> dict[str, Message]:
    """The definitions in an OpList by the operators' names."""
    return {definition.text(1): definition for definition in definitions.messages(1)}


def result_types(node: NodeDef, operators: Mapping[str, Message]) -> tuple[TensorType, ...] | None:
    """The types of a custom operator's results; None when it is none, or the model does not tell them."""
    definition = operators.get(node.op)
    recorded = node.attributes.get(SHAPES)
    if ">" not in node.op or definition is None or recorded is None:
        return None
    names = [name for argument in definition.messages(3) for name in _dtypes(node, argument)]
    shapes = [shape_of(m) for m in recorded.list.message.messages(7)]
    if len(names) != len(shapes) or not names:
        return None
    types: list[TensorType] = []
    for name, shape in zip(names, shapes, strict=True):
        if name not in DTYPES or shape is None:
            return None
        types.append(TensorType(DTYPES[name], None).with_shape(shape))
    return tuple(types)


def _dtypes(node: NodeDef, argument: Message) -> list[str]:
    """TensorFlow's names of the element types of the results that an argument of a definition stands for."""
    attributes = node.attributes
    if argument.text(6):
        value = attributes.get(argument.text(6))
        return [] if value is None else [dtype_name(number) for number in value.list.message.integers(6)]
    count = 1
    if argument.text(5):
        value = attributes.get(argument.text(5))
        count = 0 if value is None else value.message.integer(3)
    if argument.text(4):
        value = attributes.get(argument.text(4))
        name = "" if value is None else dtype_name(value.message.unsigned(6))
    else:
        name = dtype_name(argument.unsigned(3))
    return [name] * min(max(count, 0), _MOST_RESULTS)


def keep(n: TfNode, types: tuple[TensorType, ...]) -> tuple[Tensor, ...]:
    """The results of an operator that is kept: its name, its node as the file has it, its operands, and its types."""
    domain, _, kind = n.op_type.rpartition(">")
    payload = base64.b64encode(n.proto.content).decode("ascii")
    return n.all(Opaque(domain=domain, kind=kind, payload=payload, result_types=types), *n.tensors())
