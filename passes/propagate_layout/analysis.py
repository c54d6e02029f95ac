"""Which nodes compute with channels first, so that the fewest and smallest tensors are transposed: a minimum cut.

Every node that can compute in either form is a vertex; what is fixed is the source (the form that the graph has) or the
sink (the other form: next to a Transpose, which then vanishes). A tensor costs its Transpose once, when a user wants
another form than its producer gives, however many users do; the least cost of all is the least cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from uair.ir.graph import Graph, Node, Tensor
from uair.ops import (
    AvgPool1D,
    BatchNorm,
    Conv1D,
    ConvTranspose1D,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    InstanceNorm,
    MaxPool1D,
    PRelu,
    Resize,
    Transpose,
)
from uair.passes.propagate_layout.moves import (
    LEAST_RANK,
    REWRITTEN,
    Move,
    Perm,
    Pointwise,
    move,
    to_first,
    to_last,
)

if TYPE_CHECKING:
    import networkx as nx

GIVEN = "given"
OTHER = "other"

_ONE = 1 << 56
"""Cost of a Transpose that moves data, above any sum of what sizes add: first their number counts, then their sizes."""
_LARGEST = 1 << 40
_REWRITE = 1 << 41
"""Cost of a node that becomes others: above any size and below a Transpose, of which it must save at least one."""

_CHANNELS_FIRST = (
    *(Conv1D, ConvTranspose1D, MaxPool1D, AvgPool1D, GlobalAvgPool, GlobalMaxPool, BatchNorm, InstanceNorm, GroupNorm),
    *(Resize, PRelu),
)
"""Operators whose operands have three axes with the channels second, where they have three."""


@attrs.frozen(eq=False)
class Forms:
    """What computes in the other form.

    Attributes:
        moves: the nodes that do, with how.
        inputs: the graph's inputs that are taken in the other form.
        outputs: positions of the outputs that are given in it.
    """

    moves: Mapping[Node, Move]
    inputs: frozenset[Tensor]
    outputs: frozenset[int]


def cheapest_forms(graph: Graph, *, free_interface: bool, pointwise: Pointwise) -> Forms:
    """The forms with the fewest and smallest tensors to transpose.

    Args:
        graph: the graph, not changed.
        free_interface: whether inputs and outputs of the graph may change their form.
        pointwise: what may become of Linear and normalizations.
    """
    candidates = _near_transposes(graph, pointwise)
    if not any(is_forward(node) or is_back(node) for node in graph):
        return Forms({}, frozenset(), frozenset())
    cut = _Cut(graph, candidates, free_interface=free_interface)
    for tensor in _tensors(graph):
        cut.add(tensor)
    for node in candidates:
        if isinstance(node.op, REWRITTEN):
            cut.charge(node)
    other = cut.solve()
    return Forms(
        {node: found for node, found in candidates.items() if node in other},
        frozenset(t for t in graph.inputs if t in other),
        frozenset(i for i in range(len(graph.outputs)) if i in other),
    )


def _tensors(graph: Graph) -> Iterable[Tensor]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _near_transposes(graph: Graph, pointwise: Pointwise) -> dict[Node, Move]:
    """The nodes that can change form and are joined to a Transpose by such nodes: no others have a reason to."""
    todo = [node for node in graph if is_forward(node) or is_back(node)]
    found: dict[Node, Move] = {}
    seen = set(todo)
    while todo:
        node = todo.pop()
        neighbours = [t.producer for t in node.inputs if t is not None and t.producer is not None]
        neighbours += [user for t in node.outputs for user in t.users]
        for other in neighbours:
            if other in seen or other.graph is not graph:
                continue
            seen.add(other)
            moved = None if other.is_return else move(other, pointwise)
            if moved is not None:
                found[other] = moved
                todo.append(other)
    return found


class _Cut:
    """The network: capacities between vertices."""

    def __init__(self, graph: Graph, candidates: Mapping[Node, Move], *, free_interface: bool) -> None:
        self.graph = graph
        self.candidates = candidates
        self.free_interface = free_interface
        import networkx as nx  # 180 modules and 14 MiB, where fusion only asks how single Transposes move

        self.network: nx.DiGraph[Any] = nx.DiGraph()
        self.network.add_nodes_from((GIVEN, OTHER))

    def add(self, tensor: Tensor) -> None:
        """The cost of a tensor whose users want another form than its producer gives."""
        if not tensor.type.is_tensor or tensor.type.shape is None or len(tensor.type.shape) < LEAST_RANK:
            return
        source = self._producer(tensor)
        users = dict.fromkeys(self._user(node, i, tensor) for node, i in tensor.uses)
        users.pop(source, None)
        if not users:
            return
        cost = _cost(tensor)
        if len(users) == 1:
            (user,) = users
            self._join(source, user, cost)
            self._join(user, source, cost)
            return
        away, back = ("away", tensor), ("back", tensor)
        self._join(source, away, cost)
        self._join(back, source, cost)
        for user in users:
            self.network.add_edge(away, user)
            self.network.add_edge(user, back)

    def charge(self, node: Node) -> None:
        """The cost of a node that becomes others in the other form."""
        self._join(node, GIVEN, _REWRITE)

    def _producer(self, tensor: Tensor) -> object:
        node = tensor.producer
        if node is None:
            return tensor if self.free_interface and tensor in self.graph.inputs else GIVEN
        if is_back(node):
            return OTHER
        moved = self.candidates.get(node)
        return node if moved is not None and moved.results else GIVEN

    def _user(self, node: Node, i: int, tensor: Tensor) -> object:
        if node.graph is not self.graph:
            return GIVEN
        if node.is_return:
            return i if self.free_interface else GIVEN
        if is_forward(node):
            return OTHER
        moved = self.candidates.get(node)
        return node if moved is not None and i in moved.carried else GIVEN

    def _join(self, a: object, b: object, cost: int) -> None:
        if self.network.has_edge(a, b):
            if "capacity" in self.network[a][b]:
                self.network[a][b]["capacity"] += cost
            return
        self.network.add_edge(a, b, capacity=cost)

    def solve(self) -> set[object]:
        """The vertices on the side of the other form; where it makes no difference, as many as can be.

        A Transpose that stays then stands late, next to what needs it: a Linear can take it into its weight.
        """
        import networkx as nx
        from networkx.algorithms.flow import boykov_kolmogorov

        _, (other, _) = nx.minimum_cut(self.network, OTHER, GIVEN, flow_func=boykov_kolmogorov)
        return set(other)


def _cost(tensor: Tensor) -> int:
    """Of a Transpose between the forms; one that leaves all elements where they are is a Reshape."""
    dims = tensor.type.dims
    if sum(d != 1 for d in dims[1:]) <= 1:
        return 1
    size = tensor.type.size if tensor.type.is_static else 1
    return _ONE + min(size, _LARGEST)


def is_forward(node: Node) -> bool:
    """Whether a node is a Transpose to channels first."""
    return isinstance(node.op, Transpose) and _is_order(node.op.perm, to_first) and not is_back(node)


def is_back(node: Node) -> bool:
    """Whether a node is a Transpose to channels last. With three axes, where both are one, what it reads decides."""
    if not isinstance(node.op, Transpose) or not _is_order(node.op.perm, to_last):
        return False
    if len(node.op.perm) > LEAST_RANK:
        return True
    before = node.inputs[0]
    while before is not None and before.producer is not None and before.producer.op.elementwise:
        before = before.producer.inputs[0]
    return before is not None and before.producer is not None and isinstance(before.producer.op, _CHANNELS_FIRST)


def _is_order(perm: Perm, order: Callable[[int], Perm]) -> bool:
    return len(perm) >= LEAST_RANK and perm == order(len(perm))
