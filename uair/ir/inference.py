"""Inferring the types of a graph again after its inputs or attributes became more precise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from uair.ir.dims import Dim, InferredShape, substitute, substitute_shape
from uair.ir.graph import Graph, Node
from uair.ir.types import TensorType


def refine_types(graph: Graph, values: Mapping[str, Dim] | None = None) -> bool:
    """Infer every result type in order; with `values`, replace those symbolic sizes in attributes and types first.

    A size that inference cannot know keeps its recorded name. Layouts are kept.

    Returns:
        whether any type changed.

    Raises:
        TypeInferenceError: an operator does not accept the refined types; the place names the node.
    """
    changed = False
    for node in graph:
        changed |= refine_node(node, values or {})
    return changed


def refine_node(node: Node, values: Mapping[str, Dim]) -> bool:
    """Infer the result types of one node from its operands' current types; whether any changed."""
    if values:
        node.op = node.op.substitute(values)
    changed = False
    inferred = node.op.infer_types([None if t is None else t.type for t in node.inputs])
    for tensor, want in zip(node.outputs, inferred, strict=True):
        shape = _merged(tensor.type, want, values)
        if shape != tensor.type.shape or want.dtype is not tensor.type.dtype:
            tensor.type = TensorType(want.dtype, shape, tensor.type.layout)
            changed = True
    return changed


def _merged(recorded: TensorType, inferred: TensorType, values: Mapping[str, Dim]) -> tuple[Dim, ...] | None:
    """The inferred shape, with recorded sizes where inference has none."""
    if inferred.shape is None:
        return None if recorded.shape is None else substitute_shape(recorded.shape, values)
    shape = cast(InferredShape, inferred.shape)
    if recorded.shape is None or len(recorded.shape) != len(shape):
        from uair.ir.graph import named_unknowns

        return named_unknowns(inferred).shape
    return tuple(
        substitute(old, values) if new is None else new for old, new in zip(recorded.shape, shape, strict=True)
    )
