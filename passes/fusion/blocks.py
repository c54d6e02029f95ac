"""Blocks of space as channels: what models spell out of it, and convolutions over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import attrs
import numpy as np

from uair.ir.data import derive
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Concat, Conv2D, DepthToSpace, Reshape, Slice, SpaceToDepth, Transpose
from uair.passes.simplify.slices import has_known_bounds
from uair.rewrite import NoMatch, Rule, any_of, no, of, optional

LONGEST_KERNEL = 7
"""Kernels of folded convolutions: the least limit of all device descriptions (Horizon X3)."""


_MODES: tuple[Literal["DCR", "CRD"], ...] = ("DCR", "CRD")


class RecognizeBlocks(Rule):
    """Reshape, Transpose, Reshape that move blocks of space to channels or back are SpaceToDepth or DepthToSpace."""

    def pattern(self, x: Any) -> Any:
        """The three operators."""
        turned = of(Transpose)(of(Reshape)(x).named("apart")).named("turn")
        return of(Reshape)(turned).named("root")

    def check(self, x: Tensor, apart: Node, turn: Node, root: Node) -> bool | NoMatch:
        """They are one of the operators."""
        return _rearrangement(x, apart, turn, root) is not None or no("they move other axes", root)

    def rewrite(self, x: Tensor, apart: Node, turn: Node, root: Node) -> Tensor:
        """The operator."""
        op = _rearrangement(x, apart, turn, root)
        assert op is not None
        return op(x)


def _rearrangement(x: Tensor, apart: Node, turn: Node, root: Node) -> DepthToSpace | SpaceToDepth | None:
    if x.type.shape is None or len(x.type.shape) != 4 or root.output.type.shape is None:
        return None
    before, after = x.type.shape[2], root.output.type.shape[2] if root.output.type.rank == 4 else None
    if not isinstance(before, int) or not isinstance(after, int) or not before or not after:
        return None
    block = max(before, after) // min(before, after)
    candidates = [op(block=block, mode=mode) for op in (DepthToSpace, SpaceToDepth) for mode in _MODES]
    for op in candidates if block > 1 else ():
        depth = block**2 if isinstance(op, DepthToSpace) else 1
        if isinstance(x.type.dims[1], int) and x.type.dims[1] % depth:
            continue
        assert isinstance(turn.op, Transpose)
        if op.plan(x.type.dims) == (apart.output.type.shape, turn.op.perm, root.output.type.shape):
            return op
    return None


@attrs.frozen(eq=False)
class Blocks:
    """Blocks of an image as channels.

    Attributes:
        x: the image [N, C, H, W].
        channels: [block, block, C]: which channel holds row r and column c of a block of channel k.
    """

    x: Tensor
    channels: Array

    @property
    def block(self) -> int:
        """Rows and columns of a block."""
        return len(self.channels)


def blocks_of(node: Node) -> Blocks | None:
    """What a SpaceToDepth or a Concat of strided Slices does to an image."""
    if isinstance(node.op, Concat):
        return _of_slices(node)
    op, x = node.op, node.inputs[0]
    assert isinstance(op, SpaceToDepth) and x is not None
    return _ordered(x, op.block, (0, 1, 2) if op.mode == "DCR" else (2, 0, 1))


def _ordered(x: Tensor, block: int, axes: Sequence[int]) -> Blocks | None:
    """Blocks whose channels count rows (0), columns (1) and channels (2) in some order, the last one fastest."""
    channels = x.type.dims[1]
    if not isinstance(channels, int):
        return None
    sizes = (block, block, channels)
    numbers = np.arange(block * block * channels).reshape([sizes[a] for a in axes])
    return Blocks(x, numbers.transpose([list(axes).index(a) for a in range(3)]))


@attrs.frozen(eq=False)
class _Sampled:
    """Every `steps`-th row and column of an image, from `starts` on."""

    x: Tensor
    starts: tuple[int, int]
    steps: tuple[int, int]


def _sampled(tensor: Tensor | None) -> _Sampled | None:
    """What Slices of rows and columns take of an image; None where they leave some at the end."""
    starts, steps = [0, 0], [1, 1]
    while tensor is not None and tensor.producer is not None and isinstance(tensor.producer.op, Slice):
        op, x = tensor.producer.op, tensor.producer.inputs[0]
        if x is None or x.type.shape is None or len(x.type.shape) != 4 or not has_known_bounds(op):
            return None
        bounds = zip(op.axes, op.starts, op.ends, op.steps or (), strict=True)
        for axis, start, end, step in bounds:
            extent = x.type.shape[axis]
            if axis % 4 < 2 or not isinstance(extent, int) or steps[axis % 4 - 2] != 1 or step < 1:
                return None
            if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < step or end < extent:
                return None
            starts[axis % 4 - 2], steps[axis % 4 - 2] = start, step
        tensor = x
    return None if tensor is None else _Sampled(tensor, (starts[0], starts[1]), (steps[0], steps[1]))


def _of_slices(concat: Node) -> Blocks | None:
    """The Focus layer of YOLO: all pixels of a block side by side as channels, in any order."""
    assert isinstance(concat.op, Concat)
    pieces = [_sampled(t) for t in concat.inputs]
    first = pieces[0]
    if first is None or concat.op.axis % 4 != 1 or first.x.type.shape is None or len(first.x.type.shape) != 4:
        return None
    block, (_, c, h, w) = first.steps[0], first.x.type.shape
    sizes_fit = isinstance(c, int) and isinstance(h, int) and isinstance(w, int) and not h % block and not w % block
    if block < 2 or len(pieces) != block**2 or not sizes_fit:
        return None
    assert isinstance(c, int)
    channels = np.full((block, block, c), -1)
    for i, piece in enumerate(pieces):
        if piece is None or piece.x is not first.x or piece.steps != (block, block):
            return None
        channels[piece.starts] = np.arange(i * c, (i + 1) * c)
    return Blocks(first.x, channels) if channels.min() >= 0 else None


class FoldBlocksIntoConvolution(Rule):
    """A convolution over blocks of space as channels (Focus, pixel_unshuffle) is one over the image, with a stride.

    Both take the same number of operations, and the blocks need not be written.
    """

    def pattern(self, w: Any, b: Any) -> Any:
        """What makes channels of blocks, then the convolution."""
        blocks = any_of(of(SpaceToDepth)(...), of(Concat)(...)).named("blocks")
        return of(Conv2D)(blocks, w, optional(b)).named("conv")

    def check(self, blocks: Node, w: Tensor, conv: Node) -> bool | NoMatch:
        """The weights can be changed, and the kernel does not become too long."""
        op, found = conv.op, blocks_of(blocks)
        assert isinstance(op, Conv2D)
        if found is None:
            return no("it does not make channels of blocks of an image", blocks)
        if op.groups != 1 or op.dilations != (1, 1) or op.auto_pad != "notset":
            return no("it has groups, dilations or automatic padding", conv)
        if not w.is_constant or not w.type.is_static:
            return no("the weight is not a constant", w)
        longest = max(int(k) * found.block for k in w.type.dims[2:] if isinstance(k, int))
        return longest <= LONGEST_KERNEL or no(f"the kernel would be longer than {LONGEST_KERNEL}", conv)

    def rewrite(self, blocks: Node, w: Tensor, conv: Node) -> Tensor:
        """The convolution with the blocks in its kernel."""
        op, found = conv.op, blocks_of(blocks)
        assert isinstance(op, Conv2D) and found is not None and w.data is not None
        b = found.block
        m, _, rows, columns = w.data.shape
        shape = (m, found.channels.shape[2], rows * b, columns * b)

        def spread(weight: Array) -> Array:
            parts = weight[:, found.channels]  # [M, row, column, C, kH, kW]
            return np.ascontiguousarray(parts.transpose(0, 3, 4, 1, 5, 2).reshape(shape))

        weight = constant(derive(spread, (w.data,), w.data.dtype, shape), w.name)
        strides, pads = tuple(s * b for s in op.strides), tuple(p * b for p in op.pads)
        plain: Any = op
        result: Tensor = attrs.evolve(plain, strides=strides, pads=pads)(found.x, weight, *conv.inputs[2:])
        return result


RULES = (FoldBlocksIntoConvolution, RecognizeBlocks)
