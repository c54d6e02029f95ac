"""Picking elements by index, writing them, and finding where they are.

Indices are integers; negative ones count from the end (ONNX; TensorFlow refuses them). An index out of range is an
error at evaluation: devices differ in what they do then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from uair.errors import EvaluationError
from uair.ir import dims
from uair.ir.dims import Dim
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops import _symbolic
from uair.ops._compute import INTEGERS, REALS, require_dtype, working_type
from uair.ops._forms import number, one_number
from uair.ops.base import Operator, Sample, bad, case, normalize_axis, operator, require, same_dtype, unify_extents

FAMILY = "indexing"
_UFUNCS: dict[str, Any] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
_OF_SIZES: dict[str, Any] = {
    "add": _symbolic.add, "mul": _symbolic.multiply, "max": dims.maximum, "min": dims.minimum,
}  # fmt: skip


def _places(indices: Array, extent: int, owner: str) -> Array:
    """Indices counted from the beginning, i64.

    Raises:
        EvaluationError: one is out of range.
    """
    places = _symbolic.integers(indices)
    if places.size and (int(places.min()) < -extent or int(places.max()) >= extent):
        raise EvaluationError(f"{owner}: index {_worst(places, extent)} is out of range for extent {extent}")
    return np.where(places < 0, places + extent, places)


def _worst(places: Array, extent: int) -> int:
    least = int(places.min())
    return least if least < -extent else int(places.max())


@operator(inputs="x indices", family=FAMILY)
class Gather(Operator):
    """Whole slices of x along `axis`: result[.., i.., ..] = x[.., indices[i..], ..]; embedding look-up for axis 0.

    Result shape: x.shape[:axis] + indices.shape + x.shape[axis + 1:].
    """

    shape_arithmetic = True
    axis: int = 0

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        require_dtype(indices, INTEGERS, "indices")
        if x.shape is None or indices.shape is None:
            return TensorType(x.dtype, None)
        require(x.shape, "x has no axis: its rank is 0")
        axis = normalize_axis(self.axis, len(x.shape))
        return inferred(x.dtype, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

    def evaluate(self, x: Array, indices: Array) -> Array:
        return np.take(x, _places(indices, x.shape[self.axis], "Gather"), axis=self.axis)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[5,3]", np.array([[0, -1], [4, 2]]))
        yield case(cls(axis=-1), "bf16[5,3]", np.array(1, np.int32))
        yield case(cls(), "i64[4]", np.array([2]))
        yield case(cls(axis=1), "f32[2,3]", np.zeros((0,), np.int64))
        yield bad(cls(axis=2), "f32[5,3]", "i64[1]", because="axis 2 is out of range")
        yield bad(cls(), "f32[5]", "f32[1]", because="indices must be integer")
        yield bad(cls(), "f32[]", "i64[1]", because="x has no axis")


@operator(inputs="x indices", family=FAMILY)
class GatherElements(Operator):
    """result[i, j, ..] = x[.., indices[i, j, ..], ..] with the index in place of coordinate `axis` (torch.gather).

    The result has the shape of indices, whose other extents are at most x's.
    """

    axis: int = 0

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        require_dtype(indices, INTEGERS, "indices")
        _elements_fit(x, indices, self.axis, "indices")
        return TensorType(x.dtype, indices.shape)

    def evaluate(self, x: Array, indices: Array) -> Array:
        places = _places(indices, x.shape[self.axis], "GatherElements")
        return x[_coordinates(places, self.axis)]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(axis=1), "f32[2,3]", np.array([[0, -1], [2, 2]]))
        yield case(cls(), "i8[4]", np.array([3, 3, 0, 1, 2], np.int32))
        yield case(cls(), "f32[3,4]", np.array([[2, 0, 1]]))
        yield bad(cls(), "f32[3,4]", "i64[3]", because="indices has shape")
        yield bad(cls(), "f32[3,4]", "i64[3,5]", because="along axis 1")
        yield bad(cls(), "f32[3]", "f32[3]", because="indices must be integer")


def _elements_fit(x: TensorType, indices: TensorType, axis: int, name: str) -> None:
    if x.shape is None or indices.shape is None:
        return
    require(
        len(x.shape) == len(indices.shape),
        "{} has shape {}, x has shape {}: the ranks must agree",
        name,
        list(indices.shape),
        list(x.shape),
    )
    require(x.shape, "x has no axis: its rank is 0")
    picked = normalize_axis(axis, len(x.shape))
    for a, (have, want) in enumerate(zip(x.shape, indices.shape, strict=True)):
        if a != picked and isinstance(have, int) and isinstance(want, int):
            require(want <= have, "{} has extent {} along axis {}, x has {}", name, want, a, have)


def _coordinates(places: Array, axis: int) -> tuple[Array, ...]:
    """Index arrays of all axes: `places` along `axis`, the own place along the others."""
    grid = list(np.ogrid[tuple(slice(d) for d in places.shape)])
    grid[axis] = places
    return tuple(grid)


@operator(inputs="x indices", family=FAMILY)
class GatherND(Operator):
    """Slices of x at the coordinates in the last axis of indices; the first `batch_dims` axes are common to both.

    x: [B.., d1, d2, ..]; indices: [B.., I.., k]; result: [B.., I.., d(k+1), ..].
    """

    batch_dims: int = 0

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        require_dtype(indices, INTEGERS, "indices")
        require(self.batch_dims >= 0, "batch_dims must not be negative, is {}", self.batch_dims)
        if x.shape is None or indices.shape is None:
            return TensorType(x.dtype, None)
        b = self.batch_dims
        require(len(indices.shape) > b, "indices of rank {} need more than {} batch axes", len(indices.shape), b)
        require(len(x.shape) > b or not b, "x of rank {} needs more than {} batch axes", len(x.shape), b)
        for a in range(b):
            require(
                unify_extents(x.shape[a], indices.shape[a]),
                "indices has extent {} along batch axis {}, x has {}",
                indices.shape[a],
                a,
                x.shape[a],
            )
        k = indices.shape[-1]
        if not isinstance(k, int):
            return TensorType(x.dtype, None)
        require(b + k <= len(x.shape), "indices has {} coordinates, x has {} axes to index", k, len(x.shape) - b)
        return inferred(x.dtype, (*indices.shape[:-1], *x.shape[b + k :]))

    def evaluate(self, x: Array, indices: Array) -> Array:
        b, k = self.batch_dims, indices.shape[-1]
        batch = np.ogrid[tuple(slice(d) for d in indices.shape[:-1])][:b] if b else []
        coordinates = [_places(indices[..., j], x.shape[b + j], "GatherND") for j in range(k)]
        picked: Array = x[tuple(batch) + tuple(coordinates)]
        if k:
            return picked
        return np.array(np.broadcast_to(picked, indices.shape[:-1] + x.shape[b:]))

    def decompose(self, x: Tensor, indices: Tensor) -> Tensor | None:
        """Batch axes become coordinates like the others."""
        from uair.ops._masks import gather_nd

        if not self.batch_dims or x.type.shape is None:
            return None
        coordinates = gather_nd(indices, x.type.shape[: self.batch_dims], x)
        return None if coordinates is None else GatherND()(x, coordinates)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,3]", np.array([[0, 1], [-1, 2]]))
        yield case(cls(), "f32[2,3]", np.array([[1], [0], [1]]))
        yield case(cls(batch_dims=1), "f32[2,3,4]", np.array([[1], [-1]]))
        yield case(cls(batch_dims=1), "i64[2,3]", np.array([[[1], [0]], [[2], [2]]]))
        yield bad(cls(), "f32[2,3]", "i64[1,3]", because="indices has 3 coordinates")
        yield bad(cls(batch_dims=1), "f32[2,3]", "i64[3,1]", because="batch axis 0")
        yield bad(cls(), "f32[2,3]", "f32[1,1]", because="indices must be integer")


# ------------------------------------------------------------------------- writing
def _scatter(target: Array, coordinates: tuple[Array, ...], updates: Array, reduction: str) -> Array:
    """`target` (own memory) with `updates` written or combined at coordinates that may repeat."""
    if reduction == "none":
        target[coordinates] = updates
        return target
    if _symbolic.is_symbolic(target):
        np.frompyfunc(_symbolic.of_known(_OF_SIZES[reduction]), 2, 1).at(target, coordinates, updates)
        return target
    wide = target.astype(working_type(target), copy=False)
    with np.errstate(all="ignore"):
        _UFUNCS[reduction].at(wide, coordinates, updates.astype(wide.dtype, copy=False))
        return wide.astype(target.dtype, copy=False)


@operator(inputs="x indices updates", family=FAMILY)
class ScatterElements(Operator):
    """x with updates[i, j, ..] written at x[.., indices[i, j, ..], ..], the index in place of coordinate `axis`.

    reduction "none": the last of several writes to one place stays (elsewhere any may); "add", "mul", "max", "min":
    combined with what is there (torch's scatter_reduce with include_self).
    """

    axis: int = 0
    reduction: Literal["none", "add", "mul", "max", "min"] = "none"

    def infer(self, x: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        require_dtype(indices, INTEGERS, "indices")
        same_dtype(x=x, updates=updates)
        if self.reduction != "none":
            require_dtype(x, REALS, "x")
        _elements_fit(x, indices, self.axis, "indices")
        if indices.shape is not None and updates.shape is not None:
            fits = len(indices.shape) == len(updates.shape) and all(map(unify_extents, indices.shape, updates.shape))
            require(fits, "updates has shape {}, indices {}: they must agree", list(updates.shape), list(indices.shape))
        return TensorType(x.dtype, x.shape)

    def evaluate(self, x: Array, indices: Array, updates: Array) -> Array:
        places = _places(indices, x.shape[self.axis], "ScatterElements")
        return _scatter(np.array(x), _coordinates(places, self.axis), updates, self.reduction)

    def decompose(self, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor | None:
        """A reduction over a mask, for static shapes that are not too large."""
        from uair.ops._masks import scatter_elements

        if self.reduction == "none":
            return None
        return scatter_elements(x, indices, updates, self.axis, self.reduction)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        indices = np.array([[0, 2], [1, -1]])
        yield case(cls(axis=1), "f32[2,3]", indices, "f32[2,2]")
        for reduction in ("add", "mul", "max", "min"):
            repeated = np.array([[1, 1, 0]])
            yield case(cls(axis=1, reduction=reduction), "f32[2,3]", repeated, "f32[1,3]")
            yield case(cls(axis=1, reduction=reduction), "f16[2,3]", repeated, "f16[1,3]")
            yield case(cls(axis=1, reduction=reduction), "i32[2,3]", repeated, "i32[1,3]")
        yield case(cls(), "bool[3]", np.array([1]), "bool[1]")
        yield bad(cls(), "f32[3]", "i64[2]", "f32[3]", because="updates has shape")
        yield bad(cls(), "f32[3]", "i64[2]", "i32[2]", because="updates is i32")
        yield bad(cls(reduction="add"), "bool[3]", "i64[1]", "bool[1]", because="x must be")


@operator(inputs="x indices updates", family=FAMILY)
class ScatterND(Operator):
    """x with slices written at the coordinates in the last axis of indices.

    indices: [I.., k]; updates: [I.., x.shape[k:]]. reduction as in ScatterElements.
    """

    shape_arithmetic = True
    reduction: Literal["none", "add", "mul", "max", "min"] = "none"

    def infer(self, x: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        require_dtype(indices, INTEGERS, "indices")
        same_dtype(x=x, updates=updates)
        if self.reduction != "none":
            require_dtype(x, REALS, "x")
        if x.shape is not None and indices.shape is not None and updates.shape is not None:
            require(indices.shape, "indices must have an axis for the coordinates, is a scalar")
            k = indices.shape[-1]
            if isinstance(k, int):
                require(k <= len(x.shape), "indices has {} coordinates, x has {} axes", k, len(x.shape))
                want = (*indices.shape[:-1], *x.shape[k:])
                fits = len(want) == len(updates.shape) and all(map(unify_extents, want, updates.shape))
                require(fits, "updates must have shape {}, has {}", list(want), list(updates.shape))
        return TensorType(x.dtype, x.shape)

    def evaluate(self, x: Array, indices: Array, updates: Array) -> Array:
        places = _symbolic.integers(indices)
        coordinates = tuple(_places(places[..., j], x.shape[j], "ScatterND") for j in range(places.shape[-1]))
        target = np.array(x, dtype=object if _symbolic.is_symbolic(x, updates) else x.dtype)
        return _scatter(target, coordinates, updates, self.reduction)

    def decompose(self, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor | None:
        """A reduction over a mask, for static shapes that are not too large."""
        from uair.ops._masks import scatter_nd

        return None if self.reduction == "none" else scatter_nd(x, indices, updates, self.reduction)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[4,3]", np.array([[1], [-1]]), "f32[2,3]")
        yield case(cls(), "i64[4]", np.array([[2]]), "i64[1]")
        yield case(cls(), "f32[4,3]", np.array([[[0, 1]], [[3, 2]]]), "f32[2,1]")
        for reduction in ("add", "mul", "max", "min"):
            yield case(cls(reduction=reduction), "f32[4]", np.array([[1], [1], [0]]), "f32[3]")
            yield case(cls(reduction=reduction), "i8[4]", np.array([[1], [1], [0]]), "i8[3]")
        yield bad(cls(), "f32[4,3]", "i64[2,1]", "f32[2]", because="updates must have shape [2, 3]")
        yield bad(cls(), "f32[4]", "i64[2,2]", "f32[2]", because="indices has 2 coordinates")
        yield bad(cls(), "f32[4]", "i64[1,1]", "f16[1]", because="updates is f16")


# ------------------------------------------------------------------------- searching
@operator(inputs="x k?", outputs="values indices", family=FAMILY)
class TopK(Operator):
    """The k greatest (`largest`) or least elements along `axis`, in order, and their places (i64).

    Equal elements: the lowest index first, as in onnxruntime and TensorFlow (PyTorch leaves it open). NaN counts as the
    greatest. The results are ordered whatever `sorted` says; False says that nobody relies on it.
    """

    k: int | None = None
    axis: int = -1
    largest: bool = True
    sorted: bool = True

    def infer(self, x: TensorType, k: TensorType | None = None) -> tuple[TensorType, TensorType]:
        require_dtype(x, REALS, "x")
        one_number(self.k, k, "k")
        if x.shape is None:
            return TensorType(x.dtype, None), TensorType(DType.I64, None)
        require(x.shape, "x has no axis: its rank is 0")
        axis = normalize_axis(self.axis, len(x.shape))
        extent = x.shape[axis]
        if self.k is not None:
            require(self.k >= 0, "k must not be negative, is {}", self.k)
            enough = not isinstance(extent, int) or self.k <= extent
            require(enough, "k is {}, x has {} elements along axis {}", self.k, extent, axis)
        shape = (*x.shape[:axis], self.k, *x.shape[axis + 1 :])
        return inferred(x.dtype, shape), inferred(DType.I64, shape)

    def evaluate(self, x: Array, k: Array | None = None) -> tuple[Array, Array]:
        count = number(self, self.k, k)
        extent = x.shape[self.axis]
        if not 0 <= count <= extent:
            raise EvaluationError(f"TopK: k is {count}, x has {extent} elements along axis {self.axis}")
        wide = x.astype(working_type(x), copy=False)
        if self.largest:  # ascending order of the reversed vector, read backwards, keeps the lowest index first
            order = np.argsort(np.flip(wide, self.axis), axis=self.axis, kind="stable")
            order = extent - 1 - np.flip(order, self.axis)
        else:
            order = np.argsort(wide, axis=self.axis, kind="stable")
        places = order.take(np.arange(count), axis=self.axis).astype(np.int64, copy=False)
        return np.take_along_axis(x, places, axis=self.axis), places

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        ties = np.array([1, 3, 3, 3, 2, 3], np.float32)
        yield case(cls(k=3), ties)
        yield case(cls(k=2, largest=False), ties)
        yield case(cls(k=2), np.array([1, np.nan, np.inf], np.float32))
        yield case(cls(k=2, axis=0), "f16[3,4]")
        yield case(cls(k=4, axis=1, sorted=False), "u8[2,4]")
        yield case(cls(k=0), "bf16[3]")
        yield case(cls(), "f32[2,5]", np.array([3]))
        yield bad(cls(k=4), "f32[3]", because="k is 4, x has 3")
        yield bad(cls(k=-1), "f32[3]", because="k must not be negative")
        yield bad(cls(k=1, axis=1), "f32[3]", because="axis 1 is out of range")
        yield bad(cls(), "f32[3]", because="k is neither")


@operator(inputs="indices depth? values", family=FAMILY)
class OneHot(Operator):
    """values[1] where the coordinate along the new axis `axis` is the index, values[0] elsewhere.

    indices: any shape; depth: the extent of the new axis; values: [2]. Negative indices count from the end (TensorFlow
    gives a row of values[0] for them); an index out of range marks nothing.
    """

    axis: int = -1
    depth: int | None = None

    def infer(self, indices: TensorType, depth: TensorType | None, values: TensorType) -> TensorType:
        require_dtype(indices, REALS, "indices")
        one_number(self.depth, depth, "depth")
        require(self.depth is None or self.depth >= 0, "depth must not be negative, is {}", self.depth)
        if values.shape is not None:
            fits = len(values.shape) == 1 and unify_extents(values.shape[0], 2)
            require(fits, "values must have shape [2], has {}", list(values.shape))
        if indices.shape is None:
            return TensorType(values.dtype, None)
        axis = normalize_axis(self.axis, len(indices.shape) + 1)
        shape: tuple[Dim | None, ...] = (*indices.shape[:axis], self.depth, *indices.shape[axis:])
        return inferred(values.dtype, shape)

    def evaluate(self, indices: Array, depth: Array | None, values: Array) -> Array:
        extent = number(self, self.depth, depth)
        if extent < 0:
            raise EvaluationError(f"OneHot: depth must not be negative, is {extent}")
        places = np.expand_dims(indices.astype(np.int64), self.axis)
        steps = np.arange(extent).reshape([-1 if a == self.axis % places.ndim else 1 for a in range(places.ndim)])
        marked = np.where(places < 0, places + extent, places) == steps
        result: Array = np.where(marked, values[1], values[0]).astype(values.dtype, copy=False)
        return result

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        off_on = np.array([0, 1], np.float32)
        yield case(cls(depth=3), np.array([[0, 2], [-1, 7]]), None, off_on)
        yield case(cls(), np.array([[0, 2], [-1, 7]]), np.array(3), off_on)
        yield case(cls(axis=0), np.array([1, 0], np.int32), np.array([2], np.int32), np.array([5, -5], np.int8))
        yield case(cls(axis=1, depth=3), np.array([1.0], np.float32), None, np.array([False, True]))
        yield bad(cls(axis=2, depth=3), "i64[3]", None, "f32[2]", because="axis 2 is out of range")
        yield bad(cls(depth=3), "i64[3]", None, "f32[3]", because="values must have shape [2]")
        yield bad(cls(), "i64[3]", "i64[2]", "f32[2]", because="depth must hold one number")
        yield bad(cls(), "i64[3]", None, "f32[2]", because="depth is neither")
        yield bad(cls(depth=-1), "i64[3]", None, "f32[2]", because="depth must not be negative")


@operator(inputs="x", family=FAMILY)
class NonZero(Operator):
    """Coordinates of the elements that are not 0, in row-major order: i64 [rank, count].

    That is ONNX's orientation; TensorFlow's and PyTorch's [count, rank] is its Transpose. A scalar counts as a vector
    of one element without coordinates: [0, count].
    """

    shape_arithmetic = True

    def infer(self, x: TensorType) -> TensorType:
        if x.shape is None:
            return inferred(DType.I64, (None, None))
        return inferred(DType.I64, (len(x.shape), None))

    def evaluate(self, x: Array) -> Array:
        if _symbolic.is_symbolic(x) and not any(isinstance(v, str) for v in x.reshape(-1).tolist()):
            x = _symbolic.truth(lambda v: _symbolic.sign(v) != 0, x)
        if x.ndim == 0:
            return np.zeros((0, int(bool(x))), np.int64)
        return _found(np.nonzero(x), x.ndim)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), np.array([[1, 0, 2], [0, 0, 3]], np.float32))
        yield case(cls(), np.array([True, False, True]))
        yield case(cls(), "i8[2,2,2]")
        yield case(cls(), "f32[0]")
        yield case(cls(), np.array(5))
        yield bad(cls(), because="needs operand 'x'")


def _found(coordinates: Sequence[Array], rank: int) -> Array:
    return np.array(coordinates, np.int64).reshape(rank, -1)


@operator(inputs="x", outputs="y indices inverse counts", family=FAMILY)
class Unique(Operator):
    """The different elements of x (flattened), or its different slices along `axis`.

    y: in ascending order (strings: of their code points; all NaN are one, the last), or in order of first occurrence
    when not `sorted`; indices: where each occurs first; inverse: for each element or slice, which of y it is; counts:
    how often each occurs. The last three are i64 vectors. Source: ONNX Unique 11, numpy.unique.
    """

    axis: int | None = None
    sorted: bool = True

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        vector = inferred(DType.I64, (None,))
        if self.axis is None:
            total = None if x.shape is None or not dims.is_static(x.shape) else dims.product(x.shape)
            return inferred(x.dtype, (None,)), vector, inferred(DType.I64, (total,)), vector
        if x.shape is None:
            return inferred(x.dtype, None), vector, vector, vector
        at = normalize_axis(self.axis, len(x.shape))
        require(x.shape, "x has no axis: its rank is 0")
        shape = tuple(None if i == at else d for i, d in enumerate(x.shape))
        return inferred(x.dtype, shape), vector, inferred(DType.I64, (x.shape[at],)), vector

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        axis = 0 if self.axis is None else self.axis
        flat = x.reshape(-1) if self.axis is None else x
        if self.axis is None:
            keys = flat if flat.dtype.isbuiltin == 1 or flat.dtype == object else flat.astype(working_type(flat))
            found: Sequence[Any] = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        else:
            rows = np.moveaxis(x, axis, 0).reshape(x.shape[axis], x.size // max(x.shape[axis], 1))
            found = _unique_rows(rows)
        indices, inverse, counts = (np.asarray(v).reshape(-1).astype(np.int64) for v in found[1:])
        if not self.sorted:
            order = np.argsort(indices)
            rank = np.empty_like(order)
            rank[order] = np.arange(order.size)
            indices, inverse, counts = indices[order], rank[inverse], counts[order]
        return np.take(flat, indices, axis=axis), indices, inverse, counts

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        values = np.array([2, 1, 1, 3, 4, 3], np.float32)
        rows = np.array([[1, 0, 0], [1, 0, 0], [2, 3, 4]], np.float32)
        yield case(cls(), values)
        yield case(cls(sorted=False), values)
        yield case(cls(axis=0), rows)
        yield case(cls(axis=-1), rows)
        yield case(cls(axis=1, sorted=False), np.stack([rows, rows[::-1]]))
        yield case(cls(), "i8[2,9]")
        yield case(cls(sorted=False), "string[2,5]")
        yield bad(cls(axis=2), "f32[2,3]", because="axis 2 is out of range")
        yield bad(cls(axis=0), "f32[]", because="rank")


def _unique_rows(rows: Array) -> Sequence[Any]:
    """What numpy.unique gives for the rows of a matrix of any element type, by the rank of each element."""
    if not rows.size:
        ranks: Array = np.zeros((rows.shape[0], 1), np.int64)
    else:
        keys = rows if rows.dtype.isbuiltin == 1 or rows.dtype == object else rows.astype(working_type(rows))
        ranks = np.unique(keys.reshape(-1), return_inverse=True)[1].reshape(rows.shape)
    return np.unique(ranks, axis=0, return_index=True, return_inverse=True, return_counts=True)


@operator(inputs="x lengths", family=FAMILY)
class ReverseSequence(Operator):
    """The first lengths[b] elements along `time_axis` reversed, for every b along `batch_axis`; the rest stays.

    lengths: integers [batch], from 0 to the extent of the time axis. Source: ONNX ReverseSequence 10,
    tf.reverse_sequence.
    """

    batch_axis: int = 1
    time_axis: int = 0

    def infer(self, x: TensorType, lengths: TensorType) -> TensorType:
        require_dtype(lengths, INTEGERS, "lengths")
        require(lengths.shape is None or len(lengths.shape) == 1, "lengths must be a vector, is {}", lengths)
        if x.shape is None:
            return x
        require(len(x.shape) >= 2, "x must have at least two axes, has shape {}", list(x.shape))
        batch, time = (normalize_axis(a, len(x.shape)) for a in (self.batch_axis, self.time_axis))
        require(batch != time, "batch and time are the same axis")
        if lengths.shape is not None:
            words = "{} lengths are given for a batch of {}"
            require(unify_extents(lengths.shape[0], x.shape[batch]), words, lengths.shape[0], x.shape[batch])
        return inferred(x.dtype, x.shape)

    def evaluate(self, x: Array, lengths: Array) -> Array:
        extent = x.shape[self.time_axis]
        counts = _symbolic.integers(lengths)
        if counts.size and (int(counts.min()) < 0 or int(counts.max()) > extent):
            raise EvaluationError(f"ReverseSequence: lengths {counts.tolist()} do not fit in {extent}")
        places = np.where(
            np.arange(extent) < counts[:, np.newaxis], counts[:, np.newaxis] - 1 - np.arange(extent), np.arange(extent)
        )
        rows = np.moveaxis(x, (self.batch_axis, self.time_axis), (0, 1))
        turned = rows[np.arange(rows.shape[0])[:, np.newaxis], places]
        return np.ascontiguousarray(np.moveaxis(turned, (0, 1), (self.batch_axis, self.time_axis)))

    def decompose(self, x: Tensor, lengths: Tensor) -> Tensor | None:
        """With batch and time on the first two axes by positions [batch, time, 1], which are gathered."""
        from uair.ops.comparison import Less
        from uair.ops.elementwise import Cast, Sub, Where
        from uair.ops.shape import Transpose, Unsqueeze

        if x.type.shape is None:
            return None
        rank = x.type.rank
        batch, time = self.batch_axis % rank, self.time_axis % rank
        if (batch, time) != (0, 1):
            order = (batch, time, *(i for i in range(rank) if i not in (batch, time)))
            turned = ReverseSequence(batch_axis=0, time_axis=1)(Transpose(perm=order)(x), lengths)
            return Transpose(perm=tuple(order.index(i) for i in range(rank)))(turned)
        extent = x.type.dims[1]
        if not isinstance(extent, int):
            return None
        counts = Unsqueeze(axes=(1,))(Cast(to=DType.I64)(lengths))
        place = constant(np.arange(extent))
        mirrored = Sub()(Sub()(counts, constant(np.array(1))), place)
        places = Where()(Less()(place, counts), mirrored, place)
        return GatherND(batch_dims=1)(x, Unsqueeze(axes=(2,))(places))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[4,3]", np.array([4, 2, 0]))
        yield case(cls(batch_axis=0, time_axis=1), "f32[3,4,2]", np.array([1, 3, 4]))
        yield case(cls(batch_axis=2, time_axis=1), "i8[2,3,2]", np.array([2, 3]))
        yield bad(cls(), "f32[4,3]", "i64[4]", because="4 lengths")
        yield bad(cls(time_axis=1), "f32[4,3]", "i64[3]", because="same axis")
        yield bad(cls(), "f32[4]", "i64[4]", because="two axes")
