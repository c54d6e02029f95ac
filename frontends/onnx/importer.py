"""The walk over an ONNX graph that builds a Module."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import cast

import attrs
import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    ValueInfoProto,
)

from uair.errors import ModelWarning, UairError
from uair.frontends.common.builder import Builder
from uair.frontends.common.errors import MALFORMED, raise_placed
from uair.frontends.onnx import functions
from uair.frontends.onnx.attributes import Attributes
from uair.frontends.onnx.errors import (
    OnnxDuplicateError,
    OnnxFunctionError,
    OnnxModelError,
    OnnxOperatorError,
    OnnxVersionError,
)
from uair.frontends.onnx.functions import FunctionKey, default_domain
from uair.frontends.onnx.interface import (
    SymbolNames,
    ambiguous_names,
    contradicts,
    declared_type,
    in_words,
    input_type,
    reconcile,
    sizes_by_axis,
)
from uair.frontends.onnx.node import NotHandled, OnnxNode
from uair.frontends.onnx.opaque import keep
from uair.frontends.onnx.order import missing, ordered
from uair.frontends.onnx.table import handlers, schema, signature
from uair.frontends.onnx.tensors import DTYPES, TensorReader
from uair.frontends.onnx.text import check_function, check_graph
from uair.ir.dims import InferredShape
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.inference import number_unknowns
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops.base import Operator

_MAX_VERSION = (1 << 31) - 1

TYPE_NUMBERS = {str(dtype): number for number, dtype in DTYPES.items()}


@attrs.define(eq=False)
class Scope:
    """Names of one graph, subgraph or function call.

    Attributes:
        graph: where its nodes go.
        opsets: version of the operator set by domain.
        where: the graph or function in words.
        prefix: of names from here; a call's body is named after the call.
        attributes: of the call, in a function's body.
        stack: the functions that are being called.
        outer: the enclosing graph's scope, in a subgraph.
        declared: types that the model declares for values defined here.
        values: what the names stand for; None for an operand that a call leaves out.
    """

    graph: Graph
    opsets: Mapping[str, int]
    where: str
    prefix: str = ""
    attributes: Attributes | None = None
    stack: tuple[FunctionKey, ...] = ()
    outer: Scope | None = None
    declared: dict[str, ValueInfoProto] = attrs.Factory(dict[str, ValueInfoProto])
    values: dict[str, Tensor | None] = attrs.Factory(dict[str, "Tensor | None"])

    def knows(self, name: str) -> bool:
        """Whether a name is defined here or around."""
        return name in self.values or (self.outer is not None and self.outer.knows(name))

    def get(self, name: str, place: str = "") -> Tensor | None:
        """What a name stands for; `place` is for the message, where the caller does not add it.

        Raises:
            OnnxMissingValueError: nothing defines it.
        """
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        raise missing(name, place)

    def define(self, name: str, tensor: Tensor, place: str = "") -> None:
        """Let a name stand for a tensor; `place` is for the message, where the caller does not add it.

        Raises:
            OnnxDuplicateError: it stands for another one.
        """
        if name in self.values:
            raise OnnxDuplicateError(
                f"{name!r} is defined twice", place=place, hint="every value of an ONNX graph is defined once"
            )
        self.values[name] = tensor

    def describe(self, proto: NodeProto) -> str:
        """A node in words, for messages."""
        domain = default_domain(proto.domain)
        name = (
            repr(self.prefix + proto.name)
            if proto.name
            else f"that gives {', '.join(map(repr, proto.output)) or 'nothing'}"
        )
        kind = f"{domain}.{proto.op_type}" if domain else proto.op_type
        return f"ONNX node {name} ({kind}, opset {self.opsets.get(domain, 'not imported')}) in {self.where}"


class Importer:
    """Imports one model.

    Attributes:
        graph: the graph being built.
        reader: of stored tensors.
        names: of dimensions.
    """

    def __init__(
        self, model: ModelProto, reader: TensorReader, shapes: Sequence[Mapping[str, Sequence[int | None]]] = ()
    ) -> None:
        """Take the model, and the shapes that its inputs will have, in turn where there are several."""
        self.model = model
        self.reader = reader
        self.graph = Graph("main")
        self.sizes = sizes_by_axis(model.graph.input, shapes)
        self.ambiguous = ambiguous_names(model.graph.input, self.sizes)
        self.names = SymbolNames(self.ambiguous)
        self.functions = functions.local_functions(model.functions)
        self.opsets = operator_sets(model.opset_import, model.ir_version)
        self.handlers = handlers()
        self.builder = Builder()
        self.undecided: dict[Tensor, frozenset[int]] = {}
        self.expanded = 0
        self.contradicted: list[str] = []

    def run(self) -> Module:
        """The module of the model's graph.

        Raises:
            UairError: the model is wrong or cannot be expressed; the error names the node.
        """
        proto = self.model.graph
        check_graph(proto, "the graph")
        functions.check_expansion(proto.node, self.functions)
        where = f"graph {proto.name!r}" if proto.name else "the graph"
        scope = Scope(self.graph, self.opsets, where, declared=_declarations(proto))
        self._initializers(scope, proto)
        self._inputs(scope, proto.input)
        self._body(scope, proto)
        module = Module(proto.name or "model", {"main": self.graph})
        number_unknowns(module)
        if self.contradicted:
            more = len(self.contradicted) - 1
            others = f" (and so are {more} other shapes)" if more else ""
            warnings.warn(f"{self.contradicted[0]}{others}: what the operators compute holds", ModelWarning, 2)
        for name, by_size in self.ambiguous.items():
            said = "; ".join(
                f"{in_words(sizes)} of {', '.join(map(repr, inputs))}" for sizes, inputs in by_size.items()
            )
            warnings.warn(f"the model calls different sizes {name!r} ({said}): they are told apart", ModelWarning, 2)
        return module

    # ------------------------------------------------------------------ used by nodes
    def emit(self, source: OnnxNode, op: Operator, operands: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """Append a canonical node; operands that are known become attributes.

        Raises:
            UairError: the operands do not fit; the place is the source node.
        """
        name = source.proto.name
        node, types = self.builder.append(
            source.scope.graph,
            op,
            operands,
            name=source.scope.prefix + name if name else "",
            loc=source.loc,
            decide=functools.partial(self._decided, source),
        )
        for tensor, inferred in zip(node.outputs, types, strict=True):
            if tensor.type is not inferred:
                self.undecided[tensor] = _undecided(inferred)
        return node.outputs

    def subgraph(self, source: OnnxNode, proto: GraphProto, inputs: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
        """Import a subgraph's nodes in place of the node that holds it, on the given inputs; its outputs."""
        scope = self._inner(source, proto, source.scope.graph)
        self._initializers(scope, proto)
        scope.values.update(zip((value.name for value in proto.input), inputs, strict=True))
        self._nodes(scope, proto.node)
        return tuple(self._result(scope, value.name, f"outputs of {scope.where}") for value in proto.output)

    def region(self, source: OnnxNode, proto: GraphProto, types: Sequence[TensorType] = ()) -> Graph:
        """Import a subgraph as a graph of its own, for an attribute; `types` are those of its inputs.

        Raises:
            UairError: the subgraph is wrong or cannot be expressed.
        """
        scope = self._inner(source, proto, Graph(proto.name or source.op_type))
        for value, given in zip(proto.input, types, strict=True):
            scope.define(value.name, scope.graph.add_input(value.name, given), f"input of {scope.where}")
        self._initializers(scope, proto)
        self._body(scope, proto)
        return scope.graph

    def _inner(self, source: OnnxNode, proto: GraphProto, graph: Graph) -> Scope:
        """The scope of a subgraph whose nodes go into `graph`."""
        scope = Scope(
            graph,
            source.scope.opsets,
            f"{proto.name or 'a subgraph'!r} of {source.place}",
            prefix=f"{source.scope.prefix}{source.proto.name or source.op_type}/",
            attributes=source.scope.attributes,
            stack=source.scope.stack,
            outer=source.scope,
            declared=_declarations(proto),
        )
        check_graph(proto, scope.where)
        self._count(len(proto.node), source.place)
        return scope

    def _body(self, scope: Scope, proto: GraphProto) -> None:
        """Import the nodes and outputs of a graph into the scope's.

        Raises:
            OnnxDuplicateError: the model lists an output twice; a subgraph, whose outputs count by place, may do so.
        """
        self._nodes(scope, proto.node)
        for value in proto.output:
            name = value.name
            if name in scope.graph.output_names:
                if scope.outer is None:
                    raise OnnxDuplicateError(f"output {name!r} is listed twice", place=scope.where)
                name = _another(name, scope.graph.output_names)
            scope.graph.add_output(name, self._result(scope, value.name, f"outputs of {scope.where}"))

    # ------------------------------------------------------------------ graph
    def _initializers(self, scope: Scope, proto: GraphProto) -> None:
        for tensor in proto.initializer:
            place = f"initializer {tensor.name!r} of {scope.where}"
            scope.define(tensor.name, constant(self.reader.data(tensor, place), scope.prefix + tensor.name), place)
        for sparse in proto.sparse_initializer:
            name = sparse.values.name
            place = f"sparse initializer {name!r} of {scope.where}"
            scope.define(name, constant(self.reader.sparse(sparse, place), scope.prefix + name), place)

    def _inputs(self, scope: Scope, inputs: Iterable[ValueInfoProto]) -> None:
        seen: set[str] = set()
        for value in inputs:
            place = f"input {value.name!r} of {scope.where}"
            if not value.name or value.name in seen:
                raise OnnxDuplicateError(
                    "an input has no name" if not value.name else "it is listed twice", place=place
                )
            seen.add(value.name)
            if scope.values.get(value.name) is not None:
                continue  # an initializer: the model carries a value for it
            declared = input_type(value, self.names, place, self.sizes[value.name])
            if declared is None:
                raise OnnxModelError(f"{value.name!r} has no type", place=place, hint="export the model again")
            scope.define(value.name, self.graph.add_input(value.name, declared), place)

    def _nodes(self, scope: Scope, nodes: Sequence[NodeProto]) -> None:
        """Import nodes in order; what is wrong with one is told with its place, which is put in words only then."""
        proto: NodeProto | None = None
        try:
            for proto in ordered(nodes, scope.knows, scope.describe):
                self._node(scope, proto)
        except (UairError, *MALFORMED) as error:
            if proto is None:
                raise
            inner = "ONNX node" if scope.stack else ""
            place, parts = scope.describe(proto), "attributes or operands"
            raise_placed(error, place, proto.op_type, parts=parts, inner=inner, kind=OnnxOperatorError)

    def _node(self, scope: Scope, proto: NodeProto) -> None:
        op_type, domain = proto.op_type, default_domain(proto.domain)
        inputs = [scope.get(name) if name else None for name in proto.input]
        describe = functools.partial(scope.describe, proto)
        attributes = Attributes(proto.attribute, describe, self.reader, scope.attributes)
        local = self.functions.get(functions.key_of(proto)) if self.functions else None
        if local is not None:
            attributes.check_names([*local.attribute, *(a.name for a in local.attribute_proto)], local.name)
            self._bind(scope, proto, self._call(scope, proto, local, inputs=inputs, attributes=attributes))
            return
        opset = scope.opsets.get(domain)
        if opset is None:
            if not domain:
                raise OnnxVersionError("the model does not say which operator set it uses")
            opset = 1
        version, allowed = signature(domain, op_type, opset)
        if allowed is not None:
            attributes.check_names(allowed, op_type)
        loc = Location.of(scope.prefix + (proto.name or next(filter(None, proto.output), "")), op_type)
        node = OnnxNode(
            self,
            scope,
            proto,
            domain=domain,
            opset=opset,
            version=version,
            inputs=inputs,
            attributes=attributes,
            loc=loc,
        )
        self._bind(scope, proto, self._results(node))

    def _results(self, node: OnnxNode) -> Sequence[Tensor | None]:
        """The results of a node: by its handler, else by its operator's own definition, else as an opaque node."""
        reason: NotHandled | None = None
        handler = self.handlers.get((node.domain, node.op_type, node.version))
        if handler is not None:
            try:
                results = handler(node)
                return (results,) if isinstance(results, Tensor) else results
            except NotHandled as error:
                reason = error
        resolved = functions.resolved(node.proto, node.attributes)
        body = functions.definition(resolved, node.domain, node.opset, node.inputs, TYPE_NUMBERS)
        if body is not None and functions.key_of(node.proto) not in node.scope.stack:
            complete = node.attributes.with_defaults(_schema_defaults(node))
            return self._call(node.scope, node.proto, body, inputs=node.inputs, attributes=complete)
        return keep(node, resolved, reason)

    def _call(
        self,
        scope: Scope,
        proto: NodeProto,
        function: FunctionProto,
        *,
        inputs: Sequence[Tensor | None],
        attributes: Attributes,
    ) -> Sequence[Tensor | None]:
        """Import a function's body for one call; its outputs."""
        place = attributes.place
        functions.check_call(function, proto, scope.stack, place)
        check_function(function, place)
        self._count(len(function.node), place)
        declared = {value.name: value for value in function.value_info}
        for formal, name in zip(function.output, proto.output, strict=False):
            if name in scope.declared:
                declared.setdefault(formal, scope.declared[name])
        body = Scope(
            scope.graph,
            operator_sets(function.opset_import, self.model.ir_version, self.opsets),
            f"function {function.name!r} called by {place}",
            prefix=f"{scope.prefix}{proto.name or proto.op_type}/",
            attributes=attributes.with_defaults({a.name: a for a in function.attribute_proto}),
            stack=(*scope.stack, functions.key_of(proto)),
            declared=declared,
        )
        if len(set(function.input)) < len(function.input):
            raise OnnxDuplicateError(f"function {function.name!r} has two inputs of one name", place=place)
        given = [*inputs, *[None] * (len(function.input) - len(inputs))]
        body.values.update(zip(function.input, given, strict=True))
        self._nodes(body, function.node)
        wanted = [i < len(proto.output) and bool(proto.output[i]) for i in range(len(function.output))]
        return [
            body.get(name, f"outputs of {body.where}") if used else None
            for name, used in zip(function.output, wanted, strict=True)
        ]

    def _count(self, nodes: int, place: str) -> None:
        self.expanded += nodes
        if self.expanded > functions.MAX_EXPANDED_NODES:
            raise OnnxFunctionError(
                f"function calls multiply to more than {functions.MAX_EXPANDED_NODES} nodes",
                place=place,
                hint="functions that call each other several times grow without measure",
            )

    # ------------------------------------------------------------------ values
    def _bind(self, scope: Scope, proto: NodeProto, results: Sequence[Tensor | None]) -> None:
        for i, name in enumerate(proto.output):
            if not name:
                continue
            tensor = results[i] if i < len(results) else None
            if tensor is None:
                raise OnnxOperatorError(f"{proto.op_type} has no result {i} ({name!r})")
            scope.define(name, tensor)
            if not tensor.name:
                tensor.name = scope.prefix + name
            value = scope.declared.get(name)
            if value is not None and tensor.producer is not None:
                place = scope.describe(proto)
                undecided = self.undecided.get(tensor, frozenset())
                declared = declared_type(value, self.names, place, tensor.type if tensor.type.is_static else None)
                if declared is not None:
                    if contradicts(tensor.type, declared):
                        self.contradicted.append(f"the model declares {name!r} as {declared}, but it is {tensor.type}")
                    tensor.type = reconcile(tensor.type, declared, undecided, self.names, name, place)

    def _result(self, scope: Scope, name: str, place: str) -> Tensor:
        tensor = scope.get(name, place)
        if tensor is None:
            raise missing(name, place)
        return tensor

    def _decided(self, source: OnnxNode, inferred: TensorType) -> TensorType:
        """A result type of a node as `decided` names it."""
        if not _undecided(inferred):
            return inferred
        return self.decided(inferred, source.scope.prefix + (next(iter(source.proto.output), "") or source.op_type))

    def decided(self, inferred: TensorType, value: str) -> TensorType:
        """An inferred type with symbols for the extents that only the data decide; itself when there are none."""
        undecided = _undecided(inferred)
        if not undecided:
            return inferred
        shape = tuple(self.names.unnamed(value, i) if i in undecided else d for i, d in enumerate(inferred.dims))
        return TensorType(inferred.dtype, shape)


