"""PT2E-quantized models: quantized_decomposed's operators as Quantize and Dequantize.

PyTorch multiplies by 1 / scale in f32 where the IR divides by the scale: a quotient halfway between two steps can fall
on the other one.
"""

from __future__ import annotations

import numpy as np

from uair import ops
from uair.frontends.torch.node import Family, TorchNode
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant

FAMILY = Family()
_D = "quantized_decomposed"


def _parameters(node: TorchNode, name: str, zero: str, dtype: DType) -> tuple[Tensor, Tensor]:
    """Scale (f32) and zero point (of the quantized type), numbers or tensors, one or one per channel."""
    scale, point = node.get(name), node.get(zero)
    found = node.cast(scale, DType.F32) if isinstance(scale, Tensor) else constant(np.asarray(scale, np.float32))
    if isinstance(point, Tensor):
        offset = node.cast(point, dtype)
    else:
        offset = constant(np.asarray(0 if point is None else point).astype(dtype.numpy))
    if "channel" in node.op_type:
        return found, offset
    return node.single(found), node.single(offset)


def _bounded(node: TorchNode, y: Tensor) -> Tensor:
    """The bounds, where they are narrower than the type's (weights of -127..127)."""
    low, high = node.get("quant_min"), node.get("quant_max")
    if (low, high) in ((None, None), y.type.dtype.range):
        return y
    if not isinstance(low, int) or not isinstance(high, int):
        node.refuse("the bounds of the quantized numbers must be known")
    return node(ops.Clip(min=float(low), max=float(high)), y)


@FAMILY.op(f"{_D}.quantize_per_tensor")
def _quantize(node: TorchNode) -> Tensor:
    dtype = node.result.dtype
    return _bounded(node, node(ops.Quantize(dtype=dtype), node.tensor("input"),
                               *_parameters(node, "scale", "zero_point", dtype)))  # fmt: skip


@FAMILY.op(f"{_D}.quantize_per_channel")
def _quantize_channels(node: TorchNode) -> Tensor:
    x, dtype = node.tensor("input"), node.result.dtype
    axis = node.axis(node.get("axis"), node.rank(x))
    scale, zero = _parameters(node, "scales", "zero_points", dtype)
    return _bounded(node, node(ops.Quantize(axis=axis, dtype=dtype), x, scale, zero))


@FAMILY.op(f"{_D}.dequantize_per_tensor")
def _dequantize(node: TorchNode) -> Tensor:
    x = node.tensor("input")
    scale, zero = _parameters(node, "scale", "zero_point", x.type.dtype)
    return node(ops.Dequantize(dtype=node.result.dtype), x, scale, zero)


@FAMILY.op(f"{_D}.dequantize_per_channel")
def _dequantize_channels(node: TorchNode) -> Tensor:
    x = node.tensor("input")
    axis = node.axis(node.get("axis"), node.rank(x))
    scale, zero = _parameters(node, "scales", "zero_points", x.type.dtype)
    return node(ops.Dequantize(axis=axis, dtype=node.result.dtype), x, scale, zero)
