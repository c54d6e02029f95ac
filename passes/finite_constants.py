"""Infinite and very large constants of masks, in numbers that float16 holds.

Masks write "never" as minus infinity, or as the least float32: added to attention scores it makes a probability of 0.
On a device that computes in float16 the latter overflows to the former, and infinity times 0 is NaN; quantization has
no scale for either. -10000 says the same to every operator that saturates.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from uair import ops
from uair.ir.data import EAGER_BYTES, Data, SplatData, derive
from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor, constant
from uair.passes.simplify.arithmetic import repeated_value
from uair.pipeline import RulePass
from uair.rewrite import NoMatch, Rule, RuleSet, no, of

MOVING = (
    ops.Reshape, ops.Transpose, ops.Squeeze, ops.Unsqueeze, ops.Slice, ops.Split, ops.Concat, ops.Expand, ops.Tile,
    ops.Flip, ops.Pad, ops.Identity,
)  # fmt: skip
"""Operators that carry values on as they are."""
CHOOSING = (ops.Add, ops.Sub, ops.Where, ops.Maximum, ops.Minimum)
"""Operators after which a value is as large as before, give or take the other operand."""
SATURATING = (
    ops.Softmax, ops.Sigmoid, ops.HardSigmoid, ops.Tanh, ops.Exp, ops.Less, ops.LessEqual, ops.Greater,
    ops.GreaterEqual, ops.ArgMax, ops.ArgMin,
)  # fmt: skip
"""Operators to which -10000 says what minus infinity does, and 10000 what infinity does."""
ABOVE = (ops.MaxPool1D, ops.MaxPool2D, ops.MaxPool3D, ops.GlobalMaxPool, ops.ReduceMax, ops.Relu)
"""Operators that pass over what is far below all else."""
BELOW = (ops.ReduceMin,)
"""Operators that pass over what is far above all else."""
FACTORS = (1 / 16, 4.0)
"""Multiplied by a number between these, 10000 is still beyond all else, and a float16."""
FARTHEST = 256
"""Uses that are followed; masks are used soon, or not as masks."""


@attrs.frozen
class FiniteConstants(RulePass):
    """Replace infinite and huge elements of constants by finite ones where only "beyond all else" is meant.

    The result differs from the original where other values are themselves as large as `value`, and where everything
    that is chosen from is masked: a Softmax of nothing but minus infinities is NaN, of nothing but -10000 uniform.

    Attributes:
        limit: greatest magnitude left alone; the greatest float16 unless given.
        value: magnitude that stands for everything above `limit`.
    """

    limit: float = 65504.0
    value: float = 10000.0

    def rules(self) -> RuleSet:
        """The two rules, with this pass's numbers."""
        return RuleSet([FiniteMask(self.limit, self.value), FinitePad(self.limit, self.value)])


class FiniteMask(Rule):
    """A constant with infinite or huge elements that mean "beyond all else" gets finite ones."""

    def __init__(self, limit: float, value: float) -> None:
        super().__init__()
        self.limit = limit
        self.value = value

    def pattern(self) -> Any:
        """What takes such constants."""
        return of(ops.Mul, *CHOOSING, *MOVING)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """A float constant has such elements, and whatever uses the result saturates."""
        huge = [(i, t) for i, t in enumerate(node.inputs) if t is not None and self._is_huge(t)]
        if not huge:
            return no("no operand is a constant with infinite or huge elements", node)
        factors = [_whole(t) for t in node.inputs if t is not None and not t.is_constant]
        if isinstance(node.op, ops.Mul) and not all(found.is_whole for found in factors):
            return no("a factor may be something else than a whole number", node)
        for i, tensor in huge:
            above, below = self._signs(tensor)
            if isinstance(node.op, ops.Mul) and any(found.may_be_negative for found in factors):
                above = below = True
            if isinstance(node.op, ops.Sub) and i == 1:
                above, below = below, above
            unbounded = _unbounded_use(node, above=above, below=below)
            if unbounded is not None:
                return no(f"{unbounded!r} lets the size of the numbers through", unbounded)
        return True

    def rewrite(self, node: Node) -> Any:
        """The same operator on finite constants."""
        return node.op(*(self._finite(t) if t is not None and self._is_huge(t) else t for t in node.inputs))

    def _is_huge(self, tensor: Tensor) -> bool:
        """Whether a tensor is a float constant with elements beyond the limit; NaN does not count."""
        data = tensor.data
        if data is None or not data.dtype.is_float or (not isinstance(data, SplatData) and data.nbytes > EAGER_BYTES):
            return False
        return any(self._signs(tensor))

    def _signs(self, tensor: Tensor) -> tuple[bool, bool]:
        """Whether a constant has elements far above, and far below zero."""
        assert tensor.data is not None
        values = _values(tensor.data).astype(np.float64)
        return bool(np.any(values > self.limit)), bool(np.any(values < -self.limit))

    def _finite(self, tensor: Tensor) -> Tensor:
        data = tensor.data
        assert data is not None
        if isinstance(data, SplatData):
            return constant(SplatData(self._clip(data.value), data.dtype, data.shape), tensor.name)
        return constant(derive(self._clip, (data,), data.dtype, data.shape), tensor.name)

    def _clip(self, values: Array) -> Array:
        large = np.abs(values.astype(np.float64)) > self.limit
        return np.where(large, np.copysign(values.dtype.type(self.value), values), values)


