"""Constant data, held by reference.

A constant tensor refers to its values through a `Data` object: bytes of a memory-mapped model file, one repeated
value, an array in memory, or a computation over other data that is done when somebody asks. Passes hand these on; only
a pass that needs the numbers materialises them, and only a pass that changes them makes new data.
"""

from __future__ import annotations

import abc
import hashlib
import math
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from uair.ir.dtype import Array, DType


class Data(abc.ABC):
    """Values of a constant: element type, static shape, and a way to get at the numbers."""

    __slots__ = ("_repeated", "_sha256", "dtype", "shape")

    def __init__(self, dtype: DType, shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.shape = shape
        self._sha256 = ""
        self._repeated: tuple[float | None] | None = None

    @abc.abstractmethod
    def array(self) -> Array:
        """The values, as a read-only array of `dtype.numpy` and `shape`."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in a file: dense, little-endian, types under 8 bits packed."""
        return (self.size * self.dtype.bits + 7) // 8

    def tobytes(self) -> bytes | memoryview:
        """The values as in a file: dense, row-major, little-endian, types under 8 bits packed low bits first.

        Raises:
            TypeError: strings have no such form.
        """
        return pack_bytes(self.array(), self.dtype)

    @property
    def sha256(self) -> str:
        """Hash of `tobytes()` in hex; computed once, when first asked for."""
        if not self._sha256:
            if self.dtype is DType.STRING:
                content: Any = repr([str(s) for s in self.array().reshape(-1)]).encode()
            else:
                content = self.tobytes()
            self._sha256 = hashlib.sha256(content).hexdigest()
        return self._sha256

    @property
    def repeated_number(self) -> float | None:
        """The number that every element is; None when they differ, are no numbers, or are too many to look through.

        Computed once, when first asked for.
        """
        if self._repeated is None:
            numbers = self.dtype.is_float or self.dtype.is_integer
            self._repeated = (self._find_repeated() if numbers else None,)
        return self._repeated[0]

    def _find_repeated(self) -> float | None:
        if self.nbytes > EAGER_BYTES or not self.size:
            return None
        flat = self.array().reshape(-1)
        return float(flat[0]) if np.all(flat == flat[0]) else None

    def equals(self, other: Data) -> bool:
        """Whether type, shape and every bit agree."""
        if self is other:
            return True
        if self.dtype is not other.dtype or self.shape != other.shape:
            return False
        if self.dtype is DType.STRING:
            return bool(np.array_equal(self.array(), other.array()))
        return self.sha256 == other.sha256

    def release(self) -> None:  # noqa: B027  most data have nothing to give back
        """Give back memory that can be had again (pages of a mapped file); a hint, safe at any time."""

    def __copy__(self) -> Data:
        """Data of an identity of its own over the same values."""
        copy = object.__new__(type(self))
        for name in (slot for cls in type(self).__mro__ for slot in getattr(cls, "__slots__", ())):
            if hasattr(self, name):
                setattr(copy, name, getattr(self, name))
        return copy

    def __deepcopy__(self, memo: object) -> Data:
        return self  # nothing can change it

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its values: a file that it is mapped from need not be there when it is read again."""
        return ArrayData, (np.array(self.array()), self.dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dtype}{list(self.shape)})"


class ArrayData(Data):
    """Values in memory."""

    __slots__ = ("_array",)

    def __init__(self, array: Array, dtype: DType | None = None) -> None:
        super().__init__(dtype or DType.from_numpy(array.dtype), tuple(int(d) for d in array.shape))
        if array.flags.writeable:
            array = array.view()
            array.flags.writeable = False
        self._array = array

    def array(self) -> Array:
        """The array itself."""
        return self._array


class PackedData(Data):
    """Values in memory as they lie in a file: types under 8 bits packed."""

    __slots__ = ("_raw",)

    def __init__(self, array: Array, dtype: DType | None = None) -> None:
        super().__init__(dtype or DType.from_numpy(array.dtype), tuple(int(d) for d in array.shape))
        self._raw = pack_bytes(array, self.dtype)

    def array(self) -> Array:
        """The values, unpacked anew each time."""
        values = unpack_bytes(self._raw, self.dtype, self.shape)
        values.flags.writeable = False
        return values

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedData, (self.array(), self.dtype)

    def tobytes(self) -> bytes | memoryview:
        """The packed bytes themselves."""
        return self._raw


class SplatData(Data):
    """One value repeated over a shape; costs nothing until its bytes are written."""

    __slots__ = ("value",)

    def __init__(self, value: Any, dtype: DType, shape: tuple[int, ...]) -> None:
        super().__init__(dtype, shape)
        self.value = np.asarray(value, dtype=dtype.numpy).reshape(())

    def __reduce__(self) -> tuple[Any, ...]:
        return SplatData, (self.value, self.dtype, self.shape)

    def _find_repeated(self) -> float | None:
        return float(self.value)

    def array(self) -> Array:
        """A zero-stride view."""
        return np.broadcast_to(self.value, self.shape)


class MappedFile:
    """A read-only memory mapping of a regular file, shared by the data that point into it."""

    __slots__ = ("_map", "path", "size")

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.size = len(self._map)

    def view(self, offset: int, nbytes: int) -> memoryview:
        """The bytes [offset, offset + nbytes).

        Raises:
            ValueError: the range leaves the file.
        """
        if offset < 0 or nbytes < 0 or offset + nbytes > self.size:
            raise ValueError(f"bytes {offset}..{offset + nbytes} lie outside {self.path} of {self.size} bytes")
        return memoryview(self._map)[offset : offset + nbytes]

    def release(self, offset: int, nbytes: int) -> None:
        """Let the system drop the pages that lie wholly inside the range; they come back from the file on access."""
        first = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (offset + nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - first
        if length > 0 and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, first, length)


class MappedData(Data):
    """Values that are bytes of a mapped file."""

    __slots__ = ("file", "offset")

    def __init__(self, file: MappedFile, offset: int, dtype: DType, shape: tuple[int, ...]) -> None:
        super().__init__(dtype, shape)
        self.file = file
        self.offset = offset
        file.view(offset, self.nbytes)

    def array(self) -> Array:
        """A view of the mapping (a copy for types packed below a byte)."""
        return unpack_bytes(self.file.view(self.offset, self.nbytes), self.dtype, self.shape)

    def tobytes(self) -> memoryview:
        """The bytes of the file."""
        return self.file.view(self.offset, self.nbytes)

    def release(self) -> None:
        """Drop the pages."""
        self.file.release(self.offset, self.nbytes)


class ComputedData(Data):
    """Values computed from other data on demand, and kept only by those who ask.

    Folding a BatchNorm into a 98 MiB model's weights this way costs no memory until the weights are written, one at a
    time.
    """

    __slots__ = ("compute", "depth", "inputs")

    def __init__(
        self, compute: Callable[..., Array], inputs: tuple[Data, ...], dtype: DType, shape: tuple[int, ...]
    ) -> None:
        super().__init__(dtype, shape)
        self.compute = compute
        self.inputs = inputs
        self.depth: int = 1 + max((d.depth for d in inputs if isinstance(d, ComputedData)), default=0)

    def array(self) -> Array:
        """The result of the computation.

        Raises:
            InternalError: the computation gave another type or shape than announced.
        """
        result = np.asarray(self.compute(*(d.array() for d in self.inputs)))
        for d in self.inputs:
            d.release()
        if result.dtype != self.dtype.numpy or result.shape != self.shape:
            from uair.errors import InternalError

            raise InternalError(
                f"a computed constant gave {result.dtype}{list(result.shape)}, "
                f"announced was {self.dtype}{list(self.shape)}"
            )
        result.flags.writeable = False
        return result

    def release(self) -> None:
        """Drop what the inputs can drop."""
        for d in self.inputs:
            d.release()


EAGER_BYTES = 64 * 1024
"""Results up to this size are computed at once: a reference to them would not save anything."""
MAX_DEPTH = 8
"""Computations over computations deeper than this are done at once, which bounds the work of asking again."""


def derive(compute: Callable[..., Array], inputs: tuple[Data, ...], dtype: DType, shape: tuple[int, ...]) -> Data:
    """Data computed from other data: now when the result is small, on demand when it is large.

    Args:
        compute: takes the arrays of `inputs`, returns an array of `dtype` and `shape`; must not change them.
        inputs: what it is computed from.
        dtype: element type of the result.
        shape: shape of the result.
    """
    data = ComputedData(compute, inputs, dtype, shape)
    if data.nbytes <= EAGER_BYTES or data.depth > MAX_DEPTH or dtype is DType.STRING:
        return ArrayData(np.array(data.array()), dtype)
    return data


def pack_bytes(array: Array, dtype: DType) -> bytes | memoryview:
    """Dense little-endian bytes of `array`; elements under 8 bits are packed, the first in the lowest bits."""
    if dtype is DType.STRING:
        raise TypeError("strings have no raw bytes")
    if dtype.bits < 8:
        codes = np.ascontiguousarray(array).view(np.uint8).reshape(-1) & np.uint8((1 << dtype.bits) - 1)
        if 8 % dtype.bits:
            return _pack_bits(codes, dtype.bits)
        per_byte = 8 // dtype.bits
        codes = np.pad(codes, (0, -codes.size % per_byte)).reshape(-1, per_byte)
        packed = np.zeros(len(codes), np.uint8)
        for i in range(per_byte):
            packed |= codes[:, i] << np.uint8(i * dtype.bits)
        return packed.tobytes()
    dense = np.ascontiguousarray(array)
    if dense.dtype.byteorder == ">":
        dense = dense.astype(dense.dtype.newbyteorder("<"))
    return dense.reshape(-1).view(np.uint8).data if dense.size else b""


def unpack_bytes(raw: bytes | memoryview, dtype: DType, shape: tuple[int, ...]) -> Array:
    """The array whose `pack_bytes` are `raw`."""
    size = math.prod(shape)
    if dtype.bits < 8:
        packed = np.frombuffer(raw, np.uint8)
        codes = _unpack_codes(packed, dtype.bits)[:size]
        if dtype.is_integer and dtype.is_signed:
            sign = np.uint8(1 << (dtype.bits - 1))
            values: Array = ((codes ^ sign).astype(np.int8) - np.int8(sign)).astype(dtype.numpy)
        else:
            values = codes.astype(dtype.numpy) if dtype.is_integer else codes.view(dtype.numpy)
        return values.reshape(shape)
    return np.frombuffer(raw, dtype.numpy, count=size).reshape(shape)


def _unpack_codes(packed: Array, bits: int) -> Array:
    """The codes of `bits` bits each that lie in `packed`, the first in the lowest bits."""
    if 8 % bits:
        stream = np.unpackbits(packed, bitorder="little")
        planes = stream[: len(stream) // bits * bits].reshape(-1, bits)
        return np.packbits(planes, axis=1, bitorder="little").reshape(-1)
    shifts = np.arange(8 // bits, dtype=np.uint8) * np.uint8(bits)
    codes: Array = (packed[:, None] >> shifts) & np.uint8((1 << bits) - 1)
    return codes.reshape(-1)


def _pack_bits(codes: Array, bits: int) -> bytes:
    """Codes one after the other in a stream of bits; for widths that do not divide a byte."""
    planes = np.unpackbits(codes[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(planes.reshape(-1), bitorder="little").tobytes()
