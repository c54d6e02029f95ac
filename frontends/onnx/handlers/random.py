"""Random numbers, and what is drawn by means of them.

A seed is a number of type float; what counts of it is the whole number that it begins with, as in onnx's reference
evaluator and in onnxruntime.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.frontends.onnx.tensors import dtype_of
from uair.ir.dims import is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import (
    Add,
    Cast,
    Clip,
    CumSum,
    Div,
    Expand,
    GreaterEqual,
    Less,
    LessEqual,
    LogicalNot,
    LogicalOr,
    Mul,
    RandomNormal,
    RandomUniform,
    ReduceSum,
    ShapeOf,
    Softmax,
    Sub,
    Unsqueeze,
    Where,
)

FAMILY = Family()
MAX_SEED = 2.0**63


def seed_of(n: OnnxNode) -> int | None:
    """The seed, for Dropout an integer; None when it is left out or no number."""
    a = n.attributes
    value = a.integer("seed", None) if "Dropout" in n.op_type else a.number("seed", None)
    if value is None or math.isnan(value):
        return None
    if abs(value) >= MAX_SEED:
        n.refuse(f"the seed {value} is no whole number that can be a seed")
    return int(value)


def _dtype(n: OnnxNode, default: DType) -> DType:
    number = n.attributes.integer("dtype", None)
    return default if number is None else dtype_of(number, n.place)


def _distribution(n: OnnxNode) -> dict[str, float]:
    names = {"low": 0.0, "high": 1.0} if "Uniform" in n.op_type else {"mean": 0.0, "scale": 1.0}
    return {name: n.attributes.number(name, default) for name, default in names.items()}


def _operator(n: OnnxNode) -> Any:
    return RandomUniform if "Uniform" in n.op_type else RandomNormal


@FAMILY.op("RandomNormal", 1, 22)
@FAMILY.op("RandomUniform", 1, 22)
def _random(n: OnnxNode) -> Result:
    n.attributes.required("shape")
    shape = n.attributes.integers("shape", ())
    return n(_operator(n)(shape=shape, dtype=_dtype(n, DType.F32), seed=seed_of(n), **_distribution(n)))


@FAMILY.op("RandomNormalLike", 1, 22)
@FAMILY.op("RandomUniformLike", 1, 22)
def _random_like(n: OnnxNode) -> Result:
    x = n[0]
    return drawn_like(n, x, _operator(n), dtype=_dtype(n, x.type.dtype), seed=seed_of(n), **_distribution(n))


def drawn_like(n: OnnxNode, x: Tensor, operator: Any = RandomUniform, **attributes: Any) -> Tensor:
    """Random numbers in the shape of a tensor."""
    shape = x.type.shape
    if shape is not None:
        return n(operator(shape=shape, **attributes))
    return n(operator(**attributes), n(ShapeOf(), x))


@FAMILY.op("Bernoulli", 15, 22)
def _bernoulli(n: OnnxNode) -> Result:
    """1 with the probability that the operand says: where a uniform number is below it.

    ONNX's own definition compares the other way round, which would be 1 with the probability of 0.
    """
    x = n[0]
    below = n(Less(), drawn_like(n, x, dtype=DType.F64, seed=seed_of(n)), n.cast(x, DType.F64))
    to = _dtype(n, x.type.dtype)
    return n.cast(below, to)


@FAMILY.op("Multinomial", 7, 22)
def _multinomial(n: OnnxNode) -> Result:
    """Classes by unnormalized log-probabilities [batch, classes]: how many sums of probabilities a draw is not below.

    The sums are formed in f64 as softmax does, and the last class is never passed by for the sake of rounding.
    """
    x = n[0]
    to = _dtype(n, DType.I32)
    count = n.attributes.integer("sample_size", 1)
    if n.rank(x) != 2 or count < 1 or to not in (DType.I32, DType.I64):
        n.refuse(f"needs a matrix, a positive sample_size and i32 or i64, got {x.type}, {count} and {to}")
    batch, classes = n.shape(x)
    sums = n(Unsqueeze(axes=(1,)), n(CumSum(axis=1), n(Softmax(axis=1), n.cast(x, DType.F64))))
    draws = n(RandomUniform(shape=(batch, count, 1), dtype=DType.F64, seed=seed_of(n)))
    passed = n(ReduceSum(axes=(2,), keepdims=False), n(Cast(to=to), n(LessEqual(), sums, draws)))
    return n(Clip(max=float(classes - 1)), passed) if isinstance(classes, int) else passed


# ------------------------------------------------------------------------------ dropout
@FAMILY.op("Dropout", 1, 6)
def _dropout_by_mode(n: OnnxNode) -> Result:
    """Versions 1 and 6 train unless `is_test`."""
    ratio = n.attributes.number("ratio", 0.5)
    if n.attributes.flag("is_test") or ratio == 0:
        return _with_mask(n, n[0], None)
    return _with_mask(n, *_dropped(n, n[0], n.like(ratio, n[0]), None))


@FAMILY.op("Dropout", 7, 10)
def _dropout_for_inference(n: OnnxNode) -> Result:
    """Versions 7 and 10 know inference only."""
    return _with_mask(n, n[0], None)


@FAMILY.op("Dropout", 12, 13, 22)
def _dropout(n: OnnxNode) -> Result:
    """Operands: data, ratio (0.5 unless given), whether to train (no unless given)."""
    return _with_mask(n, *_by_operands(n, n[0], 1, 2))


@FAMILY.op("BiasDropout", 1, domain="com.microsoft")
@FAMILY.op("BitmaskBiasDropout", 1, domain="com.microsoft")
def _bias_dropout(n: OnnxNode) -> Result:
    """Dropout of data + bias, plus the residual. Operands: data, bias, residual, ratio, whether to train."""
    y, mask = _by_operands(n, n(Add(), n[0], n[1]), 3, 4)
    return _with_mask(n, y if n.optional(2) is None else n(Add(), y, n[2]), mask)


@FAMILY.op("BitmaskDropout", 1, domain="com.microsoft")
def _bitmask_dropout(n: OnnxNode) -> Result:
    return _with_mask(n, *_by_operands(n, n[0], 1, 2))


def _by_operands(n: OnnxNode, x: Tensor, ratio_at: int, training_at: int) -> tuple[Tensor, Tensor | None]:
    """The result and the mask (None: all is kept) of a dropout whose ratio and mode are operands."""
    training = n.optional(training_at)
    known = 0 if training is None else n.scalar(training_at)
    if known == 0 or (n.optional(ratio_at) is not None and n.scalar(ratio_at) == 0):
        return x, None
    ratio = n.optional(ratio_at)
    return _dropped(n, x, n.like(0.5, x) if ratio is None else ratio, None if known is not None else training)


def _dropped(n: OnnxNode, x: Tensor, ratio: Tensor, training: Tensor | None) -> tuple[Tensor, Tensor]:
    """Elements whose uniform number (f64) is not below the ratio, divided by 1 - ratio; the others become 0.

    Args:
        n: the node.
        x: the elements.
        ratio: the share that is dropped.
        training: whether anything is dropped at all; None: yes.
    """
    wide = n.cast(n.single(ratio), DType.F64)
    mask = n(GreaterEqual(), drawn_like(n, x, dtype=DType.F64, seed=seed_of(n)), wide)
    one = n.like(1, wide)
    scale: Tensor = n(Div(), one, n(Sub(), one, wide))
    if training is not None:
        training = n.single(training)
        mask = n(LogicalOr(), mask, n(LogicalNot(), training))
        scale = n(Where(), training, scale, one)
    factor = n.cast(scale, x.type.dtype)
    return n(Where(), mask, n(Mul(), x, factor), n.like(0, x)), mask


def _with_mask(n: OnnxNode, y: Tensor, mask: Tensor | None) -> Result:
    """The results; the mask (None: all is kept) is of the data's type before version 10 of Dropout, then bool."""
    if not n.wants(1):
        return y
    if n.op_type.startswith("Bitmask"):
        n.unsupported(f"{n.op_type}: the mask packed in bits is not supported", "use BiasDropout or Dropout")
    kept = y.type.dtype if n.op_type == "Dropout" and n.version < 10 else DType.BOOL
    if mask is not None:
        return y, n.cast(mask, kept)
    shape = y.type.shape
    if shape is not None and is_static(shape):
        return y, n.filled(1, kept, static(shape))
    one = constant(np.ones((), kept.numpy))
    return y, n(Expand(shape=shape), one) if shape is not None else n(Expand(), one, n(ShapeOf(), y))
