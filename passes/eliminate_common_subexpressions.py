"""Computing equal things once."""

from __future__ import annotations

from collections.abc import Hashable

import attrs

from uair.ir.data import EAGER_BYTES, Data, SplatData
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import BatchNorm
from uair.passes.fusion.affine import WEIGHTED, is_foldable
from uair.pipeline import Pass, PassContext


@attrs.frozen
class EliminateCommonSubexpressions(Pass):
    """Merge nodes with equal operators and operands, and equal small constants.

    A convolution or Linear in front of its own BatchNorm is left alone until that has gone into its weights: merged
    with another one it would have two users, and neither BatchNorm could. Where the BatchNorms are equal, what the two
    become is merged.
    """

    def run(self, module: Module, context: PassContext) -> bool:
        """One walk in order, with a table of what is computed already."""
        changed = False
        for graph in module.all_graphs():
            changed |= _merge_constants(graph)
            changed |= _merge_nodes(graph, context)
        return changed


def _merge_constants(graph: Graph) -> bool:
    seen: dict[Hashable, Tensor] = {}
    changed = False
    for tensor in graph.constants():
        assert tensor.data is not None
        key = constant_key(tensor.data)
        if key is None:
            continue
        first = seen.setdefault(key, tensor)
        if first is not tensor and first.type == tensor.type:
            tensor.replace_all_uses_with(first)
            changed = True
    return changed


def constant_key(data: Data) -> Hashable:
    """A key that is equal for equal values; large data are the same only when they are the same object."""
    if isinstance(data, SplatData):
        return data.dtype, data.shape, "splat", data.value.tobytes()
    if data.nbytes <= EAGER_BYTES and data.dtype.bits:
        return data.dtype, data.shape, bytes(data.tobytes())
    return id(data)


def _merge_nodes(graph: Graph, context: PassContext) -> bool:
    seen: dict[Hashable, Node] = {}
    changed = False
    for node in graph:
        if not node.op.deterministic or node.regions:
            continue
        operands = tuple(map(id, node.inputs))
        if node.op.commutative and len(operands) == 2 and operands[0] > operands[1]:
            operands = operands[::-1]
        first = seen.setdefault((node.op, operands), node)
        if first is node or _awaits_batch_norm(node):
            continue
        if not context.fuel.draw("eliminate-common-subexpressions", node):
            return changed
        first.loc = Location.fused([first.loc, node.loc], by="eliminate-common-subexpressions")
        graph.replace(node, first.outputs)
        changed = True
    return changed


def _awaits_batch_norm(node: Node) -> bool:
    """Whether a weighted node's only user is a BatchNorm that can go into its weights."""
    if not isinstance(node.op, WEIGHTED) or node.output.use_count != 1 or not is_foldable(node):
        return False
    (user,) = node.output.users
    return isinstance(user.op, BatchNorm) and all(t is not None and t.is_constant for t in user.inputs[1:])
