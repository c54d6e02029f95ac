"""Nodes that the constraints of the Ascend device files refuse; all chips of the family have the same ones."""

from __future__ import annotations

from tests.targets.helpers import dequantized, make, tensor
from uair.context import Context
from uair.ir.dtype import DType
from uair.ir.graph import Node, constant
from uair.ops import (
    Conv3D,
    ConvTranspose1D,
    ConvTranspose2D,
    ConvTranspose3D,
    Dequantize,
    Quantize,
    ScatterND,
    TopK,
)
from uair.ops.base import Operator
from uair.targets import Support, Target

X = "f32[1,4,16,16]"


def quantized(op: Operator, first: str, *rest: str) -> Node:
    """The operator inside a quantized model: its first operand comes from Dequantize."""
    return op.node(dequantized(first), *(tensor(r) for r in rest))


CASES: list[tuple[Node, Support, str]] = [
    (Quantize(dtype=DType.U8).node(tensor(X), constant(0.1), None), Support.UNSUPPORTED, "dtype == i8"),
    (make(Quantize(axis=1), X, "=f32[4]"), Support.UNSUPPORTED, "axis == none or x.is_constant"),
    (make(Quantize(), X, 1e-9), Support.UNSUPPORTED, "scale.value == none or scale.value >= 1.1920929e-7"),
    (make(Quantize(), X, 1e7), Support.UNSUPPORTED, "scale.value == none or scale.value <= 8388608"),
    (make(Dequantize(), "u8[4]", 0.1), Support.UNSUPPORTED, "x.dtype in [i8, i32]"),
    (quantized(ConvTranspose2D(dilations=(2, 2)), "i8[1,4,8,8]", "=f32[4,8,3,3]"), Support.UNSUPPORTED,
     "not quantized or all(dilations == 1)"),
    (quantized(ConvTranspose1D(), "i8[1,4,8]", "=f32[4,8,3]"), Support.UNSUPPORTED, "not quantized"),
    (quantized(ConvTranspose3D(), "i8[1,4,8,8,8]", "=f32[4,8,3,3,3]"), Support.UNSUPPORTED, "not quantized"),
    (quantized(Conv3D(dilations=(2, 1, 1)), "i8[1,4,8,8,8]", "=f32[8,4,3,3,3]"), Support.UNSUPPORTED,
     "not quantized or dilation_d == 1"),
    (make(TopK(), "f32[9]", "i64[1]"), Support.UNSUPPORTED, "k != none"),
    (make(ScatterND(), "f32[4,4]", "i64[2,1]", "f32[2,4]"), Support.UNKNOWN, "indices.is_constant"),
]  # fmt: skip

NEGATIVE: list[tuple[Target, Node, Support, str]] = [
    (Context.default().target(name), node, support, clause)
    for name in ("ascend310", "ascend310p", "ascend310b", "ascend910b")
    for node, support, clause in CASES
]
