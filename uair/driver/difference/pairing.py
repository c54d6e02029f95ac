"""Which tensor of one model is which tensor of another one that was made from the same source.

Nodes know the nodes of the user's model that they stand for (`Node.loc`), so that a node of the one model and a node of
the other belong together when each is the last that stands for some of the other's source nodes: a convolution, its
normalization and its activation in one model end in the same value as the convolution that they became in the other.
What is left is paired by the names of tensors, and then by the graph: nodes of one operator whose operands, or whose
results, are paired already. Models of different frameworks, whose names differ, are paired by that alone, from their
inputs and outputs on.

Quantize and Dequantize are looked through: a layer is compared by what it computes, not by how the next one rounds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

import attrs

from uair.driver.difference.errors import NotComparable
from uair.ir.graph import Graph, Node, Tensor

How: TypeAlias = Literal["input", "output", "source", "name", "graph"]

ROUNDING = ("Quantize", "Dequantize")


@attrs.frozen(eq=False)
class Pair:
    """Two tensors that should hold the same values.

    Attributes:
        a: of the one model.
        b: of the other.
        how: what says so.
    """

    a: Tensor
    b: Tensor
    how: How


@attrs.frozen(eq=False)
class Pairing:
    """The pairs, and the nodes without one.

    Attributes:
        inputs: the graphs' inputs, in the order of the first.
        outputs: the graphs' outputs, in the order of the first; here a node's result may stand in several pairs.
        results: results of nodes, in the execution order of the first; every tensor once.
        only_a: nodes of the first graph of which no result has a partner, without Quantize and Dequantize.
        only_b: the same of the second.
    """

    inputs: tuple[Pair, ...]
    outputs: tuple[tuple[str, Pair], ...]
    results: tuple[Pair, ...]
    only_a: tuple[Node, ...]
    only_b: tuple[Node, ...]


def pair_graphs(a: Graph, b: Graph) -> Pairing:
    """Pair the tensors of two graphs.

    Raises:
        NotComparable: the graphs do not have the same number of inputs, or no output in common.
    """
    pairs = _Pairs()
    inputs = [Pair(x, y, "input") for _, x, y in _ports("inputs", a.input_names, a.inputs, b.input_names, b.inputs)]
    for pair in inputs:
        pairs.add(pair.a, pair.b, "input")
    outputs: list[tuple[str, Pair]] = []
    for name, x, y in _ports("outputs", a.output_names, a.outputs, b.output_names, b.outputs):
        outputs.append((name, Pair(x, y, "output")))
        x, y = plain(x), plain(y)
        if x.producer is not None and y.producer is not None:
            pairs.add(x, y, "output")
    _by_equal_sources(a, b, pairs)
    _by_last_sources(a, b, pairs)
    _by_names(a, b, pairs)
    while _by_operands(a, b, pairs) + _by_users(a, pairs):
        pass
    results = [Pair(t, pairs.left[t], pairs.how[t]) for node in a for t in node.outputs if t in pairs.left]
    return Pairing(
        tuple(inputs), tuple(outputs), tuple(results), _alone(a, pairs.left, pairs), _alone(b, pairs.right, pairs)
    )


def plain(tensor: Tensor) -> Tensor:
    """What a tensor stands for in real numbers before it was rounded to integers."""
    while tensor.producer is not None and tensor.producer.op_type in ROUNDING:
        operand = tensor.producer.inputs[0]
        if operand is None or operand.is_constant:
            break
        tensor = operand
    return tensor


def label(node: Node) -> str:
    """The name of a node in the user's model: of the last source node that it stands for."""
    if node.loc.sources:
        return node.loc.sources[-1].name
    return node.name or (node.outputs[0].name if node.outputs else "") or node.op_type


@attrs.define(eq=False)
class _Pairs:
    """The pairs found so far, both ways."""

    left: dict[Tensor, Tensor] = attrs.Factory(dict[Tensor, Tensor])
    right: dict[Tensor, Tensor] = attrs.Factory(dict[Tensor, Tensor])
    how: dict[Tensor, How] = attrs.Factory(dict[Tensor, How])

    def add(self, a: Tensor, b: Tensor, how: How) -> bool:
        """Pair two tensors, unless one has a partner or they cannot hold the same values; whether it was done."""
        if a in self.left or b in self.right or not _alike(a, b):
            return False
        self.left[a], self.right[b], self.how[a] = b, a, how
        return True

    def add_nodes(self, a: Node, b: Node, how: How) -> int:
        """Pair the results of two nodes that have as many; how many pairs were made."""
        if len(a.outputs) != len(b.outputs):
            return 0
        return sum(self.add(x, y, how) for x, y in zip(a.outputs, b.outputs, strict=True))

    def are(self, a: Tensor | None, b: Tensor | None) -> bool:
        """Whether two operands are the same, as far as is known: constants are not compared."""
        if a is None or b is None:
            return a is b
        a, b = plain(a), plain(b)
        if _is_weight(a) or _is_weight(b):
            return _is_weight(a) and _is_weight(b)
        return self.left.get(a) is b


def _is_weight(tensor: Tensor) -> bool:
    """Whether a tensor is a constant, or what a constant's integers stand for."""
    producer = tensor.producer
    if producer is None or producer.op_type not in ROUNDING:
        return tensor.is_constant
    return all(t is None or t.is_constant for t in producer.inputs)


