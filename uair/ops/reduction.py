"""Reductions over axes, positions of extremes, running sums.

Types narrower than f32 are accumulated in f32 and rounded once; integer sums and products wrap around.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from uair.ir import dims
from uair.ir.dims import InferredShape, is_static, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant, named_unknowns
from uair.ir.types import TensorType, inferred
from uair.ops import _symbolic
from uair.ops._compute import BOOLS, FLOATS, NUMBERS, REALS, along_axis, compute, finite_range, require_dtype, scalar
from uair.ops._forms import number, one_form, one_number, run_time_axes, vector_length
from uair.ops.base import Ints, Operator, Sample, bad, case, normalize_axis, operator, require
from uair.ops.elementwise import Abs, Cast, Exp, Log, Mul, Sqrt

FAMILY = "reduction"
Axes = tuple[int, ...]


def reduced_shape(shape: InferredShape, axes: Ints | None, keepdims: bool) -> InferredShape:
    """The shape after reducing `axes` (None: all)."""
    if axes is None:
        return (1,) * len(shape) if keepdims else ()
    gone = {normalize_axis(a, len(shape)) for a in axes}
    require(len(gone) == len(axes), "axes {} name an axis twice", list(axes))
    require(shape or not gone, "axes: x has rank 0")
    if keepdims:
        return tuple(1 if i in gone else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in gone)


class Reduction(Operator):
    """Base of the reductions.

    axes: an attribute or an operand; None in both forms: all; an empty list: none. keepdims: reduced axes stay with
    extent 1.
    """

    allowed: ClassVar[frozenset[DType]] = REALS
    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        """The result in the working type, reduced axes kept."""
        raise NotImplementedError

    def infer(self, x: TensorType, axes: TensorType | None = None) -> TensorType:
        require_dtype(x, self.allowed, "x")
        one_form(self.axes, axes, "axes", optional=True)
        if axes is not None:
            return inferred(x.dtype, self._open(x.shape, axes))
        if x.shape is None:
            return TensorType(x.dtype, () if self.axes is None and not self.keepdims else None)
        return inferred(x.dtype, reduced_shape(x.shape, self.axes, self.keepdims))

    def _open(self, shape: InferredShape | None, axes: TensorType) -> InferredShape | None:
        """The shape after reducing axes that an operand names."""
        count = vector_length(axes)
        if shape is None:
            return None
        rank = len(shape)
        require(count is None or count <= rank, "axes name {} axes, x has rank {}", count, rank)
        if count in (0, rank):
            return reduced_shape(shape, tuple(range(count or 0)), self.keepdims)
        if self.keepdims:
            return tuple(1 if d == 1 else None for d in shape)
        return None if count is None else (None,) * (rank - count)

    def reduced_axes(self, x: Array, axes: Array | None) -> Axes:
        """The axes to reduce, non-negative."""
        if self.axes is None and axes is None:
            return tuple(range(x.ndim))
        return run_time_axes(self, self.axes, axes, x.ndim)

    def evaluate(self, x: Array, axes: Array | None = None) -> Array:
        gone = self.reduced_axes(x, axes)
        result = compute(lambda v: self.reduce(v, gone), x)
        return result if self.keepdims else result.squeeze(gone)

    def decompose(self, x: Tensor, axes: Tensor | None = None) -> Tensor | None:
        """Axes that an operand names, over axes that an attribute names."""
        return None if axes is None or x.type.shape is None else self._fixed(x, axes)

    def _fixed(self, x: Tensor, axes: Tensor) -> Tensor:
        from uair.ops._run_time import reduced

        make: Any = type(self)
        result = reduced(x, axes, lambda fixed: make(axes=fixed, keepdims=False), keepdims=self.keepdims)
        (known,) = self.infer_types([x.type, axes.type])
        result.type = named_unknowns(known)
        return result

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        x = operands[0]
        return 0 if x is None else x.size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        make: Any = cls  # its attributes are those of the subclasses
        if DType.F32 not in cls.allowed:
            kinds: tuple[str, ...] = ("bool",)
        else:
            kinds = ("f32", "f16", "bf16", "i32", "i8") if DType.I32 in cls.allowed else ("f32", "f16", "bf16", "f64")
        first = kinds[0]
        for keepdims in (True, False):
            for axes in (None, (1,), (-1, 0), ()):
                yield case(make(axes=axes, keepdims=keepdims), f"{first}[2,3,4]")
        yield case(make(), f"{first}[]")
        yield case(make(axes=(1,)), f"{first}[2,0,3]")
        yield from (case(make(axes=(1,)), f"{k}[2,5]") for k in kinds[1:])
        yield case(make(keepdims=False), f"{first}[2,3,4]", np.array([-1, 0]))
        yield case(make(), f"{first}[2,3]", np.array([], np.int64))
        yield bad(make(axes=(0,)), f"{first}[2,3]", "i64[1]", because="axes is both")
        yield bad(make(), f"{first}[2]", "i64[2]", because="axes name 2 axes")
        yield bad(make(axes=(3,)), f"{first}[2,3]", because="axis 3 is out of range")
        yield bad(make(axes=(0, -2)), f"{first}[2,3]", because="name an axis twice")
        yield bad(make(), "string[2]", because="x must be")


class SizeReduction(Reduction):
    """A reduction that shape computations use."""

    shape_arithmetic = True

    def size(self, a: Any, b: Any) -> Any:
        """The result for two sizes."""
        raise NotImplementedError

    def evaluate(self, x: Array, axes: Array | None = None) -> Array:
        if not _symbolic.is_symbolic(x):
            return super().evaluate(x, axes)
        function = np.frompyfunc(_symbolic.of_known(self.size), 2, 1)
        result: Any = x
        for axis in sorted(self.reduced_axes(x, axes), reverse=True):
            nothing = {"initial": self.reduce(np.ones((0,), np.int64), (0,)).item()} if x.shape[axis] == 0 else {}
            result = function.reduce(result, axis=axis, keepdims=self.keepdims, **nothing)
        return np.asarray(result, dtype=object)


@operator(inputs="x axes?", family=FAMILY)
class ReduceSum(SizeReduction):
    """The sum; 0 of nothing. torch's sum of i32 and bool gives i64: a Cast in front says so."""

    allowed = NUMBERS
    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        return np.sum(x, axis=axes, keepdims=True, dtype=x.dtype)

    def size(self, a: Any, b: Any) -> Any:
        return _symbolic.add(a, b)


