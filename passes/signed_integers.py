"""Integers of models that were quantized to u8, as i8 for devices that have no other.

onnxruntime's `quantize_static` and TFLite's older files quantize activations to u8; AscendQuant gives i8, and zero
points of TensorRT are 0, which is 128 for u8.
"""

from __future__ import annotations

import attrs

from uair.passes.unsigned_integers import ShiftIntegers


@attrs.frozen
class SignedIntegers(ShiftIntegers):
    """Let u8 integers be i8, less by 128, with zero points that are too: the same real numbers.

    Changed are the constants behind Dequantize (weights), and what stands between a Quantize and Dequantize nodes only
    (activations). Inputs, outputs, blocks, integers that other operators use, and zero points that are computed stay.
    """

    signed = True
