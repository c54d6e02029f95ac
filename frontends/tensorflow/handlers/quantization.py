"""Fake quantization: float values on the grid of integers that a trained range gives."""

from __future__ import annotations

import numpy as np

from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor
from uair.ops import Dequantize, Div, Maximum, Minimum, Mul, Quantize, Round

FAMILY = Family()


@FAMILY.op("FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel", "FakeQuantWithMinMaxArgs")
def _fake_quant(n: TfNode) -> Result:
    """Quantize and Dequantize with 8 bits; other widths by rounding.

    The range is nudged so that zero is on the grid (tensorflow/core/kernels/fake_quant_ops_functor.h).
    """
    if n.op_type == "FakeQuantWithMinMaxArgs":
        low, high = np.float32(n.number("min", -6.0)), np.float32(n.number("max", 6.0))
    else:
        found = n.known(1), n.known(2)
        if found[0] is None or found[1] is None:
            n.refuse("the range must be known when the model is read", "freeze the model's variables")
        low, high = found[0].astype(np.float32), found[1].astype(np.float32)
    bits = n.integer("num_bits", 8)
    least, greatest = 1 if n.flag("narrow_range") else 0, (1 << bits) - 1
    scale, zero = nudged(np.asarray(low), np.asarray(high), least, greatest)
    x = n[0]
    axis = n.rank(x) - 1 if scale.ndim else None
    if bits == 8 and not least:
        operands = (n.of(scale, DType.F32), n.of(zero, DType.U8))
        return n(Dequantize(axis=axis), n(Quantize(axis=axis, dtype=DType.U8), x, *operands), *operands)
    return _rounded(n, x, scale, zero, (least, greatest))


def nudged(low: Array, high: Array, least: int, greatest: int) -> tuple[Array, Array]:
    """Scale and zero point of a range; the zero point is a whole number."""
    scale = (high - low) / np.float32(greatest - least)
    safe = np.where(scale == 0, np.float32(1), scale)
    zero = np.clip(np.floor(least - low / safe + np.float32(0.5)), least, greatest)
    return safe.astype(np.float32), zero


def _rounded(n: TfNode, x: Tensor, scale: Array, zero: Array, bounds: tuple[int, int]) -> Tensor:
    low, high = ((bound - zero) for bound in bounds)
    places = n(Round(), n(Div(), x, n.of(scale, DType.F32)))
    inside = n(Minimum(), n(Maximum(), places, n.of(low, DType.F32)), n.of(high, DType.F32))
    return n(Mul(), inside, n.of(scale, DType.F32))
