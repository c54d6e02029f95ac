"""Comparisons and logic; every result is bool."""

from __future__ import annotations

from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ops.comparison import (
    Equal,
    Greater,
    GreaterEqual,
    IsInf,
    IsNaN,
    Less,
    LessEqual,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    LogicalXor,
    NotEqual,
)

EMITTERS = Emitters()
EMITTERS.direct(
    {
        Equal: "Equal",
        Greater: "Greater",
        IsNaN: "IsNaN",
        Less: "Less",
        LogicalAnd: "And",
        LogicalNot: "Not",
        LogicalOr: "Or",
        LogicalXor: "Xor",
    }
)


@EMITTERS.of(NotEqual)
def not_equal(e: Emission, op: NotEqual) -> None:
    """ONNX has no NotEqual."""
    e.result("Not", e.op("Equal", e.x(0), e.x(1), type=e.y))


@EMITTERS.of(LessEqual, GreaterEqual)
def or_equal(e: Emission, op: LessEqual | GreaterEqual) -> None:
    """Operators of their own from opset 12 on. Not(Greater) would be true for NaN."""
    strict = "Less" if isinstance(op, LessEqual) else "Greater"
    if e.opset >= 12:
        e.result(f"{strict}OrEqual", e.x(0), e.x(1))
    else:
        e.result("Or", e.op(strict, e.x(0), e.x(1), type=e.y), e.op("Equal", e.x(0), e.x(1), type=e.y))


@EMITTERS.of(IsInf)
def is_inf(e: Emission, op: IsInf) -> None:
    """IsInf with the signs to look for."""
    e.result("IsInf", e.x(), detect_positive=int(op.detect_positive), detect_negative=int(op.detect_negative))
