"""Reductions and scans."""

from __future__ import annotations

from typing import Any

from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    ArgMax,
    ArgMin,
    Cast,
    CumProd,
    CumSum,
    Div,
    Exp,
    IntDiv,
    Log,
    ReduceAll,
    ReduceAny,
    ReduceL2,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
)

FAMILY = Family()

_REDUCTIONS: dict[str, Any] = {
    "All": ReduceAll,
    "Any": ReduceAny,
    "Max": ReduceMax,
    "Mean": ReduceMean,
    "Min": ReduceMin,
    "Prod": ReduceProd,
    "Sum": ReduceSum,
    "EuclideanNorm": ReduceL2,
}


@FAMILY.op(*_REDUCTIONS)
def _reduce(n: TfNode) -> Result:
    """No axes at all leave the operand as it is. The mean of integers is truncated."""
    op, x = _REDUCTIONS[n.op_type], n[0]
    axes = n.axes(n.numbers(1, "the axes"), n.rank(x))
    keep = n.flag("keep_dims")
    if not axes:
        return x
    if op is ReduceMean and not x.type.dtype.is_float:
        return _integer_mean(n, x, axes, keep)
    return n(op(axes=tuple(sorted(axes)), keepdims=keep), x)


def _integer_mean(n: TfNode, x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    count = 1
    for axis in axes:
        extent = n.extent(x, axis)
        if not isinstance(extent, int):
            n.refuse("the mean of integers over an open size is not supported", "cast to float32 first")
        count *= extent
    return n(IntDiv(rounding="trunc"), n(ReduceSum(axes=axes, keepdims=keep), x), n.like(max(count, 1), x))


@FAMILY.op("ArgMax", "ArgMin")
def _arg(n: TfNode) -> Result:
    (axis,) = n.numbers(1, "the axis") if len(n) > 1 else (0,)
    op = (ArgMax if n.op_type == "ArgMax" else ArgMin)(axis=n.axis(axis, n.rank(n[0])), keepdims=False)
    x = n[0]
    if x.type.dtype is DType.BOOL:
        x = n(Cast(to=DType.I32), x)
    return n.cast(n(op, x), n.dtype("output_type", "int64"))


@FAMILY.op("Cumsum", "Cumprod")
def _cumulative(n: TfNode) -> Result:
    (axis,) = n.numbers(1, "the axis")
    op = CumSum if n.op_type == "Cumsum" else CumProd
    return n(op(axis=n.axis(axis, n.rank(n[0])), exclusive=n.flag("exclusive"), reverse=n.flag("reverse")), n[0])


@FAMILY.op("CumulativeLogsumexp")
def _cumulative_log_sum_exp(n: TfNode) -> Result:
    """Relative to the greatest value, which keeps the sums finite."""
    from uair.ops import Add, Sub

    (axis,) = n.numbers(1, "the axis")
    place = n.axis(axis, n.rank(n[0]))
    greatest = n(ReduceMax(axes=(place,), keepdims=True), n[0])
    sums = CumSum(axis=place, exclusive=n.flag("exclusive"), reverse=n.flag("reverse"))
    return n(Add(), n(Log(), n(sums, n(Exp(), n(Sub(), n[0], greatest)))), greatest)


@FAMILY.op("L2Loss")
def _l2_loss(n: TfNode) -> Result:
    from uair.ops import Mul

    axes = tuple(range(n.rank(n[0])))
    return n(Div(), n(ReduceSum(axes=axes, keepdims=False), n(Mul(), n[0], n[0])), n.like(2, n[0]))
