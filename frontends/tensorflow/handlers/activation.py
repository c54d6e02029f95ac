"""Activations."""

from __future__ import annotations

from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ops import (
    Clip,
    Elu,
    LeakyRelu,
    LogSoftmax,
    Mul,
    Neg,
    ReduceSum,
    Relu,
    Selu,
    Sigmoid,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from uair.ops.base import Operator

FAMILY = Family()

_PLAIN: dict[str, Operator] = {
    "Elu": Elu(),
    "Relu": Relu(),
    "Selu": Selu(),
    "Sigmoid": Sigmoid(),
    "Softmax": Softmax(axis=-1),
    "LogSoftmax": LogSoftmax(axis=-1),
    "Softplus": Softplus(),
    "Softsign": Softsign(),
    "Tanh": Tanh(),
}


@FAMILY.op(*_PLAIN)
def _plain(n: TfNode) -> Result:
    return n(_PLAIN[n.op_type], n[0])


@FAMILY.op("Relu6")
def _relu6(n: TfNode) -> Result:
    return n(Clip(min=0.0, max=6.0), n[0])


@FAMILY.op("LeakyRelu")
def _leaky_relu(n: TfNode) -> Result:
    return n(LeakyRelu(alpha=n.number("alpha", 0.2)), n[0])


@FAMILY.several("loss backprop", "SoftmaxCrossEntropyWithLogits")
def _cross_entropy(n: TfNode) -> Result:
    """The loss; its gradient is for training: softmax(features) - labels."""
    from uair.ops import Sub

    loss = n(Neg(), n(ReduceSum(axes=(-1,), keepdims=False), n(Mul(), n[1], n(LogSoftmax(axis=-1), n[0]))))
    return [loss, n(Sub(), n(Softmax(axis=-1), n[0]), n[1])]
