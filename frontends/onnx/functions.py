"""Calls of functions: the model's own, and those by which onnx defines an operator in terms of others.

Nothing is copied or renamed: a call gets a scope of its own, in which the formal inputs stand for the caller's tensors,
attribute references read the call's attributes, and operators mean what the function's own operator sets say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx
from onnx import FunctionProto, NodeProto

from uair.frontends.onnx.attributes import Attributes
from uair.frontends.onnx.errors import OnnxDuplicateError, OnnxFunctionError
from uair.frontends.onnx.order import subgraphs
from uair.frontends.onnx.table import schema
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ir.types import Container, TensorType

FunctionKey = tuple[str, str, str]  # domain, name, overload

MAX_CALL_DEPTH = 64
"""Functions that call functions; the deepest seen in exports is 6 (PyTorch modules as functions)."""

MAX_EXPANDED_NODES = 1_000_000
"""Nodes that all calls together may give: functions that call each other twice double with every level."""

FREE_EXPANSION = 20_000
MAX_EXPANSION = 200
"""Beyond so many nodes, how often each stored node may occur on average: as often as the layers of a model are one
function, and not more, or a small file keeps the reader busy for hours."""


def default_domain(domain: str) -> str:
    """The domain with the two spellings of the default one made one."""
    return "" if domain == "ai.onnx" else domain


def local_functions(functions: Iterable[FunctionProto]) -> dict[FunctionKey, FunctionProto]:
    """The model's functions.

    Raises:
        OnnxDuplicateError: one is defined twice.
    """
    found: dict[FunctionKey, FunctionProto] = {}
    for function in functions:
        key = (default_domain(function.domain), function.name, function.overload)
        if key in found:
            raise OnnxDuplicateError(f"function {function.name!r} of domain {function.domain!r} is defined twice")
        found[key] = function
    return found


def key_of(node: NodeProto) -> FunctionKey:
    """The function that a node calls, if there is one of that name."""
    return default_domain(node.domain), node.op_type, node.overload


def resolved(node: NodeProto, attributes: Attributes) -> NodeProto:
    """A copy of a node, also of those in its subgraphs, with references to a function's attributes replaced.

    Args:
        node: the node.
        attributes: its attributes, references replaced.
    """
    result = NodeProto()
    result.CopyFrom(node)
    _resolve(result, attributes)
    return result


def _resolve(node: NodeProto, attributes: Attributes) -> None:
    del node.attribute[:]
    for name, attribute in attributes.items():
        node.attribute.add().CopyFrom(attribute)
        node.attribute[-1].name = name
    for graph in subgraphs(node):
        for inner in graph.node:
            if any(a.ref_attr_name for a in inner.attribute) or any(True for _ in subgraphs(inner)):
                _resolve(inner, Attributes(inner.attribute, attributes.describe, attributes.reader, attributes.caller))


def definition(
    node: NodeProto, domain: str, opset: int, operands: Sequence[Tensor | None], types: Mapping[str, int]
) -> FunctionProto | None:
    """The function by which onnx defines an operator, in the newest operator set not above the model's.

    Args:
        node: the node.
        domain: of its operator.
        opset: the operator set that the model imports for it.
        operands: its operands, whose types some definitions depend on.
        types: ONNX's numbers of element types by their text form.
    """
    found: Any = schema(domain, node.op_type, opset)
    if found is None or domain:
        return None  # bodies of other domains import operator sets that the model may not name
    if found.has_function:
        version = _newest(found.function_opset_versions, opset)
        if version is not None:
            return _parsed(found.get_function_with_opset_version(version))
    if found.has_context_dependent_function:
        version = _newest(found.context_dependent_function_opset_versions, opset)
        if version is not None:
            described = [_type_proto(t, types).SerializeToString() for t in operands]
            body = found.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), described)
            if body:
                return _parsed(body)
    return None


def _parsed(body: bytes) -> FunctionProto:
    function: FunctionProto = FunctionProto.FromString(body)
    return function


def _newest(versions: Sequence[int], opset: int) -> int | None:
    return max((v for v in versions if v <= opset), default=None)


def _type_proto(tensor: Tensor | None, types: Mapping[str, int]) -> onnx.TypeProto:
    proto = onnx.TypeProto()
    if tensor is not None:
        _put(proto, tensor.type, types)
    return proto


def _put(proto: onnx.TypeProto, t: TensorType, types: Mapping[str, int]) -> None:
    """Write a type into a message."""
    if not t.containers:
        proto.tensor_type.elem_type = types[str(t.dtype)]
        if t.shape is not None:
            proto.tensor_type.shape.SetInParent()
            for extent in t.shape:
                dim = proto.tensor_type.shape.dim.add()
                if isinstance(extent, int):
                    dim.dim_value = extent
    elif t.containers[0] is Container.SEQUENCE:
        _put(proto.sequence_type.elem_type, t.inner, types)
    elif t.containers[0] is Container.OPTIONAL:
        _put(proto.optional_type.elem_type, t.inner, types)
    else:
        key = DType.STRING if t.containers[0] is Container.MAP_STRING else DType.I64
        proto.map_type.key_type = types[str(key)]
        _put(proto.map_type.value_type, t.inner, types)


def check_expansion(nodes: Iterable[NodeProto], functions: Mapping[FunctionKey, FunctionProto]) -> None:
    """Refuse functions that would grow without measure, before anything is done for them.

    Raises:
        OnnxFunctionError: all calls together give too many nodes.
    """
    counts: dict[FunctionKey, int] = {}
    stored = sum(len(f.node) for f in functions.values()) + len(list(nodes))
    most = min(MAX_EXPANDED_NODES, FREE_EXPANSION + MAX_EXPANSION * stored)

    def count(inner: Iterable[NodeProto], depth: int) -> int:
        total = 0
        for node in inner:
            key = key_of(node)
            if key in functions and key not in counts and depth <= MAX_CALL_DEPTH:
                counts[key] = 0  # a recursive call, which is refused when it is read
                counts[key] = count(functions[key].node, depth + 1)
            total += 1 + counts.get(key, 0)
            total += sum(count(graph.node, depth) for graph in subgraphs(node))
        return total

    if functions and count(nodes, 0) > most:
        raise OnnxFunctionError(
            f"function calls multiply {stored} nodes to more than {most}",
            hint="functions that call each other several times grow without measure",
        )


def check_call(function: FunctionProto, node: NodeProto, stack: Sequence[FunctionKey], place: str) -> None:
    """Refuse a call that cannot be inlined.

    Raises:
        OnnxFunctionError: the function calls itself, calls are nested too deep, or too many operands are given.
    """
    key = key_of(node)
    if key in stack:
        circle = " -> ".join(repr(name) for _, name, _ in [*stack[stack.index(key) :], key])
        raise OnnxFunctionError(
            f"function {function.name!r} calls itself: {circle}", place=place, hint="ONNX functions cannot be recursive"
        )
    if len(stack) >= MAX_CALL_DEPTH:
        raise OnnxFunctionError(f"function calls are nested more than {MAX_CALL_DEPTH} deep", place=place)
    if len(node.input) > len(function.input) or len(node.output) > len(function.output):
        raise OnnxFunctionError(
            f"function {function.name!r} takes {len(function.input)} inputs and gives {len(function.output)} outputs, "
            f"the call has {len(node.input)} and {len(node.output)}",
            place=place,
        )
