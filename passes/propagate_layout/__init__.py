"""Models with channels last, computed with channels first: transposes are moved to where the fewest are left.

Frontends of TensorFlow, Keras and TFLite, and converters to ONNX, put a Transpose in front of every convolution and one
behind it. What stands between two of them (activations, sums, Concat, reductions, Pad, ...) can compute in either form.
`analysis` finds the choice with the fewest and smallest transposes; here it is carried out.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Literal

import attrs

from uair.ir.graph import Graph, Node, Tensor
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import LayerNorm, Reshape, RMSNorm, Transpose
from uair.passes.propagate_layout.analysis import Forms, cheapest_forms, is_back, is_forward
from uair.passes.propagate_layout.moves import (
    CHANNELS_FIRST,
    Move,
    Pointwise,
    moved_constant,
    to_first,
    to_last,
)
from uair.pipeline import Pass, PassContext
from uair.rewrite import NoMatch, Rule, no, of


@attrs.frozen
class PropagateLayout(Pass):
    """Compute with channels first wherever that leaves fewer transposes.

    Attributes:
        interface: "kept" leaves inputs and outputs as they are; "free" gives them with channels first ([N, C, H, W] in
            place of [N, H, W, C]) where that saves a Transpose.
        pointwise: what may become of a node that works on the channels of each place by itself, where that saves a
            Transpose: "convolution" makes a Linear a convolution with a kernel of 1; "arithmetic" spells out LayerNorm
            and RMSNorm, too, for targets that have neither; "kept" leaves all of them.
    """

    name: ClassVar[str] = "propagate-layout"
    interface: Literal["kept", "free"] = "kept"
    pointwise: Pointwise = "convolution"

    def run(self, module: Module, context: PassContext) -> bool:
        changed = False
        for graph in module.all_graphs():
            free = self.interface == "free" and graph is module.main
            forms = cheapest_forms(graph, free_interface=free, pointwise=self.pointwise)
            spelled = [node for node in forms.moves if isinstance(node.op, (LayerNorm, RMSNorm))]
            if spelled:
                changed = context.apply_rules(module, [SpellOut(spelled)]) or changed
                forms = cheapest_forms(graph, free_interface=free, pointwise="convolution")
            changed = _Rewrite(graph, forms).run() or changed
        return changed


class SpellOut(Rule):
    """Chosen normalizations as the arithmetic that they are."""

    def __init__(self, nodes: Collection[Node]) -> None:
        super().__init__()
        self.nodes = frozenset(nodes)

    def pattern(self) -> Any:
        """A normalization over the channels."""
        return of(LayerNorm, RMSNorm)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """It was chosen."""
        return node in self.nodes or no("no Transpose is saved by it", node)

    def rewrite(self, node: Node) -> Tensor:
        """Its decomposition."""
        result = node.op.decompose(*node.inputs)
        assert isinstance(result, Tensor)
        return result


class _Rewrite:
    """Carries a choice of forms out on one graph.

    Attributes:
        first: by tensor the one that holds its values with channels first.
    """

    def __init__(self, graph: Graph, forms: Forms) -> None:
        self.graph = graph
        self.forms = forms
        self.first: dict[Tensor, Tensor] = {}
        self.changed = False

    def run(self) -> bool:
        """Whether anything was changed."""
        for tensor in self.forms.inputs:
            self._turn_input(tensor)
        nodes = list(self.graph)
        for node in nodes:
            if node in self.forms.moves:
                self._move(node, self.forms.moves[node])
            elif is_forward(node):
                self._forward(node)
            elif is_back(node) and node.inputs[0] is not None:
                self.first.setdefault(node.output, node.inputs[0])
        for i in self.forms.outputs:
            self._turn_output(i)
        for node in reversed(nodes):
            if node in self.forms.moves:
                self._drop(node)
            elif node.graph is self.graph and (is_back(node) or is_forward(node)) and not node.output.use_count:
                self.graph.remove(node)
                self.changed = True
        return self.changed

    def _turn_input(self, tensor: Tensor) -> None:
        """Let the graph take an input with channels first; a Transpose behind it gives what it was."""
        rank = len(tensor.type.dims)
        given = Tensor(tensor.type.with_shape(tuple(tensor.type.dims[p] for p in to_first(rank))), tensor.name)
        self.graph.inputs[self.graph.inputs.index(tensor)] = given
        back = self._insert_at_start(Node(Transpose(perm=to_last(rank)), [given], output_names=[tensor.name]))
        tensor.replace_all_uses_with(back.output)
        self.first[back.output] = given
        self.changed = True

    def _insert_at_start(self, node: Node) -> Node:
        anchor = next(iter(self.graph), self.graph.end)
        return self.graph.insert_before(anchor, node)

    def _turn_output(self, i: int) -> None:
        self.graph.set_output(i, self._in_first(self.graph.outputs[i]))
        self.changed = True

    def _move(self, node: Node, move: Move) -> None:
        """Put the node's computation in the other form in front of it; `_drop` removes the node itself."""
        rank = max(len(t.type.dims) for t in (*node.inputs, *node.outputs) if t is not None)
        operands = [
            self._operand(t, rank) if t is not None and i in move.carried else move.constants.get(i, t)
            for i, t in enumerate(node.inputs)
        ]
        new = Node(move.op, operands, name=node.name, loc=node.loc)
        self.graph.insert_before(node, new)
        self.changed = True
        for old, result in zip(node.outputs, new.outputs, strict=True):
            if move.results:
                order = to_first(len(old.type.dims))
                result.type = old.type.with_shape(tuple(old.type.dims[p] for p in order))
                self.first[old] = result
            else:
                result.type = old.type
                old.replace_all_uses_with(result)
            result.name = old.name

    def _operand(self, tensor: Tensor, rank: int) -> Tensor:
        """An operand in the other form; one with fewer axes gets axes of extent 1 first."""
        if tensor.data is not None:
            return moved_constant(tensor, CHANNELS_FIRST, rank)
        missing = rank - len(tensor.type.dims)
        if not missing:
            return self._in_first(tensor)
        if len(tensor.type.dims) == 1:  # [C]: its elements keep their order
            return self._behind(tensor, Reshape(shape=(1, *tensor.type.dims, *[1] * (rank - 2))))
        return self._in_first(self._behind(tensor, Reshape(shape=(*[1] * missing, *tensor.type.dims))))

    def _in_first(self, tensor: Tensor) -> Tensor:
        """The tensor with channels first, made when it is not there."""
        if tensor not in self.first:
            if tensor.data is not None:
                return moved_constant(tensor, CHANNELS_FIRST, tensor.type.rank)
            self.first[tensor] = self._behind(tensor, Transpose(perm=to_first(tensor.type.rank)))
        return self.first[tensor]

    def _behind(self, tensor: Tensor, op: Transpose | Reshape) -> Tensor:
        """A node on one tensor, right behind its producer, whose place in the source it gets."""
        node = Node(op, [tensor], loc=tensor.producer.loc if tensor.producer is not None else Location())
        if tensor.producer is not None and tensor.producer.graph is self.graph:
            self.graph.insert_after(tensor.producer, node)
        else:
            self._insert_at_start(node)
        return node.output

    def _forward(self, node: Node) -> None:
        """A Transpose to channels first of a tensor that is there in that form."""
        (x,) = node.inputs
        assert x is not None
        if x in self.first:
            self.graph.replace(node, [self.first[x]])
            self.changed = True
        else:
            self.first[x] = node.output

    def _drop(self, node: Node) -> None:
        """Remove a node that was moved; who still uses its results gets them through a Transpose."""
        for old in node.outputs:
            if old.use_count:
                new = self.first[old]
                perm = to_last(len(old.type.dims))
                back = Node(Transpose(perm=perm), [new], loc=node.loc, output_names=[old.name])
                self.graph.insert_before(node, back)
                old.replace_all_uses_with(back.output)
        self.graph.remove(node)
