"""Einsum in simpler operators: diagonals by a mask, sums, and one matrix product per further operand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import numpy as np

from uair.ir.dims import Dim, Shape, product
from uair.ir.graph import Tensor, constant
from uair.ops.elementwise import Mul
from uair.ops.reduction import ReduceSum
from uair.ops.shape import Reshape, Transpose

HIDDEN = 0x100
"""Code points from here on are the labels of the axes behind "..."."""


@attrs.frozen(eq=False)
class Labelled:
    """A tensor whose axes have labels, one letter each."""

    tensor: Tensor
    labels: str

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return self.tensor.type.dims

    def extent(self, label: str) -> Dim:
        """Extent of the axis with that label."""
        return self.shape[self.labels.index(label)]


def decompose(terms: Sequence[str], result: str, inputs: Sequence[Tensor]) -> Tensor | None:
    """The value of an equation; None when a diagonal has a symbolic extent.

    Args:
        terms: labels of each operand, "." for an ellipsis.
        result: labels of the result.
        inputs: the operands.
    """
    hidden = [t.type.rank - len(term.replace(".", "")) for term, t in zip(terms, inputs, strict=True)]
    result = result.replace(".", _ellipsis(max(hidden)))
    operands: list[Labelled] = []
    for term, tensor, count in zip(terms, inputs, hidden, strict=True):
        operand = _diagonal(Labelled(tensor, term.replace(".", _ellipsis(count))))
        if operand is None:
            return None
        operands.append(operand)
    total = _summed(operands[0], _kept(operands[1:], result))
    for i, operand in enumerate(operands[1:], start=1):
        total = _contracted(total, operand, _kept(operands[i + 1 :], result))
    return _ordered(total, result).tensor


def _ellipsis(count: int) -> str:
    """Labels of `count` hidden axes; the last ones are the same for every count, as broadcasting wants."""
    return "".join(chr(HIDDEN + i) for i in reversed(range(count)))


def _kept(later: Iterable[Labelled], result: str) -> set[str]:
    """Labels that are needed later."""
    return set(result).union(*(set(x.labels) for x in later))


def _diagonal(x: Labelled) -> Labelled | None:
    """One axis instead of several with the same label: zero outside of the diagonal, then a sum."""
    for label in dict.fromkeys(x.labels):
        while x.labels.count(label) > 1:
            first = x.labels.index(label)
            second = x.labels.index(label, first + 1)
            extent = x.shape[first]
            if not isinstance(extent, int) or x.shape[second] != extent:
                return None
            shape = [1] * len(x.labels)
            shape[first] = shape[second] = extent
            mask = constant(np.eye(extent).reshape(shape).astype(x.tensor.type.dtype.numpy))
            reduced = ReduceSum(axes=(second,), keepdims=False)(Mul()(x.tensor, mask))
            x = Labelled(reduced, x.labels[:second] + x.labels[second + 1 :])
    return x


def _summed(x: Labelled, kept: set[str]) -> Labelled:
    """Summed over every label that is not kept."""
    axes = tuple(i for i, label in enumerate(x.labels) if label not in kept)
    if not axes:
        return x
    return Labelled(ReduceSum(axes=axes, keepdims=False)(x.tensor), "".join(c for c in x.labels if c in kept))


def _ordered(x: Labelled, labels: str) -> Labelled:
    """The axes in another order."""
    if x.labels == labels:
        return x
    return Labelled(Transpose(perm=tuple(x.labels.index(c) for c in labels))(x.tensor), labels)


def _contracted(a: Labelled, b: Labelled, kept: set[str]) -> Labelled:
    """The product of two tensors, summed over what both have and nobody needs later."""
    from uair.ops.linear import MatMul

    both = {c for c in a.labels if c in b.labels and c not in kept and a.extent(c) == b.extent(c)}
    a, b = _summed(a, kept | both), _summed(b, kept | both)
    batch = "".join(c for c in a.labels if c in b.labels and c not in both)
    inner = "".join(c for c in a.labels if c in both)
    rows = "".join(c for c in a.labels if c not in b.labels)
    columns = "".join(c for c in b.labels if c not in a.labels)
    left = _matrices(_ordered(a, batch + rows + inner), len(batch), len(rows))
    right = _matrices(_ordered(b, batch + inner + columns), len(batch), len(inner))
    result = MatMul()(left, right)
    lead = result.type.dims[: len(batch)]
    target = (*lead, *(a.extent(c) for c in rows), *(b.extent(c) for c in columns))
    if target != result.type.dims:
        result = Reshape(shape=target)(result)
    return Labelled(result, batch + rows + columns)


def _matrices(x: Labelled, batch: int, rows: int) -> Tensor:
    """The axes behind the batch as two: [batch..., rows, the others]."""
    shape = x.shape
    target = (*shape[:batch], product(shape[batch : batch + rows]), product(shape[batch + rows :]))
    return x.tensor if target == shape else Reshape(shape=target)(x.tensor)