@operator(inputs="x axes?", family=FAMILY)
class ReduceMean(Reduction):
    """The arithmetic mean; NaN of nothing. Integers: the sum divided, rounded towards 0."""

    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        if np.issubdtype(x.dtype, np.integer):
            return np.trunc(np.sum(x, axis=axes, keepdims=True, dtype=np.int64) / max(_count(x, axes), 1))
        return np.sum(x, axis=axes, keepdims=True, dtype=x.dtype) / x.dtype.type(_count(x, axes))


def _count(x: Array, axes: Axes) -> int:
    count = 1
    for a in axes:
        count *= x.shape[a]
    return count


class Extreme(SizeReduction):
    """Base of ReduceMax and ReduceMin."""

    limit: ClassVar[int]  # which end of the type's range is the result for no elements

    def evaluate(self, x: Array, axes: Array | None = None) -> Array:
        if x.size or _symbolic.is_symbolic(x):
            return super().evaluate(x, axes)
        shape = dims.static(reduced_shape(x.shape, self.reduced_axes(x, axes), self.keepdims))
        nothing = finite_range(DType.from_numpy(x.dtype))[self.limit]
        return np.full(shape, np.asarray(nothing).astype(x.dtype))


@operator(inputs="x axes?", family=FAMILY)
class ReduceMax(Extreme):
    """The greatest element; the least value of the type (-inf where it has one) of nothing.

    NaN when one is NaN, as in PyTorch, TensorFlow and NumPy; onnxruntime's ReduceMax may pass over NaN.
    """

    limit = 0
    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        return np.max(x, axis=axes, keepdims=True, initial=finite_range(DType.from_numpy(x.dtype))[0])

    def size(self, a: Any, b: Any) -> Any:
        return dims.maximum(a, b)


