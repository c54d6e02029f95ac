"""What a kernel computes, in the words that all of its emitters share.

A program runs over an *iteration space*, a few axes with their extents. Every value lies along some of the axes, in
their order; a value without axes is one number. Nothing is implied: operands of a step have the axes and the element
type of its result, numbers are broadcast by a step, conversions are steps. Axes of extent 1 do not exist, and
neighbouring axes that no value tells apart are one, so that most programs have one or two axes whatever the rank of the
tensors: the bytes of a tensor are those of the value, in the same order.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ops._erf import erf


class Verb(enum.Enum):
    """What a step does; the value is its name in listings.

    Attributes:
        ADD, SUB, MUL, DIV, MAX, MIN: of two values, or a value and a number.
        FILL: a number along the result's axes.
        BROADCAST: along axes that the operand lacks.
        SUM, LARGEST, LEAST: over the axes that the result lacks.
        CAST: to the result's element type; to an integer type rounded half to even and saturated.
        MATMUL: of i8 matrices [m, k] and [k, n], exact in i32.
    """

    EXP = "exp"
    LOG = "log"
    ABS = "abs"
    NEG = "neg"
    CEIL = "ceil"
    FLOOR = "floor"
    RELU = "relu"
    SQRT = "sqrt"
    RSQRT = "rsqrt"
    REC = "rec"
    TANH = "tanh"
    ERF = "erf"
    SIN = "sin"
    COS = "cos"
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    MAX = "max"
    MIN = "min"
    FILL = "fill"
    BROADCAST = "broadcast"
    SUM = "sum"
    LARGEST = "largest"
    LEAST = "least"
    CAST = "cast"
    MATMUL = "matmul"


UNARY: Mapping[Verb, Callable[[Array], Any]] = {
    Verb.EXP: np.exp,
    Verb.LOG: np.log,
    Verb.ABS: np.abs,
    Verb.NEG: np.negative,
    Verb.CEIL: np.ceil,
    Verb.FLOOR: np.floor,
    Verb.RELU: lambda x: np.maximum(x, 0),
    Verb.SQRT: np.sqrt,
    Verb.RSQRT: lambda x: 1 / np.sqrt(x),
    Verb.REC: lambda x: 1 / x,
    Verb.TANH: np.tanh,
    Verb.ERF: erf,
    Verb.SIN: np.sin,
    Verb.COS: np.cos,
}
BINARY: Mapping[Verb, Callable[[Array, Any], Any]] = {
    Verb.ADD: np.add,
    Verb.SUB: np.subtract,
    Verb.MUL: np.multiply,
    Verb.DIV: np.divide,
    Verb.MAX: np.maximum,
    Verb.MIN: np.minimum,
}
REDUCTIONS: Mapping[Verb, Callable[..., Any]] = {Verb.SUM: np.sum, Verb.LARGEST: np.max, Verb.LEAST: np.min}
EXACT = frozenset({Verb.RELU, Verb.ABS, Verb.NEG, Verb.MAX, Verb.MIN, Verb.FILL, Verb.BROADCAST})
"""Steps whose result needs no rounding."""
ROUNDED_ONCE = frozenset({Verb.ADD, Verb.SUB, Verb.MUL})
"""Steps that every vector unit rounds correctly."""


@attrs.frozen(eq=False)
class Value:
    """A value of a program, compared by identity.

    Attributes:
        dtype: element type.
        axes: indices of the program's axes along which it lies, ascending.
    """

    dtype: DType
    axes: tuple[int, ...]


Operand = Value | float


@attrs.frozen(eq=False)
class Step:
    """`result` = `verb` of `operands`; a number may be the second operand of a step with two, and FILL's only one."""

    verb: Verb
    operands: tuple[Operand, ...]
    result: Value

    @property
    def values(self) -> tuple[Value, ...]:
        """The operands that are values."""
        return tuple(x for x in self.operands if isinstance(x, Value))


