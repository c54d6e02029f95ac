"""Cutting the smallest module that still shows a fault out of a module that shows it.

A part of the main graph becomes a module of its own: what it takes from outside are its inputs, with the values that
they had, and what others use of it are its outputs. The part grows around the place of the fault until it shows the
fault too, then loses whatever it can do without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

import attrs
import numpy as np

from uair.codegen.reference import run
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module, copied_nodes
from uair.names import Namer
from uair.ops.random import repeated

Shows: TypeAlias = Callable[[Module, Mapping[str, Any]], bool]
"""Whether a module, on these inputs, shows the fault."""

RADII = (1, 2, 4, 8, 16, 32)
"""Distances from the place of the fault, in nodes, that are tried before the whole graph."""

MOST_BYTES = 1 << 30
"""Values that are kept at a time; parts that need more are not tried."""


@attrs.frozen(eq=False)
class Case:
    """A module and its inputs.

    Attributes:
        module: the module.
        feeds: values by input name.
    """

    module: Module
    feeds: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Number of nodes, those inside of others included."""
        return sum(len(graph) for graph in self.module.all_graphs())


def reduce_case(case: Case, seeds: Collection[Node], shows: Shows, *, seconds: float = 20.0) -> Case | None:
    """The smallest case found that shows what `case` shows.

    Args:
        case: shows the fault.
        seeds: nodes of its main graph at the place of the fault.
        shows: says whether a case shows it. Cases that cannot be run are not asked about.
        seconds: time after which the search ends with what it has.

    Returns:
        The case; None when not even the whole module, rebuilt, shows the fault.
    """
    deadline = time.monotonic() + seconds
    found = _grown(case, seeds, shows, deadline)
    return None if found is None else _shrunk(found, shows, deadline)


def _grown(case: Case, seeds: Collection[Node], shows: Shows, deadline: float) -> Case | None:
    """The first neighbourhood of the seeds that shows the fault."""
    graph = case.module.main
    sizes: set[int] = set()
    for radius in RADII:
        nodes = neighbourhood(graph, seeds, radius)
        if not nodes or len(nodes) >= len(graph) or time.monotonic() > deadline:
            break
        if len(nodes) in sizes:
            continue
        sizes.add(len(nodes))
        part = cut(case.module, nodes)
        candidate = part.with_values(observed(case, part.taken))
        if candidate is not None and shows(candidate.module, candidate.feeds):
            return candidate
    return case if shows(case.module, case.feeds) else None


def neighbourhood(graph: Graph, seeds: Iterable[Node], radius: int) -> set[Node]:
    """The nodes of a graph that are at most `radius` producers or users away from the seeds."""
    found = {node for node in seeds if node.graph is graph}
    border = set(found)
    for _ in range(radius):
        border = {near for node in border for near in _neighbours(graph, node)} - found
        found |= border
    return found


def _neighbours(graph: Graph, node: Node) -> Iterable[Node]:
    for tensor in operands(node):
        if tensor.producer is not None and tensor.producer.graph is graph:
            yield tensor.producer
    for tensor in node.outputs:
        for user in tensor.users:
            if user.graph is graph and not user.is_return:
                yield user


def operands(node: Node) -> list[Tensor]:
    """What a node uses that is computed or given: operands, and what its graphs capture."""
    captured = [t for region in node.regions for t in region.captures()]
    return [t for t in (*node.inputs, *captured) if t is not None and not t.is_constant]


@attrs.frozen(eq=False)
class Part:
    """A module cut out of another.

    Attributes:
        module: the part.
        taken: by the name of the part's input, the tensor that it was.
    """

    module: Module
    taken: Mapping[str, Tensor]

    def with_values(self, values: Mapping[Tensor, Any] | None) -> Case | None:
        """The part with values for its inputs; None when one is not known, or is no array."""
        if values is None or any(t not in values for t in self.taken.values()):
            return None
        return Case(self.module, {name: values[tensor] for name, tensor in self.taken.items()})


