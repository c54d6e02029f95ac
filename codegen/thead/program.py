"""A csinn program as data: tensors, calls of operators, and the constants that lie in model.params.

Names of functions, structs and enumerators are those of the headers of SHL 3.2 (csinn/csi_nn.h and
csinn/csinn_data_structure.h, in the wheel of HHB 3.2.3).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import attrs
import numpy as np

from uair.codegen.thead.errors import NotInCsinn
from uair.ir.dtype import Array

ALIGNMENT = 64
"""Constants begin at multiples of this many bytes: a cache line, and more than any vector load of the library needs."""
MAX_RANK = 8
"""MAX_DIM of csinn_data_structure.h."""


class CType(enum.Enum):
    """Element types of csinn tensors that UAIR writes: the suffix of CSINN_DTYPE_, and bytes per element."""

    BOOL = ("BOOL", 1)
    INT8 = ("INT8", 1)
    INT32 = ("INT32", 4)
    INT64 = ("INT64", 8)
    FLOAT16 = ("FLOAT16", 2)
    FLOAT32 = ("FLOAT32", 4)

    @property
    def c(self) -> str:
        """The enumerator."""
        return f"CSINN_DTYPE_{self.value[0]}"

    @property
    def size(self) -> int:
        """Bytes per element."""
        return self.value[1]

    @property
    def is_real(self) -> bool:
        """Whether it stands for real numbers by itself."""
        return self in (CType.FLOAT16, CType.FLOAT32)


ACTIVATION_LAYOUTS = ("NULL", "N", "NC", "NCW", "NCHW", "NCDHW", "NLCDHW")
"""Layouts of plain tensors by rank; more than six axes have none."""


def plain_layout(rank: int) -> str:
    """The layout of a plain tensor: the suffix of CSINN_LAYOUT_."""
    return ACTIVATION_LAYOUTS[rank] if rank < len(ACTIVATION_LAYOUTS) else "NULL"


@attrs.frozen(eq=False)
class QuantInfo:
    """What 8-bit integers stand for: (q - zero_point) * scale.

    Attributes:
        scales: f32, one, or one per index of axis 0.
        zero_points: as many.
    """

    scales: Array
    zero_points: Array

    @staticmethod
    def make(scale: Array, zero_point: Array) -> QuantInfo:
        """From the operands of a Quantize or Dequantize."""
        scales = np.asarray(scale, np.float32).reshape(-1)
        return QuantInfo(scales, np.broadcast_to(np.asarray(zero_point, np.int32).reshape(-1), scales.shape))

    def equals(self, other: QuantInfo | None) -> bool:
        """Whether both mean the same."""
        return (
            other is not None
            and np.array_equal(self.scales, other.scales)
            and np.array_equal(self.zero_points, other.zero_points)
        )


@attrs.define(eq=False)
class CTensor:
    """A csinn tensor.

    Attributes:
        name: for people; the name in the user's model.
        shape: extents.
        ctype: element type.
        layout: suffix of CSINN_LAYOUT_.
        quant: of INT8 tensors, and of INT32 biases.
        data: values of a constant; computed when it is written.
    """

    name: str
    shape: tuple[int, ...]
    ctype: CType
    layout: str
    quant: QuantInfo | None = None
    data: Callable[[], Array] | None = None

    @property
    def elements(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@attrs.frozen
class Enumerator:
    """A name of the headers, as the value of a field."""

    name: str


Value: TypeAlias = "int | float | bool | Enumerator | tuple[int, ...]"
"""Of a field of a struct of parameters: a tuple becomes an array of int32_t that the field points to."""

Operand: TypeAlias = "CTensor | Sequence[CTensor]"


@attrs.frozen(eq=False)
class Call:
    """One operator: `<function>_init(operands..., params)` once, and `<function>(operands..., params)` to establish it.

    Attributes:
        function: of csi_nn.h, e.g. "csinn_conv2d".
        struct: of its parameters, e.g. "csinn_conv2d_params".
        operands: as the function takes them; a sequence becomes an array of tensors.
        fields: of the struct, in order; a dot in a name reaches into a struct within.
        name: of the operator, for the library's messages.
    """

    function: str
    struct: str
    operands: tuple[Operand, ...]
    fields: Mapping[str, Value]
    name: str


@attrs.define(eq=False)
class Program:
    """A whole csinn graph.

    Attributes:
        inputs: tensors that are fed.
        outputs: tensors that are read.
        calls: in the order of execution.
    """

    inputs: list[CTensor] = attrs.Factory(list[CTensor])
    outputs: list[CTensor] = attrs.Factory(list[CTensor])
    calls: list[Call] = attrs.Factory(list[Call])

    def tensors(self) -> list[CTensor]:
        """Every tensor once, in the order of first use."""
        found = dict.fromkeys(self.inputs)
        for call in self.calls:
            for operand in call.operands:
                found.update(dict.fromkeys([operand] if isinstance(operand, CTensor) else operand))
        found.update(dict.fromkeys(self.outputs))
        return list(found)


@attrs.define(eq=False)
class Constants:
    """The content of model.params: constants, each at a multiple of ALIGNMENT bytes, equal ones once.

    Attributes:
        chunks: what is written, in order.
        size: bytes so far.
    """

    chunks: list[bytes] = attrs.Factory(list[bytes])
    size: int = 0
    _known: dict[bytes, int] = attrs.Factory(dict[bytes, int])

    def add(self, array: Array) -> int:
        """Take in an array, in C order, little endian; its offset."""
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        offset = self._known.get(data)
        if offset is None:
            padding = -self.size % ALIGNMENT
            offset = self.size + padding
            self.chunks += [bytes(padding), data]
            self.size = offset + len(data)
            self._known[data] = offset
        return offset


def check_rank(name: str, rank: int) -> None:
    """Refuse tensors of more axes than csinn tensors have.

    Raises:
        NotInCsinn: see there.
    """
    if rank > MAX_RANK:
        raise NotInCsinn(f"{name} has {rank} axes, a csinn tensor at most {MAX_RANK}", hint="merge axes with Reshape")