def _undecided(inferred: TensorType) -> frozenset[int]:
    """Axes whose extent `infer` left open."""
    shape = cast("InferredShape | None", inferred.shape)
    if shape is None or None not in shape or inferred.containers:
        return frozenset()
    return frozenset(i for i, d in enumerate(shape) if d is None)


def _declarations(proto: GraphProto) -> dict[str, ValueInfoProto]:
    """The types that a graph declares for values that its nodes define."""
    return {value.name: value for value in (*proto.value_info, *proto.output)}


def _another(name: str, taken: Collection[str]) -> str:
    return next(other for i in count(2) if (other := f"{name}_{i}") not in taken)


def _schema_defaults(node: OnnxNode) -> dict[str, AttributeProto]:
    found = schema(node.domain, node.op_type, node.opset)
    if found is None:
        return {}
    return {a.name: a.default_value for a in found.attributes.values() if a.default_value.name}


def _check_version(domain: str, version: int) -> None:
    """Refuse an operator set that onnx does not know, or that cannot be."""
    newest = _MAX_VERSION if domain else onnx.defs.onnx_opset_version()
    if not (0 if domain else 1) <= version <= newest:
        raise OnnxVersionError(
            f"operator set {domain[:80] or 'ai.onnx'!r} has version {version}; "
            f"onnx {onnx.__version__} knows 1 to {newest}",
            hint="upgrade onnx, or export the model with an older operator set",
        )


def operator_sets(
    imports: Iterable[OperatorSetIdProto], ir_version: int, fallback: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Version of the operator set by domain.

    Args:
        imports: `OperatorSetIdProto` messages of a model or a function.
        ir_version: of the model; before version 3 there was one operator set.
        fallback: for a function that imports none: the model's.

    Raises:
        OnnxVersionError: a domain is imported in two versions or in one that is not known, or none is imported.
    """
    found: dict[str, int] = {}
    for entry in imports:
        domain, version = default_domain(entry.domain), entry.version
        _check_version(domain, version)
        if found.setdefault(domain, version) != version:
            raise OnnxVersionError(f"operator set {domain or 'ai.onnx'!r} is imported in two versions")
    if not found:
        if fallback:
            return dict(fallback)
        if ir_version < 3:
            return {"": 1}
        raise OnnxVersionError("the model does not say which operator sets it uses", hint="export the model again")
    return found
