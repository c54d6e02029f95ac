"""Attention with sinks: a score for each head that no key has, with a share of the Softmax, but no value."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.dims import is_static, static
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Add, Attention, Concat, Expand, MatMul, Slice, Softmax
from uair.passes.fusion.attention import repetition
from uair.passes.fusion.attention_products import Parts, numbers_of, parts, values_of
from uair.passes.simplify.arithmetic import repeated_value
from uair.passes.simplify.slices import has_known_bounds
from uair.rewrite import NoMatch, Rule, no, of


class RecognizeAttentionSinks(Rule):
    """Scores joined with sinks for the Softmax, and cut from its result again, are those of a key and a value of zeros.

    The sinks are what the mask adds to the score of that key, which is 0. So GPT-OSS writes it.
    """

    def pattern(self, scores: Any, sinks: Any, v: Any) -> Any:
        """The products, masks and scale of the scores are followed by the check."""
        softmax = of(Softmax)(of(Concat)(scores, sinks).named("joined")).named("softmax")
        return of(MatMul)(of(Slice)(softmax).named("cut"), v).named("root")

    def check(
        self, scores: Tensor, sinks: Tensor, joined: Node, softmax: Node, cut: Node, root: Node
    ) -> bool | NoMatch:
        """One sink stands behind the scores of attention that has masks of numbers."""
        found = parts(softmax, scores, values_of(root))
        if isinstance(found, NoMatch):
            return found
        assert isinstance(joined.op, Concat) and isinstance(softmax.op, Softmax)
        if scores.type.rank != 4 or joined.op.axis % 4 != 3 or softmax.op.axis % 4 != 3 or sinks.type.dims[3] != 1:
            return no("it is not one sink that is joined with the scores along the keys", joined)
        if not is_static((*scores.type.dims, *found.k.dims, *found.v.dims)):
            return no("an extent of the scores, the keys or the values is open", joined)
        if not _takes_front(cut, scores):
            return no("what is cut are not the probabilities of the keys", cut)
        return bool(found.masks and found.windows is None) or no(
            "there is no mask that a sink could be part of", joined
        )

    def rewrite(self, scores: Tensor, sinks: Tensor, softmax: Node, root: Node) -> Tensor:
        """Attention with one key, value and column of the mask more."""
        found = parts(softmax, scores, values_of(root))
        assert isinstance(found, Parts)
        dtype = scores.type.dtype
        mask, *others = (numbers_of(m, m.known(), dtype, alone=False) for m in found.masks)
        for other in others:
            mask = Add()(mask, other)
        mask = mask if mask.type.dims == scores.type.dims else Expand(shape=scores.type.dims)(mask)
        k, v = (_with_zero(operand.turned()) for operand in (found.k, found.v))
        op = Attention(scale=found.scale, softcap=found.softcap)
        return op(found.queries(), k, v, Concat(axis=3)(mask, sinks))


def _takes_front(cut: Node, scores: Tensor) -> bool:
    """Whether a Slice takes all but the last of the last axis."""
    op = cut.op
    assert isinstance(op, Slice)
    last = has_known_bounds(op) and [a % 4 for a in op.axes] == [3] and op.steps == (1,) and op.starts == (0,)
    return last and cut.output.type.dims == scores.type.dims


def _with_zero(tensor: Tensor) -> Tensor:
    """Keys or values with one of zeros behind them."""
    batch, groups, _, size = static(tensor.type.dims)
    return Concat(axis=2)(tensor, constant(np.zeros((batch, groups, 1, size), tensor.type.dtype.numpy), "zero"))


class JoinBeforeRepetition(Rule):
    """Heads that are repeated and then joined with a constant of one number are joined first."""

    def pattern(self, x: Any, c: Any) -> Any:
        """A Concat of two."""
        return of(Concat)(x, c).named("root")

    def check(self, x: Tensor, c: Tensor, root: Node) -> bool | NoMatch:
        """The places of an axis in front of the Concat's are repeated, for it alone, and the constant is one number."""
        found = repetition(x)
        assert isinstance(root.op, Concat)
        if found is None or not found.private or found.axis >= root.op.axis % x.type.rank or c.data is None:
            return no("it does not join what is repeated with a constant", root)
        return repeated_value(c) is not None or no("the constant has several numbers", c)

    def rewrite(self, x: Tensor, c: Tensor, root: Node) -> Tensor:
        """The Concat, then the repetition."""
        found = repetition(x)
        assert found is not None
        base = found.base()
        dims = list(static(c.type.dims))
        dims[found.axis] = static(base.type.dims)[found.axis]
        value = constant(np.full(dims, repeated_value(c), c.type.dtype.numpy), c.name)
        return found.of(root.op(base, value), found.axis)


RULES = (RecognizeAttentionSinks, JoinBeforeRepetition)
