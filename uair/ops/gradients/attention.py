"""Gradient of attention: the scores are computed again, and what no query sees gets nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ops._precision import widened
from uair.ops.attention import Attention
from uair.ops.gradients.base import Parts, part, summed_to


@attrs.frozen(eq=False)
class _Run:
    """One run again; heads that share keys are rows of one matrix: rows = heads / groups * queries.

    Attributes:
        q: [batch, groups, rows, size], scaled.
        k: [batch, groups, keys, size]; v: [batch, groups, keys, value size].
        p: [batch, groups, rows, keys], the probabilities; 0 for queries that no key is left for.
        g: [batch, groups, rows, value size], of the result.
        shown: [batch, groups, rows, keys], of the scores that are a result; None when none are.
        op: the operator.
        scale: of the products.
    """

    q: Array
    k: Array
    v: Array
    p: Array
    g: Array
    shown: Array | None
    op: Attention
    scale: float

    def _with_shown(self, g: Array, stage: str) -> Array:
        """Together with the gradient of the scores, if those of this stage are a result."""
        return g + self.shown if self.shown is not None and self.op.scores == stage else g

    def of_scores(self) -> Array:
        """The gradient of the scores with the bias: p (h - sum of h p), where h is that of p."""
        h = self._with_shown(self.g @ self.v.swapaxes(-1, -2), "probabilities")
        return self._with_shown(self.p * (h - (h * self.p).sum(axis=-1, keepdims=True)), "biased")

    def of_products(self) -> Array:
        """The gradient of the scaled products, in front of softcap."""
        result = self._with_shown(self.of_scores(), "capped")
        if self.op.softcap:
            capped = np.tanh(self.q @ self.k.swapaxes(-1, -2) / self.q.dtype.type(self.op.softcap))
            result = result * (1 - capped * capped)
        return self._with_shown(result, "raw")


def _run(op: Any, g: Any, operands: Sequence[Array | None]) -> _Run:
    every: list[Array | None] = [*operands, *[None] * (8 - len(operands))]
    q, k, v, mask, past_k, past_v, lengths, offset = every
    assert q is not None and k is not None and v is not None
    if mask is not None and mask.dtype != np.bool_:
        mask = widened(mask)
    wide = [widened(a) for a in (q, k, v)]
    past = [None if a is None else widened(a) for a in (past_k, past_v)]
    shown = attrs.evolve(op, scores="probabilities", cache=False, softmax_type=None)
    p = shown.evaluate(wide[0], wide[1], wide[2], mask, past[0], past[1], lengths, offset)[1]
    keys, values = (
        new if old is None else np.concatenate((old, new), axis=2) for old, new in zip(past, wide[1:], strict=True)
    )
    batch, groups = k.shape[:2]

    def rows(x: Array) -> Array:
        return x.reshape(batch, groups, q.shape[1] // max(groups, 1) * q.shape[2], x.shape[3])

    scale = 1 / math.sqrt(max(q.shape[3], 1)) if op.scale is None else op.scale
    scaled = wide[0] * wide[0].dtype.type(scale)
    given: tuple[Array, ...] = g if isinstance(g, tuple) else (g,)
    scores = rows(given[-1]) if op.scores != "none" else None
    return _Run(rows(scaled), keys, values, rows(p), rows(given[0]), scores, op, scale)


def of_q(op: Attention, g: Any, q: Array, *others: Array | None) -> Array:
    """Through the products."""
    run = _run(op, g, (q, *others))
    return np.asarray((run.of_products() @ run.k * run.k.dtype.type(run.scale)).reshape(q.shape))


def _of_keys(op: Attention, g: Any, operands: Sequence[Array | None]) -> Array:
    run = _run(op, g, operands)
    result: Array = run.of_products().swapaxes(-1, -2) @ run.q
    return np.asarray(result + g[1]) if op.cache else result


def _of_values(op: Attention, g: Any, operands: Sequence[Array | None]) -> Array:
    run = _run(op, g, operands)
    result: Array = run.p.swapaxes(-1, -2) @ run.g
    return np.asarray(result + g[2]) if op.cache else result


def of_k(op: Attention, g: Any, q: Array, k: Array, *others: Array | None) -> Array:
    """Through the products; of the joined keys the new ones."""
    joined = _of_keys(op, g, (q, k, *others))
    return joined[:, :, joined.shape[2] - k.shape[2] :]


def of_v(op: Attention, g: Any, q: Array, k: Array, v: Array, *others: Array | None) -> Array:
    """What each probability brought; of the joined values the new ones."""
    joined = _of_values(op, g, (q, k, v, *others))
    return joined[:, :, joined.shape[2] - v.shape[2] :]


def of_past_k(op: Attention, g: Any, q: Array, k: Array, *others: Array | None) -> Array:
    """Of the joined keys the old ones."""
    joined = _of_keys(op, g, (q, k, *others))
    return joined[:, :, : joined.shape[2] - k.shape[2]]


def of_past_v(op: Attention, g: Any, q: Array, k: Array, v: Array, *others: Array | None) -> Array:
    """Of the joined values the old ones."""
    joined = _of_values(op, g, (q, k, v, *others))
    return joined[:, :, : joined.shape[2] - v.shape[2]]


def of_mask(op: Attention, g: Any, q: Array, k: Array, v: Array, mask: Array, *others: Array | None) -> Array:
    """A mask of numbers is added to the scores; keys behind its end get none."""
    run = _run(op, g, (q, k, v, mask, *others))
    scores = run.of_scores().reshape(*q.shape[:3], run.k.shape[2])
    return summed_to(scores[..., : mask.shape[-1]], mask.shape)


_EVERYTHING = "q k v mask past_k past_v lengths offset"
GRADIENTS: Mapping[str, Parts] = {
    "Attention": {
        "q": part(of_q, _EVERYTHING),
        "k": part(of_k, _EVERYTHING),
        "v": part(of_v, _EVERYTHING),
        "mask": part(of_mask, _EVERYTHING),
        "past_k": part(of_past_k, _EVERYTHING),
        "past_v": part(of_past_v, _EVERYTHING),
    }
}
