"""The tensor descriptor."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import cast

import attrs

from uair.ir.dims import Dim, InferredShape, Shape, elements, is_static, substitute
from uair.ir.dtype import DType
from uair.ir.layout import Layout


class Container(enum.Enum):
    """What a value that is no plain tensor is around its tensors. The value is the spelling in the text form.

    Attributes:
        SEQUENCE: any number of tensors of one element type, in order. OPTIONAL: a value or nothing.
        MAP_I64, MAP_STRING: tensors by an integer or a string.
    """

    SEQUENCE = "seq"
    OPTIONAL = "opt"
    MAP_I64 = "map_i64"
    MAP_STRING = "map_string"


def contained(text: str, containers: Iterable[str]) -> str:
    """The text of a type inside of containers, outermost first: `opt<seq<f32[2]>>`."""
    for name in reversed(tuple(containers)):
        text = f"{name}<{text}>"
    return text


@attrs.frozen(cache_hash=True)
class TensorType:
    """Element type, logical shape and layout of a tensor; compared by value.

    `shape` is None when not even the rank is known.

    The few operators on sequences, optionals and maps have values that hold tensors. Their type is that of the tensors
    with the `containers` around them, outermost first; what differs from one tensor to the next in the shape, or is not
    known, is None there: a symbol would say that it is the same size in all of them.
    """

    dtype: DType
    shape: Shape | None
    layout: Layout = Layout.ANY
    containers: tuple[Container, ...] = ()
    _is_static: bool | None = attrs.field(default=None, init=False, eq=False, repr=False)

    @property
    def is_tensor(self) -> bool:
        """Whether values of the type are tensors."""
        return not self.containers

    @property
    def inner(self) -> TensorType:
        """The type without its outermost container: of a sequence's elements, of what an optional holds."""
        return attrs.evolve(self, containers=self.containers[1:])

    def within(self, container: Container) -> TensorType:
        """A container of values of this type; extents that have no number are forgotten."""
        shape = self.shape
        if shape is not None and not self.containers:
            shape = cast(Shape, tuple(d if isinstance(d, int) else None for d in shape))
        return TensorType(self.dtype, shape, containers=(container, *self.containers))

    @property
    def dims(self) -> Shape:
        """The shape of a tensor of known rank.

        Raises:
            ValueError: the rank is unknown.
        """
        if self.shape is None:
            raise ValueError("the tensor's rank is not known")
        return self.shape

    @property
    def rank(self) -> int:
        """Number of axes (known rank only)."""
        return len(self.dims)

    @property
    def is_static(self) -> bool:
        """Whether it is a tensor of which every extent is a number."""
        known = self._is_static
        if known is None:
            known = self.shape is not None and not self.containers and is_static(self.shape)
            object.__setattr__(self, "_is_static", known)
        return known

    @property
    def size(self) -> int:
        """Number of elements of a static shape."""
        return elements(self.dims)

    @property
    def nbytes(self) -> int:
        """Bytes of a dense static tensor; types under 8 bits are packed."""
        return (self.size * self.dtype.bits + 7) // 8

    def with_dtype(self, dtype: DType) -> TensorType:
        """The same shape with another element type."""
        return attrs.evolve(self, dtype=dtype)

    def with_shape(self, shape: InferredShape | None) -> TensorType:
        """The same element type with another shape, layout unassigned."""
        return inferred(self.dtype, shape)

    def substitute(self, values: Mapping[str, Dim]) -> TensorType:
        """The type with the named sizes replaced; extents that only the data decides stay None."""
        if self.shape is None or self.is_static:
            return self
        extents = cast(InferredShape, self.shape)
        known = tuple(None if d is None else substitute(d, values) for d in extents)
        return attrs.evolve(self, shape=cast(Shape, known))

    def __str__(self) -> str:
        extents = cast("InferredShape | None", self.shape)
        shape = "*" if extents is None else ",".join("?" if d is None else str(d).replace(" ", "") for d in extents)
        layout = "" if self.layout == Layout.ANY else f"; {self.layout}"
        return contained(f"{self.dtype}[{shape}{layout}]", (c.value for c in self.containers))


def inferred(dtype: DType, shape: InferredShape | None) -> TensorType:
    """A result type as `Operator.infer` gives it: extents that only the data decides may be None.

    The node that takes the type in names those extents, so that no tensor in a graph has one.
    """
    return TensorType(dtype, cast("Shape | None", shape))
