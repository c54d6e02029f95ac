"""float64 as float32, for targets that lack it."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from uair.ir.data import derive
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.pipeline import Pass, PassContext

REPORT = "narrowed"


@attrs.frozen
class NarrowFloat64(Pass):
    """Compute in float32 what a model computes in float64 between its inputs and outputs.

    Exporters write float64 for a moment, above all for the constants of a formula; the result is float32 again, or an
    output, which becomes float32. Inputs of float64 stay, and so does what control flow computes with them.
    """

    def run(self, module: Module, context: PassContext) -> bool:
        """Narrow every node of the graphs, with a note for outputs that change their type."""
        outputs = [n for n, t in zip(module.main.output_names, module.main.outputs, strict=True) if _is_wide(t)]
        changed = False
        for graph in module.all_graphs():
            if not any(_is_wide(t) for t in graph.inputs):
                changed |= _narrow(graph, context)
        if changed and outputs:
            context.reports[REPORT] = [f"output {name!r} is f32 instead of f64" for name in outputs]
        return changed


def _is_wide(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.type.dtype is DType.F64


def _narrow(graph: Graph, context: PassContext) -> bool:
    wide = [node for node in graph if any(map(_is_wide, (*node.inputs, *node.outputs)))]
    if any(node.regions for node in wide):
        return False
    changed = False
    for node in wide:
        if node.is_return or not context.fuel.draw("narrow-float64", node):
            continue
        narrowed = Node(
            _operator(node.op),
            [_constant(t) if t is not None and t.is_constant else t for t in node.inputs],
            name=node.name,
            loc=Location.fused([node.loc], by="narrow-float64"),
            output_names=[t.name for t in node.outputs],
        )
        graph.insert_before(node, narrowed)
        graph.replace(node, narrowed.outputs)
        changed = True
    return changed


def _operator(op: Any) -> Any:
    """The operator with float32 in the place of float64 among its attributes."""
    wide = {name: DType.F32 for name, value in op.attributes.items() if value is DType.F64}
    return attrs.evolve(op, **wide) if wide else op


def _constant(tensor: Tensor) -> Tensor:
    data = tensor.data
    if data is None or data.dtype is not DType.F64:
        return tensor
    return constant(derive(_single, (data,), DType.F32, data.shape), tensor.name)


def _single(values: Array) -> Array:
    return values.astype(np.float32)
