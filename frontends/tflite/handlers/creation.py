"""Tensors made from shapes and numbers, and random ones."""

from __future__ import annotations

import numpy as np

from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.data import SplatData
from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import Equal, Expand, RandomNormal, RandomUniform, Range, ShapeOf, Where

FAMILY = Family()


@FAMILY.op("SHAPE")
def _shape(n: TfliteNode) -> Result:
    return n.as_declared(n(ShapeOf(), n.raw(0)))


@FAMILY.op("RANK")
def _rank(n: TfliteNode) -> Result:
    return n.stored(np.asarray(n.rank(n.raw(0)), np.int32))


def expanded(n: TfliteNode, value: Tensor, shape: Tensor) -> Tensor:
    """A value broadcast to a shape that is an operand."""
    dims = n.dims(shape)
    return n(Expand(), value, n.i64(shape)) if dims is None else n(Expand(shape=dims), value)


@FAMILY.op("FILL")
def _fill(n: TfliteNode) -> Result:
    """Operands: the shape, then the value."""
    return expanded(n, n.single(n[1]), n.raw(0))


@FAMILY.op("BROADCAST_TO")
def _broadcast_to(n: TfliteNode) -> Result:
    return expanded(n, n[0], n.raw(1))


@FAMILY.op("BROADCAST_ARGS")
def _broadcast_args(n: TfliteNode) -> Result:
    """The shape that two shapes broadcast to: where one has 1, the other's extent."""
    a, b = n.raw(0), n.raw(1)
    if n.extent(a, 0) != n.extent(b, 0):
        one, other = n.dims(a), n.dims(b)
        if one is None or other is None:
            n.refuse("two shapes of different ranks that are computed")
        rank = max(len(one), len(other))
        wide = [(*(1,) * (rank - len(dims)), *dims) for dims in (one, other)]
        if not all(isinstance(d, int) for dims in wide for d in dims):
            n.refuse("two shapes of different ranks with open extents")
        a, b = (n.stored(np.array(static(dims), np.int64)) for dims in wide)
    a, b = n.i64(a), n.i64(b)
    return n.as_declared(n(Where(), n(Equal(), a, n.like(1, a)), b, a))


@FAMILY.op("ZEROS_LIKE")
def _zeros_like(n: TfliteNode) -> Result:
    x = n[0]
    if x.type.is_static:
        return constant(SplatData(0, x.type.dtype, static(x.type.dims)), n.name)
    return n(Expand(), n.like(0, x), n(ShapeOf(), x))


@FAMILY.op("RANGE")
def _range(n: TfliteNode) -> Result:
    return n(Range(), *(n.single(n[i]) for i in range(3)))


@FAMILY.op("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL")
def _random(n: TfliteNode) -> Result:
    """Two seeds of 0 stand for none; the numbers themselves are those of no framework."""
    seeds = n.options.integer("seed"), n.options.integer("seed2")
    kind = RandomUniform if n.op_type == "RANDOM_UNIFORM" else RandomNormal
    op = kind(dtype=n.result_info().dtype or DType.F32, seed=None if seeds == (0, 0) else sum(seeds) % (1 << 32))
    return n(op, n.i64(n.raw(0)))
