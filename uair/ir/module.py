"""Modules: graphs with their origin and the history of what was done to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import attrs

from uair.errors import UnknownNameError
from uair.ir.graph import Graph, Node, Tensor

Hash: TypeAlias = "str | Callable[[], str]"


def _hash_text(value: Hash) -> str:
    return value if isinstance(value, str) else value()


@attrs.frozen
class Origin:
    """Where a module came from.

    Attributes:
        format: "onnx", "pytorch", "tensorflow", "tflite" or "uair".
        file: name of the source file without its folder.
        sha256: hash of the source file in hex, or a function that computes it when somebody asks: hashing a large file
            takes longer than reading its graph.
        producer: the tool that wrote the source, with its version.
        versions: versions that the meaning depends on: operator sets by domain, the framework's version.
    """

    format: str = ""
    file: str = ""
    _sha256: Hash = attrs.field(default="", eq=_hash_text, repr=False)
    producer: str = ""
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of the source file in hex; computed once."""
        text = _hash_text(self._sha256)
        object.__setattr__(self, "_sha256", text)
        return text

    def __reduce__(self) -> tuple[type[Origin], tuple[object, ...]]:
        return Origin, (self.format, self.file, self.sha256, self.producer, self.versions)


@attrs.frozen
class AppliedPass:
    """One step of the optimization strategy: a pass as written in a pipeline, e.g. `fuse` or `quantize-int8{...}`."""

    spec: str
    changed: bool


@attrs.define(eq=False, repr=False)
class Module:
    """Named graphs and metadata. The graph called `main` is the model.

    Attributes:
        name: the model's name.
        graphs: by name.
        origin: source file and producer.
        applied: the passes run so far, in order.
        metadata: free key/value pairs from the source (author, licence, labels).
    """

    name: str = "module"
    graphs: dict[str, Graph] = attrs.Factory(dict[str, Graph])
    origin: Origin = Origin()
    applied: list[AppliedPass] = attrs.Factory(list[AppliedPass])
    metadata: dict[str, str] = attrs.Factory(dict[str, str])

    @property
    def main(self) -> Graph:
        """The model's graph.

        Raises:
            UnknownNameError: the module has no graph called main.
        """
        if "main" not in self.graphs:
            raise UnknownNameError(f"module {self.name!r} has no graph called 'main'")
        return self.graphs["main"]

    def all_graphs(self) -> Iterator[Graph]:
        """The graphs and those in the attributes of their nodes, inner ones before those that hold them."""
        for graph in self.graphs.values():
            yield from graph.nested()
            yield graph

    def clone(self) -> Module:
        """A module of its own nodes and tensors over the same operators, types and constant data."""
        return attrs.evolve(
            self,
            graphs={name: clone_graph(graph) for name, graph in self.graphs.items()},
            applied=list(self.applied),
            metadata=dict(self.metadata),
        )

    def __deepcopy__(self, memo: object) -> Module:
        return self.clone()

    def dissolve(self) -> None:
        """Take the graphs apart, see `Graph.dissolve`; nothing of the module may be used any more."""
        for graph in self.graphs.values():
            graph.dissolve()

    def __repr__(self) -> str:
        return f"<module @{self.name}: {', '.join(repr(g) for g in self.graphs.values())}>"


def clone_graph(graph: Graph) -> Graph:
    """A copy of a graph, of the graphs in its nodes too; constants are new tensors over the same data."""
    return _clone(graph, {})


def _clone(graph: Graph, copies: dict[Tensor, Tensor]) -> Graph:
    """A copy of a graph; `copies` has the tensors of enclosing graphs and receives those of this one."""
    result = Graph(graph.name)
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        copies[tensor] = result.add_input(name, tensor.type)
        copies[tensor].name = tensor.name

    copy_nodes(graph, result, copies)
    for name, tensor in zip(graph.output_names, graph.outputs, strict=True):
        result.add_output(name, _copied(tensor, copies))
    return result


def copy_nodes(nodes: Iterable[Node], into: Graph, copies: dict[Tensor, Tensor]) -> None:
    """Append copies of nodes to a graph, see `copied_nodes`."""
    for node in copied_nodes(nodes, copies):
        into.append(node)


def copied_nodes(nodes: Iterable[Node], copies: dict[Tensor, Tensor]) -> Iterator[Node]:
    """Copies of nodes, with the graphs in them, that belong to no graph; constants are new tensors over the same data.

    Args:
        nodes: in topological order.
        copies: what stands for the tensors that the nodes use; receives the results of the nodes and the constants. A
            tensor that is not in there is used as it is.
    """
    for node in nodes:
        op = node.op
        if op.regions:
            op = op.with_regions([_clone(region, copies) for region in op.regions])
        new = Node(
            op,
            [None if t is None else _copied(t, copies) for t in node.inputs],
            name=node.name,
            loc=node.loc,
            output_types=[t.type for t in node.outputs],
            output_names=[t.name for t in node.outputs],
        )
        copies.update(zip(node.outputs, new.outputs, strict=True))
        yield new


def _copied(tensor: Tensor, copies: dict[Tensor, Tensor]) -> Tensor:
    if tensor not in copies:
        if not tensor.is_constant:
            return tensor  # captured from a graph that is not copied
        copies[tensor] = Tensor(tensor.type, tensor.name, tensor.data)
    return copies[tensor]
