"""From the nodes of a loop's body to expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import Shape
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor
from uair.ops import (
    Add,
    Cast,
    Concat,
    Elu,
    Gather,
    HardSigmoid,
    Identity,
    LeakyRelu,
    Linear,
    MatMul,
    Mul,
    Relu,
    Reshape,
    Sigmoid,
    Slice,
    Softplus,
    Softsign,
    Split,
    Squeeze,
    Sub,
    Tanh,
    Unsqueeze,
)
from uair.passes.recurrent.expressions import (
    Applied,
    Atom,
    Expression,
    Fixed,
    Joined,
    columns,
    difference,
    product,
    scaled,
    total,
)
from uair.passes.simplify.slices import VERY_END, has_known_bounds

ACTIVATIONS = (Sigmoid, Tanh, Relu, HardSigmoid, Elu, LeakyRelu, Softplus, Softsign)
MOST_FOLDED = 1 << 24
"""Elements of constants that are computed in a body, at most."""
_SAME_ROWS = (Reshape, Squeeze, Unsqueeze, Identity)

Found: TypeAlias = "Expression | None"


def read(
    body: Iterable[Node], known: Mapping[Tensor, Expression], step: Callable[[Node], Atom | None]
) -> dict[Tensor, Found]:
    """What the tensors of a body are, in rows [batch, n]; None for what is no such thing.

    Args:
        body: its nodes, in order.
        known: what some of the tensors from outside are.
        step: the atom for a node that reads a step of a sequence.
    """
    found: dict[Tensor, Found] = dict(known)
    for node in body:
        atom = step(node)
        if atom is not None:
            found[node.output] = atom
            continue
        operands = [None if t is None else _operand(t, found) for t in node.inputs]
        results = _folded(node, operands)
        if results is None:
            reader = _READERS.get(type(node.op))
            results = reader(node, operands) if reader is not None and operands and operands[0] is not None else None
        found.update(dict.fromkeys(node.outputs) if results is None else zip(node.outputs, results, strict=True))
    return found


def _operand(tensor: Tensor, found: Mapping[Tensor, Found]) -> Found:
    if tensor.data is not None and tensor.type.dtype.is_float and tensor.data.size <= MOST_FOLDED:
        return Fixed(tensor.numpy())
    return found.get(tensor)


def _folded(node: Node, operands: Sequence[Found]) -> Sequence[Found] | None:
    """The results of a node that only computes constants."""
    if not node.inputs or not node.op.deterministic or node.regions:
        return None
    arrays: list[Array | None] = []
    for tensor, operand in zip(node.inputs, operands, strict=True):
        if tensor is not None and not isinstance(operand, Fixed) and tensor.data is None:
            return None
        small = tensor is not None and tensor.data is not None and tensor.data.size <= MOST_FOLDED
        arrays.append(operand.value if isinstance(operand, Fixed) else tensor.numpy() if small and tensor else None)
        if tensor is not None and arrays[-1] is None:
            return None
    if any(t.type.is_static and t.type.size > MOST_FOLDED or not t.type.is_static for t in node.outputs):
        return None
    try:
        with np.errstate(all="ignore"):
            return [Fixed(np.asarray(v)) for v in node.op.evaluate_all(arrays)]
    except EvaluationError:  # numbers that do not fit: the run will tell
        return None


# ------------------------------------------------------------------------------------------------------------ operators
def _width(tensor: Tensor) -> int | None:
    """The extent of the last axis."""
    dims = tensor.type.shape
    return dims[-1] if dims and isinstance(dims[-1], int) else None


def rows(tensor: Tensor) -> Shape:
    """The axes before the last one, those of extent 1 left out."""
    return tuple(d for d in tensor.type.dims[:-1] if d != 1)


def _linear(node: Node, operands: Sequence[Any]) -> Sequence[Found] | None:
    x, w, *rest = operands
    if not isinstance(w, Fixed) or w.value.ndim != 2 or isinstance(x, Fixed):
        return None
    turned = node.op.transpose_w if isinstance(node.op, Linear) else node.attributes["trans_b"]
    if node.attributes.get("trans_a"):
        return None
    matrix = w.value.T if turned else w.value
    made = product(x, matrix) if _row_width(x, matrix) else None
    bias = rest[0] if rest else None
    if made is None or bias is None:
        return None if made is None else [made]
    return [total(made, bias)] if isinstance(bias, Fixed) else None


def _row_width(x: Expression, matrix: Array) -> bool:
    return not isinstance(x, Atom) or x.width == len(matrix)


def _elementwise(combine: Callable[[Expression, Expression], Found]) -> Callable[[Node, Sequence[Any]], Any]:
    def reader(node: Node, operands: Sequence[Any]) -> Sequence[Found] | None:
        a, b = operands
        if b is None or not _keeps_rows(node, operands):
            return None
        return [combine(a, b)]

    return reader


def _keeps_rows(node: Node, operands: Sequence[Any]) -> bool:
    """Whether no operand is broadcast along the rows, and constants are vectors of the last axis or scalars."""
    for tensor, operand in zip(node.inputs, operands, strict=True):
        assert tensor is not None
        if isinstance(operand, Fixed):
            if operand.value.size != 1 and operand.value.size != operand.value.shape[-1]:
                return False
        elif rows(tensor) != rows(node.output) or _width(tensor) != _width(node.output):
            return False
    return True


def _activation(node: Node, operands: Sequence[Any]) -> Sequence[Found] | None:
    return None if isinstance(operands[0], Fixed) else [Applied(node.op, operands[0])]


def _passed_on(node: Node, operands: Sequence[Any]) -> Sequence[Found] | None:
    """A value whose rows stay rows."""
    x = node.inputs[0]
    assert x is not None
    same_rows = x.type.shape is not None and x.type.rank and node.output.type.rank
    if not same_rows or _width(x) != _width(node.output) or rows(x) != rows(node.output):
        return None
    return [operands[0]]


def _cast(node: Node, operands: Sequence[Any]) -> Sequence[Found] | None:
    x = node.inputs[0]
    assert x is not None
    return [operands[0]] if x.type.dtype is node.output.type.dtype else None


def _is_last(tensor: Tensor, axis: int) -> bool:
    return tensor.type.shape is not None and axis % max(tensor.type.rank, 1) == tensor.type.rank - 1


def _split(node: Node, operands: Sequence[Any]) -> Sequence[Found] | None:
    x, op = node.inputs[0], node.op
    assert x is not None and isinstance(op, Split)
    if not _is_last(x, op.axis) or op.sizes is None or not all(isinstance(s, int) for s in op.sizes):
        return None
    at, results = 0, list[Found]()
    for size in (s for s in op.sizes if isinstance(s, int)):
        results.append(columns(operands[0], at, at + size))
        at += size
    return results


def _slice(node: Node, operands: Sequence[Any]) -> Sequence[Found] | None:
    x, op = node.inputs[0], node.op
    assert x is not None
    width = _width(x)
    if not has_known_bounds(op) or width is None:
        return None
    start, stop = 0, width
    for axis, first, last, step in zip(op.axes, op.starts, op.ends, op.steps, strict=True):
        if step != 1 or not isinstance(first, int) or not isinstance(last, int):
            return None
        if _is_last(x, axis):
            start, stop, _ = slice(first, last).indices(width)
        elif first != 0 or (last < VERY_END and last != x.type.dims[axis]):
            return None
    return [columns(operands[0], start, stop)]


def _concat(node: Node, operands: Sequence[Any]) -> Sequence[Found] | None:
    widths = [None if t is None else _width(t) for t in node.inputs]
    if not _is_last(node.output, node.attributes["axis"]):
        return None
    parts = [(e, w) for e, w in zip(operands, widths, strict=True) if e is not None and w is not None]
    whole = len(parts) == len(operands) and not any(isinstance(e, Fixed) for e, _ in parts)
    return [Joined(tuple(parts))] if whole else None


_READERS: dict[type, Callable[[Node, Sequence[Any]], Sequence[Found] | None]] = {
    MatMul: _linear,
    Linear: _linear,
    Add: _elementwise(total),
    Mul: _elementwise(scaled),
    Sub: _elementwise(difference),
    Cast: _cast,
    Split: _split,
    Slice: _slice,
    Concat: _concat,
    **dict.fromkeys(ACTIVATIONS, _activation),
    **dict.fromkeys(_SAME_ROWS, _passed_on),
}

READ = frozenset(_READERS)
"""The operators that are read."""


# --------------------------------------------------------------------------------------------------- steps of sequences
def follows(tensor: Tensor | None, number: Tensor) -> bool:
    """Whether a tensor is the number of the run, in whatever type and shape."""
    while tensor is not None and tensor is not number:
        node = tensor.producer
        if node is None or not isinstance(node.op, (Cast, Identity, Reshape, Squeeze, Unsqueeze)):
            return False
        tensor = node.inputs[0]
    return tensor is number


def sequence_of(node: Node, number: Tensor) -> tuple[Tensor, int] | None:
    """The sequence and its axis when a node reads the step of the run from a tensor."""
    if not isinstance(node.op, Gather):
        return None
    x, index = node.inputs
    assert x is not None and index is not None
    if x.type.shape is None or x.type.rank != 3 or index.type.shape not in ((), (1,)) or not follows(index, number):
        return None
    return x, node.op.axis % 3


__all__ = ["ACTIVATIONS", "READ", "follows", "read", "rows", "sequence_of"]
