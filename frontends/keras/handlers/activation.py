"""Activations: the functions by name, as a layer's `activation`, as layers and as operations; Keras's own constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from uair import ops
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.graph import Tensor
from uair.ops.base import Operator

FAMILY = Family()

Parameters = Mapping[str, Any]
Function = Callable[[KerasNode, Tensor, Parameters], Tensor]


def _plain(make: Callable[[], Operator]) -> Function:
    return lambda n, x, p: n(make(), x)


def _parameter(p: Parameters, name: str, default: float) -> float:
    found = p.get(name)
    return default if found is None else float(found)


def rectified(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    """X above the threshold, at most max_value; below it, negative_slope * (x - threshold)."""
    slope = _parameter(p, "negative_slope", _parameter(p, "alpha", 0.0))
    threshold, top = _parameter(p, "threshold", 0.0), p.get("max_value")
    if threshold == 0.0:
        return _rectified_at_zero(n, x, slope, None if top is None else float(top))
    positive = n(ops.ThresholdedRelu(alpha=threshold), x)
    if top is not None:
        positive = n(ops.Clip(min=0.0, max=float(top)), positive)
    if slope == 0.0:
        return positive
    negative = n(ops.Relu(), n(ops.Sub(), n.like(threshold, x), x))
    return n(ops.Sub(), positive, n(ops.Mul(), n.like(slope, x), negative))


def _rectified_at_zero(n: KerasNode, x: Tensor, slope: float, top: float | None) -> Tensor:
    if slope == 0.0:
        return n(ops.Relu(), x) if top is None else n(ops.Clip(min=0.0, max=top), x)
    leaky = n(ops.LeakyRelu(alpha=slope), x)
    return leaky if top is None else n(ops.Minimum(), leaky, n.like(top, x))


def _leaky_relu(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    """The function's slope is 0.2 by default; the layer writes its own, 0.3."""
    return n(ops.LeakyRelu(alpha=_parameter(p, "negative_slope", _parameter(p, "alpha", 0.2))), x)


