"""Rounding weights so that the errors of some make up for those of others (GPTQ, Frantar et al., arXiv 2210.17323).

Rounding each weight to the nearest step is best only where the inputs are uncorrelated. With the Hessian of the squared
error of the results, H = E[x x^T], the columns of a weight are rounded one after the other, and what rounding a column
did to the results is taken out by the columns that are not rounded yet.
"""

from __future__ import annotations

import attrs
import numpy as np

from uair.ir.dtype import Array

DAMPING = 0.01
"""What is added to the Hessian's diagonal, as a part of its mean: it keeps weights near what they were."""
BLOCK = 128
"""Columns after which the errors are given on to all later ones at once."""


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

    def integers(self, w: Array) -> Array:
        """The nearest integers of weights, f64."""
        return _nearest(w, self.scale, self.zero_point, self)


def round_with_feedback(w: Array, hessian: Array, grid: Grid, *, damping: float = DAMPING) -> Array:
    """The integers of a weight for which the results `w @ x` change little.

    Columns of great diagonal elements of the Hessian come first ("activation order" in the authors' program), so that
    the ones that matter most are rounded while there are many left to make up for it. Columns that never see an input
    are rounded to the nearest.

    Args:
        w: [..., M, K]; leading axes are independent problems (the groups of a convolution).
        hessian: [..., K, K], sums or means of x x^T over inputs x, symmetric.
        grid: the numbers that weights may become.
        damping: see DAMPING; it grows tenfold while the Hessian is numerically not positive definite.

    Returns:
        The integers q, i32, of w's shape.
    """
    values = np.array(w, np.float64)
    h = np.array(hessian, np.float64)
    order = np.argsort(-np.diagonal(h, axis1=-2, axis2=-1), axis=-1, kind="stable")
    values = np.take_along_axis(values, order[..., None, :], -1)
    h = np.take_along_axis(np.take_along_axis(h, order[..., None, :], -1), order[..., :, None], -2)
    scale, zero = (
        np.take_along_axis(np.broadcast_to(np.asarray(a, np.float64), w.shape), order[..., None, :], -1)
        for a in (grid.scale, grid.zero_point)
    )
    integers = np.empty_like(values)
    feedback = _feedback(h, damping)
    extent = values.shape[-1]
    for start in range(0, extent, BLOCK):
        stop = min(start + BLOCK, extent)
        errors = np.empty_like(values[..., start:stop])
        for i in range(start, stop):
            column = values[..., i]
            q = integers[..., i] = _nearest(column, scale[..., i], zero[..., i], grid)
            error = errors[..., i - start] = column - (q - zero[..., i]) * scale[..., i]
            values[..., i + 1 : stop] -= error[..., None] * feedback[..., i, None, i + 1 : stop]
        values[..., stop:] -= errors @ feedback[..., start:stop, stop:]
    back = np.argsort(order, axis=-1)
    return np.take_along_axis(integers, back[..., None, :], -1).astype(np.int32)


def _nearest(w: Array, scale: Array, zero: Array, grid: Grid) -> Array:
    q: Array = np.clip(np.rint(w / scale) + zero, grid.least, grid.greatest)
    return q


def _feedback(h: Array, damping: float) -> Array:
    """[..., K, K], upper triangular: by what part of column i's error the later columns j change.

    Row i is row i of the Cholesky factor U of the inverse (H^-1 = U^T U), divided by its diagonal element: the least
    squares answer of the columns behind i, without those before it.
    """
    extent = h.shape[-1]
    diagonal = np.diagonal(h, axis1=-2, axis2=-1)
    mean = diagonal.mean(axis=-1)[..., None]
    mean = np.where(mean > 0, mean, 1.0)
    identity = np.eye(extent)
    while True:
        try:
            # For the reversed order H = L L^T gives H^-1 = L^-T L^-1, whose factor L^-1 is upper triangular reversed.
            reverse = h[..., ::-1, ::-1] + identity * (damping * mean)[..., None]
            lower = np.linalg.cholesky(reverse)
            upper = _inverse_of_lower(lower)[..., ::-1, ::-1]
            break
        except np.linalg.LinAlgError:
            damping = max(damping, 1e-6) * 10
    result: Array = upper / np.diagonal(upper, axis1=-2, axis2=-1)[..., None]
    return result


def _inverse_of_lower(a: Array) -> Array:
    """The inverse of lower triangular matrices [..., K, K], by halves: a sixth of the work of a general inverse."""
    extent = a.shape[-1]
    if extent <= 64:
        return np.linalg.inv(a)
    half = extent // 2
    result = np.zeros_like(a)
    first = result[..., :half, :half] = _inverse_of_lower(a[..., :half, :half])
    second = result[..., half:, half:] = _inverse_of_lower(a[..., half:, half:])
    result[..., half:, :half] = -second @ (a[..., half:, :half] @ first)
    return result