def _alike(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors can hold the same values: tensors of one kind, with as many elements where that is known."""
    x, y = a.type, b.type
    if x.containers != y.containers or (x.dtype.is_float != y.dtype.is_float):
        return False
    return not (x.is_static and y.is_static) or x.size == y.size


def _ports(
    what: str, names: Sequence[str], a: Sequence[Tensor], other_names: Sequence[str], b: Sequence[Tensor]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Inputs or outputs that belong together: by name, and in order where not all names agree."""
    theirs = dict(zip(other_names, b, strict=True))
    if set(names) == set(other_names) or (what == "outputs" and set(names) & set(other_names)):
        yield from ((name, t, theirs[name]) for name, t in zip(names, a, strict=True) if name in theirs)
        return
    if len(a) != len(b):
        raise NotComparable(
            f"the models have {len(a)} and {len(b)} {what}: {', '.join(names)}, and {', '.join(other_names)}",
            hint="compare models of one origin; --value makes an input that only one of them has a constant",
        )
    yield from zip(names, a, b, strict=True)


def _nodes(graph: Graph) -> Iterator[Node]:
    return (node for node in graph if node.op_type not in ROUNDING and node.outputs)


def _by_equal_sources(a: Graph, b: Graph, pairs: _Pairs) -> None:
    """Nodes that stand for exactly the same source nodes: one by one where the operators agree, else the last ones."""
    theirs = _grouped(b)
    for sources, mine in _grouped(a).items():
        others = theirs.get(sources)
        if others is None:
            continue
        if [n.op_type for n in mine] != [n.op_type for n in others]:
            mine, others = mine[-1:], others[-1:]
        for x, y in zip(mine, others, strict=True):
            pairs.add_nodes(x, y, "source")


def _grouped(graph: Graph) -> dict[frozenset[str], list[Node]]:
    found: dict[frozenset[str], list[Node]] = {}
    for node in _nodes(graph):
        if node.loc.sources:
            found.setdefault(frozenset(s.name for s in node.loc.sources), []).append(node)
    return found


def _by_last_sources(a: Graph, b: Graph, pairs: _Pairs) -> None:
    """Nodes each of which is the last one that stands for a source node of the other."""
    last_a, last_b = _last(a), _last(b)
    for node in _nodes(a):
        partner = _latest(node, last_b)
        if partner is not None and _latest(partner, last_a) is node:
            pairs.add_nodes(node, partner, "source")


def _last(graph: Graph) -> dict[str, tuple[int, Node]]:
    """By source node the last node that stands for it, with its place in the order."""
    return {s.name: (i, node) for i, node in enumerate(_nodes(graph)) for s in node.loc.sources}


def _latest(node: Node, last: dict[str, tuple[int, Node]]) -> Node | None:
    found = [last[s.name] for s in node.loc.sources if s.name in last]
    return max(found, key=lambda entry: entry[0])[1] if found else None


def _by_names(a: Graph, b: Graph, pairs: _Pairs) -> None:
    """Tensors of one name that only they have."""
    theirs = _named(b)
    for name, tensor in _named(a).items():
        if name in theirs:
            pairs.add(tensor, theirs[name], "name")


def _named(graph: Graph) -> dict[str, Tensor]:
    tensors = [t for node in _nodes(graph) for t in node.outputs if t.name]
    count = Counter(t.name for t in tensors)
    return {t.name: t for t in tensors if count[t.name] == 1}


def _by_operands(a: Graph, b: Graph, pairs: _Pairs) -> int:
    """Nodes of one operator with the same operands; how many results were paired."""
    users = _plain_users(b)
    made = 0
    for node in _nodes(a):
        if node.outputs[0] in pairs.left:
            continue
        operands = [plain(t) for t in node.inputs if t is not None]
        varying = [t for t in operands if not _is_weight(t)]
        first = pairs.left.get(varying[0]) if varying else None
        candidates = users.get(first, ()) if first is not None else ()
        made += next((n for user in candidates if (n := _pair_alike(node, user, pairs))), 0)
    return made


def _pair_alike(a: Node, b: Node, pairs: _Pairs) -> int:
    """Pair the results of two nodes when they do the same to the same operands."""
    if a.op_type != b.op_type or len(a.inputs) != len(b.inputs) or b.outputs[0] in pairs.right:
        return 0
    same = all(pairs.are(x, y) for x, y in zip(a.inputs, b.inputs, strict=True))
    return pairs.add_nodes(a, b, "graph") if same else 0


def _plain_users(graph: Graph) -> dict[Tensor, list[Node]]:
    """By tensor the nodes that use it, directly or rounded, in order."""
    found: dict[Tensor, list[Node]] = {}
    for node in _nodes(graph):
        for tensor in dict.fromkeys(plain(t) for t in node.inputs if t is not None):
            found.setdefault(tensor, []).append(node)
    return found


def _by_users(a: Graph, pairs: _Pairs) -> int:
    """Operands of paired nodes of one operator; how many were paired."""
    made = 0
    for node in reversed(list(_nodes(a))):
        partner = pairs.left.get(node.outputs[0])
        other = partner.producer if partner is not None else None
        if other is None or other.op_type != node.op_type or len(other.inputs) != len(node.inputs):
            continue
        for x, y in zip(node.inputs, other.inputs, strict=True):
            made += _pair_operands(x, y, pairs)
    return made


def _pair_operands(x: Tensor | None, y: Tensor | None, pairs: _Pairs) -> int:
    if x is None or y is None:
        return 0
    x, y = plain(x), plain(y)
    made_by = x.producer, y.producer
    if made_by[0] is None or made_by[1] is None or made_by[0].op_type != made_by[1].op_type:
        return 0
    return int(pairs.add(x, y, "graph"))


def _alone(graph: Graph, partners: Iterable[Tensor], pairs: _Pairs) -> tuple[Node, ...]:
    known = set(partners)
    return tuple(node for node in _nodes(graph) if not known.intersection(node.outputs))
