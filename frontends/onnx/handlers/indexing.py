"""Gather, scatter, selection."""

from __future__ import annotations

import math

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dims import is_static, static
from uair.ir.dtype import DType
from uair.ops import (
    Cast,
    Gather,
    GatherElements,
    GatherND,
    NonZero,
    OneHot,
    Reshape,
    ReverseSequence,
    ScatterElements,
    ScatterND,
    Squeeze,
    TopK,
    Unique,
)

FAMILY = Family()

_REDUCTIONS = {c: c for c in ("none", "add", "mul", "max", "min")}


@FAMILY.op("Gather", 1, 11, 13)
def _gather(n: OnnxNode) -> Result:
    return n(Gather(axis=n.axis_of(n.attributes.integer("axis", 0), n[0])), n[0], n[1])


@FAMILY.op("GatherElements", 11, 13)
def _gather_elements(n: OnnxNode) -> Result:
    return n(GatherElements(axis=n.axis_of(n.attributes.integer("axis", 0), n[0])), n[0], n[1])


@FAMILY.op("GatherND", 11, 12, 13)
def _gather_nd(n: OnnxNode) -> Result:
    return n(GatherND(batch_dims=n.attributes.integer("batch_dims", 0)), n[0], n[1])


def _reduction(n: OnnxNode) -> str:
    return n.attributes.choice("reduction", "none", _REDUCTIONS)


@FAMILY.op("ScatterElements", 11, 13, 16, 18)
@FAMILY.op("Scatter", 9, 11)
def _scatter_elements(n: OnnxNode) -> Result:
    axis = n.axis_of(n.attributes.integer("axis", 0), n[0])
    return n(ScatterElements(axis=axis, reduction=_reduction(n)), n[0], n[1], n[2])  # type: ignore[arg-type]


@FAMILY.op("ScatterND", 11, 13, 16, 18)
def _scatter_nd(n: OnnxNode) -> Result:
    return n(ScatterND(reduction=_reduction(n)), n[0], n[1], n[2])  # type: ignore[arg-type]


@FAMILY.op("TopK", 1)
def _top_k_1(n: OnnxNode) -> Result:
    n.attributes.required("k")
    axis = n.axis_of(n.attributes.integer("axis", -1), n[0])
    return n.all(TopK(k=n.attributes.integer("k", 0), axis=axis), n[0])


@FAMILY.op("TopK", 10, 11, 24)
def _top_k(n: OnnxNode) -> Result:
    """K is an operand since 10; smallest and unsorted since 11."""
    a = n.attributes
    axis = n.axis_of(a.integer("axis", -1), n[0])
    return n.all(TopK(axis=axis, largest=a.flag("largest", True), sorted=a.flag("sorted", True)), n[0], n.folded(1))


@FAMILY.op("OneHot", 9, 11, 28)
def _one_hot(n: OnnxNode) -> Result:
    """Indices and depth may have any numeric type."""
    indices, depth, number = n[0], n[1], n.scalar(1)
    if indices.type.dtype is not DType.I64:
        indices = n(Cast(to=DType.I64), indices)
    axis = n.attributes.integer("axis", -1)
    if indices.type.shape is not None:
        axis = n.axis(axis, n.rank(indices) + 1)
    if number is not None:
        return n(OneHot(axis=axis, depth=int(number)), indices, None, n[2])
    return n(OneHot(axis=axis), indices, n(Cast(to=DType.I64), depth), n[2])


@FAMILY.op("NonZero", 9, 13)
def _non_zero(n: OnnxNode) -> Result:
    return n(NonZero(), n[0])


@FAMILY.op("Compress", 9, 11, 28)
def _compress(n: OnnxNode) -> Result:
    """The elements (or slices along `axis`) whose condition holds: a Gather at the places that are true."""
    x = n[0]
    axis = n.attributes.integer("axis", None)
    if axis is None:
        shape = n.shape(x)
        x = n(Reshape(shape=(math.prod(static(shape)) if is_static(shape) else -1,)), x)
    places = n(Squeeze(axes=(0,)), n(NonZero(), n[1]))
    return n(Gather(axis=0 if axis is None else n.axis(axis, n.rank(x))), x, places)


@FAMILY.op("Unique", 11, 28)
def _unique(n: OnnxNode) -> Result:
    axis = n.attributes.integer("axis", None)
    number = None if axis is None else n.axis(axis, n.rank(n[0]))
    return n.all(Unique(axis=number, sorted=n.attributes.flag("sorted", True)), n[0])


@FAMILY.op("Unique", 1, domain="com.microsoft")
def _unique_in_order(n: OnnxNode) -> Result:
    """Of a vector, in order of first occurrence; without where each occurs first."""
    y, _, inverse, counts = n.all(Unique(sorted=False), n[0])
    return y, inverse, counts


@FAMILY.op("ReverseSequence", 10, 28)
def _reverse_sequence(n: OnnxNode) -> Result:
    batch, time = n.attributes.integer("batch_axis", 1), n.attributes.integer("time_axis", 0)
    return n(ReverseSequence(batch_axis=batch, time_axis=time), n[0], n[1])
