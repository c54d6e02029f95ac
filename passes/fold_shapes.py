"""Folding computations on shapes."""

from __future__ import annotations

import attrs
import numpy as np

from uair.ir.dims import Dim, is_static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, constant
from uair.ir.inference import refine_node, settle_sizes
from uair.ir.module import Module
from uair.ops.shape_values import ShapeValues, resolve_operands
from uair.pipeline import Pass, PassContext


@attrs.frozen
class FoldShapes(Pass):
    """Turn shapes computed in the graph into constants and attributes, symbolic where sizes are; sharpen all types."""

    def run(self, module: Module, context: PassContext) -> bool:
        """One walk in order; types downstream of a change are inferred again on the way."""
        changed = False
        found: dict[str, Dim] = {}
        for graph in module.all_graphs():
            changed |= _fold(graph, context, self.name, found)
        settle_sizes(module, found)
        return changed


def _fold(graph: Graph, context: PassContext, name: str, found: dict[str, Dim]) -> bool:
    values = ShapeValues()
    changed = False
    for node in graph:
        replaced = _resolved(graph, node, values, context, name)
        changed |= replaced is not None
        node = replaced or node
        if node.graph is None:
            continue
        if not all([t.type.is_static for t in node.outputs]):  # there is nothing to sharpen in numbers
            changed |= refine_node(node, {}, found)
        if _to_constant(graph, node, values, context, name):
            changed = True
    return changed


def _resolved(graph: Graph, node: Node, values: ShapeValues, context: PassContext, name: str) -> Node | None:
    """The node with its shape operands turned into attributes, when they are known."""
    op, inputs = resolve_operands(node.op, node.inputs, values)
    if op is node.op or not context.fuel.draw(name, node):
        return None
    new = Node(op, inputs, name=node.name, loc=node.loc, output_names=[t.name for t in node.outputs])
    graph.insert_before(node, new)
    graph.replace(node, new.outputs)
    return new


def _to_constant(graph: Graph, node: Node, values: ShapeValues, context: PassContext, name: str) -> bool:
    """Replace a node of shape arithmetic by its value when that is all numbers."""
    if not node.op.shape_arithmetic or len(node.outputs) != 1 or not node.output.use_count:
        return False
    value = values.known(node.output)
    if value is None or not is_static(value.reshape(-1).tolist()) or not context.fuel.draw(name, node):
        return False
    array = _wrapped(value.reshape(-1).tolist(), node.output.type.dtype).reshape(value.shape)
    graph.replace(node, [constant(array, node.output.name)])
    return True


def _wrapped(numbers: list[int], dtype: DType) -> Array:
    """Numbers in an element type; integers wrap around, as Cast and arithmetic do."""
    if dtype.is_integer:
        low, high = dtype.range
        numbers = [(n - low) % (high - low + 1) + low for n in numbers]
    return np.array(numbers, dtype.numpy)
