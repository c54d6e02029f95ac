"""Verification: structure, order, and every result type inferred again."""

from __future__ import annotations

from typing import cast

from uair.errors import TypeMismatch, UairError, VerificationError
from uair.ir.dims import InferredShape
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module
from uair.ir.types import TensorType


def verify(module: Module) -> None:
    """Check every graph of a module.

    Raises:
        VerificationError: a structural rule is broken; TypeMismatch when a recorded type is not the inferred one.
    """
    for graph in module.graphs.values():
        verify_graph(graph)


def verify_graph(graph: Graph, outer: frozenset[Tensor] = frozenset()) -> None:
    """Check a graph; `outer` are the tensors of enclosing graphs that it may capture.

    Raises:
        VerificationError: see `verify`.
    """
    defined: set[Tensor] = set(outer)
    _verify_interface(graph)
    defined.update(graph.inputs)
    for node in (*graph, graph.end):
        try:
            _verify_operands(graph, node, defined)
            if not node.is_return:
                _verify_results(node)
                for region in node.regions:
                    verify_graph(region, frozenset(defined))
        except UairError as error:
            if error.node is None:
                error.node = node
            raise
        defined.update(node.outputs)


def _verify_interface(graph: Graph) -> None:
    if len(graph.input_names) != len(graph.inputs) or len(graph.output_names) != len(graph.outputs):
        raise VerificationError(f"{graph!r}: every input and output needs one name")
    for names, kind in ((graph.input_names, "inputs"), (graph.output_names, "outputs")):
        twice = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise VerificationError(f"{graph!r}: two {kind} are called {twice[0]!r}")
    for tensor in graph.inputs:
        if tensor.producer is not None or tensor.data is not None:
            raise VerificationError(f"{graph!r}: input {tensor!r} has a producer or data")


def _verify_operands(graph: Graph, node: Node, defined: set[Tensor]) -> None:
    for i, tensor in enumerate(node.inputs):
        if tensor is None:
            continue
        if (node, i) not in tensor.use_set:
            raise VerificationError(
                f"{tensor!r} does not know that operand {i} of {node!r} uses it", place=str(node.loc)
            )
        data = tensor.data
        if data is not None:
            if data.dtype is not tensor.type.dtype or data.shape != tensor.type.shape:
                raise TypeMismatch(f"constant {tensor!r} holds {data!r}", place=str(node.loc))
        elif tensor not in defined:
            where = "in another graph" if tensor.producer is None or tensor.producer.graph is not graph else "later"
            raise VerificationError(
                f"operand {i} of {node!r}, {tensor!r}, is defined {where}",
                place=str(node.loc),
                hint="a node's operands must be graph inputs, constants or results of earlier nodes",
            )


def _verify_results(node: Node) -> None:
    for i, tensor in enumerate(node.outputs):
        if tensor.producer is not node or tensor.index != i:
            raise VerificationError(f"result {i} of {node!r} names another producer", place=str(node.loc))
    try:
        node.op.normalize_operands(node.inputs)
        inferred = node.op.infer_types([None if t is None else t.type for t in node.inputs])
    except UairError as error:
        error.place = f"{error.place}; {node.loc}" if error.place else str(node.loc)
        raise
    if len(inferred) != len(node.outputs):
        raise TypeMismatch(
            f"{node!r} has {len(node.outputs)} results, its operator gives {len(inferred)}", place=str(node.loc)
        )
    for tensor, want in zip(node.outputs, inferred, strict=True):
        if not agrees(tensor.type, want):
            raise TypeMismatch(
                f"result of {node!r} is recorded as {tensor.type}, inferred is {want}", place=str(node.loc)
            )


def agrees(recorded: TensorType, inferred: TensorType) -> bool:
    """Whether a recorded type may stand for an inferred one: equal, or more precise where inference cannot know."""
    if recorded is inferred:
        return True
    if recorded.dtype is not inferred.dtype or recorded.containers != inferred.containers:
        return False
    if inferred.shape is None or recorded.shape is None:
        return inferred.shape is None
    shape = cast(InferredShape, inferred.shape)
    return len(shape) == len(recorded.shape) and all(
        want is None or got == want for got, want in zip(recorded.shape, shape, strict=True)
    )
