"""Sums and other reductions over segments, and diagonals of matrices."""

from __future__ import annotations

from typing import Literal

import numpy as np

from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import Expand, Less, ScatterND, Slice, Unsqueeze, Where

FAMILY = Family()

Reduction = Literal["add", "mul", "max", "min"]
_REDUCTIONS: dict[str, Reduction] = {
    "UNSORTED_SEGMENT_SUM": "add",
    "UNSORTED_SEGMENT_PROD": "mul",
    "UNSORTED_SEGMENT_MAX": "max",
    "UNSORTED_SEGMENT_MIN": "min",
}


@FAMILY.op("SEGMENT_SUM")
def _segment_sum(n: TfliteNode) -> Result:
    """The number of segments is the last index and one, so the indices must be known."""
    ids = n.integers(n.raw(1), "the segments")
    return _reduced(n, "add", max(ids, default=-1) + 1)


@FAMILY.op(*_REDUCTIONS)
def _unsorted(n: TfliteNode) -> Result:
    """Elements of a negative segment are dropped; an empty one has the least or greatest number, 0 or 1."""
    (count,) = n.integers(n.raw(2), "the number of segments")
    return _reduced(n, _REDUCTIONS[n.op_type], count)


def _reduced(n: TfliteNode, reduction: Reduction, count: int) -> Tensor:
    x, ids = n[0], n.i64(n.raw(1))
    if count < 0:
        n.refuse(f"{count} segments")
    own = n.rank(ids)
    rest = n.shape(x)[own:]
    # One segment more takes what is dropped.
    base = n(Expand(shape=(count + 1, *rest)), n.stored(_neutral(reduction, x.type.dtype)))
    places = n(Where(), n(Less(), ids, n.like(0, ids)), n.like(count, ids), ids)
    summed = n(ScatterND(reduction=reduction), base, n(Unsqueeze(axes=(-1,)), places), x)
    return n(Slice(axes=(0,), starts=(0,), ends=(count,), steps=(1,)), summed)


def _neutral(reduction: Reduction, dtype: DType) -> np.ndarray[tuple[()], np.dtype[np.generic]]:
    if reduction in ("add", "mul"):
        return np.asarray(int(reduction == "mul"), dtype.numpy)
    limits = np.finfo(dtype.numpy) if dtype.is_float else np.iinfo(dtype.numpy)
    return np.asarray(limits.min if reduction == "max" else limits.max, dtype.numpy)


@FAMILY.op("MATRIX_DIAG")
def _matrix_diag(n: TfliteNode) -> Result:
    """Vectors [..., k] as the diagonals of matrices [..., k, k]."""
    x = n[0]
    size = n.extent(x, -1)
    if not isinstance(size, int):
        n.refuse(f"a diagonal of extent {size}")
    return n(Where(), n.stored(np.eye(size, dtype=np.bool_)), n(Unsqueeze(axes=(-1,)), x), n.like(0, x))


@FAMILY.op("MATRIX_SET_DIAG")
def _matrix_set_diag(n: TfliteNode) -> Result:
    """Matrices with their diagonals replaced."""
    x, diagonal = n[0], n[1]
    rows, columns = n.extent(x, -2), n.extent(x, -1)
    if not isinstance(rows, int) or not isinstance(columns, int):
        n.refuse(f"matrices of {rows} x {columns}")
    spread = n(Unsqueeze(axes=(-1,) if columns >= rows else (-2,)), diagonal)
    return n(Where(), n.stored(np.eye(rows, columns, dtype=np.bool_)), spread, x)
