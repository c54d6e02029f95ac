"""The products that matrix units form: how large they are, and how many cycles and bytes of weights they take."""

from __future__ import annotations

import math
from typing import Any

import attrs

from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.graph import Node, Tensor
from uair.ops import (
    Attention,
    Conv1D,
    Conv2D,
    Conv3D,
    ConvTranspose1D,
    ConvTranspose2D,
    ConvTranspose3D,
    IntegerConv1D,
    IntegerConv2D,
    IntegerConv3D,
    IntegerConvTranspose1D,
    IntegerConvTranspose2D,
    IntegerConvTranspose3D,
    IntegerLinear,
    IntegerMatMul,
    Linear,
    MatMul,
)
from uair.targets.description import DeviceDescription
from uair.targets.units import Unit

PIECE = 16
"""Pieces of a long product have a multiple of so many input channels."""
CONVOLUTIONS = (Conv1D, Conv2D, Conv3D, IntegerConv1D, IntegerConv2D, IntegerConv3D)
TRANSPOSED = (
    ConvTranspose1D,
    ConvTranspose2D,
    ConvTranspose3D,
    IntegerConvTranspose1D,
    IntegerConvTranspose2D,
    IntegerConvTranspose3D,
)
LINEAR = (Linear, IntegerLinear)
PRODUCTS = (MatMul, IntegerMatMul)


@attrs.frozen
class Work:
    """A product that a matrix unit forms: a convolution's, or a matrix product's.

    Attributes:
        batch: images, or matrices.
        rows: pixels of a result, or rows of a matrix.
        taps: elements of the kernel; 1 for matrices.
        inputs: channels of a group, or length of the sums.
        outputs: output channels of a group, or columns.
        groups: independent products of a convolution.
    """

    batch: int
    rows: int
    taps: int
    inputs: int
    outputs: int
    groups: int = 1

    @property
    def depthwise(self) -> bool:
        """Whether every group has one input channel."""
        return self.groups > 1 and self.inputs == 1

    @property
    def products(self) -> int:
        """Multiply-adds without padding."""
        return self.batch * self.rows * self.taps * self.inputs * self.outputs * self.groups


def unit_for(work: Work, dtype: DType, description: DeviceDescription) -> Unit | None:
    """The unit that does a product; None when none is described."""
    units = [u for u in description.unit if dtype in u.outputs]
    if work.depthwise:
        own = next((u for u in units if u.does == "depthwise"), None)
        if own is not None:
            return own
    return next((u for u in units if u.does == "matrix" and dtype in u.inputs), None)


