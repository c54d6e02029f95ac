"""Stored tensors: `TensorProto` and `SparseTensorProto` to constant data."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
import numpy as np
import onnx
from onnx import AttributeProto, TensorProto

from uair.frontends.onnx.errors import OnnxTensorError, OnnxTypeError
from uair.frontends.onnx.external import ExternalFiles
from uair.frontends.onnx.text import check_entries
from uair.frontends.onnx.wire import LIST_TYPES, Bulk, Skeleton, count_varints, decode_varints
from uair.ir.data import ArrayData, ComputedData, Data, MappedData, MappedFile, unpack_bytes
from uair.ir.dtype import Array, DType

T = TypeVar("T")

MAX_ELEMENTS = 1 << 47
"""Elements of one tensor; NumPy counts bytes in 63 bits, and no file is that large."""

MAX_DENSE_BYTES = 1 << 28
"""A sparse tensor is spelled out up to this size."""

DTYPES: dict[int, DType] = {
    TensorProto.FLOAT: DType.F32,
    TensorProto.UINT8: DType.U8,
    TensorProto.INT8: DType.I8,
    TensorProto.UINT16: DType.U16,
    TensorProto.INT16: DType.I16,
    TensorProto.INT32: DType.I32,
    TensorProto.INT64: DType.I64,
    TensorProto.STRING: DType.STRING,
    TensorProto.BOOL: DType.BOOL,
    TensorProto.FLOAT16: DType.F16,
    TensorProto.DOUBLE: DType.F64,
    TensorProto.UINT32: DType.U32,
    TensorProto.UINT64: DType.U64,
    TensorProto.COMPLEX64: DType.C64,
    TensorProto.COMPLEX128: DType.C128,
    TensorProto.BFLOAT16: DType.BF16,
    TensorProto.FLOAT8E4M3FN: DType.F8E4M3,
    TensorProto.FLOAT8E4M3FNUZ: DType.F8E4M3FNUZ,
    TensorProto.FLOAT8E5M2: DType.F8E5M2,
    TensorProto.FLOAT8E5M2FNUZ: DType.F8E5M2FNUZ,
    TensorProto.UINT4: DType.U4,
    TensorProto.INT4: DType.I4,
    TensorProto.FLOAT4E2M1: DType.F4E2M1,
    TensorProto.FLOAT8E8M0: DType.F8E8M0,
    TensorProto.UINT2: DType.U2,
    TensorProto.INT2: DType.I2,
    27: DType.F6E2M3,  # numbers, for onnx before 1.23 has no names for them
    28: DType.F6E3M2,
}

# The field that holds the values of a type when raw_data does not (onnx.proto, TensorProto).
_FIELDS: dict[DType, str] = {
    DType.F32: "float_data",
    DType.C64: "float_data",
    DType.F64: "double_data",
    DType.C128: "double_data",
    DType.I64: "int64_data",
    DType.U32: "uint64_data",
    DType.U64: "uint64_data",
    DType.STRING: "string_data",
}
_FIXED_FIELDS = ("raw_data", "float_data", "double_data")  # their bytes in a file are the values


def dtype_of(number: int, place: str) -> DType:
    """The element type of an ONNX type number.

    Raises:
        OnnxTypeError: there is none of that number.
    """
    found = DTYPES.get(number)
    if found is None:
        raise OnnxTypeError(
            f"element type {number} is not known", place=place, hint="a newer version may read the model"
        )
    return found


@attrs.define(eq=False)
class TensorReader:
    """Turns stored tensors into constant data.

    Attributes:
        skeleton: where the large fields lie that were cut out of the model.
        buffer: the model file's bytes.
        file: the mapped model file; None for a model given as bytes.
        external: the files beside the model.
    """

    skeleton: Skeleton
    buffer: memoryview
    file: MappedFile | None
    external: ExternalFiles

    def data(self, tensor: TensorProto, place: str) -> Data:
        """The values of a stored tensor, by reference where they are large.

        Raises:
            OnnxTensorError: the declared shape does not match the number of values.
            OnnxTypeError: the element type is not known.
            OnnxExternalDataError: the values lie outside the model and cannot be read.
        """
        dtype = dtype_of(tensor.data_type, place)
        shape = tuple(tensor.dims)
        size = _checked_size(shape, place)
        if tensor.HasField("segment"):
            raise OnnxTensorError("the tensor is stored in segments, which no writer makes", place=place)
        if tensor.data_location == TensorProto.EXTERNAL:
            return self._external(tensor, dtype, shape, size, place)
        if dtype is DType.STRING:
            return _strings(tensor, shape, size, place)
        if tensor.HasField("raw_data"):
            bulk = self.skeleton.find(tensor.raw_data)
            if bulk is None:
                return _raw(tensor.raw_data, dtype, shape, size, place)
            return self._bulk(bulk, dtype, shape, size, place)
        return _typed(tensor, dtype, shape, size, place)

    def sparse(self, tensor: onnx.SparseTensorProto, place: str) -> Data:
        """The values of a sparse tensor, spelled out.

        Raises:
            OnnxTensorError: it contradicts itself, or is too large to spell out.
        """
        values = self.data(tensor.values, place)
        indices = self.data(tensor.indices, place)
        shape = tuple(tensor.dims)
        size = _checked_size(shape, place)
        if size * values.dtype.numpy.itemsize > MAX_DENSE_BYTES:
            raise OnnxTensorError(f"a sparse tensor of shape {list(shape)} is too large to be spelled out", place=place)
        places = indices.array()
        if values.shape != (values.size,) or indices.dtype is not DType.I64 or places.ndim not in (1, 2):
            raise OnnxTensorError("a sparse tensor needs a list of values and their int64 indices", place=place)
        if places.ndim == 2:
            limits = np.asarray(shape, np.int64)
            if places.shape != (values.size, len(shape)) or bool(((places < 0) | (places >= limits)).any()):
                raise OnnxTensorError("indices of a sparse tensor do not fit its shape", place=place)
            places = np.ravel_multi_index(tuple(places.T), shape) if size else places[:, 0]
        if places.shape != (values.size,) or bool(((places < 0) | (places >= size)).any()):
            raise OnnxTensorError("indices of a sparse tensor do not fit its shape", place=place)
        dense = np.zeros(size, values.dtype.numpy)
        dense[places] = values.array()
        return ArrayData(dense.reshape(shape))

    def restore(self, tensor: TensorProto) -> None:
        """Put data that were cut out back into a message."""
        bulk = self.skeleton.find(tensor.raw_data) if tensor.HasField("raw_data") else None
        if bulk is not None:
            content = self.buffer[bulk.offset : bulk.offset + bulk.nbytes]
            tensor.ClearField("raw_data")
            if bulk.field in _FIXED_FIELDS:
                tensor.raw_data = bytes(content)
            else:
                values = decode_varints(content)
                signed = {"int32_data": np.int32, "int64_data": np.int64, "uint64_data": np.uint64}[bulk.field]
                getattr(tensor, bulk.field).extend(values.astype(signed).tolist())

    def decoded(self, attribute: AttributeProto, decode: Callable[[memoryview], T]) -> T | None:
        """What `decode` makes of the fields of a list that was cut out of an attribute; None when it was not."""
        if attribute.type not in LIST_TYPES or not attribute.HasField("t"):
            return None
        bulk = self.skeleton.find(attribute.t.raw_data)
        if bulk is None:
            return None
        made = decode(self.buffer[bulk.offset : bulk.offset + bulk.nbytes])
        if self.file is not None:
            self.file.release(bulk.offset, bulk.nbytes)
        return made

    def restore_list(self, attribute: AttributeProto) -> None:
        """Put a list that was cut out back into an attribute."""
        content = self.decoded(attribute, bytes)
        if content is not None:
            attribute.ClearField("t")
            attribute.MergeFromString(content)

    # ------------------------------------------------------------------ by storage
    def _bulk(self, bulk: Bulk, dtype: DType, shape: tuple[int, ...], size: int, place: str) -> Data:
        if bulk.field in _FIXED_FIELDS:
            if bulk.field != "raw_data" and bulk.field != _FIELDS.get(dtype):
                raise _wrong_field(bulk.field, dtype, place)
            nbytes = (size * dtype.bits + 7) // 8
            if bulk.nbytes != nbytes:
                raise _wrong_bytes(bulk.nbytes, nbytes, dtype, shape, place)
            if self.file is not None:
                return MappedData(self.file, bulk.offset, dtype, shape)
            return ArrayData(unpack_bytes(self.buffer[bulk.offset : bulk.offset + nbytes], dtype, shape), dtype)
        if bulk.field != _FIELDS.get(dtype, "int32_data"):
            raise _wrong_field(bulk.field, dtype, place)
        content = self.buffer[bulk.offset : bulk.offset + bulk.nbytes]
        _check_count(count_varints(content), _stored(dtype, size), dtype, shape, place)
        if self.file is None:
            return ArrayData(_from_varints(dtype, shape, np.frombuffer(content, np.uint8)), dtype)
        raw = MappedData(self.file, bulk.offset, DType.U8, (bulk.nbytes,))
        return ComputedData(functools.partial(_from_varints, dtype, shape), (raw,), dtype, shape)

    def _external(self, tensor: TensorProto, dtype: DType, shape: tuple[int, ...], size: int, place: str) -> Data:
        if dtype is DType.STRING:
            raise OnnxTensorError("strings cannot be stored as external data", place=place)
        if size == 0:
            return ArrayData(np.zeros(shape, dtype.numpy), dtype)
        check_entries(tensor, place)
        entries = {entry.key: entry.value for entry in tensor.external_data}
        file, offset = self.external.locate(entries, (size * dtype.bits + 7) // 8, place)
        return MappedData(file, offset, dtype, shape)


def _raw(raw: bytes, dtype: DType, shape: tuple[int, ...], size: int, place: str) -> Data:
    nbytes = (size * dtype.bits + 7) // 8
    if len(raw) != nbytes:
        raise _wrong_bytes(len(raw), nbytes, dtype, shape, place)
    return ArrayData(unpack_bytes(raw, dtype, shape), dtype)


def _typed(tensor: TensorProto, dtype: DType, shape: tuple[int, ...], size: int, place: str) -> Data:
    """The values in the field of their type."""
    field = _FIELDS.get(dtype, "int32_data")
    stored: Sequence[float] = getattr(tensor, field)
    _check_count(len(stored), _stored(dtype, size), dtype, shape, place)
    if field == "float_data":
        return ArrayData(np.array(stored, np.float32).view(dtype.numpy).reshape(shape), dtype)
    if field == "double_data":
        return ArrayData(np.array(stored, np.float64).view(dtype.numpy).reshape(shape), dtype)
    words = np.array(stored, np.uint64 if field == "uint64_data" else np.int64).view(np.uint64)
    return ArrayData(_from_words(words, dtype, shape), dtype)


def _stored(dtype: DType, size: int) -> int:
    """How many numbers a typed field holds for `size` elements: two for complex ones, one for several up to 4 bits."""
    if dtype in (DType.C64, DType.C128):
        return 2 * size
    return -(-size * dtype.bits // 8) if dtype.bits <= 4 else size


def _from_varints(dtype: DType, shape: tuple[int, ...], raw: Array) -> Array:
    return _from_words(decode_varints(raw.data), dtype, shape)


def _from_words(words: Array, dtype: DType, shape: tuple[int, ...]) -> Array:
    """Elements of `dtype` whose bits are the low bits of 64-bit words (bytes of packed ones up to 4 bits)."""
    if dtype.bits <= 4:
        return unpack_bytes(words.astype(np.uint8).tobytes(), dtype, shape)
    if dtype.bits == 6:
        words = words & np.uint64(0x3F)
    if dtype is DType.BOOL:
        return np.not_equal(words, 0).reshape(shape)
    narrow = {6: np.uint8, 8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}[dtype.bits]
    values: Array = words.astype(narrow).view(dtype.numpy).reshape(shape)
    return values


def _strings(tensor: TensorProto, shape: tuple[int, ...], size: int, place: str) -> Data:
    _check_count(len(tensor.string_data), size, DType.STRING, shape, place)
    values = np.empty(size, object)
    try:
        values[:] = [s.decode("utf-8") for s in tensor.string_data]
    except UnicodeDecodeError:
        raise OnnxTensorError("a string of the tensor is not UTF-8", place=place) from None
    return ArrayData(values.reshape(shape), DType.STRING)


def _checked_size(shape: tuple[int, ...], place: str) -> int:
    if any(d < 0 for d in shape) or math.prod(d for d in shape if d) > MAX_ELEMENTS or len(shape) > 32:
        raise OnnxTensorError(f"a stored tensor cannot have the shape {list(shape[:32])}", place=place)
    return math.prod(shape)


def _check_count(count: int, expected: int, dtype: DType, shape: tuple[int, ...], place: str) -> None:
    if count != expected:
        raise OnnxTensorError(
            f"the tensor holds {count} numbers; {dtype}{list(shape)} needs {expected}",
            place=place,
            hint="the file is damaged or was written wrongly; export the model again",
        )


def _wrong_bytes(got: int, want: int, dtype: DType, shape: tuple[int, ...], place: str) -> OnnxTensorError:
    return OnnxTensorError(
        f"the tensor holds {got} bytes; {dtype}{list(shape)} needs {want}",
        place=place,
        hint="the file is damaged or was written wrongly; export the model again",
    )


def _wrong_field(field: str, dtype: DType, place: str) -> OnnxTensorError:
    return OnnxTensorError(f"values of type {dtype} cannot stand in {field}", place=place)
