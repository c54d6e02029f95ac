"""What an ONNX file that was written holds, by name, for vendors whose tools are told names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs
import onnx

from uair.codegen.onnx.schema import ONNX_TYPE
from uair.ir.dtype import DType

_DTYPES = {code: dtype for dtype, code in ONNX_TYPE.items()}


@attrs.frozen
class OnnxIndex:
    """Names in an ONNX file.

    Attributes:
        nodes: names of the nodes, in order.
        results: node and number of the result, by name of the value.
        types: element type and shape by name of the value, as far as the file states them; open extents are text.
    """

    nodes: tuple[str, ...]
    results: Mapping[str, tuple[str, int]]
    types: Mapping[str, tuple[DType, tuple[int | str, ...]]]


def index_of(path: Path) -> OnnxIndex:
    """The names in a file; weights in a file of their own are not read."""
    graph = onnx.load(path, load_external_data=False).graph
    values = {v.name: v.type.tensor_type for v in (*graph.input, *graph.value_info, *graph.output)}
    return OnnxIndex(
        tuple(node.name for node in graph.node),
        {name: (node.name, i) for node in graph.node for i, name in enumerate(node.output) if name},
        {
            name: (_DTYPES[t.elem_type], tuple(d.dim_value or d.dim_param for d in t.shape.dim))
            for name, t in values.items()
            if t.elem_type in _DTYPES
        },
    )
