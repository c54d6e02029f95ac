"""From a legalised module to a GE IR file, without any tool of the vendor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from uair.codegen.ascend.ge import compute, elementwise, resize, shape
from uair.codegen.ascend.ge.ir import LARGEST, GeGraph
from uair.codegen.ascend.ge.protos import INFERRED
from uair.codegen.ascend.ge.table import LEGAL, Emission, GeEmitters, GraphBuilder, NoGeForm, require_type
from uair.ir.graph import Node, Tensor
from uair.ir.module import Module
from uair.names import Namer
from uair.ops.shape_values import resolve_constants
from uair.passes.eliminate_dead_code import EliminateDeadCode
from uair.passes.fold_constants import FoldConstants
from uair.passes.fold_shapes import FoldShapes
from uair.passes.fuse import Fuse
from uair.passes.legalise_onnx import LegaliseOnnx, NotLegalisable
from uair.pipeline import PassContext

EMITTERS = GeEmitters(elementwise.EMITTERS, compute.EMITTERS, shape.EMITTERS, resize.EMITTERS)


@attrs.frozen
class AirFile:
    """What was written.

    Attributes:
        operators: number of GE operators by type.
        weights: files of weights beside the model.
        inferred: types among them whose ports no source that was read states.
    """

    operators: dict[str, int]
    weights: list[str]
    inferred: list[str]


def write_air(module: Module, path: Path, *, largest: int = LARGEST) -> AirFile:
    """Write the main graph of a legalised module; the module itself is not changed.

    Args:
        module: static, its inputs and outputs under names that ATC takes.
        path: the .air file.
        largest: bytes of one file; beyond that weights are written to files of their own.

    Raises:
        NoGeForm: naming the node that has no form.
        OutputError: the file cannot be written.
    """
    graph = to_ge(module)
    weights = graph.write(path, largest=largest)
    counts: dict[str, int] = {}
    for op in graph.ops:
        counts[op.type] = counts.get(op.type, 0) + 1
    return AirFile(dict(sorted(counts.items())), weights, sorted(INFERRED & counts.keys()))


def to_ge(module: Module) -> GeGraph:
    """The GE graph of a legalised module.

    What was taken apart for ONNX is put together again where GE has the whole operator, and what GE lacks is taken
    apart.

    Raises:
        NoGeForm: naming the node that has no form.
    """
    own = module.clone()
    context = PassContext()
    # No merging of equal nodes: every quantized layer keeps an AscendQuant of its own.
    for step in (Fuse(), LegaliseOnnx(unsupported=no_form), FoldShapes(), FoldConstants(), EliminateDeadCode()):
        try:
            step.run(own, context)
        except NotLegalisable as error:
            reason = error.message.partition(": ")[2]
            raise NoGeForm(f"{error.message.split()[0]}: {reason}", place=error.place) from None
    builder = GraphBuilder(Namer(LEGAL, default="model").unique(module.name or "model"))
    graph = own.main
    builder.reserve(graph.input_names)
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        builder.data(name, tensor)
    for node in graph:
        emit(builder, node)
    for i, tensor in enumerate(graph.outputs):
        builder.graph.outputs.append(_output(builder, tensor, graph.output_names[i]))
    return builder.graph


def _output(builder: GraphBuilder, tensor: Tensor, name: str) -> Any:
    """A result of the graph; each has an operator of its own, which the input and the constants are not."""
    value = builder.value(tensor)
    producer = next(op for op in builder.graph.ops if op.name == value.source)
    if producer.type in ("Data", "Const") or value in builder.graph.outputs:
        return builder.append(name, "Identity", [value], [value.type])[0]
    return value


def emit(builder: GraphBuilder, node: Node) -> None:
    """Write one node.

    Raises:
        NoGeForm: naming it.
    """
    try:
        for tensor in (*node.inputs, *node.outputs):
            if tensor is not None and not tensor.is_constant:
                require_type(tensor.type)
        EMITTERS.emitter(node.op)(Emission(builder, node), resolve_constants(node.op, node.inputs))
    except NoGeForm as error:
        error.node = node
        error.place = error.place or str(node.loc)
        raise


def no_form(node: Node, opset: int) -> str:
    """Why a node has no form as it is; empty when it has one. The opset plays no part."""
    builder = GraphBuilder("trial")
    for i, tensor in enumerate(node.inputs):
        if tensor is not None and not tensor.is_constant and tensor not in builder.values:
            builder.reserve([f"x{i}"])
            try:
                builder.data(f"x{i}", tensor)
            except NoGeForm as error:
                return error.message
    try:
        emit(builder, node)
    except NoGeForm as error:
        return error.message
    return ""
