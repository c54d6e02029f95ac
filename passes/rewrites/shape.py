"""Moving elements by other operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from uair.ir.dims import is_static
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Concat, Conv2D, Expand, Flip, Gather, Mul, Slice, SpaceToDepth, Tile, Transpose, Trilu
from uair.passes.rewrites._common import LARGEST_WEIGHT, extents, reshaped, static_float
from uair.rewrite import NoMatch, Rule, no, of

MOST_COPIES = 64
"""Copies that a Tile may become; each is an operand of a Concat."""
MOST_AXES = 4
"""Axes that every accelerator transposes."""
SHUFFLES = ((0, 1, 4, 2, 5, 3), (0, 3, 4, 1, 5, 2))
"""The orders by which DepthToSpace is written, CRD and DCR; rknn-toolkit2 makes a transposed convolution of it."""
LONGEST_STEP = 7
"""The longest stride of a convolution that accelerators share."""


class TileByConcat(Rule):
    """A repeated tensor is a Concat of copies; an axis of extent 1 is expanded."""

    def pattern(self, x: Any) -> Any:
        """A Tile with constant repeats."""
        return of(Tile)(x).named("node")

    def check(self, x: Tensor, node: Node) -> bool | NoMatch:
        """The repeats are known, and not too many."""
        if x.type.shape is None or not is_static(x.type.shape):
            return no("the extents of its operand are not known", node)
        repeats = _repeats(node)
        if repeats is None:
            return no("its repeats are computed", node)
        if 0 in repeats or not x.type.size:
            return no("its result is empty", node)
        copies = math.prod(r for r, d in zip(repeats, extents(x), strict=True) if d != 1)
        return copies <= MOST_COPIES or no(f"it makes {copies} copies, more than {MOST_COPIES}", node)

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """Copies along one axis after the other, then the expansion."""
        repeats = _repeats(node)
        assert repeats is not None
        shape = extents(x)
        for axis, (times, extent) in enumerate(zip(repeats, shape, strict=True)):
            if times > 1 and extent != 1:
                x = Concat(axis=axis)(*[x] * times)
        result = tuple(r * d for r, d in zip(repeats, shape, strict=True))
        return x if x.type.shape == result else Expand(shape=result)(x)


def _repeats(node: Node) -> tuple[int, ...] | None:
    op = node.op
    assert isinstance(op, Tile)
    known = op.repeats is not None and all(isinstance(r, int) for r in op.repeats)
    return tuple(int(r) for r in op.repeats) if known and op.repeats is not None else None  # type: ignore[arg-type]


class SliceByConvolution(Rule):
    """Every s-th element along an axis is a depthwise 1x1 convolution with ones and that stride."""

    def pattern(self, x: Any) -> Any:
        """A Slice with constant bounds."""
        return of(Slice)(x).named("node")

    def check(self, x: Tensor, node: Node) -> bool | NoMatch:
        """Steps are positive and short, of floats."""
        refusal = static_float(node)
        if refusal is not None:
            return refusal
        steps = _steps(node)
        if steps is None:
            return no("its bounds are computed", node)
        if not all(1 <= step <= LONGEST_STEP for _, step in steps):
            return no(f"a step is not between 1 and {LONGEST_STEP}", node)
        if not node.output.type.size:
            return no("its result is empty", node)
        return any(step > 1 for _, step in steps) or no("all steps are 1", node)

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """The range first, then one axis after the other; two image axes at once."""
        steps = _steps(node)
        assert steps is not None and isinstance(node.op, Slice)
        long = {axis: step for axis, step in steps if step > 1}
        op = node.op
        y = Slice(axes=op.axes, starts=op.starts, ends=op.ends, steps=(1,) * len(steps))(x)
        if y.type.shape == x.type.shape:
            y = x
        if len(y.type.dims) == 4 and set(long) <= {2, 3}:
            return _every(y, (long.get(2, 1), long.get(3, 1)))
        for axis, step in long.items():
            shape = extents(y)
            plane = (1, math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
            thin = _every(reshaped(y, plane), (step, 1))
            y = reshaped(thin, (*shape[:axis], -(-shape[axis] // step), *shape[axis + 1 :]))
        return y


def _steps(node: Node) -> list[tuple[int, int]] | None:
    """(axis, step) of a Slice; None when something is computed at run time."""
    op = node.op
    assert isinstance(op, Slice)
    if op.axes is None or op.steps is None or op.starts is None or op.ends is None:
        return None
    if not (is_static(op.starts) and is_static(op.ends)):
        return None
    x = node.inputs[0]
    assert x is not None
    return [(axis % x.type.rank, step) for axis, step in zip(op.axes, op.steps, strict=True)]


def _every(x: Tensor, strides: tuple[int, int]) -> Tensor:
    """Every s-th row and column of [N, C, H, W]."""
    channels = extents(x)[1]
    ones = constant(np.ones((channels, 1, 1, 1), np.float32))
    return Conv2D(strides=strides, groups=channels)(x, ones)


class FlipByGather(Rule):
    """The opposite order along an axis is a Gather by constant indices."""

    def pattern(self, x: Any) -> Any:
        """A Flip."""
        return of(Flip)(x).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """The extents of the axes are known."""
        x, op = node.inputs[0], node.op
        assert isinstance(op, Flip)
        if x is None or x.type.shape is None or not all(isinstance(x.type.shape[axis], int) for axis in op.axes):
            return no("the extent of an axis is not known", node)
        return True

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """One axis after the other."""
        op = node.op
        assert isinstance(op, Flip)
        for axis in op.axes:
            order = np.arange(int(x.type.dims[axis]), dtype=np.int64)[::-1]  # type: ignore[arg-type]
            x = Gather(axis=axis % x.type.rank)(x, constant(np.ascontiguousarray(order)))
        return x


class TriluByMask(Rule):
    """A triangle of a matrix is its product with zeros and ones; what is not finite outside of it would show as NaN."""

    def pattern(self, x: Any) -> Any:
        """A triangle with a constant diagonal."""
        return of(Trilu)(x).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """The extents and the diagonal are known."""
        op = node.op
        assert isinstance(op, Trilu)
        refusal = static_float(node)
        return refusal or op.k is not None or no("its diagonal is computed", node)

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """The product."""
        mask = node.op.evaluate(np.ones(extents(x)[-2:], np.float32))
        return Mul()(x, constant(np.asarray(mask, np.float32)))


class SpaceToDepthByConvolution(Rule):
    """Blocks of an image as channels are a convolution with that stride, whose kernels pick one element each."""

    def pattern(self, x: Any) -> Any:
        """A SpaceToDepth."""
        return of(SpaceToDepth)(x).named("node")

    def check(self, x: Tensor, node: Node) -> bool | NoMatch:
        """The weight is not too large, and the stride not too long."""
        op = node.op
        assert isinstance(op, SpaceToDepth)
        refusal = static_float(node, 4)
        if refusal is not None:
            return refusal
        if op.block > LONGEST_STEP:
            return no(f"its block is longer than {LONGEST_STEP}", node)
        size = 4 * (extents(x)[1] * op.block**2) ** 2
        return size <= LARGEST_WEIGHT or no(f"the weight would have {size} bytes", node)

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """The convolution; its weight says what the operator does with unit vectors."""
        op = node.op
        assert isinstance(op, SpaceToDepth)
        channels, block = extents(x)[1], op.block
        units = np.eye(channels * block * block, dtype=np.float32).reshape(-1, channels, block, block)
        picked = np.asarray(op.evaluate(units), np.float32)[:, :, 0, 0]
        weight = np.ascontiguousarray(picked.T).reshape(-1, channels, block, block)
        return Conv2D(strides=(block, block))(x, constant(weight))


class TransposeOfFewAxes(Rule):
    """A Transpose of four axes at most, or several: neighbours that stay together move as one, axes of extent 1 never.

    What still has more than four axes is done by exchanges of two neighbouring blocks, [a, b, c, d] to [a, c, b, d].
    """

    def pattern(self, x: Any) -> Any:
        """A Transpose."""
        return of(Transpose)(x).named("node")

    def check(self, x: Tensor, node: Node) -> bool | NoMatch:
        """It has more than four axes."""
        if x.type.shape is None or not is_static(x.type.shape):
            return no("the extents of its operand are not known", node)
        if _perm(node) in SHUFFLES:
            return no("compilers know it as DepthToSpace", node)
        return x.type.rank > MOST_AXES or no(f"it has no more than {MOST_AXES} axes", node)

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """Merge, transpose what is left, split again."""
        runs = _runs(node)
        shape = extents(x)
        result = tuple(shape[p] for p in _perm(node))
        if len(runs) < 2:
            return reshaped(x, result)
        order = sorted(range(len(runs)), key=lambda i: runs[i][0])
        merged = [math.prod(shape[a] for a in runs[i]) for i in order]
        wanted = [order.index(i) for i in range(len(runs))]
        if len(runs) <= MOST_AXES:
            return reshaped(Transpose(perm=tuple(wanted))(reshaped(x, merged)), result)
        return reshaped(_exchanged(x, merged, wanted), result)


def _exchanged(x: Tensor, merged: Sequence[int], wanted: Sequence[int]) -> Tensor:
    """Axes in another order, one block after the other brought to its place; the shape is of four axes."""
    current = list(range(len(wanted)))
    for i in range(len(wanted)):
        begin = current.index(wanted[i])
        if begin == i:
            continue
        end = begin + 1
        while end < len(current) and current[end] == wanted[i + end - begin]:
            end += 1
        parts = (current[:i], current[i:begin], current[begin:end], current[end:])
        blocks = [math.prod(merged[a] for a in part) for part in parts]
        x = Transpose(perm=(0, 2, 1, 3))(reshaped(x, blocks))
        current = [*parts[0], *parts[2], *parts[1], *parts[3]]
    return x


def _perm(node: Node) -> tuple[int, ...]:
    op = node.op
    assert isinstance(op, Transpose)
    return op.perm


def _runs(node: Node) -> list[list[int]]:
    """Axes of x that are longer than 1, in the order of the result, those together that are neighbours in both."""
    x = node.inputs[0]
    assert x is not None
    shape = extents(x)
    long = [axis for axis in range(len(shape)) if shape[axis] != 1]
    rank = {axis: i for i, axis in enumerate(long)}
    runs: list[list[int]] = []
    for axis in (a for a in _perm(node) if a in rank):
        if runs and rank[runs[-1][-1]] + 1 == rank[axis]:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


RULES = (
    TileByConcat,
    SliceByConvolution,
    FlipByGather,
    TriluByMask,
    SpaceToDepthByConvolution,
    TransposeOfFewAxes,
)
