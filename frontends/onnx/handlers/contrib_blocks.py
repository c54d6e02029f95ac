"""Weights of few bits in blocks: onnxruntime's MatMulNBits, GatherBlockQuantized and MatMulBnb4.

Their packed bytes become constants of 2-, 4- or 8-bit numbers behind a blocked Dequantize.
Source: onnxruntime's docs/ContribOperators.md of version 1.32, its MatMulBnb4 kernel.
"""

from __future__ import annotations

import functools

import numpy as np

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.data import ComputedData
from uair.ir.dims import is_static, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ops import (
    BitShift,
    BitwiseAnd,
    Cast,
    Dequantize,
    Expand,
    Gather,
    Linear,
    MatMul,
    Mul,
    Reshape,
    Slice,
    Sub,
    Unsqueeze,
)

FAMILY = Family("com.microsoft")
_UNSIGNED = {2: DType.U2, 4: DType.U4, 8: DType.U8}


# ------------------------------------------------------------------------ packed numbers
def _bits(n: OnnxNode) -> int:
    bits = n.attributes.integer("bits", 4)
    if bits not in _UNSIGNED:
        n.unsupported(f"{n.op_type} with {bits} bits is not supported: 2, 4 and 8 are")
    return bits


def _split(packed: Array, bits: int, shape: tuple[int, ...], dtype: DType) -> Array:
    """Numbers that share bytes, the first in the lowest bits, cut to `shape` along the last axis."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    kept: Array = numbers.reshape(*shape[:-1], -1)[..., : shape[-1]]
    return kept.astype(dtype.numpy)


def unpacked(n: OnnxNode, packed: Tensor, bits: int, shape: tuple[int, ...]) -> Tensor:
    """A tensor of bytes as unsigned numbers of that shape; of as many bits when it is a constant, else of 8."""
    if packed.data is not None:
        dtype = _UNSIGNED[bits]
        compute = functools.partial(_split, bits=bits, shape=shape, dtype=dtype)
        return constant(ComputedData(compute, (packed.data,), dtype, shape), packed.name)
    if bits < 8:
        apart = n(Unsqueeze(axes=(n.rank(packed),)), packed)
        shifted = n(BitShift(direction="right"), apart, constant(np.arange(0, 8, bits, dtype=np.uint8)))
        packed = n(BitwiseAnd(), shifted, constant(np.array((1 << bits) - 1, np.uint8)))
    extents = static(n.shape(packed))
    length = int(np.prod(extents)) // max(int(np.prod(shape[:-1])), 1)
    whole = n(Reshape(shape=(*shape[:-1], length)), packed)
    if length == shape[-1]:
        return whole
    return n(Slice(axes=(len(shape) - 1,), starts=(0,), ends=(shape[-1],), steps=(1,)), whole)


def _dequantized(
    n: OnnxNode,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    *,
    axis: int,
    block_size: int,
    groups: Tensor | None,
) -> Tensor:
    """(x - zero_point) * scale in blocks along an axis, or in the groups that each place along it names."""
    whole = zero_point is None or zero_point.type.dtype is x.type.dtype
    if groups is None and whole:
        return n(Dequantize(axis=axis, block_size=block_size), x, scale, zero_point)
    length = n.extent(x, axis)
    if groups is None:
        assert isinstance(length, int)
        groups = constant(np.arange(length, dtype=np.int32) // np.int32(block_size))
    real = n(Cast(to=DType.F32), x)
    if zero_point is not None:
        real = n(Sub(), real, n(Cast(to=DType.F32), n(Gather(axis=axis), zero_point, groups)))
    product = n(Mul(), real, n(Cast(to=DType.F32), n(Gather(axis=axis), scale, groups)))
    return product if scale.type.dtype is DType.F32 else n(Cast(to=scale.type.dtype), product)


def _middle(n: OnnxNode, x: Tensor, scale: Tensor, bits: int) -> Tensor:
    """The zero points that hold where none are given: half of the range."""
    return n(Expand(shape=n.shape(scale)), constant(np.array(1 << (bits - 1)).astype(x.type.dtype.numpy)))


# ------------------------------------------------------------------------ MatMulNBits
@FAMILY.op("MatMulNBits", 1)
def _matmul_nbits(n: OnnxNode) -> Result:
    """Operands: a, packed weight [N, blocks, bytes], scales [N, blocks], zero points (packed, or of a's type), groups.

    accuracy_level only allows a runtime to compute less exactly.
    """
    a, weight, bias = n[0], n[1], n.optional(5)
    if n.attributes.integer("weight_prepacked", 0):
        n.unsupported(
            "MatMulNBits with a weight packed for one processor is not supported", "use the model as exported"
        )
    rows, depth, size = (_required(n, key) for key in ("N", "K", "block_size"))
    bits, blocks = _bits(n), -(-depth // size)
    if is_static(n.shape(weight)) and 0 in n.shape(weight):
        return _without_weight(n, a, rows, bias)
    x = unpacked(n, weight, bits, (rows, depth))
    scale = _shaped(n, n[2], (rows, blocks))
    given, zero_point = n.optional(3), None
    if given is None:
        zero_point = _middle(n, x, scale, bits)
    elif given.type.dtype is DType.U8:
        per_row = _shaped(n, given, (rows, -(-blocks * bits // 8)))
        zero_point = unpacked(n, per_row, bits, (rows, blocks))
        if zero_point.type.dtype is not x.type.dtype:
            zero_point = n(Cast(to=x.type.dtype), zero_point)
    else:
        zero_point = _shaped(n, given, (rows, blocks))
    matrix = _dequantized(n, x, scale, zero_point, axis=1, block_size=size, groups=n.optional(4))
    return n(Linear(), a, matrix, bias)


def _required(n: OnnxNode, key: str) -> int:
    n.attributes.required(key)
    value = n.attributes.integer(key, 0)
    if value < 1:
        n.refuse(f"{key} is {value}")
    return value


def _shaped(n: OnnxNode, t: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Older writers store parameters as one list."""
    return t if n.shape(t) == shape else n(Reshape(shape=shape), t)


def _without_weight(n: OnnxNode, a: Tensor, rows: int, bias: Tensor | None) -> Tensor:
    """A weight of no elements stands for zeros."""
    fill = bias if bias is not None else constant(np.zeros(1, a.type.dtype.numpy))
    return n(Expand(shape=(*n.shape(a)[:-1], rows)), fill)


# ------------------------------------------------------------------------ GatherBlockQuantized
@FAMILY.op("GatherBlockQuantized", 1)
def _gather_block_quantized(n: OnnxNode) -> Result:
    """Rows of a quantized table, dequantized after they are taken. Bytes hold numbers of `bits` bits.

    An index out of range, for which onnxruntime gives zeros, is an error.
    """
    data, indices, scale, zero_point = n[0], n[1], n[2], n.optional(3)
    rank, bits = n.rank(data), n.attributes.integer("bits", 4)
    gather = n.axis(n.attributes.integer("gather_axis", 0), rank)
    axis = n.axis(n.attributes.integer("quantize_axis", 1), rank)
    if data.type.dtype is DType.U8:
        bits = _bits(n)
        per_byte = 8 // bits
        shape, blocks = static(n.shape(data)), static(n.shape(scale))
        data = unpacked(n, data, bits, (*shape[:-1], shape[-1] * per_byte))
        if zero_point is not None:
            zero_point = unpacked(n, zero_point, bits, blocks)
        else:
            zero_point = _middle(n, data, scale, bits)
    size = n.attributes.integer("block_size", 128)
    if size == 0:
        length = n.extent(data, axis)
        if not isinstance(length, int):
            n.unsupported("GatherBlockQuantized with one block needs a table of known extents")
        size = length
    scale = _along_all(n, scale, data, axis)
    op = Dequantize(axis=axis, block_size=size)
    if gather == axis:
        return n(Gather(axis=gather), n(op, data, scale, zero_point), indices)
    moved = axis + (n.rank(indices) - 1 if axis > gather else 0)
    parts = [None if t is None else n(Gather(axis=gather), t, indices) for t in (data, scale, zero_point)]
    return n(Dequantize(axis=moved, block_size=size), *parts)


def _along_all(n: OnnxNode, scale: Tensor, data: Tensor, axis: int) -> Tensor:
    """The scale with its extents of 1 on other axes than the blocks' repeated."""
    shape = tuple(s if i == axis else d for i, (s, d) in enumerate(zip(n.shape(scale), n.shape(data), strict=True)))
    return scale if shape == n.shape(scale) else n(Expand(shape=shape), scale)


# ------------------------------------------------------------------------ MatMulBnb4
_FP4 = (0.0, 5.208333333e-03, 0.66666667, 1.0, 0.33333333, 0.5, 0.16666667, 0.25)
_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


@FAMILY.op("MatMulBnb4", 1)
def _matmul_bnb4(n: OnnxNode) -> Result:
    """Weight [N, K] of 4-bit codes into a table, high bits first, times the greatest magnitude of its block."""
    a, packed, peaks = n[0], n[1], n[2]
    rows, depth, size = (_required(n, key) for key in ("N", "K", "block_size"))
    kind = n.attributes.integer("quant_type", 0)
    if kind not in (0, 1):
        n.refuse(f"quant_type is {kind}: 0 (FP4) and 1 (NF4) are known")
    table = np.array((*_FP4, *(-v for v in _FP4)) if kind == 0 else _NF4, np.float32).astype(a.type.dtype.numpy)
    codes = unpacked(n, packed, 4, (rows * depth + rows * depth % 2,))
    places = np.arange(rows * depth, dtype=np.int32) ^ 1  # the two of a byte are the other way round
    ordered = n(Gather(), n(Cast(to=DType.I32), codes), constant(places))
    values = n(Gather(), constant(table), ordered)
    blocks = constant((np.arange(rows * depth, dtype=np.int64) // size).astype(np.int32))
    scaled = n(Mul(), values, n(Gather(), peaks, blocks))
    matrix = n(Reshape(shape=(rows, depth)), scaled)
    return n(MatMul(trans_b=n.attributes.flag("transB", True)), a, matrix)
