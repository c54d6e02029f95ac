"""Attention, rotary positions, caches, and the layers of linear-attention models.

The canonical operators have one axis for the heads; ONNX also packs them into the last axis.
"""

from __future__ import annotations

import math
from typing import cast

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.frontends.onnx.tensors import dtype_of
from uair.ir.dims import Dim, floor_div, normal
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Attention,
    CacheUpdate,
    Cast,
    Concat,
    Conv1D,
    Expand,
    LinearAttention,
    MatMul,
    Mul,
    Reshape,
    RotaryEmbedding,
    Softmax,
    Split,
    Swish,
    Transpose,
)
from uair.ops.attention import Scores

FAMILY = Family()

_HEADS_FIRST = (0, 2, 1, 3)
_SCORES: dict[int, Scores] = {0: "raw", 1: "capped", 2: "biased", 3: "probabilities"}


def unpacked(n: OnnxNode, x: Tensor, heads: int) -> Tensor:
    """[batch, places, heads * size] as [batch, heads, places, size].

    Raises:
        OnnxAttributeError: the heads do not divide the last axis.
    """
    batch, places, width = n.shape(x)
    if heads < 1 or (isinstance(width, int) and width % heads):
        n.refuse(f"{width} features cannot be divided among {heads} heads")
    return n(Transpose(perm=_HEADS_FIRST), n(Reshape(shape=(batch, places, heads, floor_div(width, heads))), x))


def packed(n: OnnxNode, x: Tensor) -> Tensor:
    """[batch, heads, places, size] as [batch, places, heads * size]."""
    batch, heads, places, size = n.shape(x)
    return n(Reshape(shape=(batch, places, normal(heads * size))), n(Transpose(perm=_HEADS_FIRST), x))


@FAMILY.op("Attention", 23, 24, 25)
def _attention(n: OnnxNode) -> Result:
    """Version 24 adds the number of valid keys and masks that are shorter than the keys, 25 adds windows."""
    a = n.attributes
    q, k, v = n[0], n[1], n[2]
    is_packed = n.rank(q) == 3
    if is_packed:
        a.required("q_num_heads")
        a.required("kv_num_heads")
        heads, groups = a.integer("q_num_heads", 0), a.integer("kv_num_heads", 0)
        q, k, v = unpacked(n, q, heads), unpacked(n, k, groups), unpacked(n, v, groups)
    past_k, past_v = n.optional(4), n.optional(5)
    lengths = n.optional(6)
    if lengths is not None and past_k is not None:
        n.refuse("nonpad_kv_seqlen cannot be combined with past_key", "a cache is updated here or before, not both")
    precision = a.integer("softmax_precision", None)
    bounds = [a.integer(f"{side}_window_size", -1) for side in ("left", "right")]
    if min(bounds) < -1:
        n.refuse(f"a window of {min(bounds)} positions; -1 means no bound")
    wants_scores = n.wants(3)
    op = Attention(
        scale=a.number("scale", None),
        softcap=a.number("softcap", 0.0),
        causal=a.flag("is_causal"),
        left_window=None if bounds[0] < 0 else bounds[0],
        right_window=None if bounds[1] < 0 else bounds[1],
        softmax_type=None if precision is None else dtype_of(precision, n.place),
        cache=past_k is not None,
        scores=_scores(n) if wants_scores else "none",
    )
    results = list(n.all(op, q, k, v, _mask(n, q, k, past_k), past_k, past_v, lengths))
    scores = results.pop() if wants_scores else None
    y = packed(n, results[0]) if is_packed else results[0]
    present_k, present_v = results[1:] if op.cache else (k, v)
    return y, present_k, present_v, scores


def _scores(n: OnnxNode) -> Scores:
    mode = n.attributes.integer("qk_matmul_output_mode", 0)
    if mode not in _SCORES:
        n.refuse(f"qk_matmul_output_mode is {mode}, it must be 0, 1, 2 or 3")
    return _SCORES[mode]


def _mask(n: OnnxNode, q: Tensor, k: Tensor, past_k: Tensor | None) -> Tensor | None:
    """The mask, of bool or of the queries' type; in version 23 a last axis of 1 counts for all keys."""
    mask = n.optional(3)
    if mask is None:
        return None
    if mask.type.dtype not in (DType.BOOL, q.type.dtype):
        mask = n(Cast(to=q.type.dtype), mask)
    shape = n.shape(mask)
    if n.version == 23 and shape and shape[-1] == 1:
        keys: Dim = n.extent(k, 2) if past_k is None else n.extent(k, 2) + n.extent(past_k, 2)
        mask = n(Expand(shape=(*shape[:-1], normal(keys))), mask)
    return mask


@FAMILY.op("RotaryEmbedding", 23)
def _rotary_embedding(n: OnnxNode) -> Result:
    """The number of rotated features shows in the tables."""
    a = n.attributes
    x, cos, sin, positions = n[0], n[1], n[2], n.optional(3)
    is_packed = n.rank(x) == 3
    if is_packed:
        a.required("num_heads")
        x = unpacked(n, x, a.integer("num_heads", 0))
    rotated = a.integer("rotary_embedding_dim", 0) or n.extent(x, 3)
    half = n.extent(cos, n.rank(cos) - 1)
    if isinstance(rotated, int) and isinstance(half, int) and half != rotated // 2:
        n.refuse(f"{rotated} features are rotated, but cos_cache has {half} angles instead of {rotated // 2}")
    y = n(RotaryEmbedding(interleaved=a.flag("interleaved")), x, cos, sin, positions)
    return packed(n, y) if is_packed else y


