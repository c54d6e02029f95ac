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


@FAMILY.op("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4")
def _quantize_and_dequantize(n: TfNode) -> Result:
    """Symmetric: zero is the integer 0, and the greater side of the range decides the scale.

    tensorflow/core/kernels/quantize_and_dequantize_op.h; signed integers of 8 bits give Quantize and Dequantize.
    """
    if not n.flag("range_given"):
        n.refuse("the range must be given", "quantize with a range that calibration found")
    found = n.known(1), n.known(2)
    bits = n.numbers(3, "the number of bits")[0] if n.op_type.endswith("V3") else n.integer("num_bits", 8)
    if found[0] is None or found[1] is None or not 2 <= bits <= 24:
        n.refuse("the range must be known when the model is read, with 2 to 24 bits", "freeze the model's variables")
    if n.integer("axis", -1) >= 0 and found[0].size > 1:
        n.refuse(
            "a range for each channel is not supported", "use tf.quantization.fake_quant_with_min_max_vars_per_channel"
        )
    signed = n.flag("signed_input", True)
    greatest = (1 << (bits - 1 if signed else bits)) - 1
    least = -greatest - (0 if n.flag("narrow_range") else 1) if signed else 0
    low, high = (np.asarray(v, np.float64).reshape(()) for v in found)
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = [np.where(low * least > 0, low / least, 0.0), np.where(high * greatest > 0, high / greatest, 0.0)]
    scale = np.maximum(*sides)
    scale = np.where(scale == 0, 1.0, scale).astype(np.float32)
    x = n[0]
    if signed and bits == 8 and least == -128 and n.text("round_mode", "HALF_TO_EVEN") == "HALF_TO_EVEN":
        operands = n.of(scale, DType.F32), n.of(0, DType.I8)
        return n(Dequantize(), n(Quantize(dtype=DType.I8), x, *operands), *operands)
    n.choice("round_mode", "HALF_TO_EVEN", ("HALF_TO_EVEN",))
    return _rounded(n, x, scale, np.zeros_like(scale), (least, greatest))


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
