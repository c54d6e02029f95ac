"""Sequences of tensors, and values that may be missing.

A sequence's value is a Python list of arrays, an optional's is what it holds or None. Operators never change a list
that they are given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import Dim, InferredShape
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import Container, TensorType, inferred
from uair.ops.base import (
    Operator,
    Results,
    Sample,
    Types,
    Values,
    bad,
    case,
    normalize_axis,
    operator,
    ranked,
    require,
    require_tensors,
)
from uair.ops.control import joined

FAMILY = "sequence"


class Containers(Operator):
    """An operator whose operands or results may be sequences or optionals."""

    takes_containers = True


def _sequence(t: TensorType, name: str = "sequence") -> TensorType:
    """The type of a sequence's elements."""
    require(t.containers[:1] == (Container.SEQUENCE,), "{} must be a sequence, it is {}", name, t)
    return t.inner


def _require_position(t: TensorType | None) -> None:
    if t is not None:
        fits = t.dtype in (DType.I32, DType.I64) and not t.containers and t.shape in ((), (1,), None)
        require(fits, "the position must be one i32 or i64, it is {}", t)


def _position(value: Array, size: int, end: int) -> int:
    """A place in a sequence, counted from the end when negative."""
    position = int(value.reshape(-1)[0])
    if not -size <= position < end:
        raise EvaluationError(f"position {position} is outside of a sequence of {size}")
    return position + size if position < 0 else position


@operator(inputs="tensors*", family=FAMILY)
class SequenceConstruct(Containers):
    """The sequence of the operands, which share an element type. Source: ONNX SequenceConstruct, SequenceEmpty.

    Attributes:
        dtype: element type of an empty sequence; not looked at when there are operands.
    """

    dtype: DType = DType.F32

    def infer(self, *tensors: TensorType) -> Results:
        require_tensors(tensors)
        if not tensors:
            return inferred(self.dtype, None).within(Container.SEQUENCE)
        element = tensors[0]
        for t in tensors[1:]:
            element = joined(element, t, "an element of the sequence")
        return element.within(Container.SEQUENCE)

    def evaluate(self, *tensors: Array) -> Any:
        return list(tensors)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(dtype=DType.I64))
        yield case(cls(), "f32[2,3]", "f32[2,4]")
        yield case(cls(), "i8[2]")
        yield bad(cls(), "f32[2]", "f64[2]", because="is f32[2] or f64[2]")


@operator(inputs="sequence tensor position?", family=FAMILY)
class SequenceInsert(Containers):
    """The sequence with a tensor put in before `position`, or at the end.

    position: one i32 or i64, from -n to n; negative ones count from the end. Source: ONNX SequenceInsert.
    """

    def infer(self, sequence: TensorType, tensor: TensorType, position: TensorType | None = None) -> Results:
        element = _sequence(sequence)
        require_tensors([tensor])
        _require_position(position)
        return joined(element, tensor, "an element of the sequence").within(Container.SEQUENCE)

    def evaluate(self, sequence: list[Array], tensor: Array, position: Array | None = None) -> Any:
        at = len(sequence) if position is None else _position(position, len(sequence), len(sequence) + 1)
        return [*sequence[:at], tensor, *sequence[at:]]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "seq<f32[?,3]>", "f32[2,3]")
        yield case(cls(), "seq<f32[2]>", "f32[3]", np.array(0, np.int64))
        yield bad(cls(), "seq<f32[2]>", "i32[2]", because="is f32[2] or i32[2]")
        yield bad(cls(), "f32[2]", "f32[2]", because="must be a sequence")
        yield bad(cls(), "seq<f32[2]>", "f32[2]", "f32[]", because="must be one i32 or i64")


