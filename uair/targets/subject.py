"""What a constraint can name about a node: attributes, operands, results, and names derived from them.

`names_of` gives the vocabulary of an operator class with types, against which constraints are checked when a
description is loaded; the accessors read the values from a node later. docs/constraint-language.md lists the names.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import attrs
import numpy as np

from uair.ir.dims import Dim, InferredShape, product
from uair.ir.dtype import DType
from uair.ir.graph import Node, Tensor
from uair.ops.base import AttributeKind, Operator, Return, attribute_kinds


@attrs.frozen
class Type:
    """Type of an expression.

    Attributes:
        kind: "bool", "int", "float", "str", "dtype", "tensor", or "none" (the literal; also the element type of []).
        many: whether it is a list of such values.
        choices: the strings that a "str" may be, when they are known.
        literal: whether the strings are written in the constraint itself.
    """

    kind: str
    many: bool = False
    choices: tuple[str, ...] = ()
    literal: bool = False

    @property
    def element(self) -> Type:
        """The type of the elements of a list."""
        return attrs.evolve(self, many=False)

    def list_of(self) -> Type:
        """A list of such values."""
        return attrs.evolve(self, many=True)

    def __str__(self) -> str:
        return f"list of {self.kind}" if self.many else self.kind


BOOL, INT, FLOAT, STR = Type("bool"), Type("int"), Type("float"), Type("str")
DTYPE, TENSOR, NONE = Type("dtype"), Type("tensor"), Type("none")


@attrs.frozen
class Unknown:
    """A value that depends on a size that is not a number yet.

    Attributes:
        text: the size, for messages.
        is_size: whether `text` is the size itself, so that equal texts are equal sizes.
    """

    text: str = "unknown"
    is_size: bool = False

    def __str__(self) -> str:
        return self.text


Accessor = Callable[[Node], Any]


@attrs.frozen
class Term:
    """A name: its type, and how to read its value from a node; None for an omitted operand or unset attribute."""

    type: Type
    read: Accessor


def extent(d: Dim | None) -> int | Unknown:
    """A number, or the symbolic size as an unknown; tensors of a sequence may each have an own size (None)."""
    if d is None:
        return Unknown("a size of its own in every tensor")
    return d if isinstance(d, int) else Unknown(str(d), is_size=True)


# --------------------------------------------------------------------------- members of tensors
def _shape(t: Tensor) -> Any:
    return Unknown("unknown rank") if t.type.shape is None else tuple(extent(d) for d in t.type.shape)


def _rank(t: Tensor) -> Any:
    return Unknown("unknown rank") if t.type.shape is None else len(t.type.shape)


def _elements(t: Tensor) -> Any:
    if t.type.shape is None:
        return Unknown("unknown rank")
    extents = cast(InferredShape, t.type.shape)
    return extent(None if None in extents else product(t.type.shape))


def _value(t: Tensor) -> Any:
    if t.data is None or t.data.size != 1 or not (t.type.dtype.is_float or t.type.dtype.is_integer):
        return None
    return float(np.asarray(t.numpy()).reshape(-1)[0])


def _is_zero(t: Tensor) -> Any:
    return t.is_constant and t.type.dtype.bits > 0 and not np.asarray(t.numpy()).any()


MEMBERS: Mapping[str, tuple[Type, Callable[[Tensor], Any]]] = {
    "dtype": (DTYPE, lambda t: t.type.dtype),
    "shape": (INT.list_of(), _shape),
    "rank": (INT, _rank),
    "elements": (INT, _elements),
    "is_constant": (BOOL, lambda t: t.is_constant),
    "value": (FLOAT, _value),
    "is_zero": (BOOL, _is_zero),
}
"""What stands behind the dot of an operand or result. `value` is that of a constant of one element, none otherwise;
`is_zero` says whether it is a constant without an element that differs from 0."""


# --------------------------------------------------------------------------------- the vocabulary
def names_of(cls: type[Operator]) -> Mapping[str, Term]:
    """Every name that a constraint on this operator may use. An attribute hides an operand of the same name."""
    names: Mapping[str, Term] = _names_of(cast(Any, cls))  # mypy takes the hash of instances for that of the class
    return names


@functools.cache
def _names_of(cls: type[Operator]) -> Mapping[str, Term]:
    names: dict[str, Term] = {}
    names.update(_common())
    names.update(_window_names(cls))
    if cls.__name__ in ("Expand", "Tile"):
        names["repeated_axes"] = Term(INT, _repeated_axes)
    names.update(_result_names(cls))
    for i, param in enumerate(cls.params):
        names[param.name] = _operand(i, variadic=param.variadic)
    for name, kind in attribute_kinds(cls).items():
        if (type_ := _attribute_type(kind)) is not None:
            names[name] = Term(type_, _attribute_reader(name, kind))
    return names


_ATTRIBUTE_TYPES = {
    "int": INT,
    "float": FLOAT,
    "bool": BOOL,
    "str": STR,
    "choice": STR,
    "dtype": DTYPE,
    "layout": STR,
    "ints": INT.list_of(),
    "floats": FLOAT.list_of(),
    "strs": STR.list_of(),
    "shape": INT.list_of(),
}


def _attribute_type(kind: AttributeKind) -> Type | None:
    type_ = _ATTRIBUTE_TYPES.get(kind.base)
    return attrs.evolve(type_, choices=kind.choices) if type_ is not None and kind.choices else type_


def _attribute_reader(name: str, kind: AttributeKind) -> Accessor:
    def read(node: Node) -> Any:
        value = getattr(node.op, name)
        if value is None:
            return None
        if kind.base == "shape":
            return tuple(extent(d) for d in value)
        return value.name if kind.base == "layout" else value

    return read


def _operand(i: int, *, variadic: bool) -> Term:
    if variadic:
        return Term(TENSOR.list_of(), lambda node: tuple(node.inputs[i:]))
    return Term(TENSOR, lambda node: node.inputs[i] if i < len(node.inputs) else None)


def _result_names(cls: type[Operator]) -> Mapping[str, Term]:
    names = {"results": Term(TENSOR.list_of(), lambda node: node.outputs)}
    for i, name in enumerate(cls.results):
        names[name] = Term(TENSOR, _result(i))
    return names


def _result(i: int) -> Accessor:
    return lambda node: node.outputs[i] if i < len(node.outputs) else None


# ---------------------------------------------------------------------------------- derived names
def _common() -> Mapping[str, Term]:
    return {
        "quantized": Term(BOOL, is_quantized),
        "dynamic": Term(BOOL, lambda node: any(not t.type.is_static for t in _tensors(node))),
        "max_rank": Term(INT, _max_rank),
        "max_batch": Term(INT, lambda node: _greatest(node, lambda shape: shape[:1] if len(shape) >= 4 else ())),
        "max_extent": Term(INT, lambda node: _greatest(node, lambda shape: shape)),
        "max_elements": Term(INT, lambda node: _greatest(node, _product)),
        "users": Term(STR.list_of(), _users),
        "operand_count": Term(INT, lambda node: sum(t is not None for t in node.inputs)),
    }


def _tensors(node: Node) -> list[Tensor]:
    return [*(t for t in node.inputs if t is not None), *node.outputs]


def _max_rank(node: Node) -> Any:
    ranks = [_rank(t) for t in _tensors(node)]
    return next((r for r in ranks if isinstance(r, Unknown)), max(ranks, default=0))


def _greatest(node: Node, extents_of: Callable[[Sequence[Any]], Sequence[Any]]) -> Any:
    """The greatest of some extents of the operands and results that are not constant."""
    found: list[Any] = []
    for tensor in _tensors(node):
        if not tensor.is_constant:
            shape = _shape(tensor)
            found += [shape] if isinstance(shape, Unknown) else extents_of(shape)
    open_ = [extent for extent in found if isinstance(extent, Unknown)]
    return open_[0] if open_ else max(found, default=0)


def _product(shape: Sequence[Any]) -> Sequence[Any]:
    """The number of elements, or the extents of which it is not known."""
    open_ = [d for d in shape if isinstance(d, Unknown)]
    return open_ or (math.prod(shape),)


def _repeated_axes(node: Node) -> Any:
    """Number of axes along which an Expand or Tile repeats its operand."""
    if node.inputs[0] is None:
        return Unknown()
    old, new = _shape(node.inputs[0]), _shape(node.outputs[0])
    if isinstance(old, Unknown) or isinstance(new, Unknown):
        return Unknown("unknown rank")
    old = (1,) * (len(new) - len(old)) + tuple(old)
    open_ = [d for d in (*old, *new) if isinstance(d, Unknown)]
    return open_[0] if open_ else sum(before != after for before, after in zip(old, new, strict=True))


def _users(node: Node) -> tuple[str, ...]:
    """Operators that read a result, each once; an output of the graph is none."""
    found = (user.op_type for tensor in node.outputs for user in tensor.users if not isinstance(user.op, Return))
    return tuple(dict.fromkeys(found))


def is_quantized(node: Node) -> bool:
    """Whether the node is computed in integers of a quantized model.

    Either it takes integers of at most 8 bits itself, or all its float operands that are not constants come from
    Dequantize and there is at least one.
    """
    moving = [t for t in node.inputs if t is not None and not t.is_constant]
    if any(t.type.dtype.is_integer and t.type.dtype.bits <= 8 for t in moving):
        return True
    floats = [t for t in moving if t.type.dtype.is_float]
    return bool(floats) and all(t.producer is not None and t.producer.op_type == "Dequantize" for t in floats)


_AXES = {1: "w", 2: "hw", 3: "dhw"}
_SIDES = {"d": ("front", "back"), "h": ("top", "bottom"), "w": ("left", "right")}


def _window_names(cls: type[Operator]) -> Mapping[str, Term]:
    """Names per spatial axis of convolutions and pooling: stride_h, pad_top, dilation_w, kernel_h, channels."""
    n = getattr(cls, "spatial_rank", 0)
    if not n or "strides" not in attribute_kinds(cls):
        return {}
    kernel: Accessor = (lambda node: node.attributes["kernel"]) if "kernel" in attribute_kinds(cls) else _weight_kernel
    names = {"kernel": Term(INT.list_of(), kernel)}
    for i, axis in enumerate(_AXES[n]):
        names[f"kernel_{axis}"] = Term(INT, _at(kernel, i))
        names[f"stride_{axis}"] = Term(INT, _at(lambda node: node.attributes["strides"], i))
        names[f"dilation_{axis}"] = Term(INT, _at(lambda node: node.attributes["dilations"], i))
        begin, end = _SIDES[axis]
        names[f"pad_{begin}"] = Term(INT, _at(lambda node: node.attributes["pads"], i))
        names[f"pad_{end}"] = Term(INT, _at(lambda node: node.attributes["pads"], n + i))
        names[f"in_{axis}"] = Term(INT, _extent_at(lambda node: node.inputs[0], 2 + i))
        names[f"out_{axis}"] = Term(INT, _extent_at(lambda node: node.outputs[0], 2 + i))
    names["in_channels"] = Term(INT, _extent_at(lambda node: node.inputs[0], 1))
    names["out_channels"] = Term(INT, _extent_at(lambda node: node.outputs[0], 1))
    if "groups" in attribute_kinds(cls):
        names["depthwise"] = Term(BOOL, _is_depthwise)
    return names


def _weight_kernel(node: Node) -> Any:
    weight = node.inputs[1]
    shape = _shape(weight) if weight is not None else Unknown()
    return shape if isinstance(shape, Unknown) else shape[2:]


def _at(sequence: Callable[[Any], Any], i: int) -> Accessor:
    def read(node: Node) -> Any:
        values: Sequence[Any] | Unknown = sequence(node)
        return values if isinstance(values, Unknown) else values[i]

    return read


def _extent_at(tensor: Callable[[Node], Tensor | None], axis: int) -> Accessor:
    def read(node: Node) -> Any:
        found = tensor(node)
        shape = _shape(found) if found is not None else Unknown()
        return shape if isinstance(shape, Unknown) else shape[axis]

    return read


def _is_depthwise(node: Node) -> Any:
    op: Any = node.op
    channels = _extent_at(lambda n: n.inputs[0], 1)(node)
    return channels if isinstance(channels, Unknown) else op.groups > 1 and op.groups == channels


DTYPE_NAMES: Mapping[str, DType] = {d.value: d for d in DType}
"""Element types are written bare: `x.dtype in [i8, f16]`."""
