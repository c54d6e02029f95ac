"""Reductions and scans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dims import Dim
from uair.ir.dtype import DType
from uair.ir.types import TensorType
from uair.ops.reduction import (
    ArgMax,
    ArgMin,
    CumProd,
    CumSum,
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
    Reduction,
)

EMITTERS = Emitters()
LOWEST = -(2**63) + 1  # the end of a slice that runs backwards through the first element


def since_operand(op_type: str) -> int:
    """The opset from which on the axes are an operand."""
    return 13 if op_type == "ReduceSum" else 18


def reduce(e: Emission, op: Reduction, op_type: str, x: str, out: TensorType | None) -> str:
    """A reduction of `x` over op's axes: the node's result if `out` is None, else a value of that type."""
    axes, keepdims = op.axes, op.keepdims
    if axes is None and e.given(1):
        return reduce_open(e, op, op_type, x, out)
    if axes is not None and not axes:  # ONNX takes no axes for all axes
        old = e.graph.types[x]
        x, axes, keepdims = e.unsqueeze(x, (0,)), (0,), False
        out = None if out is None else old.with_dtype(out.dtype)
    inputs, attributes = e.axes(axes, since=since_operand(op_type))
    return given(e, op_type, x, *inputs, out=out, keepdims=int(keepdims), **attributes)


def given(e: Emission, op_type: str, *inputs: str | None, out: TensorType | None, **attributes: Any) -> str:
    """The node's result if `out` is None, else a value of that type."""
    if out is None:
        e.result(op_type, *inputs, **attributes)
        return ""
    return e.op(op_type, *inputs, type=out, **attributes)


def reduce_open(e: Emission, op: Reduction, op_type: str, x: str, out: TensorType | None) -> str:
    """A reduction over axes that an operand names.

    No axes would mean all of them to ONNX, and `noop_with_empty_axes` passes over the square or the logarithm: where
    there may be none, another axis, of extent 1, is reduced too.

    Raises:
        NotExpressible: at opsets where the axes are an attribute.
    """
    since = since_operand(op_type)
    if e.opset < since:
        raise NotExpressible(
            f"ONNX {op_type} has its axes as an attribute before opset {since}, here they are computed",
            hint="choose a later opset, or make the axes a constant",
        )
    axes, keepdims, length = e.cast(e.x(1), DType.I64), int(op.keepdims), e.type(1).shape
    if length and isinstance(length[0], int) and length[0] > 0:
        return given(e, op_type, x, axes, out=out, keepdims=keepdims)
    zero, type_ = e.literal(0, DType.I64), e.graph.types[axes]
    nonnegative = e.op("GreaterOrEqual", axes, zero, type=type_.with_dtype(DType.BOOL))
    moved = e.op("Add", axes, e.op("Cast", nonnegative, type=type_, to=DType.I64))
    with_first = e.op("Concat", e.ints([0]), moved, type=TensorType(DType.I64, None), axis=0)
    inner = e.unsqueeze(x, (0,)) if e.type().shape is not None else e.op("Unsqueeze", x, e.ints([0]))
    if not keepdims:
        return given(e, op_type, inner, with_first, out=out, keepdims=0)
    kept = e.op(op_type, inner, with_first, type=TensorType((out or e.y).dtype, None), keepdims=1)
    return given(e, "Squeeze", kept, e.ints([0]), out=out)


@EMITTERS.of(
    ReduceL1, ReduceL2, ReduceLogSumExp, ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum, ReduceSumSquare
)
def reduction(e: Emission, op: Reduction) -> None:
    """The reductions that ONNX has."""
    reduce(e, op, op.op_type, e.x(), None)


@EMITTERS.of(ReduceAny, ReduceAll)
def reduce_bool(e: Emission, op: ReduceAny | ReduceAll) -> None:
    """Greatest or least as integers; over nothing the sum (false) or the product (true)."""
    shape: Sequence[Dim] = e.type().shape or ()
    empty = any(d == 0 for d in (shape if op.axes is None or not shape else [shape[a] for a in op.axes]))
    if isinstance(op, ReduceAny):
        op_type = "ReduceSum" if empty else "ReduceMax"
    else:
        op_type = "ReduceProd" if empty else "ReduceMin"
    reduced = reduce(e, op, op_type, e.cast(e.x(), DType.I32), e.y.with_dtype(DType.I32))
    e.result("Cast", reduced, to=DType.BOOL)


@EMITTERS.of(ArgMax, ArgMin)
def arg_extreme(e: Emission, op: ArgMax | ArgMin) -> None:
    """`select_last_index` exists from opset 12 on; before, the last one is the first one of the reversed axis."""
    attributes: dict[str, Any] = {"axis": e.axis(op.axis), "keepdims": int(op.keepdims)}
    if e.opset >= 12:
        e.result(op.op_type, e.x(), **attributes, select_last_index=int(op.select_last))
    elif not op.select_last:
        e.result(op.op_type, e.x(), **attributes)
    else:
        axis = e.axis(op.axis)
        reverse = e.op("Slice", e.x(), e.ints([-1]), e.ints([LOWEST]), e.ints([axis]), e.ints([-1]))
        first = e.op(op.op_type, reverse, type=e.y, **attributes)
        last = e.op("Sub", e.vector((e.shape()[axis],)), e.ints([1]))
        shaped = e.op("Reshape", last, e.ints([]), type=TensorType(DType.I64, ()))
        e.result("Sub", shaped, first)


@EMITTERS.of(CumSum)
def cum_sum(e: Emission, op: CumSum) -> None:
    """The axis is an operand."""
    axis = e.literal(e.axis(op.axis), DType.I64) if op.axis is not None else e.number(1)
    e.result("CumSum", e.x(), axis, exclusive=int(op.exclusive), reverse=int(op.reverse))


@EMITTERS.of(CumProd, since=26)
def cum_prod(e: Emission, op: CumProd) -> None:
    """The axis is an operand, a scalar."""
    if op.axis is not None:
        axis = e.literal(e.axis(op.axis), DType.I64)
    else:
        axis = e.cast(e.x(1), DType.I64)
        axis = axis if e.type(1).shape == () else e.reshape(axis, ())
    e.result("CumProd", e.x(), axis, exclusive=int(op.exclusive), reverse=int(op.reverse))
