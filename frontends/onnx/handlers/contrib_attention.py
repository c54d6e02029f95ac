"""Attention and what stands around it in onnxruntime's domain com.microsoft, in terms of the canonical operators.

Source: onnxruntime's docs/ContribOperators.md, and its kernels for the CPU where the text leaves something open: a
masked place gets mask_filter_value instead of minus infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from uair.frontends.onnx.handlers.attention import causal_convolution, linear_attention, packed, unpacked
from uair.frontends.onnx.handlers.shape import flattened
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dims import Dim, floor_div, maximum, normal
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import (
    Add,
    Attention,
    CacheUpdate,
    Cast,
    Concat,
    Equal,
    Expand,
    Gather,
    Gelu,
    Greater,
    GreaterEqual,
    LayerNorm,
    Less,
    Linear,
    LogicalAnd,
    Mul,
    Range,
    ReduceSum,
    Reshape,
    RotaryEmbedding,
    ShapeOf,
    Softmax,
    Split,
    Squeeze,
    Sub,
    Transpose,
    Unsqueeze,
    Where,
)
from uair.ops.base import Operator

FAMILY = Family("com.microsoft")
_FILTER = -10000.0


FAMILY.add("LinearAttention", (1,), linear_attention)
FAMILY.add("CausalConvWithState", (1,), causal_convolution)


def _i64(value: object) -> Tensor:
    return constant(np.asarray(value, np.int64))


def _refuse_given(n: OnnxNode, operands: Sequence[int], attributes: Sequence[str] = ()) -> None:
    """Give up when one of these operands is there, or one of these attributes is not 0."""
    for i in operands:
        if n.optional(i) is not None:
            n.unsupported(f"{n.op_type} with input {i} is not supported")
    for name in attributes:
        if n.attributes.integer(name, 0):
            n.unsupported(f"{n.op_type} with {name} is not supported")


def _parts(n: OnnxNode, x: Tensor, axis: int, sizes: Sequence[Dim]) -> tuple[Tensor, ...]:
    return n.all(Split(axis=axis, sizes=tuple(sizes)), x)


def _places(n: OnnxNode, *tensors: Tensor, axis: int) -> Tensor:
    """0, 1, ... for every place along an axis of tensors that are behind each other."""
    total: Dim = normal(sum(n.extent(x, axis) for x in tensors))
    if isinstance(total, int):
        return _i64(np.arange(total))
    count = _extent(n, tensors[0], axis)
    for x in tensors[1:]:
        count = n(Add(), count, _extent(n, x, axis))
    return n(Reshape(shape=(total,)), n(Range(), _i64(0), count, _i64(1)))


def _extent(n: OnnxNode, x: Tensor, axis: int) -> Tensor:
    """An extent as a scalar."""
    extent = n.extent(x, axis)
    return _i64(extent) if isinstance(extent, int) else n(Squeeze(axes=(0,)), n(ShapeOf(start=axis, end=axis + 1), x))


# ------------------------------------------------------------------------ masks
def _mask(n: OnnxNode, i: int, q: Tensor, keys: Tensor, past: Tensor | None) -> Tensor | None:
    """Operand `i`, in one of its forms, as numbers to add to the scores [batch, heads, queries, keys].

    Args:
        n: the node.
        i: the operand.
        q: queries, [batch, heads, queries, size].
        keys: new keys, [batch, heads, new, size].
        past: earlier keys.
    """
    mask = n.optional(i)
    if mask is None:
        return None
    shape, batch = n.shape(mask), n.extent(q, 0)
    if len(shape) == 1:
        allowed = _by_lengths(n, mask, batch, keys, past)
    elif len(shape) == 2:
        if shape[1] == 1 and n.extent(keys, 2) != 1:
            return None  # stands for no mask
        allowed = n(Unsqueeze(axes=(1, 2)), n(Greater(), mask, n.like(0, mask)))
    elif len(shape) == 3:
        allowed = n(Unsqueeze(axes=(1,)), n(Greater(), mask, n.like(0, mask)))
    else:
        n.unsupported(f"{n.op_type} with a mask of {len(shape)} axes is not supported")
    value = n.attributes.number("mask_filter_value", _FILTER)
    return n(Where(), allowed, n.like(0, q), n.like(value, q))


def _by_lengths(n: OnnxNode, mask: Tensor, batch: Dim, keys: Tensor, past: Tensor | None) -> Tensor:
    """A mask by the end of every sequence, or by the ends and then the starts."""
    total = n.shape(mask)[0]
    place = _places(n, *([] if past is None else [past]), keys, axis=2)
    wide = n.cast(mask, DType.I64)
    if total == batch:
        return n(Less(), place, n(Reshape(shape=(batch, 1, 1, 1)), wide))
    if total != normal(2 * batch):
        n.unsupported(f"{n.op_type} with a mask of shape [{total}] for a batch of {batch} is not supported")
    end, start = (n(Reshape(shape=(batch, 1, 1, 1)), part) for part in _parts(n, wide, 0, (batch, batch)))
    return n(LogicalAnd(), n(Less(), place, end), n(GreaterEqual(), place, start))


def _with_bias(n: OnnxNode, mask: Tensor | None, i: int) -> Tensor | None:
    """The mask and the additive operand `i` together."""
    bias = n.optional(i)
    if bias is None or mask is None:
        return mask if bias is None else bias
    return n(Add(), mask, bias)


def _attention_of(n: OnnxNode, q: Tensor, *, cache: bool) -> Attention:
    """Attention by the attributes that the operators share; one query alone sees all keys."""
    causal = n.attributes.flag("unidirectional") and n.extent(q, 2) != 1
    return Attention(scale=n.attributes.number("scale", 0.0) or None, causal=causal, cache=cache)


# -------------------------------------------------------------------- attention
@FAMILY.op("Attention", 1)
def _attention(n: OnnxNode) -> Result:
    """The projections of queries, keys and values are part of it; past and present are pairs in one tensor."""
    _refuse_given(n, (6,), ("do_rotary", "past_present_share_buffer"))
    return projected_attention(n, n(Linear(transpose_w=False), n[0], n[1], n.optional(2)), mask=3, past=4, bias=5)


def projected_attention(n: OnnxNode, projected: Tensor, *, mask: int, past: int, bias: int | None) -> Result:
    """Attention over projected queries, keys and values in one; the numbers are those of the other operands."""
    a = n.attributes
    a.required("num_heads")
    heads = a.integer("num_heads", 0)
    width = n.extent(projected, 2)
    sizes: Sequence[Dim] = a.integers("qkv_hidden_sizes", ()) or (floor_div(width, 3),) * 3
    q, k, v = (unpacked(n, part, heads) for part in _parts(n, projected, 2, sizes))
    before = n.optional(past)
    past_k, past_v = (None, None) if before is None else _pair(n, before)
    added = _mask(n, mask, q, k, past_k)
    if bias is not None:
        added = _with_bias(n, added, bias)
    results = n.all(_attention_of(n, q, cache=before is not None), q, k, v, added, past_k, past_v)
    present: Tensor | None = None
    if n.wants(1):
        both = results[1:] if before is not None else (k, v)
        present = n(Concat(axis=0), *(n(Unsqueeze(axes=(0,)), t) for t in both))
    return packed(n, results[0]), present


def _pair(n: OnnxNode, past: Tensor) -> tuple[Tensor, ...]:
    """Keys and values out of one tensor [2, ...]."""
    return tuple(n(Squeeze(axes=(0,)), part) for part in _parts(n, past, 0, (1, 1)))


@FAMILY.op("MultiHeadAttention", 1)
def _multi_head_attention(n: OnnxNode) -> Result:
    """Queries, keys and values come apart, keys and values together, or all in one tensor with an axis of 2 or 3."""
    _refuse_given(n, (8, 9))
    a = n.attributes
    a.required("num_heads")
    q, k, v = _three(n, a.integer("num_heads", 0))
    past_k, past_v = n.optional(6), n.optional(7)
    mask = _with_bias(n, _mask(n, 4, q, k, past_k), 5)
    if n.wants(3):
        n.unsupported("MultiHeadAttention: the products of queries and keys are not supported as a result")
    results = n.all(_attention_of(n, q, cache=past_k is not None), q, k, v, mask, past_k, past_v)
    return (packed(n, results[0]), *(results[1:] if past_k is not None else (k, v)), None)


def _three(n: OnnxNode, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as [batch, heads, places, size], with their part of the bias."""
    bias, key, value = n.optional(3), n.optional(1), n.optional(2)
    if n.rank(n[0]) == 5:
        found: list[Tensor] = _unstacked(n, n[0], 3)
    elif key is not None and n.rank(key) == 5:
        found = [unpacked(n, n[0], heads), *_unstacked(n, key, 2)]
    elif key is None or value is None:
        n.refuse("key and value must be given, or be part of a query with five axes")
    else:
        found = [t if n.rank(t) == 4 else unpacked(n, t, heads) for t in (n[0], key, value)]
    if bias is not None:
        sizes = [normal(heads * n.extent(t, 3)) for t in found]
        parts = _parts(n, bias, 0, sizes)
        shaped = (n(Reshape(shape=(heads, 1, n.extent(t, 3))), b) for t, b in zip(found, parts, strict=True))
        found = [n(Add(), t, b) for t, b in zip(found, shaped, strict=True)]
    return found[0], found[1], found[2]


