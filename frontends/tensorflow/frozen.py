"""From a frozen graph (a GraphDef in a file) to a program, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uair.frontends.tensorflow.branches import is_pivot
from uair.frontends.tensorflow.bundle import mapped
from uair.frontends.tensorflow.errors import GraphInterfaceError
from uair.frontends.tensorflow.graphdef import GraphDef, NodeDef, Ref
from uair.frontends.tensorflow.program import Input, Program
from uair.frontends.tensorflow.wire import Source

_NO_OUTPUT = frozenset({"NoOp", "Assert", "Const", "Placeholder", "VarHandleOp"})
_SHOWN = 12


def read(path: Path, inputs: Sequence[str] | None, outputs: Sequence[str] | None) -> tuple[Program, Source]:
    """Read a frozen graph.

    Args:
        path: the file.
        inputs: names of its inputs, as `node` or `node:0`; all placeholders when not given.
        outputs: names of its outputs; the results that nothing uses when not given.

    Raises:
        SourceFileError: the file is damaged.
        GraphInterfaceError: there are no inputs or outputs, or not those.
    """
    file = mapped(path)
    source = Source(file.view(0, file.size), path.name, file)
    graph = GraphDef(source.message)
    if not graph.body.nodes:
        source.fail("the file is no frozen graph: it holds no nodes", 0)
    program = Program(
        path.stem, graph, program_inputs(graph, inputs), program_outputs(graph, outputs),
        versions=(("graph", str(graph.producer)),),
    )  # fmt: skip
    return program, source


def program_inputs(graph: GraphDef, names: Sequence[str] | None) -> tuple[Input, ...]:
    """The inputs by name; the placeholders when none are named.

    Raises:
        GraphInterfaceError: one does not exist.
    """
    if names is None:
        return tuple(Input(n.name, Ref(n.name)) for n in graph.body.order if n.op == "Placeholder")
    return tuple(Input(name, _existing(graph, name, "input")) for name in names)


def program_outputs(graph: GraphDef, names: Sequence[str] | None) -> tuple[tuple[str, Ref], ...]:
    """The outputs by name; the results of nodes that no node uses when none are named.

    Raises:
        GraphInterfaceError: one does not exist, or there is none.
    """
    if names is not None:
        return tuple((name.removesuffix(":0"), _existing(graph, name, "output")) for name in names)
    used = {name for node in graph.body.order for name in (*(ref.name for ref in node.inputs), *node.controls)}
    found = [
        n for n in graph.body.order if n.name not in used and n.op not in _NO_OUTPUT and not is_pivot(graph.body, n)
    ]
    if not found:
        raise GraphInterfaceError("the graph has no outputs", hint="name them: outputs=[...]")
    return tuple((node.name, Ref(node.name)) for node in found)


def _existing(graph: GraphDef, name: str, what: str) -> Ref:
    ref = Ref.parse(name, False)
    if ref.name not in graph.body.nodes:
        ends: list[NodeDef] = graph.body.order[-_SHOWN:]
        raise GraphInterfaceError(
            f"the graph has no node {ref.name!r}",
            place=f"{what} {name!r}",
            hint=f"the last nodes are {', '.join(n.name for n in ends)}",
        )
    return ref
