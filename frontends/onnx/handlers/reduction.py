"""Reductions and scans.

The axes are an attribute at first and an operand since version 18 (ReduceSum: 13); then `noop_with_empty_axes` says
what no axes mean.
"""

from __future__ import annotations

from typing import Any

from uair.frontends.onnx.handlers.shape import integer
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Handler, Result
from uair.ir.dims import is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    ArgMax,
    ArgMin,
    Cast,
    Concat,
    CumProd,
    CumSum,
    Equal,
    Log,
    Mul,
    Range,
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
    ShapeOf,
    SizeOf,
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


def _axes(n: OnnxNode, x: Tensor) -> tuple[tuple[int, ...] | None, Tensor | None]:
    """The axes to reduce, as attribute (None for all) and as operand."""
    if n.version < (13 if n.op_type == "ReduceSum" else 18):
        axes = n.attributes.integers("axes", ())
        return (n.axes_of(axes, x) if axes else None), None
    none = () if n.attributes.flag("noop_with_empty_axes") else None
    if n.optional(1) is None or n.length(1) == 0:
        return none, None
    found = n.dims(1)
    if found is not None and is_static(found):
        return n.axes_of(static(found), x), None
    return None, n[1] if none is not None or n.length(1) else _all_if_empty(n, x, n[1])


def _all_if_empty(n: OnnxNode, x: Tensor, axes: Tensor) -> Tensor:
    """Axes of which there may be none at run time, which means all."""
    rank = integer(n.rank(x)) if x.type.shape is not None else n(SizeOf(), n(ShapeOf(), x))
    empty = n(Cast(to=DType.I64), n(Equal(), n(SizeOf(), axes), integer(0)))
    count = n(Mul(), empty, rank)
    return n(Concat(axis=0), axes, n(Range(), integer(0), count, integer(1)))


def _reduction(operator: Any) -> Handler:
    def handler(n: OnnxNode) -> Result:
        x = n[0]
        chosen = _BOOLEAN.get(operator, operator) if x.type.dtype is DType.BOOL else operator
        axes, computed = _axes(n, x)
        logarithm = n.op_type.startswith("ReduceLog")
        real = n(Cast(to=DType.F64), x) if logarithm and x.type.dtype.is_integer else x
        total = n(chosen(axes=axes, keepdims=n.attributes.flag("keepdims", True)), real, computed)
        result = n(Log(), total) if n.op_type == "ReduceLogSum" else total
        return result if real is x else n(Cast(to=x.type.dtype), result)

    return handler


for _name, (_operator, _versions) in _REDUCTIONS.items():
    FAMILY.add(_name, _versions, _reduction(_operator))


def _position(operator: type[ArgMax] | type[ArgMin]) -> Handler:
    def handler(n: OnnxNode) -> Result:
        x, a = n[0], n.attributes
        op = operator(
            axis=n.axis_of(a.integer("axis", 0), x),
            keepdims=a.flag("keepdims", True),
            select_last=a.flag("select_last_index"),
        )
        return n(op, x)

    return handler


FAMILY.add("ArgMax", (1, 11, 12, 13), _position(ArgMax))
FAMILY.add("ArgMin", (1, 11, 12, 13), _position(ArgMin))


@FAMILY.op("CumSum", 11, 14)
def _cumsum(n: OnnxNode) -> Result:
    a, known = n.attributes, n.dims(1)
    exclusive, reverse = a.flag("exclusive"), a.flag("reverse")
    if known is not None and is_static(known) and len(known) == 1:
        return n(CumSum(axis=n.axis_of(static(known)[0], n[0]), exclusive=exclusive, reverse=reverse), n[0])
    return n(CumSum(axis=None, exclusive=exclusive, reverse=reverse), n[0], n[1])


@FAMILY.op("CumProd", 26)
def _cumprod(n: OnnxNode) -> Result:
    known = n.scalar(1)
    op = CumProd(
        axis=None if known is None else n.axis(int(known), n.rank(n[0])),
        exclusive=n.attributes.flag("exclusive"),
        reverse=n.attributes.flag("reverse"),
    )
    return n(op, n[0], n[1] if known is None else None)