def matrix_cycles(work: Work, unit: Unit, dtype: DType, cores: int = 1, block: int = 1) -> float:
    """Cycles of a product on a unit, its blocks spread over `cores`.

    Args:
        work: the product.
        unit: the unit.
        dtype: that it computes in.
        cores: that share the work.
        block: channels in a block of the layout, see `Unit.groups`.
    """
    row_blocks = -(-work.rows // unit.row_alignment)
    per_block = unit.row_alignment / unit.rows
    if unit.does == "depthwise":
        channels = work.groups * work.outputs
        blocks = work.batch * -(-channels // unit.outputs[dtype]) * row_blocks
        return -(-blocks // cores) * work.taps * per_block
    if unit.lone_input and work.groups == work.inputs == 1:
        return -(-work.batch * row_blocks // cores) * work.taps * per_block
    grouped = in_groups(work, unit, dtype, block)
    least = unit.least_steps.get(dtype, 1)
    steps = sum(max(least, work.taps * -(-n // unit.inputs[dtype])) for n in pieces(grouped, unit, dtype))
    blocks = work.batch * grouped.groups * -(-grouped.outputs // unit.outputs[dtype]) * row_blocks
    return -(-blocks // cores) * steps * per_block


def pieces(work: Work, unit: Unit, dtype: DType) -> list[int]:
    """Input channels of the products that a long one is cut into, and which are added up.

    As many as are needed so that none is longer than `Unit.longest` with a multiple of 16 channels: equal ones where
    the channels can be divided by their number, else ones of the greatest width and a rest. Measured with
    rknn-toolkit2 2.5.0 in float16: 3 by 3 of 192 channels is 2 of 96, of 224 2 of 112, of 512 4 of 128; 5 by 5 of 96
    is 2 of 48; 1 by 1 of 4096 is 1536, 1536 and 1024.
    """
    longest = unit.longest.get(dtype, 0)
    if not longest or work.taps * work.inputs <= longest:
        return [work.inputs]
    width = max(longest // work.taps // PIECE, 1) * PIECE
    count = -(-work.inputs // width)
    if work.inputs % count == 0:
        return [work.inputs // count] * count
    whole, rest = divmod(work.inputs, width)
    return [width] * whole + [rest]


def in_groups(work: Work, unit: Unit, dtype: DType, block: int) -> Work:
    """The product as a unit forms it: its groups one by one, several in a block, or all as one dense product."""
    if work.groups == 1 or unit.groups == "each":
        return work
    if unit.groups == "whole":
        return work if work.inputs % 8 == 0 and work.inputs >= block else merged(work, work.groups)
    c0, n0 = unit.inputs[dtype], unit.outputs[dtype]
    together = math.lcm(c0 // math.gcd(work.inputs, c0), n0 // math.gcd(work.outputs, n0))
    return merged(work, min(together, work.groups))


def merged(work: Work, together: int) -> Work:
    """The product with so many groups in one dense block; what lies off the diagonal is zero."""
    groups = -(-work.groups // together)
    return attrs.evolve(work, inputs=work.inputs * together, outputs=work.outputs * together, groups=groups)


def weight_bytes(work: Work, unit: Unit, dtype: DType, block: int) -> int:
    """Bytes of the weights of a product, with bias and scales.

    Args:
        work: the product.
        unit: that forms it.
        dtype: of the weights.
        block: channels in a block of the layout of feature maps.
    """
    inputs, outputs, groups = work.inputs, work.outputs, work.groups
    if unit.does == "depthwise":
        inputs, outputs, groups = groups * outputs, 1, 1
        channels = inputs
    else:
        grouped = in_groups(work, unit, dtype, block)
        inputs, outputs, groups = grouped.inputs, grouped.outputs, grouped.groups
        channels = outputs * groups
    padded = -(-channels // unit.outputs[dtype]) * unit.outputs[dtype]
    if unit.weights == "packed":
        inputs = packed_channels(inputs, block, depthwise=unit.does == "depthwise")
    elif unit.does == "matrix":
        inputs = -(-inputs // unit.inputs[dtype]) * unit.inputs[dtype]
        outputs = -(-outputs // unit.outputs[dtype]) * unit.outputs[dtype]
    return (groups * outputs * inputs * work.taps * dtype.bits + 7) // 8 + padded * unit.parameters.get(dtype, 0)


def packed_channels(channels: int, block: int, *, depthwise: bool = False) -> int:
    """Input channels of packed weights as they lie in memory, see `Unit.weights`."""
    blocks = -(-channels // block)
    whole = 1 << (blocks - 1).bit_length()
    if depthwise:
        return whole * block if channels % 8 == 0 and whole - blocks <= 1 else channels
    return whole * block if channels <= 4 or (channels < 32 and channels % 8 == 0) else channels


def is_product(node: Node) -> bool:
    """Whether a node stands for products, whatever its sizes are."""
    return isinstance(node.op, (*CONVOLUTIONS, *TRANSPOSED, *LINEAR, *PRODUCTS, Attention))


def work_of(node: Node) -> tuple[Work, ...]:
    """The products that a node stands for; none for an operator that is no product. Sizes must be static."""
    op: Any = node.op
    shapes = [_extents(t) for t in node.inputs]
    result = _extents(node.outputs[0] if node.outputs else None)
    if isinstance(op, CONVOLUTIONS):
        w = shapes[1]
        rows = math.prod(result[2:])
        return (Work(result[0], rows, math.prod(w[2:]), w[1], w[0] // op.groups, op.groups),)
    if isinstance(op, TRANSPOSED):
        w = shapes[1]
        rows = math.prod(result[2:])
        return (Work(result[0], rows, math.prod(w[2:]), w[0] // op.groups, w[1], op.groups),)
    if isinstance(op, LINEAR):
        return (Work(1, math.prod(shapes[0][:-1]), 1, shapes[0][-1], result[-1]),)
    if isinstance(op, PRODUCTS):
        return (_matrix_product(op, shapes[0], shapes[1], result),)
    if isinstance(op, Attention):
        batch, heads, queries, width = shapes[0]
        keys = shapes[1][2] + (shapes[4][2] if len(shapes) > 4 and shapes[4] else 0)
        first = Work(batch * heads, queries, 1, width, keys)
        return (first, attrs.evolve(first, inputs=keys, outputs=result[-1]))
    return ()


def _extents(tensor: Tensor | None) -> tuple[int, ...]:
    """The static shape of a tensor; empty for an omitted one."""
    if tensor is None:
        return ()
    return static(tensor.type.dims)


def _matrix_product(op: Any, a: tuple[int, ...], b: tuple[int, ...], result: tuple[int, ...]) -> Work:
    """A matrix product: one weight matrix takes the rows of all matrices at once."""
    left, right = list(a), list(b)
    if op.trans_a:
        left[-2:] = left[:-3:-1]
    if op.trans_b:
        right[-2:] = right[:-3:-1]
    length = left[-1]
    rows = left[-2] if len(left) > 1 else 1
    columns = right[-1] if len(right) > 1 else 1
    count = math.prod(result) // max(rows * columns, 1)
    if len(right) <= 2:
        return Work(1, count * rows, 1, length, columns)
    return Work(count, rows, 1, length, columns)


def tensors_of(node: Node) -> list[Tensor]:
    """Operands and results."""
    return [*(t for t in node.inputs if t is not None), *node.outputs]
