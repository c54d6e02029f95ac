"""Weights of few bits: the grids on which groups of neighbouring weights are rounded.

A matrix [out, in] is cut along its inputs into groups of B weights. Each group g of a row has a scale s[g] and a zero
point z[g], and a weight w of it becomes the integer q = clamp(round(w / s) + z), which stands for (q - z) * s. Of
symmetric grids z is 0.

A scale is the one with the least squared error among fractions of the group's range, which clip its outermost weights
for the sake of finer steps, and then the one that least squares give for the integers found (Choukroun et al., arXiv
1902.06822; the alternation of rounding and least squares is Lloyd's method on an even grid).
"""

from __future__ import annotations

from typing import TypeAlias

import attrs
import numpy as np

from uair.ir.data import PackedData
from uair.ir.dtype import Array, DType
from uair.quant.errors import QuantizationError
from uair.quant.gptq import Grid

FRACTIONS: dict[int, Array] = {4: np.linspace(1.0, 0.6, 17), 8: np.linspace(1.0, 0.8, 9)}
"""By bits, the fractions of a group's range that are tried as its limit."""
REFINEMENTS = 2
"""Rounds of least squares behind the search."""
PIECE = 1 << 18
"""Weights that are searched at once: what they need then stays in the processor's cache."""

_Range: TypeAlias = tuple[Array, Array]


