"""What stands in an ONNX file that was written: for files beside it that speak of its nodes by name."""

from __future__ import annotations

from pathlib import Path

import attrs
import onnx


@attrs.frozen
class WrittenNode:
    """A node.

    Attributes:
        name: its name.
        op_type: its ONNX operator.
        axis: its attribute of that name; None when there is none.
        rank: axes of its first operand; None when the file does not say.
        outputs: names of its results.
        at_end: whether its first result is an output of the model.
    """

    name: str
    op_type: str
    axis: int | None
    rank: int | None
    outputs: tuple[str, ...]
    at_end: bool


def written_nodes(path: Path) -> list[WrittenNode]:
    """The nodes of a file in order; weights in a file of their own are not read."""
    graph = onnx.load(path, load_external_data=False).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    rank = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    ends = {value.name for value in graph.output}
    return [
        WrittenNode(
            node.name,
            node.op_type,
            next((a.i for a in node.attribute if a.name == "axis"), None),
            rank.get(node.input[0]) if node.input else None,
            tuple(node.output),
            bool(node.output) and node.output[0] in ends,
        )
        for node in graph.node
    ]
