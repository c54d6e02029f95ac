"""Operators that UAIR does not know, written back as they were read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, NodeProto, defs

from uair.codegen.onnx.schema import NotExpressible, domain_version
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ops.custom import Opaque

EMITTERS = Emitters()
DEFAULT_DOMAINS = ("", "ai.onnx")


@EMITTERS.of(Opaque)
def opaque(e: Emission, op: Opaque) -> None:
    """The source node with its operands, its results and what its subgraphs use renamed.

    Operands are the node's inputs that are not left out, then what each subgraph takes from around it.
    """
    node = source_node(op)
    operands = iter([e.x(i) for i in range(len(e.node.inputs))])
    results = iter([e.graph.name(t) for t in e.node.outputs])
    try:
        renamed = [next(operands) if name else "" for name in node.input]
        outer = {name: next(operands) for graph in subgraphs(node) for name in captures(graph)}
        given = [next(results) if name else "" for name in node.output]
    except StopIteration:
        raise NotExpressible(f"{op.domain}::{op.kind} has not the operands of the node it was read from") from None
    for inner in subgraphs(node):
        rename(e, inner, outer)
    del node.input[:]
    del node.output[:]
    node.input.extend(renamed)
    node.output.extend(given)
    require_versions(e, node)
    e.graph.append(node, e.node.name or given[0])


def source_node(op: Opaque) -> NodeProto:
    """The node that the payload holds.

    Raises:
        NotExpressible: the payload is not that of an ONNX node.
    """
    node = NodeProto()
    try:
        node.ParseFromString(base64.b64decode(op.payload, validate=True))
    except (binascii.Error, DecodeError):
        node.Clear()
    if node.op_type != op.kind:
        raise NotExpressible(
            f"the unknown operator {op.domain}::{op.kind} does not come from an ONNX model and cannot be written to one"
        )
    del node.metadata_props[:]
    node.doc_string = ""
    return node


def require_versions(e: Emission, node: NodeProto) -> None:
    """Import the operator sets of a node and of the nodes in its subgraphs.

    Raises:
        NotExpressible: one of ONNX's own operators has another meaning at the opset that is written.
    """
    known = e.graph.options.domains
    for inner in nested(node):
        domain = "" if inner.domain in DEFAULT_DOMAINS else inner.domain
        if domain and not standard(domain, e.opset):
            e.graph.domains[domain] = known.get(domain, 1)
            continue
        written = e.graph.version(domain)
        source = next((known[d] for d in (DEFAULT_DOMAINS if not domain else (domain,)) if d in known), written)
        if since(inner.op_type, source, domain) != since(inner.op_type, written, domain):
            raise NotExpressible(
                f"{inner.op_type} was kept as in opset {source} and has another form at opset {written}",
                hint=f"write the model at opset {source}" if not domain else f"it needs {domain} {source}",
            )


def standard(domain: str, opset: int) -> bool:
    """Whether a domain is one that ONNX itself had at an opset."""
    try:
        return domain_version(domain, opset) > 0
    except NotExpressible:
        return False


def since(op_type: str, opset: int, domain: str) -> int:
    """The opset that defined the form of an operator that is valid at `opset`; 0 when there is none."""
    try:
        return int(defs.get_schema(op_type, opset, domain).since_version)
    except defs.SchemaError:
        return 0


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def nested(node: NodeProto) -> Iterator[NodeProto]:
    """The node and all nodes in its subgraphs."""
    yield node
    for graph in subgraphs(node):
        for inner in graph.node:
            yield from nested(inner)


def own_names(graph: GraphProto) -> dict[str, None]:
    """Names that a subgraph defines."""
    names = dict.fromkeys(v.name for v in graph.input)
    names.update(dict.fromkeys(t.name for t in graph.initializer))
    names.update(dict.fromkeys(t.values.name for t in graph.sparse_initializer))
    names.update(dict.fromkeys(name for node in graph.node for name in node.output if name))
    return names


def captures(graph: GraphProto) -> dict[str, None]:
    """Names that a subgraph takes from around it, in order of use."""
    own = own_names(graph)
    used: dict[str, None] = {}
    for node in graph.node:
        used.update(dict.fromkeys(name for name in node.input if name))
        for inner in subgraphs(node):
            used.update(captures(inner))
    used.update(dict.fromkeys(v.name for v in graph.output))
    return {name: None for name in used if name not in own}


def rename(e: Emission, graph: GraphProto, outer: Mapping[str, str]) -> None:
    """Rename what a subgraph uses as `outer` says, and what it defines to names that nobody else has."""
    names = {**outer, **{name: e.graph.new_name(name) for name in own_names(graph)}}
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = names[sparse.values.name]
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in subgraphs(node):
            rename(e, inner, names)
