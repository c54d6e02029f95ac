"""Aligning tensors to the device's memory.

Feature maps between convolutions get the channel-blocked layout that the device file states under `[[layouts]]`
(Ascend's NC1HWC0 with 16 channels of float16 or 32 of int8, Rockchip's NC1HWC2, Horizon's 8W4C, channels last and
padded), all others plain layout with rows padded to the file's alignment. Pack and Unpack nodes stand at the borders,
so the reference interpreter executes the result like any module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from uair.ir.dims import elements, static
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.layout import IMAGE_LAYOUTS, Layout, plain
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import (
    AvgPool2D,
    BatchNorm,
    Concat,
    Conv2D,
    ConvTranspose2D,
    GlobalAvgPool,
    GlobalMaxPool,
    IntegerConv2D,
    IntegerConvTranspose2D,
    MaxPool2D,
    Pack,
    PRelu,
    Resize,
    Split,
    Unpack,
)
from uair.passes.padding.concat_channels import pad_concat_channels
from uair.pipeline import Pass, PassContext, Spec
from uair.targets.description import DeviceDescription, load_description

CONVOLUTIONS = (Conv2D, IntegerConv2D)
STARTING = (*CONVOLUTIONS, ConvTranspose2D, IntegerConvTranspose2D)
"""Operators whose compute unit works on channel blocks: they make their neighbours blocked."""
FOLLOWING = (MaxPool2D, AvgPool2D, GlobalAvgPool, GlobalMaxPool, BatchNorm, PRelu, Resize)
FOLLOWING_FAMILY = "quantization"
"""Operators that work on blocked tensors as well as on plain ones: they keep what they get. The family holds vendors'
own operators too."""

STATIC = Spec("static-shapes", forbids_tensor=lambda t: "" if t.type.is_static else f"its type {t.type} is not static")
AFTER_LAYOUT = Spec(
    "after-layout", forbids_tensor=lambda t: "its layout is not assigned" if t.type.layout == Layout.ANY else ""
)


@attrs.frozen
class LayoutAlign(Pass):
    """Assign a memory layout to every tensor, with Pack and Unpack where it changes.

    Attributes:
        target: name of the device description that states layouts, element types and the alignment of rows.
        pad_channels: pad the pieces of channel concatenations to whole blocks where that is cheaper than repacking.
        stated: the device description itself, in place of the one that `target` names.
    """

    target: str = "ascend310"
    pad_channels: bool = True
    stated: DeviceDescription | None = attrs.field(default=None, metadata={"option": False}, repr=False, eq=False)
    requires = (STATIC,)
    ensures = (AFTER_LAYOUT,)

    def run(self, module: Module, context: PassContext) -> bool:
        """Pad, assign, report."""
        padded: list[dict[str, Any]] = []
        for graph in module.graphs.values():
            if self.pad_channels:
                padded += pad_concat_channels(graph, lambda t: self.block(t.type.dtype), self.itemsize, context.fuel)
            _Assignment(graph, self.blocked_layout, self.plain_layout).run()
        context.reports["layout"] = {**self.report(module.main), "padded_channels": padded}
        return True

    @property
    def device(self) -> DeviceDescription:
        """The device description."""
        return load_description(self.target) if self.stated is None else self.stated

    def report(self, graph: Graph) -> dict[str, Any]:
        """What the layouts of an aligned graph cost, see `layout_report`."""
        return layout_report(graph, self.itemsize, self.device.alignment.bytes)

    def itemsize(self, dtype: DType) -> int:
        """Bytes of one element on the device."""
        return _bytes(self.device.device_type(dtype))

    def block(self, dtype: DType) -> int:
        """Channels in a block; 1 when feature maps are not blocked."""
        layout = self._layout(dtype)
        return 1 if layout is None else channel_block(layout)

    def blocked_layout(self, tensor: Tensor) -> Layout | None:
        """Channel-blocked layout of a feature map; None for a device without one."""
        return self._layout(tensor.type.dtype)

    def plain_layout(self, tensor: Tensor) -> Layout:
        """Plain layout with padded rows; the pitch counts elements of the type that the module holds."""
        scale = _bytes(tensor.type.dtype) / self.itemsize(tensor.type.dtype)
        return plain(int(self.device.alignment.bytes * scale))

    def _layout(self, dtype: DType) -> Layout | None:
        """The device's layout; of an element type that the file does not list, blocks of as many bytes as a listed one.

        Accumulators are such a type (i32 on Ascend): they are not stored between kernels.
        """
        device = self.device
        held = device.device_type(dtype)
        found = device.image_layout(held)
        if found is None:
            stated = next((x for x in device.layouts if x.holds == "activations" and x.c0), None)
            if stated is None:
                return None
            listed, channels = next(iter(stated.c0.items()))
            found = IMAGE_LAYOUTS[stated.name](max(channels * _bytes(listed) // _bytes(held), 1))
        return found if found.is_blocked else None


def _bytes(dtype: DType) -> int:
    return max(dtype.bits // 8, 1)


@attrs.define(eq=False)
class _Assignment:
    """Walks a graph in order and gives each tensor its layout.

    The graphs of control flow are walked when their node is reached: what they see of the graph around them has its
    layout by then, and what they take and give is dense.
    """

    graph: Graph
    blocked: Callable[[Tensor], Layout | None]
    pitched: Callable[[Tensor], Layout]
    converted: dict[tuple[Tensor, bool], Tensor] = attrs.Factory(dict[tuple[Tensor, bool], Tensor])

    def run(self) -> None:
        for tensor in (*self.graph.inputs, *self.graph.constants()):
            assign(tensor, Layout.PLAIN)
        for node in list(self.graph):
            if isinstance(node.op, (Pack, Unpack)):
                continue
            blocked = self.wants_blocks(node)
            for i, operand in enumerate(node.inputs):
                if operand is not None and not operand.is_constant and is_feature_map(operand):
                    node.set_input(i, self.converted_to(operand, blocked, node))
            for region in node.regions:
                _Assignment(region, self.blocked, self.pitched).run()
            for result in node.outputs:
                layout = self.blocked(result) if blocked and is_feature_map(result) else None
                assign(result, layout or self.pitched(result))
        for i, tensor in enumerate(self.graph.outputs):
            if tensor.type.layout.is_blocked:
                self.graph.set_output(i, self.converted_to(tensor, False, self.graph.end))
            else:
                assign(tensor, Layout.PLAIN)  # what a model gives is dense

    def wants_blocks(self, node: Node) -> bool:
        """Whether a node computes on blocked feature maps."""
        maps = [t for t in node.inputs if t is not None and not t.is_constant and t.type.rank == 4]
        if isinstance(node.op, STARTING):
            return all(self.blocked(t) is not None for t in maps)
        if not maps or not any(t.type.layout.is_blocked for t in maps):
            return False
        if isinstance(node.op, FOLLOWING) or node.op.family == FOLLOWING_FAMILY:
            return all(is_feature_map(t) for t in node.outputs)
        if isinstance(node.op, (Concat, Split)):
            pieces = maps if isinstance(node.op, Concat) else node.outputs
            along_channels = node.op.axis % 4 == 1
            return all(t.type.rank == 4 for t in pieces) and (
                not along_channels or all(self.is_whole(t) for t in pieces)
            )
        channels = {t.type.dims[1] for t in maps}
        same_rank = all(t is None or t.is_constant or t.type.rank == 4 for t in node.inputs)
        return node.op.elementwise and same_rank and len(channels) == 1

    def is_whole(self, tensor: Tensor) -> bool:
        """Whether the channels fill their blocks."""
        return static(tensor.type.dims)[1] % channel_block(self.blocked(tensor) or Layout.PLAIN) == 0

    def converted_to(self, tensor: Tensor, blocked: bool, user: Node) -> Tensor:
        """The tensor in the wanted layout, converted once."""
        if tensor.type.layout.is_blocked == blocked:
            return tensor
        key = (tensor, blocked)
        if key not in self.converted:
            layout = (self.blocked(tensor) if blocked else None) or Layout.PLAIN
            op = Pack(layout=layout) if blocked else Unpack()
            source = tensor.producer.loc if tensor.producer is not None else user.loc
            name = f"{tensor.name}.{'packed' if blocked else 'unpacked'}"
            node = Node(op, (tensor,), name=name, loc=Location.fused([source], by="layout-align"), output_names=[name])
            assign(node.output, layout)
            if tensor.producer is None or tensor.producer.graph is not self.graph:
                self.graph.insert_before(next(iter(self.graph), self.graph.end), node)
            else:
                self.graph.insert_after(tensor.producer, node)
            self.converted[key] = node.output
        return self.converted[key]


def channel_block(layout: Layout) -> int:
    """Channels in a block of a layout; 1 when they are not blocked."""
    return dict(layout.blocks).get(1, 1)


def is_feature_map(tensor: Tensor) -> bool:
    """Whether a tensor is an image-like batch [N, C, H, W] of numbers."""
    return tensor.type.shape is not None and tensor.type.rank == 4 and tensor.type.dtype is not DType.BOOL


def assign(tensor: Tensor, layout: Layout) -> None:
    """Set a tensor's layout."""
    tensor.type = attrs.evolve(tensor.type, layout=layout)