def _softmax(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    axis = p.get("axis", -1)
    if isinstance(axis, (list, tuple)):
        return _softmax_over(n, x, n.axes(cast("list[int]", axis), n.rank(x)))
    if axis is None:
        return _softmax_over(n, x, tuple(range(n.rank(x))))
    return n(ops.Softmax(axis=n.axis(axis, n.rank(x))), x)


def _softmax_over(n: KerasNode, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Over several axes: exp(x - logsumexp(x))."""
    if len(axes) == 1:
        return n(ops.Softmax(axis=axes[0]), x)
    return n(ops.Exp(), n(ops.Sub(), x, n(ops.ReduceLogSumExp(axes=axes, keepdims=True), x)))


def _log_softmax(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    return n(ops.LogSoftmax(axis=n.axis(p.get("axis", -1), n.rank(x))), x)


def _gelu(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    return n(ops.Gelu(approximate="tanh" if p.get("approximate") else "none"), x)


def _log_sigmoid(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    """-softplus(-x)."""
    return n(ops.Neg(), n(ops.Softplus(), n(ops.Neg(), x)))


def _glu(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    a, b = n.parts(x, n.axis(p.get("axis", -1), n.rank(x)), 2)
    return n(ops.Mul(), a, n(ops.Sigmoid(), b))


def _soft_shrink(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    """X moved by the threshold towards 0."""
    bound = _parameter(p, "threshold", 0.5)
    return n(ops.Sub(), x, n(ops.Clip(min=-bound, max=bound), x))


def _hard_shrink(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    """0 within [-threshold, threshold], x outside."""
    bound = _parameter(p, "threshold", 0.5)
    within = n(ops.LessEqual(), n(ops.Abs(), x), n.like(bound, x))
    return n(ops.Where(), within, n.like(0, x), x)


def _tanh_shrink(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    return n(ops.Sub(), x, n(ops.Tanh(), x))


def _threshold(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    above = n(ops.Greater(), x, n.like(_parameter(p, "threshold", 0.0), x))
    return n(ops.Where(), above, x, n.like(_parameter(p, "default_value", 0.0), x))


def _squareplus(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    """(x + sqrt(x^2 + b)) / 2."""
    inner = n(ops.Add(), n(ops.Mul(), x, x), n.like(_parameter(p, "b", 4.0), x))
    return n(ops.Mul(), n(ops.Add(), x, n(ops.Sqrt(), inner)), n.like(0.5, x))


def _sparse_plus(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    """0 up to -1, x from 1 on, (x + 1)^2 / 4 between: relu(x) + (1 - min(|x|, 1))^2 / 4."""
    inside = n(ops.Sub(), n.like(1, x), n(ops.Minimum(), n(ops.Abs(), x), n.like(1, x)))
    bump = n(ops.Mul(), n(ops.Mul(), inside, inside), n.like(0.25, x))
    return n(ops.Add(), n(ops.Relu(), x), bump)


def _sparsemax(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    """max(x - tau, 0). Source: Martins and Astudillo, arXiv 1602.02068; but as Keras 3.15 computes tau.

    Keras adds up the running sums of all elements of the support where the paper takes the last one, so that the
    results do not sum to 1 unless the support is one element. A model that was trained with it needs what it computes.
    """
    axis = n.axis(p.get("axis", -1), n.rank(x))
    extent = n.extent(x, axis)
    if not isinstance(extent, int):
        n.refuse("sparsemax needs an axis of known extent")
    ordered, _ = n.all(ops.TopK(k=extent, axis=axis), x)
    sums = n(ops.CumSum(axis=axis), ordered)
    ranks = n.stored(_counting(extent, n.rank(x), axis).astype(x.type.dtype.numpy))
    support = n(ops.Greater(), n(ops.Add(), n.like(1, x), n(ops.Mul(), ranks, ordered)), sums)
    chosen = n.cast(support, x.type.dtype)
    size = n(ops.ReduceSum(axes=(axis,), keepdims=True), chosen)
    total = n(ops.ReduceSum(axes=(axis,), keepdims=True), n(ops.Mul(), chosen, sums))
    tau = n(ops.Div(), n(ops.Sub(), total, n.like(1, x)), size)
    return n(ops.Relu(), n(ops.Sub(), x, tau))


def _counting(extent: int, rank: int, axis: int) -> Any:
    import numpy as np

    return np.arange(1, extent + 1).reshape([extent if i == axis else 1 for i in range(rank)])


def _linear(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    return x


def _clip(low: float, high: float) -> Function:
    return lambda n, x, p: n(ops.Clip(min=low, max=high), x)


def _sparse_sigmoid(n: KerasNode, x: Tensor, p: Parameters) -> Tensor:
    """(x + 1) / 2, held within 0 and 1."""
    return n(ops.HardSigmoid(alpha=0.5, beta=0.5), x)


def hard_slope(n: KerasNode) -> float:
    """Of hard_sigmoid: clip(x / 6 + 0.5, 0, 1), and clip(0.2 * x + 0.5, 0, 1) before Keras 3."""
    return 0.2 if n.importer.old else 1 / 6


FUNCTIONS: dict[str, Function] = {
    "celu": lambda n, x, p: n(ops.Celu(alpha=_parameter(p, "alpha", 1.0)), x),
    "elu": lambda n, x, p: n(ops.Elu(alpha=_parameter(p, "alpha", 1.0)), x),
    "exponential": _plain(ops.Exp),
    "gelu": _gelu,
    "glu": _glu,
    "hard_shrink": _hard_shrink,
    "hard_sigmoid": lambda n, x, p: n(ops.HardSigmoid(alpha=hard_slope(n), beta=0.5), x),
    "hard_silu": _plain(ops.HardSwish),
    "hard_tanh": _clip(-1.0, 1.0),
    "leaky_relu": _leaky_relu,
    "linear": _linear,
    "log_sigmoid": _log_sigmoid,
    "log_softmax": _log_softmax,
    "mish": _plain(ops.Mish),
    "relu": rectified,
    "relu6": _clip(0.0, 6.0),
    "selu": _plain(ops.Selu),
    "sigmoid": _plain(ops.Sigmoid),
    "silu": _plain(ops.Swish),
    "soft_shrink": _soft_shrink,
    "softmax": _softmax,
    "softplus": _plain(ops.Softplus),
    "softsign": _plain(ops.Softsign),
    "sparse_plus": _sparse_plus,
    "sparse_sigmoid": _sparse_sigmoid,
    "sparsemax": _sparsemax,
    "squareplus": _squareplus,
    "tanh": _plain(ops.Tanh),
    "tanh_shrink": _tanh_shrink,
    "threshold": _threshold,
}
"""By Keras's names; every one that keras.activations has."""
_SYNONYMS = {
    "swish": "silu",
    "hard_swish": "hard_silu",
    "exp": "exponential",
    "softmax_v2": "softmax",
    "_relu6": "relu6",
}
_LAYERS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu", "Softmax": "softmax"}


@attrs.frozen
class Named:
    """An activation as a configuration writes it: the function's name and its parameters."""

    name: str
    parameters: Parameters


def named(n: KerasNode, given: Any) -> Named:
    """What an `activation` entry means: a name, or a serialized function or layer.

    Raises:
        SourceOperatorError: the function is not one of Keras's.
    """
    parameters: Parameters = {}
    if isinstance(given, dict):
        data = cast("dict[str, Any]", given)
        config = data.get("config")
        if isinstance(config, dict):
            parameters = cast("dict[str, Any]", config)
            given = _LAYERS.get(str(data.get("class_name")), data.get("class_name"))
        else:
            given = config
    name = "linear" if given is None else given
    name = _SYNONYMS.get(name, name) if isinstance(name, str) else name
    if name not in FUNCTIONS:
        n.refuse(
            f"activation {name!r} is a function of your own, whose meaning a file does not hold",
            f"use one of keras.activations: {', '.join(FUNCTIONS)}",
        )
    return Named(name, parameters)


def activated(n: KerasNode, x: Tensor, entry: str = "activation") -> Tensor:
    """A tensor under the activation that a layer's configuration names.

    Raises:
        SourceOperatorError: the function is not one of Keras's.
    """
    function = named(n, n.layer.config.get(entry))
    return FUNCTIONS[function.name](n, x, function.parameters)


# ------------------------------------------------------------------- layers
@FAMILY.op("Activation")
def _activation(n: KerasNode) -> Result:
    return activated(n, n.x)


@FAMILY.op("ReLU")
def _relu_layer(n: KerasNode) -> Result:
    return rectified(n, n.x, n.layer.config)


@FAMILY.op("ThresholdedReLU")
def _thresholded_relu(n: KerasNode) -> Result:
    return n(ops.ThresholdedRelu(alpha=n.number("theta", 1.0)), n.x)


@FAMILY.op("LeakyReLU")
def _leaky_relu_layer(n: KerasNode) -> Result:
    slope = n.get("negative_slope", n.get("alpha", 0.3))
    return n(ops.LeakyRelu(alpha=float(slope)), n.x)


@FAMILY.op("ELU")
def _elu_layer(n: KerasNode) -> Result:
    return n(ops.Elu(alpha=n.number("alpha", 1.0)), n.x)


@FAMILY.op("Softmax")
def _softmax_layer(n: KerasNode) -> Result:
    """A mask (true where an element counts) takes elements out by a great negative number, as Keras does."""
    x, mask = n.x, n.optional(1, "mask")
    if mask is not None:
        weak = n(ops.Sub(), n.like(1, x), n.cast(mask, x.type.dtype))
        x = n(ops.Add(), x, n(ops.Mul(), weak, n.like(-3e4 if x.type.dtype.bits == 16 else -1e9, x)))
    return _softmax(n, x, n.layer.config)


@FAMILY.op("PReLU")
def _prelu(n: KerasNode) -> Result:
    """The slopes have the shape of x without the batch, 1 along the shared axes."""
    x = n.x
    return n(ops.PRelu(), x, n.variable("alpha", *[None] * (n.rank(x) - 1)))


# ------------------------------------------------------------------- operations
def _operation(function: Function) -> Callable[[KerasNode], Result]:
    return lambda n: function(n, n.x, n.layer.config)


for _name, _function in FUNCTIONS.items():
    _class = "".join(part.capitalize() for part in _name.split("_"))
    if _name not in ("exponential", "linear", "relu", "selu", "silu", "tanh"):
        FAMILY.add(f"ops.{_class}", _operation(_function))
for _class, _name in (
    ("Relu", "relu"),
    ("ReLU", "relu"),
    ("Selu", "selu"),
    ("Silu", "silu"),
    ("Tanh", "tanh"),
    ("GLU", "glu"),
):
    FAMILY.add(f"ops.{_class}", _operation(FUNCTIONS[_name]))
