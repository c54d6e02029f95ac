"""Type promotion against torch.result_type, over all pairs of element types, ranks and kinds of numbers."""

from __future__ import annotations

import itertools

import pytest
import torch

from uair.frontends.torch.promotion import Operand, result_type
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ir.types import TensorType

TYPES = {
    torch.bool: DType.BOOL,
    torch.uint8: DType.U8,
    torch.int8: DType.I8,
    torch.int16: DType.I16,
    torch.int32: DType.I32,
    torch.int64: DType.I64,
    torch.float16: DType.F16,
    torch.bfloat16: DType.BF16,
    torch.float32: DType.F32,
    torch.float64: DType.F64,
    torch.complex64: DType.C64,
    torch.complex128: DType.C128,
}
NUMBERS = (True, 2, 1.5, 1j)


def _theirs(dtype: torch.dtype) -> DType:
    """UAIR's type; the IR has no complex numbers of two f16, c64 stands for them."""
    return DType.C64 if dtype is torch.complex32 else TYPES[dtype]


def _ours(value: object) -> Operand:
    if isinstance(value, torch.Tensor):
        return Tensor(TensorType(TYPES[value.dtype], tuple(value.shape)))
    assert isinstance(value, (bool, int, float, complex))
    return value


@pytest.mark.parametrize("shapes", [((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())], ids=str)
def test_two_tensors(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    for a, b in itertools.product(TYPES, TYPES):
        x, y = torch.zeros(shapes[0], dtype=a), torch.zeros(shapes[1], dtype=b)
        assert result_type(_ours(x), _ours(y)) is _theirs(torch.result_type(x, y)), (a, b)


@pytest.mark.parametrize("number", NUMBERS, ids=str)
@pytest.mark.parametrize("shape", [(2,), ()], ids=str)
def test_tensor_and_number(shape: tuple[int, ...], number: complex) -> None:
    for a in TYPES:
        x = torch.zeros(shape, dtype=a)
        assert result_type(_ours(x), number) is _theirs(torch.result_type(x, number)), a
        assert result_type(number, _ours(x)) is _theirs(torch.result_type(number, x)), a


def test_numbers_alone() -> None:
    for a, b in itertools.product(NUMBERS, NUMBERS):
        assert result_type(a, b) is _theirs(torch.result_type(a, b)), (a, b)
