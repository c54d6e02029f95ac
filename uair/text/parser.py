"""Reading modules from text.

The grammar gives records of tokens; the builder makes tensors and nodes of them. Where the text states a type, nothing
is inferred: what the text says is taken as given, and the verifier judges it afterwards.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import attrs
import lark

from uair.context import Context
from uair.errors import UairError, UnknownNameError
from uair.ir.data import Data
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.location import UNKNOWN, Location, Source
from uair.ir.module import AppliedPass, Module, Origin
from uair.ir.types import TensorType
from uair.ops.base import Operator, Return
from uair.text.errors import (
    TextError,
    TextFileError,
    TextLimitError,
    TextNameError,
    TextSyntaxError,
    TextValueError,
    ValueFault,
    WeightsError,
    place_error,
)
from uair.text.names import canonical, hint_of
from uair.text.printer import VERSION
from uair.text.values import TOO_EARLY, make_constant, make_operator, near, parse_value, string, syntax_fault
from uair.text.weights import Weights, open_weights

MAX_NESTING = 32
"""Graphs in attributes of nodes of graphs in attributes of nodes ..."""
_PLACEHOLDER = TensorType(DType.F32, None)


class NodeRecord(NamedTuple):
    """A node as written."""

    results: list[lark.Token] | None
    op: lark.Token
    operands: list[Any]
    attributes: lark.Token | None
    regions: list[Any] | None
    types: list[lark.Token] | None
    loc: tuple[list[Any], list[lark.Token]] | None
    label: lark.Token | None


class GraphRecord(NamedTuple):
    """A graph as written; `key` is its name in the module, or the attribute that holds it."""

    key: lark.Token
    name: lark.Token | None
    inputs: list[InputRecord]
    outputs: list[OutputRecord]
    nodes: list[NodeRecord]


class InputRecord(NamedTuple):
    """An input as written."""

    interface: lark.Token | None
    value: lark.Token
    type: lark.Token


class OutputRecord(NamedTuple):
    """An output as written."""

    interface: lark.Token | None
    value: Any
    type: lark.Token | None


class Outside(NamedTuple):
    """A value that no graph of the text defines."""

    value: lark.Token
    type: lark.Token


class ConstantRecord(NamedTuple):
    """A constant as written."""

    name: lark.Token
    literal: lark.Token
    type: lark.Token


class PairRecord(NamedTuple):
    """A line of metadata or a version."""

    keyword: lark.Token
    key: lark.Token
    value: lark.Token


class AppliedRecord(NamedTuple):
    """A pass that was applied."""

    spec: lark.Token
    changed: lark.Token


class ModuleRecord(NamedTuple):
    """A module as written."""

    version: lark.Token | None
    name: lark.Token | None
    header: lark.Token | None
    lines: list[Any]


class _Records(lark.Transformer[lark.Token, Any]):
    """Makes records while the text is parsed."""

    def start(self, children: list[Any]) -> ModuleRecord:
        version, module = children
        made: ModuleRecord = module._replace(version=version)
        return made

    def version(self, children: list[lark.Token]) -> lark.Token:
        return children[0]

    def module(self, children: list[Any]) -> ModuleRecord:
        return ModuleRecord(None, children[0], children[1], children[2:])

    def sketch(self, children: list[Any]) -> ModuleRecord:
        return ModuleRecord(None, None, None, children)

    def returned(self, children: list[Any]) -> list[Any]:
        return children

    def pair(self, children: list[Any]) -> PairRecord:
        return PairRecord(*children)

    def applied(self, children: list[Any]) -> AppliedRecord:
        return AppliedRecord(*children)

    def constant(self, children: list[Any]) -> ConstantRecord:
        return ConstantRecord(*children)

    def graph(self, children: list[Any]) -> GraphRecord:
        return GraphRecord(*children)

    def region(self, children: list[Any]) -> GraphRecord:
        return GraphRecord(*children)

    def input(self, children: list[Any]) -> InputRecord:
        return InputRecord(*children)

    def output(self, children: list[Any]) -> OutputRecord:
        return OutputRecord(*children)

    def outside(self, children: list[Any]) -> Outside:
        return Outside(*children)

    def node(self, children: list[Any]) -> NodeRecord:
        return NodeRecord(*children[:-1], *(children[-1] or (None, None)))

    def label(self, children: list[lark.Token]) -> lark.Token:
        return children[0]

    def located(self, children: list[Any]) -> tuple[Any, Any]:
        return children[0], children[1] if len(children) > 1 else None

    def labelled(self, children: list[Any]) -> tuple[Any, Any]:
        return None, children[0]

    def source(self, children: list[Any]) -> list[Any]:
        return children

    def loc(self, children: list[Any]) -> tuple[list[Any], list[lark.Token]]:
        return children[:-1], children[-1] or []

    def _children(self, children: list[Any]) -> list[Any]:
        return children

    interface = results_of = nodes = results = operands = regions = types = made_by = _children


_WORDS = {
    "NAME": "an operator",
    "STRING": "a string",
    "VALUE": "a value (%name)",
    "CONSTANT": "a name (@name)",
    "TYPE": "a type",
    "ATTRIBUTES": "attributes ({name = value})",
    "LITERAL": "a constant's value",
    "NUMBER": "a number",
    "WORD": "a name",
    "$END": "the end",
}


@functools.cache
def _grammar() -> lark.Lark:
    return lark.Lark.open(
        "grammar.lark", rel_to=__file__, parser="lalr", transformer=_Records(), maybe_placeholders=True
    )


def parse_module(
    text: str,
    *,
    context: Context | None = None,
    weights: Weights | Mapping[str, Data] | str | Path | None = None,
    file: str = "",
) -> Module:
    """The module that a text describes. Nothing is verified beyond what the text itself must hold.

    Args:
        text: a module, or a sketch of one (inputs, nodes, return).
        context: where operators are looked up; the default one knows UAIR's and those of plug-ins.
        weights: the sidecar, opened or by path, or constants by hash.
        file: name for error messages.

    Raises:
        TextError: the text is wrong; with file, line, column and the line itself.
        UnknownNameError: an operator is not known.
        ArityError, TypeInferenceError: operands do not fit a node that is not in generic form.
    """
    try:
        record: Any = _grammar().parse(text)
    except lark.UnexpectedInput as error:
        fault = syntax_fault(error, _grammar(), _WORDS)
        made = TextSyntaxError(fault.message)
        place_error(made, file, text, len(text.rstrip()) if fault.message.startswith(TOO_EARLY) else fault.offset)
        raise made from None
    opened = open_weights(weights) if isinstance(weights, (str, Path)) else weights
    return _Builder(text, file, context or Context.default(), opened).module(record)


def parse_type(text: str) -> TensorType:
    """The tensor type that a text such as `f32[1,3,N]` describes.

    Raises:
        TextError: the text is wrong.
    """
    try:
        found: TensorType = parse_value(text, "type")
    except ValueFault as fault:
        error = fault.kind(fault.message, hint=fault.hint)
        place_error(error, "", text, fault.offset)
        raise error from None
    return found


@attrs.define(eq=False)
class _Scope:
    """The values of one graph and those nested in it; names are unique over all of them.

    Attributes:
        values: by name.
        missing: operands whose value was not defined yet: node, operand index, the name.
        returned: outputs with a type in the text, to be compared at the end.
    """

    values: dict[str, Tensor] = attrs.Factory(dict[str, Tensor])
    missing: list[tuple[Node, int, lark.Token]] = attrs.Factory(list["tuple[Node, int, lark.Token]"])
    returned: list[tuple[Graph, int, lark.Token]] = attrs.Factory(list["tuple[Graph, int, lark.Token]"])
    depth: int = 0


class _Builder:
    """Makes a module of records."""

    def __init__(self, text: str, file: str, context: Context, weights: Weights | Mapping[str, Data] | None) -> None:
        self.text = text
        self.file = file
        self.context = context
        self.weights = weights
        self.constants: dict[str, Tensor] = {}
        self._types: dict[str, TensorType] = {}
        self._operators: dict[tuple[str, str], Operator] = {}
        self._hints: dict[str, str] = {}

    # ------------------------------------------------------------------ errors
    def fail(self, error: UairError, token: lark.Token, offset: int = 0) -> NoReturn:
        """Raise an error with its place in the text."""
        place_error(error, self.file, self.text, (token.start_pos or 0) + offset)
        raise error from None

    def value(self, token: lark.Token, start: str) -> Any:
        """The value in a token.

        Raises:
            TextError: with the place inside of the token.
        """
        try:
            return parse_value(token, start)
        except ValueFault as fault:
            self.fail(fault.kind(fault.message, hint=fault.hint), token, fault.offset)

    # -------------------------------------------------------------------- small
    def type(self, token: lark.Token) -> TensorType:
        found = self._types.get(token)
        if found is None:
            found = self._types[str(token)] = self.value(token, "type")
        return found

    def string(self, token: lark.Token | None) -> str:
        """The content of a quoted or bare token; empty for none."""
        if token is None:
            return ""
        if token[:1] != '"':
            return str(token)
        try:
            return string(token)
        except ValueFault as fault:
            self.fail(fault.kind(fault.message), token, fault.offset - (token.start_pos or 0))

    def hint(self, token: lark.Token) -> str:
        """The hint in a name."""
        found = self._hints.get(token)
        if found is None:
            try:
                found = self._hints[str(token)] = hint_of(token)
            except ValueError as error:
                self.fail(TextSyntaxError(str(error.args[0])), token, 2 + int(error.args[1]))
        return found

    def key(self, token: lark.Token) -> str:
        """The name in its one spelling."""
        if token[1:2] != '"':
            return str(token)
        self.hint(token)  # refuses unknown escapes
        return canonical(token)

    # ------------------------------------------------------------------- module
    def module(self, record: ModuleRecord) -> Module:
        """The module."""
        if record.version is not None and record.version != str(VERSION):
            self.fail(
                TextFileError(
                    f"version {record.version[:20]} of the text form is not known",
                    hint=f"this UAIR reads version {VERSION}",
                ),
                record.version,
            )
        for line in record.lines:
            if isinstance(line, ConstantRecord):
                self.constant(line)
        if record.name is None:
            return Module("module", {"main": self.sketch(record.lines)})
        module = Module(self.hint(record.name), origin=self.origin(record))
        for line in record.lines:
            if isinstance(line, GraphRecord):
                self.top_graph(module, line)
            elif isinstance(line, AppliedRecord):
                module.applied.append(AppliedPass(self.string(line.spec), line.changed == "changed"))
            elif isinstance(line, PairRecord) and line.keyword == "metadata":
                key = self.string(line.key)
                if key in module.metadata:
                    self.fail(TextNameError(f"metadata {key!r} is written twice"), line.key)
                module.metadata[key] = self.string(line.value)
        return module

    def origin(self, record: ModuleRecord) -> Origin:
        """The header and the version lines."""
        fields: dict[str, str] = {}
        for name, value in self.value(record.header, "attributes") if record.header is not None else ():
            known = ["format", "file", "sha256", "producer"]
            assert record.header is not None
            if name not in known or name in fields or getattr(value, "kind", "") != "string":
                error = TextSyntaxError(
                    f"the header takes each of {', '.join(known)} once, as a string", hint=near(name, known)
                )
                self.fail(error, record.header, name.start_pos or 0)
            fields[str(name)] = value.text
        versions = tuple(
            (self.string(line.key), self.string(line.value))
            for line in record.lines
            if isinstance(line, PairRecord) and line.keyword == "version"
        )
        return Origin(**fields, versions=versions)

    def constant(self, record: ConstantRecord) -> None:
        """A constant."""
        key = self.key(record.name)
        if key in self.constants:
            self.fail(TextNameError(f"constant {key} is defined twice"), record.name)
        literal = self.value(record.literal, "constant")
        t = self.type(record.type)
        try:
            data = make_constant(literal, t, self.find_weights)
        except ValueFault as fault:
            self.fail(fault.kind(fault.message, hint=fault.hint), record.literal, fault.offset)
        except WeightsError as error:
            self.fail(error, record.literal)
        self.constants[key] = Tensor(t, self.hint(record.name), data)

    def find_weights(self, sha256: str, dtype: DType, shape: tuple[int, ...]) -> Data:
        """Data of that hash from the sidecar."""
        if self.weights is None:
            raise WeightsError(
                "the constant is in a sidecar, and none was given", hint="read the file with `load`, or pass `weights=`"
            )
        weights = self.weights if isinstance(self.weights, Weights) else Weights(self.weights)
        return weights.get(sha256, dtype, shape)

    # ------------------------------------------------------------------- graphs
    def top_graph(self, module: Module, record: GraphRecord) -> None:
        """A graph of the module."""
        key = self.hint(record.key)
        if key in module.graphs:
            self.fail(TextNameError(f"graph {key!r} is defined twice"), record.key)
        scope = _Scope()
        module.graphs[key] = self.graph(record, self.hint(record.name) if record.name is not None else key, scope)
        self.finish(scope)

    def graph(self, record: GraphRecord, name: str, scope: _Scope) -> Graph:
        """A graph; its values go into `scope`."""
        graph = Graph(name)
        for given in record.inputs:
            self.input(graph, given, scope)
        for node in record.nodes:
            self.node(graph, node, scope)
        for returned in record.outputs:
            self.output(graph, returned, scope)
        return graph

    def sketch(self, lines: list[Any]) -> Graph:
        """The graph of a sketch."""
        graph = Graph("main")
        scope = _Scope()
        last = lines[-1] if lines and isinstance(lines[-1], list) else None
        for line in lines:
            if isinstance(line, InputRecord):
                self.input(graph, line, scope)
            elif isinstance(line, NodeRecord):
                self.node(graph, line, scope)
        for item in last or ():
            self.output(graph, item, scope)
        self.finish(scope)
        if last is None:
            unused = [t for node in graph for t in node.outputs if not t.use_count]
            for tensor in unused:
                graph.add_output(tensor.name, tensor)
        return graph

    def input(self, graph: Graph, record: InputRecord, scope: _Scope) -> None:
        """An input."""
        hint = self.hint(record.value)
        tensor = graph.add_input(
            self.string(record.interface) if record.interface is not None else hint, self.type(record.type)
        )
        tensor.name = hint
        self.define(record.value, tensor, scope)

    def output(self, graph: Graph, record: OutputRecord, scope: _Scope) -> None:
        """An output."""
        index = len(graph.end.inputs)
        tensor = self.operand(record.value, scope)
        assert tensor is not None
        token = record.value.value if isinstance(record.value, Outside) else record.value
        graph.add_output(self.string(record.interface) if record.interface is not None else self.hint(token), tensor)
        if tensor.type is _PLACEHOLDER:
            scope.missing.append((graph.end, index, token))
        if record.type is not None:
            self.type(record.type)
            scope.returned.append((graph, index, record.type))

    def define(self, token: lark.Token, tensor: Tensor, scope: _Scope) -> None:
        """Give a value its name."""
        key = self.key(token)
        if key in scope.values:
            self.fail(TextNameError(f"{key} is defined twice", hint=f"call the other one {key}#1"), token)
        scope.values[key] = tensor

    def finish(self, scope: _Scope) -> None:
        """Give operands that were used before their definition their values, and compare the types of outputs."""
        for node, index, token in scope.missing:
            tensor = scope.values.get(self.key(token))
            if tensor is None:
                self.fail(
                    TextNameError(f"{token} is not defined", hint=near(token, sorted(scope.values)[:1000])), token
                )
            node.set_input(index, tensor)
        for graph, index, token in scope.returned:
            tensor = graph.outputs[index]
            if tensor.type != self.type(token):
                error = TextValueError(
                    f"output {graph.output_names[index]!r} is stated as {token}, the value is {tensor.type}"
                )
                self.fail(error, token)

    def operand(self, written: Any, scope: _Scope) -> Tensor | None:
        """The tensor of an operand as written; a placeholder for one that is not defined yet."""
        if isinstance(written, Outside):
            tensor = Tensor(self.type(written.type), self.hint(written.value))
            self.define(written.value, tensor, scope)
            return tensor
        if written.type == "NONE":
            return None
        key = self.key(written)
        if written.type == "CONSTANT":
            found = self.constants.get(key)
            if found is None:
                error = TextNameError(
                    f"constant {written} is not defined", hint=near(key, sorted(self.constants)[:1000])
                )
                self.fail(error, written)
            return found
        return scope.values.get(key) or Tensor(_PLACEHOLDER)

    # -------------------------------------------------------------------- nodes
    def node(self, graph: Graph, record: NodeRecord, scope: _Scope) -> None:
        """A node, appended to `graph`."""
        op = self.operator(record, scope)
        inputs = [self.operand(o, scope) for o in record.operands]
        results = record.results or []
        types = [self.type(t) for t in record.types] if record.types is not None else None if results else []
        loc = self.location(record.loc) if record.loc is not None else UNKNOWN
        usual = loc.sources[0].name if loc.sources else ""
        name = usual if record.label is None else self.string(record.label)
        hints = [self.hint(r) for r in results]
        self.check_counts(op, record, types)
        try:
            if record.op.type == "STRING":
                node = generic_node(op, inputs, types or [], hints)
            else:
                node = Node(op, inputs, output_types=types, output_names=hints)
        except TextError:
            raise
        except UairError as error:
            self.fail(error, record.op)
        node.name, node.loc = name, loc
        graph.append(node)
        for i, (written, tensor) in enumerate(zip(record.operands, inputs, strict=True)):
            if tensor is None:
                if i < len(node.inputs) and node.inputs[i] is not None:
                    node.set_input(i, None)  # generic form
            elif tensor.type is _PLACEHOLDER:
                if types is None:
                    self.fail(
                        TextNameError(f"{written} is not defined above, so the types of the results must be written"),
                        written,
                    )
                scope.missing.append((node, i, written))
        for token, tensor in zip(results, node.outputs, strict=True):
            self.define(token, tensor, scope)

    def check_counts(self, op: Operator, record: NodeRecord, types: list[TensorType] | None) -> None:
        """Names, types and the operator's results must be equally many."""
        given = len(record.results or [])
        generic = record.op.type == "STRING"
        if types is None and generic:
            self.fail(TextSyntaxError("the generic form needs the types of all results"), record.op)
        if types is not None and len(types) != given:
            self.fail(TextSyntaxError(f"{given} results, but {len(types)} types"), record.op)
        if not generic and given != op.result_count():
            self.fail(
                TextSyntaxError(
                    f"{op.op_type} has {op.result_count()} results, {given} are named", hint="name every result"
                ),
                record.op,
            )

    def operator(self, record: NodeRecord, scope: _Scope) -> Operator:
        """The operator of a node."""
        name = self.string(record.op)
        written = str(record.attributes) if record.attributes is not None else ""
        if record.regions is None:
            found = self._operators.get((name, written))
            if found is not None:
                return found
        try:
            cls = self.context.operator(name)
        except UnknownNameError as error:
            self.fail(error, record.op)
        graphs = self.regions(record.regions, scope) if record.regions is not None else {}
        pairs = self.value(record.attributes, "attributes") if record.attributes is not None else ()
        try:
            op = make_operator(cls, pairs, graphs)
        except ValueFault as fault:
            token = record.attributes if record.attributes is not None else record.op
            self.fail(fault.kind(fault.message, hint=fault.hint), token, fault.offset)
        if record.regions is None:
            self._operators[(name, written)] = op
        return op

    def regions(self, records: list[GraphRecord], scope: _Scope) -> dict[str, Graph]:
        """The graphs in a node's attributes."""
        scope.depth += 1
        if scope.depth > MAX_NESTING:
            self.fail(TextLimitError(f"graphs are nested more than {MAX_NESTING} deep"), records[0].key)
        graphs: dict[str, Graph] = {}
        for record in records:
            if record.key in graphs:
                self.fail(TextNameError(f"attribute {str(record.key)!r} is written twice"), record.key)
            assert record.name is not None
            graphs[str(record.key)] = self.graph(record, self.hint(record.name), scope)
        scope.depth -= 1
        return graphs

    def location(self, record: tuple[list[Any], list[lark.Token]]) -> Location:
        """A location."""
        sources, makers = record
        return Location(
            tuple([Source(self.string(n), self.string(k), self.string(f)) for n, k, f in sources]),
            tuple([self.string(m) for m in makers]),
        )


def generic_node(op: Operator, inputs: list[Tensor | None], types: list[TensorType], hints: list[str]) -> Node:
    """A node whose operands and results are taken as they are, whether or not the operator allows them.

    It is made as a `Return`, which takes any operands; omitted ones are placeholders that the caller removes.
    """
    present = [Tensor(_PLACEHOLDER) if t is None else t for t in inputs]
    node = Node(Return(), present, output_types=types, output_names=hints)
    node.op = op
    return node
