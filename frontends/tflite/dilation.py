"""Convolutions between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND, TensorFlow 1's way to dilate them, as one operator.

The images are cut into `block` interleaved ones, convolved without padding, and put together again: a convolution whose
taps lie `block` elements apart. What is padded in front and cropped behind becomes its padding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import attrs

from uair.frontends.tflite.model import Dilation, OperatorInfo, SubGraph

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")

Numbers = Callable[[int], "list[int] | None"]
"""The values of a tensor that is a list of integers; None when they are computed."""


def dilated(subgraph: SubGraph, numbers: Numbers) -> tuple[OperatorInfo, ...]:
    """The operators, each such group replaced by one convolution."""
    makers = {tensor: i for i, op in enumerate(subgraph.operators) for tensor in op.outputs}
    uses = Counter([*subgraph.outputs, *(tensor for op in subgraph.operators for tensor in op.inputs)])
    operators: dict[int, OperatorInfo] = dict(enumerate(subgraph.operators))
    for last, op in enumerate(subgraph.operators):
        if op.kind != "BATCH_TO_SPACE_ND" or len(op.inputs) != 3:
            continue
        middle = makers.get(op.inputs[0], -1)
        convolution = operators.get(middle)
        if convolution is None or convolution.kind not in CONVOLUTIONS or not convolution.inputs:
            continue
        first = makers.get(convolution.inputs[0], -1)
        spread = operators.get(first)
        if spread is None or spread.kind != "SPACE_TO_BATCH_ND" or len(spread.inputs) != 3:
            continue
        found = _dilation(spread, convolution, op, numbers)
        if found is None or uses[op.inputs[0]] != 1 or uses[convolution.inputs[0]] != 1:
            continue
        operators[last] = attrs.evolve(
            convolution, inputs=(spread.inputs[0], *convolution.inputs[1:]), outputs=op.outputs, dilation=found
        )
        del operators[first], operators[middle]
    return tuple(operators[i] for i in sorted(operators))


def _dilation(
    spread: OperatorInfo, convolution: OperatorInfo, gathered: OperatorInfo, numbers: Numbers
) -> Dilation | None:
    """Block and padding when the three are one convolution."""
    options = convolution.options
    plain = options.integer("padding") == 1 and all(
        options.integer(name, 1) == 1 for name in ("stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor")
    )
    block, crops = numbers(gathered.inputs[1]), numbers(gathered.inputs[2])
    pads = numbers(spread.inputs[2])
    if not plain or block is None or crops is None or pads is None or numbers(spread.inputs[1]) != block:
        return None
    if not len(crops) == len(pads) == 2 * len(block) == 4 or min(block) < 1:
        return None
    rest = [pad - crop for pad, crop in zip(pads, crops, strict=True)]
    return Dilation(tuple(block), (*rest[0::2], *rest[1::2])) if min(rest) >= 0 else None
