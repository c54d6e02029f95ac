"""Attention, kept whole: projections are Linear, the rest is one Attention."""

from __future__ import annotations

import math

import attrs
import numpy as np

from uair import ops
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.dims import Dim
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant

FAMILY = Family()

_HEADS = (0, 2, 1, 3)
_MASKS = ((3, "query_mask"), (4, "value_mask"), (5, "key_mask"), (6, "attention_mask"))


@attrs.frozen
class Heads:
    """Numbers of heads and sizes of a multi-head layer."""

    query: int
    key: int
    size: int
    value_size: int


@FAMILY.op("MultiHeadAttention")
def _multi_head(n: KerasNode) -> Result:
    count, size = n.integer("num_heads"), n.integer("key_dim")
    heads = Heads(count, count, size, n.integer("value_dim", size))
    rank = n.rank(n.tensor(0, "query"))
    axes = n.get("attention_axes")
    steps = range(1, rank - 1) if axes is None else n.integers_of(axes, "attention_axes")
    if rank == 3 and list(steps) == [1]:
        return _attend(n, heads, _operands_of_heads(n), n.get("sliding_window"))
    return _over_axes(n, heads, sorted(a % rank for a in steps))


def _operands_of_heads(n: KerasNode) -> tuple[Tensor, Tensor, Tensor]:
    """Query, value and key."""
    query, value = n.tensor(0, "query"), n.tensor(1, "value")
    return query, value, n.optional(2, "key") or value


def _over_axes(n: KerasNode, heads: Heads, axes: list[int]) -> Result:
    """Attention along some axes of images: these are the steps, all others are part of the batch."""
    operands = _operands_of_heads(n)
    rank = n.rank(operands[0])
    n.require(
        all(n.rank(t) == rank for t in operands) and 0 < axes[0] and axes[-1] < rank - 1,
        f"attention over the axes {axes} of shapes {[list(n.shape(t)) for t in operands]} is not expressed",
    )
    n.require(
        all(n.argument(i, name) is None for i, name in _MASKS)
        and not n.argument(7, "return_attention_scores", False)
        and not n.argument(9, "use_causal_mask", False),
        "masks and scores of attention over the axes of images are not expressed",
        "reshape its operands to [batch, steps, features]",
    )
    batch = [i for i in range(rank - 1) if i not in axes]
    order = (*batch, *axes, rank - 1)
    shapes = [[n.shape(t)[i] for i in order] for t in operands]
    query, value, key = (
        n.reshaped(n.transposed(t, order), (math.prod(s[: len(batch)]), math.prod(s[len(batch) : -1]), s[-1]))
        for t, s in zip(operands, shapes, strict=True)
    )
    y = _attend(n, heads, (query, value, value if operands[2] is operands[1] else key), None)
    assert isinstance(y, Tensor)
    n.require(n.rank(y) == 3, "an output_shape of several axes is not expressed for images")
    back = tuple(order.index(i) for i in range(rank))
    return n.transposed(n.reshaped(y, (*shapes[0][:-1], n.extent(y, -1))), back)


@FAMILY.op("GroupedQueryAttention", "GroupQueryAttention")
def _grouped(n: KerasNode) -> Result:
    """Heads of keys that follow each other serve as many heads of queries."""
    size = n.integer("head_dim")
    n.require(n.rank(n.tensor(0, "query")) == 3, "takes [batch, steps, features]")
    return _attend(
        n,
        Heads(n.integer("num_query_heads"), n.integer("num_key_value_heads"), size, size),
        _operands_of_heads(n),
        n.get("sliding_window"),
    )


def _attend(n: KerasNode, heads: Heads, operands: tuple[Tensor, Tensor, Tensor], window: int | None) -> Result:
    """Projections around one Attention; operands are query, value and key, each [batch, steps, features]."""
    query, value, key = operands
    q = _split(n, _projected(n, "query", query, heads.query * heads.size), heads.query, heads.size)
    k = _split(n, _projected(n, "key", key, heads.key * heads.size), heads.key, heads.size)
    v = _split(n, _projected(n, "value", value, heads.key * heads.value_size), heads.key, heads.value_size)
    wants_scores = bool(n.argument(7, "return_attention_scores", False))
    reach = None if window is None else window - 1
    op = ops.Attention(
        scale=None,
        causal=bool(n.argument(9, "use_causal_mask", False)),
        left_window=reach,
        right_window=reach,
        scores="probabilities" if wants_scores else "none",
    )
    y, *scores = n.all(op, q, k, v, _mask(n, query, value, key))
    batch, steps = n.shape(query)[:2]
    merged = n.reshaped(n.transposed(y, _HEADS), (batch, steps, heads.query * heads.value_size))
    if "gate_dense" in n.layer.children:
        gate = _projected(n, "gate", query, heads.query * heads.value_size)
        merged = n(ops.Mul(), merged, n(ops.Sigmoid(), gate))
    result = _output(n, merged, heads)
    return [result, *scores] if wants_scores else result


