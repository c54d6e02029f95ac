"""How each operator hands the atoms of channels on, see `uair.passes.pruning.labels`.

A rule gives results their atoms, joins atoms that must go together, and says which constants are cut with them. What a
rule cannot keep consistent it refuses, with a reason for the report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import numpy as np

from uair.ir.dims import Dim, static
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor
from uair.passes.pruning.labels import FIXED, Labelling, Labels, extent
from uair.quant.scheme import CONVOLUTIONS, TRANSPOSED

Rule = Callable[[Labelling, Node], None]


def label_graph(graph: Graph, *, heads: bool = False) -> Labelling:
    """The atoms of a graph's channels. What graphs in attributes use, and what the graph returns, is pinned.

    Args:
        graph: the graph.
        heads: whether the heads of an attention are channels, whole ones. Without it each head loses the same places,
            and where an Attention is fused, none.
    """
    labelling = Labelling(graph, heads=heads)
    for node in graph:
        rule = elementwise if node.op.elementwise or node.op_type in PLAIN else RULES.get(node.op_type)
        if rule is None or node.regions or len(node.outputs) != 1 and rule is not split:
            labelling.refuse(node, f"{node.op_type} needs them all")
        else:
            rule(labelling, node)
    for tensor, labels in labelling.values.items():
        for user in tensor.users:
            if user.graph is not graph or user.is_return:
                place = "the model's output" if user.is_return and user.graph is graph else "a graph inside of a node"
                labelling.pin(labels.atoms.tolist(), f"they reach {place}")
    labelling.finish()
    return labelling


# --------------------------------------------------------------------------------------------------- weighted operators
def convolution(labelling: Labelling, node: Node) -> None:
    """x: [N, C, ...], w: [M, C/groups, ...]. Of groups, the channels at the same place of each go together."""
    _weighted(labelling, node, transposed=False)


def transposed_convolution(labelling: Labelling, node: Node) -> None:
    """x: [N, C, ...], w: [C, M/groups, ...]."""
    _weighted(labelling, node, transposed=True)


def _weighted(labelling: Labelling, node: Node, *, transposed: bool) -> None:
    x, w = node.inputs[0], node.inputs[1]
    labels = labelling.of(x)
    if labels is not None and labels.axis != 1:
        labelling.refuse(node, f"{node.op_type} reads them along another axis")
        labels = None
    if x is None or not _cuttable(node):
        labelling.refuse(node, "the weights that read them are no constants")
        return
    assert w is not None
    op: Any = node.op
    groups, (first, second) = op.groups, w.type.dims[:2]
    assert isinstance(first, int) and isinstance(second, int)
    channels, results = (first, second * groups) if transposed else (second * groups, first)
    if groups > 1 and channels == groups:
        _depthwise(labelling, node, labels, results // channels, transposed=transposed)
        return
    made = labelling.new_atoms(results // groups)
    atoms = np.tile(made, groups)
    taken = None
    if labels is not None:
        taken = labels.atoms.reshape(groups, -1).T
        taken = labelling.join_all(taken)
        labelling.contractions[node] = labels.atoms
    per_group = (Labels(0, labels.atoms), Labels(1, made)) if labels is not None else (Labels(1, made),)
    if not transposed:
        per_group = (Labels(0, atoms), Labels(1, taken)) if taken is not None else (Labels(0, atoms),)
    labelling.cut(node, 1, *per_group)
    _cut_bias(labelling, node, atoms)
    labelling.produce(node, 1, atoms)


def _depthwise(labelling: Labelling, node: Node, labels: Labels | None, multiplier: int, *, transposed: bool) -> None:
    """Every channel has filters of its own, which go with it."""
    if labels is None:
        return
    atoms = np.repeat(labels.atoms, multiplier)
    labelling.cut(node, 1, Labels(0, labels.atoms if transposed else atoms))
    _cut_bias(labelling, node, atoms)
    labelling.give(node.output, 1, atoms)


def linear(labelling: Labelling, node: Node) -> None:
    """x: [..., in], w: [out, in] or [in, out]."""
    x, w = node.inputs[0], node.inputs[1]
    if x is None or not _cuttable(node):
        labelling.refuse(node, "the weights that read them are no constants")
        return
    assert w is not None
    op: Any = node.op
    inner = 1 if op.transpose_w else 0
    _matrix(labelling, node, inner)
    _cut_bias(labelling, node, labelling.producers[-1].atoms)


def _matrix(labelling: Labelling, node: Node, inner: int) -> None:
    """A product with a constant matrix whose axis `inner` meets the last axis of operand 0."""
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None and w is not None
    labels = labelling.of(x)
    outputs = extent(w, 1 - inner)
    assert isinstance(outputs, int)
    rank = x.type.rank
    if labels is not None and labels.axis == rank - 1:
        labelling.cut(node, 1, Labels(inner, labels.atoms))
        labelling.contractions[node] = labels.atoms
    elif labels is not None:
        labelling.refuse(node, f"{node.op_type} makes channels along another axis")
    atoms = labelling.new_atoms(outputs)
    labelling.cut(node, 1, Labels(1 - inner, atoms))
    labelling.produce(node, rank - 1, atoms)


def matmul(labelling: Labelling, node: Node) -> None:
    """A product with a constant matrix, or of two activations, whose summed channels go together."""
    a, b = node.inputs
    op: Any = node.op
    assert a is not None and b is not None
    if b.is_constant and b.type.rank == 2 and a.type.rank >= 2 and not op.trans_a and _is_static(b):
        _matrix(labelling, node, 1 if op.trans_b else 0)
        return
    left, right = labelling.of(a), labelling.of(b)
    if (left is None and right is None) or min(a.type.rank, b.type.rank) < 2:
        labelling.refuse(node, "MatMul needs them all")
        return
    rank = node.output.type.rank
    places = (_place(left, a, rank, swapped=op.trans_a), _place(right, b, rank, swapped=op.trans_b))
    summed = (rank - 1, rank - 2)
    if left is not None and right is not None and len(left.atoms) == len(right.atoms):
        if places == summed:
            labelling.join(left.atoms, right.atoms)
            return
        if places[0] == places[1] and places[0] < rank - 2:
            labelling.join(left.atoms, right.atoms)
            labelling.give(node.output, places[0], left.atoms)
            return
    if left is not None and right is None and places[0] == rank - 2:
        labelling.give(node.output, rank - 2, left.atoms)
    elif right is not None and left is None and places[1] == rank - 1:
        labelling.give(node.output, rank - 1, right.atoms)
    else:
        labelling.refuse(node, "MatMul needs them all")


def _place(labels: Labels | None, tensor: Tensor, rank: int, *, swapped: bool) -> int:
    """The axis of the labels as if the operand had `rank` axes and were not transposed; -1 for none."""
    if labels is None:
        return -1
    axis = labels.axis + rank - tensor.type.rank
    return 2 * rank - 3 - axis if swapped and axis >= rank - 2 else axis


# --------------------------------------------------------------------------------------------------- element by element
def elementwise(labelling: Labelling, node: Node) -> None:
    """Channels that meet go together; constants of one value per channel are cut."""
    rank = node.output.type.rank
    found = [(t, labelling.of(t)) for t in node.inputs]
    aligned = {labels.axis + rank - t.type.rank for t, labels in found if t is not None and labels is not None}
    if not aligned:
        return
    axis = min(aligned)
    if len(aligned) > 1 or any(not _fits(t, labels, axis, node.output) for t, labels in found if t is not None):
        labelling.refuse(node, f"{node.op_type} combines them with something that has no such channels")
        return
    atoms: Array | None = None
    for _, labels in found:
        if labels is not None and atoms is not None:
            labelling.join(atoms, labels.atoms)
        atoms = labels.atoms if labels is not None and atoms is None else atoms
    assert atoms is not None
    for i, (t, _) in enumerate(found):
        if t is not None and t.is_constant and _extent_at(t, axis, rank) != 1:
            labelling.cut(node, i, Labels(axis - rank + t.type.rank, atoms))
    labelling.give(node.output, axis, atoms)


def _extent_at(tensor: Tensor, axis: int, rank: int) -> Dim:
    """Extent along an axis of a result of `rank`; 1 where the tensor has no such axis."""
    own = axis - rank + tensor.type.rank
    return tensor.type.dims[own] if own >= 0 else 1


def _fits(tensor: Tensor, labels: Labels | None, axis: int, result: Tensor) -> bool:
    """Whether an operand has labels, is a constant, or is the same for all channels."""
    here = _extent_at(tensor, axis, result.type.rank)
    if labels is not None:
        return here == result.type.dims[axis]
    return here == 1 or (tensor.is_constant and here == result.type.dims[axis] and _is_static(tensor))


# -------------------------------------------------------------------------------------------------------- normalization
def per_channel(labelling: Labelling, node: Node) -> None:
    """BatchNorm and InstanceNorm: parameters [C] of x: [N, C, ...]."""
    labels = labelling.of(node.inputs[0])
    if labels is None:
        return
    if labels.axis != 1 or not all(t is None or t.is_constant for t in node.inputs[1:]):
        labelling.refuse(node, f"{node.op_type} has parameters that are no constants per channel")
        return
    for i, t in enumerate(node.inputs[1:], 1):
        if t is not None:
            labelling.cut(node, i, Labels(0, labels.atoms))
    labelling.give(node.output, 1, labels.atoms)


def group_norm(labelling: Labelling, node: Node) -> None:
    """Only whole groups can go: what is left of one would have another mean."""
    labels = labelling.of(node.inputs[0])
    op: Any = node.op
    if labels is not None and labels.axis == 1:
        labelling.join_all(labels.atoms.reshape(op.groups, -1))
    per_channel(labelling, node)


def along_axes(labelling: Labelling, node: Node) -> None:
    """LayerNorm and RMSNorm: the axes from `axis` on are normalised together."""
    rank = node.output.type.rank
    _beside(labelling, node, range(cast(Any, node.op).axis % rank, rank), "normalises them together")


def along_axis(labelling: Labelling, node: Node) -> None:
    """Softmax and its like, Flip of other axes: along another axis than that of the channels."""
    _beside(labelling, node, (cast(Any, node.op).axis % node.output.type.rank,), "computes over them")


def _beside(labelling: Labelling, node: Node, axes: Collection[int], otherwise: str) -> None:
    """What keeps the shape and works along some axes passes channels of the others on."""
    labels = labelling.of(node.inputs[0])
    if labels is None:
        return
    if labels.axis in axes:
        labelling.refuse(node, f"{node.op_type} {otherwise}")
    else:
        labelling.give(node.output, labels.axis, labels.atoms)


def reduction(labelling: Labelling, node: Node) -> None:
    """Over other axes than that of the channels."""
    x = node.inputs[0]
    labels = labelling.of(x)
    if x is None or labels is None:
        return
    op: Any = node.op
    axes = None if op.axes is None else {axis % x.type.rank for axis in op.axes}
    if axes is None or labels.axis in axes or len(node.inputs) > 1:
        labelling.refuse(node, f"{node.op_type} computes over them")
        return
    gone = 0 if op.keepdims else sum(axis < labels.axis for axis in axes)
    labelling.give(node.output, labels.axis - gone, labels.atoms)


# --------------------------------------------------------------------------------------------------------------- shapes
def spatial(labelling: Labelling, node: Node) -> None:
    """Pooling, Resize, Pad, Tile, Expand: channels stay where they are when their axis keeps its extent."""
    x = node.inputs[0]
    labels = labelling.of(x)
    if x is None or labels is None:
        return
    rank = node.output.type.rank
    axis = labels.axis + rank - x.type.rank
    padded = node.op_type == "Pad" and not _unpadded(node, labels.axis, rank)
    if padded or any(t is not None for t in node.inputs[1:]) or extent(node.output, axis) != len(labels.atoms):
        labelling.refuse(node, f"{node.op_type} changes their axis")
    else:
        labelling.give(node.output, axis, labels.atoms)


def _unpadded(node: Node, axis: int, rank: int) -> bool:
    op: Any = node.op
    return op.pads is not None and op.pads[axis] == 0 and op.pads[axis + rank] == 0


def transpose(labelling: Labelling, node: Node) -> None:
    """Channels move with their axis."""
    x = node.inputs[0]
    labels = labelling.of(x)
    if x is None or labels is None:
        return
    op: Any = node.op
    labelling.give(node.output, list(op.perm).index(labels.axis), labels.atoms)


def reshape(labelling: Labelling, node: Node) -> None:
    """Reshape, Squeeze and Unsqueeze: channels are followed through splitting and merging of axes.

    Where the axis of the channels is split, those at the same place of the last of its parts go together: each head of
    an attention, each group of a shuffle, loses the same places. When heads are channels, those of a head go together.
    """
    x = node.inputs[0]
    labels = labelling.of(x)
    if x is None or labels is None:
        return
    if any(t is not None for t in node.inputs[1:]):
        labelling.refuse(node, f"{node.op_type} gets its sizes when the model runs")
        return
    old, new = x.type.dims, node.output.type.dims
    segment = _segment(old, new, labels.axis)
    if segment is None:
        labelling.refuse(node, f"{node.op_type} changes axes of open sizes")
        return
    front, back = segment
    shape = static(old[front : len(old) - back])
    place = [1] * len(shape)
    place[labels.axis - front] = -1
    target = static(new[front : len(new) - back])
    atoms = np.broadcast_to(labels.atoms.reshape(place), shape).reshape(target)
    varying = [i for i in range(atoms.ndim) if not np.array_equal(atoms.take([0], i), atoms.take([-1], i))]
    if not varying:
        labelling.refuse(node, f"{node.op_type} leaves no axis of their own")
        return
    wanted = _head_axis(node.output) if labelling.heads else None
    axis = varying[-1] if wanted is None or wanted - front not in varying else wanted - front
    rows = np.moveaxis(atoms, axis, 0).reshape(target[axis], -1)
    labelling.give(node.output, front + axis, labelling.join_all(_distinct_columns(rows)))


def _head_axis(tensor: Tensor) -> int | None:
    """The axis that becomes the heads of an attention, fused or as products of activations; None without one."""
    back: list[Callable[[int], int]] = []  # from the axis of a result to that of the operand, by node on the way
    while (user := next(iter(tensor.users), None)) is not None:
        op: Any = user.op
        if op.op_type == "Attention" or (op.op_type == "MatMul" and tensor.type.rank > 2 and _of_activations(user)):
            axis = 1 if op.op_type == "Attention" else tensor.type.rank - 3
            for step in reversed(back):
                axis = step(axis)
            return axis
        if op.op_type == "Transpose":
            back.append(op.perm.__getitem__)
        elif op.op_type == "Squeeze" and op.axes is not None:
            rank, gone = tensor.type.rank, op.axes
            left = [a for a in range(rank) if a not in {g % rank for g in gone}]
            back.append(left.__getitem__)
        elif not (op.elementwise or op.op_type == "Split") or user.outputs[0].type.rank != tensor.type.rank:
            return None
        tensor = user.outputs[0]
    return None


def _of_activations(node: Node) -> bool:
    return not any(t is None or t.is_constant for t in node.inputs)


def _distinct_columns(rows: Array) -> Array:
    """Every column once: a channel that covers a block of columns would be joined with itself again and again."""
    return np.unique(rows, axis=1) if rows.shape[1] > 1 else rows


def _segment(old: tuple[Dim, ...], new: tuple[Dim, ...], axis: int) -> tuple[int, int] | None:
    """How many axes in front of, and behind, the one of the channels the shapes have in common.

    None when the rest has open sizes or no elements.
    """
    front = 0
    while front < min(axis, len(new)) and old[front] == new[front]:
        front += 1
    back = 0
    while back < min(len(old) - axis - 1, len(new) - front) and old[-1 - back] == new[-1 - back]:
        back += 1
    rest = (*old[front : len(old) - back], *new[front : len(new) - back])
    if not all(isinstance(d, int) and d > 0 for d in rest) or len(new) - back - front < 1:
        return None
    before, after = math.prod(old[front : len(old) - back]), math.prod(new[front : len(new) - back])
    return (front, back) if before == after else None


def attention(labelling: Labelling, node: Node) -> None:
    """Whole heads go, of queries, keys and values together; of those that share keys, all."""
    op: Any = node.op
    operands = [labelling.of(t) for t in node.inputs[:3]]
    if not labelling.heads or any(t is not None and not _beside_heads(t) for t in node.inputs[3:]) or op.cache:
        labelling.refuse(node, "Attention needs them all")
        return
    q, k, v = operands
    if q is None or k is None or v is None or {q.axis, k.axis, v.axis} != {1} or len(k.atoms) != len(v.atoms):
        labelling.refuse(node, "Attention combines them with something that has no such heads")
        return
    shared = labelling.join_all(q.atoms.reshape(len(k.atoms), -1))
    labelling.join(shared, k.atoms)
    labelling.join(shared, v.atoms)
    labelling.give(node.output, 1, q.atoms)


def _beside_heads(tensor: Tensor) -> bool:
    """Whether a mask is the same for all heads."""
    return tensor.type.shape is not None and (tensor.type.rank < 3 or tensor.type.dims[-3] == 1)


def concat(labelling: Labelling, node: Node) -> None:
    """Channels stand side by side, or, along another axis, meet and go together."""
    op: Any = node.op
    rank = node.output.type.rank
    axis = op.axis % rank
    found = [labelling.of(t) for t in node.inputs]
    axes = {labels.axis for labels in found if labels is not None}
    if not axes:
        return
    extents = [extent(t, axis) for t in node.inputs if t is not None]
    if axes == {axis} and all(isinstance(d, int) for d in extents):
        parts = [
            np.full(d, FIXED) if labels is None else labels.atoms
            for d, labels in zip(static(extents), found, strict=True)
        ]
        labelling.give(node.output, axis, np.concatenate(parts))
        return
    known = [labels for labels in found if labels is not None]
    if len(axes) > 1 or len(known) < len(found) or axis in axes:
        labelling.refuse(node, "Concat joins them with something that has no such channels")
        return
    for labels in known[1:]:
        labelling.join(known[0].atoms, labels.atoms)
    labelling.give(node.output, known[0].axis, known[0].atoms)


def split(labelling: Labelling, node: Node) -> None:
    """Each result has a part of the channels, or all of them when another axis is cut."""
    x = node.inputs[0]
    labels = labelling.of(x)
    if x is None or labels is None:
        return
    op: Any = node.op
    if op.sizes is None:
        labelling.refuse(node, "Split gets its sizes when the model runs")
        return
    start = 0
    for tensor in node.outputs:
        if labels.axis != op.axis % x.type.rank:
            labelling.give(tensor, labels.axis, labels.atoms)
            continue
        size = extent(tensor, labels.axis)
        if not isinstance(size, int):
            labelling.refuse(node, "Split cuts them into parts of open sizes")
            return
        labelling.give(tensor, labels.axis, labels.atoms[start : start + size])
        start += size


def slice_(labelling: Labelling, node: Node) -> None:
    """A range of the channels, in steps of one, or all of them."""
    x = node.inputs[0]
    labels = labelling.of(x)
    if x is None or labels is None:
        return
    op: Any = node.op
    if op.axes is None or op.starts is None or op.ends is None or op.steps is None:
        labelling.refuse(node, "Slice has bounds that are not known")
        return
    bounds = slice_bounds(op, labels.axis, x.type.rank, len(labels.atoms))
    if bounds is None:
        labelling.refuse(node, "Slice takes some of them in steps")
    else:
        labelling.give(node.output, labels.axis, labels.atoms[bounds[0] : bounds[1]])


def slice_bounds(op: Any, axis: int, rank: int, length: int) -> tuple[int, int] | None:
    """First and last-but-one place that a Slice takes along an axis; None when its step is not 1 or a bound is open."""
    for i, each in enumerate(op.axes):
        if each % rank != axis:
            continue
        start, end, step = op.starts[i], op.ends[i], op.steps[i]
        if step != 1 or not isinstance(start, int) or not isinstance(end, int):
            return None
        first, last, _ = slice(start, end, 1).indices(length)
        return first, max(first, last)
    return 0, length


def gather(labelling: Labelling, node: Node) -> None:
    """Choosing along another axis than that of the channels."""
    x, indices = node.inputs
    assert x is not None and indices is not None
    labels = labelling.of(x)
    if labelling.of(indices) is not None:
        labelling.refuse(node, "Gather uses them as indices")
    if labels is None:
        return
    op: Any = node.op
    axis = op.axis % x.type.rank
    if axis == labels.axis:
        labelling.refuse(node, "Gather chooses among them")
    else:
        moved = indices.type.rank - 1 if axis < labels.axis else 0
        labelling.give(node.output, labels.axis + moved, labels.atoms)


# -------------------------------------------------------------------------------------------------------------- helpers
def _is_static(tensor: Tensor) -> bool:
    return all(isinstance(d, int) for d in tensor.type.dims)


def _cuttable(node: Node) -> bool:
    """Whether weight and bias are constants of known sizes."""
    return all(t is None or (t.is_constant and _is_static(t)) for t in node.inputs[1:])


def _cut_bias(labelling: Labelling, node: Node, atoms: Array) -> None:
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        labelling.cut(node, 2, Labels(0, atoms))


PLAIN = frozenset({"Identity", "Cast"})
"""Operators that are computed element by element and do not say so."""

_POOLS = ("MaxPool1D", "MaxPool2D", "MaxPool3D", "AvgPool1D", "AvgPool2D", "AvgPool3D")
_REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSumExp", "SumSquare")

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(CONVOLUTIONS, convolution),
    **dict.fromkeys(TRANSPOSED, transposed_convolution),
    **dict.fromkeys(_POOLS, spatial),
    **dict.fromkeys(("GlobalAvgPool", "GlobalMaxPool", "Resize", "Pad", "Tile", "Expand"), spatial),
    **dict.fromkeys((f"Reduce{name}" for name in _REDUCTIONS), reduction),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "LpNormalize"), along_axis),
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze"), reshape),
    **dict.fromkeys(("BatchNorm", "InstanceNorm"), per_channel),
    **dict.fromkeys(("LayerNorm", "RMSNorm"), along_axes),
    "Attention": attention,
    "GroupNorm": group_norm,
    "Linear": linear,
    "MatMul": matmul,
    "Transpose": transpose,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
}