def _unstacked(n: OnnxNode, x: Tensor, count: int) -> list[Tensor]:
    """[batch, places, heads, count, size] as `count` tensors [batch, heads, places, size]."""
    parts = _parts(n, x, 3, (1,) * count)
    return [n(Transpose(perm=(0, 2, 1, 3)), n(Squeeze(axes=(3,)), part)) for part in parts]


# --------------------------------------------------------- grouped, with a cache
@FAMILY.op("GroupQueryAttention", 1)
def _group_query_attention(n: OnnxNode) -> Result:
    """Keys and values are written into a cache behind those of every batch element, and attended to from there."""
    _refuse_given(n, range(11, 17), ("smooth_softmax", "sliding_window_cache", "qk_output"))
    a = n.attributes
    a.required("num_heads")
    a.required("kv_num_heads")
    if n.wants(3):
        n.unsupported("GroupQueryAttention: the products of queries and keys are not supported as a result")
    q, k, v = _grouped(n, a.integer("num_heads", 0), a.integer("kv_num_heads", 0))
    total = _total(n)
    lengths = n(Reshape(shape=(n.extent(q, 0),)), n(Add(), n.cast(n[5], DType.I64), _i64(1)))
    first = _first_positions(n, q, lengths, total)
    if a.flag("do_rotary"):
        place = n.optional(9)
        if place is None:
            place = n(Add(), n(Reshape(shape=(n.extent(q, 0), 1)), first), _places(n, q, axis=2))
        rotary = RotaryEmbedding(interleaved=a.flag("rotary_interleaved"))
        q, k = (n(rotary, x, n[7], n[8], place) for x in (q, k))
    present = [_appended(n, n.optional(i), new, first, total) for i, new in ((3, k), (4, v))]
    window = a.integer("local_window_size", -1)
    op = Attention(
        scale=a.number("scale", 0.0) or None,
        softcap=a.number("softcap", 0.0),
        causal=a.integer("causal", 1) != 0,
        left_window=window - 1 if window > 0 else None,
    )
    y = n(op, q, present[0], present[1], n.optional(10), None, None, lengths, first)
    return packed(n, y), present[0], present[1], None


