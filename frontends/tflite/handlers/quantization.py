"""Quantization that the file spells out."""

from __future__ import annotations

import functools

import numpy as np

from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.data import ComputedData
from uair.ir.dtype import Array, DType
from uair.ir.graph import constant
from uair.ops import Clip, Dequantize, Quantize

FAMILY = Family()


@FAMILY.op("QUANTIZE")
def _quantize(n: TfliteNode) -> Result:
    """Real numbers become integers, or integers others of another scale: the result's parameters say how."""
    info = n.result_info()
    if info.quantization is None or info.dtype is None or not info.dtype.is_integer:
        n.refuse(f"the result {info.name!r} has no scale")
    op = Quantize(dtype=info.dtype, axis=info.quantization.axis)
    return n(op, n.cast(n[0], DType.F32), *n.importer.parameters(info.quantization, info))


@FAMILY.op("DEQUANTIZE")
def _dequantize(n: TfliteNode) -> Result:
    """Integers become real numbers by the operand's parameters; narrow floats are widened."""
    x = n.raw(0)
    if not x.type.dtype.is_float:
        if n.info(0).quantization is None:
            n.refuse(f"the operand {n.info(0).name!r} has no scale")
        return n[0]
    if x.data is None:
        return n.cast(x, DType.F32)
    widen = functools.partial(_widened)
    return constant(ComputedData(widen, (x.data,), DType.F32, x.data.shape), x.name)


def _widened(values: Array) -> Array:
    return values.astype(np.float32)


@FAMILY.op("DENSIFY")
def _densify(n: TfliteNode) -> Result:
    """A sparse constant is filled up when it is read."""
    return n.raw(0)


@FAMILY.op("FAKE_QUANT")
def _fake_quant(n: TfliteNode) -> Result:
    """Rounding to a grid of 2^bits numbers between min and max, which is moved so that 0 lies on it (Jacob et al.)."""
    o = n.options
    low, high, bits = o.number("min"), o.number("max"), o.integer("num_bits")
    least, most = int(o.flag("narrow_range")), (1 << bits) - 1 if 2 <= bits <= 16 else 0
    if not low <= 0 <= high or low == high or not most:
        n.refuse(f"a range of {low} to {high} in {bits} bits")
    scale = np.float32((high - low) / (most - least))
    zero = round(min(max(least - low / float(scale), least), most))
    dtype = DType.U8 if most <= 255 else DType.U16
    point = n.stored(np.asarray(zero, dtype.numpy))
    grid = n.stored(np.asarray(scale))
    # What lies outside of the range becomes its ends, also where the type has more numbers.
    bounded = n(Clip(min=float((least - zero) * scale), max=float((most - zero) * scale)), n[0])
    return n(Dequantize(), n(Quantize(dtype=dtype), bounded, grid, point), grid, point)