@operator(inputs="sequence position?", family=FAMILY)
class SequenceErase(Containers):
    """The sequence without the tensor at `position` (one i32 or i64), or without the last one. Source: ONNX."""

    def infer(self, sequence: TensorType, position: TensorType | None = None) -> Results:
        element = _sequence(sequence)
        _require_position(position)
        return element.within(Container.SEQUENCE)

    def evaluate(self, sequence: list[Array], position: Array | None = None) -> Any:
        last = np.asarray(-1) if position is None else position
        at = _position(last, len(sequence), len(sequence))
        return [*sequence[:at], *sequence[at + 1 :]]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "seq<f32[?,3]>")
        yield case(cls(), "seq<f32[2]>", np.array([-2], np.int32))
        yield bad(cls(), "opt<f32[2]>", because="must be a sequence")


@operator(inputs="sequence position", family=FAMILY)
class SequenceAt(Containers):
    """The tensor at `position` (one i32 or i64) of a sequence; negative ones count from the end. Source: ONNX."""

    def infer(self, sequence: TensorType, position: TensorType) -> Results:
        element = _sequence(sequence)
        _require_position(position)
        return element

    def evaluate(self, sequence: list[Array], position: Array) -> Any:
        return sequence[_position(position, len(sequence), len(sequence))]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "seq<f32[?,3]>", np.array(1, np.int64))
        yield case(cls(), "seq<string[]>", np.array(-1, np.int64))
        yield bad(cls(), "f32[2]", "i64[]", because="must be a sequence")


@operator(inputs="sequence", family=FAMILY)
class SequenceLength(Containers):
    """Number of tensors in a sequence, a scalar i64. Source: ONNX SequenceLength."""

    def infer(self, sequence: TensorType) -> Results:
        _sequence(sequence)
        return TensorType(DType.I64, ())

    def evaluate(self, sequence: list[Array]) -> Values:
        return np.asarray(len(sequence), np.int64)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "seq<f32[?,3]>")
        yield bad(cls(), "f32[2]", because="must be a sequence")


@operator(inputs="x sizes?", family=FAMILY)
class SplitToSequence(Containers):
    """The sequence of the parts of x along `axis`.

    sizes: a scalar, the extent of every part but possibly the last, or a vector of all extents, i32 or i64. Without it
    every part has extent 1, and `keepdims` says whether the axis stays.
    An axis without elements has no parts unless sizes says so. Source: ONNX SplitToSequence, onnxruntime.
    """

    axis: int = 0
    keepdims: bool = True

    def infer(self, x: TensorType, sizes: TensorType | None = None) -> Results:
        require_tensors([x, sizes])
        if x.shape is None:
            return x.with_shape(None).within(Container.SEQUENCE)
        axis = normalize_axis(self.axis, len(x.shape))
        require(x.shape, "a scalar cannot be split")
        extent: tuple[Dim | None, ...] = (None,)
        if sizes is None:
            extent = (1,) if self.keepdims else ()
        else:
            require(sizes.dtype in (DType.I32, DType.I64), "sizes must be i32 or i64, they are {}", sizes)
            require(len(ranked(sizes, "sizes")) <= 1, "sizes must be a scalar or a vector, they are {}", sizes)
        return x.with_shape((*x.shape[:axis], *extent, *x.shape[axis + 1 :])).within(Container.SEQUENCE)

    def evaluate(self, x: Array, sizes: Array | None = None) -> Any:
        axis = self.axis % x.ndim
        extent = x.shape[axis]
        if sizes is None:
            parts = [x.take([i], axis) for i in range(extent)]
            return parts if self.keepdims else [p.squeeze(axis) for p in parts]
        if sizes.ndim == 0:
            step = int(sizes)
            if step < 1:
                raise EvaluationError(f"SplitToSequence into parts of {step}")
            starts = list(range(0, extent, step))
        else:
            if int(sizes.sum()) != extent or (sizes < 0).any():
                raise EvaluationError(f"SplitToSequence of extent {extent} into {sizes.tolist()}")
            starts = (np.cumsum(sizes) - sizes).tolist()
        parts = np.split(x, starts, axis)[1:]  # what is in front of the first start is empty
        return [np.ascontiguousarray(p) for p in parts]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(axis=1), "f32[2,3]")
        yield case(cls(axis=-1, keepdims=False), "f32[2,3]")
        yield case(cls(), "f32[5,3]", np.array(2, np.int64))
        yield case(cls(), "f32[5,3]", np.array([2, 3], np.int64))
        yield case(cls(), "f32[5,3]", np.array([0, 5, 0], np.int64))
        yield bad(cls(axis=2), "f32[2,3]", because="out of range")
        yield bad(cls(), "f32[2,3]", "f32[]", because="must be i32 or i64")


