"""Activations."""

from __future__ import annotations

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ops.activation import (
    Celu,
    Elu,
    Gelu,
    Hardmax,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    LogSoftmax,
    Mish,
    PRelu,
    Relu,
    Selu,
    Sigmoid,
    Softmax,
    Softplus,
    Softsign,
    Swish,
    Tanh,
    ThresholdedRelu,
)

EMITTERS = Emitters()
EMITTERS.direct({cls: cls.__name__ for cls in (PRelu, Relu, Sigmoid, Softsign, Tanh)})
EMITTERS.direct({HardSwish: "HardSwish"}, since=14)
EMITTERS.direct({Mish: "Mish"}, since=18)


@EMITTERS.of(LeakyRelu, Elu, ThresholdedRelu)
def with_alpha(e: Emission, op: LeakyRelu | Elu | ThresholdedRelu) -> None:
    """Activations with one attribute."""
    e.result(op.op_type, e.x(), alpha=op.alpha)


@EMITTERS.of(Celu, since=12)
def celu(e: Emission, op: Celu) -> None:
    """Celu takes f32 only."""
    e.result("Celu", e.x(), alpha=op.alpha)


@EMITTERS.of(Selu)
def selu(e: Emission, op: Selu) -> None:
    """Selu with both constants."""
    e.result("Selu", e.x(), alpha=op.alpha, gamma=op.gamma)


@EMITTERS.of(HardSigmoid)
def hard_sigmoid(e: Emission, op: HardSigmoid) -> None:
    """HardSigmoid with slope and offset."""
    e.result("HardSigmoid", e.x(), alpha=op.alpha, beta=op.beta)


@EMITTERS.of(Gelu, since=20)
def gelu(e: Emission, op: Gelu) -> None:
    """ONNX has the error-function form and the tanh approximation."""
    if op.approximate == "quick":
        raise NotExpressible("ONNX has no quick Gelu")
    e.result("Gelu", e.x(), approximate=op.approximate)


@EMITTERS.of(Swish, since=24)
def swish(e: Emission, op: Swish) -> None:
    """The canonical formula: x * sigmoid(alpha x)."""
    e.result("Swish", e.x(), alpha=op.alpha)


@EMITTERS.of(Softplus)
def softplus(e: Emission, op: Softplus) -> None:
    """log(1 + exp(x))."""
    if op.beta != 1.0:
        raise NotExpressible("ONNX Softplus has no beta")
    e.result("Softplus", e.x())


@EMITTERS.of(Softmax, LogSoftmax, Hardmax)
def softmax(e: Emission, op: Softmax | LogSoftmax | Hardmax) -> None:
    """Before opset 13 all axes from `axis` on are one; equal if the others have extent 1, else the axis goes last."""
    axis = e.axis(op.axis)
    shape = e.type().shape
    if e.opset >= 13 or op.axis == -1 or (shape is not None and all(d == 1 for d in shape[axis + 1 :])):
        e.result(op.op_type, e.x(), axis=axis)
        return
    rank = len(e.shape())
    perm = [*range(axis), *range(axis + 1, rank), axis]
    moved = e.op(op.op_type, e.transpose(e.x(), perm), axis=rank - 1)
    e.result("Transpose", moved, perm=[*range(axis), rank - 1, *range(axis, rank - 1)])
