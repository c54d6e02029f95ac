"""Weighted nodes as plain products: what their weights are multiplied with, row by row."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from uair.ir.dtype import Array
from uair.ir.graph import Node
from uair.ops._windows import padded
from uair.passes.quantization.placement import weight_axis
from uair.quant.gptq import Grid, round_with_feedback
from uair.quant.parameters import Parameters
from uair.quant.scheme import CONVOLUTIONS, TRANSPOSED

AT_ONCE = 1 << 16
"""Numbers of inputs that are gathered at a time: they are written once more in the order of the groups."""


@attrs.frozen(eq=False)
class Products:
    """The weight of a node as G independent matrices [M, K], each of which multiplies inputs of K numbers.

    A transposed convolution is taken tap by tap: a row of its matrices is an output channel at one tap. That is what it
    computes where taps do not overlap; where they do, what they have in common is not seen.

    Attributes:
        node: the node.
        shape: of its weight.
    """

    node: Node
    shape: tuple[int, ...]

    @staticmethod
    def of(node: Node, shape: tuple[int, ...]) -> Products | None:
        """The products of a node with a constant weight of that shape; None where it is no single matrix."""
        is_matrix = len(shape) == 2 and weight_axis(node.op, 2) is not None
        windowed = node.op_type in CONVOLUTIONS or node.op_type in TRANSPOSED
        return Products(node, shape) if is_matrix or windowed else None

    @property
    def groups(self) -> int:
        """How many matrices there are."""
        return int(getattr(self.node.op, "groups", 1))

    def matrices(self, w: Array) -> Array:
        """[G, M, K] of a weight, or of numbers in a weight's shape."""
        g = self.groups
        if self.node.op_type in TRANSPOSED:  # [C, M / G, taps...]
            return np.asarray(w.reshape(g, w.shape[0] // g, -1).swapaxes(1, 2))
        if self.node.op_type in CONVOLUTIONS:  # [M, C / G, taps...]
            return w.reshape(g, w.shape[0] // g, -1)
        return (w if weight_axis(self.node.op, 2) == 0 else w.T)[None]

    def restored(self, matrices: Array) -> Array:
        """The weight whose matrices these are."""
        if self.node.op_type in TRANSPOSED:
            return np.ascontiguousarray(matrices.swapaxes(1, 2)).reshape(self.shape)
        if self.node.op_type in CONVOLUTIONS:
            return matrices.reshape(self.shape)
        return np.ascontiguousarray(matrices[0] if weight_axis(self.node.op, 2) == 0 else matrices[0].T)

    @property
    def depth(self) -> int:
        """K: how many weights belong to one row."""
        return math.prod(self.shape) // max(self.groups * self._row_count, 1)

    def scales(self, parameters: Parameters) -> Array:
        """The scales of weights, f64, broadcast against [G, M, K]: a row is one output channel, which has one scale."""
        scale = np.asarray(parameters.scale, np.float64)
        if scale.ndim == 0:
            return scale.reshape(1, 1, 1)
        shaped = scale.reshape(tuple(-1 if i == parameters.axis else 1 for i in range(len(self.shape))))
        return self.matrices(np.broadcast_to(shaped, self.shape))[..., :1]

    def fitted(self, matrices: Array, hessian: Array, parameters: Parameters, limit: int) -> Array:
        """The integers of a weight, i8 in its shape, that change its products least.

        Args:
            matrices: [G, M, K], the weight.
            hessian: [G, K, K], f32, sums of x x^T over inputs x; its memory is used.
            parameters: of the integers.
            limit: greatest magnitude of an integer.
        """
        grid = Grid(self.scales(parameters), np.zeros((1, 1, 1)), -limit, limit)
        return self.restored(round_with_feedback(matrices, hessian, grid, overwrite=True)).astype(np.int8, copy=False)

    def inputs(self, x: Array, limit: int) -> Array:
        """[G, rows, K], f32: at most about `limit` of the vectors that the matrices multiply, spread over all of them.

        Args:
            x: the node's first operand.
            limit: of rows.
        """
        if self.node.op_type in CONVOLUTIONS:
            windows = self._windows(x)
        elif self.node.op_type in TRANSPOSED:
            windows = np.moveaxis(x, 1, -1)
        else:
            windows = x
        lead = windows.shape[: windows.ndim - self._axes]
        total = math.prod(lead)
        step = max(total // max(limit, 1), 1)
        chosen = np.arange(step // 2, total, step)
        rows = np.empty((self.groups, len(chosen), self.depth), np.float32)
        at_once = max(AT_ONCE // max(self.groups * self.depth, 1), 1)
        for start in range(0, len(chosen), at_once):
            some = chosen[start : start + at_once]
            found = windows[np.unravel_index(some, lead)].reshape(len(some), self.groups, self.depth)
            rows[:, start : start + at_once] = found.swapaxes(0, 1)
        return rows

    @property
    def _row_count(self) -> int:
        """M."""
        if self.node.op_type in TRANSPOSED:
            return math.prod(self.shape[1:])
        if self.node.op_type in CONVOLUTIONS:
            return self.shape[0] // self.groups
        return self.shape[0 if weight_axis(self.node.op, 2) == 0 else 1]

    @property
    def _axes(self) -> int:
        """How many of the last axes of the windows belong to one input."""
        return len(self.shape) - 1 if self.node.op_type in CONVOLUTIONS else 1

    def _windows(self, x: Array) -> Array:
        """View [N, places..., C, taps...] of what a convolution reads."""
        op: Any = self.node.op
        kernel = self.shape[2:]
        n = len(kernel)
        pads = op.explicit_pads(x.shape[2:], kernel)
        x = padded(x, pads[:n], pads[n:])
        extents = tuple(d * (k - 1) + 1 for d, k in zip(op.dilations, kernel, strict=True))
        view = sliding_window_view(x, extents, axis=tuple(range(2, 2 + n)))
        steps = (*(slice(None, None, s) for s in op.strides), *(slice(None, None, d) for d in op.dilations))
        whole = (slice(None), slice(None))
        view = view[whole + steps]
        return np.moveaxis(view, 1, 1 + n)
