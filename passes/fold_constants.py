"""Computing at compile time what does not depend on the inputs."""

from __future__ import annotations

from typing import cast

import attrs
import numpy as np

from uair.errors import UairError
from uair.ir.data import Data, SplatData, derive
from uair.ir.dims import Dim, InferredShape, static
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.inference import settle_sizes, settled_sizes
from uair.ir.module import Module
from uair.ops import (
    Dequantize,
    Expand,
    Flip,
    NonZero,
    Opaque,
    Pack,
    Quantize,
    Range,
    Reshape,
    Slice,
    Split,
    Squeeze,
    Tile,
    Transpose,
    Unique,
    Unpack,
    Unsqueeze,
)
from uair.ops.base import Operator
from uair.ops.shape_values import ShapeValues, infer_with_values
from uair.pipeline import Pass, PassContext

KEPT = (Quantize, Dequantize, Pack, Unpack, Opaque)
"""Not folded: they say how a constant is stored, or cannot be evaluated."""

MOVING = (Expand, Flip, Reshape, Slice, Split, Squeeze, Tile, Transpose, Unsqueeze)
"""Operators whose results hold nothing but elements of their first operand."""


MAX_GROWTH_BYTES = 64 << 20
"""A larger result is stored, and a larger operand computed with, only when a fourth of its size or more is stored now:
a model of a few bytes can ask for a constant that no disk holds."""


@attrs.frozen
class FoldConstants(Pass):
    """Replace nodes whose operands are all constants by their value; large ones are computed when they are written."""

    def run(self, module: Module, context: PassContext) -> bool:
        """One walk in order: what a fold makes constant is folded further on."""
        changed = False
        found: dict[str, Dim] = {}
        for graph in module.all_graphs():
            for node in graph:
                if is_foldable(node) or _sized_by_values(node, found):
                    if not context.fuel.draw(self.name, node):
                        return changed
                    fold(graph, node)
                    changed = True
        settle_sizes(module, found)
        return changed


def is_foldable(node: Node) -> bool:
    """Whether a node's results are known at compile time."""
    for tensor in node.inputs:  # first, for here nearly all nodes fail
        if tensor is not None and tensor.data is None:
            return False
    return (
        node.op.deterministic
        and not isinstance(node.op, KEPT)
        and all(t.type.is_static and t.type.dtype.bits for t in node.outputs)
        and not node.regions
        and not _grows(node)
    )


def _sized_by_values(node: Node, found: dict[str, Dim]) -> bool:
    """Whether a node with constant operands is foldable once its results have the sizes that only these values say.

    What the sizes were called is put into `found`.
    """
    if not isinstance(node.op, (NonZero, Range, Unique)) or any(t is None or t.data is None for t in node.inputs):
        return False
    if isinstance(node.op, Range):  # of any size, therefore counted and not computed
        types = infer_with_values(node.op, node.inputs, ShapeValues())
        shapes = [cast("InferredShape | None", t.shape) for t in types]
    else:
        shapes = [a.shape for a in node.op.evaluate_all([cast(Tensor, t).numpy() for t in node.inputs])]
    for tensor, shape in zip(node.outputs, shapes, strict=True):
        if shape is not None and None not in shape:
            sized = tensor.type.with_shape(shape)
            found |= settled_sizes(tensor.type, sized)
            tensor.type = sized
    return is_foldable(node)


def _grows(node: Node) -> bool:
    """Whether operands or results are enormous and much larger than what is stored, and no result is one value."""
    operands = [None if t is None else t.data for t in node.inputs]
    repeated = sum(d.nbytes for d in operands if isinstance(d, SplatData))
    size = max(repeated, sum(t.type.nbytes for t in node.outputs))
    if size <= MAX_GROWTH_BYTES:
        return False
    stored = sum(
        d.nbytes // max(d.size, 1) if isinstance(d, SplatData) else d.nbytes for d in operands if d is not None
    )
    return size > 4 * stored and any(_repeated_value(node.op, operands, i) is None for i in range(len(node.outputs)))


def fold(graph: Graph, node: Node) -> None:
    """Replace a foldable node by constants.

    Raises:
        UairError: from the evaluation, with the node's place.
    """
    try:
        results = [
            Tensor(
                t.type,
                t.name or node.name,
                folded_data(node.op, [None if x is None else x.data for x in node.inputs], t),
            )
            for t in node.outputs
        ]
    except UairError as error:
        error.place = error.place or str(node.loc)
        raise
    graph.replace(node, results)


def folded_data(op: Operator, operands: list[Data | None], result: Tensor) -> Data:
    """Data of one result of `op` applied to constant operands."""
    dtype, shape = result.type.dtype, static(result.type.dims)
    repeated = _repeated_value(op, operands, result.index)
    if repeated is not None:
        return SplatData(repeated, dtype, shape)
    present = tuple(d for d in operands if d is not None)
    return derive(_Evaluation(op, tuple(d is not None for d in operands), result.index), present, dtype, shape)


def _repeated_value(op: Operator, operands: list[Data | None], index: int) -> Array | None:
    """The one value that fills the whole result, when that can be seen without computing it."""
    data = operands[0] if operands else None
    if isinstance(op, MOVING) and isinstance(data, SplatData):
        return data.value
    if isinstance(op, Expand):
        return data.array().reshape(()) if data is not None and data.size == 1 else None
    values = [d.value for d in operands if isinstance(d, SplatData)]
    if not op.elementwise or len(values) < len(operands):
        return None
    with np.errstate(all="ignore"):
        return op.evaluate_all(values)[index]


@attrs.frozen(eq=False)
class _Evaluation:
    """`op` as a function of its constant operands only."""

    op: Operator
    given: tuple[bool, ...]
    index: int

    def __call__(self, *arrays: Array) -> Array:
        rest = iter(arrays)
        with np.errstate(all="ignore"):
            return self.op.evaluate_all([next(rest) if g else None for g in self.given])[self.index]
