"""What a handler sees of a node: its operands and attributes, and a way to emit canonical nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from uair.frontends.common.node import SourceNode
from uair.frontends.common.table import Table
from uair.frontends.tensorflow import graphdef
from uair.frontends.tensorflow.graphdef import FunctionDef, NodeDef, Ref
from uair.frontends.tensorflow.program import Variable
from uair.frontends.tensorflow.tensors import DTYPES, dtype_name, shape_of
from uair.frontends.tensorflow.values import Nothing, TensorList, Value, describe
from uair.ir.data import Data
from uair.ir.dims import InferredShape
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.location import Location

if TYPE_CHECKING:
    from uair.frontends.tensorflow.importer import Importer, Scope

Result: TypeAlias = "Value | Sequence[Value]"
Handler: TypeAlias = "Callable[[TfNode], Result]"


class Family(Table[Handler]):
    """Handlers of one operator family, by the operator's name.

    Attributes:
        results: names of an operator's results in its definition, where it has more than one; a function's body names
            results by them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[str, tuple[str, ...]] = {}

    def several(self, results: str, *names: str) -> Callable[[Handler], Handler]:
        """Decorator: as `op`, for operators with these results (names with spaces between)."""
        for name in names:
            self.results[name] = tuple(results.split())
        return self.op(*names)


