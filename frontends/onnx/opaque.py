"""Nodes that are kept as they are, because their operator is not known."""

from __future__ import annotations

import base64

from onnx import GraphProto, NodeProto, TensorProto

from uair.frontends.onnx.errors import OnnxOperatorError
from uair.frontends.onnx.interface import declared_type
from uair.frontends.onnx.node import NotHandled, OnnxNode
from uair.frontends.onnx.order import captures, subgraphs
from uair.frontends.onnx.tensors import TensorReader
from uair.ir.graph import Tensor
from uair.ir.types import TensorType
from uair.ops.custom import Opaque


def keep(node: OnnxNode, resolved: NodeProto, reason: NotHandled | None) -> list[Tensor | None]:
    """The results of an opaque node in place of `node`.

    Args:
        node: the node.
        resolved: its message, attribute references replaced.
        reason: why its handler gave it up, when it has one.

    Raises:
        OnnxOperatorError: the types of its results are declared nowhere.
    """
    declared = [_declared(node, name) for name in node.proto.output if name]
    types = tuple(t for t in declared if t is not None and t.shape is not None)
    if not types or len(types) < len(declared):
        if reason is not None:
            raise OnnxOperatorError(reason.message, place=node.place, hint=reason.hint or _hint(node))
        version = f" version {node.version}" if not node.domain else ""
        raise OnnxOperatorError(
            f"operator {node.domain or 'ai.onnx'}.{node.op_type}{version} is not known, "
            "and the model does not declare the types of its results",
            place=node.place,
            hint=_hint(node),
        )
    operands = [t for t in node.inputs if t is not None]
    for graph in subgraphs(node.proto):
        operands += [t for name in captures(graph) if (t := node.scope.get(name, node.place)) is not None]
    _restore(resolved, node.importer.reader)
    payload = base64.b64encode(resolved.SerializeToString(deterministic=True)).decode("ascii")
    op = Opaque(domain=node.domain, kind=node.op_type, payload=payload, result_types=types)
    results = iter(node.all(op, *operands))
    return [next(results) if name else None for name in node.proto.output]


def _declared(node: OnnxNode, name: str) -> TensorType | None:
    value = node.scope.declared.get(name)
    return None if value is None else declared_type(value, node.importer.names, node.place)


def _hint(node: OnnxNode) -> str:
    if node.domain:
        return "run ONNX shape inference with the operator's library, so that value_info declares the results"
    return "export the model with another opset, or run onnx.shape_inference on it to keep the node as it is"


def _restore(node: NodeProto, reader: TensorReader) -> None:
    """Put stored values back that were cut out of the message."""
    for attribute in node.attribute:
        reader.restore_list(attribute)
        stored: list[TensorProto] = [*attribute.tensors]
        if attribute.HasField("t"):
            stored.append(attribute.t)
        for sparse in (
            *attribute.sparse_tensors,
            *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
        ):
            stored += [sparse.values, sparse.indices]
        for tensor in stored:
            reader.restore(tensor)
    for graph in subgraphs(node):
        _restore_graph(graph, reader)


def _restore_graph(graph: GraphProto, reader: TensorReader) -> None:
    for tensor in graph.initializer:
        reader.restore(tensor)
    for sparse in graph.sparse_initializer:
        reader.restore(sparse.values)
        reader.restore(sparse.indices)
    for node in graph.node:
        _restore(node, reader)
