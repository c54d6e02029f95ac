"""Computing bf16 in f32, for runtimes that store it and convert it but have no kernels for it."""

from __future__ import annotations

import attrs
import numpy as np

from uair.errors import UairError
from uair.ir.data import ComputedData
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import Cast
from uair.pipeline import Pass, PassContext

STORED = ("Cast", "Identity", "BitCast", "Quantize", "Dequantize", "Opaque")
"""Operators that stay as they are: conversions, and what is not known."""


@attrs.frozen
class WidenFloats(Pass):
    """Let every node with bf16 operands or results compute in f32; its results are rounded to bf16 as before."""

    def run(self, module: Module, context: PassContext) -> bool:
        """Widen every graph."""
        changed = False
        for graph in module.all_graphs():
            wide: dict[Tensor, Tensor] = {}
            for node in list(graph):
                if node.op_type in STORED or node.regions or not _has_bf16(node):
                    continue
                if not context.fuel.draw(self.name, node):
                    return changed
                changed |= _widen(graph, node, wide, self.name)
        return changed


def _has_bf16(node: Node) -> bool:
    tensors = [t for t in (*node.inputs, *node.outputs) if t is not None]
    return any(t.type.dtype is DType.BF16 for t in tensors) and all(t.type.is_tensor for t in tensors)


def _widen(graph: Graph, node: Node, wide: dict[Tensor, Tensor], maker: str) -> bool:
    """Put the node on f32 operands, and its bf16 results behind Casts; whether its operator is defined on f32."""
    location = Location.fused([node.loc], by=maker)
    casts: list[Node] = []
    operands = [_operand(t, wide, casts, location) for t in node.inputs]
    try:
        twin = Node(node.op, operands, name=node.name, loc=location, output_names=[t.name for t in node.outputs])
    except UairError:
        return False
    wanted = [DType.F32 if t.type.dtype is DType.BF16 else t.type.dtype for t in node.outputs]
    if [t.type.dtype for t in twin.outputs] != wanted:
        return False  # an attribute says the type
    for made in (*casts, twin):
        graph.insert_before(node, made)
    wide.update((c.inputs[0], c.output) for c in casts if c.inputs[0] is not None)
    results: list[Tensor] = []
    for old, new in zip(node.outputs, twin.outputs, strict=True):
        new.type = old.type.with_dtype(new.type.dtype)
        if old.type.dtype is not DType.BF16:
            results.append(new)
            continue
        new.name = f"{old.name}_f32" if old.name else ""
        narrow = Node(Cast(to=DType.BF16), [new], loc=location, output_names=[old.name])
        graph.insert_before(node, narrow)
        results.append(narrow.output)
    graph.replace(node, results)
    return True


def _operand(tensor: Tensor | None, wide: dict[Tensor, Tensor], casts: list[Node], location: Location) -> Tensor | None:
    """The operand in f32: a constant with the same values, or a Cast."""
    if tensor is None or tensor.type.dtype is not DType.BF16:
        return tensor
    known = wide.get(tensor) or next((c.output for c in casts if c.inputs[0] is tensor), None)
    if known is not None:
        return known
    name = f"{tensor.name}_f32" if tensor.name else ""
    if tensor.data is not None:
        data = ComputedData(_as_f32, (tensor.data,), DType.F32, tensor.data.shape)
        made = wide[tensor] = constant(data, name)
        return made
    casts.append(Node(Cast(to=DType.F32), [tensor], loc=location, output_names=[name]))
    return casts[-1].output


def _as_f32(array: Array) -> Array:
    result: Array = array.astype(np.float32)
    return result
