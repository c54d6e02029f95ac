"""Values made from nothing or from a shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.frontends.onnx.tensors import dtype_of
from uair.ir.data import ArrayData
from uair.ir.dims import is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import Expand, Range, Trilu

FAMILY = Family()

MAX_EYE = 1 << 26
"""Elements of an identity matrix."""


@FAMILY.op("Constant", 1, 9, 11, 12, 13, 19, 21, 23, 24, 25)
def _constant(n: OnnxNode) -> Result:
    """Exactly one attribute holds the value."""
    a, reader = n.attributes, n.importer.reader
    if len(a.names) != 1:
        n.refuse(f"exactly one attribute must give the value, got {', '.join(a.names) or 'none'}")
    (name,) = a.names
    if name == "value":
        tensor = a.tensor("value")
        assert tensor is not None
        return n.stored(reader.data(tensor, n.place))
    if name == "sparse_value":
        return n.stored(reader.sparse(a.sparse("sparse_value"), n.place))
    values: dict[str, tuple[Any, Any]] = {
        "value_int": (a.integer, np.int64),
        "value_ints": (a.integers, np.int64),
        "value_float": (a.number, np.float32),
        "value_floats": (a.numbers, np.float32),
        "value_string": (a.text, object),
        "value_strings": (lambda key, _: a.texts(key), object),
    }
    read, dtype = values[name]
    return n.stored(ArrayData(np.array(read(name, None), dtype), DType.STRING if dtype is object else None))


@FAMILY.op("ConstantOfShape", 9, 20, 21, 23, 24, 25)
def _constant_of_shape(n: OnnxNode) -> Result:
    """One value (default f32 zero) over a shape: a constant when the shape is known, else an Expand."""
    proto = n.attributes.tensor("value")
    value = None if proto is None else n.importer.reader.data(proto, n.place)
    if value is not None and value.size != 1:
        n.refuse(f"attribute 'value' must have one element, has {value.size}")
    dtype = DType.F32 if value is None else value.dtype
    element = np.zeros((), np.float32) if value is None else value.array().reshape(())
    shape = n.dims(0)
    if shape is not None and is_static(shape):
        return n.filled(element, dtype, static(shape))
    scalar = _scalar(element, dtype)
    return n(Expand(shape=shape), scalar) if shape is not None else n(Expand(), scalar, n[0])


def _scalar(element: Any, dtype: DType) -> Tensor:
    """A constant scalar."""
    return constant(ArrayData(np.asarray(element, dtype.numpy).reshape(()), dtype))


@FAMILY.op("Range", 1, domain="com.microsoft")
@FAMILY.op("Range", 11, 27)
def _range(n: OnnxNode) -> Result:
    """Start, limit and step may come as lists of one number; onnxruntime's own takes a step of 1 unless given."""
    step = n.like(1, n[0]) if n.domain and n.optional(2) is None else n[2]
    return n(Range(), *(n.single(t) for t in (n[0], n[1], step)))


@FAMILY.op("EyeLike", 9, 22)
def _eye_like(n: OnnxNode) -> Result:
    """Ones on diagonal k of a matrix of the operand's shape; of its type unless `dtype` says another."""
    shape = n.shape(n[0])
    number = n.attributes.integer("dtype", None)
    dtype = n[0].type.dtype if number is None else dtype_of(number, n.place)
    k = n.attributes.integer("k", 0)
    if len(shape) != 2:
        n.refuse(f"the operand must be a matrix, has shape {list(shape)}")
    if not is_static(shape):
        ones = n(Expand(shape=shape), constant(np.ones((), dtype.numpy)))
        return n(Trilu(k=k, upper=False), n(Trilu(k=k), ones))
    rows, columns = static(shape)
    if rows * columns > MAX_EYE:
        n.refuse(f"an identity matrix of shape {list(shape)} is too large")
    values = np.eye(rows, columns, max(-rows, min(k, columns))).astype(dtype.numpy)
    return n.stored(ArrayData(values, dtype))
