"""Rounding weights so that the errors of some make up for those of others (GPTQ, Frantar et al., arXiv 2210.17323).

Rounding each weight to the nearest step is best only where the inputs are uncorrelated. With the Hessian of the squared
error of the results, H = E[x x^T], the columns of a weight are rounded one after the other, and what rounding a column
did to the results is taken out by the columns that are not rounded yet.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array

DAMPING = 0.01
"""What is added to the Hessian's diagonal, as a part of its mean: it keeps weights near what they were."""
BLOCK = 32
"""Columns after which the errors are given on to all later ones at once: few are worked on one by one."""
ROWS = 1 << 18
"""Weights that are rounded at a time: rows do not know of each other, and what they are worked on in stays small."""
MATRICES = 1 << 16
"""Numbers of many small Hessians that are worked on at once."""
PANEL = 256
"""Rows or columns of a Hessian that are worked on at once."""


@attrs.frozen(eq=False)
class Grid:
    """The numbers that weights may become: (q - zero_point) * scale for the integers q from `least` to `greatest`.

    Attributes:
        scale: positive, broadcast against the weight [..., M, K]: [M, 1] for a scale per row, [M, K] for finer groups.
        zero_point: integers, broadcast in the same way.
        least: least integer.
        greatest: greatest integer.
    """

    scale: Array
    zero_point: Array
    least: int
    greatest: int

    @property
    def holds(self) -> np.dtype[Any]:
        """The type of arrays of the integers: i8 where that holds them, else i32."""
        limits = np.iinfo(np.int8)
        return np.dtype(np.int8 if limits.min <= self.least and self.greatest <= limits.max else np.int32)

    def integers(self, w: Array) -> Array:
        """The nearest integers of weights, f64."""
        return _nearest(w, self.scale, self.zero_point, self)


