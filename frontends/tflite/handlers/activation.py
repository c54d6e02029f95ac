"""Activations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from uair.frontends.common.layout import channels_first, channels_last
from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.dims import is_static
from uair.ops import (
    Clip,
    Elu,
    Gelu,
    HardSwish,
    LeakyRelu,
    LogSoftmax,
    Mul,
    PRelu,
    Relu,
    Sigmoid,
    Softmax,
    Tanh,
)
from uair.ops.base import Operator

FAMILY = Family()

_PLAIN: dict[str, Callable[[], Operator]] = {
    "RELU": Relu,
    "RELU_N1_TO_1": lambda: Clip(min=-1.0, max=1.0),
    "RELU_0_TO_1": lambda: Clip(min=0.0, max=1.0),
    "RELU6": lambda: Clip(min=0.0, max=6.0),
    "LOGISTIC": Sigmoid,
    "STABLEHLO_LOGISTIC": Sigmoid,
    "TANH": Tanh,
    "STABLEHLO_TANH": Tanh,
    "ELU": Elu,
    "HARD_SWISH": HardSwish,
    "LOG_SOFTMAX": LogSoftmax,
}


def _plain(n: TfliteNode, make: Callable[[], Operator]) -> Result:
    return n(make(), n[0])


for _name, _make in _PLAIN.items():
    FAMILY.add(_name, partial(_plain, make=_make))


@FAMILY.op("LEAKY_RELU")
def _leaky_relu(n: TfliteNode) -> Result:
    return n(LeakyRelu(alpha=n.options.number("alpha")), n[0])


@FAMILY.op("GELU")
def _gelu(n: TfliteNode) -> Result:
    return n(Gelu(approximate="tanh" if n.options.flag("approximate") else "none"), n[0])


@FAMILY.op("SOFTMAX")
def _softmax(n: TfliteNode) -> Result:
    """softmax(beta * x) along the last axis."""
    x, beta = n[0], n.options.number("beta")
    return n(Softmax(axis=-1), x if beta == 1 else n(Mul(), x, n.like(beta, x)))


@FAMILY.op("PRELU")
def _prelu(n: TfliteNode) -> Result:
    """Slopes broadcast; those of an image's channels are brought to the front with it."""
    x, slope = n[0], n[1]
    rank, own = n.rank(x), n.shape(slope)
    if rank < 3 or not is_static(own) or len(own) not in (rank, rank - 1) or (len(own) == rank and own[0] != 1):
        return n(PRelu(), x, slope)
    flat = n.reshaped(slope, own[-(rank - 1) :])
    moved = n.transposed(flat, (rank - 2, *range(rank - 2)))
    return channels_last(n, n(PRelu(), channels_first(n, x), moved))
