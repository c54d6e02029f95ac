"""What a handler sees of a call: its arguments by name, and a way to emit canonical nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from uair.frontends.common.node import SourceNode
from uair.frontends.common.table import Table
from uair.frontends.torch.program import Argument, Call, ProgramGraph, Ref
from uair.frontends.torch.sizes import as_vector
from uair.ir.dims import Dim, symbols_of
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Tensor
from uair.ir.location import Location
from uair.ir.types import TensorType
from uair.ops.base import Operator, attribute_kinds

if TYPE_CHECKING:
    from collections.abc import Callable

    from uair.frontends.torch.importer import Importer, Scope

Value: TypeAlias = "Tensor | Dim | float | bool | complex | str | DType | ProgramGraph | None | tuple[Value, ...]"
"""An argument whose references are resolved."""
Result: TypeAlias = "Tensor | Sequence[Tensor | None]"
Handler: TypeAlias = "Callable[[TorchNode], Result]"


class Family(Table[Handler]):
    """Handlers of one operator family, by `aten.name` for every overload, or `aten.name.overload` for one."""


class TorchNode(SourceNode):
    """One call being imported.

    Attributes:
        importer: of the program.
        scope: the graph that it stands in.
        call: the call.
        values: its arguments by name with tensors in place of references.
    """

    __slots__ = ("call", "importer", "scope", "values")

    def __init__(
        self, importer: Importer, scope: Scope, call: Call, values: dict[str, Value], *, loc: Location, place: str
    ) -> None:
        name = next(filter(None, call.results), call.target)
        super().__init__(importer.builder, scope.graph, op_type=call.target, name=name, loc=loc, place=place)
        self.importer = importer
        self.scope = scope
        self.call = call
        self.values = values

    def emit(self, op: Operator, operands: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """Append a canonical node; sizes among its attributes that values decide become operands.

        Raises:
            UairError: the operands do not fit; the place is the source node.
        """
        if self.importer.has_decided and any(map(self.importer.is_decided, op.symbols())):
            op, operands = self._with_sizes(op, operands)
        return super().emit(op, operands)

    def _with_sizes(self, op: Operator, operands: Sequence[Tensor | None]) -> tuple[Operator, Sequence[Tensor | None]]:
        kinds, given = attribute_kinds(type(op)), list(operands)
        for i, param in enumerate(op.params):
            dims = getattr(op, param.name, None) if param.name in kinds and param.optional else None
            if not isinstance(dims, tuple) or not any(map(self.importer.is_decided, symbols_of(dims))):
                continue
            given += [None] * (i + 1 - len(given))
            given[i] = as_vector(self, *dims)
            op = attrs.evolve(cast(Any, op), **{param.name: None})
        return op, given

    # ------------------------------------------------------------------ arguments
    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or the schema's default that the handler states."""
        return self.values.get(name, default)

    def tensor(self, name: str) -> Tensor:
        """An argument that must be a tensor.

        Raises:
            SourceOperatorError: it is none.
        """
        value = self.values.get(name)
        if not isinstance(value, Tensor):
            self.refuse(f"argument {name!r} must be a tensor, is {value!r}")
        return value

    def optional(self, name: str) -> Tensor | None:
        """An argument that is a tensor or left out."""
        return None if self.values.get(name) is None else self.tensor(name)

    def tensors(self, name: str) -> list[Tensor]:
        """A list of tensors."""
        value = self.values.get(name)
        if not isinstance(value, tuple) or not all(isinstance(v, Tensor) for v in value):
            self.refuse(f"argument {name!r} must be a list of tensors")
        return [cast(Tensor, v) for v in value]

    @property
    def result(self) -> TensorType:
        """The type of the first result as PyTorch recorded it.

        Raises:
            SourceOperatorError: it is no tensor.
        """
        found = self.call.types[0] if self.call.types else None
        if found is None:
            self.refuse("gives no tensor")
        return found

    def wants(self, i: int) -> bool:
        """Whether the program uses result `i`."""
        return i < len(self.call.results) and bool(self.call.results[i])

    def number(self, value: Value) -> Tensor:
        """An argument as a tensor: a Python number of the type that PyTorch gives it, a symbolic size as i64.

        Raises:
            SourceOperatorError: it is no number and no tensor.
        """
        return self.importer.tensor(self.scope, value)

    def within(self, graph: Graph) -> TorchNode:
        """The same call, emitting into a graph that it runs; what is around the call is seen there."""
        scope = type(self.scope)(graph, outer=self.scope)
        return TorchNode(self.importer, scope, self.call, self.values, loc=self.loc, place=self.place)

    def inlined(self, graph: ProgramGraph, inputs: Sequence[Value]) -> list[Tensor]:
        """Import the calls of a graph of the program here, on the given inputs; its outputs."""
        return self.importer.inlined(self, graph, inputs)


__all__ = ["Argument", "Family", "Handler", "Ref", "Result", "TorchNode", "Value"]
