"""Vector-Jacobian products of convolutions and of operators that move elements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from uair import ops
from uair.frontends.onnx.vjp import Rule, Step
from uair.ir.dims import Dim, is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops.base import Operator


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(perm.index(a) for a in range(len(perm)))


def _moved(s: Step, x: Tensor, perm: tuple[int, ...]) -> Tensor:
    return x if perm == tuple(range(len(perm))) else s(ops.Transpose(perm=perm), x)


# ----------------------------------------------------------------------- shape
def _reshape(s: Step, i: int) -> Tensor:
    return s(ops.Reshape(shape=s.shape(s.x())), s.dy)


def _transpose(s: Step, i: int) -> Tensor:
    return s(ops.Transpose(perm=_inverse(s.op.perm)), s.dy)


def _expand(s: Step, i: int) -> Tensor:
    return s.fit(s.dy, s.x().type)


def _same(s: Step, i: int) -> Tensor:
    """Flip and Trilu are their own transposes."""
    return s(s.op, s.dy)


def _reverse_sequence(s: Step, i: int) -> Tensor:
    """Its own transpose for given lengths."""
    return s(s.op, s.dy, s.x(1))


def _concat(s: Step, i: int) -> Tensor:
    axis = s.op.axis % len(s.shape(s.y))
    extents = [s.shape(t)[axis] for t in s.node.inputs if t is not None]
    start: Dim = sum(extents[:i])
    return s(ops.Slice(axes=(axis,), starts=(start,), ends=(start + extents[i],), steps=(1,)), s.dy)


def _split(s: Step, i: int) -> Tensor:
    parts = [s.zeros(t) if g is None else g for g, t in zip(s.gradients, s.node.outputs, strict=True)]
    return s(ops.Concat(axis=s.op.axis), *parts)


def _tile(s: Step, i: int) -> Tensor:
    """The sum over the copies."""
    shape, repeats = s.shape(s.x()), s.op.repeats
    if repeats is None:
        s.refuse("the number of copies is not known")
    parted = tuple(d for pair in zip(repeats, shape, strict=True) for d in pair)
    copies = tuple(range(0, 2 * len(shape), 2))
    return s(ops.ReduceSum(axes=copies, keepdims=False), s(ops.Reshape(shape=parted), s.dy)) if shape else s.dy


def _slice(s: Step, i: int) -> Tensor | None:
    """Zeros around the gradient; where a step is not 1, or a bound is computed, it is scattered to its places."""
    x, op = s.x(), s.op
    if op.starts is None or op.ends is None:
        s.refuse("its bounds are computed at run time")
    shape = s.shape(x)
    starts = [_from_start(b, shape[a]) for a, b in zip(op.axes, op.starts, strict=True)]
    if all(step == 1 for step in op.steps) and None not in starts:
        before: list[Dim] = [0] * len(shape)
        for axis, start in zip(op.axes, starts, strict=True):
            before[axis % len(shape)] = start if start is not None else 0
        after = [d - b - taken for d, b, taken in zip(shape, before, s.shape(s.y), strict=True)]
        return s(ops.Pad(pads=(*before, *after)), s.dy)
    if not is_static(shape):
        s.refuse("its bounds count from an end that is not known")
    extents = static(shape)
    places = op.evaluate(np.arange(math.prod(extents)).reshape(extents))
    zeros = s(ops.Reshape(shape=(math.prod(extents),)), s.zeros(x))
    flat = s(ops.Reshape(shape=(places.size,)), s.dy)
    spread = s(ops.ScatterElements(axis=0), zeros, constant(places.reshape(-1).astype(np.int64)), flat)
    return s(ops.Reshape(shape=shape), spread)


def _from_start(bound: Dim, extent: Dim) -> Dim | None:
    """A first index, clamped to the axis; None when it is not known."""
    if not isinstance(bound, int):
        return None
    if bound >= 0 and not isinstance(extent, int):
        return bound
    if not isinstance(extent, int):
        return None
    return min(max(bound + extent if bound < 0 else bound, 0), extent)


def _pad(s: Step, i: int) -> Tensor | None:
    """The part that the operand fills."""
    op, shape = s.op, s.shape(s.x())
    if i:
        return None
    if op.mode != "constant" or op.pads is None or any(not isinstance(p, int) or p < 0 for p in op.pads):
        s.refuse(f"mode {op.mode!r}, or padding that is negative or computed at run time")
    starts = op.pads[: len(shape)]
    ends = tuple(b + d for b, d in zip(starts, shape, strict=True))
    axes = tuple(range(len(shape)))
    return s(ops.Slice(axes=axes, starts=starts, ends=ends, steps=(1,) * len(axes)), s.dy)


# --------------------------------------------------------------------- indexing
def _gather(s: Step, i: int) -> Tensor:
    """Every slice of the gradient is added at its index."""
    x, indices = s.x(0), s.n.cast(s.x(1), DType.I64)
    rank, count = len(s.shape(x)), len(s.shape(indices))
    axis = s.op.axis % rank
    perm = (axis, *(a for a in range(rank) if a != axis))
    taken = (*range(axis, axis + count), *range(axis), *range(axis + count, rank - 1 + count))
    added = s(
        ops.ScatterND(reduction="add"),
        _moved(s, s.zeros(x), perm),
        s(ops.Unsqueeze(axes=(count,)), indices),
        _moved(s, s.dy, taken),
    )
    return _moved(s, added, _inverse(perm))


def _gather_elements(s: Step, i: int) -> Tensor:
    return s(ops.ScatterElements(axis=s.op.axis, reduction="add"), s.zeros(s.x(0)), s.x(1), s.dy)


def _gather_nd(s: Step, i: int) -> Tensor:
    if s.op.batch_dims:
        s.refuse("batch_dims is not 0")
    return s(ops.ScatterND(reduction="add"), s.zeros(s.x(0)), s.n.cast(s.x(1), DType.I64), s.dy)


def _scatter(s: Step, i: int) -> Tensor:
    """Of what is written: what is read at its places; of the rest: nothing there, unless it is added."""
    elements = isinstance(s.op, ops.ScatterElements)
    if s.op.reduction not in ("none", "add"):
        s.refuse(f"reduction {s.op.reduction!r}")
    if i == 2:
        return s(ops.GatherElements(axis=s.op.axis) if elements else ops.GatherND(), s.dy, s.x(1))
    return s.dy if s.op.reduction == "add" else s(s.op, s.dy, s.x(1), s.zeros(s.x(2)))


def _top_k(s: Step, i: int) -> Tensor | None:
    if i:
        return None
    return s(ops.ScatterElements(axis=s.op.axis, reduction="add"), s.zeros(s.x(0)), s.node.outputs[1], s.dy)


# ------------------------------------------------------------------ convolutions
_TRANSPOSED: Mapping[Any, Any] = {
    ops.Conv1D: ops.ConvTranspose1D,
    ops.Conv2D: ops.ConvTranspose2D,
    ops.Conv3D: ops.ConvTranspose3D,
}
_PLAIN = {transposed: plain for plain, transposed in _TRANSPOSED.items()}


def _known(s: Step, t: Tensor) -> tuple[int, ...]:
    """Spatial extents."""
    spatial = s.shape(t)[2:]
    if not is_static(spatial):
        s.refuse("its spatial extents must be numbers")
    return static(spatial)


def _convolution(s: Step, i: int) -> Tensor:
    """A transposed convolution for x, a convolution of x by the gradient for w, sums for the bias."""
    x, w = s.x(0), s.x(1)
    if i == 2:
        return _bias(s)
    extents, kernel = _known(s, x), _known(s, w)
    op = s.op.with_explicit_pads(extents, kernel)
    if i == 1:
        return _weight(s, op, x, s.dy, kernel)
    half = len(kernel)
    rest = tuple(
        (d + op.pads[a] + op.pads[half + a] - op.dilations[a] * (kernel[a] - 1) - 1) % op.strides[a]
        for a, d in enumerate(extents)
    )
    adjoint = _TRANSPOSED[type(op)](
        strides=op.strides, pads=op.pads, dilations=op.dilations, groups=op.groups, output_padding=rest
    )
    return s(adjoint, s.dy, w)


def _transposed_convolution(s: Step, i: int) -> Tensor:
    """The convolution whose adjoint it is, with the parts of operand and gradient exchanged."""
    if i == 2:
        return _bias(s)
    op = s.op
    plain = _PLAIN[type(op)](strides=op.strides, pads=op.pads, dilations=op.dilations, groups=op.groups)
    return s(plain, s.dy, s.x(1)) if i == 0 else _weight(s, plain, s.dy, s.x(0), _known(s, s.x(1)))


def _bias(s: Step) -> Tensor:
    axes = tuple(a for a in range(len(s.shape(s.dy))) if a != 1)
    return s(ops.ReduceSum(axes=axes, keepdims=False), s.dy)


def _weight(s: Step, op: Any, x: Tensor, dy: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """The weight's gradient of a convolution of x: x by dy, batch and channels exchanged, strides and dilations too."""
    _known(s, dy)
    batch, channels = s.shape(x)[:2]
    rest, groups = s.shape(x)[2:], op.groups
    if not isinstance(channels, int):
        s.refuse("its channels must be a number")
    each, n = channels // groups, len(kernel)
    spatial = tuple(range(2, 2 + n))
    parted = s(ops.Reshape(shape=(batch, groups, each, *rest)), x)
    rows = s(ops.Transpose(perm=(2, 1, 0, *(a + 1 for a in spatial))), parted)
    rows = s(ops.Reshape(shape=(each, groups * batch, *rest)), rows)
    turned = attrs.evolve(op, strides=op.dilations, dilations=op.strides)
    made = s(turned, rows, s(ops.Transpose(perm=(1, 0, *spatial)), dy))
    cut = ops.Slice(axes=spatial, starts=(0,) * n, ends=kernel, steps=(1,) * n)
    return s(ops.Transpose(perm=(1, 0, *spatial)), s(cut, made))


MOVES: Mapping[type[Operator], Rule] = {
    **dict.fromkeys((ops.Conv1D, ops.Conv2D, ops.Conv3D), _convolution),
    **dict.fromkeys((ops.ConvTranspose1D, ops.ConvTranspose2D, ops.ConvTranspose3D), _transposed_convolution),
    **dict.fromkeys((ops.Reshape, ops.Squeeze, ops.Unsqueeze), _reshape),
    **dict.fromkeys((ops.Flip, ops.Trilu), _same),
    **dict.fromkeys((ops.ScatterElements, ops.ScatterND), _scatter),
    ops.Concat: _concat,
    ops.Expand: _expand,
    ops.Gather: _gather,
    ops.GatherElements: _gather_elements,
    ops.GatherND: _gather_nd,
    ops.Pad: _pad,
    ops.ReverseSequence: _reverse_sequence,
    ops.Slice: _slice,
    ops.Split: _split,
    ops.Tile: _tile,
    ops.TopK: _top_k,
    ops.Transpose: _transpose,
}
