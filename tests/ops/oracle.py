"""onnxruntime as the judge of one operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from uair.ir.dtype import Array


def run_onnx(
    kind: str, operands: Sequence[Array | None], outputs: int = 1, opset: int = 20, **attributes: Any
) -> list[Array]:
    """The results of one ONNX operator, without graph optimizations; attributes of None are left out."""
    names = ["" if a is None else f"x{i}" for i, a in enumerate(operands)]
    feeds = {n: a for n, a in zip(names, operands, strict=True) if a is not None}
    given = {k: v for k, v in attributes.items() if v is not None}
    results = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(kind, names, results, **given)],
        "one_operator",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()],
        [onnx.ValueInfoProto(name=n) for n in results],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, feeds)]
