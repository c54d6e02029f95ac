"""Computing equal things once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Set

import attrs

from uair.ir.data import EAGER_BYTES, Data, SplatData
from uair.ir.dims import Dim, plain_symbol, symbol, symbols_of
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.inference import settle_sizes
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
    become is merged. Sizes that only the data decides have a name at every node; those of merged nodes get one.
    """

    def run(self, module: Module, context: PassContext) -> bool:
        """One walk in order, with a table of what is computed already."""
        changed = False
        names: dict[str, str] = {}
        inputs = {name for g in module.all_graphs() for t in g.inputs for name in symbols_of(t.type.shape or ())}
        for graph in module.all_graphs():
            changed |= _merge_constants(graph)
            changed |= _merge_nodes(graph, context, inputs, names)
        if names:
            settle_sizes(module, {name: symbol(_last(name, names)) for name in names})
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


def _merge_nodes(graph: Graph, context: PassContext, inputs: Set[str], names: dict[str, str]) -> bool:
    """Merge the nodes of one graph; `names` takes in the names of sizes that are others' from now on."""
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
        for gone, kept in zip(node.outputs, first.outputs, strict=True):
            _unite(gone.type.shape or (), kept.type.shape or (), inputs, names)
        graph.replace(node, first.outputs)
        changed = True
    return changed


def _unite(gone: Iterable[Dim], kept: Iterable[Dim], inputs: Set[str], names: dict[str, str]) -> None:
    """Note which names of one shape's sizes are those of another one's; what inputs name keeps its name."""
    for pair in zip(gone, kept, strict=False):
        old, new = (None if name is None else _last(name, names) for name in map(plain_symbol, pair))
        if old is None or new is None or old == new:
            continue
        if old in inputs:
            old, new = new, old
        if old not in inputs:
            names[old] = new


def _last(name: str, names: dict[str, str]) -> str:
    """The name that is left of one that may have been replaced several times."""
    while name in names:
        name = names[name]
    return name


def _awaits_batch_norm(node: Node) -> bool:
    """Whether a weighted node's only user is a BatchNorm that can go into its weights."""
    if not isinstance(node.op, WEIGHTED) or node.output.use_count != 1 or not is_foldable(node):
        return False
    (user,) = node.output.users
    return isinstance(user.op, BatchNorm) and all(t is not None and t.is_constant for t in user.inputs[1:])
