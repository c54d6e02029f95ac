"""Order of nodes: as written when every value is defined before its use, else sorted."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence

from onnx import AttributeProto, GraphProto, NodeProto

from uair.frontends.onnx.errors import OnnxCycleError, OnnxMissingValueError

MAX_NAMED = 8
"""Nodes of a cycle that the message names."""


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.UNDEFINED) and attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def captures(graph: GraphProto) -> dict[str, None]:
    """Names that a subgraph takes from around it, in order of use."""
    own = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    own.update(v.name for v in graph.input)
    for node in graph.node:
        own.update(node.output)
    found: dict[str, None] = {}
    for node in graph.node:
        found.update(dict.fromkeys(name for name in uses(node) if name not in own))
    found.update(dict.fromkeys(v.name for v in graph.output if v.name not in own))
    return found


def uses(node: NodeProto) -> Iterable[str]:
    """Names that a node needs: its inputs and what its subgraphs capture."""
    names = [name for name in node.input if name]
    for graph in subgraphs(node):
        names += captures(graph)
    return names


def ordered(
    nodes: Sequence[NodeProto], known: Callable[[str], bool], place: Callable[[NodeProto], str]
) -> Sequence[NodeProto]:
    """The nodes in an order in which every value is defined before it is used; as given when that is one.

    Args:
        nodes: of one graph.
        known: whether a name is defined before the first node.
        place: describes a node for messages.

    Raises:
        OnnxCycleError: there is no such order.
        OnnxMissingValueError: a node uses a name that nothing defines.
    """
    seen: set[str] = set()
    for node in nodes:
        for name in uses(node) if node.attribute else node.input:
            if name and name not in seen and not known(name):
                return _sorted(nodes, known, place)
        seen.update(node.output)
    return nodes


def _sorted(
    nodes: Sequence[NodeProto], known: Callable[[str], bool], place: Callable[[NodeProto], str]
) -> Sequence[NodeProto]:
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needs: list[set[int]] = []
    users: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        needed: set[int] = set()
        for name in uses(node):
            if name in producer:
                needed.add(producer[name])
            elif not known(name):
                raise missing(name, place(node))
        needs.append(needed)
        for j in needed:
            users[j].append(i)
    open_needs = [len(n) for n in needs]
    ready = [i for i, n in enumerate(open_needs) if n == 0]
    result: list[NodeProto] = []
    while ready:
        i = heapq.heappop(ready)
        result.append(nodes[i])
        for j in users[i]:
            open_needs[j] -= 1
            if open_needs[j] == 0:
                heapq.heappush(ready, j)
    if len(result) < len(nodes):
        raise _cycle(nodes, needs, open_needs, place)
    return result


def missing(name: str, place: str) -> OnnxMissingValueError:
    """The error for a name that nothing defines."""
    return OnnxMissingValueError(
        f"{name!r} is used, but no input, initializer or node defines it",
        place=place,
        hint="the model was cut wrongly or is damaged; export it again",
    )


def _cycle(
    nodes: Sequence[NodeProto], needs: Sequence[set[int]], open_needs: Sequence[int], place: Callable[[NodeProto], str]
) -> OnnxCycleError:
    """Walk backwards among the nodes left over until one comes again."""
    at = next(i for i, n in enumerate(open_needs) if n > 0)
    path: dict[int, None] = {}
    while at not in path:
        path[at] = None
        at = next(j for j in sorted(needs[at]) if open_needs[j] > 0)
    steps = list(path)
    cycle = [nodes[i] for i in steps[steps.index(at) :]][::-1]
    shown = " -> ".join(repr(n.name or n.output[0]) for n in cycle[:MAX_NAMED])
    more = f" -> ... ({len(cycle)} nodes)" if len(cycle) > MAX_NAMED else f" -> {cycle[0].name or cycle[0].output[0]!r}"
    return OnnxCycleError(
        f"nodes depend on each other in a circle: {shown}{more}",
        place=place(cycle[0]),
        hint="an inference model has no cycles; the file is damaged or was edited wrongly",
    )
