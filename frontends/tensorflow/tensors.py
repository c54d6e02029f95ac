"""Stored tensors and element types (TensorProto, TensorShapeProto, DataType)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from uair.frontends.common.errors import SourceFileError
from uair.frontends.tensorflow.wire import Message
from uair.ir.data import ArrayData, Data, SplatData
from uair.ir.dims import InferredShape, static
from uair.ir.dtype import Array, DType

MAX_ELEMENTS = 1 << 47
MAX_RANK = 64
MAX_VALUES = 1 << 26
"""Numbers of a tensor that are stored one by one and not all equal; tensor_content holds larger ones."""

# tensorflow/core/framework/types.proto
NAMES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64",
    9: "int64", 10: "bool", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16", 16: "quint16",
    17: "uint16", 18: "complex128", 19: "float16", 20: "resource", 21: "variant", 22: "uint32", 23: "uint64",
    24: "float8_e5m2", 25: "float8_e4m3fn", 26: "float8_e4m3fnuz", 27: "float8_e4m3b11fnuz", 28: "float8_e5m2fnuz",
    29: "int4", 30: "uint4", 31: "int2", 32: "uint2",
}  # fmt: skip
DTYPES: dict[str, DType] = {
    "float32": DType.F32, "float64": DType.F64, "int32": DType.I32, "uint8": DType.U8, "int16": DType.I16,
    "int8": DType.I8, "string": DType.STRING, "complex64": DType.C64, "int64": DType.I64, "bool": DType.BOOL,
    "qint8": DType.I8, "quint8": DType.U8, "qint32": DType.I32, "bfloat16": DType.BF16, "qint16": DType.I16,
    "quint16": DType.U16, "uint16": DType.U16, "complex128": DType.C128, "float16": DType.F16, "uint32": DType.U32,
    "uint64": DType.U64, "float8_e5m2": DType.F8E5M2, "float8_e4m3fn": DType.F8E4M3,
    "float8_e4m3fnuz": DType.F8E4M3FNUZ, "float8_e5m2fnuz": DType.F8E5M2FNUZ, "int4": DType.I4, "uint4": DType.U4,
    "int2": DType.I2, "uint2": DType.U2,
}  # fmt: skip
_REFERENCE = 100  # added to the number of a type that is a TensorFlow 1 reference to a variable


def dtype_name(number: int) -> str:
    """TensorFlow's name of an element type."""
    number = number - _REFERENCE if number > _REFERENCE else number
    return NAMES.get(number, f"type {number}")


def dtype_of(name: str, place: str) -> DType:
    """The element type called `name` in TensorFlow.

    Raises:
        SourceFileError: no tensors of that type are known.
    """
    if name not in DTYPES:
        raise SourceFileError(f"tensors of type {name} are not known", place=place)
    return DTYPES[name]


def shape_of(message: Message) -> InferredShape | None:
    """A shape; None when its rank is not known, None in it where an extent is not.

    Raises:
        SourceFileError: it has too many axes, or an extent that is none.
    """
    if message.flag(3):
        return None
    extents = [d.integer(1) for d in message.messages(2)]
    if len(extents) > MAX_RANK or any(d < -1 for d in extents):
        message.source.fail(f"a shape is {extents[:MAX_RANK]}", message.start)
    return tuple(None if d == -1 else d for d in extents)


def tensor_data(message: Message, place: str) -> Data:
    """The values of a stored tensor, by reference where they lie in the file as they are.

    Raises:
        SourceFileError: its values do not fit its shape, or its type has no values that can be stored.
    """
    name = dtype_name(message.integer(1))
    dtype, extents = dtype_of(name, place), shape_of(message.message(2))
    if extents is None or None in extents:
        raise SourceFileError("a stored tensor has no shape", place=place)
    shape = static(extents)
    size = math.prod(shape)
    if size > MAX_ELEMENTS:
        raise SourceFileError(f"a stored tensor has the shape {list(shape)}", place=place)
    span = message.span(4)
    if span is not None and span[0] < span[1]:
        return _content(message, span, name, dtype, shape)
    return _listed(message, name, dtype, shape, place)