def _grouped(n: OnnxNode, heads: int, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, which may be one tensor, as [batch, heads, places, size]."""
    if n.optional(1) is not None:
        return unpacked(n, n[0], heads), unpacked(n, n[1], groups), unpacked(n, n[2], groups)
    size = floor_div(n.extent(n[0], 2), heads + 2 * groups)
    parts = _parts(n, n[0], 2, [normal(count * size) for count in (heads, groups, groups)])
    return unpacked(n, parts[0], heads), unpacked(n, parts[1], groups), unpacked(n, parts[2], groups)


def _total(n: OnnxNode) -> Dim:
    """The greatest length, which decides the extent of the cache."""
    known = n.dims(6)
    if known is None or len(known) != 1:
        n.unsupported(
            "GroupQueryAttention needs to know total_sequence_length when the model is read",
            "make it a constant, or compute it from the shape of an input",
        )
    return known[0]


def _first_positions(n: OnnxNode, q: Tensor, lengths: Tensor, total: Dim) -> Tensor:
    """The position of the first query of every batch element: 0 for a prompt, else what is cached already."""
    batch, queries = n.extent(q, 0), n.extent(q, 2)
    start = n(Expand(shape=(batch,)), _i64(0))
    if normal(total - queries) == 0:
        return start
    behind = n(Sub(), lengths, _extent(n, q, 2))
    if isinstance(total, int) and isinstance(queries, int):
        return behind
    return n(Where(), n(Equal(), n.cast(n[6], DType.I64), _extent(n, q, 2)), start, behind)


def _appended(n: OnnxNode, past: Tensor | None, new: Tensor, first: Tensor, total: Dim) -> Tensor:
    """The cache, made long enough, with the new places written into it."""
    if past is None:
        return new
    batch, groups, places, size = n.shape(past)
    longer = normal(maximum(places, total) - places)
    if longer != 0:
        room = n(Expand(shape=(batch, groups, longer, size)), n.like(0, past))
        past = n(Concat(axis=2), past, room)
    return n(CacheUpdate(axis=2), past, new, first)


@FAMILY.op("RotaryEmbedding", 1)
def _rotary_embedding(n: OnnxNode) -> Result:
    """The positions are those of every place, or of the first one."""
    a = n.attributes
    _refuse_given(n, (), ("is_packed_batching",))
    if a.number("scale", 1.0) != 1.0:
        n.unsupported("RotaryEmbedding with a scale is not supported")
    x, positions = n[0], n[1]
    is_packed = n.rank(x) == 3
    if is_packed:
        half = n.extent(n[2], 1)
        heads: Dim = a.integer("num_heads", 0) or floor_div(n.extent(x, 2), 2 * half)
        if not isinstance(heads, int):
            n.unsupported("RotaryEmbedding needs num_heads, or to know the extents of its input and tables")
        x = unpacked(n, x, heads)
    if n.rank(positions) == 1:
        places = n(Add(), positions, _places(n, x, axis=2))
        positions = n(Expand(shape=(n.extent(x, 0), n.extent(x, 2))), places)
    y = n(RotaryEmbedding(interleaved=a.flag("interleaved")), x, n[2], n[3], positions)
    return packed(n, y) if is_packed else y


# ------------------------------------------------------------ around attention
@FAMILY.op("EmbedLayerNormalization", 1)
def _embed_layer_norm(n: OnnxNode) -> Result:
    """Operands: ids, segments, tables of words, positions and segments, gamma, beta, mask, positions."""
    return embed_layer_norm(n, lambda i, places: n(Gather(axis=0), n[i], places), (n[5], n[6]), n.optional(8))


def embed_layer_norm(
    n: OnnxNode, rows: Callable[[int, Tensor], Tensor], affine: tuple[Tensor, Tensor], positions: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The normalized sum of embeddings, how many places of each sequence the mask has, and the sum.

    Args:
        n: its operands are ids, segments, tables of words, positions and segments, two more, the mask.
        rows: of a table, by its place among the operands and the indices.
        affine: gamma and beta.
        positions: of the ids; 0, 1, ... when not given.
    """
    place = _places(n, n[0], axis=1) if positions is None else positions
    total = n(Add(), rows(2, n[0]), rows(3, place))
    segments = n.optional(1)
    if segments is not None and n.optional(4) is not None:
        total = n(Add(), total, rows(4, segments))
    y = n(LayerNorm(axis=2, epsilon=n.attributes.number("epsilon", 1e-12)), total, *affine)
    mask = n.optional(7)
    index: Tensor | None = None
    if n.wants(1) and mask is not None:
        ones = n(Cast(to=DType.I32), n(Equal(), mask, n.like(1, mask)))
        index = n(ReduceSum(axes=(1,), keepdims=False), ones)
    elif n.wants(1):
        index = n(Expand(shape=(n.extent(n[0], 0),)), constant(np.int32(0)))
    return y, index, total


@FAMILY.op("BiasSoftmax", 1)
def _bias_softmax(n: OnnxNode) -> Result:
    """The softmax is over all axes from `axis` on, as in Softmax before version 13."""
    data, bias = n[0], n[1]
    axis = n.axis(n.attributes.integer("axis", 1), n.rank(data))
    if n.attributes.flag("is_inner_broadcast", True) and n.rank(bias) != n.rank(data):
        n.unsupported("BiasSoftmax with a bias of fewer axes inside is not supported")
    total = n(Add(), data, bias)
    if axis == n.rank(total) - 1:
        return n(Softmax(axis=axis), total)
    op: Operator = Softmax(axis=1)
    return n(Reshape(shape=n.shape(total)), n(op, flattened(n, total, axis)))


@FAMILY.op("BiasSplitGelu", 1)
def _bias_split_gelu(n: OnnxNode) -> Result:
    half = floor_div(n.extent(n[0], 2), 2)
    left, right = _parts(n, n(Add(), n[0], n[1]), 2, (half, half))
    return n(Mul(), left, n(Gelu(approximate="none"), right))


@FAMILY.op("BiasAdd", 1)
def _bias_add(n: OnnxNode) -> Result:
    return n(Add(), n(Add(), n[0], n[1]), n[2])