def _child(n: KerasNode, name: str) -> KerasNode:
    return KerasNode(n.importer, n.graph, n.layer.children[f"{name}_dense"], (), {}, policy=n.policy)


def _projected(n: KerasNode, name: str, x: Tensor, width: int) -> Tensor:
    """X by the kernel [features, heads, size]."""
    child, features = _child(n, name), n.extent(x, -1)
    kernel = child.variable("kernel", features, None, None)
    n.require(
        isinstance(features, int) and kernel.type.size == width * features, f"the kernel of {name} is not {width} wide"
    )
    bias = child.maybe("bias")
    if bias is not None:
        bias = child.reshaped(bias, (width,))
    return n(ops.Linear(), x, child.permuted(kernel, (1, 2, 0), (width, features)), bias)  # type: ignore[arg-type]


def _split(n: KerasNode, x: Tensor, heads: int, size: int) -> Tensor:
    """[batch, steps, heads * size] as [batch, heads, steps, size]."""
    batch, steps = n.shape(x)[:2]
    return n.transposed(n.reshaped(x, (batch, steps, heads, size)), _HEADS)


def _output(n: KerasNode, x: Tensor, heads: Heads) -> Tensor:
    """The kernel is [heads, size, features]; output_shape may have several axes of features."""
    child = _child(n, "output")
    kernel = child.variable("kernel")
    width = heads.query * heads.value_size
    n.require(kernel.type.rank >= 3 and kernel.type.size % width == 0, "the output's kernel does not fit the heads")
    features = kernel.type.size // width
    extents = tuple(int(d) for d in kernel.type.dims[2:])  # type: ignore[arg-type]
    bias = child.maybe("bias")
    bias = None if bias is None else child.reshaped(bias, (features,))
    rank = kernel.type.rank
    weight = child.permuted(kernel, (*range(2, rank), 0, 1), (features, width))
    y = n(ops.Linear(), x, weight, bias)
    return y if len(extents) == 1 else n.reshaped(y, (*n.shape(y)[:2], *extents))


def _mask(n: KerasNode, query: Tensor, value: Tensor, key: Tensor) -> Tensor | None:
    """Which keys take part: attention_mask [batch, (heads,) queries, keys] and the masks of the operands' steps.

    A query that counts for nothing has no key left, for which Keras gives the mean of all values: a bias of -1e9, which
    swallows the scores, says so; a bool mask would give zeros.
    """
    parts: list[Tensor] = []
    silent = False
    given = n.optional(6, "attention_mask")
    if given is not None:
        shape = n.shape(given)
        n.require(len(shape) in (2, 3, 4), f"attention_mask has shape {list(shape)}")
        lead = {2: (1, 1), 3: (shape[0], 1), 4: shape[:2]}[len(shape)]
        parts.append(n.cast(n.reshaped(given, (*lead, *shape[-2:])), DType.BOOL))
    steps = [(3, "query_mask", query, True), (4, "value_mask", value, False)]
    if key is not value:
        steps.append((5, "key_mask", key, False))
    for place, name, tensor, rows in steps:
        mask = n.optional(place, name) or n.mask_of(tensor)
        if mask is not None:
            batch, count = n.shape(mask)
            silent = silent or rows
            flat = n.cast(mask, DType.BOOL)
            parts.append(n.reshaped(flat, (batch, 1, count, 1) if rows else (batch, 1, 1, count)))
    if not parts:
        return None
    result, *rest = parts
    for part in rest:
        result = n(ops.LogicalAnd(), result, part)
    if not silent:
        return result
    low = n.like(-3e4 if query.type.dtype is DType.F16 else -1e9, query)
    return n(ops.Where(), result, n.like(0, query), low)


