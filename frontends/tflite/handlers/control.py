"""Subgraphs that operators run, and variables.

A subgraph of TFLite sees nothing of the graph around it: all that it needs is given. Here it sees the tensors that are
given, so that what a loop only reads is no state of the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uair.frontends.tflite.node import Family, Handle, Result, TfliteNode, Value
from uair.frontends.tflite.states import handle_name
from uair.ir.dims import InferredShape
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Tensor, named_unknowns
from uair.ir.types import TensorType, inferred
from uair.ops import If, Loop
from uair.ops.control import join_shapes

if TYPE_CHECKING:
    from uair.frontends.tflite.importer import Scope

FAMILY = Family()

MAX_ATTEMPTS = 8
"""Imports of a loop's body until the shapes of its states hold from run to run."""


def _opened(n: TfliteNode, number: int, graph: Graph, given: Sequence[Value]) -> Scope:
    """A subgraph's scope with its inputs bound; its operators are not imported yet."""
    scope = n.importer.scope(number, graph, depth=n.scope.depth + 1, initial=n.scope.initial)
    inputs = scope.subgraph.inputs
    if len(inputs) != len(given):
        n.refuse(f"{scope.where} takes {len(inputs)} values, {len(given)} are given")
    scope.values.update(zip(inputs, given, strict=True))
    return scope


def _run(n: TfliteNode, number: int, graph: Graph, given: Sequence[Value]) -> list[Value]:
    """Import a subgraph's operators into a graph; its outputs."""
    scope = _opened(n, number, graph, given)
    n.importer.operators(scope)
    return [scope.get(i, f"outputs of {scope.where}") for i in scope.subgraph.outputs]


def _values(n: TfliteNode, first: int = 0) -> list[Value]:
    return [n.value(i) for i in range(first, len(n))]


@FAMILY.op("CALL")
def _call(n: TfliteNode) -> Result:
    return _run(n, n.importer.called(n.operator)[0], n.graph, _values(n))


@FAMILY.op("STABLEHLO_COMPOSITE")
def _composite(n: TfliteNode) -> Result:
    """What it is decomposed into takes its place."""
    return _run(n, n.importer.called(n.operator)[0], n.graph, _values(n))


@FAMILY.op("CALL_ONCE")
def _call_once(n: TfliteNode) -> Result:
    """The initialisation: variables get their first values; nothing of it is left in the graph."""
    scope = n.importer.scope(n.importer.called(n.operator)[0], Graph("initial"), depth=n.scope.depth + 1, initial=True)
    n.importer.operators(scope)
    return ()


@FAMILY.op("IF")
def _if(n: TfliteNode) -> Result:
    """A condition that is known selects its subgraph, which takes the operator's place."""
    numbers, given = n.importer.called(n.operator), _values(n, 1)
    known = n.value_of(n.raw(0))
    if known is not None and known.size == 1 and isinstance(known.reshape(-1).tolist()[0], bool):
        return _run(n, numbers[0 if known.reshape(-1).tolist()[0] else 1], n.graph, given)
    branches: list[Graph] = []
    for number in numbers:
        branch = Graph(f"{n.name}_{'else' if branches else 'then'}")
        for i, value in enumerate(_run(n, number, branch, given)):
            branch.add_output(f"{n.name}.{i}", _tensor(n, value))
        branches.append(branch)
    return n.all(If(then_branch=branches[0], else_branch=branches[1]), n.single(n.raw(0)))


def _tensor(n: TfliteNode, value: Value) -> Tensor:
    if not isinstance(value, Tensor):
        n.refuse("a subgraph gives a handle or complex numbers")
    return value


