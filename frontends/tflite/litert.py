"""What LiteRT's kernels round otherwise than real numbers between Quantize and Dequantize, for `arithmetic="litert"`.

**8-bit weights with float operands** ("dynamic range"). The operand is rounded to 8 bits in every run, by its range:
low = min(x, 0), high = max(x, 0), k = 255 / (high - low), z = round(-128 - low * k),
q = clip(round(x * k) + z, -128, 127), and the product is that with (q - z) / k; all roundings to even. Of a convolution
the range is that of an image; XNNPACK computes one of 1x1 with strides of 1 as a matrix product, where it is that of a
row: of a pixel.

**Averages** of integers are rounded to a whole number, halves away from 0.

**Sums** of 8-bit integers are computed in fixed point (XNNPACK): with r the scale of an operand by that of the result,
and e the exponent of the greater r, its multiplier is m = round(r * 2^(20 - e)); the result is
floor((sum of (q - z) * m + 2^(19 - e)) / 2^(20 - e)) + z, clipped.

Measured with LiteRT 2.3, each operator by itself: integers are equal, floats within 5e-7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from uair.frontends.tflite import schema
from uair.frontends.tflite.model import Quantization
from uair.frontends.tflite.node import TfliteNode
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Add,
    Clip,
    Dequantize,
    Div,
    Equal,
    Floor,
    Maximum,
    Minimum,
    Mul,
    Quantize,
    ReduceMax,
    ReduceMin,
    Round,
    Sub,
    Where,
)

BYTES = (DType.I8, DType.U8)
FRACTION = 20
"""Bits of a multiplier behind its first one."""
LEAST, GREATEST = 2.0**-10, 2.0**8
"""Of the ratios of scales that XNNPACK takes; the kernels for others round like real numbers, twice."""


def is_asked_for(n: TfliteNode) -> bool:
    """Whether integers are to be computed as LiteRT does, and the operator's are."""
    return n.importer.arithmetic == "litert" and n.is_quantized


def is_hybrid(n: TfliteNode) -> bool:
    """Whether operand 0 is to be rounded: a float with 8-bit weights, and LiteRT's arithmetic is asked for."""
    x, w = n.info(0), n.info(1)
    floats = x.dtype is not None and x.dtype.is_float
    return n.importer.arithmetic == "litert" and floats and w.dtype is DType.I8 and w.quantization is not None


def in_8_bits(n: TfliteNode, x: Tensor, axes: Sequence[int]) -> Tensor:
    """A float tensor rounded to 256 numbers between its least and its greatest along some axes, and 0."""
    zero, steps = n.like(0, x), n.like(255, x)
    low = n(Minimum(), n(ReduceMin(axes=tuple(axes)), x), zero)
    high = n(Maximum(), n(ReduceMax(axes=tuple(axes)), x), zero)
    span = n(Sub(), high, low)
    factor = n(Div(), steps, n(Where(), n(Equal(), span, zero), steps, span))
    offset = n(Round(), n(Sub(), n.like(-128, x), n(Mul(), low, factor)))
    q = n(Clip(min=-128.0, max=127.0), n(Add(), n(Round(), n(Mul(), x, factor)), offset))
    return n(Div(), n(Sub(), q, offset), factor)


def average(n: TfliteNode, mean: Tensor) -> Tensor:
    """The result of an average of stored integers, given as f32; scale and zero point are the operand's.

    Raises:
        SourceOperatorError: they are not.
    """
    info, given = n.result_info(), n.info(0)
    a, b = given.quantization, info.quantization
    alike = a is not None and b is not None and given.dtype is info.dtype
    if not alike or a is None or b is None or not _equal(a, b):
        n.refuse("the average of integers must have the type, scale and zero point of the operand")
    dtype = n.raw(0).type.dtype
    return _activated(n, n(Quantize(dtype=dtype, rounding="half_away"), mean, n.like(1, mean)), b)


def _equal(a: Quantization, b: Quantization) -> bool:
    return np.array_equal(a.scales, b.scales) and np.array_equal(a.zero_points, b.zero_points)


def _activated(n: TfliteNode, whole: Tensor, quantization: Quantization) -> Tensor:
    """Stored integers behind the fused activation, which is one of real numbers."""
    if n.options.choice("fused_activation_function", schema.ACTIVATIONS) == "NONE":
        return whole
    return n.activated(n(Dequantize(), whole, *n.importer.parameters(quantization, n.result_info())))


def total(n: TfliteNode, sign: int) -> Tensor | None:
    """The sum (difference with -1) of two operands as stored; None where it is not computed in fixed point."""
    infos = n.info(0), n.info(1), n.result_info()
    known = [info.quantization for info in infos if info.dtype in BYTES and info.dtype is infos[2].dtype]
    a, b, y = (*known, None, None, None)[:3]
    if a is None or b is None or y is None or any(q.axis is not None for q in (a, b, y)) or not y.scales.item():
        return None
    ratios = [q.scales.item() / y.scales.item() for q in (a, b)]
    if not all(LEAST <= r < GREATEST for r in ratios):
        return None
    shift = FRACTION - (math.frexp(max(ratios))[1] - 1)
    multipliers = [round(math.ldexp(float(np.float32(r)), shift)) for r in ratios]
    left, right = (_times(n, i, q, m) for i, (q, m) in enumerate(zip((a, b), multipliers, strict=True)))
    acc = n(Add() if sign > 0 else Sub(), left, right)
    rounded = n(Floor(), n(Mul(), n(Add(), acc, n.like(2.0 ** (shift - 1), acc)), n.like(2.0**-shift, acc)))
    shifted = n(Add(), rounded, n.like(int(y.zero_points.item()), acc))
    assert infos[2].dtype is not None
    low, high = infos[2].dtype.range
    return _activated(n, n.cast(n(Clip(min=float(low), max=float(high)), shifted), infos[2].dtype), y)


def _times(n: TfliteNode, i: int, quantization: Quantization, multiplier: int) -> Tensor:
    """(q - z) * m in f64, which is exact."""
    wide = n.cast(n.raw(i), DType.F64)
    return n(Mul(), n(Sub(), wide, n.like(int(quantization.zero_points.item()), wide)), n.like(multiplier, wide))
