"""Sizes of a program as tensors: what operators take that have no attribute for a size.

The program's sizes are expressions over its symbols. A size that a tensor in scope has as an extent is read off it; any
other is the extent of a tensor made for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from uair.ir.dims import Dim, plain_symbol, symbols_of
from uair.ir.graph import Tensor, constant
from uair.ops import Add, Concat, Expand, Mul, Reshape, ShapeOf

if TYPE_CHECKING:
    from uair.frontends.torch.node import TorchNode


def as_tensor(n: TorchNode, size: Dim) -> Tensor:
    """A size, or a number computed from sizes, as an i64 scalar."""
    if isinstance(size, int):
        return constant(np.asarray(size, np.int64))
    return n(Reshape(shape=()), as_vector(n, size))


def as_vector(n: TorchNode, *sizes: Dim) -> Tensor:
    """Sizes as an i64 vector."""
    if all(isinstance(size, int) for size in sizes):
        return constant(np.asarray(sizes, np.int64))
    parts = [constant(np.asarray([s], np.int64)) if isinstance(s, int) else _element(n, s) for s in sizes]
    return parts[0] if len(parts) == 1 else n(Concat(axis=0), *parts)


def _element(n: TorchNode, size: Dim) -> Tensor:
    """One size as a vector of one element."""
    scalar = n.importer.scalars.get(plain_symbol(size) or "")
    if scalar is not None:
        return n(Reshape(shape=(1,)), scalar)
    found = _source(n.graph.inputs, size)
    if found is not None:
        tensor, axis = found
        return n(ShapeOf(start=axis, end=axis + 1), tensor)
    decided = n.importer.extents.get(plain_symbol(size) or "")
    if decided is not None:
        return n(ShapeOf(start=decided[1], end=decided[1] + 1), decided[0])
    terms = _terms(size)
    if len(terms) == 1 and terms[0][0] == 1:
        if not any(map(n.importer.is_decided, symbols_of((size,)))):
            return n(ShapeOf(), n(Expand(shape=(size,)), constant(np.asarray(False))))
        return _product(n, size)
    made: Tensor | None = None
    for factor, part in terms:
        term = constant(np.asarray([factor], np.int64))
        if part != 1:
            value = _element(n, part)
            term = value if factor == 1 else n(Mul(), value, term)
        made = term if made is None else n(Add(), made, term)
    assert made is not None
    return made


def _product(n: TorchNode, size: Dim) -> Tensor:
    """A product of sizes some of which values decide, as a vector of one element."""
    expression: Any = size
    if not expression.is_Mul:
        n.refuse(f"the size {size}, which the data decide, cannot be computed", "export the model with that size fixed")
    made: Tensor | None = None
    for factor in expression.args:
        value = _element(n, factor)
        made = value if made is None else n(Mul(), made, value)
    assert made is not None
    return made


def _source(tensors: Iterable[Tensor], size: Dim) -> tuple[Tensor, int] | None:
    """A tensor with this extent, and the axis."""
    for tensor in tensors:
        for axis, extent in enumerate(tensor.type.shape or ()):
            if extent == size and not isinstance(extent, int):
                return tensor, axis
    return None


def _terms(size: Dim) -> list[tuple[int, Dim]]:
    """The summands with integer factors of their own: 2*s0 - s1 + 3; the whole where a factor is no integer.

    A sum can be below zero in between (arange(-s0, 0)), which no extent can.
    """
    if isinstance(size, int):
        return [(size, 1)]
    expression: Any = size
    coefficients = expression.as_coefficients_dict()
    if not all(c.is_Integer for c in coefficients.values()):
        return [(1, size)]
    return [(int(c), int(part) if part.is_Integer else part) for part, c in coefficients.items()]