class FinitePad(Rule):
    """Padding with infinity in front of what passes over it pads with a finite number."""

    def __init__(self, limit: float, value: float) -> None:
        super().__init__()
        self.limit = limit
        self.value = value

    def pattern(self) -> Any:
        """Any Pad."""
        return of(ops.Pad)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """It pads a float tensor with a huge number, and whatever uses the result saturates."""
        op = node.op
        assert isinstance(op, ops.Pad)
        value = op.value
        if not node.output.type.dtype.is_float or op.mode != "constant" or value is None or not abs(value) > self.limit:
            return no("it does not pad with an infinite or huge number", node)
        unbounded = _unbounded_use(node, above=value > 0, below=value < 0)
        return unbounded is None or no(f"{unbounded!r} lets the size of the numbers through", unbounded)

    def rewrite(self, node: Node) -> Any:
        """The same padding with a finite number."""
        op = node.op
        assert isinstance(op, ops.Pad) and op.value is not None
        return ops.Pad(pads=op.pads, value=math.copysign(self.value, op.value))(*node.inputs)


def _values(data: Data) -> Array:
    return data.value if isinstance(data, SplatData) else data.array()


def _unbounded_use(node: Node, *, above: bool, below: bool) -> Node | None:
    """The first node behind `node` for which it matters how far above or below zero a huge element is; None if none."""
    work = [(node, above, below)]
    seen: set[tuple[Node, bool, bool]] = set()
    while work:
        entry = work.pop()
        if entry in seen:
            continue
        seen.add(entry)
        producer, up, down = entry
        for tensor in producer.outputs:
            for user, i in tensor.uses:
                if user.op_type in _ends(up, down):
                    continue
                if len(seen) > FARTHEST or not _carries(user, tensor):
                    return user
                flipped = isinstance(user.op, ops.Neg) or (isinstance(user.op, ops.Sub) and i == 1)
                work.append((user, down, up) if flipped else (user, up, down))
    return None


def _ends(above: bool, below: bool) -> set[str]:
    """Operators behind which nothing of such elements is left but their sign."""
    ending = (*SATURATING, *(() if above else ABOVE), *(() if below else BELOW))
    return {op.__name__ for op in ending}


def _carries(user: Node, tensor: Tensor) -> bool:
    """Whether huge elements of an operand are huge elements of the result, and nothing else."""
    if isinstance(user.op, ops.Mul):
        other = next((t for t in user.inputs if t is not tensor), None)
        factor = None if other is None else repeated_value(other)
        return factor is not None and FACTORS[0] <= factor <= FACTORS[1]
    return isinstance(user.op, (ops.Neg, *CHOOSING, *MOVING))


@attrs.frozen
class _Factor:
    """What is known of the elements of a tensor.

    Attributes:
        is_whole: all are whole numbers: 0, or at least 1 in magnitude, so that a product with what is beyond all else
            is 0 or beyond all else.
        may_be_negative: some may be less than 0.
    """

    is_whole: bool
    may_be_negative: bool = False


def _whole(tensor: Tensor) -> _Factor:
    """What a tensor's producers tell: it was a truth value or an integer, and was perhaps inverted or moved since.

    A mask of integers may hold anything, and holds 0 and 1: "never" times its inverse is NaN in float16 where 1 stands.
    """
    for _ in range(16):
        node = tensor.producer
        if node is None or not node.inputs or node.inputs[0] is None:
            return _Factor(False)
        if isinstance(node.op, ops.Cast):
            source = node.inputs[0].type.dtype
            return _Factor(source is DType.BOOL or source.is_integer, may_be_negative=source is not DType.BOOL)
        if isinstance(node.op, ops.Sub) and node.inputs[1] is not None and repeated_value(node.inputs[0]) == 1:
            tensor = node.inputs[1]
        elif isinstance(node.op, MOVING) and len(node.inputs) == 1:
            tensor = node.inputs[0]
        else:
            return _Factor(False)
    return _Factor(False)
