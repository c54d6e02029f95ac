"""Control flow."""

from __future__ import annotations

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.graph import Graph
from uair.ops.control import If, Loop, Scan

EMITTERS = Emitters()


def _graph(graph: Graph | None) -> Graph:
    if graph is None:
        raise NotExpressible("a graph is missing")
    return graph


@EMITTERS.of(If)
def if_(e: Emission, op: If) -> None:
    """Its graphs have no inputs and see what is around them."""
    graphs = {
        "then_branch": e.graph.region(_graph(op.then_branch)),
        "else_branch": e.graph.region(_graph(op.else_branch)),
    }
    e.results("If", e.operands, **graphs)


@EMITTERS.of(Loop)
def loop(e: Emission, op: Loop) -> None:
    """An omitted trip count or condition in front of the states is an empty name."""
    e.results("Loop", e.operands, body=e.graph.region(_graph(op.body)))


@EMITTERS.of(Scan)
def scan(e: Emission, op: Scan) -> None:
    """Axes and directions are left out when all are 0."""

    def given(values: tuple[int, ...], count: int) -> tuple[int, ...] | None:
        return (values + (0,) * count)[:count] if any(values) else None

    body = _graph(op.body)
    stacked = len(body.outputs) - (len(e.node.inputs) - op.scanned)
    e.results(
        "Scan",
        e.operands,
        body=e.graph.region(body),
        num_scan_inputs=op.scanned,
        scan_input_axes=given(op.input_axes, op.scanned),
        scan_input_directions=given(op.input_reverse, op.scanned),
        scan_output_axes=given(op.output_axes, stacked),
        scan_output_directions=given(op.output_reverse, stacked),
    )