def round_with_feedback(
    w: Array, hessian: Array, grid: Grid, *, damping: float = DAMPING, overwrite: bool = False
) -> Array:
    """The integers of a weight for which the results `w @ x` change little.

    Columns of great diagonal elements of the Hessian come first ("activation order" in the authors' program), so that
    the ones that matter most are rounded while there are many left to make up for it. Columns that never see an input
    are rounded to the nearest.

    Args:
        w: [..., M, K]; leading axes are independent problems (the groups of a convolution).
        hessian: [..., K, K], sums or means of x x^T over inputs x, symmetric.
        grid: the numbers that weights may become.
        damping: see DAMPING; it grows tenfold while the Hessian is numerically not positive definite.
        overwrite: work in the Hessian's memory, which must be f32; else in a copy.

    Returns:
        The integers q, of w's shape and of the type that `grid` holds them in.
    """
    order = np.argsort(-np.diagonal(hessian, axis1=-2, axis2=-1), axis=-1, kind="stable")
    feedback = _feedback(hessian if overwrite else np.array(hessian, np.float32), order, damping)
    scale, zero = (np.broadcast_to(a, (*w.shape[:-1], a.shape[-1])) for a in (grid.scale, grid.zero_point))
    integers = np.empty(w.shape, grid.holds)
    rows = max(ROWS // max(w.size // max(w.shape[-2], 1), 1), 1)
    for start in range(0, w.shape[-2], rows):
        some = (..., slice(start, start + rows), slice(None))
        integers[some] = _rounded_rows(w[some], scale[some], zero[some], order, feedback, grid)
    return integers


def _rounded_rows(w: Array, scale: Array, zero: Array, order: Array, feedback: Array, grid: Grid) -> Array:
    """The integers of some rows of a weight, f32; columns are taken in `order`, which `feedback` has already.

    What is worked on has the columns first, [K, ..., M]: the numbers of one lie side by side.
    """
    values = _columns(np.asarray(w, np.float32), order)
    scale, zero = (_columns(np.asarray(a, np.float32), order) for a in (scale, zero))
    after = np.moveaxis(feedback, (-2, -1), (0, 1))[..., None]  # [K, K, ..., 1]
    integers = np.empty(values.shape, grid.holds)
    extent = len(values)
    for start in range(0, extent, BLOCK):
        stop = min(start + BLOCK, extent)
        errors = np.empty_like(values[start:stop])
        for i in range(start, stop):
            s, z = (a[0 if len(a) == 1 else i] for a in (scale, zero))
            q, error = _nearest(values[i], s, z, grid), errors[i - start]
            integers[i] = q
            np.multiply(np.subtract(q, z, out=q), s, out=error)
            np.subtract(values[i], error, out=error)
            values[i + 1 : stop] -= error * after[i, i + 1 : stop]
        if stop < extent:
            spread = feedback[..., start:stop, stop:].swapaxes(-2, -1) @ np.moveaxis(errors, 0, -2)
            values[stop:] -= np.moveaxis(spread, -2, 0)
    back = np.argsort(order, axis=-1)
    return np.take_along_axis(np.moveaxis(integers, 0, -1), back[..., None, :], -1)


def _columns(a: Array, order: Array) -> Array:
    """[K, ..., M] of [..., M, K], columns in another order; [1, ..., M] where all columns are the same."""
    ordered = a if a.shape[-1] == 1 else np.take_along_axis(a, order[..., None, :], -1)
    return np.ascontiguousarray(np.moveaxis(ordered, -1, 0))


def _nearest(w: Array, scale: Array, zero: Array, grid: Grid, out: Array | None = None) -> Array:
    q: Array = np.divide(w, scale, out=out)
    np.rint(q, out=q)
    q += zero
    return np.clip(q, grid.least, grid.greatest, out=q)


def _feedback(hessian: Array, order: Array, damping: float) -> Array:
    """[..., K, K], f32, upper triangular: by what part of column i's error the later columns j change.

    Row i is row i of the Cholesky factor U of the inverse (H^-1 = U^T U), divided by its diagonal element: the least
    squares answer of the columns behind i, without those before it. Rows and columns are put in the order given.

    All is done in the Hessian itself: with wide rows nothing else is as large. Of many small ones some are worked on at
    a time; with fewer than rows they would be inverted in another way.
    """
    extent = hessian.shape[-1]
    flat, orders = hessian.reshape(-1, extent, extent), order.reshape(-1, extent)
    at_once = max(MATRICES // max(extent * extent, 1), 2 * extent + 2)
    parts = -(-len(flat) // at_once)
    for i in range(parts):
        some = slice(i * len(flat) // parts, (i + 1) * len(flat) // parts)
        _factor(flat[some], orders[some], damping)
    return hessian[..., ::-1, ::-1]


def _factor(hessian: Array, order: Array, damping: float) -> None:
    """The same for Hessians [G, K, K]: each gets the result in reversed order, lower triangular."""
    extent = hessian.shape[-1]
    diagonal = np.diagonal(hessian, axis1=-2, axis2=-1)
    mean = diagonal.mean(axis=-1, dtype=np.float64)[..., None]
    mean = np.where(mean > 0, mean, 1.0)
    # For the reversed order H = L L^T gives H^-1 = L^-T L^-1, whose factor L^-1 is upper triangular reversed.
    _permute(hessian, order[..., ::-1])
    at = np.arange(extent)
    given = np.diagonal(hessian, axis1=-2, axis2=-1).copy()
    while True:
        hessian[..., at, at] = given + damping * mean
        try:
            _cholesky(hessian)
            break
        except np.linalg.LinAlgError:
            _mirror_upper(hessian)
            damping = max(damping, 1e-6) * 10
    _clear_upper(hessian)
    _invert_lower(hessian)
    hessian /= np.diagonal(hessian, axis1=-2, axis2=-1)[..., None].copy()


def _panels(extent: int) -> list[slice]:
    """Parts of an axis."""
    return [slice(start, min(start + PANEL, extent)) for start in range(0, extent, PANEL)]


def _permute(a: Array, order: Array) -> None:
    """Put rows and columns of matrices [..., K, K] in another order, in place."""
    extent = a.shape[-1]
    flat, orders = a.reshape(-1, extent, extent), order.reshape(-1, extent)
    if extent <= BLOCK:  # many matrices at a time
        at = np.arange(len(flat))[:, None, None]
        flat[...] = flat[at, orders[:, :, None], orders[:, None, :]]
        return
    for matrix, o in zip(flat, orders, strict=True):
        for some in _panels(extent):
            matrix[some] = matrix[some][:, o]
        for some in _panels(extent):
            matrix[:, some] = matrix[:, some][o]


def _cholesky(a: Array) -> None:
    """Put the lower triangular factor of symmetric matrices [..., K, K] into their lower triangles.

    What is above the diagonal stays as it was.

    Raises:
        np.linalg.LinAlgError: one is numerically not positive definite.
    """
    extent = a.shape[-1]
    for panel in _panels(extent):
        block = a[..., panel, panel]
        lower = np.linalg.cholesky(block)
        _set_lower(block, lower)
        if panel.stop == extent:
            return
        below = slice(panel.stop, extent)
        rest = a[..., below, panel] = a[..., below, panel] @ np.linalg.inv(lower).swapaxes(-1, -2)
        for each in _panels(extent - panel.stop):
            part = rest[..., each, :]
            rows = slice(panel.stop + each.start, panel.stop + each.stop)
            before = slice(panel.stop, rows.start)
            a[..., rows, before] -= part @ rest[..., : each.start, :].swapaxes(-1, -2)
            square = a[..., rows, rows]
            _set_lower(square, square - part @ part.swapaxes(-1, -2))


def _set_lower(a: Array, values: Array) -> None:
    """Put values into the lower triangles of matrices [..., K, K], diagonals too."""
    np.copyto(a, values, where=np.tri(a.shape[-1], dtype=bool))


def _mirror_upper(a: Array) -> None:
    """Make matrices [..., K, K] symmetric by what is above their diagonals."""
    for panel in _panels(a.shape[-1]):
        block = a[..., panel, panel]
        _set_lower(block, block.swapaxes(-1, -2).copy())
        a[..., panel, : panel.start] = a[..., : panel.start, panel].swapaxes(-1, -2)


def _clear_upper(a: Array) -> None:
    """Put zeros above the diagonals of matrices [..., K, K]."""
    for panel in _panels(a.shape[-1]):
        block = a[..., panel, panel]
        block[...] = np.tril(block)
        a[..., panel, panel.stop :] = 0


def _invert_lower(a: Array) -> None:
    """Put the inverses of lower triangular matrices [..., K, K] in their place, by halves: a sixth of the work.

    What is above their diagonals is zero. Many small ones go row by row, all at once.
    """
    extent = a.shape[-1]
    if a.size > extent**3:
        _invert_many(a)
        return
    if extent <= 64:
        a[...] = np.linalg.inv(a)
        return
    half = extent // 2
    first, second, between = a[..., :half, :half], a[..., half:, half:], a[..., half:, :half]
    _invert_lower(first)
    _invert_lower(second)
    for start in range(0, between.shape[-1], PANEL):  # columns of it depend on columns at or behind them
        part = between[..., start:] @ first[..., start:, start : start + PANEL]
        between[..., start : start + PANEL] = second @ -part


def _invert_many(a: Array) -> None:
    """The same by forward substitution: row i is (e_i - what the rows before it make of their inverses) / a[i, i]."""
    for i in range(a.shape[-1]):
        reciprocal = 1 / a[..., i, i, None]
        a[..., i, :i] = -(a[..., i, None, :i] @ a[..., :i, :i])[..., 0, :] * reciprocal
        a[..., i, i] = reciprocal[..., 0]
