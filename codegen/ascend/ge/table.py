"""From nodes to GE operators: the graph under construction, and which function writes which canonical operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import attrs
import numpy as np

from uair.codegen.ascend.ge.ir import GE_TYPES, PROTO_TYPES, GeGraph, GeOp, Value
from uair.errors import UairError
from uair.ir.data import ArrayData, Data
from uair.ir.dims import static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor
from uair.ir.types import TensorType
from uair.names import Namer
from uair.ops.base import Operator

LEGAL = r"[A-Za-z0-9_.-]+"


class NoGeForm(UairError):
    """An operator, attribute or type has no form among the GE operators whose prototypes are known."""

    code = "UAIR-E0552"
    title = "Model has no GE IR form"


class GraphBuilder:
    """A GE graph under construction.

    Attributes:
        graph: the operators so far.
        values: what stands for each tensor.
    """

    def __init__(self, name: str) -> None:
        self.graph = GeGraph(name)
        self.values: dict[Tensor, Value] = {}
        self._names = Namer(LEGAL, default="node")
        self._literals: dict[tuple[DType, tuple[int, ...], bytes], Value] = {}
        self._by_data: dict[Data, Value] = {}

    def reserve(self, names: Iterable[str]) -> None:
        """Keep the names of the inputs for the Data operators."""
        for name in names:
            self._names.reserve(name)

    def data(self, name: str, tensor: Tensor) -> None:
        """An input of the graph, under a name that was reserved."""
        require_type(tensor.type)
        op = GeOp.make(name, "Data", (), (tensor.type,), {"index": len(self.graph.inputs)})
        self.graph.ops.append(op)
        self.graph.inputs.append(name)
        self.values[tensor] = op.results[0]

    def append(
        self,
        hint: str,
        type: str,
        inputs: Sequence[Value],
        outputs: Sequence[TensorType],
        attributes: Mapping[str, Any] | None = None,
    ) -> tuple[Value, ...]:
        """An operator behind all others; its results."""
        for each in outputs:
            require_type(each)
        op = GeOp.make(self._names.unique(hint, type), type, inputs, outputs, attributes or {})
        self.graph.ops.append(op)
        return op.results

    def constant(self, data: Data, hint: str) -> Value:
        """A Const operator; one for each constant, however often it is used."""
        known = self._by_data.get(data)
        if known is None:
            type_ = TensorType(data.dtype, data.shape)
            (known,) = self.append(hint or "constant", "Const", (), (type_,), {"value": data})
            self._by_data[data] = known
        return known

    def literal(self, values: Any, dtype: DType, hint: str) -> Value:
        """A small constant that an operator needs beside the model's own."""
        array = np.asarray(values, dtype.numpy)
        key = (dtype, tuple(array.shape), array.tobytes())
        if key not in self._literals:
            self._literals[key] = self.constant(ArrayData(array, dtype), hint)
        return self._literals[key]

    def value(self, tensor: Tensor) -> Value:
        """What stands for a tensor."""
        if tensor not in self.values and tensor.data is not None:
            self.values[tensor] = self.constant(tensor.data, tensor.name)
        return self.values[tensor]


def require_type(type_: TensorType) -> None:
    """Refuse what a tensor descriptor cannot say.

    Raises:
        NoGeForm: naming the type.
    """
    if not type_.is_tensor or type_.dtype not in PROTO_TYPES:
        raise NoGeForm(f"a value is {type_}: GE IR has no such element type here")
    if not type_.is_static:
        raise NoGeForm(f"a value is {type_}: the file is written for static shapes only", hint="give --shape")
    if 0 in static(type_.dims):
        raise NoGeForm(f"a value is {type_}: the compiler takes no empty tensors")