def layout_report(graph: Graph, itemsize: Callable[[DType], int], alignment: int) -> dict[str, Any]:
    """Bytes with and without padding, conversions, and what the alignment buys.

    `moved` counts the `alignment`-byte units that reading every feature map once touches: rows of a dense NCHW tensor
    straddle units, blocked tensors never do. `lanes` is the share of the compute unit's input lanes that do useful work
    in each convolution: channels / padded channels.
    """
    tensors: list[dict[str, Any]] = []
    for node in graph:
        for tensor in node.outputs:
            tensors.append(tensor_row(tensor, itemsize(tensor.type.dtype), alignment))
    conversions = sum(isinstance(n.op, (Pack, Unpack)) for n in graph)
    logical = sum(t["bytes"] for t in tensors)
    stored = sum(t["stored_bytes"] for t in tensors)
    return {
        "alignment": alignment,
        "tensors": tensors,
        "bytes": logical,
        "stored_bytes": stored,
        "wasted_bytes": stored - logical,
        "conversions": conversions,
        "units_dense": sum(t["units_dense"] for t in tensors),
        "units_aligned": sum(t["units_aligned"] for t in tensors),
        "lanes": [lane_row(n) for n in graph if isinstance(n.op, CONVOLUTIONS)],
    }


def tensor_row(tensor: Tensor, itemsize: int, alignment: int) -> dict[str, Any]:
    """Sizes of one tensor on the device, in bytes and in units of `alignment` bytes."""
    shape = static(tensor.type.dims)
    held = max(tensor.type.dtype.bits // 8, 1)
    stored = elements(tensor.type.layout.storage_shape(shape, held))
    row = shape[-1] * itemsize if shape else itemsize
    rows = elements(shape[:-1]) if shape else 1
    straddled = rows * (-(-row // alignment) + (1 if row % alignment else 0)) if row else 0
    return {
        "tensor": tensor.name,
        "layout": str(tensor.type.layout),
        "bytes": tensor.type.size * itemsize,
        "stored_bytes": stored * itemsize,
        "units_dense": straddled,
        "units_aligned": -(-stored * itemsize // alignment),
    }


def lane_row(node: Node) -> dict[str, Any]:
    """Use of the input lanes of one convolution."""
    x = node.inputs[0]
    assert x is not None
    channels = static(x.type.dims)[1]
    block = channel_block(x.type.layout)
    padded = -(-channels // block) * block
    return {"node": node.name, "channels": channels, "padded": padded, "used": channels / padded}