@operator(inputs="sequence", family=FAMILY)
class ConcatFromSequence(Containers):
    """The tensors of a sequence one behind the other along `axis`, or stacked along a new one.

    Source: ONNX ConcatFromSequence.

    Attributes:
        axis: of the result.
        new_axis: whether the axis is new.
    """

    axis: int = 0
    new_axis: bool = False

    def infer(self, sequence: TensorType) -> Results:
        element = _sequence(sequence)
        shape: InferredShape | None = element.shape
        if shape is None:
            return element.with_shape(None)
        axis = normalize_axis(self.axis, len(shape) + self.new_axis)
        require(shape or self.new_axis, "scalars need a new axis")
        return element.with_shape((*shape[:axis], None, *shape[axis + (not self.new_axis) :]))

    def evaluate(self, sequence: list[Array]) -> Values:
        if not sequence:
            raise EvaluationError("ConcatFromSequence of an empty sequence")
        return np.stack(sequence, self.axis) if self.new_axis else np.concatenate(sequence, self.axis)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "seq<f32[2,3]>")
        yield case(cls(axis=-1, new_axis=True), "seq<f32[2,3]>")
        yield bad(cls(axis=2), "seq<f32[2,3]>", because="out of range")
        yield bad(cls(), "f32[2]", because="must be a sequence")


@operator(inputs="value?", family=FAMILY)
class OptionalConstruct(Containers):
    """An optional that holds the operand, or nothing. Source: ONNX Optional.

    Attributes:
        held: the type of what an optional without operand would hold.
    """

    held: Types = ()

    def infer(self, value: TensorType | None = None) -> Results:
        require(value is not None or len(self.held) == 1, "an empty optional needs the type that it would hold")
        return (self.held[0] if value is None else value).within(Container.OPTIONAL)

    def evaluate(self, value: Any = None) -> Any:
        return value

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2]")
        yield case(cls(), "seq<f32[2]>")
        yield case(cls(held=(TensorType(DType.I64, (3,)),)))
        yield bad(cls(), because="needs the type")


@operator(inputs="x?", family=FAMILY)
class OptionalHasElement(Containers):
    """Whether an optional holds something, a bool scalar; true of a tensor or sequence, false without operand.

    Source: ONNX OptionalHasElement 18.
    """

    def infer(self, x: TensorType | None = None) -> Results:
        return TensorType(DType.BOOL, ())

    def evaluate(self, x: Any = None) -> Values:
        return np.asarray(x is not None)

    def decompose(self, x: Tensor | None = None) -> Tensor | None:
        if x is not None and x.type.containers[:1] == (Container.OPTIONAL,):
            return None
        return constant(np.asarray(x is not None))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "opt<f32[2]>")
        yield case(cls(), "seq<f32[2]>")
        yield case(cls())
        yield bad(cls(), "f32[2]", "f32[2]", because="at most 1")


@operator(inputs="x", family=FAMILY)
class OptionalGetElement(Containers):
    """What an optional holds; a tensor or sequence is given back as it is. Source: ONNX 18."""

    def infer(self, x: TensorType) -> Results:
        return x.inner if x.containers[:1] == (Container.OPTIONAL,) else attrs.evolve(x)

    def evaluate(self, x: Any) -> Any:
        if x is None:
            raise EvaluationError("the optional holds nothing")
        return x

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "opt<f32[2]>")
        yield case(cls(), "opt<seq<i8[?]>>")
        yield case(cls(), "f32[2]")
        yield bad(cls(), because="needs operand")