@FAMILY.op("WHILE", "STABLEHLO_WHILE")
def _while(n: TfliteNode) -> Result:
    """The condition is computed before the loop and at the end of the body; what the body only hands on is no state."""
    condition, body = n.importer.called(n.operator)
    given = _values(n)
    graph = n.importer.model.subgraphs[body]
    if not len(graph.inputs) == len(graph.outputs) == len(given):
        n.refuse(f"the body takes {len(graph.inputs)} and gives {len(graph.outputs)} values, {len(given)} are given")
    states = [i for i, (a, b) in enumerate(zip(graph.inputs, graph.outputs, strict=True)) if a != b]
    initial = [_tensor(n, given[i]) for i in states]
    goes_on = n.single(_condition(n, condition, n.graph, given))
    region = _settled(n, condition, body, given, states)
    results: list[Value] = list(given)
    for i, result in zip(states, n.all(Loop(body=region), None, goes_on, *initial), strict=True):
        results[i] = result
    return results


def _condition(n: TfliteNode, number: int, graph: Graph, given: Sequence[Value]) -> Tensor:
    results = _run(n, number, graph, given)
    if len(results) != 1:
        n.refuse(f"the condition gives {len(results)} values")
    return _tensor(n, results[0])


def _settled(n: TfliteNode, condition: int, body: int, given: Sequence[Value], states: Sequence[int]) -> Graph:
    """The body as a graph; where a state's shape changes from run to run, the extent, or the rank, is open."""
    shapes: list[InferredShape | None] = [_tensor(n, given[i]).type.shape for i in states]
    for _ in range(MAX_ATTEMPTS):
        region, formals = _body(n, condition, body, given, dict(zip(states, shapes, strict=True)))
        results = [t.type for t in region.outputs[1:]]
        for i, (formal, result) in enumerate(zip(formals, results, strict=True)):
            if formal.dtype is not result.dtype:
                n.refuse(f"state {i} is {formal} at first, the body gives {result}")
        wider = [
            join_shapes(shape, _with_open(shape, formal.shape, result.shape))
            for shape, formal, result in zip(shapes, formals, results, strict=True)
        ]
        if wider == shapes:
            return region
        region.release()
        shapes = wider
    n.refuse("the shapes of its states change from run to run without end")


def _with_open(
    shape: InferredShape | None, formal: InferredShape | None, result: InferredShape | None
) -> InferredShape | None:
    """A result's shape, with extents open that already are."""
    if shape is None or formal is None or result is None or len(shape) != len(result):
        return result
    return tuple(None if open_ is None else d for open_, d in zip(shape, result, strict=True))


def _body(
    n: TfliteNode, condition: int, body: int, given: Sequence[Value], shapes: dict[int, InferredShape | None]
) -> tuple[Graph, list[TensorType]]:
    """The body, and the condition on what it gives, with states of the given shapes."""
    region = Graph(f"{n.name}_body")
    region.add_input("run", TensorType(DType.I64, ()))
    region.add_input("goes_on", TensorType(DType.BOOL, ()))
    inside = list(given)
    formals: list[TensorType] = []
    for i, shape in shapes.items():
        formal = named_unknowns(inferred(_tensor(n, given[i]).type.dtype, shape))
        formals.append(formal)
        inside[i] = region.add_input(f"state_{i}", formal)
    results = _run(n, body, region, inside)
    again = _condition(n, condition, region, [results[i] if i in shapes else v for i, v in enumerate(given)])
    node = TfliteNode(n.importer, n.scope, n.operator, name=n.name, place=n.place)
    node.graph = region
    region.add_output("goes_on", node.single(again))
    for i in shapes:
        region.add_output(f"state_{i}", _tensor(n, results[i]))
    return region, formals


# ---------------------------------------------------------------------- variables
@FAMILY.op("VAR_HANDLE")
def _handle(n: TfliteNode) -> Result:
    return Handle(handle_name(n.options.text("container"), n.options.text("shared_name")))


def _variable(n: TfliteNode) -> Handle:
    value = n.value(0)
    if not isinstance(value, Handle):
        n.refuse("the operand is no handle of a variable")
    return value


@FAMILY.op("READ_VARIABLE")
def _read(n: TfliteNode) -> Result:
    from uair.frontends.tflite.importer import declared

    handle = _variable(n)
    return n.importer.states.read(n, handle, declared(n.result_info(), handle.name, n.place))


@FAMILY.op("ASSIGN_VARIABLE")
def _assign(n: TfliteNode) -> Result:
    n.importer.states.assign(n, _variable(n), n.raw(1))
    return ()
