"""Linear attention in simpler operators: place by place, or as the body of a Scan."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from uair.ir.dims import floor_div
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Tensor
from uair.ops._compute import scalar
from uair.ops._recurrent_graph import TensorMath
from uair.ops.control import Scan
from uair.ops.elementwise import Exp, Sub
from uair.ops.linear import MatMul
from uair.ops.shape import Concat, Expand, Reshape, Split, Squeeze, Transpose, Unsqueeze

UNROLLED = 8
"""Places up to which a linear attention is decomposed place by place."""

_LAST_FIRST = (0, 1, 3, 2)


@attrs.frozen
class Place:
    """What belongs to one place.

    Attributes:
        query: [batch, groups, heads of a group, 1, size].
        key: [batch, groups, size, 1].
        value: [batch, groups, 1, value size].
        factor: of the memory, [batch, groups, size or 1, 1].
        rate: of the update, [batch, groups or 1, 1, 1].
    """

    query: Tensor
    key: Tensor
    value: Tensor
    factor: Tensor | None
    rate: Tensor | None


def decompose(
    scale: float,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None,
    decay: Tensor | None,
    beta: Tensor | None,
) -> tuple[Tensor, ...]:
    """The results of a LinearAttention; its operands, and the factor of its queries."""
    math = TensorMath()
    dtype, kept = q.type.dtype, q.type.dtype if state is None else state.type.dtype
    batch, heads, places, size = q.type.dims
    groups, values = k.type.dims[1], v.type.dims[3]
    wide = dtype if dtype.bits >= 32 else DType.F32
    q, k, v = (math.cast(t, wide) for t in (q, k, v))
    scaled = math.mul(q, scalar(scale, q))
    shape = (batch, groups, floor_div(heads, groups), places, size)
    taken: list[tuple[Tensor, int] | None] = [
        (math(Reshape(shape=shape), scaled), 3),
        (math(Transpose(perm=_LAST_FIRST), k), 3),
        (v, 2),
        None if decay is None else (math(Transpose(perm=_LAST_FIRST), math(Exp(), math.cast(decay, wide))), 3),
        None if beta is None else (math.cast(beta, wide), 2),
    ]
    memory = None if state is None else math.cast(state, wide)
    if isinstance(places, int) and 0 < places <= UNROLLED:
        y, memory = _unrolled(math, taken, memory, places)
    else:
        if memory is None:
            memory = math(Expand(shape=(batch, groups, size, values)), scalar(0, q))
        y, memory = _scanned(math, taken, memory)
    return math.cast(math(Reshape(shape=(batch, heads, places, values)), y), dtype), math.cast(memory, kept)


def _unrolled(
    math: TensorMath, taken: Sequence[tuple[Tensor, int] | None], memory: Tensor | None, places: int
) -> tuple[Tensor, Tensor]:
    def parts(given: tuple[Tensor, int] | None) -> Sequence[Tensor | None]:
        if given is None:
            return [None] * places
        x, axis = given
        return (x,) if places == 1 else math.apply(Split(axis=axis, sizes=(1,) * places), x)

    results: list[Tensor] = []
    for query, key, value, factor, rate in zip(*(parts(t) for t in taken), strict=True):
        assert query is not None and key is not None and value is not None
        y, memory = _attend(math, memory, Place(query, key, value, factor, rate))
        results.append(y)
    assert memory is not None
    return results[0] if len(results) == 1 else math(Concat(axis=3), *results), memory


def _scanned(math: TensorMath, taken: Sequence[tuple[Tensor, int] | None], memory: Tensor) -> tuple[Tensor, Tensor]:
    body = Graph("place")
    inner = math.inside(body)
    before = body.add_input("memory", memory.type)
    parts: list[Tensor | None] = []
    for name, given in zip(("query", "key", "value", "factor", "rate"), taken, strict=True):
        if given is None:
            parts.append(None)
            continue
        x, axis = given
        extents = x.type.dims
        cut = body.add_input(name, x.type.with_shape(extents[:axis] + extents[axis + 1 :]))
        parts.append(inner(Unsqueeze(axes=(axis,)), cut))
    query, key, value, factor, rate = parts
    assert query is not None and key is not None and value is not None
    y, after = _attend(inner, before, Place(query, key, value, factor, rate))
    body.add_output("next", after)
    body.add_output("y", inner(Squeeze(axes=(3,)), y))
    present = [given for given in taken if given is not None]
    op = Scan(body=body, scanned=len(present), input_axes=tuple(axis for _, axis in present), output_axes=(3,))
    last, stacked = math.apply(op, memory, *(x for x, _ in present))
    return stacked, last


def _attend(math: TensorMath, memory: Tensor | None, at: Place) -> tuple[Tensor, Tensor]:
    """The result of a place, [batch, groups, heads of a group, 1, value size], and the memory after it."""
    value = at.value
    if memory is not None and at.factor is not None:
        memory = math.mul(memory, at.factor)
    if at.rate is not None:
        known = value if memory is None else math(Sub(), value, math(MatMul(trans_a=True), at.key, memory))
        value = math.mul(at.rate, known)
    written = math.mul(at.key, value)
    memory = written if memory is None else math.add(memory, written)
    return math(MatMul(), at.query, math(Unsqueeze(axes=(2,)), memory)), memory
