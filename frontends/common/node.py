"""What a handler sees of a source node, whatever its framework: a way to emit canonical nodes, and known values."""

from __future__ import annotations

import abc
import functools
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from uair.frontends.common.builder import Builder
from uair.frontends.common.errors import RuntimeOperandError, SourceOperatorError
from uair.ir.data import ComputedData, Data
from uair.ir.dims import Dim, Shape, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.location import Location
from uair.ops import Cast, Reshape, Transpose
from uair.ops.base import Operator


class Emitter(abc.ABC):
    """Emits canonical nodes on behalf of a source node.

    Subclasses say how a node is appended (`emit`) and which values are known (`value_of`).
    """

    __slots__ = ()

    @abc.abstractmethod
    def emit(self, op: Operator, operands: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """Append a canonical node, and return its results."""

    @abc.abstractmethod
    def value_of(self, tensor: Tensor) -> Array | None:
        """Values of a tensor known at import: an object array where they hold symbolic sizes; None when unknown."""

    @abc.abstractmethod
    def shape(self, tensor: Tensor) -> Shape:
        """The shape of an operand; an error of the frontend's own when its rank is not known."""

    @abc.abstractmethod
    def axis(self, axis: int, rank: int) -> int:
        """A non-negative axis; an error of the frontend's own when it is out of range."""

    @abc.abstractmethod
    def refuse(self, message: str, hint: str = "") -> NoReturn:
        """The node is wrong, or is used in a way that cannot be expressed: an error of the frontend's own."""
        raise NotImplementedError

    def axes(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        """Non-negative axes in the given order; an error of the frontend's own when one is wrong or given twice."""
        result = tuple(self.axis(a, rank) for a in axes)
        if len(set(result)) < len(result):
            self.refuse(f"an axis is given twice: {list(axes)}")
        return result

    def rank(self, tensor: Tensor) -> int:
        """Number of axes of an operand."""
        return len(self.shape(tensor))

    def extent(self, tensor: Tensor, axis: int) -> Dim:
        """Extent of an operand along an axis, which may count from the end."""
        return self.shape(tensor)[axis]

    def __call__(self, op: Operator, *operands: Tensor | None) -> Tensor:
        """Apply a canonical operator with one result."""
        (result,) = self.emit(op, operands)
        return result

    def all(self, op: Operator, *operands: Tensor | None) -> tuple[Tensor, ...]:
        """Apply a canonical operator with any number of results."""
        return self.emit(op, operands)

    def like(self, value: float, tensor: Tensor) -> Tensor:
        """A constant scalar of another tensor's element type."""
        return constant(np.asarray(value).astype(tensor.type.dtype.numpy))

    def transformed(self, tensor: Tensor, compute: Any, shape: tuple[int, ...]) -> Tensor:
        """The constant that `compute` makes from a constant's values, of the same element type, when somebody asks."""
        data = tensor.data
        assert data is not None
        return constant(ComputedData(compute, (data,), data.dtype, shape), tensor.name)

    def cast(self, tensor: Tensor, to: DType) -> Tensor:
        """A tensor in an element type, itself when it is of that type."""
        return tensor if tensor.type.dtype is to else self(Cast(to=to), tensor)

    def single(self, tensor: Tensor) -> Tensor:
        """A tensor of one element without its axes; the value of a constant stays stored."""
        if tensor.type.shape == ():
            return tensor
        if tensor.data is not None and tensor.type.is_static and tensor.type.size == 1:
            return self.transformed(tensor, functools.partial(np.reshape, shape=()), ())
        return self(Reshape(shape=()), tensor)

    def transposed(self, tensor: Tensor, perm: tuple[int, ...]) -> Tensor:
        """A tensor with its axes in another order: a stored constant stays stored, and is transposed when read."""
        if perm == tuple(range(len(perm))):
            return tensor
        if tensor.data is not None and tensor.type.is_static:
            extents = static(tensor.type.dims)
            return self.transformed(tensor, functools.partial(np.transpose, axes=perm), tuple(extents[p] for p in perm))
        return self(Transpose(perm=perm), tensor)

    def reshaped(self, tensor: Tensor, shape: Shape) -> Tensor:
        """A tensor in another shape; a stored constant stays stored."""
        if tensor.type.shape == shape:
            return tensor
        numbers = tuple(d for d in shape if isinstance(d, int))
        if tensor.data is not None and tensor.type.is_static and len(numbers) == len(shape) and -1 not in numbers:
            return self.transformed(tensor, functools.partial(np.reshape, shape=numbers), numbers)
        return self(Reshape(shape=shape), tensor)


class SourceNode(Emitter):
    """One node being imported, in the frontends that read PyTorch, TensorFlow, Keras and TFLite.

    Attributes:
        builder: of the model.
        graph: where its canonical nodes go.
        op_type: its operator in the source framework's words.
        name: of its first result in the source model: names of canonical nodes and results come from it.
        loc: its location.
        place: the node in words, for messages: operator, name, module path, file and line as far as known.
    """

    __slots__ = ("builder", "graph", "loc", "name", "op_type", "place")

    def __init__(self, builder: Builder, graph: Graph, *, op_type: str, name: str, loc: Location, place: str) -> None:
        self.builder = builder
        self.graph = graph
        self.op_type = op_type
        self.name = name
        self.loc = loc
        self.place = place

    def emit(self, op: Operator, operands: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """Append a canonical node; operands that are known become attributes.

        Raises:
            UairError: the operands do not fit; the place is the source node.
        """
        node, _ = self.builder.append(self.graph, op, operands, name=self.name, loc=self.loc)
        return node.outputs

    def value_of(self, tensor: Tensor) -> Array | None:
        """Values of a tensor known at import; None when unknown."""
        return self.builder.known(tensor)

    def stored(self, data: Data | Array, name: str = "") -> Tensor:
        """A constant, named after the node unless told."""
        return constant(data, name or self.name)

    # ------------------------------------------------------------------ shapes and known numbers
    def shape(self, tensor: Tensor) -> Shape:
        """The shape of an operand.

        Raises:
            RuntimeOperandError: its rank is not known.
        """
        if tensor.type.shape is None:
            raise RuntimeOperandError(
                f"{self.op_type} needs to know the rank of its operand {tensor.name!r}",
                place=self.place,
                hint="give the shapes of the model's inputs: --shape, or an option of uair.load",
            )
        return tensor.type.shape

    def axis(self, axis: int, rank: int) -> int:
        """A non-negative axis.

        Raises:
            SourceOperatorError: it is out of range.
        """
        if not -rank <= axis < max(rank, 1):
            self.refuse(f"axis {axis} is out of range for rank {rank}")
        return axis + rank if axis < 0 else axis

    def dims(self, tensor: Tensor) -> Shape | None:
        """The known numbers and symbolic sizes of a 1-D (or scalar) operand; None when they are not known."""
        value = self.value_of(tensor)
        if value is None:
            return None
        if value.ndim > 1:
            self.refuse(f"{tensor.name!r} must be a list, has {value.ndim} axes")
        return tuple(int(d) if isinstance(d, (int, np.integer)) else d for d in value.reshape(-1).tolist())

    def integers(self, tensor: Tensor, what: str) -> tuple[int, ...]:
        """The numbers of an operand that decides the structure of the graph.

        Raises:
            RuntimeOperandError: they are not known before the model runs.
        """
        dims = self.dims(tensor)
        if dims is None or not all(isinstance(d, int) for d in dims):
            raise RuntimeOperandError(
                f"{what} of {self.op_type} must be known when the model is read, but {tensor.name!r} is computed",
                place=self.place,
                hint="export the model with fixed shapes, or make the value a constant",
            )
        return tuple(d for d in dims if isinstance(d, int))

    # ------------------------------------------------------------------ giving up
    def refuse(self, message: str, hint: str = "") -> NoReturn:
        """The node is wrong, or is used in a way that cannot be expressed.

        Raises:
            SourceOperatorError: always.
        """
        raise SourceOperatorError(f"{self.op_type}: {message}", place=self.place, hint=hint)
