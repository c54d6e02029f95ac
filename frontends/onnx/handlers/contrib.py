"""Operators of onnxruntime's domain com.microsoft that its optimiser writes, in terms of the canonical ones.

Source: onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from typing import Any

from uair.frontends.onnx.handlers.convolution import check_kernel, spatial_rank, window
from uair.frontends.onnx.handlers.linear import gemm, scaled
from uair.frontends.onnx.handlers.normalization import inverse_root, layer_statistics, rms_norm
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dims import static
from uair.ir.graph import Tensor
from uair.ops import (
    Add,
    Clip,
    Conv1D,
    Conv2D,
    Conv3D,
    Gelu,
    HardSigmoid,
    LayerNorm,
    LeakyRelu,
    MatMul,
    ReduceL2,
    ReduceSumSquare,
    Relu,
    RMSNorm,
    Sigmoid,
    Sub,
    Swish,
    Tanh,
    Unsqueeze,
)

FAMILY = Family("com.microsoft")
_QUICK_ALPHA = 1.702
_CONVOLUTIONS: dict[int, Any] = {1: Conv1D, 2: Conv2D, 3: Conv3D}


@FAMILY.op("Gelu", 1)
def _gelu(n: OnnxNode) -> Result:
    return n(Gelu(approximate="none"), n[0])


@FAMILY.op("FastGelu", 1)
def _fast_gelu(n: OnnxNode) -> Result:
    bias = n.optional(1)
    return n(Gelu(approximate="tanh"), n[0] if bias is None else n(Add(), n[0], bias))


@FAMILY.op("QuickGelu", 1)
def _quick_gelu(n: OnnxNode) -> Result:
    """X * sigmoid(alpha * x), alpha 1.702 unless given."""
    alpha = n.attributes.number("alpha", _QUICK_ALPHA)
    if abs(alpha - _QUICK_ALPHA) < 1e-6:
        return n(Gelu(approximate="quick"), n[0])
    return n(Swish(alpha=alpha), n[0])


@FAMILY.op("BiasGelu", 1)
def _bias_gelu(n: OnnxNode) -> Result:
    return n(Gelu(approximate="none"), n(Add(), n[0], n[1]))


@FAMILY.op("SkipLayerNormalization", 1)
def _skip_layer_norm(n: OnnxNode) -> Result:
    """Operands: input, skip, gamma, beta, bias. The fourth result is the sum before normalization."""
    total = _skip_sum(n, n.optional(4))
    axis, epsilon = n.rank(total) - 1, n.attributes.number("epsilon", 1e-12)
    y = n(LayerNorm(axis=axis, epsilon=epsilon), total, n[2], n.optional(3))
    if not n.wants(1) and not n.wants(2):
        return y, None, None, total
    return (y, *layer_statistics(n, total, (axis,), epsilon), total)


@FAMILY.op("SkipSimplifiedLayerNormalization", 1)
def _skip_rms_norm(n: OnnxNode) -> Result:
    """Operands: input, skip, gamma, bias. There is no mean."""
    if n.wants(1):
        n.unsupported("SkipSimplifiedLayerNormalization has no mean to give")
    total = _skip_sum(n, n.optional(3))
    axis, epsilon = n.rank(total) - 1, n.attributes.number("epsilon", 1e-12)
    y = n(RMSNorm(axis=axis, epsilon=epsilon), total, n[2])
    return y, None, inverse_root(n, total, (axis,), epsilon) if n.wants(2) else None, total


def _skip_sum(n: OnnxNode, bias: Tensor | None) -> Tensor:
    total = n(Add(), n[0], n[1])
    return total if bias is None else n(Add(), total, bias)


FAMILY.add("SimplifiedLayerNormalization", (1,), rms_norm)


@FAMILY.op("FusedMatMul", 1)
@FAMILY.op("TransposeMatMul", 1)
def _fused_matmul(n: OnnxNode) -> Result:
    a = n.attributes
    if a.flag("transBatchA") or a.flag("transBatchB"):
        n.unsupported(f"{n.op_type} with transposed batches is not supported")
    alpha = a.number("alpha", 1.0)
    trans_a, trans_b = (a.flag(key) and n.rank(n[i]) > 1 for i, key in enumerate(("transA", "transB")))
    product = n(MatMul(trans_a=trans_a, trans_b=trans_b), n[0], n[1])
    return product if alpha == 1 else scaled(n, product, alpha)


@FAMILY.op("FusedGemm", 1)
def _fused_gemm(n: OnnxNode) -> Result:
    names = {"activation_alpha": "alpha", "activation_beta": "beta", "activation_gamma": "gamma"}
    given = {short: n.attributes.number(name, None) for name, short in names.items()}
    return _activated(n, gemm(n), [v for v in given.values() if v is not None])


@FAMILY.op("FusedConv", 1)
def _fused_conv(n: OnnxNode) -> Result:
    """Conv, plus an optional fourth operand of the result's shape, then an activation."""
    x, w, addend = n[0], n[1], n.optional(3)
    rank = spatial_rank(n, x, w)
    check_kernel(n, w)
    op = _CONVOLUTIONS[rank](groups=n.attributes.integer("group", 1), **window(n, rank))
    if op.auto_pad != "notset":
        op = op.with_explicit_pads(n.shape(x)[2:], static(n.shape(w)[2:]))
    result = n(op, x, w, n.optional(2))
    if addend is not None:
        result = n(Add(), result, addend)
    return _activated(n, result, n.attributes.numbers("activation_params", ()))


def _activated(n: OnnxNode, x: Tensor, parameters: Any) -> Tensor:
    """The activation that the attribute names, with its parameters in order."""
    name = n.attributes.text("activation", "")
    values = [float(p) for p in parameters]
    plain: dict[str, Any] = {"Relu": Relu, "Sigmoid": Sigmoid, "Tanh": Tanh}
    if not name:
        return x
    if name in plain:
        return n(plain[name](), x)
    if name == "LeakyRelu":
        return n(LeakyRelu(alpha=values[0] if values else 0.01), x)
    if name == "Clip" and len(values) == 2:
        return n(Clip(min=values[0], max=values[1]), x)
    if name == "HardSigmoid" and len(values) == 2:
        return n(HardSigmoid(alpha=values[0], beta=values[1]), x)
    n.unsupported(f"{n.op_type} with activation {name!r} and parameters {values} is not supported")


@FAMILY.op("CDist", 1)
def _cdist(n: OnnxNode) -> Result:
    """Distances of the rows of two matrices: [rows of A, rows of B]."""
    squared = n.attributes.choice("metric", True, {"sqeuclidean": True, "euclidean": False})
    difference = n(Sub(), n(Unsqueeze(axes=(1,)), n[0]), n(Unsqueeze(axes=(0,)), n[1]))
    operator = ReduceSumSquare if squared else ReduceL2
    return n(operator(axes=(2,), keepdims=False), difference)