@operator(inputs="x axes?", family=FAMILY)
class ReduceMin(Extreme):
    """The least element; the greatest value of the type (inf where it has one) of nothing. NaN when one is NaN."""

    limit = 1
    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        return np.min(x, axis=axes, keepdims=True, initial=finite_range(DType.from_numpy(x.dtype))[1])

    def size(self, a: Any, b: Any) -> Any:
        return dims.minimum(a, b)


@operator(inputs="x axes?", family=FAMILY)
class ReduceProd(SizeReduction):
    """The product; 1 of nothing."""

    allowed = NUMBERS
    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        return np.prod(x, axis=axes, keepdims=True, dtype=x.dtype)

    def size(self, a: Any, b: Any) -> Any:
        return _symbolic.multiply(a, b)


@operator(inputs="x axes?", family=FAMILY)
class ReduceL1(Reduction):
    """The sum of |x|."""

    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        return np.sum(np.abs(x), axis=axes, keepdims=True, dtype=x.dtype)

    def decompose(self, x: Tensor, axes: Tensor | None = None) -> Tensor:
        return ReduceSum(axes=self.axes, keepdims=self.keepdims)(Abs()(x), axes)


@operator(inputs="x axes?", family=FAMILY)
class ReduceL2(Reduction):
    """The square root of the sum of x^2. Integers: computed in f64 and rounded towards 0."""

    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        wide = x.astype(np.float64) if np.issubdtype(x.dtype, np.integer) else x
        return np.sqrt(np.sum(wide * wide, axis=axes, keepdims=True))

    def decompose(self, x: Tensor, axes: Tensor | None = None) -> Tensor | None:
        if not x.type.dtype.is_float:
            return None
        return Sqrt()(ReduceSum(axes=self.axes, keepdims=self.keepdims)(Mul()(x, x), axes))


@operator(inputs="x axes?", family=FAMILY)
class ReduceLogSumExp(Reduction):
    """log(sum(exp(x))), computed with the greatest element taken out; -inf of nothing. Floating point only."""

    allowed = FLOATS
    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        greatest = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
        shift = np.where(np.isfinite(greatest), greatest, x.dtype.type(0))
        return np.log(np.sum(np.exp(x - shift), axis=axes, keepdims=True)) + shift

    def decompose(self, x: Tensor, axes: Tensor | None = None) -> Tensor | None:
        from uair.ops.elementwise import Add, Sub
        from uair.ops.shape import Squeeze

        if not self.keepdims and axes is None and x.type.shape is None:
            return None
        greatest = ReduceMax(axes=self.axes)(x, axes)
        total = ReduceSum(axes=self.axes)(Exp()(Sub()(x, greatest)), axes)
        result = Add()(Log()(total), greatest)
        if self.keepdims:
            return result
        if axes is not None:
            return Squeeze()(result, axes)
        rank = x.type.rank
        return Squeeze(axes=tuple(range(rank)) if self.axes is None else tuple(a % rank for a in self.axes))(result)


@operator(inputs="x axes?", family=FAMILY)
class ReduceSumSquare(Reduction):
    """The sum of x^2."""

    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        return np.sum(x * x, axis=axes, keepdims=True, dtype=x.dtype)

    def decompose(self, x: Tensor, axes: Tensor | None = None) -> Tensor:
        return ReduceSum(axes=self.axes, keepdims=self.keepdims)(Mul()(x, x), axes)


@operator(inputs="x axes?", family=FAMILY)
class ReduceAny(Reduction):
    """Whether some element is true; false of nothing."""

    allowed = BOOLS
    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        return np.any(x, axis=axes, keepdims=True)

    def decompose(self, x: Tensor, axes: Tensor | None = None) -> Tensor:
        return _as_integers(ReduceMax(axes=self.axes, keepdims=self.keepdims), x, axes)


@operator(inputs="x axes?", family=FAMILY)
class ReduceAll(Reduction):
    """Whether every element is true; true of nothing."""

    allowed = BOOLS
    axes: Ints | None = None
    keepdims: bool = True

    def reduce(self, x: Array, axes: Axes) -> Any:
        return np.all(x, axis=axes, keepdims=True)

    def decompose(self, x: Tensor, axes: Tensor | None = None) -> Tensor:
        return _as_integers(ReduceMin(axes=self.axes, keepdims=self.keepdims), x, axes)