def cut(module: Module, nodes: Collection[Node]) -> Part:
    """The module of some nodes of the main graph."""
    chosen = set(nodes)
    graph = Graph(module.main.name)
    ordered = [node for node in module.main if node in chosen]
    inside = {t for node in ordered for t in node.outputs}
    outside = dict.fromkeys(t for node in ordered for t in operands(node) if t not in inside)
    names = Namer()
    interface = dict(zip(module.main.inputs, module.main.input_names, strict=True))
    returned = dict(zip(module.main.outputs, module.main.output_names, strict=True))
    taken: dict[str, Tensor] = {}
    copies: dict[Tensor, Tensor] = {}
    for tensor in outside:
        name = names.unique(interface.get(tensor) or tensor.name or "x")
        taken[name] = tensor
        copies[tensor] = graph.add_input(name, tensor.type)
        copies[tensor].name = tensor.name
    for node in copied_nodes(ordered, copies):
        graph.append(node)
    used = Namer()
    for node in ordered:
        for tensor in node.outputs:
            if any(user not in chosen for user in _outer_users(tensor, module.main)):
                graph.add_output(used.unique(returned.get(tensor) or tensor.name or "y"), copies[tensor])
    part = Module(module.name, {"main": graph}, origin=module.origin)
    return Part(part, taken)


def _outer_users(tensor: Tensor, graph: Graph) -> Iterable[Node]:
    """The nodes of `graph` that use a tensor; those whose graphs capture it, too."""
    for user in tensor.users:
        if user.graph is graph:
            yield user
        else:
            yield from (node for node in graph if node.regions and tensor in operands(node))


def observed(case: Case, wanted: Mapping[str, Tensor]) -> dict[Tensor, Any] | None:
    """The values of some tensors of a case's main graph, of arrays and within bounds; None when it does not run."""
    asked = set(wanted.values())
    values: dict[Tensor, Any] = {}
    room = MOST_BYTES

    def keep(tensor: Tensor, value: Any) -> None:
        nonlocal room
        if tensor in asked and isinstance(value, np.ndarray) and value.nbytes <= room:
            room -= value.nbytes
            values[tensor] = value.copy()

    try:
        with repeated():
            run(case.module, case.feeds, observe=keep)
    except Exception:  # noqa: BLE001  modules that are looked at here may be broken in any way
        return None
    return values


def _shrunk(case: Case, shows: Shows, deadline: float) -> Case:
    """Without nodes, then without outputs that nobody needs, then without the nodes that only those needed."""
    fewer = _with_fewer_nodes(case, shows, deadline)
    returning = _with_fewer_outputs(fewer, shows, deadline)
    return returning if returning is fewer else _with_fewer_nodes(returning, shows, deadline)


def _with_fewer_nodes(case: Case, shows: Shows, deadline: float) -> Case:
    """Delta debugging: leave out halves, quarters, ... single nodes."""
    values = observed(case, {str(i): t for i, t in enumerate(case.module.main.tensors())})
    kept = list(case.module.main)
    best, step, smaller = case, len(kept), True
    while (step > 1 or smaller) and time.monotonic() < deadline:
        step, smaller, at = max(1, step // 2), False, 0
        while at < len(kept) and time.monotonic() < deadline:
            fewer = kept[:at] + kept[at + step :]
            candidate = cut(case.module, fewer).with_values(values) if fewer else None
            if candidate is not None and shows(candidate.module, candidate.feeds):
                kept, best, smaller = fewer, candidate, True
            else:
                at += step
    return best


def _with_fewer_outputs(case: Case, shows: Shows, deadline: float) -> Case:
    """Without the outputs that the fault does not need."""
    for name in reversed(case.module.main.output_names):
        names = [n for n in case.module.main.output_names if n != name]
        if not names or time.monotonic() > deadline:
            break
        candidate = Case(_returning(case.module, names), case.feeds)
        if shows(candidate.module, candidate.feeds):
            case = candidate
    return case


def _returning(module: Module, names: Collection[str]) -> Module:
    """A copy of a module that returns only some of its outputs; what only the others needed stays."""
    copy = module.clone()
    graph = Graph(copy.main.name)
    copies: dict[Tensor, Tensor] = {}
    for name, tensor in zip(copy.main.input_names, copy.main.inputs, strict=True):
        copies[tensor] = graph.add_input(name, tensor.type)
        copies[tensor].name = tensor.name
    for node in copied_nodes(copy.main, copies):
        graph.append(node)
    for name, tensor in zip(copy.main.output_names, copy.main.outputs, strict=True):
        if name in names:
            graph.add_output(name, copies.get(tensor, tensor))
    copy.graphs = {**copy.graphs, "main": graph}
    return copy
