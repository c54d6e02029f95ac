"""Indexing, sorting, scattering."""

from __future__ import annotations

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dtype import DType
from uair.ops.indexing import (
    Gather,
    GatherElements,
    GatherND,
    NonZero,
    OneHot,
    ReverseSequence,
    ScatterElements,
    ScatterND,
    TopK,
    Unique,
)

EMITTERS = Emitters()
EMITTERS.direct({NonZero: "NonZero"})


@EMITTERS.of(Gather, GatherElements)
def gather(e: Emission, op: Gather | GatherElements) -> None:
    """Gather and GatherElements."""
    e.result(op.op_type, e.x(0), e.x(1), axis=e.axis(op.axis))


@EMITTERS.of(GatherND)
def gather_nd(e: Emission, op: GatherND) -> None:
    """`batch_dims` exists from opset 12 on; indices are i64."""
    if op.batch_dims and e.opset < 12:
        raise NotExpressible("ONNX GatherND has batch_dims from opset 12 on")
    indices = e.cast(e.x(1), DType.I64)
    e.result("GatherND", e.x(0), indices, batch_dims=op.batch_dims if e.opset >= 12 else None)


def reduction(e: Emission, name: str) -> str | None:
    """The `reduction` attribute: sums and products exist from opset 16 on, extremes from opset 18 on."""
    since = {"none": 16, "add": 16, "mul": 16, "max": 18, "min": 18}[name]
    if e.opset >= since:
        return name
    if name != "none":
        raise NotExpressible(f"ONNX scatters with reduction {name!r} from opset {since} on")
    return None


@EMITTERS.of(ScatterElements)
def scatter_elements(e: Emission, op: ScatterElements) -> None:
    """ScatterElements."""
    e.result("ScatterElements", *e.operands, axis=e.axis(op.axis), reduction=reduction(e, op.reduction))


@EMITTERS.of(ScatterND)
def scatter_nd(e: Emission, op: ScatterND) -> None:
    """ScatterND; indices are i64."""
    indices = e.cast(e.x(1), DType.I64)
    e.result("ScatterND", e.x(0), indices, e.x(2), reduction=reduction(e, op.reduction))


@EMITTERS.of(TopK)
def top_k(e: Emission, op: TopK) -> None:
    """The count is a vector of one element."""
    if op.k is not None:
        count = e.ints([op.k])
    else:
        count = e.cast(e.x(1), DType.I64)
        if e.type(1).shape != (1,):
            count = e.reshape(count, (1,))
    e.result("TopK", e.x(), count, axis=e.axis(op.axis), largest=int(op.largest), sorted=int(op.sorted))


@EMITTERS.of(OneHot)
def one_hot(e: Emission, op: OneHot) -> None:
    """OneHot; the axis is one of the result."""
    depth = e.literal(op.depth, DType.I64) if op.depth is not None else e.x(1)
    e.result("OneHot", e.x(0), depth, e.x(2), axis=op.axis)


@EMITTERS.of(Unique)
def unique(e: Emission, op: Unique) -> None:
    """Unique; without an axis of the flattened operand."""
    e.result("Unique", e.x(), axis=None if op.axis is None else e.axis(op.axis), sorted=int(op.sorted))


@EMITTERS.of(ReverseSequence)
def reverse_sequence(e: Emission, op: ReverseSequence) -> None:
    """ReverseSequence, which takes batch and time on the first two axes only."""
    batch, time = e.axis(op.batch_axis), e.axis(op.time_axis)
    if {batch, time} != {0, 1}:
        raise NotExpressible("ONNX ReverseSequence has batch and time on the first two axes")
    e.result("ReverseSequence", e.x(0), e.cast(e.x(1), DType.I64), batch_axis=batch, time_axis=time)
