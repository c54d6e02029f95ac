"""Attention, rotary positions and caches: operators of opset 23 and later, decomposed before."""

from __future__ import annotations

from typing import Any

from uair.codegen.onnx.schema import ONNX_TYPE, NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dims import Dim, normal
from uair.ir.dtype import DType
from uair.ir.types import TensorType
from uair.ops.attention import Attention, CacheUpdate, LinearAttention, RotaryEmbedding

EMITTERS = Emitters()
SCORES = {"none": 0, "raw": 0, "capped": 1, "biased": 2, "probabilities": 3}


@EMITTERS.of(Attention, since=23)
def attention(e: Emission, op: Attention) -> None:
    """Attention; lengths exist from opset 24 on, windows from 25 on, a position of the first query nowhere."""
    check(e, op)
    windows: dict[str, Any] = {}
    if e.opset >= 25:
        windows = {
            f"{side}_window_size": -1 if bound is None else bound
            for side, bound in (("left", op.left_window), ("right", op.right_window))
        }
    names = [e.graph.name(t) for t in e.node.outputs]
    outputs = [names[0], *(names[1:3] if op.cache else ["", ""]), *(names[-1:] if op.scores != "none" else [])]
    while not outputs[-1]:
        outputs.pop()
    operands = [*e.operands, *[None] * (7 - len(e.operands))]
    lengths = [e.cast(e.x(6), DType.I64)] if e.given(6) else []
    attributes: dict[str, Any] = {
        "scale": op.scale,
        "softcap": op.softcap,
        "is_causal": int(op.causal),
        "softmax_precision": None if op.softmax_type is None else ONNX_TYPE[op.softmax_type],
        "qk_matmul_output_mode": SCORES[op.scores],
        **windows,
    }
    e.graph.add("Attention", [*operands[:6], *lengths], outputs, attributes, e.node.name or names[0])


def check(e: Emission, op: Attention) -> None:
    """Refuse what the operator of this opset does not say.

    Raises:
        NotExpressible: with the reason.
    """
    if e.given(7):
        raise NotExpressible("ONNX Attention takes no position of the first query")
    if e.given(6) and (e.opset < 24 or e.given(4)):
        raise NotExpressible("ONNX Attention takes the number of valid keys from opset 24 on, and then no past")
    if e.opset < 25 and (op.left_window is not None or op.right_window is not None):
        raise NotExpressible("ONNX Attention has windows from opset 25 on")
    if e.given(3):
        last, keys = e.shape(3)[-1], e.shape(1)[2] + (e.shape(4)[2] if e.given(4) else 0)
        if last != keys:
            raise NotExpressible(f"the mask has {last} keys of {keys}: runtimes want all of them")


@EMITTERS.of(RotaryEmbedding, since=23)
def rotary_embedding(e: Emission, op: RotaryEmbedding) -> None:
    """RotaryEmbedding."""
    half = e.shape(1)[-1]
    if not isinstance(half, int):
        raise NotExpressible("the number of rotated features must be known")
    dim = 0 if 2 * half == e.shape()[3] else 2 * half
    places = [e.cast(e.x(3), DType.I64)] if e.given(3) else []
    e.result("RotaryEmbedding", *e.operands[:3], *places, interleaved=int(op.interleaved), rotary_embedding_dim=dim)


@EMITTERS.of(CacheUpdate, since=24)
def cache_update(e: Emission, op: CacheUpdate) -> None:
    """TensorScatter."""
    starts = [e.cast(e.x(2), DType.I64)] if e.given(2) else []
    e.result("TensorScatter", e.x(0), e.x(1), *starts, axis=op.axis, mode=op.mode)


@EMITTERS.of(LinearAttention, since=27)
def linear_attention(e: Emission, op: LinearAttention) -> None:
    """LinearAttention, whose operands have the heads packed into the last axis."""
    heads, groups = e.shape(0)[1], e.shape(1)[1]
    if not isinstance(heads, int) or not isinstance(groups, int):
        raise NotExpressible("the numbers of heads must be known")
    rule = ("gated_" if e.given(4) else "") + ("delta" if e.given(5) else "")
    operands = [packed(e, i) if e.given(i) and i != 3 else e.optional(i) for i in range(len(e.node.inputs))]
    y, state = e.node.outputs
    batch, _, places, size = y.type.dims
    flat = TensorType(y.type.dtype, (batch, places, normal(heads * size)))
    inner = e.graph.fresh(f"{e.graph.name(y)}_packed", flat)
    e.graph.add(
        "LinearAttention",
        operands,
        [inner, e.graph.name(state)],
        {
            "q_num_heads": heads,
            "kv_num_heads": groups,
            "scale": op.scale,
            "update_rule": rule.rstrip("_") or "linear",
        },
        e.node.name or e.graph.name(y),
    )
    split = e.reshape(inner, (batch, places, heads, size))
    e.graph.add("Transpose", [split], [e.graph.name(y)], {"perm": (0, 2, 1, 3)}, f"{e.graph.name(y)}/Transpose")


def packed(e: Emission, i: int) -> str:
    """Operand `i`, [batch, heads, places, size], as [batch, places, heads * size]."""
    batch, heads, places, size = e.shape(i)
    width: Dim = normal(heads * size)
    return e.reshape(e.transpose(e.x(i), (0, 2, 1, 3)), (batch, places, width))