@attrs.frozen(eq=False)
class Program:
    """A kernel.

    Attributes:
        sizes: extents of the axes, all above 1; none for a program on single numbers.
        inputs, outputs: in order.
        steps: in order of execution.
    """

    sizes: tuple[int, ...]
    inputs: tuple[Value, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Value, ...]

    def shape(self, value: Value) -> tuple[int, ...]:
        """Extents of a value."""
        return tuple(self.sizes[axis] for axis in value.axes)

    def size(self, value: Value) -> int:
        """Number of elements of a value."""
        return math.prod(self.shape(value))

    @property
    def verbs(self) -> frozenset[Verb]:
        """What its steps do."""
        return frozenset(step.verb for step in self.steps)

    def reduced(self, step: Step) -> tuple[int, ...]:
        """The positions of the operand's axes that a reduction's result lacks."""
        (x,) = step.values
        return tuple(i for i, axis in enumerate(x.axes) if axis not in step.result.axes)

    def added(self, step: Step) -> tuple[int, ...]:
        """The positions of a broadcast's result axes that its operand lacks."""
        (x,) = step.values
        return tuple(i for i, axis in enumerate(step.result.axes) if axis not in x.axes)

    def evaluate(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for inputs of the values' shapes and element types."""
        known: dict[Value, Array] = {}
        for value, array in zip(self.inputs, inputs, strict=True):
            assert array.shape == self.shape(value) and array.dtype == value.dtype.numpy, (array.shape, array.dtype)
            known[value] = array
        for step in self.steps:
            with np.errstate(all="ignore"):
                known[step.result] = self._evaluated(step, known)
        return [known[value] for value in self.outputs]

    def _evaluated(self, step: Step, known: Mapping[Value, Array]) -> Array:
        operands: list[Any] = [known[x] if isinstance(x, Value) else x for x in step.operands]
        dtype, shape = step.result.dtype.numpy, self.shape(step.result)
        if step.verb is Verb.FILL:
            return np.full(shape, operands[0], dtype)
        if step.verb is Verb.CAST:
            return converted(operands[0], step.result.dtype)
        if step.verb is Verb.MATMUL:
            product: Array = operands[0].astype(np.int32) @ operands[1].astype(np.int32)
            return product
        if step.verb is Verb.BROADCAST:
            wide = np.expand_dims(operands[0], self.added(step))
            return np.ascontiguousarray(np.broadcast_to(wide, shape))
        if step.verb in REDUCTIONS:
            return np.asarray(REDUCTIONS[step.verb](operands[0], axis=self.reduced(step)), dtype)
        if step.verb in UNARY:
            return np.asarray(UNARY[step.verb](operands[0])).astype(dtype)
        second = operands[1] if isinstance(operands[1], np.ndarray) else dtype.type(operands[1])
        return np.asarray(BINARY[step.verb](operands[0], second)).astype(dtype)

    def __str__(self) -> str:
        """The listing: two programs with the same one are the same."""
        names: dict[Value, str] = {}
        lines = [f"axes {list(self.sizes)}"]

        def name(x: Operand) -> str:
            return names.setdefault(x, f"%{len(names)}") if isinstance(x, Value) else repr(float(x))

        def typed(value: Value) -> str:
            return f"{value.dtype}{list(value.axes)}"

        lines += [f"input {name(value)}: {typed(value)}" for value in self.inputs]
        for step in self.steps:
            operands = ", ".join(map(name, step.operands))
            lines.append(f"{name(step.result)} = {step.verb.value} {operands}: {typed(step.result)}")
        lines.append(f"output {', '.join(map(name, self.outputs))}")
        return "\n".join(lines)


def converted(array: Array, dtype: DType) -> Array:
    """`array` in another element type; integers are rounded half to even and saturated."""
    if not dtype.is_integer or array.dtype.kind in "iu":
        return array.astype(dtype.numpy)
    low, high = dtype.range
    return np.clip(np.rint(array), low, high).astype(dtype.numpy)


class Builder:
    """Makes a program step by step; conversions and broadcasts are added where an operand needs them."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self.inputs: list[Value] = []
        self.steps: list[Step] = []
        self._known: dict[tuple[Any, ...], Value] = {}

    def input(self, dtype: DType, axes: Sequence[int]) -> Value:
        """A further input."""
        value = Value(dtype, tuple(axes))
        self.inputs.append(value)
        return value

    def step(self, verb: Verb, operands: Sequence[Operand], dtype: DType, axes: Sequence[int]) -> Value:
        """Append a step as it is, unless there is the same already."""
        key = (verb, *operands, dtype, *axes)
        if key not in self._known:
            self._known[key] = Value(dtype, tuple(axes))
            self.steps.append(Step(verb, tuple(operands), self._known[key]))
        return self._known[key]

    def unary(self, verb: Verb, x: Value) -> Value:
        """`verb` of every element."""
        return self.step(verb, [x], x.dtype, x.axes)

    def binary(self, verb: Verb, a: Operand, b: Operand) -> Value:
        """`verb` of two operands of one element type, at least one of them a value; broadcast to the axes of both."""
        if isinstance(a, Value) and isinstance(b, Value):
            axes = tuple(sorted({*a.axes, *b.axes}))
            return self.step(verb, [self.broadcast(a, axes), self.broadcast(b, axes)], a.dtype, axes)
        if isinstance(a, Value):
            return self.step(verb, [a, b], a.dtype, a.axes)
        assert isinstance(b, Value)
        if verb in (Verb.ADD, Verb.MUL, Verb.MAX, Verb.MIN):
            return self.step(verb, [b, a], b.dtype, b.axes)
        return self.step(verb, [self.fill(a, b.dtype, b.axes), b], b.dtype, b.axes)

    def fill(self, number: float, dtype: DType, axes: Sequence[int]) -> Value:
        """A number along axes."""
        return self.step(Verb.FILL, [number], dtype, axes)

    def broadcast(self, x: Value, axes: Sequence[int]) -> Value:
        """`x` along `axes`, which are its own and others."""
        return x if x.axes == tuple(axes) else self.step(Verb.BROADCAST, [x], x.dtype, axes)

    def reduce(self, verb: Verb, x: Value, gone: Sequence[int]) -> Value:
        """`verb` over the axes `gone`."""
        kept = [axis for axis in x.axes if axis not in gone]
        return x if len(kept) == len(x.axes) else self.step(verb, [x], x.dtype, kept)

    def cast(self, x: Value, dtype: DType) -> Value:
        """`x` in another element type."""
        return x if x.dtype is dtype else self.step(Verb.CAST, [x], dtype, x.axes)

    def finish(self, outputs: Sequence[Value]) -> Program:
        """The program, without steps that no output needs. Outputs that are the same value are one."""
        outputs = tuple(dict.fromkeys(outputs))
        needed = set(outputs)
        kept: list[Step] = []
        for step in reversed(self.steps):
            if step.result in needed:
                kept.append(step)
                needed.update(step.values)
        return Program(self.sizes, tuple(self.inputs), tuple(reversed(kept)), outputs)
