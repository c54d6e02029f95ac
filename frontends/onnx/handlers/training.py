"""The training domain: optimizers as compositions, and Gradient, which differentiates the graph that was read.

What concerns the learning rate and the update count is computed in f64 and rounded once to the tensors' type.
Source: the schemas of ai.onnx.preview.training and onnx's reference evaluator.
"""

from __future__ import annotations

import numpy as np

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import Add, Div, Greater, Mul, Pow, Sqrt, Sub, Where

FAMILY = Family("ai.onnx.preview.training")


def _groups(n: OnnxNode, count: int) -> list[tuple[Tensor, ...]]:
    """The operands behind the rate and the update count, for each optimized tensor: itself, its gradient, its state."""
    rest = [n[i] for i in range(2, len(n.inputs))]
    if not rest or len(rest) % count:
        n.refuse(f"takes {count} operands for each tensor behind the first two, got {len(rest)}")
    tensors = len(rest) // count
    return [tuple(rest[k * tensors + i] for k in range(count)) for i in range(tensors)]


def _in_order(results: list[tuple[Tensor, ...]]) -> list[Tensor]:
    """All new tensors, then all their states of one kind after the other."""
    return [t for kind in zip(*results, strict=True) for t in kind]


def _number(n: OnnxNode, t: Tensor) -> Tensor:
    """An operand as an f64 scalar."""
    return n.cast(n.single(t), DType.F64)


def _f64(value: float) -> Tensor:
    return constant(np.array(value, np.float64))


def _times(n: OnnxNode, t: Tensor, factor: float) -> Tensor:
    return t if factor == 1 else n(Mul(), t, n.like(factor, t))


def _regularized(n: OnnxNode, x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient plus that of 0.5 * norm_coefficient * |x|^2."""
    weight = n.attributes.number("norm_coefficient", 0.0)
    return gradient if weight == 0 else n(Add(), _times(n, x, weight), gradient)


@FAMILY.op("Adagrad", 1)
def _adagrad(n: OnnxNode) -> Result:
    """Operands: rate, count, tensors, gradients, sums of squared gradients."""
    a = n.attributes
    decay, epsilon = a.number("decay_factor", 0.0), a.number("epsilon", 1e-6)
    slowed = n(Add(), n(Mul(), _number(n, n[1]), _f64(decay)), _f64(1))
    rate = n(Div(), _number(n, n[0]), slowed)

    def update(x: Tensor, gradient: Tensor, squares: Tensor) -> tuple[Tensor, ...]:
        gradient = _regularized(n, x, gradient)
        squares = n(Add(), squares, n(Mul(), gradient, gradient))
        divisor = n(Add(), n(Sqrt(), squares), n.like(epsilon, x))
        return n(Sub(), x, n(Div(), n(Mul(), n.cast(rate, x.type.dtype), gradient), divisor)), squares

    return _in_order([update(*group) for group in _groups(n, 3)])


@FAMILY.op("Adam", 1)
def _adam(n: OnnxNode) -> Result:
    """Operands: rate, count, tensors, gradients, running means of gradients, and of their squares."""
    a = n.attributes
    alpha, beta, epsilon = a.number("alpha", 0.9), a.number("beta", 0.999), a.number("epsilon", 1e-6)
    shrink = 1 - a.number("norm_coefficient_post", 0.0)
    rate = _corrected_rate(n, alpha, beta)

    def update(x: Tensor, gradient: Tensor, mean: Tensor, squares: Tensor) -> tuple[Tensor, ...]:
        gradient = _regularized(n, x, gradient)
        mean = n(Add(), _times(n, mean, alpha), _times(n, gradient, 1 - alpha))
        squares = n(Add(), _times(n, squares, beta), _times(n, n(Mul(), gradient, gradient), 1 - beta))
        divisor = n(Add(), n(Sqrt(), squares), n.like(epsilon, x))
        moved = n(Sub(), x, n(Mul(), n.cast(rate, x.type.dtype), n(Div(), mean, divisor)))
        return _times(n, moved, shrink), mean, squares

    return _in_order([update(*group) for group in _groups(n, 4)])


def _corrected_rate(n: OnnxNode, alpha: float, beta: float) -> Tensor:
    """The rate times sqrt(1 - beta^count) / (1 - alpha^count) once the count is positive."""
    rate, count, one = _number(n, n[0]), _number(n, n[1]), _f64(1)
    above = n(Sqrt(), n(Sub(), one, n(Pow(), _f64(beta), count)))
    below = n(Sub(), one, n(Pow(), _f64(alpha), count))
    return n(Where(), n(Greater(), count, _f64(0)), n(Div(), n(Mul(), rate, above), below), rate)


@FAMILY.op("Momentum", 1)
def _momentum(n: OnnxNode) -> Result:
    """Operands: rate, count, tensors, gradients, momenta. The first update takes the gradient whole."""
    a = n.attributes
    for name in ("alpha", "beta", "mode", "norm_coefficient"):
        a.required(name)
    alpha, beta = a.number("alpha", 0.0), a.number("beta", 0.0)
    nesterov = a.choice("mode", False, {"standard": False, "nesterov": True})
    share = n(Where(), n(Greater(), _number(n, n[1]), _f64(0)), _f64(beta), _f64(1))
    rate = _number(n, n[0])

    def update(x: Tensor, gradient: Tensor, momentum: Tensor) -> tuple[Tensor, ...]:
        gradient = _regularized(n, x, gradient)
        momentum = n(Add(), _times(n, momentum, alpha), n(Mul(), n.cast(share, x.type.dtype), gradient))
        step = n(Add(), gradient, _times(n, momentum, alpha)) if nesterov else momentum
        return n(Sub(), x, n(Mul(), n.cast(rate, x.type.dtype), step)), momentum

    return _in_order([update(*group) for group in _groups(n, 3)])


@FAMILY.op("Gradient", 1)
def _gradient(n: OnnxNode) -> Result:
    """The gradients of `y` by `xs`, at the operands' values for `xs` and then `zs`.

    They name tensors of the graph (or function) that the node stands in.
    """
    a = n.attributes
    for name in ("xs", "y"):
        a.required(name)
    xs, zs = a.texts("xs") or (), a.texts("zs") or ()
    if len(n.inputs) != len(xs) + len(zs):
        n.refuse(f"xs and zs name {len(xs) + len(zs)} tensors, {len(n.inputs)} operands are given")
    y, *independent = (n.scope.get(name, n.place) for name in (a.text("y", ""), *xs, *zs))
    values = {t: n[i] for i, t in enumerate(independent) if t is not None}
    if y is None or len(values) < len(independent):
        n.refuse("xs, zs and y must name different tensors that are there")
    chosen = [t for i, t in enumerate(independent[: len(xs)]) if t is not None and n.wants(i)]
    if not all(t.type.dtype.is_float for t in (y, *chosen)):
        n.refuse("only floating-point tensors have gradients")
    from uair.frontends.onnx.gradient import gradients

    found = iter(gradients(n, chosen, values, y))
    return [next(found) if n.wants(i) else None for i in range(len(xs))]