def _as_integers(reduction: Operator, x: Tensor, axes: Tensor | None) -> Tensor:
    """A reduction of bool by way of i32; the extremes of nothing, the ends of the range, become false and true."""
    from uair.ops.comparison import Greater

    wide = Cast(to=DType.I32)(x)
    return Greater()(reduction(wide, axes), scalar(0, wide))


# ----------------------------------------------------------------------- position
class Position(Operator):
    """Base of ArgMax and ArgMin."""

    greatest: ClassVar[bool] = True
    axis: int = 0
    keepdims: bool = True
    select_last: bool = False

    def infer(self, x: TensorType) -> TensorType:
        require_dtype(x, REALS, "x")
        if x.shape is None:
            return TensorType(DType.I64, None)
        require(x.shape, "x has no axis: its rank is 0")
        axis = normalize_axis(self.axis, len(x.shape))
        require(x.shape[axis] != 0, "x has no elements along axis {}", axis)
        return inferred(DType.I64, reduced_shape(x.shape, (self.axis,), self.keepdims))

    def evaluate(self, x: Array) -> Array:
        return compute(self.position, x, dtype=DType.I64.numpy)

    def position(self, x: Array) -> Any:
        """The positions, as NumPy's integers."""
        find = np.argmax if self.greatest else np.argmin
        if not self.select_last:
            return find(x, axis=self.axis, keepdims=self.keepdims)
        return x.shape[self.axis] - 1 - find(np.flip(x, self.axis), axis=self.axis, keepdims=self.keepdims)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        make: Any = cls  # its attributes are those of the subclasses
        yield case(make(), "f32[2,3,4]")
        yield case(make(axis=-1, keepdims=False), "f32[2,3,4]")
        ties = np.array([[1, 3, 3, 1, 2], [2, 2, 2, 2, 2]], np.float32)
        yield case(make(axis=1), ties)
        yield case(make(axis=1, select_last=True), ties)
        yield from (case(make(axis=1), f"{k}[2,3]") for k in ("f16", "bf16", "i32", "u8", "i4"))
        yield case(make(axis=1), "f32[0,3]")
        yield bad(make(axis=2), "f32[2,3]", because="axis 2 is out of range")
        yield bad(make(axis=1), "f32[2,0]", because="no elements along axis 1")
        yield bad(make(), "bool[2]", because="x must be")


@operator(inputs="x", family=FAMILY)
class ArgMax(Position):
    """The position of the greatest element along `axis`, i64; the first of equals, or the last with select_last.

    NaN counts as greatest (PyTorch, NumPy); onnxruntime and TensorFlow pass over it.
    """

    axis: int = 0
    keepdims: bool = True
    select_last: bool = False


@operator(inputs="x", family=FAMILY)
class ArgMin(Position):
    """The position of the least element along `axis`, i64; the first of equals, or the last with select_last.

    NaN counts as least (PyTorch, NumPy).
    """

    greatest = False
    axis: int = 0
    keepdims: bool = True
    select_last: bool = False


class _Running(Operator):
    """Running results of a binary function along `axis`.

    Class attributes:
        function: the function. neutral: what it gives of nothing.
    """

    function: ClassVar[Any]
    neutral: ClassVar[int]
    axis: int | None
    exclusive: bool
    reverse: bool

    def infer(self, x: TensorType, axis: TensorType | None = None) -> TensorType:
        require_dtype(x, NUMBERS, "x")
        one_number(self.axis, axis, "axis")
        if x.shape is not None:
            require(x.shape, "x has no axis: its rank is 0")
            if self.axis is not None:
                normalize_axis(self.axis, len(x.shape))
        return TensorType(x.dtype, x.shape)

    def evaluate(self, x: Array, axis: Array | None = None) -> Array:
        (along,) = run_time_axes(self, None, np.array([number(self, self.axis, axis)]), x.ndim)
        return compute(functools.partial(self.running, axis=along), x)

    def running(self, x: Array, axis: int) -> Any:
        """The results in the working type."""
        x = np.moveaxis(x, axis, 0)
        if self.reverse:
            x = x[::-1]
        results = self.function.accumulate(x, axis=0, dtype=x.dtype)
        if self.exclusive:
            results = np.concatenate([np.full_like(results[:1], self.neutral), results[:-1]])
        if self.reverse:
            results = results[::-1]
        return np.ascontiguousarray(np.moveaxis(results, 0, axis))


