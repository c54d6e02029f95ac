"""Explicit padding into the operator that follows."""

from __future__ import annotations

from typing import Any

import attrs

from uair.ir.dims import is_static
from uair.ir.graph import Node, Tensor
from uair.ops import AvgPool1D, AvgPool2D, AvgPool3D, Pad
from uair.passes.fusion.affine import CONVOLUTIONS
from uair.rewrite import NoMatch, Rule, no, of, optional


def spatial_pads(pad: Node) -> tuple[int, ...] | None:
    """(begins..., ends...) over the spatial axes of a zero padding that leaves batch and channels alone."""
    op = pad.op
    assert isinstance(op, Pad)
    if op.pads is None or op.mode != "constant" or op.value != 0 or not is_static(op.pads):
        return None
    pads = tuple(int(p) for p in op.pads if isinstance(p, int))
    rank = len(pads) // 2
    if any(pads[i] for i in (0, 1, rank, rank + 1)) or min(pads) < 0:
        return None
    return pads[2:rank] + pads[rank + 2 :]


class FoldPad(Rule):
    """Zero padding in front of a convolution becomes the convolution's own."""

    def pattern(self, x: Any, w: Any, b: Any) -> Any:
        """Pad, then a convolution."""
        return of(*CONVOLUTIONS)(of(Pad)(x).named("pad"), w, optional(b)).named("conv")

    def check(self, pad: Node, conv: Node) -> bool | NoMatch:
        """The padding is spatial, by zeros, and known."""
        if conv.attributes["auto_pad"] != "notset":
            return no("the convolution's own padding is not known yet", conv)
        return spatial_pads(pad) is not None or no("the padding is not by zeros on spatial axes", pad)

    def rewrite(self, x: Tensor, w: Tensor, b: Tensor | None, pad: Node, conv: Node) -> Tensor:
        """A convolution with both paddings."""
        op: Any = conv.op
        pads = spatial_pads(pad)
        assert pads is not None
        result: Tensor = attrs.evolve(op, pads=tuple(p + q for p, q in zip(op.pads, pads, strict=True)))(x, w, b)
        return result


class FoldPadIntoAvgPool(Rule):
    """Zero padding in front of an average pool that counts (or has no) padding becomes the pool's own."""

    def pattern(self, x: Any) -> Any:
        """Pad, then AvgPool."""
        return of(AvgPool1D, AvgPool2D, AvgPool3D)(of(Pad)(x).named("pad")).named("pool")

    def check(self, pad: Node, pool: Node) -> bool | NoMatch:
        """The pool would count the zeros."""
        op: Any = pool.op
        if op.auto_pad != "notset" or op.ceil_mode:
            return no("the pool's own padding depends on the input's size", pool)
        if any(op.pads) and not op.count_include_pad:
            return no("the pool leaves its own padding out of the average", pool)
        pads = spatial_pads(pad)
        if pads is None:
            return no("the padding is not by zeros on spatial axes", pad)
        sums = (p + q for p, q in zip(op.pads, pads, strict=True))
        fits = all(p < k for p, k in zip(sums, op.kernel * 2, strict=True))
        return fits or no("a window would see nothing but padding, which pools do not allow", pool)

    def rewrite(self, x: Tensor, pad: Node, pool: Node) -> Tensor:
        """A pool with both paddings, counted."""
        op: Any = pool.op
        pads = spatial_pads(pad)
        assert pads is not None
        both = tuple(p + q for p, q in zip(op.pads, pads, strict=True))
        result: Tensor = attrs.evolve(op, pads=both, count_include_pad=True)(x)
        return result


RULES = (FoldPad, FoldPadIntoAvgPool)
