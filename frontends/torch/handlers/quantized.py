"""PT2E-quantized models: quantized_decomposed's operators as Quantize and Dequantize.

PyTorch multiplies by 1 / scale in f32 where the IR divides by the scale: a quotient halfway between two steps can fall
on the other one. Parameters that are chosen when the model runs are f64 and i64 there, as PyTorch has them.
"""

from __future__ import annotations

import numpy as np

from uair import ops
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant

FAMILY = Family()
_D = "quantized_decomposed"
_F32_EPS = float(np.finfo(np.float32).eps)


def _parameters(node: TorchNode, name: str, zero: str, dtype: DType) -> tuple[Tensor, Tensor]:
    """Scale (f32) and zero point (of the quantized type), numbers or tensors, one or several."""
    scale, point = node.get(name), node.get(zero)
    found = node.cast(scale, DType.F32) if isinstance(scale, Tensor) else constant(np.asarray(scale, np.float32))
    if isinstance(point, Tensor):
        return found, zero_of(node, point, dtype)
    return found, zeros(node, found, dtype, 0 if point is None else point)


def zero_of(node: TorchNode, point: Tensor, dtype: DType) -> Tensor:
    """A zero point, which PyTorch stores as i32 or i64, in the quantized type."""
    if point.data is None or point.type.dtype is dtype:
        return node.cast(point, dtype)
    return node.stored(point.data.array().astype(dtype.numpy), point.name)


def zeros(node: TorchNode, scale: Tensor, dtype: DType, point: int = 0) -> Tensor:
    """A zero point that is one number, as often as there are scales."""
    offset = constant(np.asarray(point).astype(dtype.numpy))
    shape = node.shape(scale)
    return node(ops.Expand(shape=shape), offset) if shape else offset


def bounded(node: TorchNode, y: Tensor) -> Tensor:
    """The bounds, where they are narrower than the type's (weights of -127..127)."""
    low, high = node.get("quant_min"), node.get("quant_max")
    if (low, high) in ((None, None), y.type.dtype.range):
        return y
    bounds: list[float] = []
    for value in (low, high):
        known = node.value_of(value) if isinstance(value, Tensor) else value
        if known is None or np.size(known) != 1:
            node.refuse("the bounds of the quantized numbers must be known")
        bounds.append(float(np.reshape(known, ())))
    return y if tuple(bounds) == y.type.dtype.range else node(ops.Clip(min=bounds[0], max=bounds[1]), y)


# ---------------------------------------------------------------------------------------- one scale, or one per channel
@FAMILY.op(f"{_D}.quantize_per_tensor")
def _quantize(node: TorchNode) -> Tensor:
    dtype = node.result.dtype
    scale, zero = map(node.single, _parameters(node, "scale", "zero_point", dtype))
    return bounded(node, node(ops.Quantize(dtype=dtype), node.tensor("input"), scale, zero))


@FAMILY.op(f"{_D}.quantize_per_channel")
def _quantize_channels(node: TorchNode) -> Tensor:
    x, dtype = node.tensor("input"), node.result.dtype
    axis = node.axis(node.get("axis"), node.rank(x))
    scale, zero = _parameters(node, "scales", "zero_points", dtype)
    return bounded(node, node(ops.Quantize(axis=axis, dtype=dtype), x, scale, zero))


@FAMILY.op(f"{_D}.dequantize_per_tensor")
def _dequantize(node: TorchNode) -> Tensor:
    x = node.tensor("input")
    scale, zero = map(node.single, _parameters(node, "scale", "zero_point", x.type.dtype))
    return node(ops.Dequantize(dtype=node.result.dtype), x, scale, zero)


@FAMILY.op(f"{_D}.dequantize_per_channel")
def _dequantize_channels(node: TorchNode) -> Tensor:
    x = node.tensor("input")
    axis = node.axis(node.get("axis"), node.rank(x))
    scale, zero = _parameters(node, "scales", "zero_points", x.type.dtype)
    return node(ops.Dequantize(axis=axis, dtype=node.result.dtype), x, scale, zero)


@FAMILY.op(f"{_D}.fake_quant_per_channel")
def _fake_quantize_channels(node: TorchNode) -> Tensor:
    """Quantized in the narrowest type that has the bounds, and back."""
    x = node.tensor("input")
    axis = node.axis(node.get("axis"), node.rank(x))
    low, high = int(node.get("quant_min")), int(node.get("quant_max"))
    fitting = (
        t for t in (DType.I8, DType.U8, DType.I16, DType.U16, DType.I32) if t.range[0] <= low <= high <= t.range[1]
    )
    dtype = next(fitting, None)
    if dtype is None:
        node.refuse(f"the bounds {low} and {high} fit no integer type")
    scale, zero = _parameters(node, "scales", "zero_points", dtype)
    y = bounded(node, node(ops.Quantize(axis=axis, dtype=dtype), x, scale, zero))
    return node(ops.Dequantize(axis=axis, dtype=node.result.dtype), y, scale, zero)


@FAMILY.op(f"{_D}.convert_element_type")
def _convert(node: TorchNode) -> Tensor:
    return node.cast(node.tensor("input"), node.result.dtype)


# ------------------------------------------------------------------------------------------------ a row, or part of one
@FAMILY.op(f"{_D}.quantize_per_token", f"{_D}.quantize_per_channel_group")
def _quantize_rows(node: TorchNode) -> Tensor:
    dtype = node.result.dtype
    scale, zero = _parameters(node, "scales", "zero_points", dtype)
    op = ops.Quantize(axis=-1, dtype=dtype, block_size=_row(node))
    return bounded(node, node(op, node.tensor("input"), scale, zero))


