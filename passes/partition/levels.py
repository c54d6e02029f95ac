"""Levels: the islands of a graph whose nodes are coloured "device" or "CPU".

A node's level is the least number that is not below the levels of its operands and has the parity of its colour: even
on the device, odd on the CPU. Nodes of one level make an island. An edge never goes to a lower level, so the islands
form a chain without cycles, and there are as few of them as the longest alternation of colours in the graph demands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from uair.ir.graph import Graph, Node, Tensor
from uair.passes.partition.prices import tensor_bytes


@attrs.frozen
class Wiring:
    """Who reads what in a graph, seen from its own nodes: what inner graphs capture counts as operands.

    Attributes:
        nodes: the nodes that are placed, in order.
        reads: the tensors that each reads and that are neither constants nor results of `free` nodes.
        users: by tensor the nodes that read it.
        returned: the graph's outputs.
        free: nodes that compute on constants only: each part that needs one has a copy of it.
    """

    nodes: tuple[Node, ...]
    reads: Mapping[Node, tuple[Tensor, ...]]
    users: Mapping[Tensor, tuple[Node, ...]]
    returned: frozenset[Tensor]
    free: frozenset[Node]


def wiring(graph: Graph) -> Wiring:
    """The wiring of a graph."""
    returned = frozenset(graph.outputs)
    free: set[Node] = set()
    placed: list[Node] = []
    reads: dict[Node, tuple[Tensor, ...]] = {}
    users: dict[Tensor, list[Node]] = {}
    for node in graph:
        operands = dict.fromkeys(t for t in node.inputs if t is not None)
        operands.update((t, None) for region in node.regions for t in region.captures())
        known = tuple(t for t in operands if not t.is_constant and t.producer not in free)
        if _is_free(node, known, returned):
            free.add(node)
            continue
        placed.append(node)
        reads[node] = known
        for tensor in known:
            users.setdefault(tensor, []).append(node)
    return Wiring(tuple(placed), reads, {t: tuple(n) for t, n in users.items()}, returned, frozenset(free))


def _is_free(node: Node, reads: Sequence[Tensor], returned: frozenset[Tensor]) -> bool:
    if reads or node.regions or not node.op.deterministic or not node.inputs:
        return False
    return not any(t in returned for t in node.outputs)


def levels(wires: Wiring, on_cpu: Mapping[Node, str]) -> dict[Node, int]:
    """The level of every placed node; what is in `on_cpu` has an odd one."""
    level: dict[Node, int] = {}
    for node in wires.nodes:
        parity = int(node in on_cpu)
        lowest = max((level[t.producer] for t in wires.reads[node] if t.producer is not None), default=parity)
        level[node] = lowest + (lowest % 2 != parity)
    _sink(wires, level)
    return level


def _sink(wires: Wiring, level: dict[Node, int]) -> None:
    """Move nodes that nobody needs yet to the level of their users, where fewer bytes cross then."""
    for node in reversed(wires.nodes):
        users = [user for tensor in node.outputs for user in wires.users.get(tensor, ())]
        if not users or any(t in wires.returned for t in node.outputs):
            continue
        latest = min(level[user] for user in users)
        latest -= (latest - level[node]) % 2
        if latest <= level[node]:
            continue
        crossing = sum(tensor_bytes(t) for t in node.outputs)
        added = sum(tensor_bytes(t) for t in wires.reads[node] if not _crosses(t, wires, level))
        if added <= crossing:
            level[node] = latest


def _crosses(tensor: Tensor, wires: Wiring, level: Mapping[Node, int]) -> bool:
    """Whether a tensor leaves its island anyway."""
    producer = tensor.producer
    if producer is None:
        return True
    return tensor in wires.returned or any(level[u] > level[producer] for u in wires.users[tensor])


def components(wires: Wiring, level: Mapping[Node, int]) -> list[list[Node]]:
    """The connected groups of nodes of one level, each in the graph's order."""
    parent: dict[Node, Node] = {node: node for node in wires.nodes}

    def find(node: Node) -> Node:
        while parent[node] is not node:
            parent[node] = node = parent[parent[node]]
        return node

    for node in wires.nodes:
        for tensor in wires.reads[node]:
            if tensor.producer is not None and level[tensor.producer] == level[node]:
                parent[find(node)] = find(tensor.producer)
    groups: dict[Node, list[Node]] = {}
    for node in wires.nodes:
        groups.setdefault(find(node), []).append(node)
    return list(groups.values())