# ------------------------------------------------------------------- one head, no projections
@FAMILY.op("Attention")
def _attention(n: KerasNode) -> Result:
    """Scores q k^T, times the variable scale where the layer has one."""
    if n.get("score_mode", "dot") == "concat":
        return _additive(n, n.maybe("scale"), n.variable("concat_score_weight"), inside=True)
    q, v, k, mask, q_mask = _operands(n)
    scale = 1.0
    if n.has("scale"):
        data = n.variable("scale").data
        assert data is not None
        scale = float(data.array())
    wants_scores = bool(n.argument(3, "return_attention_scores", False))
    op = ops.Attention(
        scale=scale,
        causal=bool(n.argument(4, "use_causal_mask", False)),
        scores="probabilities" if wants_scores else "none",
    )
    q4, k4, v4 = (_one_head(n, t) for t in (q, k, v))
    results = n.all(op, q4, k4, v4, None if mask is None else _one_head_mask(n, mask))
    flat = [n.reshaped(r, (n.shape(r)[0], *n.shape(r)[2:])) for r in results]
    flat[0] = _without(n, flat[0], q_mask)
    return flat if wants_scores else flat[0]


@FAMILY.op("AdditiveAttention")
def _additive_attention(n: KerasNode) -> Result:
    return _additive(n, n.maybe("scale"), None, inside=False)


def _additive(n: KerasNode, scale: Tensor | None, weight: Tensor | None, *, inside: bool) -> Result:
    """Scores sum(scale * tanh(q + k)), or weight * sum(tanh(scale * (q + k))). Source: Bahdanau, arXiv 1409.0473."""
    q, v, k, mask, q_mask = _operands(n)
    rows, columns = n.shape(q), n.shape(k)
    pairs = n(
        ops.Add(),
        n.reshaped(q, (*rows[:-1], 1, rows[-1])),
        n.reshaped(k, (*columns[:-2], 1, *columns[-2:])),
    )
    if scale is not None and inside:
        pairs = n(ops.Mul(), pairs, scale)
    terms = n(ops.Tanh(), pairs)
    if scale is not None and not inside:
        terms = n(ops.Mul(), terms, scale)
    scores = n(ops.ReduceSum(axes=(3,), keepdims=False), terms)
    if weight is not None:
        scores = n(ops.Mul(), scores, weight)
    allowed = mask
    if allowed is not None and n.rank(allowed) == 2:
        allowed = n.reshaped(allowed, (n.shape(allowed)[0], 1, n.shape(allowed)[1]))
    if n.argument(4, "use_causal_mask", False):
        earlier = _earlier(n, rows[-2], columns[-2])
        allowed = earlier if allowed is None else n(ops.LogicalAnd(), n.cast(allowed, DType.BOOL), earlier)
    if allowed is not None:
        low = n.like(65504.0 if scores.type.dtype is DType.F16 else 1e9, scores)
        scores = n(ops.Where(), allowed, scores, n(ops.Sub(), scores, low))
    weights = n(ops.Softmax(axis=2), scores)
    y = _without(n, n(ops.MatMul(), weights, v), q_mask)
    return [y, weights] if n.argument(3, "return_attention_scores", False) else y


def _earlier(n: KerasNode, queries: Dim, keys: Dim) -> Tensor:
    """[1, queries, keys]: whether a key is no later than a query."""
    if not isinstance(queries, int) or not isinstance(keys, int):
        n.refuse("use_causal_mask needs known numbers of steps", "declare them in the model's inputs")
    return constant(np.tri(queries, keys, dtype=bool)[None], f"{n.name}/causal_mask")


def _operands(n: KerasNode) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Query, value, key, and the masks of value and query."""
    xs = n.xs
    n.require(len(xs) in (2, 3), f"takes [query, value] or [query, value, key], is given {len(xs)} tensors")
    n.require(all(n.rank(x) == 3 for x in xs), "takes tensors [batch, steps, features]")
    q, v = xs[:2]
    k = xs[2] if len(xs) == 3 else v
    given = n.argument(1, "mask")
    masks = list(given) if isinstance(given, (list, tuple)) else [n.mask_of(q), n.mask_of(v)]
    q_mask, v_mask = (m if isinstance(m, Tensor) else None for m in (*masks, None)[:2])
    return q, v, k, v_mask, q_mask


def _one_head(n: KerasNode, x: Tensor) -> Tensor:
    return n(ops.Unsqueeze(axes=(1,)), x)


def _one_head_mask(n: KerasNode, mask: Tensor) -> Tensor:
    shape = n.shape(mask)
    flat = n.cast(mask, DType.BOOL)
    return n.reshaped(flat, (shape[0], 1, 1, shape[1]) if len(shape) == 2 else (shape[0], 1, *shape[1:]))


def _without(n: KerasNode, y: Tensor, q_mask: Tensor | None) -> Tensor:
    """The result with the steps of queries that do not count set to 0."""
    if q_mask is None:
        return y
    rows = n.reshaped(n.cast(q_mask, DType.BOOL), (*n.shape(q_mask), 1))
    return n(ops.Where(), rows, y, n.like(0, y))
