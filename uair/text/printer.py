"""Writing modules as text: unique names, one line a node, the same text for the same module."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from uair.errors import ArityError
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.location import Location, Source
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops.base import graph_attributes
from uair.text.names import IDENTIFIER, ValueNames, quote, word
from uair.text.spelling import attributes_text, constant_text, type_text

VERSION = 1
_RESERVED = frozenset(("in", "by"))
_WORD_EXTRA = str.maketrans("", "", "-")


def print_module(module: Module) -> str:
    """The text of a module; `parse_module` reads back an equal one.

    Constants of more than 32 elements appear as hashes; `save` writes them to a sidecar, `weights_of` collects them.
    """
    lines = [f"uair {VERSION}", f"module @{word(module.name)}{_header(module)} {{"]
    lines += [f"  version {quote(name)} = {quote(version)}" for name, version in module.origin.versions]
    lines += [f"  metadata {quote(key)} = {quote(value)}" for key, value in module.metadata.items()]
    lines += [f"  applied {quote(p.spec)} {'changed' if p.changed else 'unchanged'}" for p in module.applied]
    constants = ValueNames("@")
    for tensor in module_constants(module):
        assert tensor.data is not None
        value = constant_text(tensor.data, tensor.type)
        lines.append(f"  constant {constants.of(tensor, tensor.name)} = {value} : {type_text(tensor.type)}")
    for key, graph in module.graphs.items():
        printer = GraphPrinter(constants)
        name = f"@{word(key)}" + (f" = @{word(graph.name)}" if graph.name != key else "")
        printer.graph(graph, f"graph {name}", "  ")
        lines += printer.lines
    return "\n".join([*lines, "}", ""])


def print_graph(graph: Graph) -> str:
    """The text of a graph alone; constants appear by name only."""
    printer = GraphPrinter(ValueNames("@"))
    printer.graph(graph, f"graph @{word(graph.name)}", "")
    return "\n".join([*printer.lines, ""])


def print_node(node: Node) -> str:
    """The text of a node alone, its operands and results named by their hints."""
    printer = GraphPrinter(ValueNames("@"))
    printer.own.update(_graphs_of(node.graph) if node.graph is not None else ())
    printer.node(node, "")
    return "\n".join(printer.lines)


def module_constants(module: Module) -> list[Tensor]:
    """The constants of all graphs, nested ones too, each once, in order of first use."""
    found: dict[Tensor, None] = {}
    for graph in module.graphs.values():
        for node in _all_nodes(graph):
            for tensor in node.inputs:
                if tensor is not None and tensor.is_constant:
                    found[tensor] = None
    return list(found)


def _all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph and of the graphs in their attributes, terminators included."""
    for node in graph:
        yield node
        for inner in node.op.regions:
            yield from _all_nodes(inner)
    yield graph.end


def _graphs_of(graph: Graph) -> Iterator[Graph]:
    """A graph and those in its nodes' attributes."""
    return iter(dict.fromkeys(node.graph for node in _all_nodes(graph) if node.graph is not None))


def _header(module: Module) -> str:
    origin = module.origin
    fields = {"format": origin.format, "file": origin.file, "sha256": origin.sha256, "producer": origin.producer}
    shown = ", ".join(f"{name} = {quote(value)}" for name, value in fields.items() if value)
    return f" {{{shown}}}" if shown else ""


