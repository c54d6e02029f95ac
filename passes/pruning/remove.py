"""Taking channels out: constants are cut, attributes that name extents follow, types are inferred again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from uair.ir.data import derive
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.inference import refine_node
from uair.ir.module import Module
from uair.passes.pruning.labels import Labelling, Labels, kept_places
from uair.passes.pruning.propagate import slice_bounds

Biases = Mapping[Node, Array]
"""What is added to the biases of nodes with weights, per channel that they had before."""


@attrs.frozen(eq=False)
class TakePlaces:
    """Some places along some axes of an array."""

    places: tuple[tuple[int, Array], ...]

    def __call__(self, array: Array) -> Array:
        """The part of the array."""
        for axis, places in self.places:
            array = np.take(array, places, axis)
        return array


def pruned_copy(module: Module, labelling: Labelling, removed: set[int], biases: Biases) -> Module:
    """A copy of the labelled module without those channels; the nodes of both main graphs correspond in order."""
    copy = module.clone()
    remove_channels(labelling, removed, biases, copy.main)
    return copy


def remove_channels(labelling: Labelling, removed: set[int], biases: Biases, graph: Graph) -> None:
    """Take channels out of a graph.

    Args:
        labelling: of another graph whose nodes correspond to this one's in order.
        removed: the standing atoms that go.
        biases: what is added to biases before that, by node of the labelled graph.
        graph: in place.
    """
    made: dict[tuple[Tensor, bytes], Tensor] = {}
    for node, target in zip(labelling.graph, graph, strict=True):
        add_bias(target, biases.get(node))
        for i in range(len(target.inputs)):
            labels = labelling.cuts.get((node, i)) or _bias_cut(labelling, node, i, biases)
            if labels:
                target.set_input(i, _cut(target.inputs[i], labels, removed, made))
        attributes = _attributes(labelling, node, removed)
        if attributes:
            op: Any = target.op
            target.op = attrs.evolve(op, **attributes)
        refine_node(target, {})


def _bias_cut(labelling: Labelling, node: Node, i: int, biases: Biases) -> tuple[Labels, ...]:
    """A bias that was added is cut like the results."""
    labels = labelling.of(node.output) if i == 2 and node in biases else None
    return () if labels is None else (Labels(0, labels.atoms),)


def add_bias(node: Node, change: Array | None) -> None:
    """Add to the bias of a Linear or convolution, which gets one when it has none."""
    if change is None:
        return
    w, old = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    assert w is not None
    value = change if old is None else old.numpy().astype(np.float64) + change
    new = constant(np.asarray(value).astype(w.type.dtype.numpy), old.name if old is not None else f"{w.name}.bias")
    node.set_input(2, new)


def _cut(
    tensor: Tensor | None, labels: tuple[Labels, ...], removed: set[int], made: dict[tuple[Tensor, bytes], Tensor]
) -> Tensor | None:
    """The constant without what belongs to removed channels; itself when nothing of it does."""
    assert tensor is not None and tensor.data is not None
    places = [(each.axis, kept_places(each.atoms, removed)) for each in labels]
    places = [(axis, kept) for axis, kept in places if len(kept) < tensor.data.shape[axis]]
    if not places:
        return tensor
    key = tensor, b"".join(axis.to_bytes(1, "big") + kept.tobytes() for axis, kept in places)
    if key not in made:
        shape = list(tensor.data.shape)
        for axis, kept in places:
            shape[axis] = len(kept)
        data = derive(TakePlaces(tuple(places)), (tensor.data,), tensor.type.dtype, tuple(shape))
        made[key] = constant(data, tensor.name)
    return made[key]


def _attributes(labelling: Labelling, node: Node, removed: set[int]) -> dict[str, Any]:
    """The attributes that name extents of channels, as they are afterwards."""
    labels = labelling.of(node.outputs[0]) if node.outputs else None
    x = labelling.of(node.inputs[0]) if node.inputs else None
    change = ATTRIBUTES.get(node.op_type)
    if labels is None or x is None or change is None:
        return {}
    return change(labelling, node, x, removed)


Attributes = Callable[[Labelling, Node, Labels, "set[int]"], dict[str, Any]]


def _shape(attribute: str) -> Attributes:
    def change(labelling: Labelling, node: Node, x: Labels, removed: set[int]) -> dict[str, Any]:
        labels = labelling.of(node.output)
        if labels is None or getattr(node.op, attribute) is None:
            return {}
        shape = list(getattr(node.op, attribute))
        shape[labels.axis] = len(kept_places(labels.atoms, removed))
        return {attribute: tuple(shape)}

    return change


def _conv_groups(labelling: Labelling, node: Node, x: Labels, removed: set[int]) -> dict[str, Any]:
    op: Any = node.op
    depthwise = op.groups == len(x.atoms) and op.groups > 1
    return {"groups": len(kept_places(x.atoms, removed))} if depthwise else {}


def _norm_groups(labelling: Labelling, node: Node, x: Labels, removed: set[int]) -> dict[str, Any]:
    op: Any = node.op
    size = len(x.atoms) // op.groups
    return {"groups": len(kept_places(x.atoms, removed)) // max(size, 1)}


def _sizes(labelling: Labelling, node: Node, x: Labels, removed: set[int]) -> dict[str, Any]:
    op: Any = node.op
    if x.axis != op.axis % len(node.outputs[0].type.dims):
        return {}
    parts = [labelling.of(t) for t in node.outputs]
    return {"sizes": tuple(len(kept_places(p.atoms, removed)) for p in parts if p is not None)}


def _bounds(labelling: Labelling, node: Node, x: Labels, removed: set[int]) -> dict[str, Any]:
    op: Any = node.op
    rank = node.output.type.rank
    starts, ends = list(op.starts), list(op.ends)
    found = slice_bounds(op, x.axis, rank, len(x.atoms))
    assert found is not None  # what has other bounds was refused
    for i, axis in enumerate(op.axes):
        if axis % rank == x.axis:
            starts[i] = len(kept_places(x.atoms[: found[0]], removed))
            ends[i] = starts[i] + len(kept_places(x.atoms[found[0] : found[1]], removed))
    return {"starts": tuple(starts), "ends": tuple(ends)}


def _resize_sizes(labelling: Labelling, node: Node, x: Labels, removed: set[int]) -> dict[str, Any]:
    op: Any = node.op
    if op.sizes is None or (op.axes is not None and len(op.sizes) != node.output.type.rank):
        return {}
    return _shape("sizes")(labelling, node, x, removed)


ATTRIBUTES: Mapping[str, Attributes] = {
    **dict.fromkeys(
        ("Conv1D", "Conv2D", "Conv3D", "ConvTranspose1D", "ConvTranspose2D", "ConvTranspose3D"), _conv_groups
    ),
    "GroupNorm": _norm_groups,
    "Reshape": _shape("shape"),
    "Expand": _shape("shape"),
    "Resize": _resize_sizes,
    "Split": _sizes,
    "Slice": _bounds,
}
