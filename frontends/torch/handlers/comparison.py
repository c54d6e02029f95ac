"""Comparisons, logic, bits, and choice by a condition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from uair import ops
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.frontends.torch.promotion import Operand, category, operand, promoted
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops.base import Operator

FAMILY = Family()

_COMPARISONS: dict[str, type[Operator]] = {
    "eq": ops.Equal,
    "ne": ops.NotEqual,
    "not_equal": ops.NotEqual,
    "lt": ops.Less,
    "less": ops.Less,
    "le": ops.LessEqual,
    "less_equal": ops.LessEqual,
    "gt": ops.Greater,
    "greater": ops.Greater,
    "ge": ops.GreaterEqual,
    "greater_equal": ops.GreaterEqual,
}
_LOGIC: dict[str, type[Operator]] = {
    "logical_and": ops.LogicalAnd,
    "logical_or": ops.LogicalOr,
    "logical_xor": ops.LogicalXor,
}
_BITS: dict[str, tuple[type[Operator], type[Operator]]] = {
    "bitwise_and": (ops.BitwiseAnd, ops.LogicalAnd),
    "__and__": (ops.BitwiseAnd, ops.LogicalAnd),
    "bitwise_or": (ops.BitwiseOr, ops.LogicalOr),
    "__or__": (ops.BitwiseOr, ops.LogicalOr),
    "bitwise_xor": (ops.BitwiseXor, ops.LogicalXor),
    "__xor__": (ops.BitwiseXor, ops.LogicalXor),
}


def _compared(node: TorchNode, make: type[Operator], a: Operand, b: Operand) -> Tensor:
    """A comparison; bools are ordered as u8 are."""
    left, right = promoted(node, a, b)
    if left.type.dtype is DType.BOOL and make not in (ops.Equal, ops.NotEqual):
        left, right = (node.cast(t, DType.U8) for t in (left, right))
    return node(make(), left, right)


def _comparison(make: type[Operator]) -> Callable[[TorchNode], Tensor]:
    def handler(node: TorchNode) -> Tensor:
        return _compared(node, make, node.get("self"), node.get("other"))

    return handler


for _name, _op in _COMPARISONS.items():
    FAMILY.add(f"aten.{_name}", _comparison(_op))


def _of_numbers(make: type[Operator]) -> Callable[[TorchNode], Tensor]:
    def handler(node: TorchNode) -> Tensor:
        a, b = node.values.values()
        return _compared(node, make, node.number(a), node.number(b))

    return handler


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    FAMILY.add(f"_operator.{_name}", _of_numbers(_COMPARISONS[_name]))


def truth(node: TorchNode, x: Operand) -> Tensor:
    """Whether each element is not 0."""
    (t,) = promoted(node, x)
    return t if t.type.dtype is DType.BOOL else node(ops.NotEqual(), t, node.like(0, t))


def _logic(make: type[Operator]) -> Callable[[TorchNode], Tensor]:
    def handler(node: TorchNode) -> Tensor:
        return node(make(), truth(node, node.get("self")), truth(node, node.get("other")))

    return handler


for _name, _op in _LOGIC.items():
    FAMILY.add(f"aten.{_name}", _logic(_op))


@FAMILY.op("aten.logical_not")
def _logical_not(node: TorchNode) -> Tensor:
    return node(ops.LogicalNot(), truth(node, node.get("self")))


def _bits(of_integers: type[Operator], of_bools: type[Operator]) -> Callable[[TorchNode], Tensor]:
    def handler(node: TorchNode) -> Tensor:
        a, b = promoted(node, node.get("self"), node.get("other"), to=node.result.dtype)
        return node(of_bools() if a.type.dtype is DType.BOOL else of_integers(), a, b)

    return handler


for _name, _pair in _BITS.items():
    FAMILY.add(f"aten.{_name}", _bits(*_pair))


@FAMILY.op("aten.bitwise_not")
def _bitwise_not(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return node(ops.LogicalNot() if x.type.dtype is DType.BOOL else ops.BitwiseNot(), x)


@FAMILY.op("aten.bitwise_left_shift", "aten.__lshift__")
def _left_shift(node: TorchNode) -> Tensor:
    """The number times 2^n, which wraps as a shift does."""
    a, b = promoted(node, node.get("self"), node.get("other"), to=node.result.dtype)
    return node(ops.Mul(), a, node(ops.Pow(), node.like(2, a), b))


@FAMILY.op("aten.bitwise_right_shift", "aten.__rshift__")
def _right_shift(node: TorchNode) -> Tensor:
    """An arithmetic shift: x / 2^n rounded downwards."""
    a, b = promoted(node, node.get("self"), node.get("other"), to=node.result.dtype)
    if not a.type.dtype.is_signed:
        return node(ops.BitShift(direction="right"), a, b)
    wide = node.cast(a, DType.I64)
    made = node(ops.IntDiv(rounding="floor"), wide, node(ops.Pow(), node.like(2, wide), node.cast(b, DType.I64)))
    return node.cast(made, a.type.dtype)


# ------------------------------------------------------------------------------------------------ kinds of numbers
@FAMILY.op("aten.isnan")
def _isnan(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    if category(x.type.dtype) < 2:
        return _nowhere(node, x, False)
    return node(ops.IsNaN(), x)


@FAMILY.op("aten.isinf")
def _isinf(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return _nowhere(node, x, False) if category(x.type.dtype) < 2 else node(ops.IsInf(), x)


@FAMILY.op("aten.isposinf")
def _isposinf(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return _nowhere(node, x, False) if category(x.type.dtype) < 2 else node(ops.IsInf(detect_negative=False), x)


@FAMILY.op("aten.isneginf")
def _isneginf(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return _nowhere(node, x, False) if category(x.type.dtype) < 2 else node(ops.IsInf(detect_positive=False), x)


@FAMILY.op("aten.isfinite")
def _isfinite(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    if category(x.type.dtype) < 2:
        return _nowhere(node, x, True)
    return node(ops.LogicalNot(), node(ops.LogicalOr(), node(ops.IsNaN(), x), node(ops.IsInf(), x)))


def _nowhere(node: TorchNode, x: Tensor, value: bool) -> Tensor:
    """The same answer for every element: integers are finite."""
    return node(ops.Expand(shape=node.shape(x)), node.stored(np.asarray(value)))


@FAMILY.op("aten.signbit")
def _signbit(node: TorchNode) -> Tensor:
    """Whether a number is negative; of floats -0 is, which its reciprocal tells."""
    x = node.tensor("self")
    if category(x.type.dtype) < 2:
        return _compared(node, ops.Less, x, 0)
    zero = node.like(0, x)
    told = node(ops.Where(), node(ops.Equal(), x, zero), node(ops.Reciprocal(), x), x)
    return node(ops.Less(), told, zero)


@FAMILY.op("aten.isclose")
def _isclose(node: TorchNode) -> Tensor:
    """|a - b| <= atol + rtol * |b| of finite numbers, or a equals b; NaNs are close to each other when told."""
    a, b = promoted(node, node.get("self"), node.get("other"))
    close = node(ops.Equal(), a, b)
    if category(a.type.dtype) >= 2:
        allowed = node(ops.Mul(), node(ops.Abs(), b), node.like(node.get("rtol", 1e-5), b))
        allowed = node(ops.Add(), allowed, node.like(node.get("atol", 1e-8), b))
        gap = node(ops.Abs(), node(ops.Sub(), a, b))
        near = node(ops.LogicalAnd(), node(ops.LessEqual(), gap, allowed), node(ops.LogicalNot(), node(ops.IsInf(), b)))
        close = node(ops.LogicalOr(), close, near)
        if node.get("equal_nan", False):
            both = node(ops.LogicalAnd(), node(ops.IsNaN(), a), node(ops.IsNaN(), b))
            close = node(ops.LogicalOr(), close, both)
    return close


@FAMILY.op("aten.equal")
def _equal(node: TorchNode) -> Tensor:
    a, b = promoted(node, node.get("self"), node.get("other"))
    return node(ops.ReduceAll(keepdims=False), node(ops.Equal(), a, b))


@FAMILY.op("aten.isin")
def _isin(node: TorchNode) -> Tensor:
    """Whether each element is one of a list: it is held against all of it, along an axis of its own."""
    elements, tests = promoted(
        node, node.get("elements", node.get("element")), node.get("test_elements", node.get("test_element"))
    )
    rank = node.rank(elements)
    flat = node.reshaped(tests, (-1,))
    apart = node(ops.Unsqueeze(axes=(rank,)), elements)
    found = node(ops.ReduceAny(axes=(rank,), keepdims=False), node(ops.Equal(), apart, flat))
    return node(ops.LogicalNot(), found) if node.get("invert", False) else found


# ------------------------------------------------------------------------------------------------ choice
@FAMILY.op("aten.where")
def _where(node: TorchNode) -> Result:
    """With one argument: the coordinates of what is not 0, one vector for each axis."""
    if "self" not in node.values and "other" not in node.values:
        return coordinates(node, node.tensor("condition"))
    condition = truth(node, node.tensor("condition"))
    a, b = promoted(node, node.get("self"), node.get("other"), to=node.result.dtype)
    return node(ops.Where(), condition, a, b)


def coordinates(node: TorchNode, x: Tensor) -> list[Tensor]:
    """Vectors of the coordinates of what is not 0, one for each axis."""
    rank = node.rank(x)
    found = node(ops.NonZero(), x)
    if rank == 1:
        return [node(ops.Squeeze(axes=(0,)), found)]
    rows = node.all(ops.Split(axis=0, sizes=(1,) * rank), found)
    return [node(ops.Squeeze(axes=(0,)), row) for row in rows]


@FAMILY.op("aten.masked_fill")
def _masked_fill(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    value = operand(node, node.get("value"), x.type.dtype)
    return node(ops.Where(), truth(node, node.tensor("mask")), value, x)
