"""How a node computes the same on tensors whose axes are in another order.

A tensor [N, spatial..., C] is "in the other form" as [N, C, spatial...], or with the axes in any other order that is
given. A node can change form when an operator gives its results, in the other form or in their own, from operands in
the other form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import attrs

from uair.ir.data import derive
from uair.ir.dims import static
from uair.ir.graph import Node, Tensor, constant
from uair.ops import (
    ArgMax,
    ArgMin,
    Concat,
    Conv1D,
    Conv2D,
    Conv3D,
    Dequantize,
    Expand,
    Flip,
    Hardmax,
    LayerNorm,
    Linear,
    LogSoftmax,
    LpNormalize,
    Pad,
    Quantize,
    RMSNorm,
    Slice,
    Softmax,
    Split,
    Squeeze,
    Tile,
    Unsqueeze,
)
from uair.ops.base import Operator
from uair.ops.reduction import Reduction

Perm: TypeAlias = tuple[int, ...]

LEAST_RANK = 3
"""Axes from which the two forms differ."""


def to_first(rank: int) -> Perm:
    """[N, spatial..., C] to [N, C, spatial...]."""
    return (0, rank - 1, *range(1, rank - 1))


def to_last(rank: int) -> Perm:
    """[N, C, spatial...] to [N, spatial..., C]."""
    return (0, *range(2, rank), 1)


@attrs.frozen
class Order:
    """The order of axes in the other form: y = Transpose(x, perm) is x in it.

    Attributes:
        perm: for tensors of as many axes; None: channels first, [N, C, spatial...], whatever their number is.
    """

    perm: Perm | None = None

    def covers(self, rank: int) -> bool:
        """Whether tensors of `rank` axes have another form."""
        return rank >= LEAST_RANK if self.perm is None else rank == len(self.perm)

    def of(self, rank: int) -> Perm:
        """The permutation of `rank` axes that gives the other form."""
        return to_first(rank) if self.perm is None else self.perm

    def axis(self, axis: int, rank: int) -> int:
        """Where an axis is in the other form."""
        return self.of(rank).index(axis % rank)

    def keeps(self, axes: Sequence[int], rank: int) -> bool:
        """Whether the axes besides these ones stand in the same order in both forms."""
        dropped = {a % rank for a in axes}
        left = [a for a in self.of(rank) if a not in dropped]
        return left == sorted(left)


CHANNELS_FIRST = Order()


@attrs.frozen
class Move:
    """A node's computation in the other form.

    Attributes:
        op: the operator.
        carried: operand numbers that are taken in the other form; of elementwise operators also those of lower rank,
            which get axes of extent 1.
        results: whether the results come in the other form; else they are the same in both.
        constants: what replaces constant operands, by number.
    """

    op: Operator
    carried: tuple[int, ...]
    results: bool = True
    constants: Mapping[int, Tensor] = attrs.field(factory=dict[int, Tensor])


Pointwise: TypeAlias = Literal["kept", "convolution", "arithmetic"]
"""What may become of a node that works on the channels of each place by itself, see `PropagateLayout`."""


def moved_constant(tensor: Tensor, order: Order, rank: int) -> Tensor:
    """A constant of at most `rank` axes in the other form of tensors that have as many."""
    assert tensor.data is not None
    dims = static(tensor.type.dims)
    full, perm = (*[1] * (rank - len(dims)), *dims), order.of(rank)
    shape = tuple(full[p] for p in perm)
    data = derive(lambda a: a.reshape(full).transpose(perm), (tensor.data,), tensor.data.dtype, shape)
    return constant(data, tensor.name)


REWRITTEN = (Linear, LayerNorm, RMSNorm)
"""Operators on the last axis that compute in the other form as others."""


def move(node: Node, pointwise: Pointwise, order: Order = CHANNELS_FIRST) -> Move | None:
    """The node's computation in the other form; None when it has none."""
    if node.op.regions or not all(t is None or (t.type.is_tensor and t.type.shape is not None) for t in node.inputs):
        return None
    if node.op.elementwise:
        return _elementwise(node, order)
    if isinstance(node.op, REWRITTEN):
        return _rewritten(node, pointwise)
    for kinds, function in _MOVES:
        if isinstance(node.op, kinds):
            return function(node, order)
    return None


def _rewritten(node: Node, pointwise: Pointwise) -> Move | None:
    if isinstance(node.op, Linear):
        return None if pointwise == "kept" else _convolution(node)
    return _spelled_out(node) if pointwise == "arithmetic" else None


_CONVOLUTIONS: dict[int, type[Operator]] = {3: Conv1D, 4: Conv2D, 5: Conv3D}


def _convolution(node: Node) -> Move | None:
    """Linear over the channels of images is a convolution with a kernel of 1."""
    op, rank, weight = node.op, _rank(node.inputs[0]), node.inputs[1]
    assert isinstance(op, Linear) and weight is not None
    if rank not in _CONVOLUTIONS or weight.data is None or not weight.type.dtype.is_float:
        return None
    turned = op.transpose_w
    shape = (*(weight.data.shape if turned else weight.data.shape[::-1]), *[1] * (rank - 2))
    data = derive(lambda w: (w if turned else w.T).reshape(shape), (weight.data,), weight.data.dtype, shape)
    return Move(_CONVOLUTIONS[rank](), (0,), constants={1: constant(data, weight.name)})


def _spelled_out(node: Node) -> Move | None:
    """A normalization over the channels, which are not last in the other form; what it is made of can move."""
    op, rank = cast(Any, node.op), _rank(node.inputs[0])
    if rank < LEAST_RANK or op.axis % rank != rank - 1 or any(_rank(t) > 1 for t in node.inputs[1:]):
        return None
    return Move(op, (0,))


