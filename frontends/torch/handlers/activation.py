"""Activations. PyTorch's defaults are written out: canonical operators have none."""

from __future__ import annotations

from collections.abc import Callable

from uair import ops
from uair.frontends.torch.handlers.elementwise import clamped
from uair.frontends.torch.node import Family, TorchNode
from uair.frontends.torch.promotion import operand
from uair.ir.graph import Tensor
from uair.ops.base import Operator

FAMILY = Family()

_PLAIN: dict[str, Callable[[], Operator]] = {
    "hardswish": ops.HardSwish,
    "hardsigmoid": lambda: ops.HardSigmoid(alpha=1 / 6, beta=0.5),
    "mish": ops.Mish,
    "relu": ops.Relu,
    "selu": ops.Selu,
    "silu": ops.Swish,
}

_SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946)
_ELU_OF_SELU = (*_SELU, 1.0)


def _plain(make: Callable[[], Operator]) -> Callable[[TorchNode], Tensor]:
    return lambda node: node(make(), node.tensor("self"))


for _name, _make in _PLAIN.items():
    FAMILY.add(f"aten.{_name}", _plain(_make))


@FAMILY.op("aten.relu6")
def _relu6(node: TorchNode) -> Tensor:
    return node(ops.Clip(min=0.0, max=6.0), node.tensor("self"))


@FAMILY.op("aten.hardtanh")
def _hardtanh(node: TorchNode) -> Tensor:
    return clamped(node, node.get("min_val", -1.0), node.get("max_val", 1.0))


@FAMILY.op("aten.leaky_relu")
def _leaky_relu(node: TorchNode) -> Tensor:
    return node(ops.LeakyRelu(alpha=float(node.get("negative_slope", 0.01))), node.tensor("self"))


@FAMILY.op("aten.rrelu")
def _rrelu(node: TorchNode) -> Tensor:
    """In evaluation the slope is the middle of its range."""
    if node.get("training", False):
        node.refuse("the slope of a module in training mode is random", "call module.eval() first")
    slope = (float(node.get("lower", 0.125)) + float(node.get("upper", 1 / 3))) / 2
    return node(ops.LeakyRelu(alpha=slope), node.tensor("self"))


@FAMILY.op("aten.elu")
def _elu(node: TorchNode) -> Tensor:
    """Scale * elu(x): alpha * (exp(input_scale * x) - 1) below 0."""
    x = node.tensor("self")
    alpha, scale, inner = (float(node.get(n, 1.0)) for n in ("alpha", "scale", "input_scale"))
    if (alpha, scale, inner) == _ELU_OF_SELU:
        return node(ops.Selu(), x)
    if inner != 1.0:
        if inner * alpha == 1.0:
            return node(ops.Celu(alpha=alpha), x)
        node.refuse(f"input_scale {inner} with alpha {alpha} has no canonical form")
    made = node(ops.Elu(alpha=alpha), x)
    return made if scale == 1.0 else node(ops.Mul(), made, node.like(scale, made))


@FAMILY.op("aten.celu")
def _celu(node: TorchNode) -> Tensor:
    return node(ops.Celu(alpha=float(node.get("alpha", 1.0))), node.tensor("self"))


@FAMILY.op("aten.gelu")
def _gelu(node: TorchNode) -> Tensor:
    tanh = node.get("approximate", "none") == "tanh"
    return node(ops.Gelu(approximate="tanh" if tanh else "none"), node.tensor("self"))


@FAMILY.op("aten.softplus")
def _softplus(node: TorchNode) -> Tensor:
    """Above the threshold PyTorch gives x itself, which differs by less than exp(-threshold) / beta."""
    beta, threshold = float(node.get("beta", 1)), float(node.get("threshold", 20))
    x = node.tensor("self")
    made = node(ops.Softplus(beta=beta), x)
    if threshold >= 15:
        return made
    scaled = x if beta == 1.0 else node(ops.Mul(), x, node.like(beta, x))
    return node(ops.Where(), node(ops.Greater(), scaled, node.like(threshold, x)), x, made)


