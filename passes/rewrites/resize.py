"""Interpolation as products with constant matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.dims import is_static
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import MatMul, Resize, Transpose
from uair.passes.rewrites._common import LARGEST_WEIGHT, extents, static_float
from uair.rewrite import NoMatch, Rule, no, of


class ResizeByProducts(Rule):
    """Interpolation along an axis is a product with a matrix that has the weights of every result.

    The weights are what the operator itself makes of unit vectors, so that every mode, coordinate transformation and
    scale is exact: interpolation is linear in its operand, one axis after the other.
    """

    def pattern(self, x: Any) -> Any:
        """An interpolation with constant sizes or scales, and no other operand."""
        return of(Resize)(x).named("node")

    def check(self, x: Tensor, node: Node) -> bool | NoMatch:
        """Of images in f32, whose batch and channels stay."""
        op = node.op
        assert isinstance(op, Resize)
        refusal = static_float(node, 4)
        if refusal is not None:
            return refusal
        if any(t is not None for t in node.inputs[1:]):
            return no("its sizes are computed", node)
        if op.coordinate_mode == "tf_crop_and_resize" or op.aspect != "stretch":
            return no("it crops, or keeps the aspect", node)
        before, after = extents(x), node.output.type.dims
        if not is_static(after) or before[:2] != tuple(after[:2]):
            return no("batch or channels are resized", node)
        sizes = [4 * a * int(b) for a, b in zip(before[2:], after[2:], strict=True)]  # type: ignore[arg-type]
        return max(sizes) <= LARGEST_WEIGHT or no(f"a matrix would have {max(sizes)} bytes", node)

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """The product along the rows, and that along the columns between two exchanges of the axes."""
        op = node.op
        assert isinstance(op, Resize)
        across, down = (_weights(op, extents(x), axis) for axis in (3, 2))
        if across is not None:
            x = MatMul()(x, constant(across))
        if down is not None:
            swap = Transpose(perm=(0, 1, 3, 2))
            x = swap(MatMul()(swap(x), constant(down)))
        return x


def _weights(op: Resize, shape: tuple[int, ...], axis: int) -> Array | None:
    """The matrix [extent before, extent after] of an axis; None when it leaves the axis alone."""
    extent = shape[axis]
    units: Array = np.eye(extent, dtype=np.float32).reshape(
        (extent, 1, extent, 1) if axis == 2 else (extent, 1, 1, extent)
    )
    sizes = None if op.sizes is None else tuple(op.sizes[i] if i == axis else d for i, d in enumerate(units.shape))
    scales = None if op.scales is None else tuple(op.scales[i] if i == axis else 1.0 for i in range(4))
    attributes: dict[str, Any] = {**op.attributes, "sizes": sizes, "scales": scales}
    along = Resize(**attributes)
    result = np.asarray(along.evaluate(units), np.float32).reshape(extent, -1)
    return None if result.shape[1] == extent and np.array_equal(result, np.eye(extent)) else result


RULES = (ResizeByProducts,)