@FAMILY.op("TensorScatter", 24)
def _tensor_scatter(n: OnnxNode) -> Result:
    a = n.attributes
    circular = a.choice("mode", False, {"linear": False, "circular": True})
    axis = n.axis(a.integer("axis", -2), n.rank(n[0]))
    return n(CacheUpdate(axis=axis, mode="circular" if circular else "linear"), n[0], n[1], n.optional(2))


@FAMILY.op("SwiGLU", 28)
def _swiglu(n: OnnxNode) -> Result:
    return n(Mul(), n(Swish(alpha=n.attributes.number("alpha", 1.0)), n[0]), n[1])


@FAMILY.op("CausalConvWithState", 27)
def causal_convolution(n: OnnxNode) -> Result:
    """A depthwise convolution over the carried places and the new ones; the last places are carried on."""
    x, w, bias, past = n[0], n[1], n.optional(2), n.optional(3)
    batch, channels, length = n.shape(x)
    kernel = n.extent(w, 2)
    if not isinstance(kernel, int) or not isinstance(channels, int):
        n.unsupported("CausalConvWithState needs to know its channels and the extent of its kernel")
    if past is None:
        zero = n.like(0, x)
        past = n(Expand(shape=(batch, channels, kernel - 1)), zero)
    joined = n(Concat(axis=2), past, x)
    activation = n.attributes.choice("activation", False, {"none": False, "silu": True, "swish": True})
    y = n(Conv1D(groups=channels), joined, w, bias)
    _, state = n.all(Split(axis=2, sizes=(length, kernel - 1)), joined)
    return (n(Swish(alpha=1.0), y) if activation else y), state


@FAMILY.op("LinearAttention", 27)
def linear_attention(n: OnnxNode) -> Result:
    """`update_rule` says which of decay and beta there are; `chunk_size` is a hint for kernels."""
    a = n.attributes
    a.required("q_num_heads")
    a.required("kv_num_heads")
    heads, groups = a.integer("q_num_heads", 0), a.integer("kv_num_heads", 0)
    rules = {"linear": (False, False), "gated": (True, False), "delta": (False, True), "gated_delta": (True, True)}
    gated, delta = a.choice("update_rule", (True, True), rules)
    decay, beta = n.optional(4), n.optional(5)
    if (decay is not None) != gated or (beta is not None) != delta:
        n.refuse("update_rule does not fit the operands: the gated rules take decay, the delta rules beta")
    q, k, v = unpacked(n, n[0], heads), unpacked(n, n[1], groups), unpacked(n, n[2], groups)
    if beta is not None:
        beta = unpacked(n, beta, 1 if n.extent(beta, 2) == 1 else groups)
    op = LinearAttention(scale=a.number("scale", 0.0) or None)
    y, following = n.all(op, q, k, v, n.optional(3), None if decay is None else unpacked(n, decay, groups), beta)
    return packed(n, y), following


@FAMILY.op("FlexAttention", 1, domain="ai.onnx.preview")
def _flex_attention(n: OnnxNode) -> Result:
    """Attention whose scores and probabilities are changed by subgraphs, which take the node's place.

    The softmax and what follows are in `softmax_precision`, at least f32 when it is not given.
    """
    a = n.attributes
    q, k, v = n[0], n[1], n[2]
    for i in range(3):
        if n.rank(n[i]) != 4:
            n.refuse(f"input {i} has {n.rank(n[i])} axes, it must have 4")
    precision = a.integer("softmax_precision", None)
    given = q.type.dtype
    wide = DType.F32 if given.bits < 32 else given
    if precision is not None:
        wide = dtype_of(precision, n.place)
    scale = a.number("scale", None)
    if a.graph("score_mod") is None and a.graph("prob_mod") is None and wide is given:
        return n(Attention(scale=scale), q, k, v)
    size = n.extent(q, 3)
    if scale is None and not isinstance(size, int):
        n.unsupported("FlexAttention needs the number of features or a scale")
    root = math.sqrt(1 / math.sqrt(cast(int, size)) if scale is None else scale)
    left, right = n(Mul(), q, n.like(root, q)), n(Mul(), k, n.like(root, k))
    scores = n.cast(_shared_product(n, left, n(Transpose(perm=(0, 1, 3, 2)), right), n.extent(q, 1)), wide)
    scores = _modified(n, "score_mod", scores)
    probabilities = _modified(n, "prob_mod", n(Softmax(axis=3), scores))
    return n.cast(_shared_product(n, probabilities, n.cast(v, wide), n.extent(q, 1)), given)


def _modified(n: OnnxNode, name: str, x: Tensor) -> Tensor:
    """The one output of a subgraph of one input; x itself when there is no such subgraph."""
    graph = n.attributes.graph(name)
    if graph is None:
        return x
    if len(graph.input) != 1 or len(graph.output) != 1:
        n.refuse(f"{name} takes {len(graph.input)} inputs and gives {len(graph.output)} outputs, it must be one each")
    (result,) = n.importer.subgraph(n, graph, [x])
    return result


def _shared_product(n: OnnxNode, x: Tensor, y: Tensor, heads: Dim) -> Tensor:
    """x: [batch, heads, n, m] times y: [batch, groups, m, p], where heads that follow each other share a group."""
    batch, _, rows, depth = n.shape(x)
    groups, columns = n.extent(y, 1), n.extent(y, 3)
    if groups == heads:
        return n(MatMul(), x, y)
    if isinstance(heads, int) and isinstance(groups, int) and (groups < 1 or heads % groups):
        n.refuse(f"{heads} heads cannot share {groups} groups of keys")
    together = n(Reshape(shape=(batch, groups, normal(floor_div(heads, groups) * rows), depth)), x)
    return n(Reshape(shape=(batch, heads, rows, columns)), n(MatMul(), together, y))
