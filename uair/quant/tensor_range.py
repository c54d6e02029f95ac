"""The ranges that UAIR chose, by tensor: for vendors whose tools take a float model and a file beside it."""

from __future__ import annotations

import attrs

from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ops.quantization import Quantize


@attrs.frozen
class TensorRange:
    """How an activation is quantized, with one scale for the whole tensor.

    A real number r is the integer saturate(round(r / scale) + zero_point). `min` and `max` are what the integers reach;
    of a signed type with zero point 0 the least integer is left out, so that min = -max and max / 127 is the scale
    again: that is how vendors' tools compute it.

    Attributes:
        scale: real numbers per step.
        zero_point: the integer of 0.
        dtype: the integer type.
        min: least real number.
        max: greatest real number.
    """

    scale: float
    zero_point: int
    dtype: DType
    min: float
    max: float

    @staticmethod
    def of(scale: float, zero_point: int, dtype: DType) -> TensorRange:
        """The range of these parameters."""
        least, greatest = dtype.range
        if dtype.is_signed and zero_point == 0:
            least = -greatest
        return TensorRange(scale, zero_point, dtype, (least - zero_point) * scale, (greatest - zero_point) * scale)


def ranges_of(graph: Graph) -> dict[Tensor, TensorRange]:
    """The range of every real tensor that a Quantize with one constant scale reads, in order of the graph."""
    found: dict[Tensor, TensorRange] = {}
    for node in graph:
        tensor = node.inputs[0] if isinstance(node.op, Quantize) else None
        range_ = _range(node) if tensor is not None else None
        if tensor is not None and range_ is not None:
            found.setdefault(tensor, range_)
    return found


def _range(quantize: Node) -> TensorRange | None:
    """The range of a Quantize; None when it has several scales, or such that only the run tells."""
    scale, zero = quantize.inputs[1], quantize.inputs[2] if len(quantize.inputs) > 2 else None
    if scale is None or not scale.is_constant or scale.type.shape != ():
        return None
    if zero is not None and not zero.is_constant:
        return None
    point = 0 if zero is None else int(zero.numpy())
    return TensorRange.of(float(scale.numpy()), point, quantize.output.type.dtype)
