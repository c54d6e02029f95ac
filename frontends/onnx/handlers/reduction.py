"""Reductions and scans.

The axes are an attribute at first and an operand since version 18 (ReduceSum: 13); then `noop_with_empty_axes` says
what no axes mean.
"""

from __future__ import annotations

from typing import Any

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Handler, Result
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    ArgMax,
    ArgMin,
    CumProd,
    CumSum,
    Log,
    ReduceAll,
    ReduceAny,
    ReduceL1,
    ReduceL2,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    ReduceSumSquare,
)
from uair.ops.reduction import Reduction

FAMILY = Family()

_REDUCTIONS: dict[str, tuple[type[Reduction], tuple[int, ...]]] = {
    "ReduceL1": (ReduceL1, (1, 11, 13, 18)),
    "ReduceL2": (ReduceL2, (1, 11, 13, 18)),
    "ReduceLogSum": (ReduceSum, (1, 11, 13, 18, 28)),
    "ReduceLogSumExp": (ReduceLogSumExp, (1, 11, 13, 18, 28)),
    "ReduceMax": (ReduceMax, (1, 11, 12, 13, 18, 20)),
    "ReduceMean": (ReduceMean, (1, 11, 13, 18)),
    "ReduceMin": (ReduceMin, (1, 11, 12, 13, 18, 20)),
    "ReduceProd": (ReduceProd, (1, 11, 13, 18)),
    "ReduceSum": (ReduceSum, (1, 11, 13)),
    "ReduceSumSquare": (ReduceSumSquare, (1, 11, 13, 18)),
}
_BOOLEAN: dict[Any, Any] = {ReduceMax: ReduceAny, ReduceMin: ReduceAll}


def _axes(n: OnnxNode, x: Tensor) -> tuple[int, ...] | None:
    """The axes to reduce; None for all."""
    if n.version >= (13 if n.op_type == "ReduceSum" else 18):
        axes = n.integers(1, "axes") if n.optional(1) is not None else ()
        if not axes:
            return () if n.attributes.flag("noop_with_empty_axes") else None
    else:
        axes = n.attributes.integers("axes", ())
        if not axes:
            return None
    return n.axes(axes, n.rank(x))


def _reduction(operator: Any) -> Handler:
    def handler(n: OnnxNode) -> Result:
        x = n[0]
        chosen = _BOOLEAN.get(operator, operator) if x.type.dtype is DType.BOOL else operator
        total = n(chosen(axes=_axes(n, x), keepdims=n.attributes.flag("keepdims", True)), x)
        return n(Log(), total) if n.op_type == "ReduceLogSum" else total

    return handler


for _name, (_operator, _versions) in _REDUCTIONS.items():
    FAMILY.add(_name, _versions, _reduction(_operator))


def _position(operator: type[ArgMax] | type[ArgMin]) -> Handler:
    def handler(n: OnnxNode) -> Result:
        x, a = n[0], n.attributes
        op = operator(
            axis=n.axis(a.integer("axis", 0), n.rank(x)),
            keepdims=a.flag("keepdims", True),
            select_last=a.flag("select_last_index"),
        )
        return n(op, x)

    return handler


FAMILY.add("ArgMax", (1, 11, 12, 13), _position(ArgMax))
FAMILY.add("ArgMin", (1, 11, 12, 13), _position(ArgMin))


@FAMILY.op("CumSum", 11, 14)
def _cumsum(n: OnnxNode) -> Result:
    axis = n.axis(n.integer(1, "the axis"), n.rank(n[0]))
    return n(CumSum(axis=axis, exclusive=n.attributes.flag("exclusive"), reverse=n.attributes.flag("reverse")), n[0])


@FAMILY.op("CumProd", 26)
def _cumprod(n: OnnxNode) -> Result:
    known = n.scalar(1)
    op = CumProd(
        axis=None if known is None else n.axis(int(known), n.rank(n[0])),
        exclusive=n.attributes.flag("exclusive"),
        reverse=n.attributes.flag("reverse"),
    )
    return n(op, n[0], n[1] if known is None else None)