def _content(message: Message, span: tuple[int, int], name: str, dtype: DType, shape: tuple[int, ...]) -> Data:
    """A tensor whose bytes are stored; types narrower than a byte take one each in TensorFlow."""
    start, end = span
    width = max(dtype.bits // 8, 1)
    if dtype is DType.STRING or end - start != math.prod(shape) * width:
        message.source.fail(f"a tensor {name}{list(shape)} has {end - start} bytes", start)
    if dtype.bits < 8:
        codes = np.frombuffer(message.source.buffer[start:end], np.int8)
        return ArrayData(codes.astype(dtype.numpy).reshape(shape), dtype)
    return message.source.data(start, end, dtype, shape)


def _packed16(values: list[int]) -> Array:
    return np.array([v & 0xFFFF for v in values], np.uint16)


# The field that holds the numbers of a type, and how they are read (tensorflow/core/framework/tensor.proto).
_READ: dict[str, Callable[[Message], Array]] = {
    "float32": lambda m: m.fixed(5, "<f4"),
    "float64": lambda m: m.fixed(6, "<f8"),
    "complex64": lambda m: m.fixed(9, "<f4")[: len(m.fixed(9, "<f4")) // 2 * 2].view("<c8"),
    "complex128": lambda m: m.fixed(12, "<f8")[: len(m.fixed(12, "<f8")) // 2 * 2].view("<c16"),
    "int64": lambda m: np.array(m.integers(10), np.int64),
    "bool": lambda m: np.array([bool(v) for v in m.unsigneds(11)], np.bool_),
    "float16": lambda m: _packed16(m.unsigneds(13)).view(np.float16),
    "bfloat16": lambda m: _packed16(m.unsigneds(13)).view(DType.BF16.numpy),
    "uint32": lambda m: np.array(m.unsigneds(16), np.uint64).astype(np.uint32),
    "uint64": lambda m: np.array(m.unsigneds(17), np.uint64),
}


def _numbers(message: Message, name: str, dtype: DType) -> Array:
    """The numbers that a tensor lists."""
    if name in _READ:
        return _READ[name](message)
    if name.startswith("float8"):
        return np.frombuffer(message.raw(18), np.uint8).view(dtype.numpy)
    return np.array(message.integers(7), np.int64).astype(dtype.numpy)


def _listed(message: Message, name: str, dtype: DType, shape: tuple[int, ...], place: str) -> Data:
    """A tensor whose numbers are listed: all of them, or fewer, and the last one fills the rest; none are zeros."""
    size = math.prod(shape)
    if dtype is DType.STRING:
        return _strings(message, shape, place)
    values = _numbers(message, name, dtype)
    if len(values) > size:
        raise SourceFileError(f"a tensor of {size} elements lists {len(values)}", place=place)
    if len(values) <= 1:
        value: Any = values[0] if len(values) else np.zeros((), dtype.numpy)
        return SplatData(value, dtype, shape) if size > 1 else ArrayData(np.full(shape, value, dtype.numpy), dtype)
    if size > MAX_VALUES:
        raise SourceFileError(f"a tensor {list(shape)} lists only {len(values)} numbers", place=place)
    whole = np.full(size, values[-1], dtype.numpy)
    whole[: len(values)] = values
    return ArrayData(whole.reshape(shape), dtype)


def _strings(message: Message, shape: tuple[int, ...], place: str) -> Data:
    values, size = message.blobs(8), math.prod(shape)
    if len(values) > size or (size > MAX_VALUES):
        raise SourceFileError(f"a tensor of {size} strings lists {len(values)}", place=place)
    texts = [v.decode("utf-8", "surrogateescape") for v in values] or [""]
    whole = np.empty(size, object)
    whole[:] = texts[-1]
    whole[: len(values)] = texts[: len(values)]
    return ArrayData(whole.reshape(shape), DType.STRING)


__all__ = ["DTYPES", "NAMES", "dtype_name", "dtype_of", "shape_of", "tensor_data"]
