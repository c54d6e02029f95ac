"""Padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from uair.errors import EvaluationError
from uair.ir import dims
from uair.ir.dims import Dim, Shape, is_static, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops._cast import cast
from uair.ops._forms import numbers, one_form, one_number, vector_length
from uair.ops.base import Operator, Sample, bad, case, operator, require, same_dtype
from uair.ops.comparison import Less
from uair.ops.conversion import Cast
from uair.ops.elementwise import Add, Identity, Maximum, Minimum, Mod, Mul, Neg, Sub, Where
from uair.ops.indexing import Gather
from uair.ops.shape import FAMILY, Range, ShapeOf, Squeeze

PadMode: TypeAlias = Literal["constant", "reflect", "edge", "wrap", "symmetric"]


MOST_PLACES = 1 << 24
"""Indices of a padded axis that are stored as a constant; more are computed when the model runs."""


@operator(inputs="x pads? value?", family=FAMILY)
class Pad(Operator):
    """x with elements put in front of and behind each axis.

    pads: the numbers in front for all axes, then the numbers behind (ONNX's order; PyTorch's begins at the last axis).
    Negative numbers crop, before anything is put in. mode "constant": `value`, converted to x's element type, or an
    operand of that type (`value` is None then); "edge": the outermost element; "reflect": mirrored without it;
    "symmetric": mirrored with it (TensorFlow only); "wrap": periodic.
    """

    pads: Shape | None = None
    mode: PadMode = "constant"
    value: float | None = 0.0

    def infer(self, x: TensorType, pads: TensorType | None = None, value: TensorType | None = None) -> TensorType:
        one_form(self.pads, pads, "pads")
        one_number(self.value, value, "value", integer=False)
        numeric = x.dtype is not DType.STRING
        require(self.mode != "constant" or value is not None or numeric, "x is string: it has no padding value")
        same_dtype(x=x, value=value)
        length = len(self.pads) if self.pads is not None else vector_length(pads)
        if x.shape is None:
            return inferred(x.dtype, None if length is None else (None,) * (length // 2))
        rank = len(x.shape)
        require(
            length is None or length == 2 * rank, "pads has {} values, x of rank {} needs {}", length, rank, 2 * rank
        )
        if self.pads is None:
            return inferred(x.dtype, (None,) * rank)
        return inferred(
            x.dtype, tuple(self._extent(a, d, self.pads[a], self.pads[a + rank]) for a, d in enumerate(x.shape))
        )

    def _extent(self, axis: int, d: Dim, begin: Dim, end: Dim) -> Dim:
        """The extent of one axis of the result."""
        total = dims.normal(d + begin + end)
        fits = not isinstance(total, int) or total >= 0
        require(fits, "pads {}, {} crop more than axis {} has ({})", begin, end, axis, d)
        if self.mode != "constant" and isinstance(d, int) and isinstance(total, int):
            left = d + sum(p for p in (begin, end) if isinstance(p, int) and p < 0)
            require(left > 0 or total == left == 0, "mode {}: axis {} of x has nothing to repeat", self.mode, axis)
        return total

    def evaluate(self, x: Array, pads: Array | None = None, value: Array | None = None) -> Array:
        amounts = numbers(self, self.pads, pads)
        if len(amounts) != 2 * x.ndim:
            raise EvaluationError(f"Pad: pads has {len(amounts)} values, x of rank {x.ndim} needs {2 * x.ndim}")
        fill = value.reshape(-1)[0] if value is not None else _fill(self.value or 0.0, x.dtype)
        return pad(x, amounts, self.mode, fill)

    def decompose(self, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None) -> Tensor | None:
        """Every mode but "constant": indices, axis by axis."""
        if self.mode == "constant" or x.type.shape is None:
            return None
        if pads is not None:
            return self._gathered_at_run_time(x, pads)
        if self.pads is None or not is_static(self.pads):
            return None
        y = x
        for axis, (begin, end) in enumerate(_sides(static(self.pads))):
            if begin or end:
                y = Gather(axis=axis)(y, _padded_places(x, axis, begin, end, self.mode))
        return Identity()(x) if y is x else y

    def _gathered_at_run_time(self, x: Tensor, pads: Tensor) -> Tensor:
        rank, wide = len(x.type.dims), Cast(to=DType.I64)(pads)
        y = x
        for axis in range(rank):
            begin, end = (Gather()(wide, constant(place)) for place in (axis, axis + rank))
            y = Gather(axis=axis)(y, _computed_places(x, axis, begin, end, self.mode))
        return y

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        modes: tuple[PadMode, ...] = ("constant", "reflect", "edge", "wrap", "symmetric")
        for mode in modes:
            yield case(cls(pads=(1, 2, 0, 1), mode=mode), "f32[3,4]")
            yield case(cls(pads=(-1, 2, 0, -2), mode=mode), "f32[3,4]")
            yield case(cls(pads=(0, 5, 0, 7), mode=mode), "i32[2,3]")
        yield case(cls(pads=(1, 1), value=-3.5), "f16[2]")
        yield case(cls(pads=(1, 1), value=1.0), "bool[2]")
        yield case(cls(pads=(1, 1), value=float("-inf")), "f32[0]")
        yield case(cls(pads=(1, 0), value=2.0), "i4[2]")
        yield case(cls(), "f32[2,3]", np.array([0, 1, 0, 1]))
        yield case(cls(mode="wrap"), "f32[2,3]", np.array([0, 4, -1, 1]))
        yield case(cls(value=None), "f32[2,3]", np.array([0, 1, 0, -1]), np.array(2.5, np.float32))
        yield case(cls(pads=(1, 0), value=None), "i64[2]", None, np.array([2**60 + 1]))
        yield bad(cls(pads=(1, 1)), "f32[2,3]", because="pads has 2 values")
        yield bad(cls(pads=(1, 1)), "f32[2]", None, "f32[]", because="value is both")
        yield bad(cls(pads=(1, 1), value=None), "f32[2]", None, "i32[]", because="value is i32")
        yield bad(cls(pads=(-2, -2)), "f32[3]", because="crop more than axis 0")
        yield bad(cls(pads=(1, 1), mode="edge"), "f32[0]", because="nothing to repeat")
        yield bad(cls(), "f32[2]", because="pads is neither")


def pad(x: Array, pads: Sequence[int], mode: PadMode = "constant", value: Any = 0) -> Array:
    """`x` with `pads` (in front of all axes, then behind them); negative numbers crop first.

    Raises:
        EvaluationError: they crop more than there is.
    """
    if any(d + b + e < 0 for d, (b, e) in zip(x.shape, _sides(pads), strict=True)):
        raise EvaluationError(f"Pad: pads {list(pads)} crop more than x of shape {list(x.shape)} has")
    sides = _sides(pads)
    if mode != "constant":
        for axis, (b, e) in enumerate(sides):
            if b or e:
                x = x.take(places(x.shape[axis], b, e, mode), axis=axis)
        return x
    extents = [d + b + e for d, (b, e) in zip(x.shape, sides, strict=True)]
    begins = [max(b, 0) for b, _ in sides]
    ends = [max(min(b + d, n), b, 0) for n, d, (b, _) in zip(extents, x.shape, sides, strict=True)]
    result = np.full(extents, value, x.dtype)
    result[tuple(map(slice, begins, ends))] = x[
        tuple(slice(first - b, last - b) for first, last, (b, _) in zip(begins, ends, sides, strict=True))
    ]
    return result


def _sides(pads: Sequence[int]) -> list[tuple[int, int]]:
    """(begin, end) of every axis."""
    return list(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True))


def _fill(value: float, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "O":
        return int(value)
    return cast(np.array(value, np.float64), DType.from_numpy(dtype), saturate=False)


def places(extent: int, begin: int, end: int, mode: PadMode) -> Array:
    """For every place of a padded axis the place of x that it repeats (not for mode "constant").

    Where the padding is longer than x, x is mirrored or repeated again; negative `begin` and `end` crop first.

    Raises:
        EvaluationError: nothing is left to repeat.
    """
    kept = np.arange(max(-begin, 0), extent - max(-end, 0))
    wanted = np.arange(-max(begin, 0), len(kept) + max(end, 0))
    if not kept.size and wanted.size:
        raise EvaluationError(f"Pad: an axis of {extent} padded by {begin} and {end} has nothing to repeat")
    if not kept.size:
        return kept
    if mode == "edge":
        return kept[np.clip(wanted, 0, len(kept) - 1)]
    if mode == "wrap":
        return kept[wanted % len(kept)]
    period = max(2 * len(kept) - 2, 1) if mode == "reflect" else 2 * len(kept)
    place = wanted % period
    mirrored = period - place if mode == "reflect" else period - 1 - place
    return kept[np.where(place < len(kept), place, mirrored)]


def _padded_places(x: Tensor, axis: int, begin: int, end: int, mode: PadMode) -> Tensor:
    """`places` for an axis of `x`: stored when the extent is known and not enormous, else computed."""
    extent = x.type.dims[axis]
    if isinstance(extent, int) and extent + begin + end <= MOST_PLACES:
        return constant(places(extent, begin, end, mode))
    return _computed_places(x, axis, constant(begin), constant(end), mode)


def _computed_places(x: Tensor, axis: int, begin: Tensor, end: Tensor, mode: PadMode) -> Tensor:
    """`places` for an axis of `x` when its extent or the padding is known only at run time."""
    zero, one, two = constant(0), constant(1), constant(2)
    cropped = Maximum()(Neg()(begin), zero)
    extent = Squeeze(axes=(0,))(ShapeOf(start=axis, end=axis + 1)(x))
    count = Sub()(extent, Add()(cropped, Maximum()(Neg()(end), zero)))
    wanted = Range()(Neg()(Maximum()(begin, zero)), Add()(count, Maximum()(end, zero)), one)
    if begin.is_constant and end.is_constant:  # which says more than the type of a Range of computed bounds
        total = dims.normal(x.type.dims[axis] + int(begin.numpy()) + int(end.numpy()))
        wanted.type = wanted.type.with_shape((total,))
    if mode == "edge":
        found = Minimum()(Maximum()(wanted, zero), Sub()(count, one))
    elif mode == "wrap":
        found = Mod()(wanted, count)
    else:
        period = Mul()(count, two)
        if mode == "reflect":
            period = Maximum()(Sub()(period, two), one)
        place = Mod()(wanted, period)
        mirrored = Sub()(Sub()(period, place), zero if mode == "reflect" else one)
        found = Where()(Less()(place, count), place, mirrored)
    return Add()(found, cropped)
