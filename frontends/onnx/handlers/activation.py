"""Activation functions.

Softmax, LogSoftmax and Hardmax before version 13 flatten their operand to a matrix at `axis` (default 1); since 13 they
work along one axis (default -1).
"""

from __future__ import annotations

from uair.frontends.onnx.handlers.shape import aligned, flattened
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Handler, Result
from uair.ir.graph import Tensor
from uair.ops import (
    Add,
    Celu,
    Elu,
    Gelu,
    Greater,
    Hardmax,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Less,
    LogSoftmax,
    Mish,
    PRelu,
    Relu,
    Reshape,
    Selu,
    Sigmoid,
    Softmax,
    Softplus,
    Softsign,
    Sub,
    Swish,
    ThresholdedRelu,
    Where,
)
from uair.ops.base import Operator

FAMILY = Family()

_PLAIN: dict[str, tuple[type[Operator], tuple[int, ...]]] = {
    "HardSwish": (HardSwish, (14, 22)),
    "Mish": (Mish, (18, 22)),
    "Relu": (Relu, (1, 6, 13, 14)),
    "Sigmoid": (Sigmoid, (1, 6, 13)),
    "Softplus": (Softplus, (1, 22)),
    "Softsign": (Softsign, (1, 22)),
}


def _plain(operator: type[Operator]) -> Handler:
    return lambda n: n(operator(), n[0])


for _name, (_operator, _versions) in _PLAIN.items():
    FAMILY.add(_name, _versions, _plain(_operator))


@FAMILY.op("Elu", 1, 6, 22)
def _elu(n: OnnxNode) -> Result:
    return n(Elu(alpha=n.attributes.number("alpha", 1.0)), n[0])


@FAMILY.op("Celu", 12, 28)
def _celu(n: OnnxNode) -> Result:
    return n(Celu(alpha=n.attributes.number("alpha", 1.0)), n[0])


@FAMILY.op("LeakyRelu", 1, 6, 16)
def _leaky_relu(n: OnnxNode) -> Result:
    return n(LeakyRelu(alpha=n.attributes.number("alpha", 0.01)), n[0])


@FAMILY.op("ThresholdedRelu", 10, 22)
def _thresholded_relu(n: OnnxNode) -> Result:
    return n(ThresholdedRelu(alpha=n.attributes.number("alpha", 1.0)), n[0])


@FAMILY.op("Selu", 1)
def _selu_1(n: OnnxNode) -> Result:
    """The defaults of version 1 have four digits."""
    return n(Selu(alpha=n.attributes.number("alpha", 1.6732), gamma=n.attributes.number("gamma", 1.0507)), n[0])


@FAMILY.op("Selu", 6, 22)
def _selu(n: OnnxNode) -> Result:
    default = Selu()
    alpha, gamma = n.attributes.number("alpha", default.alpha), n.attributes.number("gamma", default.gamma)
    return n(Selu(alpha=alpha, gamma=gamma), n[0])


@FAMILY.op("HardSigmoid", 1, 6, 22)
def _hard_sigmoid(n: OnnxNode) -> Result:
    return n(HardSigmoid(alpha=n.attributes.number("alpha", 0.2), beta=n.attributes.number("beta", 0.5)), n[0])


@FAMILY.op("Swish", 24)
def _swish(n: OnnxNode) -> Result:
    return n(Swish(alpha=n.attributes.number("alpha", 1.0)), n[0])


@FAMILY.op("Gelu", 20)
def _gelu(n: OnnxNode) -> Result:
    tanh = n.attributes.choice("approximate", False, {"none": False, "tanh": True})
    return n(Gelu(approximate="tanh" if tanh else "none"), n[0])


@FAMILY.op("Shrink", 9)
def _shrink(n: OnnxNode) -> Result:
    """X moved towards 0 by `bias` where |x| > `lambd`, else 0."""
    x = n[0]
    bound, bias = n.attributes.number("lambd", 0.5), n.attributes.number("bias", 0.0)
    zero, shift = n.like(0, x), n.like(bias, x)
    above = n(Where(), n(Greater(), x, n.like(bound, x)), n(Sub(), x, shift), zero)
    return n(Where(), n(Less(), x, n.like(-bound, x)), n(Add(), x, shift), above)


@FAMILY.op("PRelu", 1, 6)
def _prelu_1(n: OnnxNode) -> Result:
    """The slope has one element, or one for each channel (axis 1)."""
    x, slope = n[0], n[1]
    if n.rank(slope) == 1 and n.extent(slope, 0) != 1:
        slope = aligned(n, slope, n.rank(x), 1 if n.rank(x) > 1 else 0)
    return n(PRelu(), x, slope)


@FAMILY.op("PRelu", 7, 9, 16)
def _prelu(n: OnnxNode) -> Result:
    return n(PRelu(), n[0], n[1])


# ------------------------------------------------------------------------ along an axis
_ALONG: dict[str, type[Softmax] | type[LogSoftmax] | type[Hardmax]] = {
    "Softmax": Softmax,
    "LogSoftmax": LogSoftmax,
    "Hardmax": Hardmax,
}


def _along_axis(n: OnnxNode) -> Result:
    x = n[0]
    return n(_ALONG[n.op_type](axis=n.axis_of(n.attributes.integer("axis", -1), x)), x)


def _over_matrix(n: OnnxNode) -> Tensor:
    """Before version 13: all axes from `axis` on are one. When only one of them has an extent, that one is taken."""
    x = n[0]
    shape = n.shape(x)
    axis = n.axis(n.attributes.integer("axis", 1), len(shape)) if len(shape) > 1 else 0
    wide = [i for i in range(axis, len(shape)) if shape[i] != 1]
    operator = _ALONG[n.op_type]
    if len(wide) <= 1:
        return n(operator(axis=wide[0] if wide else axis), x)
    matrix = n(operator(axis=1), flattened(n, x, axis))
    return n(Reshape(shape=shape), matrix)


for _name in _ALONG:
    FAMILY.add(_name, (1, 11), _over_matrix)
    FAMILY.add(_name, (13,), _along_axis)
