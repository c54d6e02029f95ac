"""Scattering and gathering written with comparisons, for targets that lack the operator.

A tensor of which element is written by which update stands for the scatter; it has the product of both counts, which is
bounded here: beyond it the decomposition would cost more than any target has.
"""

from __future__ import annotations

import math

import numpy as np

from uair.ir.dims import Dim, Shape, is_static, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ops._compute import converted, finite_range, from_beginning
from uair.ops.comparison import Equal
from uair.ops.elementwise import Add, Cast, Maximum, Minimum, Mul, Where
from uair.ops.reduction import ReduceMax, ReduceMin, ReduceProd, ReduceSum
from uair.ops.shape import Concat, Expand, Range, Reshape, ShapeOf, Squeeze

LARGEST_MASK = 1 << 24
"""Elements of the greatest tensor that a decomposition may make."""

_REDUCTIONS = {
    "add": (ReduceSum, Add),
    "mul": (ReduceProd, Mul),
    "max": (ReduceMax, Maximum),
    "min": (ReduceMin, Minimum),
}


def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, reduction: str) -> Tensor | None:
    """ScatterND with a reduction; None when a shape is open or the mask would be too large."""
    shape, where = _known(x), _known(indices)
    if shape is None or where is None:
        return None
    k = where[-1]
    count = math.prod(where[:-1])
    places = Reshape(shape=(count, k))(from_beginning(indices, shape[:k]))
    strides = [math.prod(shape[a + 1 : k]) for a in range(k)]
    linear = ReduceSum(axes=(1,), keepdims=False)(Mul()(places, constant(np.array(strides, np.int64))))
    return _reduced(x, linear, updates, (math.prod(shape[:k]), count, math.prod(shape[k:])), reduction)


def scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, axis: int, reduction: str) -> Tensor | None:
    """ScatterElements with a reduction; None when a shape is open or the mask would be too large."""
    shape, where = _known(x), _known(indices)
    if shape is None or where is None:
        return None
    axis %= len(shape)
    strides = [math.prod(shape[a + 1 :]) for a in range(len(shape))]
    own = np.zeros(where, np.int64)
    for a, places in enumerate(np.indices(where)):
        own += 0 if a == axis else places * strides[a]
    along = Mul()(from_beginning(indices, shape[axis : axis + 1]), constant(np.int64(strides[axis])))
    count = math.prod(where)
    linear = Reshape(shape=(count,))(Add()(along, constant(own)))
    return _reduced(x, linear, updates, (math.prod(shape), count, 1), reduction)


def _reduced(x: Tensor, linear: Tensor, updates: Tensor, counts: tuple[int, int, int], reduction: str) -> Tensor | None:
    """X as rows, each reduced with the updates whose place in `linear` it is; counts of rows, updates, columns."""
    rows, count, columns = counts
    if rows * count * columns > LARGEST_MASK or x.type.shape is None:
        return None
    if rows * count * columns == 0:
        return Reshape(shape=x.type.shape)(x)
    reduce, join = _REDUCTIONS[reduction]
    hit = Equal()(constant(np.arange(rows).reshape(rows, 1, 1)), Reshape(shape=(1, count, 1))(linear))
    values = Reshape(shape=(1, count, columns))(updates)
    old, dtype = Reshape(shape=(rows, columns))(x), x.type.dtype
    if dtype in (DType.F16, DType.BF16):  # computed in f32 and rounded once
        old, values = converted(old, DType.F32), converted(values, DType.F32)
    chosen = Where()(hit, values, constant(_neutral(reduction, values.type.dtype)))
    result = join()(old, reduce(axes=(1,), keepdims=False)(chosen))
    return Reshape(shape=x.type.shape)(converted(result, dtype))


def _neutral(reduction: str, dtype: DType) -> Array:
    """What a reduction leaves unchanged."""
    least, greatest = finite_range(dtype)
    value = {"add": 0, "mul": 1, "max": least, "min": greatest}[reduction]
    return np.array(value).astype(dtype.numpy)


def gather_nd(indices: Tensor, batch: Shape, x: Tensor) -> Tensor | None:
    """The indices of a GatherND without batch axes that stands for one with them; None for an unknown rank."""
    if indices.type.shape is None:
        return None
    shape = indices.type.shape
    target = (*shape[:-1], 1)
    parts = [Expand(shape=target)(_numbered(x, axis, d, len(shape))) for axis, d in enumerate(batch)]
    return Concat(axis=len(shape) - 1)(*parts, Cast(to=DType.I64)(indices))


def _numbered(x: Tensor, axis: int, extent: Dim, rank: int) -> Tensor:
    """0, 1, ... along `axis` of a tensor of this rank, as far as x goes."""
    shape: list[Dim] = [1] * rank
    shape[axis] = extent
    if isinstance(extent, int):
        return constant(np.arange(extent).reshape(static(shape)))
    limit = Squeeze(axes=(0,))(ShapeOf(start=axis, end=axis + 1)(x))
    numbers = Range()(constant(np.int64(0)), limit, constant(np.int64(1)))
    numbers.type = numbers.type.with_shape((extent,))
    return Reshape(shape=tuple(shape))(numbers)


def _known(tensor: Tensor) -> tuple[int, ...] | None:
    shape = tensor.type.shape
    return static(shape) if shape is not None and is_static(shape) else None
