"""What a handler sees of a source node: operands, attributes, known values, and a way to emit canonical nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from onnx import NodeProto

from uair.frontends.common.node import Emitter
from uair.frontends.onnx.attributes import Attributes
from uair.frontends.onnx.errors import (
    OnnxAttributeError,
    OnnxMissingValueError,
    OnnxOperatorError,
    OnnxRuntimeOperandError,
    OnnxShapeError,
)
from uair.ir.data import Data, SplatData
from uair.ir.dims import Shape
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.location import Location
from uair.ops.base import MAX_RANK, Operator

if TYPE_CHECKING:
    from uair.frontends.onnx.importer import Importer, Scope


MAX_REPEATED = 1 << 33
"""Elements of a constant of one repeated value; more would not fit into any device's memory."""


class NotHandled(OnnxOperatorError):
    """Raised by a handler for a use of its operator that the canonical operators do not express.

    The importer then tries the operator's own definition, and keeps the node when its result types are declared.
    """


class OnnxNode(Emitter):
    """One node being imported.

    Attributes:
        proto: the source node.
        domain: its operator's domain, "" for the default one.
        op_type: its operator.
        opset: version of the operator set that the model (or the function) imports for the domain.
        version: version of the operator (`since_version`).
        attributes: its attributes.
        inputs: its operands; None where one is left out.
        scope: the graph or function body that it stands in.
        loc: its location.
    """

    __slots__ = ("attributes", "domain", "importer", "inputs", "loc", "op_type", "opset", "proto", "scope", "version")

    def __init__(
        self,
        importer: Importer,
        scope: Scope,
        proto: NodeProto,
        *,
        domain: str,
        opset: int,
        version: int,
        inputs: Sequence[Tensor | None],
        attributes: Attributes,
        loc: Location,
    ) -> None:
        self.importer = importer
        self.scope = scope
        self.proto = proto
        self.domain = domain
        self.op_type = proto.op_type
        self.opset = opset
        self.version = version
        self.inputs = inputs
        self.attributes = attributes
        self.loc = loc

    # ------------------------------------------------------------------ emitting
    def emit(self, op: Operator, operands: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """Append a canonical node; operands that are known become attributes."""
        return self.importer.emit(self, op, operands)

    def value_of(self, tensor: Tensor) -> Array | None:
        """Values of a tensor known at import; None when unknown."""
        return self.importer.builder.known(tensor)

    def filled(self, value: Any, dtype: DType, shape: tuple[int, ...]) -> Tensor:
        """A constant that repeats one value, named after the node's result.

        Raises:
            OnnxAttributeError: no memory holds that many.
        """
        if min(shape, default=0) < 0 or len(shape) > MAX_RANK or math.prod(d for d in shape if d) > MAX_REPEATED:
            self.refuse(f"a constant cannot have the shape {list(shape[:MAX_RANK])}")
        return self.stored(SplatData(value, dtype, shape))

    def stored(self, data: Data) -> Tensor:
        """A constant over stored values, named after the node's result."""
        return constant(data, self.scope.prefix + self.proto.output[0] if self.proto.output else "")

    # ------------------------------------------------------------------ operands
    @property
    def place(self) -> str:
        """The node in words, for messages."""
        return self.scope.describe(self.proto)

    def __getitem__(self, i: int) -> Tensor:
        """Operand `i`.

        Raises:
            OnnxMissingValueError: it is left out.
        """
        found = self.optional(i)
        if found is None:
            raise OnnxMissingValueError(f"{self.op_type} needs input {i}, which is left out", place=self.place)
        return found

    def optional(self, i: int) -> Tensor | None:
        """Operand `i`, None when it is left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    def present(self) -> list[Tensor]:
        """The operands of an operator that takes any number.

        Raises:
            OnnxMissingValueError: there is none, or one is left out.
        """
        return [self[i] for i in range(max(len(self.inputs), 1))]

    def known(self, i: int) -> Array | None:
        """Values of operand `i` known at import: an object array where they hold symbolic sizes; None when unknown."""
        return self.value_of(self[i])

    def dims(self, i: int) -> Shape | None:
        """The known numbers and symbolic sizes of a 1-D (or scalar) operand."""
        value = self.known(i)
        if value is None:
            return None
        if value.ndim > 1:
            raise OnnxShapeError(f"input {i} of {self.op_type} must be a list, has {value.ndim} axes", place=self.place)
        return tuple(int(d) if isinstance(d, (int, np.integer)) else d for d in value.reshape(-1).tolist())

    def folded(self, i: int) -> Tensor:
        """Operand `i`, as a constant when its value is known at import."""
        value = None if self[i].is_constant else self.known(i)
        return self[i] if value is None or value.dtype == object else constant(value)

    def integers(self, i: int, what: str) -> tuple[int, ...]:
        """The numbers of operand `i`, which decides the structure of the graph.

        Raises:
            OnnxRuntimeOperandError: they are not known before the model runs.
        """
        dims = self.dims(i)
        if dims is None or not all(isinstance(d, int) for d in dims):
            raise OnnxRuntimeOperandError(
                f"{what} of {self.op_type} must be known when the model is read, but input {i} is computed at run time",
                place=self.place,
                hint="export the model with fixed shapes, or make the input a constant",
            )
        return tuple(d for d in dims if isinstance(d, int))

    def integer(self, i: int, what: str) -> int:
        """The one number of operand `i`."""
        numbers = self.integers(i, what)
        if len(numbers) != 1:
            raise OnnxShapeError(f"{what} of {self.op_type} must be one number, got {len(numbers)}", place=self.place)
        return numbers[0]

    def numbers(self, i: int) -> tuple[float, ...] | None:
        """The known values of operand `i` as Python numbers; None when one is not known."""
        value = self.known(i)
        if value is None or (value.dtype == object and not all(isinstance(v, int) for v in value.reshape(-1).tolist())):
            return None
        return tuple(float(v) for v in value.reshape(-1))

    def scalar(self, i: int) -> float | None:
        """The known value of an operand of one element; None when it is not known.

        Raises:
            OnnxShapeError: it has several elements.
        """
        numbers = self.numbers(i)
        if numbers is None:
            return None
        if len(numbers) != 1:
            raise OnnxShapeError(f"input {i} of {self.op_type} must have one element", place=self.place)
        return numbers[0]

    # ------------------------------------------------------------------ shapes
    def shape(self, tensor: Tensor) -> Shape:
        """The shape of an operand of known rank.

        Raises:
            OnnxRuntimeOperandError: the rank is not known.
        """
        if tensor.type.shape is None:
            raise OnnxRuntimeOperandError(
                f"{self.op_type} needs to know the rank of its operand {tensor.name!r}",
                place=self.place,
                hint="declare the shapes of the model's inputs",
            )
        return tensor.type.shape

    def axis(self, axis: int, rank: int) -> int:
        """A non-negative axis.

        Raises:
            OnnxAttributeError: it is out of range.
        """
        if not -rank <= axis < rank:
            raise OnnxAttributeError(f"axis {axis} of {self.op_type} is out of range for rank {rank}", place=self.place)
        return axis + rank if axis < 0 else axis

    def axis_of(self, axis: int, tensor: Tensor) -> int:
        """An axis of an operand: non-negative where its rank is known."""
        return axis if tensor.type.shape is None else self.axis(axis, self.rank(tensor))

    def axes_of(self, axes: Sequence[int], tensor: Tensor) -> tuple[int, ...]:
        """Axes of an operand: non-negative where its rank is known."""
        return tuple(axes) if tensor.type.shape is None else self.axes(axes, self.rank(tensor))

    def length(self, i: int) -> int | None:
        """The number of elements of a 1-D operand, when it is known."""
        shape = self[i].type.shape
        return shape[0] if shape is not None and len(shape) == 1 and isinstance(shape[0], int) else None

    # ------------------------------------------------------------------ results
    def wants(self, i: int) -> bool:
        """Whether the model uses result `i`."""
        return i < len(self.proto.output) and bool(self.proto.output[i])

    def unsupported(self, reason: str, hint: str = "") -> NoReturn:
        """Give up on this use of the operator.

        Raises:
            NotHandled: always.
        """
        raise NotHandled(reason, place=self.place, hint=hint)

    def refuse(self, message: str, hint: str = "") -> NoReturn:
        """The node is wrong.

        Raises:
            OnnxAttributeError: always.
        """
        raise OnnxAttributeError(f"{self.op_type}: {message}", place=self.place, hint=hint)
