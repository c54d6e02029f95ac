"""Inferring the types of a graph again after its inputs or attributes became more precise."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, cast

from uair.errors import TypeInferenceError, UairError
from uair.ir.dims import COUNTED_NAME, Dim, InferredShape, substitute, substitute_shape, symbol, symbols_of
from uair.ir.graph import Graph, Node, named_unknowns
from uair.ir.module import Module
from uair.ir.types import TensorType

Decide: TypeAlias = Callable[[Graph, Node, Sequence[Graph]], "Sequence[Node] | None"]


def refine_types(
    graph: Graph,
    values: Mapping[str, Dim] | None = None,
    decide: Decide | None = None,
    found: dict[str, Dim] | None = None,
) -> bool:
    """Infer every result type in order; with `values`, replace those symbolic sizes in attributes and types first.

    A size that inference cannot know keeps its recorded name. Layouts are kept.

    Args:
        graph: in place.
        values: sizes by name.
        decide: asked at every node that holds graphs, when everything before it is refined, and again when some of its
            graphs, the last argument, turn out not to accept the types; may put other nodes in its place and gives
            them then, in order, else None.
        found: takes in the `settled_sizes`.

    Returns:
        whether any type changed.

    Raises:
        TypeInferenceError: an operator does not accept the refined types; the place names the node.
    """
    changed = False
    for node in graph:
        changed |= _refine(graph, node, values or {}, decide, found)
    return changed


def _refine(
    graph: Graph, node: Node, values: Mapping[str, Dim], decide: Decide | None, found: dict[str, Dim] | None
) -> bool:
    """Refine one node and what it holds."""
    placed = decide(graph, node, ()) if decide is not None and node.regions else None
    changed = False
    failures: dict[Graph, TypeInferenceError] = {}
    for region in node.regions if placed is None else ():
        for tensor in region.inputs:
            tensor.type = tensor.type.substitute(values)
        try:
            changed |= refine_types(region, values, decide, found)
        except TypeInferenceError as error:
            failures[region] = error
    if failures:
        placed = None if decide is None else decide(graph, node, tuple(failures))
        if placed is None:
            raise next(iter(failures.values()))
    if placed is None:
        return refine_node(node, values, found) or changed
    for each in placed:
        _refine(graph, each, values, decide, found)
    return True


def refine_node(node: Node, values: Mapping[str, Dim], found: dict[str, Dim] | None = None) -> bool:
    """Infer the result types of one node from its operands' current types; whether any changed.

    `found` takes in the `settled_sizes`.
    """
    if values:
        node.op = node.op.substitute(values)
    changed = False
    try:
        inferred = node.op.infer_types([None if t is None else t.type for t in node.inputs])
    except UairError as error:
        error.place, error.node = f"{node.loc}: {error.place}", node
        raise
    for tensor, want in zip(node.outputs, inferred, strict=True):
        shape = _merged(tensor.type, want, values)
        if shape != tensor.type.shape or want.dtype is not tensor.type.dtype:
            before, tensor.type = tensor.type, TensorType(want.dtype, shape, tensor.type.layout, want.containers)
            changed = True
            if found is not None:
                found |= settled_sizes(before, tensor.type)
    return changed


def _merged(recorded: TensorType, inferred: TensorType, values: Mapping[str, Dim]) -> tuple[Dim, ...] | None:
    """The inferred shape, with recorded sizes where inference has none."""
    if inferred.containers:
        return recorded.shape if inferred.shape is None else inferred.shape
    if inferred.shape is None:
        return None if recorded.shape is None else substitute_shape(recorded.shape, values)
    shape = cast(InferredShape, inferred.shape)
    if recorded.shape is None or len(recorded.shape) != len(shape):
        return named_unknowns(inferred).shape
    return tuple(
        substitute(old, values) if new is None else new for old, new in zip(recorded.shape, shape, strict=True)
    )


def settled_sizes(before: TensorType, after: TensorType) -> dict[str, Dim]:
    """Sizes that stood for an extent of a value, by name, where its type now has a number for that extent.

    The names may be in attributes and types elsewhere: give what is found to `settle_sizes`.
    """
    if before.shape is None or after.shape is None or len(before.shape) != len(after.shape):
        return {}
    return {
        name: new
        for old, new in zip(before.shape, after.shape, strict=True)
        if not isinstance(old, int) and isinstance(new, int)
        for name in symbols_of((old,))
        if old == symbol(name)
    }


def settle_sizes(module: Module, found: Mapping[str, Dim], decide: Decide | None = None) -> None:
    """Put numbers in the place of sizes that were found to be these, and of those that follow.

    Sizes of the module's inputs stay open. `decide` is that of `refine_types`.
    """
    for graph in module.graphs.values():
        known = {name for t in graph.inputs for name in symbols_of(t.type.shape or ())}
        pending = dict(found)
        while values := {name: size for name, size in pending.items() if name not in known}:
            known |= values.keys()
            pending = {}
            refine_types(graph, values, decide, pending)


def number_unknowns(module: Module) -> None:
    """Call the sizes that the IR named itself u1, u2, ... in order of first appearance, passing over names of inputs.

    Fresh names are counted over a whole process; after this a module's text does not depend on what else it did.
    """
    given = {name for graph in module.graphs.values() for t in graph.inputs for name in symbols_of(t.type.shape or ())}
    graphs = [inner for graph in module.graphs.values() for inner in (graph, *graph.nested())]
    counted = dict.fromkeys(
        name for graph in graphs for name in _sizes(graph) if COUNTED_NAME.fullmatch(name) and name not in given
    )
    free = (name for name in map("u{}".format, itertools.count(1)) if name not in given)
    renamed = {old: symbol(new) for old, new in zip(counted, free, strict=False) if old != new}
    if renamed:
        for graph in graphs:
            _substitute(graph, renamed)


def _sizes(graph: Graph) -> Iterator[str]:
    """Names of the sizes in the types and attributes of one graph, in order."""
    seen: set[TensorType] = set()
    for tensor in graph.inputs:
        yield from symbols_of(tensor.type.shape or ())
    for node in graph:
        yield from node.op.symbols()
        for tensor in node.outputs:
            if tensor.type not in seen:
                seen.add(tensor.type)
                yield from symbols_of(tensor.type.shape or ())


def _substitute(graph: Graph, values: Mapping[str, Dim]) -> None:
    for tensor in graph.inputs:
        tensor.type = tensor.type.substitute(values)
    for node in graph:
        node.op = node.op.substitute(values)
        for tensor in node.outputs:
            tensor.type = tensor.type.substitute(values)
