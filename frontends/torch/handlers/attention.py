"""Attention, kept whole: torch's scaled dot-product attention in all its spellings, and its fused layers."""

from __future__ import annotations

from uair import ops
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.ir.dims import floor_div, normal, product
from uair.ir.dtype import DType
from uair.ir.graph import Tensor

FAMILY = Family()

_HEADS_FIRST = (0, 2, 1, 3)


@FAMILY.op("aten.scaled_dot_product_attention")
def _attention(node: TorchNode) -> Tensor:
    """[..., heads, places, size]; fewer axes than four have one head, more are one batch."""
    _refuse_dropout(node)
    q, k, v = (node.tensor(name) for name in ("query", "key", "value"))
    mask = node.optional("attn_mask")
    y = attended(node, q, k, v, mask, scale=node.get("scale"), causal=bool(node.get("is_causal", False)))
    return node.reshaped(y, node.result.dims)


@FAMILY.op(
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
    "aten._scaled_dot_product_attention_math",
    "aten._scaled_dot_product_fused_attention_overrideable",
)
def _fused_attention(node: TorchNode) -> Result:
    """What torch chooses for a device; only the first result means anything in inference."""
    _refuse_dropout(node)
    if any(node.wants(i) for i in range(1, len(node.call.results))):
        node.refuse("results for training are used", "export the module in evaluation mode, from torch.export.export")
    q, k, v = (node.tensor(name) for name in ("query", "key", "value"))
    mask = node.optional("attn_mask")
    mask = node.optional("attn_bias") if mask is None else mask
    y = attended(node, q, k, v, mask, scale=node.get("scale"), causal=bool(node.get("is_causal", False)))
    return (node.reshaped(y, node.result.dims),)


def _refuse_dropout(node: TorchNode) -> None:
    if node.get("dropout_p", 0.0):
        node.refuse("attention drops probabilities at random", "call module.eval() first, and give dropout_p=0")


def attended(
    node: TorchNode, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, scale: float | None, causal: bool
) -> Tensor:
    """Attention over the last two axes of operands of two or more axes; four of them stay as they are."""
    q, k, v = (_four(node, x) for x in (q, k, v))
    if mask is not None:
        mask = _mask(node, mask, q)
    scale = None if scale is None else float(scale)
    return node(ops.Attention(scale=scale, causal=causal), q, k, v, mask)


def _four(node: TorchNode, x: Tensor) -> Tensor:
    """An operand with four axes: missing ones are 1, surplus ones are the batch."""
    shape = node.shape(x)
    if len(shape) == 4:
        return x
    if len(shape) < 4:
        return node(ops.Unsqueeze(axes=(0, 1) if len(shape) == 2 else (1,)), x)
    return node.reshaped(x, (normal(product(shape[:-3])), *shape[-3:]))


def _mask(node: TorchNode, mask: Tensor, q: Tensor) -> Tensor:
    """The mask of bools or of the queries' type. One of three axes has the batch first as the operands had."""
    if mask.type.dtype is not DType.BOOL:
        mask = node.cast(mask, q.type.dtype)
    rank = node.rank(mask)
    given = node.rank(node.tensor("query")) if "query" in node.values else 4
    if rank == 3 and given == 3:
        return node(ops.Unsqueeze(axes=(1,)), mask)
    if rank > 4:
        shape = node.shape(mask)
        outer = node.shape(node.tensor("query"))[:-3]
        if shape[:-3] != outer:
            mask = node(ops.Expand(shape=(*outer, *shape[-3:])), mask)
        mask = node.reshaped(mask, (normal(product(outer)), *shape[-3:]))
    return mask


# ------------------------------------------------------------------------------------------------ fused layers
@FAMILY.op("aten._native_multi_head_attention")
def _multi_head(node: TorchNode) -> Result:
    """Self-attention over [batch, places, features] with one matrix for queries, keys and values."""
    q, k, v = (node.tensor(name) for name in ("query", "key", "value"))
    if q is not k or k is not v:
        node.refuse("queries, keys and values differ", "export the module in training-free eager form")
    y, weights = _layer(node, q, node.get("num_head"), node.wants(1) and node.get("need_weights", True))
    if weights is not None and node.get("average_attn_weights", True):
        weights = node(ops.ReduceMean(axes=(1,), keepdims=False), weights)
    return y, weights


def _layer(node: TorchNode, x: Tensor, heads: int, wants_scores: bool) -> tuple[Tensor, Tensor | None]:
    """The projections around attention; the probabilities [batch, heads, places, places] when wanted."""
    batch, places, width = node.shape(x)
    joint = node(ops.Linear(), x, node.tensor("qkv_weight"), node.tensor("qkv_bias"))
    apart = node.all(ops.Split(axis=2, sizes=(width, width, width)), joint)
    size = floor_div(width, heads)
    q, k, v = (
        node(ops.Transpose(perm=_HEADS_FIRST), node.reshaped(part, (batch, places, heads, size))) for part in apart
    )
    op = ops.Attention(scores="probabilities" if wants_scores else "none")
    y, *scores = node.all(op, q, k, v, _forbidden(node, x))
    y = node.reshaped(node(ops.Transpose(perm=_HEADS_FIRST), y), (batch, places, width))
    y = node(ops.Linear(), y, node.tensor("proj_weight"), node.tensor("proj_bias"))
    return y, scores[0] if scores else None


def _forbidden(node: TorchNode, x: Tensor) -> Tensor | None:
    """The mask of a fused layer: true where a key does not count; kind 0 [places, places], 1 [batch, places]."""
    mask = node.optional("mask")
    if mask is None:
        return None
    if mask.type.dtype is not DType.BOOL:
        mask = node(ops.NotEqual(), mask, node.like(0, mask))
    kept = node(ops.LogicalNot(), mask)
    if node.get("mask_type") == 1 and node.rank(kept) == 2:
        return node(ops.Unsqueeze(axes=(1, 2)), kept)
    return kept


@FAMILY.op("aten._transformer_encoder_layer_fwd")
def _encoder_layer(node: TorchNode) -> Tensor:
    """A whole encoder layer, its norms before or after the blocks."""
    x, first = node.tensor("src"), bool(node.get("norm_first"))

    def normed(t: Tensor, i: int) -> Tensor:
        return node(
            ops.LayerNorm(axis=-1, epsilon=float(node.get("eps"))),
            t,
            node.tensor(f"norm_weight_{i}"),
            node.tensor(f"norm_bias_{i}"),
        )

    inner, _ = _layer(node, normed(x, 1) if first else x, node.get("num_heads"), False)
    x = node(ops.Add(), x, inner)
    x = x if first else normed(x, 1)
    hidden = node(ops.Linear(), normed(x, 2) if first else x, node.tensor("ffn_weight_1"), node.tensor("ffn_bias_1"))
    hidden = node(ops.Gelu() if node.get("use_gelu") else ops.Relu(), hidden)
    hidden = node(ops.Linear(), hidden, node.tensor("ffn_weight_2"), node.tensor("ffn_bias_2"))
    x = node(ops.Add(), x, hidden)
    return x if first else normed(x, 2)
