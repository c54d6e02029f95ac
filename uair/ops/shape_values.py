"""What is known of shape computations without running the model.

`ShapeValues` finds the values of small integer tensors, symbolic where sizes are; `resolve_operands` puts them into the
attributes of operators that take a shape, bounds or a count as operand or as attribute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import attrs
import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import (
    Dim,
    InferredShape,
    any_integer,
    ceil_div,
    is_static,
    is_tractable,
    maximum,
    may_be_one,
    normal,
    static,
)
from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor
from uair.ir.types import TensorType, inferred
from uair.ops._symbolic import Unknown, shape_of
from uair.ops.base import Operator, attribute_kinds
from uair.ops.conversion import Cast
from uair.ops.indexing import OneHot, TopK
from uair.ops.reduction import Reduction
from uair.ops.shape import Range, Reshape, ShapeOf, SizeOf, Slice, Split, Squeeze, Unsqueeze

LARGEST = 64
"""Elements of the largest tensor whose value is tracked."""

_FOLLOWED = frozenset(d for d in DType if d is DType.BOOL or (d.is_integer and d.bits >= 8))


class ShapeValues:
    """Values of integer and bool tensors of at most 64 elements, as object arrays of ints, bools and symbolic sizes.

    They come from constants, from ShapeOf and SizeOf (the operand's type says what it gives), and from operators with
    `shape_arithmetic` applied to values that are known at least in part. Each tensor is computed once, when asked for:
    a tensor keeps its value while a graph is rewritten. Types that become more precise later are not seen by values
    computed before.
    """

    def __init__(self) -> None:
        self._values: dict[Tensor, Array | None] = {}

    def known(self, tensor: Tensor) -> Array | None:
        """The tensor's value, or None when some of it is not known."""
        value = self.partial(tensor)
        return None if value is None or any(isinstance(v, Unknown) for v in value.reshape(-1).tolist()) else value

    def partial(self, tensor: Tensor) -> Array | None:
        """The tensor's value with `Unknown` in it; None when not even its shape is known."""
        pending = [tensor]
        while pending:
            current = pending[-1]
            if current in self._values:
                pending.pop()
                continue
            missing = [t for t in _sources(current) if t not in self._values]
            if missing:
                pending.extend(missing)
                continue
            pending.pop()
            self._compute(current)
        return self._values[tensor]

    def dims(self, tensor: Tensor) -> tuple[Dim, ...] | None:
        """The elements of a known tensor in row-major order, as a shape."""
        value = self.known(tensor)
        return None if value is None else shape_of(value)

    def _compute(self, tensor: Tensor) -> None:
        """Record the value of a tensor whose sources are recorded, and of the other results of its producer."""
        self._values[tensor] = _unknown(tensor.type)
        if not _may_be_known(tensor.type):
            return
        if tensor.data is not None:
            self._values[tensor] = _objects(tensor.data.array())
        elif tensor.producer is not None and tensor.producer.op.shape_arithmetic:
            for result, value in zip(tensor.producer.outputs, self._results(tensor.producer), strict=False):
                if _may_be_known(result.type):
                    self._values[result] = _unknown(result.type) if value is None else value

    def _results(self, node: Node) -> Sequence[Array | None]:
        op = node.op
        if isinstance(op, (ShapeOf, SizeOf)):
            return [_size_value(op, cast(Tensor, node.inputs[0]).type)]
        operands = [None if t is None else self._values[t] for t in node.inputs]
        if any(value is None and t is not None for value, t in zip(operands, node.inputs, strict=True)):
            return ()
        try:
            results = op.evaluate_all(operands)
        except (EvaluationError, ValueError, IndexError):  # a size decides, or it is wrong: running the model tells
            return ()
        return [_tractable(r) for r in results]


def _tractable(result: Array) -> Array | None:
    """A result as objects, numbers that are too large unknown; None when it has too many."""
    if result.size > LARGEST:
        return None
    elements = _objects(result).reshape(-1).tolist()
    return _object_array(
        [v if isinstance(v, Unknown) or is_tractable(v) else Unknown() for v in elements], result.shape
    )


def _unknown(t: TensorType) -> Array | None:
    """A value of which only the shape is known."""
    if not t.is_static or not _may_be_known(t):
        return None
    return _object_array([Unknown() for _ in range(t.size)], static(t.dims))


def _sources(tensor: Tensor) -> list[Tensor]:
    """The tensors whose values decide this one's."""
    node = tensor.producer
    if node is None or not node.op.shape_arithmetic or isinstance(node.op, (ShapeOf, SizeOf)):
        return []
    if not _may_be_known(tensor.type):
        return []
    return [t for t in node.inputs if t is not None]


def _may_be_known(t: TensorType) -> bool:
    return t.dtype in _FOLLOWED and t.shape is not None and (not is_static(t.shape) or t.size <= LARGEST)


def _size_value(op: ShapeOf | SizeOf, t: TensorType) -> Array | None:
    if t.shape is None:
        return None
    if isinstance(op, ShapeOf):
        extents = t.shape[op.start : op.end]
        return _object_array(extents, (len(extents),))
    total: Dim = 1
    for d in t.shape:
        total = total * d
    return _object_array([total], ())


def _objects(array: Array) -> Array:
    """The array as Python objects."""
    return array if array.dtype == object else _object_array(array.reshape(-1).tolist(), array.shape)


def _object_array(values: Sequence[Any], shape: tuple[int, ...]) -> Array:
    result = np.empty(len(values), object)
    result[:] = list(values)
    return result.reshape(shape)


# --------------------------------------------------------------- operands to attributes
def resolve_operands(
    op: Operator, inputs: Sequence[Tensor | None], values: ShapeValues
) -> tuple[Operator, tuple[Tensor | None, ...]]:
    """The operator with what is known of its operands as attributes, and the operands that are left.

    It concerns every operand that may be omitted and has an attribute of the same name: Reshape.shape, Slice.starts,
    Pad.value, TopK.k, ReduceSum.axes and so on. What x's type decides is settled too: a Reshape's -1 becomes the extent
    it stands for, axes count from the beginning. The same `op` object is returned when nothing changes.
    """
    kinds = attribute_kinds(type(op))
    if not kinds:
        return op, op.normalize_operands(inputs)
    remaining = list(inputs)
    changes: dict[str, Any] = {}
    for i, param in enumerate(op.params[: len(remaining)]):
        tensor = remaining[i]
        if tensor is None or not param.optional or param.name not in kinds:
            continue
        value = _attribute(kinds[param.name].base, tensor, values)
        if value is not None:
            changes[param.name] = value
            remaining[i] = None
    while remaining and remaining[-1] is None:
        remaining.pop()
    if "sizes" in changes and isinstance(op, Split):
        changes["parts"] = None
    new = attrs.evolve(cast(Any, op), **changes) if changes else op
    x = remaining[0] if remaining else None
    if x is not None and x.type.shape is not None:
        new = _settled(new, x.type, len(remaining) == 1)
    return new, tuple(remaining)


def infer_with_values(op: Operator, inputs: Sequence[Tensor | None], values: ShapeValues) -> tuple[TensorType, ...]:
    """Result types, with what operands that are known, or known in part, say of extents that `infer` leaves open."""
    given = [None if t is None else t.type for t in inputs]
    types = op.infer_types(given)
    if all([t.is_static for t in types]) or not any(None in cast("InferredShape", t.shape or ()) for t in types):
        return types
    if isinstance(op, (Range, OneHot, TopK)):
        return _counted(op, inputs, types, values)
    kinds, changes, names = attribute_kinds(type(op)), dict[str, Any](), dict[Unknown, Dim]()
    for i, (param, tensor) in enumerate(zip(op.params, inputs, strict=False)):
        found = None
        if tensor is not None and param.optional and param.name in kinds and kinds[param.name].base == "shape":
            found = values.partial(tensor)
        elements = [] if found is None else found.reshape(-1).tolist()
        if not all(isinstance(v, Unknown) for v in elements):
            changes[param.name] = tuple(_named(v, names) for v in elements)
            given[i] = None
    if not changes:
        return types
    if isinstance(op, Split):
        changes["parts"] = None
    sharper = cast(Operator, attrs.evolve(cast(Any, op), **changes)).infer_types(given)
    hidden = {symbol for name in names.values() for symbol in cast(Any, name).free_symbols}
    return tuple(_without(t, hidden) for t in sharper)


def _named(value: Any, names: dict[Unknown, Dim]) -> Dim:
    """An element of a shape; an unknown one is a symbol of its own, of either sign."""
    if not isinstance(value, Unknown):
        return cast(Dim, value)
    if value not in names:
        names[value] = any_integer(f"?{len(names)}")
    return names[value]


def _without(t: TensorType, hidden: set[Any]) -> TensorType:
    """A type with extents left open that mention one of some symbols."""
    if t.shape is None:
        return t
    known = cast("InferredShape", t.shape)
    shape = tuple(d if d is None or isinstance(d, int) or not d.free_symbols & hidden else None for d in known)
    return inferred(t.dtype, shape)


def _counted(
    op: Range | OneHot | TopK, inputs: Sequence[Tensor | None], types: tuple[TensorType, ...], values: ShapeValues
) -> tuple[TensorType, ...]:
    """Types with the one extent that a number says, which may be symbolic."""
    operands = inputs if isinstance(op, Range) else inputs[1:2]
    counts = [c for c in (None if t is None else _number(t, values) for t in operands) if c is not None]
    if len(counts) < len(operands):
        return types
    count = _steps(*counts) if isinstance(op, Range) else counts[0]
    if count is None or isinstance(count, float):
        return types
    if not is_tractable(count):
        return types
    shapes = [cast("InferredShape", t.shape or ()) for t in types]
    return tuple(
        inferred(t.dtype, tuple(count if d is None else d for d in shape))
        for t, shape in zip(types, shapes, strict=True)
    )


def _number(tensor: Tensor, values: ShapeValues) -> Dim | float | None:
    """The one element of a tensor: a size, or a number that is none; None when it is not known."""
    node = tensor.producer
    if node is not None and isinstance(node.op, Cast) and tensor.type.dtype in (DType.F32, DType.F64):
        tensor = cast(Tensor, node.inputs[0])  # of an integer; sizes are far below 2^24
    if tensor.data is not None and tensor.data.size == 1 and tensor.type.dtype.is_float:
        value = float(tensor.numpy().reshape(-1)[0])
        return int(value) if value.is_integer() else value
    found = values.dims(tensor)
    return found[0] if found is not None and len(found) == 1 else None


def _steps(start: Dim | float, limit: Dim | float, delta: Dim | float) -> Dim | None:
    """How many numbers a Range has; None where only running it tells."""
    if isinstance(start, float) or isinstance(limit, float) or isinstance(delta, float):
        numbers = [n for n in (start, limit, delta) if isinstance(n, (int, float))]
        if len(numbers) < 3 or delta == 0:
            return None
        span = (numbers[1] - numbers[0]) / numbers[2]
        return max(math.ceil(span), 0) if math.isfinite(span) else None
    if not isinstance(delta, int) or delta == 0:
        return None
    return maximum(0, ceil_div(normal(limit - start) if delta > 0 else normal(start - limit), abs(delta)))


def resolve_constants(op: Operator, inputs: Sequence[Tensor | None]) -> Operator:
    """The operator with constant operands as attributes; computed ones are left alone however much is known."""
    if not any(t is not None and p.optional and t.is_constant for p, t in zip(op.params, inputs, strict=False)):
        return op
    given = [t if t is None or t.is_constant else Tensor(t.type) for t in inputs]
    return resolve_operands(op, given, ShapeValues())[0]


def _attribute(base: str, tensor: Tensor, values: ShapeValues) -> Any:
    """The value of an operand as an attribute of kind `base`; None when it is not known."""
    if base == "floats":
        return tuple(tensor.numpy().astype(np.float64).reshape(-1).tolist()) if _is_small_constant(tensor) else None
    if base == "float":
        return _exact_number(tensor)
    found = values.dims(tensor)
    if base == "shape" or found is None:
        return found
    if not is_static(found):
        return None
    return found[0] if base == "int" and len(found) == 1 else found if base == "ints" else None


def _exact_number(tensor: Tensor) -> float | None:
    """The value of a constant of one element that a float holds exactly."""
    if tensor.data is None or tensor.data.size != 1 or tensor.type.dtype in (DType.STRING, DType.C64, DType.C128):
        return None
    value = tensor.numpy().reshape(-1)[0]
    number = float(value)
    return number if not tensor.type.dtype.is_integer or int(number) == int(value) else None


def _is_small_constant(tensor: Tensor) -> bool:
    return tensor.data is not None and tensor.data.size <= LARGEST


def _settled(op: Operator, x: TensorType, alone: bool) -> Operator:
    """The operator with what x's type decides; `alone`: all else that decides its result is in its attributes."""
    if isinstance(op, Reshape):
        if op.shape is None or not any(isinstance(d, int) and d == -1 for d in op.shape):
            return op
        (result,) = op.infer_types([x])
        return Reshape(shape=result.shape)
    if isinstance(op, Squeeze) and op.axes is None and alone:
        ones = tuple(i for i, d in enumerate(x.dims) if d == 1)
        return op if any(d != 1 and may_be_one(d) for d in x.dims) else Squeeze(axes=ones)
    if isinstance(op, (Squeeze, Unsqueeze, Slice, Reduction)) and op.axes is not None and any(a < 0 for a in op.axes):
        rank = x.rank + (len(op.axes) if isinstance(op, Unsqueeze) else 0)
        if all(-rank <= a < rank for a in op.axes):
            return cast(Operator, attrs.evolve(cast(Any, op), axes=tuple(a % rank for a in op.axes)))
    return op
