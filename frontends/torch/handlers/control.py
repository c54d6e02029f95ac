"""Control flow: cond, while_loop, scan and map, whose graphs use the values around them directly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from uair import ops
from uair.frontends.torch.handlers.comparison import truth
from uair.frontends.torch.node import Family, Result, TorchNode, Value
from uair.frontends.torch.program import ProgramGraph
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Tensor
from uair.ir.types import TensorType

FAMILY = Family()


def _graph(node: TorchNode, name: str) -> ProgramGraph:
    found = node.get(name)
    if not isinstance(found, ProgramGraph):
        node.refuse(f"{name} is no graph")
    return found


def _values(node: TorchNode, name: str) -> tuple[Value, ...]:
    found = node.get(name) or ()
    if not isinstance(found, tuple):
        node.refuse(f"{name} is no list")
    return cast("tuple[Value, ...]", found)


@FAMILY.op("higher_order.cond")
def _cond(node: TorchNode) -> Result:
    """The operands of the branches are captured; a number is a condition, too."""
    condition = node.single(node.cast(node.number(node.get("pred")), DType.BOOL))
    operands = _values(node, "operands")
    branches: list[Graph] = []
    for name in ("true_fn", "false_fn"):
        inner = node.within(Graph(node.name))
        _give(inner, inner.inlined(_graph(node, name), operands))
        branches.append(inner.graph)
    return node.all(ops.If(then_branch=branches[0], else_branch=branches[1]), condition)


@FAMILY.op("higher_order.while_loop")
def _while_loop(node: TorchNode) -> Result:
    """The condition is computed before the loop, and at the end of the body for the next run."""
    condition, body = _graph(node, "cond_fn"), _graph(node, "body_fn")
    initial = [node.number(v) for v in _values(node, "carried_inputs")]
    captured = _values(node, "additional_inputs")
    inner = node.within(Graph(node.name))
    inner.graph.add_input("run", TensorType(DType.I64, ()))
    inner.graph.add_input("goes_on", TensorType(DType.BOOL, ()))
    states = _inputs(inner, body, [t.type for t in initial])
    given = inner.inlined(body, (*states, *captured))
    _give(inner, [_holds(inner, condition, (*given, *captured)), *given])
    return node.all(ops.Loop(body=inner.graph), None, _holds(node, condition, (*initial, *captured)), *initial)


def _holds(node: TorchNode, condition: ProgramGraph, inputs: Sequence[Value]) -> Tensor:
    found = node.inlined(condition, inputs)
    if len(found) != 1:
        node.refuse(f"the condition gives {len(found)} values")
    return node.single(truth(node, found[0]))


@FAMILY.op("higher_order.scan")
def _scan(node: TorchNode) -> Result:
    """Slices along the first axis; the body gives the states, then what is stacked. Torch reverses before it."""
    body = _graph(node, "combine_fn")
    initial = [node.number(v) for v in _values(node, "init")]
    return _scanned(node, body, initial, node.tensors("xs"), _values(node, "additional_inputs"))


@FAMILY.op("higher_order.map_impl")
def _map(node: TorchNode) -> Result:
    """A scan without states."""
    return _scanned(node, _graph(node, "f"), [], node.tensors("xs"), _values(node, "pos_args"))


def _scanned(
    node: TorchNode, body: ProgramGraph, initial: Sequence[Tensor], xs: Sequence[Tensor], captured: Sequence[Value]
) -> Result:
    inner = node.within(Graph(node.name))
    slices = [x.type.with_shape(node.shape(x)[1:]) for x in xs]
    inputs = _inputs(inner, body, [*(t.type for t in initial), *slices])
    _give(inner, inner.inlined(body, (*inputs, *captured)))
    return node.all(ops.Scan(body=inner.graph, scanned=len(xs)), *initial, *xs)


def _inputs(node: TorchNode, body: ProgramGraph, types: Sequence[TensorType]) -> list[Tensor]:
    """Inputs of the graph that is being made, called as the body calls its own."""
    names = [name for name, _ in body.inputs]
    if len(names) < len(types):
        node.refuse(f"the body takes {len(names)} values, {len(types)} are given")
    return [node.graph.add_input(name, t) for name, t in zip(names, types, strict=False)]


def _give(node: TorchNode, outputs: Sequence[Tensor]) -> None:
    for i, tensor in enumerate(outputs):
        node.graph.add_output(f"{node.name}.{i}", tensor)
