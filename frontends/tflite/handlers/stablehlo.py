"""Operators of StableHLO that the schema has besides its own: what is left of those in the other families."""

from __future__ import annotations

import string

import numpy as np

from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ops import Einsum, Maximum, Minimum

FAMILY = Family()


@FAMILY.op("STABLEHLO_CLAMP")
def _clamp(n: TfliteNode) -> Result:
    """Operands: the least value, the tensor, the greatest value."""
    return n(Minimum(), n(Maximum(), n[1], n[0]), n[2])


@FAMILY.op("STABLEHLO_IOTA")
def _iota(n: TfliteNode) -> Result:
    """Places along an axis."""
    info = n.result_info()
    if info.dtype is None or info.signature is not None:
        n.refuse("the result's shape is open")
    axis = n.axis(n.options.integer("iota_dimension"), len(info.shape))
    own = np.arange(info.shape[axis]).astype(info.dtype.numpy)
    shaped = own.reshape([-1 if i == axis else 1 for i in range(len(info.shape))])
    return n.stored(np.broadcast_to(shaped, info.shape))


@FAMILY.op("STABLEHLO_DOT_GENERAL")
def _dot_general(n: TfliteNode) -> Result:
    """Sums over pairs of axes; batch axes come first in the result, then those left of both operands."""
    o = n.options
    batch = o.integers("lhs_batching_dimensions"), o.integers("rhs_batching_dimensions")
    summed = o.integers("lhs_contracting_dimensions"), o.integers("rhs_contracting_dimensions")
    letters = iter(string.ascii_letters)
    names: tuple[dict[int, str], dict[int, str]] = ({}, {})
    for pairs in (batch, summed):
        if len(pairs[0]) != len(pairs[1]):
            n.refuse(f"the axes {list(pairs[0])} with {list(pairs[1])}")
        for a, b in zip(*pairs, strict=True):
            names[0][a] = names[1][b] = next(letters)
    terms: list[str] = []
    left: list[str] = [names[0][a] for a in batch[0]]
    for i in (0, 1):
        free = [axis for axis in range(n.rank(n[i])) if axis not in names[i]]
        names[i].update((axis, next(letters)) for axis in free)
        terms.append("".join(names[i][axis] for axis in range(n.rank(n[i]))))
        left += [names[i][axis] for axis in free]
    return n(Einsum(equation=f"{terms[0]},{terms[1]}->{''.join(left)}"), n[0], n[1])
