"""Reductions, positions of extremes, running sums."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.graph import Tensor
from uair.ops import (
    ArgMax,
    ArgMin,
    CumSum,
    ReduceAll,
    ReduceAny,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
)

FAMILY = Family()

_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "MEAN": ReduceMean,
    "SUM": ReduceSum,
    "REDUCE_PROD": ReduceProd,
    "REDUCE_MAX": ReduceMax,
    "REDUCE_MIN": ReduceMin,
    "REDUCE_ANY": ReduceAny,
    "REDUCE_ALL": ReduceAll,
}


def _reduce(n: TfliteNode, kind: Callable[..., Any]) -> Result:
    """An axis may be named twice; no axis at all reduces nothing."""
    x = n[0]
    rank = n.rank(x)
    axes = tuple(dict.fromkeys(n.axis(a, rank) for a in n.integers(n.raw(1), "the axes")))
    if not axes:
        return x
    return n(kind(axes=axes, keepdims=n.options.flag("keep_dims")), x)


for _name, _kind in _REDUCTIONS.items():
    FAMILY.add(_name, partial(_reduce, kind=_kind))


@FAMILY.op("ARG_MAX")
def _arg_max(n: TfliteNode) -> Result:
    return n.as_declared(n(ArgMax(axis=_axis(n), keepdims=False), n.raw(0)))


@FAMILY.op("ARG_MIN")
def _arg_min(n: TfliteNode) -> Result:
    return n.as_declared(n(ArgMin(axis=_axis(n), keepdims=False), n.raw(0)))


def _axis(n: TfliteNode) -> int:
    axes = n.integers(n.raw(1), "the axis")
    if len(axes) != 1:
        n.refuse(f"one axis is needed, got {list(axes)}")
    return n.axis(axes[0], n.rank(n.raw(0)))


@FAMILY.op("CUMSUM")
def _cumsum(n: TfliteNode) -> Result:
    x: Tensor = n[0]
    op = CumSum(axis=_axis(n), exclusive=n.options.flag("exclusive"), reverse=n.options.flag("reverse"))
    return n(op, x)