@operator(inputs="x axis?", family=FAMILY)
class CumSum(_Running):
    """Running sums along `axis` (None: an operand says which). x: numbers, of any shape, which the result has too.

    exclusive: the element itself is not counted (the first sum is 0); reverse: from the end. torch.cumsum has neither.
    Source: ONNX CumSum 14.
    """

    function = np.add
    neutral = 0
    axis: int | None = 0
    exclusive: bool = False
    reverse: bool = False

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        for exclusive in (False, True):
            for reverse in (False, True):
                yield case(cls(axis=1, exclusive=exclusive, reverse=reverse), "f32[2,4]")
        yield case(cls(axis=-2), "i32[2,4,3]")
        yield from (case(cls(), f"{k}[6]") for k in ("f16", "bf16", "i8"))
        yield case(cls(exclusive=True), "f32[0]")
        yield case(cls(axis=None), "f32[2,3]", np.array(-1, np.int32))
        yield case(cls(axis=None, reverse=True), "f32[2,3]", np.array([0]))
        yield bad(cls(axis=1), "f32[3]", because="axis 1 is out of range")
        yield bad(cls(), "bool[3]", because="x must be")
        yield bad(cls(), "f32[3]", "i64[]", because="axis is both")
        yield bad(cls(axis=None), "f32[3]", "i64[2]", because="axis must hold one number")


@operator(inputs="x axis?", family=FAMILY)
class CumProd(_Running):
    """Running products along `axis`, which may be an operand; integers wrap around. Source: ONNX CumProd 26.

    x: numbers, of any shape, which the result has too. exclusive: the element itself is not counted (the first product
    is 1); reverse: from the end. torch.cumprod has neither.
    """

    function = np.multiply
    neutral = 1
    axis: int | None = 0
    exclusive: bool = False
    reverse: bool = False

    def decompose(self, x: Tensor, axis: Tensor | None = None) -> Tensor | None:
        """Products of rows in which 1 stands for what is not counted: n^2 elements for an extent of n.

        When the axis is an operand, the results along all axes are made and one is chosen.
        """
        if x.type.shape is None or not is_static(x.type.shape):
            return None
        rank = x.type.rank
        if axis is None:
            return None if self.axis is None else self._results(x, self.axis % rank)
        return along_axis(axis, rank, [self._results(x, at) for at in range(rank)])

    def _results(self, x: Tensor, at: int) -> Tensor:
        from uair.ops.elementwise import Where
        from uair.ops.shape import Unsqueeze

        extent = static(x.type.dims)[at]
        place = np.arange(extent)
        distance = place[:, np.newaxis] - place if not self.reverse else place - place[:, np.newaxis]
        counted = distance > 0 if self.exclusive else distance >= 0
        counted = counted.reshape(extent, extent, *(1,) * (x.type.rank - at - 1))
        rows = Where()(constant(counted), Unsqueeze(axes=(at,))(x), scalar(1, x))
        return ReduceProd(axes=(at + 1,), keepdims=False)(rows)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        for exclusive in (False, True):
            for reverse in (False, True):
                yield case(cls(axis=1, exclusive=exclusive, reverse=reverse), "f32[2,4]")
        yield case(cls(axis=-2), "i32[2,4,3]")
        yield from (case(cls(), f"{k}[6]") for k in ("f16", "bf16", "f64", "i64"))
        yield case(cls(exclusive=True), "f32[0]")
        yield case(cls(axis=None), "f32[2,3]", np.array(-1))
        yield bad(cls(axis=1), "f32[3]", because="axis 1 is out of range")
        yield bad(cls(), "bool[3]", because="x must be")
        yield bad(cls(axis=None), "f32[3]", because="axis is neither")