class GraphPrinter:
    """Prints one graph and those nested in it.

    Attributes:
        lines: the text so far.
        line_of: for each node the index of its (first) line.
        own: the graph and those nested in it; values of other graphs are marked as such.
    """

    def __init__(self, constants: ValueNames) -> None:
        self.lines: list[str] = []
        self.line_of: dict[Node, int] = {}
        self.own: set[Graph] = set()
        self._values = ValueNames("%")
        self._constants = constants
        self._types: dict[TensorType, str] = {}

    def name_of(self, tensor: Tensor) -> str:
        """The name of a value in what was printed."""
        return self._values.of(tensor, tensor.name)

    def graph(self, graph: Graph, head: str, indent: str) -> None:
        """Append a graph whose first line begins with `head`."""
        self.own.update(_graphs_of(graph))
        inputs = zip_longest(graph.input_names, graph.inputs)
        shown = ", ".join(self._input(name, tensor) for name, tensor in inputs if tensor is not None)
        at = len(self.lines)
        self.lines.append("")  # the head names the outputs, which get their names in the body
        for node in graph:
            self.node(node, indent + "  ")
        returned = zip_longest(graph.output_names, graph.outputs)
        outputs = ", ".join(self._output(name, tensor) for name, tensor in returned if tensor is not None)
        self.lines[at] = f"{indent}{head}({shown}) -> ({outputs}) {{"
        self.lines.append(indent + "}")

    def node(self, node: Node, indent: str) -> None:
        """Append a node."""
        self.line_of[node] = len(self.lines)
        op = node.op
        name = op.op_type
        operands = ", ".join([self._operand(t) for t in node.inputs])
        results = ", ".join([self._values.of(t, t.name) for t in node.outputs])
        if _needs_generic_form(node):
            name = quote(name)
        types = ", ".join([self._type(t.type) for t in node.outputs])
        line = f"{indent}{results}{' = ' if results else ''}{name}({operands}){attributes_text(op)}"
        tail = f"{' : ' if types else ''}{types}{_location_text(node.loc)}{_label_text(node)}"
        graphs = [(a, getattr(op, a)) for a in graph_attributes(type(op))]
        if not any(g is not None for _, g in graphs):
            self.lines.append(line + tail)
            return
        self.lines.append(line + " (")
        for attribute, graph in graphs:
            if graph is not None:
                self.graph(graph, f"{attribute} = @{word(graph.name)}", indent + "  ")
                self.lines[-1] += ","
        self.lines[-1] = self.lines[-1][:-1]
        self.lines.append(f"{indent}){tail}")

    def _operand(self, tensor: Tensor | None) -> str:
        if tensor is None:
            return "none"
        if tensor.data is not None:
            return self._constants.of(tensor, tensor.name)
        known = tensor in self._values
        name = self._values.of(tensor, tensor.name)
        if known or (tensor.producer is not None and tensor.producer.graph in self.own):
            return name
        return f"outside({name}: {self._type(tensor.type)})"

    def _input(self, name: str | None, tensor: Tensor) -> str:
        own = self._values.of(tensor, tensor.name)
        return f"{_interface_text(name, tensor)}{own}: {self._type(tensor.type)}"

    def _output(self, name: str | None, tensor: Tensor) -> str:
        own = self._operand(tensor)
        return f"{_interface_text(name, tensor)}{own}: {self._type(tensor.type)}"

    def _type(self, t: TensorType) -> str:
        text = self._types.get(t)
        if text is None:
            text = self._types[t] = type_text(t)
        return text


def _interface_text(name: str | None, tensor: Tensor) -> str:
    return "" if (name or "") == tensor.name else f"{quote(name or '')} = "


def _needs_generic_form(node: Node) -> bool:
    """Whether the normal form would be refused: operands that the operator does not take, a wrong number of results."""
    if len(node.outputs) != node.op.result_count() or not IDENTIFIER.fullmatch(node.op_type):
        return True
    try:
        return node.op.normalize_operands(node.inputs) != node.inputs
    except ArityError:
        return True


def _location_text(loc: Location) -> str:
    if not loc.sources and not loc.by:
        return ""
    shown = ", ".join(map(_source_text, loc.sources))
    by = ", ".join(
        m if IDENTIFIER.fullmatch(m.translate(_WORD_EXTRA)) and m[0] != "-" and "$" not in m else quote(m)
        for m in loc.by
    )
    return f" loc({shown}{' ' if shown and by else ''}{'by ' if by else ''}{by})"


def _source_text(source: Source) -> str:
    kind = source.kind
    shown = "" if not kind else " " + (quote(kind) if kind in _RESERVED else word(kind))
    return quote(source.name) + shown + (f" in {quote(source.file)}" if source.file else "")


def _label_text(node: Node) -> str:
    """The node's name, unless it is that of its (first) source."""
    usual = node.loc.sources[0].name if node.loc.sources else ""
    return "" if node.name == usual else f" name({quote(node.name)})"
