"""What a handler sees of a layer's call: its configuration, its operands and variables, and a way to emit nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from uair.frontends.common import layout
from uair.frontends.common.node import SourceNode
from uair.frontends.common.table import Table
from uair.frontends.keras.dtypes import Policy
from uair.frontends.keras.errors import KerasMaskError, KerasWeightsError
from uair.frontends.keras.model import Layer, Value, leaves
from uair.ir.data import derive
from uair.ir.dims import Dim
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.location import Location
from uair.ops import Split

if TYPE_CHECKING:
    from collections.abc import Callable

    from uair.frontends.keras.importer import Importer

Result: TypeAlias = "Value"
"""A tensor, or a list, tuple or dictionary of such, as the layer's call gives it."""
Handler: TypeAlias = "Callable[[KerasNode], Result]"


class Family(Table[Handler]):
    """Handlers of one family of layers, by class, and of operations, by `ops.` and class."""


class KerasNode(SourceNode):
    """One call being imported.

    Attributes:
        importer: of the model.
        layer: that is called.
        args: what it is called with; tensors in place of references, floats in the layer's compute type.
        kwargs: likewise.
        policy: the types that it computes and keeps variables in.
    """

    __slots__ = ("args", "importer", "kwargs", "layer", "policy")

    def __init__(
        self,
        importer: Importer,
        graph: Graph,
        layer: Layer,
        args: Sequence[Value],
        kwargs: Mapping[str, Value],
        *,
        policy: Policy,
    ) -> None:
        loc = Location.of(layer.path, layer.kind)
        super().__init__(importer.builder, graph, op_type=layer.kind, name=layer.path, loc=loc, place=layer.place)
        self.importer = importer
        self.layer = layer
        self.policy = policy
        self.args = tuple(args)
        self.kwargs = dict(kwargs)

    # ------------------------------------------------------------------ operands
    @property
    def x(self) -> Tensor:
        """The only tensor of the first argument.

        Raises:
            SourceOperatorError: it is none, or several.
        """
        found = self.xs
        if len(found) != 1:
            self.refuse(f"takes one tensor, is given {len(found)}")
        return found[0]

    @property
    def xs(self) -> list[Tensor]:
        """The tensors of the first argument (`inputs`, where it is given by name)."""
        first = self.args[0] if self.args else next(iter(self.kwargs.values()), None)
        return [v for v in leaves(first) if isinstance(v, Tensor)]

    def argument(self, index: int, name: str, default: Value = None) -> Value:
        """An argument of the call by place or name."""
        return self.args[index] if index < len(self.args) else self.kwargs.get(name, default)

    def tensor(self, index: int, name: str) -> Tensor:
        """An argument of the call that must be a tensor.

        Raises:
            SourceOperatorError: it is none.
        """
        found = self.argument(index, name)
        if not isinstance(found, Tensor):
            self.refuse(f"{name} must be a tensor, is {str(found)[:80]!r}")
        return found

    def optional(self, index: int, name: str) -> Tensor | None:
        """An argument of the call that is a tensor, or left out."""
        return None if self.argument(index, name) is None else self.tensor(index, name)

    # ------------------------------------------------------------------ configuration
    def get(self, name: str, default: Any = None) -> Any:
        """An entry of the configuration."""
        found = self.layer.config.get(name, default)
        return default if found is None else found

    def flag(self, name: str, default: bool = False) -> bool:
        """An entry that is true or false."""
        return bool(self.get(name, default))

    def number(self, name: str, default: float | None = None) -> float:
        """An entry that is a number.

        Raises:
            SourceOperatorError: it is none.
        """
        found = self.get(name, default)
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            self.refuse(f"{name} must be a number, is {found!r}")
        return float(found)

    def integer(self, name: str, default: int | None = None) -> int:
        """An entry that is a whole number.

        Raises:
            SourceOperatorError: it is none.
        """
        found = self.get(name, default)
        if isinstance(found, bool) or not isinstance(found, int):
            self.refuse(f"{name} must be a whole number, is {found!r}")
        return found

    def tuple_of(self, name: str, count: int, default: int | None = None) -> tuple[int, ...]:
        """An entry that is one whole number for each of `count` axes, or one for all."""
        found = self.get(name, default)
        if isinstance(found, int) and not isinstance(found, bool):
            return (found,) * count
        return self.integers_of(found, name, count)

    def integers_of(self, value: Any, name: str, count: int | None = None) -> tuple[int, ...]:
        """A list of whole numbers.

        Raises:
            SourceOperatorError: it is none, or of another length.
        """
        items = list(cast("list[Any]", value)) if isinstance(value, (list, tuple)) else None
        if items is None or not all(isinstance(v, int) for v in items) or count not in (None, len(items)):
            self.refuse(f"{name} must be {count or 'some'} whole numbers, is {value!r}")
        return tuple(items)

    def require(self, good: bool, message: str, hint: str = "") -> None:
        """Refuse the layer unless a condition holds."""
        if not good:
            self.refuse(message, hint)

    # ------------------------------------------------------------------ variables
    def has(self, name: str) -> bool:
        """Whether the layer has a variable."""
        return name in self.layer.weights

    def variable(self, name: str, *shape: Dim | None) -> Tensor:
        """A variable of the layer, in its compute type.

        Args:
            name: of the variable.
            shape: that it must have; None is any extent.

        Raises:
            KerasWeightsError: it is missing or of another shape.
        """
        data = self.layer.weights.get(name)
        if data is None:
            raise KerasWeightsError(f"the layer has no variable {name!r}", place=self.place)
        if shape and (
            len(shape) != len(data.shape) or any(w not in (None, h) for w, h in zip(shape, data.shape, strict=True))
        ):
            wanted = ", ".join("any" if d is None else str(d) for d in shape)
            raise KerasWeightsError(
                f"{name} has shape {list(data.shape)}, the layer's configuration and input ask for [{wanted}]",
                place=self.place,
            )
        to = self.policy.compute
        if data.dtype is not to and data.dtype.is_float:
            numpy = to.numpy
            data = derive(lambda a: a.astype(numpy), (data,), to, data.shape)
        return constant(data, f"{self.layer.path}/{name}")

    def maybe(self, name: str, *shape: Dim | None) -> Tensor | None:
        """A variable of the layer if it has it."""
        return self.variable(name, *shape) if self.has(name) else None

    def permuted(self, tensor: Tensor, perm: tuple[int, ...], shape: tuple[int, ...] | None = None) -> Tensor:
        """A constant with its axes in another order, then in another shape; done when somebody asks."""
        data = tensor.data
        assert data is not None
        extents = tuple(data.shape[p] for p in perm)
        final = extents if shape is None else shape
        return constant(
            derive(lambda a: np.ascontiguousarray(a.transpose(perm)).reshape(final), (data,), data.dtype, final),
            tensor.name,
        )

    def filled(self, value: float, *shape: int) -> Tensor:
        """A constant of one number."""
        return constant(np.full(shape, value, self.policy.compute.numpy), f"{self.layer.path}/{value:g}")

    # ------------------------------------------------------------------ layout
    @property
    def channels_last(self) -> bool:
        """Whether the layer's images have their channels last."""
        return bool(self.get("data_format", "channels_last") != "channels_first")

    def image(self, x: Tensor, rank: int | None = None) -> Tensor:
        """An operand as [N, C, spatial...].

        Raises:
            SourceOperatorError: it has another number of axes than the layer's images.
        """
        if rank is not None and self.rank(x) != rank + 2:
            self.refuse(f"takes images of {rank} axes, is given a tensor of shape {list(self.shape(x))}")
        return layout.channels_first(self, x) if self.channels_last else x

    def picture(self, y: Tensor) -> Tensor:
        """A result [N, C, spatial...] as the layer's images lie."""
        return layout.channels_last(self, y) if self.channels_last else y

    def parts(self, x: Tensor, axis: int, count: int) -> tuple[Tensor, ...]:
        """A tensor cut into equal parts along an axis.

        Raises:
            SourceOperatorError: the extent is not known, or is no multiple of their number.
        """
        extent = self.extent(x, axis)
        if not isinstance(extent, int) or count < 1 or extent % count:
            self.refuse(f"the extent {extent} of axis {axis} is not cut into {count} equal parts")
        return (x,) if count == 1 else self.all(Split(axis=axis, sizes=(extent // count,) * count), x)

    # ------------------------------------------------------------------ other layers, masks
    def run(self, layer: Layer, *args: Value, **kwargs: Value) -> Result:
        """Import a call of a layer that this one wraps."""
        return self.importer.call(layer, args, kwargs)

    def mask_of(self, tensor: Tensor) -> Tensor | None:
        """The mask that goes with an operand, bool [batch, steps]."""
        return self.importer.masks.get(tensor)

    def refuse_mask(self, *tensors: Tensor) -> None:
        """Refuse operands that come with a mask.

        Raises:
            KerasMaskError: one does.
        """
        given = self.argument(99, "mask")
        if given is not None or any(self.mask_of(t) is not None for t in tensors):
            raise KerasMaskError(
                f"{self.op_type} would leave out the steps that a mask marks, at places that only the run tells",
                place=self.place,
                hint="build the model without Masking and mask_zero=True, and give it sequences of their own lengths",
            )
