"""Heads that models repeat for attention, and what exporters put around a Softmax for rows without a key."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from uair.ir.dims import Dim, is_static
from uair.ir.graph import Node, Tensor
from uair.ops import (
    Add,
    Attention,
    Div,
    Einsum,
    Expand,
    IsNaN,
    MatMul,
    Mul,
    Reshape,
    RotaryEmbedding,
    Slice,
    Softmax,
    Squeeze,
    Sub,
    Tanh,
    Transpose,
    Unsqueeze,
    Where,
)
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, no, of

_DEEPEST = 24
_MOST_READ = 1 << 22
"""Elements of constants that are looked at, at most."""


# ------------------------------------------------------------------------------------------------------ repeated heads
@attrs.frozen(eq=False)
class Repetition:
    """A tensor of which every place of an axis is repeated: Expand of an axis of extent 1 behind it, and Reshape.

    Attributes:
        source: with the axis of extent 1.
        axis: the one in front of that; both are one in the result.
        times: how often.
        private: whether nothing else takes what is between the source and the result.
    """

    source: Tensor
    axis: int
    times: Dim
    private: bool

    def base(self) -> Tensor:
        """The tensor before the repetition, without the axis of extent 1."""
        return Squeeze(axes=(self.axis + 1,))(self.source)

    def transpose(self) -> Node | None:
        """The Transpose that gives the tensor before the repetition, maybe through changes of the shape."""
        node = self.source.producer
        while node is not None and isinstance(node.op, (Unsqueeze, Squeeze, Reshape)) and node.inputs[0] is not None:
            node = node.inputs[0].producer
        return node if node is not None and isinstance(node.op, Transpose) else None

    def of(self, base: Tensor, axis: int) -> Tensor:
        """Another tensor with every place of an axis repeated as often."""
        wide = Unsqueeze(axes=(axis + 1,))(base)
        dims = list(wide.type.dims)
        dims[axis + 1] = self.times
        repeated = Expand(shape=tuple(dims))(wide)
        merged = dims[axis] * self.times
        return Reshape(shape=(*dims[:axis], merged, *dims[axis + 2 :]))(repeated)


def repetition(tensor: Tensor | None) -> Repetition | None:
    """How a tensor repeats the places of an axis; None when it does not, or extents of the axis are open."""
    reshape = None if tensor is None else tensor.producer
    if tensor is None or reshape is None or not isinstance(reshape.op, Reshape) or reshape.inputs[0] is None:
        return None
    expand = reshape.inputs[0].producer
    x = expand.inputs[0] if expand is not None and isinstance(expand.op, Expand) else None
    if expand is None or x is None or x.type.shape is None or tensor.type.shape is None:
        return None
    given, wide = x.type.dims, expand.output.type.dims
    changed = [i for i, (a, b) in enumerate(zip(given, wide, strict=False)) if a != b]
    if len(given) != len(wide) or len(changed) != 1 or changed[0] == 0 or given[changed[0]] != 1:
        return None
    axis = changed[0] - 1
    groups, times = given[axis], wide[axis + 1]
    if not is_static((groups, times)) or tensor.type.dims != (*given[:axis], groups * times, *given[axis + 2 :]):
        return None
    return Repetition(x, axis, times, expand.output.use_count == 1 and tensor.use_count == 1)


class GroupRepeatedHeads(Rule):
    """Attention over keys and values whose heads are repeated shares them: each group of heads has its own."""

    def pattern(self) -> Any:
        """Any attention."""
        return of(Attention)(...).named("attention")

    def check(self, attention: Node) -> bool | NoMatch:
        """Keys and values are repeated equally often, and no cache is joined to them."""
        if len(attention.inputs) > 4 and attention.inputs[4] is not None:
            return no("keys and values of the past have the repeated heads", attention)
        keys, values = (repetition(t) for t in attention.inputs[1:3])
        if keys is None or values is None or not keys.axis == values.axis == 1:
            return no("the heads of the keys or of the values are not repeated by Expand and Reshape", attention)
        same = keys.source.type.dims[:3] == values.source.type.dims[:3] and keys.times == values.times
        return same or no("keys and values are not repeated equally often", attention)

    def rewrite(self, attention: Node) -> tuple[Tensor, ...]:
        """The same operator on what is repeated."""
        q, k, v, *others = attention.inputs
        keys, values = (repetition(t) for t in (k, v))
        assert keys is not None and values is not None
        return tuple(attention.op.node(q, keys.base(), values.base(), *others).outputs)


class TransposeBeforeRepetition(Rule):
    """Places are repeated behind a Transpose instead of in front of it: less is moved, and Transposes meet.

    One that only turns the matrices of a product is part of it for who computes that, where they stand side by side.
    """

    def pattern(self, x: Any) -> Any:
        """A Transpose of a Reshape."""
        return of(Transpose)(of(Reshape)(x).named("reshape")).named("root")

    def check(self, reshape: Node, root: Node) -> bool | NoMatch:
        """The Reshape repeats the places of one axis, for the Transpose alone, which is no part of a product."""
        found = repetition(reshape.output)
        if found is None or not found.private:
            return no("the Reshape does not repeat places of an axis for this one alone", reshape)
        meets = found.transpose() is not None or not _turns_matrices(root)
        return meets or no("the Transpose turns the matrices of a product, and would meet no other one", root)

    def rewrite(self, reshape: Node, root: Node) -> Tensor:
        """The Transpose, then the repetition."""
        found = repetition(reshape.output)
        assert found is not None and isinstance(root.op, Transpose)
        return found.of(root.op(found.base()), root.op.perm.index(found.axis))


def _turns_matrices(turn: Node) -> bool:
    """Whether a Transpose swaps the last two axes, for products alone, which may be scaled by a number."""
    assert isinstance(turn.op, Transpose)
    swapped = (*range(len(turn.op.perm) - 2), len(turn.op.perm) - 1, len(turn.op.perm) - 2)
    users = list(turn.output.users)
    users = [after for user in users for after in (user.output.users if isinstance(user.op, (Div, Mul)) else (user,))]
    return turn.op.perm == swapped and all(isinstance(user.op, MatMul) for user in users)


class RotaryBeforeRepetition(Rule):
    """Heads are repeated behind their rotary positions instead of in front of them: each is turned once."""

    def pattern(self, x: Any) -> Any:
        """The operator, whose other operands are the tables."""
        return of(RotaryEmbedding)(...).named("rotary")

    def check(self, rotary: Node) -> bool | NoMatch:
        """The heads of what is turned are repeated, for this operator alone."""
        found = repetition(rotary.inputs[0])
        private = found is not None and found.axis == 1 and found.private
        return private or no("it does not turn heads that are repeated for it alone", rotary)

    def rewrite(self, rotary: Node) -> Tensor:
        """The operator, then the repetition."""
        found = repetition(rotary.inputs[0])
        assert found is not None
        return found.of(rotary.op(found.base(), *rotary.inputs[1:]), 1)


# -------------------------------------------------------------------------------------------------- rows without a key
def guarded_softmax(guard: Node) -> Node | None:
    """The Softmax in whose result a Where puts zeros in the place of what is not a number.

    So PyTorch's exporter spells out what scaled_dot_product_attention gives where a mask leaves no key.
    """
    condition, zero, p = guard.inputs
    assert condition is not None and zero is not None and p is not None
    test, softmax = condition.producer, p.producer
    if test is None or softmax is None or not isinstance(test.op, IsNaN) or not isinstance(softmax.op, Softmax):
        return None
    return softmax if test.inputs[0] is p and zero.is_constant and repeated_value(zero) == 0 else None


class DropSoftmaxGuard(Rule):
    """Zeros in the place of probabilities that are not numbers, where no mask can take all scores of a row away.

    Products are taken to be finite, as everywhere.
    """

    def pattern(self, condition: Any, zero: Any, p: Any) -> Any:
        """A choice."""
        return of(Where)(condition, zero, p).named("root")

    def check(self, root: Node) -> bool | NoMatch:
        """It is such a choice, and nothing puts infinities into whole rows of the scores."""
        softmax = guarded_softmax(root)
        if softmax is None:
            return no("it does not put zeros in the place of probabilities that are not numbers", root)
        assert isinstance(softmax.op, Softmax) and softmax.inputs[0] is not None
        scores = softmax.inputs[0]
        if scores.type.shape is None or softmax.op.axis % scores.type.rank != scores.type.rank - 1:
            return no("the Softmax is not over the last axis", softmax)
        return _leaves_numbers(scores, _DEEPEST) or no("a mask may leave nothing of a row of the scores", softmax)

    def rewrite(self, p: Tensor) -> Tensor:
        """The probabilities."""
        return p


_MOVES = (Expand, Reshape, Slice, Squeeze, Tanh, Transpose, Unsqueeze)


def _leaves_numbers(tensor: Tensor, depth: int, *, rows: bool = True) -> bool:
    """Whether every row of the last axis has a finite number, and none is plus infinity or no number.

    With `rows` False whether all are finite.
    """
    if tensor.is_constant:
        if not tensor.type.is_static or tensor.type.size > _MOST_READ:
            return False
        finite = np.isfinite(tensor.numpy())
        if not rows or not tensor.type.rank:
            return bool(finite.all())
        values = tensor.numpy()
        return bool(finite.any(axis=-1).all() and (finite | (values == -np.inf)).all())
    node = tensor.producer
    if node is None or depth == 0:
        return False
    if isinstance(node.op, (MatMul, Einsum)):
        return True
    if isinstance(node.op, _MOVES):
        return node.inputs[0] is not None and _leaves_numbers(node.inputs[0], depth - 1, rows=False)
    if not isinstance(node.op, (Add, Sub, Mul, Div, Where)):
        return False
    operands = [t for t in node.inputs if t is not None][isinstance(node.op, Where) :]
    if isinstance(node.op, Div) and not _is_number(operands[1]):
        return False
    masks = [rows and isinstance(node.op, Add) and t.is_constant for t in operands]
    return all(_leaves_numbers(t, depth - 1, rows=by_row) for t, by_row in zip(operands, masks, strict=True))


def _is_number(tensor: Tensor) -> bool:
    """Whether a divisor is one number other than zero."""
    return tensor.is_constant and bool(repeated_value(tensor))


RULES = (TransposeBeforeRepetition, RotaryBeforeRepetition, GroupRepeatedHeads, DropSoftmaxGuard)
