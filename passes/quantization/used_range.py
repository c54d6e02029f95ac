"""Which part of an activation's range its users can tell apart: integers for the rest would be wasted.

HardSwish is 0 for everything below -3. Where a convolution in front of it reaches down to -23, a range of all its
values spends two thirds of the integers on what becomes 0 anyway, and is too coarse for the values that count.

Relu is left out: rknn-toolkit2 2.5.0 loses where a Concat in front of Relu has no integers below 0 (shufflenet_real: a
cosine of 0.971 instead of 0.981).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from uair.ir.graph import Node, Tensor
from uair.ops import (
    Clip,
    Concat,
    DepthToSpace,
    GlobalMaxPool,
    HardSigmoid,
    HardSwish,
    MaxPool1D,
    MaxPool2D,
    Reshape,
    Slice,
    Split,
    Squeeze,
    Transpose,
    Unsqueeze,
)
from uair.passes.quantization.placement import Plan

UsedRange = tuple[float, float]
"""Least and greatest value that differ from what lies beyond them."""
WHOLE: UsedRange = (-math.inf, math.inf)
NOTHING: UsedRange = (math.inf, -math.inf)
MOVING = (
    *(Concat, DepthToSpace, Reshape, Slice, Split, Squeeze, Transpose, Unsqueeze),
    *(GlobalMaxPool, MaxPool1D, MaxPool2D),
)
"""Operators after which a clipped operand is the clipped result."""


def used_ranges(plan: Plan) -> dict[Tensor, UsedRange]:
    """For every group of tensors that share parameters, by the one that stands for it, the range that is used of it."""
    known: dict[Tensor, UsedRange] = {}
    ranges: dict[Tensor, UsedRange] = {}
    for tensor, root in plan.groups.items():
        ranges[root] = _union((ranges.get(root, NOTHING), _of_tensor(tensor, known)))
    return ranges


def used_alone(tensors: Iterable[Tensor]) -> dict[Tensor, UsedRange]:
    """The range that is used of each tensor by itself."""
    known: dict[Tensor, UsedRange] = {}
    return {tensor: _of_tensor(tensor, known) for tensor in tensors}


def _of_tensor(tensor: Tensor, known: dict[Tensor, UsedRange]) -> UsedRange:
    """What the users of a tensor take of it; `known` is filled with what was found on the way.

    Tensors behind it come first, by a stack of their own: chains of views may be longer than Python's.
    """
    pending = [tensor]
    while pending:
        current = pending[-1]
        movers = (n for n in current.users if not n.is_return and isinstance(n.op, MOVING))
        behind = [t for n in movers for t in n.outputs if t not in known]
        if behind:
            pending += behind
            continue
        pending.pop()
        known[current] = _union(_of_user(user, known) for user in current.users)
    return known[tensor]


def _of_user(user: Node, known: dict[Tensor, UsedRange]) -> UsedRange:
    """What one user takes of its operand."""
    if user.is_return:
        return WHOLE
    op = user.op
    if isinstance(op, MOVING):
        return _union(known[t] for t in user.outputs)
    if isinstance(op, HardSwish):
        return -3.0, math.inf
    if isinstance(op, HardSigmoid) and op.alpha > 0:
        return -op.beta / op.alpha, (1 - op.beta) / op.alpha
    if isinstance(op, Clip):
        low = -math.inf if op.min is None else op.min
        high = math.inf if op.max is None else op.max
        return (low, high) if low < high else WHOLE
    return WHOLE


def _union(ranges: Iterable[UsedRange]) -> UsedRange:
    """The least range that holds all; nothing of none."""
    low, high = NOTHING
    for each in ranges:
        low, high = min(low, each[0]), max(high, each[1])
    return low, high