@attrs.frozen(eq=False)
class GroupGrid:
    """The grids of a matrix [out, in], one for each group of `size` neighbours along its inputs.

    Attributes:
        scale: [out, groups], f32, exactly representable in the type that the scales are stored in.
        zero_point: [out, groups], i32; zeros for a symmetric grid.
        dtype: of the integers: I4, I8 (symmetric), U4, U8.
        size: of a group; the last one may be shorter.
    """

    scale: Array
    zero_point: Array
    dtype: DType
    size: int

    @property
    def is_symmetric(self) -> bool:
        """Whether the zero points are 0 by definition."""
        return self.dtype.is_signed

    def spread(self, extent: int) -> Grid:
        """The grid of every single weight [out, extent]."""
        scale, zero = (np.repeat(a, self.size, axis=1)[:, :extent] for a in (self.scale, self.zero_point))
        return Grid(scale, zero, *self.dtype.range)

    def part(self, start: int, stop: int) -> GroupGrid:
        """The grids of some rows."""
        return attrs.evolve(self, scale=self.scale[start:stop], zero_point=self.zero_point[start:stop])

    def nearest(self, w: Array) -> Array:
        """The integers i16 [out, in] nearest to weights [out, in]."""
        found = np.empty(w.shape, np.int16)
        step = max(PIECE // max(w.shape[1], 1), 1)
        for start in range(0, len(w), step):
            grid = self.part(start, start + step).spread(w.shape[1])
            q = np.rint(w[start : start + step] / grid.scale)
            q += grid.zero_point
            np.clip(q, grid.least, grid.greatest, out=q)
            found[start : start + step] = q
        return found

    def real(self, q: Array) -> Array:
        """What integers [out, in] stand for, f32, as Dequantize computes it."""
        grid = self.spread(q.shape[1])
        values: Array = (q - grid.zero_point).astype(np.float32) * grid.scale
        return values


def choose_grid(
    w: Array,
    bits: int,
    size: int,
    *,
    symmetric: bool,
    importance: Array | None = None,
    scale_type: DType = DType.F32,
    name: str = "",
) -> GroupGrid:
    """The grids of a matrix's groups, each of least squared error.

    Args:
        w: [out, in], floats.
        bits: 4 or 8.
        size: weights in a group; 0 for one group a row.
        symmetric: zero points are 0, integers signed; otherwise integers are unsigned.
        importance: [in], factors of the squared errors: the mean squares of the inputs.
        scale_type: what scales are stored in; they are rounded to it before they are used.
        name: the matrix, for messages.

    Raises:
        QuantizationError: w is not finite.
    """
    rows, extent = w.shape
    size = min(size, extent) or extent
    groups = -(-extent // size)
    dtype = {(4, True): DType.I4, (4, False): DType.U4, (8, True): DType.I8, (8, False): DType.U8}[bits, symmetric]
    scale, zero = np.empty((rows, groups), np.float32), np.empty((rows, groups), np.int32)
    weights = None if importance is None else _padded(importance[None, :].astype(np.float32), groups, size)
    step = max(PIECE // extent, 1)
    for start in range(0, rows, step):
        piece = w[start : start + step].astype(np.float32)
        if not np.isfinite(piece).all():
            raise QuantizationError(
                f"weight {name!r} has values that are not finite", hint="leave it in float with skip"
            )
        search = _Search(_padded(piece, groups, size), weights, dtype, scale_type)
        scale[start : start + step], zero[start : start + step] = search.best(FRACTIONS[bits])
    return GroupGrid(scale, zero, dtype, size)


def _padded(w: Array, groups: int, size: int) -> Array:
    """[rows, groups, size]; zeros fill the last group: they are exact on every grid."""
    missing = groups * size - w.shape[1]
    return (np.pad(w, ((0, 0), (0, missing))) if missing else w).reshape(len(w), groups, size)


@attrs.define(eq=False)
class _Search:
    """The search for the grids of some rows.

    Attributes:
        w: [rows, groups, size].
        importance: [1, groups, size] or None.
        dtype: of the integers.
        scale_type: of the scales.
    """

    w: Array
    importance: Array | None
    dtype: DType
    scale_type: DType

    def best(self, fractions: Array) -> _Range:
        """Scale and zero point [rows, groups]."""
        least, greatest = self.dtype.range
        if self.dtype.is_signed:
            width, low = np.abs(self.w).max(axis=2) * (2 * greatest + 1) / greatest, None
        else:
            low = np.minimum(self.w.min(axis=2), 0)
            width = np.maximum(self.w.max(axis=2), 0) - low
        found: list[Array] | None = None
        for fraction in fractions:
            scale = self._stored(width * np.float32(fraction / (greatest - least)))
            zero = np.zeros_like(scale) if low is None else np.rint(least - low * np.float32(fraction) / scale)
            found = self._better(found, scale, np.clip(zero, least, greatest))
        for _ in range(REFINEMENTS):
            assert found is not None
            for shift in (0,) if low is None else (0, -1, 1):
                zero = np.clip(found[2] + shift, least, greatest)
                found = self._better(found, self._refitted(found[1], zero), zero)
        assert found is not None
        return found[1], found[2].astype(np.int32)

    def _better(self, found: list[Array] | None, scale: Array, zero: Array) -> list[Array]:
        """Error, scale and zero point of the better of two grids, group by group."""
        error = (self._offsets(scale, zero) * scale[..., None] - self.w) ** 2
        if self.importance is not None:
            error *= self.importance
        total = error.sum(axis=2)
        if found is None:
            return [total, scale, zero]
        better = total < found[0]
        return [np.where(better, new, old) for new, old in zip((total, scale, zero), found, strict=True)]

    def _offsets(self, scale: Array, zero: Array) -> Array:
        """Q - z of the nearest integers."""
        least, greatest = self.dtype.range
        q = np.rint(self.w / scale[..., None])
        low, high = (least - zero)[..., None], (greatest - zero)[..., None]
        nearest: Array = np.clip(q, low, high, out=q)
        return nearest

    def _refitted(self, scale: Array, zero: Array) -> Array:
        """The scale of least squared error for the integers that another one gives."""
        q = self._offsets(scale, zero)
        weighted = q if self.importance is None else q * self.importance
        above, below = (weighted * self.w).sum(axis=2), (weighted * q).sum(axis=2)
        return self._stored(np.where((below > 0) & (above > 0), above / np.where(below > 0, below, 1), scale))

    def _stored(self, scale: Array) -> Array:
        """Scales as they are stored: normal numbers of their type, 1 for a group of zeros."""
        least = np.float32(np.finfo(np.float16 if self.scale_type is DType.F16 else np.float32).tiny)
        kept = np.maximum(scale.astype(self.scale_type.numpy).astype(np.float32), least)
        result: Array = np.where(scale > 0, kept, np.float32(1))
        return result


@attrs.frozen(eq=False)
class GroupedWeight:
    """A constant as integers with scales in groups along one axis: the operands and attributes of a Dequantize.

    Attributes:
        integers: packed.
        scale: the scales.
        zero_point: the zero points; None when they are 0.
        axis: along which the groups (or, without groups, the single scales) lie.
        size: of a group; 0 for one scale for each index of `axis`.
    """

    integers: PackedData
    scale: Array
    zero_point: Array | None
    axis: int
    size: int


def stored_matrix(q: Array, grid: GroupGrid, scale_type: DType, *, in_blocks: bool = False) -> GroupedWeight:
    """The integers [out, in] of a matrix as [in, out], the order in which runtimes have kernels for few bits.

    With one group a row the scales are those of the output channels, unless they must lie `in_blocks`; else they lie in
    blocks along the inputs.
    """
    whole = grid.scale.shape[1] == 1 and not in_blocks
    scale, zero = (a[:, 0] if whole else np.ascontiguousarray(a.T) for a in (grid.scale, grid.zero_point))
    return GroupedWeight(
        PackedData(_narrow(q.T, grid.dtype), grid.dtype),
        scale.astype(scale_type.numpy),
        None if grid.is_symmetric else _narrow(zero, grid.dtype),
        1 if whole else 0,
        0 if whole else grid.size,
    )


def stored_table(q: Array, grid: GroupGrid, scale_type: DType) -> GroupedWeight:
    """The integers [rows, width] of a table, with scales [rows, groups] of which rows are taken like those of q."""
    zero = None if grid.is_symmetric else _narrow(grid.zero_point, grid.dtype)
    integers = PackedData(_narrow(q, grid.dtype), grid.dtype)
    return GroupedWeight(integers, grid.scale.astype(scale_type.numpy), zero, 1, grid.size)


def stored_channels(q: Array, grid: GroupGrid, shape: tuple[int, ...], axis: int, scale_type: DType) -> GroupedWeight:
    """The integers [out, rest] of a weight of that shape, whose `axis` is the output channels, one group for each."""
    moved = q.reshape(shape[axis], *shape[:axis], *shape[axis + 1 :])
    integers = PackedData(_narrow(np.moveaxis(moved, 0, axis), grid.dtype), grid.dtype)
    zero = None if grid.is_symmetric else _narrow(grid.zero_point[:, 0], grid.dtype)
    return GroupedWeight(integers, grid.scale[:, 0].astype(scale_type.numpy), zero, axis, 0)


def _narrow(q: Array, dtype: DType) -> Array:
    """Integers in their type, by way of bytes: ml_dtypes converts nothing wider to 4 bits exactly as one expects."""
    return np.ascontiguousarray(q).astype(np.int8 if dtype.is_signed else np.uint8).astype(dtype.numpy)