@FAMILY.op("aten.log_sigmoid")
def _log_sigmoid(node: TorchNode) -> Tensor:
    """-softplus(-x)."""
    return node(ops.Neg(), node(ops.Softplus(beta=1.0), node(ops.Neg(), node.tensor("self"))))


@FAMILY.op("aten.threshold")
def _threshold(node: TorchNode) -> Tensor:
    """X where it is above the threshold, else a value."""
    x = node.tensor("self")
    threshold, value = (operand(node, node.get(n), x.type.dtype) for n in ("threshold", "value"))
    return node(ops.Where(), node(ops.LessEqual(), x, threshold), value, x)


@FAMILY.op("aten.hardshrink")
def _hardshrink(node: TorchNode) -> Tensor:
    """0 within [-lambda, lambda], x outside."""
    x, bound = node.tensor("self"), float(node.get("lambd", 0.5))
    within = node(ops.LessEqual(), node(ops.Abs(), x), node.like(bound, x))
    return node(ops.Where(), within, node.like(0, x), x)


@FAMILY.op("aten.softshrink")
def _softshrink(node: TorchNode) -> Tensor:
    """X moved by lambda towards 0: x - clip(x, -lambda, lambda)."""
    x, bound = node.tensor("self"), float(node.get("lambd", 0.5))
    return node(ops.Sub(), x, node(ops.Clip(min=-bound, max=bound), x))


@FAMILY.op("aten.prelu", "aten._prelu_kernel")
def _prelu(node: TorchNode) -> Tensor:
    """The slopes are one, or one per channel (axis 1); `_prelu_kernel` has them broadcast already."""
    x, slope = node.tensor("self"), node.tensor("weight")
    if slope.type.rank == 1:
        axis = 1 if node.rank(x) > 1 else 0
        trailing = max(node.rank(x) - axis - 1, 0)
        slope = node.reshaped(slope, (slope.type.dims[0], *[1] * trailing)) if node.rank(x) else node.single(slope)
    return node(ops.PRelu(), x, slope)


@FAMILY.op("aten.glu")
def _glu(node: TorchNode) -> Tensor:
    """The first half times the sigmoid of the second."""
    x = node.tensor("self")
    axis = node.axis(node.get("dim", -1), node.rank(x))
    a, b = node.all(ops.Split(axis=axis, sizes=(node.result.dims[axis],) * 2), x)
    return node(ops.Mul(), a, node(ops.Sigmoid(), b))


@FAMILY.op("aten.softmax", "aten._softmax", "aten.special_softmax", "aten._safe_softmax")
def _softmax(node: TorchNode) -> Tensor:
    """A 0-d tensor has one element, whose softmax is 1; `_safe_softmax` gives 0 instead of NaN where all is -inf."""
    made = _along(node, lambda axis: ops.Softmax(axis=axis))
    if "_safe_softmax" not in node.op_type:
        return made
    return node(ops.Where(), node(ops.IsNaN(), made), node.like(0, made), made)


@FAMILY.op("aten.log_softmax", "aten._log_softmax", "aten.special_log_softmax")
def _log_softmax(node: TorchNode) -> Tensor:
    return _along(node, lambda axis: ops.LogSoftmax(axis=axis))


@FAMILY.op("aten.softmin")
def _softmin(node: TorchNode) -> Tensor:
    return _along(node, lambda axis: ops.Softmax(axis=axis), negated=True)


def _along(node: TorchNode, make: Callable[[int], Operator], negated: bool = False) -> Tensor:
    x = node.cast(node.tensor("self"), node.result.dtype)
    if negated:
        x = node(ops.Neg(), x)
    rank = node.rank(x)
    if rank == 0:
        return node.reshaped(node(make(0), node.reshaped(x, (1,))), ())
    return node(make(node.axis(node.get("dim"), rank)), x)
