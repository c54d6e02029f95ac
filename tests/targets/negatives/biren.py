"""Biren BR100 and BR104: what the vendor's public networks hold."""

from __future__ import annotations

import numpy as np

from tests.targets.helpers import make, tensor
from tests.targets.negatives import Case
from uair.codegen.biren import BirenTarget
from uair.ir.dtype import DType
from uair.ir.graph import constant
from uair.ops import Dequantize, Quantize, Swish
from uair.targets import Support

X = "f32[1,4,16,16]"
UNKNOWN = Support.UNKNOWN


def cases(target: BirenTarget) -> list[Case]:
    shifted = constant(np.float32(0.1)), constant(np.int8(3))
    return [
        (target, make(Swish(alpha=1.702), X), UNKNOWN, "alpha == 1"),
        (target, make(Quantize(dtype=DType.U8), X, 0.1), UNKNOWN, "dtype == i8"),
        (target, Quantize().node(tensor(X), *shifted), UNKNOWN, "zero_point == none or zero_point.is_zero"),
        (target, make(Dequantize(), "u8[4]", 0.1), UNKNOWN, "x.dtype == i8"),
        (target, Dequantize().node(tensor("i8[4]"), *shifted), UNKNOWN, "zero_point == none or zero_point.is_zero"),
    ]


NEGATIVE: list[Case] = [case for name in ("br100", "br104") for case in cases(BirenTarget(name))]
