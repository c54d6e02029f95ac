"""PyTorch's type promotion, and operands brought to the promoted type by explicit casts.

Operands fall into three ranks: tensors with axes, tensors without axes, and numbers of Python. The type of the highest
rank decides unless a lower rank is of a higher category (bool < integer < float < complex); numbers of Python have the
default types then (f32, c64, i64). The IR has no complex numbers of two f16: c64 stands for them.
Source: torch.result_type, c10/core/ScalarType.h, the page "Tensor Attributes".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs
import numpy as np

from uair.frontends.torch.sizes import as_tensor
from uair.ir.dims import Dim
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant

if TYPE_CHECKING:
    from uair.frontends.torch.node import TorchNode

Operand: TypeAlias = "Tensor | Dim | float | bool | complex"
"""A tensor, a size, or a number of Python."""

DEFAULT = DType.F32
"""Floating-point type of Python's floats and of quotients of integers (torch.get_default_dtype())."""

_PARTS = {DType.C64: DType.F32, DType.C128: DType.F64}
_COMPLEX = {DType.F16: DType.C64, DType.BF16: DType.C64, DType.F32: DType.C64, DType.F64: DType.C128}


def category(dtype: DType) -> int:
    """0 bool, 1 integer, 2 float, 3 complex."""
    if dtype in _PARTS:
        return 3
    return 2 if dtype.is_float else int(dtype.is_integer)


def promote(a: DType, b: DType) -> DType:
    """The type that two tensors of the same rank are brought to.

    Of two floats the wider; f16 and bf16 become f32. Of two signed integers the wider, u8 and a signed integer become
    the least signed one that holds both (i16 at least).
    """
    if a is b:
        return a
    low, high = sorted((a, b), key=category)
    kind = category(high)
    if kind == 3:
        parts = _PARTS.get(low, low)
        wide = category(parts) == 2 and promote(parts, _PARTS[high]) is DType.F64
        return DType.C128 if wide else high
    if kind > category(low):
        return high
    if kind == 2:
        if a.bits == b.bits:
            return DEFAULT
        return a if a.bits > b.bits else b
    return _integers(a, b)


def _integers(a: DType, b: DType) -> DType:
    wide, narrow = (a, b) if a.bits >= b.bits else (b, a)
    if wide.is_signed is narrow.is_signed or (wide.is_signed and wide.bits > narrow.bits):
        return wide
    return DType(f"i{min(2 * wide.bits, 64)}")


def as_float(dtype: DType) -> DType:
    """The type in which quotients, roots and the like of such numbers are given: integers and bools become f32."""
    return dtype if category(dtype) >= 2 else DEFAULT


def number_type(value: object) -> DType:
    """The default type of a Python number or a size."""
    if isinstance(value, bool):
        return DType.BOOL
    if isinstance(value, float):
        return DEFAULT
    return DType.C64 if isinstance(value, complex) else DType.I64


@attrs.define
class _Ranks:
    """The promoted types of the operands of each rank."""

    axes: DType | None = None
    scalar: DType | None = None
    number: DType | None = None

    def add(self, operand: Operand) -> None:
        if not isinstance(operand, Tensor):
            self.number = _joined(self.number, number_type(operand))
        elif operand.type.shape == ():
            self.scalar = _joined(self.scalar, operand.type.dtype)
        else:
            self.axes = _joined(self.axes, operand.type.dtype)


def _joined(a: DType | None, b: DType) -> DType:
    return b if a is None else promote(a, b)


def _combined(higher: DType | None, lower: DType | None) -> DType | None:
    """The type of the higher rank, raised where the lower one is of a higher category."""
    if higher is None or lower is None:
        return lower if higher is None else higher
    if category(lower) <= category(higher):
        return higher
    if category(lower) == 3 and higher.is_float:
        return _COMPLEX.get(higher, DType.C64)
    return lower if category(higher) < 2 else promote(higher, lower)


def result_type(*operands: Operand) -> DType:
    """The type that operands are promoted to: i32 tensor and 1.5: f32; f16 tensor and f32 without axes: f16.

    Raises:
        ValueError: there are none.
    """
    ranks = _Ranks()
    for operand in operands:
        ranks.add(operand)
    found = _combined(ranks.axes, _combined(ranks.scalar, ranks.number))
    if found is None:
        raise ValueError("no operand to promote")
    return found


def operand(n: TorchNode, value: Operand, dtype: DType) -> Tensor:
    """An operand as a tensor of an element type: a cast where it is another's, a constant for a number."""
    if isinstance(value, (bool, float, complex, int)):
        return constant(np.asarray(value).astype(dtype.numpy))
    if isinstance(value, Tensor) and value.is_constant and value.type.shape == () and dtype not in _PARTS:
        return constant(value.numpy().astype(dtype.numpy), value.name) if value.type.dtype is not dtype else value
    return n.cast(value if isinstance(value, Tensor) else as_tensor(n, value), dtype)


def promoted(n: TorchNode, *operands: Operand, to: DType | None = None, floating: bool = False) -> Sequence[Tensor]:
    """Operands as tensors of the type that they are promoted to.

    Args:
        n: the call being imported.
        operands: tensors and numbers.
        to: the type, when it is not what promotion gives.
        floating: whether integers become f32, as for a true division.
    """
    common = to or result_type(*operands)
    if floating:
        common = as_float(common)
    return [operand(n, value, common) for value in operands]