def _rank(tensor: Tensor | None) -> int:
    return 0 if tensor is None else len(tensor.type.dims)


def _elementwise(node: Node, order: Order) -> Move | None:
    rank = _rank(node.outputs[0])
    if not order.covers(rank) or any(_rank(t) not in (0, 1, rank) and not _is_constant(t) for t in node.inputs):
        return None
    return Move(node.op, tuple(i for i, t in enumerate(node.inputs) if _rank(t)))


def _is_constant(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.is_constant


def _along_axis(node: Node, order: Order) -> Move | None:
    """One operand; the attribute `axis` says along which axis."""
    op, rank = cast(Any, node.op), _rank(node.inputs[0])
    return (
        Move(attrs.evolve(op, axis=order.axis(op.axis, rank)), (0,))
        if order.covers(rank) and len(node.inputs) == 1
        else None
    )


def _along_axes(node: Node, order: Order) -> Move | None:
    op, rank = cast(Any, node.op), _rank(node.inputs[0])
    if not order.covers(rank) or len(node.inputs) != 1 or op.axes is None:
        return None
    return Move(attrs.evolve(op, axes=tuple(order.axis(a, rank) for a in op.axes)), (0,))


def _quantize(node: Node, order: Order) -> Move | None:
    op, rank = node.op, _rank(node.inputs[0])
    assert isinstance(op, (Quantize, Dequantize))
    if not order.covers(rank) or op.block_size:
        return None
    return Move(op if op.axis is None else attrs.evolve(cast(Any, op), axis=order.axis(op.axis, rank)), (0,))


def _concat(node: Node, order: Order) -> Move | None:
    op, rank = node.op, _rank(node.outputs[0])
    assert isinstance(op, Concat)
    if not order.covers(rank):
        return None
    return Move(attrs.evolve(cast(Any, op), axis=order.axis(op.axis, rank)), tuple(range(len(node.inputs))))


def _pad(node: Node, order: Order) -> Move | None:
    op, rank = node.op, _rank(node.inputs[0])
    assert isinstance(op, Pad)
    if not order.covers(rank) or op.pads is None or any(t is not None and _rank(t) for t in node.inputs[1:]):
        return None
    perm = order.of(rank)
    pads = (*(op.pads[p] for p in perm), *(op.pads[rank + p] for p in perm))
    return Move(attrs.evolve(cast(Any, op), pads=pads), (0,))


def _tile(node: Node, order: Order) -> Move | None:
    return _permuted_attribute(node, "repeats", order)


def _expand(node: Node, order: Order) -> Move | None:
    return _permuted_attribute(node, "shape", order)


def _permuted_attribute(node: Node, name: str, order: Order) -> Move | None:
    """The attribute has one number for each axis of the operand, which has as many as the result."""
    op, rank = cast(Any, node.op), _rank(node.inputs[0])
    numbers = getattr(op, name)
    if not order.covers(rank) or numbers is None or len(numbers) != rank:
        return None
    return Move(attrs.evolve(op, **{name: tuple(numbers[p] for p in order.of(rank))}), (0,))


def _reduction(node: Node, order: Order) -> Move | None:
    op, rank = cast(Any, node.op), _rank(node.inputs[0])
    if not order.covers(rank) or len(node.inputs) != 1 or op.axes is None:
        return None
    return _without(op, op.axes, order, rank, keeps=op.keepdims)


def _position(node: Node, order: Order) -> Move | None:
    op, rank = cast(Any, node.op), _rank(node.inputs[0])
    if not order.covers(rank) or op.axis is None:
        return None
    if not op.keepdims and not order.keeps((op.axis,), rank):
        return None
    return Move(attrs.evolve(op, axis=order.axis(op.axis, rank)), (0,), results=op.keepdims)


def _squeeze(node: Node, order: Order) -> Move | None:
    op, rank = cast(Any, node.op), _rank(node.inputs[0])
    if not order.covers(rank) or len(node.inputs) != 1 or op.axes is None:
        return None
    return _without(op, op.axes, order, rank, keeps=False)


def _without(op: Any, axes: Sequence[int], order: Order, rank: int, *, keeps: bool) -> Move | None:
    """The operator on its axes in the other form."""
    if not keeps and not order.keeps(axes, rank):
        return None
    return Move(attrs.evolve(op, axes=tuple(sorted(order.axis(a, rank) for a in axes))), (0,), results=keeps)


def _unsqueeze(node: Node, order: Order) -> Move | None:
    op, rank = cast(Any, node.op), _rank(node.outputs[0])
    if not order.covers(rank) or len(node.inputs) != 1 or op.axes is None:
        return None
    if not order.keeps(op.axes, rank):
        return None
    return Move(attrs.evolve(op, axes=tuple(sorted(order.axis(a, rank) for a in op.axes))), ())


_MOVES: tuple[tuple[tuple[type[Operator], ...], Callable[[Node, Order], Move | None]], ...] = (
    ((Softmax, LogSoftmax, Hardmax, LpNormalize, Split), _along_axis),
    ((Flip, Slice), _along_axes),
    ((Quantize, Dequantize), _quantize),
    ((Concat,), _concat),
    ((Pad,), _pad),
    ((Tile,), _tile),
    ((Expand,), _expand),
    ((Reduction,), _reduction),
    ((ArgMax, ArgMin), _position),
    ((Squeeze,), _squeeze),
    ((Unsqueeze,), _unsqueeze),
)