@FAMILY.op(f"{_D}.dequantize_per_token", f"{_D}.dequantize_per_channel_group")
def _dequantize_rows(node: TorchNode) -> Tensor:
    x = node.tensor("input")
    scale, zero = _parameters(node, "scales", "zero_points", x.type.dtype)
    return node(ops.Dequantize(axis=-1, dtype=node.result.dtype, block_size=_row(node)), x, scale, zero)


def _row(node: TorchNode) -> int:
    """How many neighbours along the last axis have one scale."""
    extent = node.extent(node.tensor("input"), -1)
    if not isinstance(extent, int):
        node.refuse("the length of a quantized row must be known", "export the model with the last axis fixed")
    return min(int(node.get("group_size", extent)), extent)


# -------------------------------------------------------------------------------------------- parameters that x decides
@FAMILY.op(f"{_D}.choose_qparams", f"{_D}.choose_qparams_symmetric")
def _choose(node: TorchNode) -> Result:
    """One scale and zero point for all of x, as [1]."""
    x, bounds = node.tensor("input"), (int(node.get("quant_min")), int(node.get("quant_max")))
    low, high = extremes(node, x, None)
    if "symmetric" in node.op_type:
        scale = symmetric_scale(node, low, high, bounds, float(node.get("eps")))
        zero = node.stored(np.asarray(128 if node.get("dtype") is DType.U8 else 0, np.int64))
    else:
        scale = affine_scale(node, low, high, bounds, float(node.get("eps")))
        zero = affine_zero(node, low, scale, bounds)
    return node.reshaped(node.cast(scale, DType.F64), (1,)), node.reshaped(node.cast(zero, DType.I64), (1,))


@FAMILY.op(f"{_D}.choose_qparams_per_token")
def _choose_per_row(node: TorchNode) -> Result:
    """A scale per row: the greatest absolute value becomes 127."""
    x = node.tensor("input")
    if node.get("dtype") is not DType.I8:
        node.refuse("rows are quantized to int8 alone")
    greatest = node(ops.ReduceMax(axes=(-1,)), node(ops.Abs(), x))
    greatest = node.cast(greatest, DType.F32) if greatest.type.dtype is DType.F16 else greatest
    scale = node(ops.Div(), node(ops.Maximum(), greatest, node.like(1e-5, greatest)), node.like(127, greatest))
    types = [DType.F64 if t is None else t.dtype for t in node.call.types]
    return node.cast(scale, types[0]), zeros(node, scale, types[1])


@FAMILY.op(f"{_D}.choose_qparams_per_token_asymmetric", f"{_D}._choose_qparams_per_token_asymmetric_impl")
def _choose_per_row_asymmetric(node: TorchNode) -> Result:
    """A scale and zero point per row, of -128..127; the zero point is that of the end with the lesser error."""
    low, high = extremes(node, node.tensor("input"), (-1,))
    scale = affine_scale(node, low, high, (-128, 127), _F32_EPS)
    first, last = (node(ops.Div(), t, scale) for t in (low, high))
    least, greatest = node.like(-128, scale), node.like(127, scale)
    error = node(ops.Add(), node(ops.Add(), least, first), node(ops.Add(), greatest, last))
    chosen = node(ops.Where(), node(ops.Greater(), error, node.like(0, error)),
                  node(ops.Sub(), least, first), node(ops.Sub(), greatest, last))  # fmt: skip
    zero = node(ops.Round(), node(ops.Clip(min=-128.0, max=127.0), chosen))
    return node.cast(scale, DType.F64), node.cast(zero, DType.I64)


def extremes(node: TorchNode, x: Tensor, axes: tuple[int, ...] | None, keepdims: bool = True) -> tuple[Tensor, Tensor]:
    """The least value, at most 0, and the greatest, at least 0, over the axes."""
    low = node(ops.ReduceMin(axes=axes, keepdims=keepdims), x)
    high = node(ops.ReduceMax(axes=axes, keepdims=keepdims), x)
    return node(ops.Minimum(), low, node.like(0, x)), node(ops.Maximum(), high, node.like(0, x))


def symmetric_scale(node: TorchNode, low: Tensor, high: Tensor, bounds: tuple[int, int], eps: float) -> Tensor:
    """The scale by which the greater of -low and high becomes half of the range."""
    greatest = node(ops.Maximum(), node(ops.Neg(), low), high)
    scale = node(ops.Div(), greatest, node.like((bounds[1] - bounds[0]) / 2, greatest))
    return node(ops.Maximum(), scale, node.like(eps, scale))


def affine_scale(node: TorchNode, low: Tensor, high: Tensor, bounds: tuple[int, int], eps: float) -> Tensor:
    """The scale by which low..high becomes the whole range."""
    span = node(ops.Sub(), high, low)
    scale = node(ops.Div(), span, node.like(bounds[1] - bounds[0], span))
    return node(ops.Maximum(), scale, node.like(eps, scale))


def affine_zero(node: TorchNode, low: Tensor, scale: Tensor, bounds: tuple[int, int]) -> Tensor:
    """The whole number that stands for 0."""
    steps = node(ops.Round(), node(ops.Div(), low, scale))
    zero = node(ops.Sub(), node.like(bounds[0], steps), steps)
    return node(ops.Clip(min=float(bounds[0]), max=float(bounds[1])), zero)
