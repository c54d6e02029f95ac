"""Layers that merge several tensors."""

from __future__ import annotations

from collections.abc import Callable

from uair import ops
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.graph import Tensor
from uair.ops.base import Operator

FAMILY = Family()


def _operands(n: KerasNode, least: int = 2) -> list[Tensor]:
    """The tensors; one of fewer axes than others gets its missing axes behind the batch, as Keras merges."""
    xs = n.xs
    n.require(len(xs) >= least, f"takes at least {least} tensors, is given {len(xs)}")
    rank = max(map(n.rank, xs))
    return [x if n.rank(x) == rank else _raised(n, x, rank) for x in xs]


def _raised(n: KerasNode, x: Tensor, rank: int) -> Tensor:
    shape = n.shape(x)
    return n.reshaped(x, (*shape[:1], *[1] * (rank - len(shape)), *shape[1:]))


def _merged(n: KerasNode, make: Callable[[], Operator]) -> Tensor:
    result, *rest = _operands(n)
    for x in rest:
        result = n(make(), result, x)
    return result


@FAMILY.op("Add")
def _add(n: KerasNode) -> Result:
    return _merged(n, ops.Add)


@FAMILY.op("Multiply")
def _multiply(n: KerasNode) -> Result:
    return _merged(n, ops.Mul)


@FAMILY.op("Maximum")
def _maximum(n: KerasNode) -> Result:
    return _merged(n, ops.Maximum)


@FAMILY.op("Minimum")
def _minimum(n: KerasNode) -> Result:
    return _merged(n, ops.Minimum)


@FAMILY.op("Subtract")
def _subtract(n: KerasNode) -> Result:
    n.require(len(n.xs) == 2, f"takes two tensors, is given {len(n.xs)}")
    return _merged(n, ops.Sub)


@FAMILY.op("Average")
def _average(n: KerasNode) -> Result:
    total = _merged(n, ops.Add)
    return n(ops.Div(), total, n.like(len(n.xs), total))


@FAMILY.op("Concatenate")
def _concatenate(n: KerasNode) -> Result:
    xs = n.xs
    n.require(bool(xs), "takes at least one tensor")
    if any(n.mask_of(x) is not None for x in xs):
        n.refuse_mask(*xs)
    if len(xs) == 1:
        return xs[0]
    return n(ops.Concat(axis=n.axis(n.integer("axis", -1), n.rank(xs[0]))), *xs)


@FAMILY.op("Dot")
def _dot(n: KerasNode) -> Result:
    """Sums of products along one axis of each, for every element of the batch."""
    n.require(len(n.xs) == 2, f"takes two tensors, is given {len(n.xs)}")
    a, b = n.xs
    given = n.get("axes")
    pair = (given, given) if isinstance(given, int) else n.integers_of(given, "axes", 2)
    axes = n.axis(pair[0], n.rank(a)), n.axis(pair[1], n.rank(b))
    n.require(0 not in axes, "axes must leave the batch alone")
    if n.flag("normalize"):
        a, b = (n(ops.LpNormalize(axis=i, p=2, epsilon=1e-6), x) for x, i in zip((a, b), axes, strict=True))
    letters = iter("bcdefghijklmnopqrstuvwxyz")
    left = ["a" if i == 0 else "z" if i == axes[0] else next(letters) for i in range(n.rank(a))]
    right = ["a" if i == 0 else "z" if i == axes[1] else next(letters) for i in range(n.rank(b))]
    free = [c for c in (*left[1:], *right[1:]) if c != "z"]
    y = n(ops.Einsum(equation=f"{''.join(left)},{''.join(right)}->a{''.join(free)}"), a, b)
    return y if free else n.reshaped(y, (*n.shape(y), 1))
