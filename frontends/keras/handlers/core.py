"""Core layers: affine maps, embeddings, identity."""

from __future__ import annotations

import re

from uair import ops
from uair.frontends.keras.handlers.activation import activated
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.dtype import DType
from uair.ir.graph import Tensor

FAMILY = Family()


@FAMILY.op("Identity")
def _identity(n: KerasNode) -> Result:
    return n.x


@FAMILY.op("Dense")
def _dense(n: KerasNode) -> Result:
    """The kernel is [in, out]; Linear's is [out, in]."""
    x = n.x
    kernel = n.variable("kernel", n.extent(x, -1), n.integer("units"))
    made = n(ops.Linear(), x, n.permuted(kernel, (1, 0)), n.maybe("bias", n.integer("units")))
    return activated(n, made)


@FAMILY.op("EinsumDense")
def _einsum_dense(n: KerasNode) -> Result:
    """X and the kernel by an equation; the bias lies along the axes of the result that bias_axes names."""
    x, kernel = n.x, n.variable("kernel")
    equation = str(n.get("equation", "")).replace(" ", "")
    match = re.fullmatch(r"(\.\.\.)?([A-Za-z]+),([A-Za-z]+)->(\.\.\.)?([A-Za-z]+)", equation)
    if match is None:
        n.refuse(f"equation {equation!r} is not of the form 'ab,bc->ac'")
    _, x_axes, w_axes, _, y_axes = match.groups()
    bias = n.maybe("bias")
    if bias is not None:
        bias = _along(n, bias, y_axes, str(n.get("bias_axes", "")))
    if _is_linear(x_axes, w_axes, y_axes) and (bias is None or n.rank(bias) == 1):
        return activated(n, n(ops.Linear(), x, n.permuted(kernel, (1, 0)), bias))
    made = n(ops.Einsum(equation=equation), x, kernel)
    return activated(n, made if bias is None else n(ops.Add(), made, bias))


def _is_linear(x: str, w: str, y: str) -> bool:
    """Whether an equation maps the last axis of x: "abc,cd->abd"."""
    return len(w) == 2 and x[-1] == w[0] and y[-1] == w[1] and x[:-1] == y[:-1] and w[1] not in x


def _along(n: KerasNode, bias: Tensor, axes: str, bias_axes: str) -> Tensor:
    """The bias with an axis of 1 for each axis of the result behind its first one that it lacks.

    Keras keeps the bias's axes in the order of the result's and puts ones between them.
    """
    n.require(set(bias_axes) <= set(axes), f"bias_axes {bias_axes!r} are not in the result's {axes!r}")
    first = min(axes.index(a) for a in bias_axes) if bias_axes else len(axes)
    extents = iter(bias.type.dims)
    return n.reshaped(bias, tuple(next(extents) if a in bias_axes else 1 for a in axes[first:]))


@FAMILY.op("Embedding")
def _embedding(n: KerasNode) -> Result:
    """Rows of the table; with mask_zero the index 0 stands for a step that does not count."""
    table = n.variable("embeddings", n.integer("input_dim"), n.integer("output_dim"))
    return _looked_up(n, table)


def _looked_up(n: KerasNode, table: Tensor) -> Tensor:
    x = n.x
    indices = x if x.type.dtype in (DType.I32, DType.I64) else n.cast(x, DType.I32)
    made = n(ops.Gather(axis=0), table, indices)
    if n.flag("mask_zero"):
        n.importer.masks[made] = n(ops.NotEqual(), indices, n.like(0, indices))
    return made


@FAMILY.op("ReversibleEmbedding")
def _reversible_embedding(n: KerasNode) -> Result:
    """Rows of the table; called with reverse=True, the products with them."""
    rows, size = n.integer("input_dim"), n.integer("output_dim")
    if not n.argument(1, "reverse", False):
        return _looked_up(n, n.variable("embeddings", rows, size))
    x = n.x
    if n.has("reverse_embeddings"):
        weight = n.permuted(n.variable("reverse_embeddings", size, rows), (1, 0))
    else:
        weight = n.variable("embeddings", rows, size)
    n.require(n.get("reverse_dtype") is None, "reverse_dtype is another type than the layer's")
    made = n(ops.Linear(), x, weight, None)
    cap = n.get("logit_soft_cap")
    if cap is None:
        return made
    bound = n.like(float(cap), made)
    return n(ops.Mul(), n(ops.Tanh(), n(ops.Div(), made, bound)), bound)


@FAMILY.op("Masking")
def _masking(n: KerasNode) -> Result:
    """Steps of which every element is mask_value do not count, and are made 0."""
    x = n.x
    differs = n(ops.NotEqual(), x, n.like(n.number("mask_value", 0.0), x))
    counts = n(ops.ReduceAny(axes=(n.rank(x) - 1,), keepdims=True), differs)
    made = n(ops.Mul(), x, n.cast(counts, x.type.dtype))
    n.importer.masks[made] = n.reshaped(counts, n.shape(x)[:-1])
    return made
