"""Comparisons, logic and selection. Quantized operands are compared as the numbers that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from uair.frontends.tflite import schema
from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.graph import Tensor
from uair.ops import (
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    NotEqual,
    Reshape,
    Where,
)
from uair.ops.base import Operator

FAMILY = Family()

_COMPARISONS: dict[str, Callable[[], Operator]] = {
    "EQUAL": Equal,
    "NOT_EQUAL": NotEqual,
    "LESS": Less,
    "LESS_EQUAL": LessEqual,
    "GREATER": Greater,
    "GREATER_EQUAL": GreaterEqual,
}
_DIRECTIONS: dict[str, Callable[[], Operator]] = {
    "EQ": Equal,
    "NE": NotEqual,
    "GE": GreaterEqual,
    "GT": Greater,
    "LE": LessEqual,
    "LT": Less,
}


def _comparison(n: TfliteNode, make: Callable[[], Operator]) -> Result:
    return n(make(), n[0], n[1])


for _name, _make in _COMPARISONS.items():
    FAMILY.add(_name, partial(_comparison, make=_make))


@FAMILY.op("STABLEHLO_COMPARE")
def _compare(n: TfliteNode) -> Result:
    direction = n.options.choice("comparison_direction", schema.COMPARISONS)
    return n(_DIRECTIONS[direction](), n[0], n[1])


@FAMILY.op("LOGICAL_AND")
def _and(n: TfliteNode) -> Result:
    return n(LogicalAnd(), n.raw(0), n.raw(1))


@FAMILY.op("LOGICAL_OR")
def _or(n: TfliteNode) -> Result:
    return n(LogicalOr(), n.raw(0), n.raw(1))


@FAMILY.op("LOGICAL_NOT")
def _not(n: TfliteNode) -> Result:
    return n(LogicalNot(), n.raw(0))


@FAMILY.op("SELECT_V2", "STABLEHLO_SELECT")
def _select_v2(n: TfliteNode) -> Result:
    return n(Where(), n.raw(0), n[1], n[2])


@FAMILY.op("SELECT")
def _select(n: TfliteNode) -> Result:
    """A condition of one axis chooses along the first axis of the others; all others have one shape."""
    condition, x = n.raw(0), n[1]
    if n.rank(condition) == 1 and n.rank(x) > 1:
        condition = _rows(n, condition, n.rank(x))
    return n(Where(), condition, x, n[2])


def _rows(n: TfliteNode, condition: Tensor, rank: int) -> Tensor:
    return n(Reshape(shape=(n.extent(condition, 0), *(1,) * (rank - 1))), condition)
