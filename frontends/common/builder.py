"""Building a graph: canonical nodes over operands some of which are known, and the values of small operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from uair.errors import EvaluationError
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor, named_unknowns
from uair.ir.location import Location
from uair.ir.types import TensorType
from uair.ops.base import Operator
from uair.ops.shape_values import LARGEST, ShapeValues, infer_with_values, resolve_operands

MAX_FOLDED_DEPTH = 16
"""Nodes in a row that are computed to learn an operand's value, a cast or a reshape; the passes fold longer chains."""

Decide = Callable[[TensorType], TensorType]


class Builder:
    """Appends nodes to graphs, and knows the values of small tensors.

    One builder serves a model with all its subgraphs: a node of a subgraph may use tensors around it.
    """

    def __init__(self) -> None:
        self.shape_values = ShapeValues()
        self._small: dict[Tensor, Array | None] = {}

    def append(
        self,
        graph: Graph,
        op: Operator,
        operands: Sequence[Tensor | None],
        *,
        name: str = "",
        loc: Location,
        decide: Decide | None = None,
    ) -> tuple[Node, tuple[TensorType, ...]]:
        """Append a canonical node; operands that are known become attributes.

        Args:
            graph: where it goes.
            op: the operator.
            operands: its operands.
            name: of the node.
            loc: where it comes from.
            decide: names the extents that inference leaves open; they get fresh symbols when not given.

        Returns:
            The node, and its result types as inferred: extents that only the data decide are None in them.

        Raises:
            UairError: the operands do not fit.
        """
        op, given = resolve_operands(op, operands, self.shape_values)
        given = op.normalize_operands(given)
        types = infer_with_values(op, given, self.shape_values)
        named = [(decide or named_unknowns)(t) for t in types]
        node = Node(op, given, name=name, loc=loc, output_types=named)
        graph.append(node)
        return node, types

    def known(self, tensor: Tensor) -> Array | None:
        """Values of a tensor known at import; an object array where they hold symbolic sizes."""
        if tensor.data is not None:
            return tensor.data.array()
        found = self.shape_values.known(tensor)
        return self.folded(tensor, MAX_FOLDED_DEPTH) if found is None else found

    def folded(self, tensor: Tensor, depth: int = MAX_FOLDED_DEPTH) -> Array | None:
        """The value of a small tensor that a few nodes compute from small constants; None when it is none."""
        if tensor.data is not None:
            return tensor.data.array() if tensor.data.size <= LARGEST else None
        if tensor not in self._small:
            self._small[tensor] = None
            node = tensor.producer
            if depth and node is not None and node.op.deterministic and _is_small(tensor.type):
                operands = [None if t is None else self.folded(t, depth - 1) for t in node.inputs]
                if all(t is None or v is not None for t, v in zip(node.inputs, operands, strict=True)):
                    self._fold(node, operands)
        return self._small[tensor]

    def _fold(self, node: Node, operands: Sequence[Array | None]) -> None:
        try:
            with np.errstate(all="ignore"):
                results = node.op.evaluate_all(operands)
        except EvaluationError:  # the numbers do not fit: that shows when the model runs
            return
        self._small.update(zip(node.outputs, results, strict=True))


def _is_small(t: TensorType) -> bool:
    return t.is_static and t.size <= LARGEST
