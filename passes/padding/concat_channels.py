"""Whole channel blocks in concatenations.

Concatenating blocked tensors along channels is free when every piece fills its blocks: block lists are joined. A piece
with 24 channels in blocks of 16 makes the device unpack, concatenate and pack again. Padding the piece to 32 channels,
in the weights of the convolution that makes it, and giving the convolutions that read the result zero weights for the
additional channels, computes the same values without any copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from uair.ir.data import derive
from uair.ir.dims import elements, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.inference import refine_node
from uair.ops import Clip, Concat, Conv2D, HardSwish, LeakyRelu, MaxPool2D, Mish, Relu, Sigmoid, Swish, Tanh
from uair.rewrite import Fuel

CHANNELWISE = (Relu, Clip, LeakyRelu, Sigmoid, Swish, HardSwish, Tanh, Mish, MaxPool2D)
"""Operators that treat channels one by one and keep finite values finite: padded channels pass through unseen."""


@attrs.frozen(eq=False)
class Plan:
    """A concatenation whose pieces can be padded.

    Attributes:
        concat: the node.
        makers: for each operand the convolution that makes it and the channelwise nodes behind it, in order.
        channels: channels of each piece.
        padded: channels of each piece when padded.
        readers: the convolutions that read the result, with the channelwise nodes on the way, in order.
    """

    concat: Node
    makers: tuple[tuple[Node, tuple[Node, ...]], ...]
    channels: tuple[int, ...]
    padded: tuple[int, ...]
    readers: tuple[tuple[tuple[Node, ...], Node], ...]


def pad_concat_channels(
    graph: Graph, block: Callable[[Tensor], int], itemsize: Callable[[DType], int], fuel: Fuel
) -> list[dict[str, Any]]:
    """Pad the pieces of channel concatenations where that moves fewer bytes. Returns a row for each one done."""
    rows: list[dict[str, Any]] = []
    for node in list(graph):
        plan = plan_for(node, block) if isinstance(node.op, Concat) and node.op.axis == 1 else None
        if plan is None or not pays(plan, itemsize):
            continue
        if not fuel.draw("pad-concat-channels", node):
            break
        apply_plan(graph, plan)
        rows.append({"node": node.name, "channels": list(plan.channels), "padded": list(plan.padded)})
    return rows


def plan_for(concat: Node, block: Callable[[Tensor], int]) -> Plan | None:
    """The plan for a concatenation whose makers and readers are convolutions with constant weights."""
    if concat.output.type.rank != 4:
        return None
    makers = [maker_of(t) for t in concat.inputs if t is not None]
    readers = readers_of(concat.output)
    found = tuple(m for m in makers if m is not None)
    if len(found) < len(makers) or len({id(m[0]) for m in found}) < len(found) or not readers:
        return None
    channels = tuple(static(t.type.dims)[1] for t in concat.inputs if t is not None)
    size = block(concat.output)
    padded = tuple(-(-c // size) * size for c in channels)
    return None if padded == channels else Plan(concat, found, channels, padded, readers)


def maker_of(tensor: Tensor) -> tuple[Node, tuple[Node, ...]] | None:
    """The dense convolution behind a tensor that only the concatenation uses, and what is between them."""
    between: list[Node] = []
    node = tensor.producer
    while node is not None and isinstance(node.op, CHANNELWISE):
        if node.output.use_count != 1:
            return None
        between.append(node)
        operand = node.inputs[0]
        node = None if operand is None else operand.producer
    if node is None or not is_dense_convolution(node) or node.output.use_count != 1:
        return None
    return node, tuple(reversed(between))


def readers_of(tensor: Tensor) -> tuple[tuple[tuple[Node, ...], Node], ...] | None:
    """Every path from a tensor through channelwise nodes to dense convolutions; None when another reader exists."""
    paths: list[tuple[tuple[Node, ...], Node]] = []
    pending: list[tuple[Tensor, tuple[Node, ...]]] = [(tensor, ())]
    while pending:
        at, way = pending.pop()
        for user, index in at.uses:
            if isinstance(user.op, CHANNELWISE) and len(way) < 8:
                pending.append((user.output, (*way, user)))
            elif index == 0 and is_dense_convolution(user):
                paths.append((way, user))
            else:
                return None
    return tuple(paths)


def is_dense_convolution(node: Node) -> bool:
    """A Conv2D without groups whose parameters are constants."""
    return (
        isinstance(node.op, Conv2D) and node.op.groups == 1 and all(t is None or t.is_constant for t in node.inputs[1:])
    )


def pays(plan: Plan, itemsize: Callable[[DType], int]) -> bool:
    """Whether unpacking, concatenating and packing again would move more bytes than the additional channels do."""
    shape = static(plan.concat.output.type.dims)
    pixel_bytes = elements((shape[0], *shape[2:])) * itemsize(plan.concat.output.type.dtype)
    repack = 4 * sum(plan.channels) * pixel_bytes
    additional = sum(plan.padded) - sum(plan.channels)
    return 2 * additional * pixel_bytes < repack


def apply_plan(graph: Graph, plan: Plan) -> None:
    """Pad makers' outputs and readers' inputs, and infer the types on the way again."""
    for (conv, between), have, want in zip(plan.makers, plan.channels, plan.padded, strict=True):
        if have != want:
            pad_outputs(conv, want)
        for node in (conv, *between):
            refine_node(node, {})
    refine_node(plan.concat, {})
    seen: set[Node] = set()
    for way, conv in plan.readers:
        for node in way:
            refine_node(node, {})
        if conv not in seen:
            seen.add(conv)
            insert_inputs(conv, plan.channels, plan.padded)
            refine_node(conv, {})


def pad_outputs(conv: Node, channels: int) -> None:
    """Give a convolution zero filters up to `channels` output channels."""
    for i in range(1, len(conv.inputs)):
        tensor = conv.inputs[i]
        if tensor is not None and tensor.data is not None:
            shape = (channels, *tensor.data.shape[1:])
            data = derive(_PadFirst(channels), (tensor.data,), tensor.type.dtype, shape)
            conv.set_input(i, constant(data, tensor.name))


def insert_inputs(conv: Node, channels: tuple[int, ...], padded: tuple[int, ...]) -> None:
    """Give a convolution zero weights for the padded channels of each piece."""
    w = conv.inputs[1]
    assert w is not None and w.data is not None
    shape = (w.data.shape[0], sum(padded), *w.data.shape[2:])
    conv.set_input(1, constant(derive(_Spread(channels, padded), (w.data,), w.type.dtype, shape), w.name))


@attrs.frozen
class _PadFirst:
    """Zeros behind the first axis."""

    extent: int

    def __call__(self, x: Array) -> Array:
        return np.pad(x, [(0, self.extent - x.shape[0])] + [(0, 0)] * (x.ndim - 1))


@attrs.frozen
class _Spread:
    """Pieces of axis 1 moved apart, zeros between."""

    channels: tuple[int, ...]
    padded: tuple[int, ...]

    def __call__(self, w: Array) -> Array:
        result = np.zeros((w.shape[0], sum(self.padded), *w.shape[2:]), w.dtype)
        source = target = 0
        for have, want in zip(self.channels, self.padded, strict=True):
            result[:, target : target + have] = w[:, source : source + have]
            source += have
            target += want
        return result
