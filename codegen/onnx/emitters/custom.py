"""Operators that UAIR does not know, written back as they were read."""

from __future__ import annotations

import base64
import binascii

from google.protobuf.message import DecodeError
from onnx import NodeProto

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ops.custom import Opaque

EMITTERS = Emitters()


@EMITTERS.of(Opaque)
def opaque(e: Emission, op: Opaque) -> None:
    """The source node with its operands and results renamed."""
    node = source_node(op)
    names = [e.graph.name(t) for t in e.node.outputs]
    del node.input[:]
    del node.output[:]
    node.input.extend(n or "" for n in e.operands)
    node.output.extend(names)
    if op.domain not in ("", "ai.onnx"):
        e.graph.domains[op.domain] = e.graph.options.domains.get(op.domain, 1)
    e.graph.append(node, e.node.name or names[0])


def source_node(op: Opaque) -> NodeProto:
    """The node that the payload holds.

    Raises:
        NotExpressible: the payload is not that of an ONNX node.
    """
    try:
        node = NodeProto.FromString(base64.b64decode(op.payload, validate=True))
    except (binascii.Error, DecodeError):
        node = NodeProto()
    if node.op_type != op.kind:
        raise NotExpressible(
            f"the unknown operator {op.domain}::{op.kind} does not come from an ONNX model and cannot be written to one"
        )
    del node.metadata_props[:]
    node.doc_string = ""
    return node
