"""Arithmetic element by element.

PyTorch records the element type of every result, so operands are brought to it before the canonical operator, which
wants operands of one type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from uair import ops
from uair.frontends.torch.node import Family, TorchNode
from uair.frontends.torch.promotion import operand, promoted
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops.base import Operator

FAMILY = Family()

_FLOAT_UNARY: dict[str, type[Operator]] = {
    "acos": ops.Acos,
    "acosh": ops.Acosh,
    "asin": ops.Asin,
    "asinh": ops.Asinh,
    "atan": ops.Atan,
    "atanh": ops.Atanh,
    "cos": ops.Cos,
    "cosh": ops.Cosh,
    "erf": ops.Erf,
    "exp": ops.Exp,
    "expm1": ops.Expm1,
    "log": ops.Log,
    "log1p": ops.Log1p,
    "reciprocal": ops.Reciprocal,
    "rsqrt": ops.Rsqrt,
    "sigmoid": ops.Sigmoid,
    "sin": ops.Sin,
    "sinh": ops.Sinh,
    "sqrt": ops.Sqrt,
    "tan": ops.Tan,
    "tanh": ops.Tanh,
}
"""Functions whose result on integers is a float."""

_ROUNDING: dict[str, type[Operator]] = {"ceil": ops.Ceil, "floor": ops.Floor, "round": ops.Round, "trunc": ops.Trunc}


def _float_unary(make: type[Operator]) -> Callable[[TorchNode], Tensor]:
    def handler(node: TorchNode) -> Tensor:
        return node(make(), node.cast(node.tensor("self"), node.result.dtype))

    return handler


for _name, _op in _FLOAT_UNARY.items():
    FAMILY.add(f"aten.{_name}", _float_unary(_op))
for _alias, _name in {
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctanh": "atanh",
    "special_erf": "erf",
    "special_expit": "sigmoid",
    "special_expm1": "expm1",
    "special_log1p": "log1p",
}.items():
    FAMILY.add(f"aten.{_alias}", _float_unary(_FLOAT_UNARY[_name]))


# ------------------------------------------------------------------------------------------------ arithmetic
def _pair(node: TorchNode) -> Sequence[Tensor]:
    """Both operands in the element type of the result."""
    return promoted(node, node.get("self"), node.get("other"), to=node.result.dtype)


def _scaled(node: TorchNode, value: Tensor) -> Tensor:
    """An operand times the argument alpha."""
    alpha = node.get("alpha", 1)
    return value if alpha == 1 else node(ops.Mul(), value, operand(node, alpha, value.type.dtype))


@FAMILY.op("aten.add")
def _add(node: TorchNode) -> Tensor:
    a, b = _pair(node)
    if node.result.dtype is DType.BOOL:
        return node(ops.LogicalOr(), a, b)
    return node(ops.Add(), a, _scaled(node, b))


@FAMILY.op("aten.sub", "aten.subtract")
def _sub(node: TorchNode) -> Tensor:
    a, b = _pair(node)
    return node(ops.Sub(), a, _scaled(node, b))


@FAMILY.op("aten.rsub")
def _rsub(node: TorchNode) -> Tensor:
    a, b = _pair(node)
    return node(ops.Sub(), b, _scaled(node, a))


@FAMILY.op("aten.mul", "aten.multiply")
def _mul(node: TorchNode) -> Tensor:
    a, b = _pair(node)
    return node(ops.LogicalAnd() if node.result.dtype is DType.BOOL else ops.Mul(), a, b)