@attrs.frozen
class Emission:
    """One node that is being written.

    Attributes:
        builder: the graph.
        node: the node.
    """

    builder: GraphBuilder
    node: Node

    def tensor(self, i: int = 0) -> Tensor:
        """Operand `i`, which must be there."""
        tensor = self.node.inputs[i]
        assert tensor is not None
        return tensor

    def given(self, i: int) -> bool:
        """Whether operand `i` is there."""
        return i < len(self.node.inputs) and self.node.inputs[i] is not None

    def x(self, i: int = 0) -> Value:
        """What stands for operand `i`."""
        return self.builder.value(self.tensor(i))

    @property
    def operands(self) -> list[Value]:
        """All operands that are there."""
        return [self.builder.value(t) for t in self.node.inputs if t is not None]

    def type(self, i: int = 0) -> TensorType:
        """Type of operand `i`."""
        return self.tensor(i).type

    def shape(self, i: int = 0) -> tuple[int, ...]:
        """Shape of operand `i`.

        Raises:
            NoGeForm: it is not static.
        """
        require_type(self.type(i))
        return static(self.type(i).dims)

    @property
    def y(self) -> TensorType:
        """Type of the first result."""
        return self.node.outputs[0].type

    def constant(self, i: int) -> Array:
        """Values of operand `i`.

        Raises:
            NoGeForm: it is computed.
        """
        if not self.tensor(i).is_constant:
            raise NoGeForm(f"operand {i} of {self.node.op_type} must be a constant")
        return self.tensor(i).numpy()

    def literal(self, values: Any, dtype: DType) -> Value:
        """A constant of its own."""
        return self.builder.literal(values, dtype, f"{self.node.name}.constant")

    def op(self, name: str, inputs: Sequence[Value], type: TensorType, **attributes: Any) -> Value:
        """An operator in front of the last one."""
        return self.builder.append(f"{self.node.name}.{name}", name, inputs, (type,), attributes)[0]

    def results(self, name: str, inputs: Sequence[Value], extra: Sequence[TensorType] = (), **attributes: Any) -> None:
        """The operator that gives the node's results; `extra` are types of results that nobody reads."""
        types = [t.type for t in self.node.outputs]
        values = self.builder.append(self.node.name, name, inputs, [*types, *extra], attributes)
        self.builder.values.update(zip(self.node.outputs, values, strict=False))

    def same(self, value: Value) -> None:
        """Let an existing value be the node's result."""
        self.builder.values[self.node.outputs[0]] = value

    # ------------------------------------------------------------------ what many need
    def cast(self, value: Value, dtype: DType) -> Value:
        """A value in another element type."""
        if value.type.dtype is dtype:
            return value
        return self.op("Cast", [value], value.type.with_dtype(dtype), dst_type=ge_type(dtype))

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """A value in another shape."""
        target = value.type.with_shape(tuple(shape))
        return self.op("Reshape", [value, self.literal(list(shape), DType.I64)], target, axis=0, num_axes=-1)


def ge_type(dtype: DType) -> int:
    """ge::DataType of an element type.

    Raises:
        NoGeForm: no source tells its number.
    """
    if dtype not in GE_TYPES:
        raise NoGeForm(f"the number of element type {dtype} in attributes is not known")
    return GE_TYPES[dtype]


Emitter: TypeAlias = Callable[[Emission, Any], None]
EmitterT = TypeVar("EmitterT", bound=Callable[..., None])


class GeEmitters:
    """Emitters by operator class."""

    def __init__(self, *tables: GeEmitters) -> None:
        """A table, joined from others."""
        self._entries: dict[type[Operator], Emitter] = {}
        for table in tables:
            self._entries.update(table._entries)

    def of(self, *operators: type[Operator]) -> Callable[[EmitterT], EmitterT]:
        """Decorator of the function that writes these operators."""

        def register(function: EmitterT) -> EmitterT:
            self._entries.update(dict.fromkeys(operators, function))
            return function

        return register

    def direct(self, names: Mapping[type[Operator], str]) -> None:
        """Operators that are a GE operator with the same operands and no attributes that matter."""

        def writer(name: str) -> Emitter:
            return lambda e, op: e.results(name, e.operands)

        for cls, name in names.items():
            self._entries[cls] = writer(name)

    def emitter(self, op: Operator) -> Emitter:
        """The function that writes `op`.

        Raises:
            NoGeForm: there is none.
        """
        if type(op) not in self._entries:
            raise NoGeForm(f"{op.op_type} has no GE form that is known")
        return self._entries[type(op)]

    def operators(self) -> Iterable[type[Operator]]:
        """The operators that have an emitter."""
        return self._entries.keys()
