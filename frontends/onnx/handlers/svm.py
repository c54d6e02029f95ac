"""Support vector machines (ai.onnx.ml)."""

from __future__ import annotations

import numpy as np

from uair.frontends.onnx.handlers.classical import (
    affine,
    best,
    binary_scores,
    labels_of,
    matrix,
    pick,
    real,
    transform,
    transformed,
)
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ops import (
    Add,
    ArgMax,
    Cast,
    Exp,
    Greater,
    GreaterEqual,
    Linear,
    LogicalOr,
    Mul,
    PairwiseCoupling,
    Pow,
    ReduceMax,
    ReduceSum,
    Sub,
    Tanh,
    Unsqueeze,
    Where,
)

FAMILY = Family("ai.onnx.ml")
_KERNELS = {name: name for name in ("LINEAR", "POLY", "RBF", "SIGMOID")}


def _kernel(n: OnnxNode, x: Tensor, vectors: Array) -> Tensor:
    """The kernel of each row of x [N, F] with each support vector [S, F]: [N, S]."""
    kind = n.attributes.choice("kernel_type", "LINEAR", _KERNELS)
    parameters = n.attributes.numbers("kernel_params", ()) or (0.0, 0.0, 0.0)
    if len(parameters) != 3:
        n.refuse(f"kernel_params must be gamma, coef0 and degree, are {list(parameters)}")
    gamma, offset, degree = parameters
    if kind == "RBF":
        apart = n(Sub(), n(Unsqueeze(axes=(1,)), x), constant(vectors))
        distance = n(ReduceSum(axes=(2,), keepdims=False), n(Mul(), apart, apart))
        return n(Exp(), n(Mul(), distance, n.like(-gamma, x)))
    product = n(Linear(transpose_w=True), x, constant(vectors))
    if kind == "LINEAR":
        return product
    scaled = n(Add(), n(Mul(), product, n.like(gamma, x)), n.like(offset, x))
    return n(Tanh(), scaled) if kind == "SIGMOID" else n(Pow(), scaled, n.like(degree, x))


def _numbers(n: OnnxNode, name: str, least: int) -> Array:
    """A list of at least so many numbers.

    Raises:
        OnnxAttributeError: there are fewer.
    """
    values = real(n, name)
    if values is None or len(values) < least:
        n.refuse(f"{name} must have {least} numbers, has {0 if values is None else len(values)}")
    return values


def _vectors(n: OnnxNode, count: int) -> Array:
    values = _numbers(n, "support_vectors", count)
    if len(values) % count:
        n.refuse(f"{len(values)} numbers do not make {count} support vectors")
    return values.reshape(count, -1)


@FAMILY.op("SVMRegressor", 1)
def _regressor(n: OnnxNode) -> Result:
    """A weighted sum of kernels; of one class: 1 where it is positive, else -1."""
    x, a = matrix(n, n.cast(n[0], DType.F32)), n.attributes
    supports = a.integer("n_supports", 0)
    rho = _numbers(n, "rho", 1)
    coefficients = _numbers(n, "coefficients", max(supports, 1))
    if supports > 0:
        x = _kernel(n, x, _vectors(n, supports))
        coefficients = coefficients[:supports]
    score = affine(n, x, coefficients, rho[:1], 1)
    if a.flag("one_class"):
        score = n(Where(), n(Greater(), score, n.like(0, score)), n.like(1, score), n.like(-1, score))
    return transformed(n, score, transform(n))


@FAMILY.op("SVMClassifier", 1)
def _classifier(n: OnnxNode) -> Result:
    x = matrix(n, n.cast(n[0], DType.F32))
    labels = labels_of(n, "classlabels_ints", "classlabels_strings")
    sizes = n.attributes.integers("vectors_per_class", ())
    if not sum(sizes):
        return _linear(n, x, labels)
    count = len(labels.numpy())
    if len(sizes) != count or min(sizes) < 0 or count < 2:
        n.refuse(f"there are {count} classes, and vectors of {len(sizes)}")
    return _pairs(n, x, labels, np.array(sizes, np.int64))


def _linear(n: OnnxNode, x: Tensor, labels: Tensor) -> Result:
    """One affine score per class."""
    count = len(labels.numpy())
    coefficients = _numbers(n, "coefficients", count)
    scores = affine(n, x, coefficients, _numbers(n, "rho", 1)[:1], count)
    result = transformed(n, scores, transform(n))
    if count != 2:
        return best(n, labels, scores), result
    top = n(ReduceMax(axes=(1,), keepdims=False), scores)
    if (coefficients >= 0).all():
        second = n(GreaterEqual(), top, n.like(0.5, top))
    else:
        second = n(Greater(), top, n.like(0, top))
    greatest = n(Cast(to=DType.BOOL), n(ArgMax(axis=1, keepdims=False), scores))
    return pick(n, labels, n(Cast(to=DType.I64), n(LogicalOr(), second, greatest))), result


def _pairs(n: OnnxNode, x: Tensor, labels: Tensor, sizes: Array) -> Result:
    """One machine for each pair of classes; the class that wins most of them, the first of equals, is the label."""
    count, vectors = len(sizes), int(sizes.sum())
    coefficients = _numbers(n, "coefficients", (count - 1) * vectors)[: (count - 1) * vectors].reshape(-1, vectors)
    first, second = np.triu_indices(count, 1)
    pairs = len(first)
    owner = np.repeat(np.arange(count), sizes)
    weights = np.zeros((pairs, vectors), np.float32)
    for pair, (i, j) in enumerate(zip(first, second, strict=True)):
        weights[pair] = np.where(owner == i, coefficients[j - 1], np.where(owner == j, coefficients[i], 0))
    kernel = _kernel(n, x, _vectors(n, vectors))
    scores = affine(n, kernel, weights.reshape(-1), _numbers(n, "rho", pairs)[:pairs], pairs)
    won = n(Cast(to=DType.F32), n(Greater(), scores, n.like(0, scores)))
    per_win = np.zeros((count, pairs), np.float32)
    per_win[first, np.arange(pairs)], per_win[second, np.arange(pairs)] = 1, -1
    lost = (per_win < 0).sum(axis=1).astype(np.float32)  # votes when every first class loses
    label = best(n, labels, n(Linear(transpose_w=True), won, constant(per_win), constant(lost)))
    kind = transform(n)
    if real(n, "prob_a") is not None:
        op = PairwiseCoupling(
            a=_numbers(n, "prob_a", pairs)[:pairs].tolist(), b=_numbers(n, "prob_b", pairs)[:pairs].tolist()
        )
        return label, transformed(n, n(op, scores), kind)
    if count == 2:
        return label, binary_scores(n, scores, kind, opposite=True)
    return label, transformed(n, scores, kind)
