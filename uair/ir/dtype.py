"""Element types of tensors."""

from __future__ import annotations

import enum
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class DType(enum.Enum):
    """Element type. The value is the spelling in the IR's text form; `numpy` is the type of evaluated arrays.

    Types narrower than a byte lie one element a byte in evaluated arrays and packed, low bits first, in files.
    Names of floats of 8 bits or less follow ml_dtypes (`f8e4m3` is OCP E4M3 without infinities, `float8_e4m3fn`).
    """

    BOOL = "bool"
    I2 = "i2"
    U2 = "u2"
    I4 = "i4"
    U4 = "u4"
    I8 = "i8"
    U8 = "u8"
    I16 = "i16"
    U16 = "u16"
    I32 = "i32"
    U32 = "u32"
    I64 = "i64"
    U64 = "u64"
    F4E2M1 = "f4e2m1"
    F6E2M3 = "f6e2m3"
    F6E3M2 = "f6e3m2"
    F8E4M3 = "f8e4m3"
    F8E5M2 = "f8e5m2"
    F8E4M3FNUZ = "f8e4m3fnuz"
    F8E5M2FNUZ = "f8e5m2fnuz"
    F8E8M0 = "f8e8m0"
    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    F64 = "f64"
    C64 = "c64"
    C128 = "c128"
    STRING = "string"

    numpy: np.dtype[Any]
    """dtype of evaluated arrays."""
    bits: int
    """width of one element in files and on devices; 0 for strings."""
    is_integer: bool
    is_float: bool
    is_signed: bool

    __hash__ = object.__hash__  # types are hashed all the time; that of Enum is a function of Python's

    @property
    def is_quantizable(self) -> bool:
        """Whether the type can hold quantized values (an integer of at most 32 bits or a float8)."""
        return (self.is_integer and self.bits <= 32) or (self.is_float and self.bits <= 8)

    @property
    def range(self) -> tuple[int, int]:
        """Least and greatest value of an integer type."""
        if not self.is_integer:
            raise TypeError(f"{self.value} is not an integer type")
        if self.is_signed:
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        return 0, (1 << self.bits) - 1

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return f"DType.{self.name}"

    @staticmethod
    def from_numpy(dtype: npt.DTypeLike) -> DType:
        """The DType of a NumPy dtype.

        Raises:
            TypeError: no DType corresponds to it.
        """
        resolved = np.dtype(dtype)
        found = _FROM_NUMPY.get(resolved)
        if found is None:
            if resolved.kind in "OUST":
                return DType.STRING
            raise TypeError(f"no tensor element type corresponds to NumPy dtype {resolved}")
        return found


_NUMPY: dict[DType, tuple[Any, int]] = {
    DType.BOOL: (np.bool_, 8),
    DType.I2: (ml_dtypes.int2, 2),
    DType.U2: (ml_dtypes.uint2, 2),
    DType.I4: (ml_dtypes.int4, 4),
    DType.U4: (ml_dtypes.uint4, 4),
    DType.I8: (np.int8, 8),
    DType.U8: (np.uint8, 8),
    DType.I16: (np.int16, 16),
    DType.U16: (np.uint16, 16),
    DType.I32: (np.int32, 32),
    DType.U32: (np.uint32, 32),
    DType.I64: (np.int64, 64),
    DType.U64: (np.uint64, 64),
    DType.F4E2M1: (ml_dtypes.float4_e2m1fn, 4),
    DType.F6E2M3: (ml_dtypes.float6_e2m3fn, 6),
    DType.F6E3M2: (ml_dtypes.float6_e3m2fn, 6),
    DType.F8E4M3: (ml_dtypes.float8_e4m3fn, 8),
    DType.F8E5M2: (ml_dtypes.float8_e5m2, 8),
    DType.F8E4M3FNUZ: (ml_dtypes.float8_e4m3fnuz, 8),
    DType.F8E5M2FNUZ: (ml_dtypes.float8_e5m2fnuz, 8),
    DType.F8E8M0: (ml_dtypes.float8_e8m0fnu, 8),
    DType.F16: (np.float16, 16),
    DType.BF16: (ml_dtypes.bfloat16, 16),
    DType.F32: (np.float32, 32),
    DType.F64: (np.float64, 64),
    DType.C64: (np.complex64, 64),
    DType.C128: (np.complex128, 128),
    DType.STRING: (np.object_, 0),
}
for _dtype, (_numpy, _bits) in _NUMPY.items():
    _dtype.numpy = np.dtype(_numpy)
    _dtype.bits = _bits
    _dtype.is_integer = _dtype.value.lstrip("iu").isdigit()
    _dtype.is_float = _dtype.value.startswith(("f", "bf"))
    _dtype.is_signed = not _dtype.value.startswith(("u", "bool", "string"))
_FROM_NUMPY = {d.numpy: d for d in DType if d is not DType.STRING}


def narrowed(value: Any, dtype: DType) -> Any:
    """A value with wider floats rounded to `dtype`, half to even, in the type that it had; lists element by element.

    What the type does not hold becomes infinite.
    """
    if isinstance(value, list):
        return [narrowed(item, dtype) for item in value]
    if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.floating):
        return value
    if value.dtype.itemsize * 8 <= dtype.bits:
        return value
    with np.errstate(over="ignore", invalid="ignore"):
        return value.astype(dtype.numpy).astype(value.dtype)
