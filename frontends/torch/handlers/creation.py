"""Tensors made from numbers, and random ones. Sizes may be symbolic."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair import ops
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.frontends.torch.promotion import Operand, operand
from uair.frontends.torch.sizes import as_vector
from uair.ir.dims import is_static, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant

FAMILY = Family()
LARGEST_STORED = 1 << 20
"""Elements of the largest tensor that is written out when it is read; larger ones are computed when the model runs."""


def filled(node: TorchNode, value: Operand) -> Tensor:
    """The recorded result with one value in every element."""
    scalar = node.single(operand(node, value, node.result.dtype))
    shape = node.result.dims
    return scalar if shape == () else node(ops.Expand(shape=shape), scalar)


@FAMILY.op("aten.zeros", "aten.zeros_like", "aten.new_zeros", "aten.zero")
def _zeros(node: TorchNode) -> Tensor:
    return filled(node, 0)


@FAMILY.op("aten.ones", "aten.ones_like", "aten.new_ones")
def _ones(node: TorchNode) -> Tensor:
    return filled(node, 1)


@FAMILY.op("aten.full", "aten.full_like", "aten.new_full")
def _full(node: TorchNode) -> Tensor:
    return filled(node, node.get("fill_value"))


@FAMILY.op("aten.fill", "aten.copy")
def _fill(node: TorchNode) -> Tensor:
    """Every element replaced by a value, or by those of another tensor."""
    if "src" not in node.values:
        return filled(node, node.get("value"))
    source = node.cast(node.tensor("src"), node.result.dtype)
    return source if source.type.shape == node.result.shape else node(ops.Expand(shape=node.result.dims), source)


@FAMILY.op(
    "aten.empty", "aten.empty_like", "aten.new_empty", "aten.empty_permuted", "aten.empty_strided",
    "aten.new_empty_strided",
)  # fmt: skip
def _empty(node: TorchNode) -> Tensor:
    """Memory that nobody has written yet: zeros here."""
    return filled(node, 0)


@FAMILY.op("aten.scalar_tensor")
def _scalar_tensor(node: TorchNode) -> Tensor:
    return operand(node, node.get("s"), node.result.dtype)


def stored(node: TorchNode, value: Array) -> Tensor:
    """A constant in the element type of the result."""
    return node.stored(np.ascontiguousarray(value).astype(node.result.dtype.numpy))


# ------------------------------------------------------------------------------------------------ series
@FAMILY.op("aten.arange")
def _arange(node: TorchNode) -> Tensor:
    start, end, step = node.get("start", 0), node.get("end"), node.get("step", 1)
    dtype = node.result.dtype
    if all(isinstance(v, (int, float)) for v in (start, end, step)):
        first, last, stride = (float(v) for v in (start, end, step))
        whole = all(isinstance(v, int) for v in (start, end, step))
        numbers = np.arange(int(start), int(end), int(step)) if whole else np.arange(first, last, stride)
        return stored(node, numbers)
    bounds = [_scalar(node, v) for v in (start, end, step)]
    wide = [node.cast(b, DType.F64) for b in bounds] if any(b.type.dtype.is_float for b in bounds) else bounds
    return node.cast(node(ops.Range(), *wide), dtype)


def _scalar(node: TorchNode, value: Operand) -> Tensor:
    """A bound of a series: i64, or f64 for a float."""
    return operand(node, value, DType.F64) if isinstance(value, float) else node.number(value)


@FAMILY.op("aten.linspace")
def _linspace(node: TorchNode) -> Tensor:
    start, end, steps = node.get("start"), node.get("end"), node.get("steps")
    if isinstance(start, (int, float)) and isinstance(end, (int, float)) and isinstance(steps, int):
        return stored(node, np.linspace(start, end, steps, dtype=np.float64))
    first, last = (node.cast(node.number(v), DType.F32) for v in (start, end))
    made = node.cast(_places(node, steps), DType.F32)
    gaps = node(ops.Maximum(), node(ops.Sub(), node.cast(node.number(steps), DType.F32), constant(np.float32(1))),
                constant(np.float32(1)))  # fmt: skip
    made = node(ops.Mul(), made, node(ops.Div(), node(ops.Sub(), last, first), gaps))
    return node.cast(node(ops.Add(), made, first), node.result.dtype)


@FAMILY.op("aten.logspace")
def _logspace(node: TorchNode) -> Tensor:
    start, end, steps = node.get("start"), node.get("end"), node.get("steps")
    if not (isinstance(start, (int, float)) and isinstance(end, (int, float)) and isinstance(steps, int)):
        node.refuse("its bounds are computed when the model runs", "raise the base to a torch.linspace")
    return stored(node, np.logspace(start, end, steps, base=node.get("base", 10.0), dtype=np.float64))


def _places(node: TorchNode, count: Any) -> Tensor:
    """0, 1, ..., count - 1; count may be a symbolic size."""
    if isinstance(count, int):
        return constant(np.arange(count))
    return node(ops.Range(), constant(np.asarray(0)), node.number(count), constant(np.asarray(1)))


@FAMILY.op("aten.eye")
def _eye(node: TorchNode) -> Tensor:
    shape = node.result.dims
    if is_static(shape) and np.prod(static(shape)) <= LARGEST_STORED:
        rows_known, columns_known = static(shape)
        return stored(node, np.eye(rows_known, columns_known))
    rows, columns = (_places(node, d) for d in shape)
    return node.cast(node(ops.Equal(), node(ops.Unsqueeze(axes=(1,)), rows), columns), node.result.dtype)


@FAMILY.op("aten.tril_indices", "aten.triu_indices")
def _triangle_indices(node: TorchNode) -> Tensor:
    make = np.tril_indices if "tril" in node.op_type else np.triu_indices
    return stored(node, np.stack(make(node.get("row"), node.get("offset", 0), node.get("col"))))


_WINDOWS = {
    "hann_window": lambda t: 0.5 - 0.5 * np.cos(t),
    "hamming_window": lambda t: 0.54 - 0.46 * np.cos(t),
    "blackman_window": lambda t: 0.42 - 0.5 * np.cos(t) + 0.08 * np.cos(2 * t),
}


@FAMILY.op("aten.hann_window", "aten.hamming_window", "aten.blackman_window")
def _window(node: TorchNode) -> Tensor:
    """Periodic unless told: that of one more place without its last."""
    length = node.get("window_length")
    if not isinstance(length, int):
        node.refuse("the length of the window must be known", "export the model with that size fixed")
    name = node.call.target.split(".")[1]
    if name == "hamming_window" and ("alpha" in node.values or "beta" in node.values):
        a, b = node.get("alpha", 0.54), node.get("beta", 0.46)
        make: Any = lambda t: a - b * np.cos(t)  # noqa: E731  one of the formulas
    else:
        make = _WINDOWS[name]
    count = length if node.get("periodic", True) else length - 1
    return stored(node, make(2 * np.pi * np.arange(length) / max(count, 1)) if length > 1 else np.ones(length))


# ------------------------------------------------------------------------------------------------ random numbers
def _drawn(node: TorchNode, make: Any, **parameters: Any) -> Tensor:
    dtype = node.result.dtype
    kind = dtype if dtype.is_float else DType.F32
    return node.cast(node(make(shape=node.result.dims, dtype=kind, **parameters)), dtype)


@FAMILY.op("aten.rand", "aten.rand_like")
def _rand(node: TorchNode) -> Tensor:
    return _drawn(node, ops.RandomUniform)


@FAMILY.op("aten.randn", "aten.randn_like")
def _randn(node: TorchNode) -> Tensor:
    return _drawn(node, ops.RandomNormal)


@FAMILY.op("aten.uniform")
def _uniform(node: TorchNode) -> Tensor:
    return _drawn(node, ops.RandomUniform, low=float(node.get("from", 0.0)), high=float(node.get("to", 1.0)))


@FAMILY.op("aten.normal", "aten.normal_functional")
def _normal(node: TorchNode) -> Tensor:
    """The mean and the deviation may be tensors."""
    drawn = _drawn(node, ops.RandomNormal)
    mean, std = node.get("mean", 0.0), node.get("std", 1.0)
    scaled = node(ops.Mul(), drawn, operand(node, std, drawn.type.dtype))
    return node(ops.Add(), scaled, operand(node, mean, drawn.type.dtype))


@FAMILY.op("aten.randint", "aten.randint_like", "aten.random")
def _randint(node: TorchNode) -> Tensor:
    low, high = node.get("low", node.get("from", 0)), node.get("high", node.get("to"))
    if not isinstance(low, int) or not isinstance(high, int):
        node.refuse("the bounds of the random integers must be known")
    made = node(ops.RandomUniform(low=float(low), high=float(high), shape=node.result.dims, dtype=DType.F64))
    bounded = node(ops.Clip(min=float(low), max=float(high - 1)), node(ops.Floor(), made))
    return node.cast(bounded, node.result.dtype)


@FAMILY.op("aten.bernoulli")
def _bernoulli(node: TorchNode) -> Tensor:
    """1 with the probability that the element, or p, says."""
    chance = node.get("p")
    chance = node.tensor("self") if chance is None else chance
    drawn = node(ops.RandomUniform(shape=node.result.dims))
    return node.cast(node(ops.Less(), drawn, operand(node, chance, DType.F32)), node.result.dtype)


@FAMILY.op("aten.randperm")
def _randperm(node: TorchNode) -> Tensor:
    """The order of random numbers."""
    n = node.get("n")
    drawn = node(ops.RandomUniform(shape=(n,), dtype=DType.F32))
    known = n if isinstance(n, int) else None
    _, places = node.all(ops.TopK(k=known), drawn, None if known is not None else node.reshaped(node.number(n), (1,)))
    return node.cast(places, node.result.dtype)


@FAMILY.op("aten.exponential")
def _exponential(node: TorchNode) -> Tensor:
    """The distribution's inverse, -log(u) / lambd, of uniform numbers u above 0."""
    x = node.tensor("self")
    drawn = node(ops.RandomUniform(shape=node.shape(x), dtype=x.type.dtype))
    drawn = node(ops.Sub(), node.like(1, drawn), drawn)
    rate = node.like(-float(node.get("lambd", 1)), drawn)
    return node(ops.Div(), node(ops.Log(), drawn), rate)


# ------------------------------------------------------------------------------------------------ numbers of tensors
@FAMILY.op("aten.item", "aten._local_scalar_dense")
def _item(node: TorchNode) -> Result:
    """The one element of a tensor; sizes that it decides are computed from it."""
    scalar = node.single(node.tensor("self"))
    wanted = node.call.types[0] if node.call.types else None
    return scalar if wanted is None else node.cast(scalar, wanted.dtype)


@FAMILY.op("aten.sym_size", "aten.size", "aten.sym_numel", "aten.numel")
def _size(node: TorchNode) -> Tensor:
    x, axis = node.tensor("self"), node.get("dim")
    dims = node.shape(x)
    if axis is None:
        return node(ops.SizeOf(), x)
    return node.single(as_vector(node, dims[axis]))