class TfNode(SourceNode):
    """One node being imported.

    Attributes:
        importer: of the model.
        scope: the graph or function that it stands in.
        proto: the node.
        inputs: its operands.
    """

    __slots__ = ("importer", "inputs", "proto", "scope")

    def __init__(self, importer: Importer, scope: Scope, proto: NodeDef, inputs: Sequence[Value], place: str) -> None:
        name = scope.prefix + proto.name
        super().__init__(
            importer.builder, scope.graph, op_type=proto.op, name=name, loc=Location.of(name, proto.op), place=place
        )
        self.importer = importer
        self.scope = scope
        self.proto = proto
        self.inputs = inputs

    # ------------------------------------------------------------------ operands
    def __getitem__(self, i: int) -> Tensor:
        """Operand `i`.

        Raises:
            SourceOperatorError: it is missing, or no tensor.
        """
        value = self.value(i)
        if isinstance(value, Tensor):
            return value
        if isinstance(value, Variable):
            return self.importer.read(value)
        what = describe(value)
        self.refuse(f"operand {i} is {what}, not a tensor")

    def __len__(self) -> int:
        return len(self.inputs)

    def value(self, i: int) -> Value:
        """Operand `i`, whatever it is.

        Raises:
            SourceOperatorError: it is missing.
        """
        if not -len(self.inputs) <= i < len(self.inputs):
            self.refuse(f"operand {i} is missing")
        return self.inputs[i]

    def tensors(self, start: int = 0, end: int | None = None) -> list[Tensor]:
        """The operands from `start` to `end`."""
        return [self[i] for i in range(*slice(start, end).indices(len(self.inputs)))]

    def known(self, i: int) -> Array | None:
        """The value of operand `i` when it is known at import."""
        return self.value_of(self[i])

    def numbers(self, i: int, what: str) -> tuple[int, ...]:
        """The integers of operand `i`, which must be known."""
        return self.integers(self[i], what)

    def numbers_2d(self, i: int) -> tuple[int, ...]:
        """The integers of operand `i`, a table that must be known, row by row."""
        return self.integers(self.reshaped(self[i], (-1,)), "a table")

    def scalar(self, i: int, what: str) -> float:
        """The one number of operand `i`, which must be known.

        Raises:
            SourceOperatorError: it is no single number, or not known.
        """
        value = self.known(i)
        if value is None or value.size != 1 or not isinstance(value.reshape(-1).tolist()[0], (int, float, bool)):
            self.refuse(f"{what} must be one number that is known when the model is read")
        return float(value.reshape(-1).tolist()[0])

    def list_operand(self, i: int) -> TensorList:
        """Operand `i`, a list of tensors.

        Raises:
            SourceOperatorError: it is none.
        """
        value = self.value(i)
        if not isinstance(value, TensorList):
            self.refuse(f"operand {i} must be a list of tensors")
        return value

    # ------------------------------------------------------------------ attributes
    def attribute(self, name: str) -> graphdef.Value | None:
        """An attribute; in a function it may stand for one of the call's."""
        value = self.proto.attributes.get(name)
        if value is not None and value.placeholder:
            value = self.scope.attributes.get(value.placeholder)
        return value

    def integer(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        value = self.attribute(name)
        return default if value is None else value.message.integer(3)

    def number(self, name: str, default: float = 0.0) -> float:
        """A float attribute."""
        value = self.attribute(name)
        return default if value is None else value.message.number(4)

    def flag(self, name: str, default: bool = False) -> bool:
        """A bool attribute."""
        value = self.attribute(name)
        return default if value is None else value.message.flag(5)

    def text(self, name: str, default: str = "") -> str:
        """A text attribute."""
        value = self.attribute(name)
        return default if value is None else value.message.text(2)

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """A text attribute with one of some values.

        Raises:
            SourceOperatorError: it has another one.
        """
        found = self.text(name, default)
        if found not in allowed:
            self.refuse(f"{name} is {found!r}, known are {', '.join(allowed)}")
        return found

    def ints(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """A list of integers."""
        value = self.attribute(name)
        return default if value is None else tuple(value.list.message.integers(3))

    def floats(self, name: str, default: tuple[float, ...] = ()) -> tuple[float, ...]:
        """A list of floats."""
        value = self.attribute(name)
        return default if value is None else tuple(float(v) for v in value.list.message.fixed(4, "<f4"))

    def type_name(self, name: str, default: str = "float32") -> str:
        """TensorFlow's name of an element type."""
        value = self.attribute(name)
        return default if value is None else dtype_name(value.message.unsigned(6))

    def dtype(self, name: str, default: str = "float32") -> DType:
        """An element type.

        Raises:
            SourceOperatorError: no tensors of that type are known.
        """
        found = self.type_name(name, default)
        if found not in DTYPES:
            self.refuse(f"tensors of type {found} are not known")
        return DTYPES[found]

    def shape_attribute(self, name: str) -> InferredShape | None:
        """A shape; None when its rank is not known."""
        value = self.attribute(name)
        return None if value is None or not value.message.has(7) else shape_of(value.message.message(7))

    def function(self, name: str) -> FunctionDef:
        """A function of the graph.

        Raises:
            FunctionError: it does not exist.
        """
        value = self.attribute(name)
        wanted = "" if value is None else value.message.message(10).text(1)
        return self.importer.function(wanted, self.place)

    # ------------------------------------------------------------------ other nodes
    def source(self, ref: Ref) -> NodeDef | None:
        """The node that a reference of the same graph leads to, behind those that only pass a value on."""
        node = self.scope.body.nodes.get(ref.name)
        while node is not None and node.op in ("Identity", "StopGradient") and node.inputs:
            node = self.scope.body.nodes.get(node.inputs[0].name)
        return node

    def source_value(self, node: NodeDef, i: int) -> Tensor:
        """Operand `i` of a node in front of this one.

        Raises:
            SourceOperatorError: it is no tensor.
        """
        return self.standing_for(node)[i]

    def standing_for(self, node: NodeDef) -> TfNode:
        """A node in front of this one, as one being imported."""
        inputs = [self.importer.value_at(self.scope, ref, self.place) for ref in node.inputs]
        return TfNode(self.importer, self.scope, node, inputs, self.scope.describe(node))

    def inside(self, region: Graph) -> TfNode:
        """The node as one that emits into a graph of its own."""
        node = TfNode(self.importer, self.scope, self.proto, self.inputs, self.place)
        node.graph = region
        return node

    # ------------------------------------------------------------------ small constants
    def of(self, value: float | Sequence[int] | Array, dtype: DType = DType.I64) -> Tensor:
        """A constant of an element type."""
        return constant(np.asarray(value).astype(dtype.numpy))

    def keep(self, data: Data) -> Tensor:
        """A constant of the node's name."""
        return constant(data, self.name)


__all__ = ["Family", "Handler", "Nothing", "Result", "TensorList", "TfNode", "Value", "Variable"]
