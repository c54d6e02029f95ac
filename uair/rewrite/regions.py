"""Moving nodes between a graph and the graphs that its nodes hold: into a group of their own, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from uair.ir.graph import Graph, Node, Tensor
from uair.ir.location import Location
from uair.ir.module import Module
from uair.names import Namer
from uair.ops.placement import Fused


def inline_region(
    graph: Graph, node: Node, region: Graph, operands: Sequence[Tensor | None], by: str = ""
) -> list[Node]:
    """Put the nodes of a graph that `node` holds in its place; the nodes in order.

    Args:
        graph: that the node is in.
        node: is removed; its results are those of the region.
        region: is emptied.
        operands: what the region's inputs stand for.
        by: the pass that does it: in the location of nodes that have none of their own.
    """
    for formal, actual in zip(region.inputs, operands, strict=True):
        if actual is not None:
            formal.replace_all_uses_with(actual)
    placed: list[Node] = []
    for inner in region:
        moved = copied(inner, {})
        if by and not inner.loc.sources:
            moved.loc = Location.fused([node.loc], by=by)
        for old, new in zip(inner.outputs, moved.outputs, strict=True):
            old.replace_all_uses_with(new)
        region.remove(inner)
        placed.append(graph.insert_before(node, moved))
    graph.replace(node, region.outputs)
    return placed


def inline_groups(module: Module, draw: Callable[[Node], bool] = lambda node: True) -> int:
    """Put the nodes of every group back where the group stands, as they were before; the number of groups.

    Args:
        module: in place.
        draw: asked before each one; no more are inlined when it says no.
    """
    count = 0
    for graph in module.all_graphs():
        for node in graph if graph.holds_graphs else ():
            if not isinstance(node.op, Fused) or node.op.body is None:
                continue
            if not draw(node):
                return count
            inline_region(graph, node, node.op.body, node.inputs)
            count += 1
    return count


def without_groups(module: Module) -> Module:
    """The module when it has no groups, else a copy with their nodes where they stood; it is not changed."""
    if not any(isinstance(node.op, Fused) for graph in module.all_graphs() for node in graph):
        return module
    copy = module.clone()
    inline_groups(copy)
    return copy


def outline(graph: Graph, nodes: Sequence[Node], by: str) -> Node:
    """Make a group of nodes, in the place of the last one; the group.

    Args:
        graph: that they are in.
        nodes: in order. Nothing but them reads a result of any but the last one, and their regions are none.
        by: the pass that does it.
    """
    body, last, names = Graph("body"), nodes[-1], Namer()
    stands: dict[Tensor, Tensor] = {}
    operands: list[Tensor] = []
    for node in nodes:
        for tensor in node.inputs:
            if tensor is not None and tensor.data is None and tensor not in stands:
                stands[tensor] = body.add_input(names.unique(tensor.name), tensor.type)
                stands[tensor].name = tensor.name
                operands.append(tensor)
        inner = body.append(copied(node, stands))
        stands.update(zip(node.outputs, inner.outputs, strict=True))
    names = Namer()
    for tensor in last.outputs:
        body.add_output(names.unique(tensor.name, "y"), stands[tensor])
    group = Node(
        Fused(body=body),
        operands,
        name=nodes[0].name,
        loc=Location.fused([n.loc for n in nodes], by=by),
        output_types=[t.type for t in last.outputs],
        output_names=[t.name for t in last.outputs],
    )
    graph.insert_before(last, group)
    for old, new in zip(last.outputs, group.outputs, strict=True):
        old.replace_all_uses_with(new)
    for node in reversed(nodes):
        graph.remove(node)
    return group


def copied(node: Node, stands: Mapping[Tensor, Tensor]) -> Node:
    """A node that belongs to no graph yet, as another one, over what stands for its operands."""
    return Node(
        node.op,
        [None if t is None else stands.get(t, t) for t in node.inputs],
        name=node.name,
        loc=node.loc,
        output_types=[t.type for t in node.outputs],
        output_names=[t.name for t in node.outputs],
    )
