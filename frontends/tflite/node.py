"""What a handler sees of a TFLite operator: its operands as numbers, and a way to emit canonical nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs

from uair.frontends.common.node import SourceNode
from uair.frontends.common.table import Table
from uair.frontends.tflite import schema
from uair.frontends.tflite.model import OperatorInfo, Options, TensorInfo
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ir.location import Location
from uair.ops import Clip, Relu, Tanh

if TYPE_CHECKING:
    from collections.abc import Callable

    from uair.frontends.tflite.importer import Importer, Scope


@attrs.frozen
class Handle:
    """A variable of the model: what tensors of the type RESOURCE hold."""

    name: str


@attrs.frozen
class Complex:
    """Complex numbers, as pairs of a real and an imaginary part along the last axis of a tensor."""

    pairs: Tensor


Value: TypeAlias = "Tensor | Handle | Complex"
"""What a tensor of the file stands for."""
Result: TypeAlias = "Value | Sequence[Value | None]"
Handler: TypeAlias = "Callable[[TfliteNode], Result]"


class Family(Table[Handler]):
    """Handlers of one operator family, by the operator's name in the schema."""


class TfliteNode(SourceNode):
    """One operator being imported.

    An operand is asked for as a tensor of real numbers, `n[0]`, or as it is stored, `n.raw(0)`: the two differ where it
    is quantized. A handler gives real numbers; they are quantized where the file says that the result is.

    Attributes:
        importer: of the file.
        scope: the subgraph.
        operator: the operator.
    """

    __slots__ = ("importer", "operator", "scope")

    def __init__(self, importer: Importer, scope: Scope, operator: OperatorInfo, *, name: str, place: str) -> None:
        loc = Location.of(name, operator.name)
        super().__init__(importer.builder, scope.graph, op_type=operator.name, name=name, loc=loc, place=place)
        self.importer = importer
        self.scope = scope
        self.operator = operator

    @property
    def options(self) -> Options:
        """The operator's options."""
        return self.operator.options

    @property
    def payload(self) -> bytes:
        """The options of a custom operator, as they stand in the file."""
        span = self.operator.payload
        return b"" if span is None else bytes(self.importer.file.view(span.offset, span.nbytes))

    def __len__(self) -> int:
        """Number of operands, those left out too."""
        return len(self.operator.inputs)

    # ------------------------------------------------------------------ operands
    def has(self, i: int) -> bool:
        """Whether operand `i` is given."""
        return i < len(self.operator.inputs) and self.operator.inputs[i] != -1

    def number(self, i: int) -> int:
        """The tensor of the subgraph that is operand `i`.

        Raises:
            SourceOperatorError: it is left out.
        """
        if not self.has(i):
            self.refuse(f"operand {i} is missing, it has {len(self)}")
        return self.operator.inputs[i]

    def info(self, i: int) -> TensorInfo:
        """What the file says of operand `i`."""
        return self.scope.subgraph.tensors[self.number(i)]

    def result_info(self, i: int = 0) -> TensorInfo:
        """What the file says of result `i`.

        Raises:
            SourceOperatorError: there is none.
        """
        if i >= len(self.operator.outputs):
            self.refuse(f"result {i} is missing, it has {len(self.operator.outputs)}")
        return self.scope.subgraph.tensors[self.operator.outputs[i]]

    def value(self, i: int) -> Value:
        """What operand `i` stands for."""
        return self.scope.get(self.number(i), self.place)

    def raw(self, i: int) -> Tensor:
        """Operand `i` as it is stored.

        Raises:
            SourceOperatorError: it is no tensor.
        """
        return self.importer.tensor(self, self.number(i))

    def __getitem__(self, i: int) -> Tensor:
        """Operand `i` as real numbers."""
        return self.importer.real(self, self.number(i))

    def optional(self, i: int) -> Tensor | None:
        """Operand `i` as real numbers, None when it is left out."""
        return self[i] if self.has(i) else None

    @property
    def operands(self) -> list[Tensor]:
        """All operands as real numbers."""
        return [self[i] for i in range(len(self))]

    def weight(self, i: int, perm: Sequence[int] = ()) -> Tensor:
        """Operand `i` with its axes in another order, as real numbers; integers stay stored, with their scale behind.

        Args:
            i: the operand.
            perm: the order; as it is when empty.
        """
        return self.importer.weight(self, self.number(i), tuple(perm))

    @property
    def is_quantized(self) -> bool:
        """Whether the first result is quantized."""
        info = self.result_info()
        return info.quantization is not None and info.dtype is not None and info.dtype.is_integer

    # ------------------------------------------------------------------ results
    def activated(self, y: Tensor) -> Tensor:
        """A result behind the activation that the operator's options fuse into it."""
        name = self.options.choice("fused_activation_function", schema.ACTIVATIONS)
        if name == "SIGN_BIT":
            self.refuse("the fused activation SIGN_BIT has no meaning for numbers")
        return activate(self, y, name)

    def as_declared(self, y: Tensor, i: int = 0) -> Tensor:
        """An integer result in the element type that the file declares."""
        dtype = self.result_info(i).dtype
        return y if dtype is None else self.cast(y, dtype)

    def i64(self, x: Tensor) -> Tensor:
        """Indices or extents as i64."""
        return self.cast(x, DType.I64)


def activate(n: TfliteNode, y: Tensor, name: str) -> Tensor:
    """A tensor behind a fused activation."""
    if name == "RELU":
        return n(Relu(), y)
    if name == "RELU_N1_TO_1":
        return n(Clip(min=-1.0, max=1.0), y)
    if name == "RELU6":
        return n(Clip(min=0.0, max=6.0), y)
    return n(Tanh(), y) if name == "TANH" else y
