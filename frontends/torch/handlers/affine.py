"""The affine quantization of torchao: blocks that have one scale, those along one axis, by Quantize and Dequantize."""

from __future__ import annotations

from typing import cast

import attrs
import ml_dtypes
import numpy as np

from uair import ops
from uair.frontends.torch.handlers import quantized
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.ir.dims import Dim, Shape, floor_div
from uair.ir.dtype import DType
from uair.ir.graph import Tensor

FAMILY = Family()
_O = "torchao"


@attrs.frozen
class Blocks:
    """Which elements have one scale.

    Attributes:
        axis: as Quantize has it; None for one scale.
        size: number of neighbours along the axis that have one scale; 0 for one scale per place.
        shape: of the scales, as Quantize takes them.
    """

    axis: int | None
    size: int
    shape: Shape


def _blocks(node: TorchNode, x: Tensor) -> Blocks:
    """The blocks of a tensor.

    Raises:
        SourceOperatorError: they extend along several axes, or have an open length.
    """
    given = node.get("block_size")
    dims = node.shape(x)
    sizes = cast("tuple[Dim, ...]", given if isinstance(given, tuple) else (given,))
    if len(sizes) != len(dims):
        node.refuse(f"blocks of shape {list(sizes)} of a tensor of {len(dims)} axes")
    whole = [size in (dim, -1) for size, dim in zip(sizes, dims, strict=True)]
    if all(whole):
        return Blocks(None, 0, ())
    single = [a for a in range(len(dims)) if not whole[a]]
    if len(single) == 1 and sizes[single[0]] == 1:
        return Blocks(single[0], 0, (dims[single[0]],))
    along = [a for a, size in enumerate(sizes) if size != 1]
    size = sizes[along[0]] if len(along) == 1 else -1 if along else 1
    size = dims[along[0]] if size == -1 and len(along) == 1 else size
    if not isinstance(size, int) or size < 1:
        node.refuse(
            f"blocks of shape {list(map(str, sizes))} of a tensor of shape {list(map(str, dims))}",
            "quantize by tensor, by channel, or in groups of a fixed length along one axis",
        )
    axis = along[0] if along else len(dims) - 1
    count: Dim = floor_div(dims[axis], size)
    return Blocks(axis, size, (*dims[:axis], count, *dims[axis + 1 :]))


def _parameters(node: TorchNode, blocks: Blocks, dtype: DType) -> tuple[Tensor, Tensor]:
    scale = node.tensor("scale")
    scale = node.reshaped(scale if scale.type.dtype.bits >= 16 else node.cast(scale, DType.F32), blocks.shape)
    zero = node.optional("zero_point")
    if zero is None:
        return scale, quantized.zeros(node, scale, dtype)
    if zero.type.dtype.is_float and not _whole(node, zero):
        node.refuse("the zero point is no whole number", "use a zero point of the integer domain")
    return scale, node.reshaped(quantized.zero_of(node, zero, dtype), blocks.shape)


def _whole(node: TorchNode, zero: Tensor) -> bool:
    """Whether a zero point that is stored as floats holds whole numbers."""
    known = node.value_of(zero)
    return known is not None and bool(np.all(known == np.rint(known)))


@FAMILY.op(f"{_O}.quantize_affine")
def _quantize(node: TorchNode) -> Tensor:
    x, dtype = node.tensor("input"), node.result.dtype
    blocks = _blocks(node, x)
    op = ops.Quantize(axis=blocks.axis, dtype=dtype, block_size=blocks.size)
    return quantized.bounded(node, node(op, x, *_parameters(node, blocks, dtype)))


@FAMILY.op(f"{_O}.dequantize_affine")
def _dequantize(node: TorchNode) -> Tensor:
    x = node.tensor("input")
    blocks = _blocks(node, x)
    op = ops.Dequantize(axis=blocks.axis, dtype=node.result.dtype, block_size=blocks.size)
    return node(op, x, *_parameters(node, blocks, x.type.dtype))


@FAMILY.op(f"{_O}.choose_qparams_affine")
def _choose(node: TorchNode) -> Result:
    """Scales and zero points of blocks, which the data decide."""
    x, kind = node.tensor("input"), node.get("mapping_type")
    target = cast(DType, node.get("target_dtype"))
    low, high = node.get("quant_min"), node.get("quant_max")
    bounds = (int(target.range[0] if low is None else low), int(target.range[1] if high is None else high))
    limits = ml_dtypes.finfo(x.type.dtype.numpy)  # type: ignore[no-untyped-call]
    eps = float(limits.smallest_normal if node.get("eps") is None else node.get("eps"))
    blocks = _blocks(node, x)
    least, greatest = _extremes(node, x, blocks)
    if kind in ("SYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR"):
        make = quantized.symmetric_scale if kind == "SYMMETRIC" else _unclipped_scale
        scale = make(node, least, greatest, bounds, eps)
        zero = quantized.zeros(node, scale, DType.I32, int((sum(bounds) + 1) / 2))
    elif kind == "ASYMMETRIC":
        scale = quantized.affine_scale(node, least, greatest, bounds, eps)
        zero = quantized.affine_zero(node, least, scale, bounds)
    else:
        node.refuse(f"a mapping of kind {kind!r} is not known", "use MappingType.SYMMETRIC or ASYMMETRIC")
    return tuple(
        node.reshaped(node.cast(found, t.dtype), t.dims)
        for found, t in zip((scale, zero), node.call.types, strict=True)
        if t is not None
    )


def _unclipped_scale(node: TorchNode, low: Tensor, high: Tensor, bounds: tuple[int, int], eps: float) -> Tensor:
    """The scale by which both ends fit their side of the range."""
    below, above = (node(ops.Div(), t, node.like(b, t)) for t, b in zip((low, high), bounds, strict=True))
    scale = node(ops.Maximum(), below, above)
    return node(ops.Maximum(), scale, node.like(eps, scale))


def _extremes(node: TorchNode, x: Tensor, blocks: Blocks) -> tuple[Tensor, Tensor]:
    rank = node.rank(x)
    if blocks.axis is None:
        return quantized.extremes(node, x, None, keepdims=False)
    if not blocks.size:
        axes = tuple(a for a in range(rank) if a != blocks.axis)
        return quantized.extremes(node, x, axes, keepdims=False) if axes else quantized.extremes(node, x, ())
    axis = blocks.axis
    apart = node.reshaped(x, (*blocks.shape[: axis + 1], blocks.size, *blocks.shape[axis + 1 :]))
    return quantized.extremes(node, apart, (axis + 1,), keepdims=False)
