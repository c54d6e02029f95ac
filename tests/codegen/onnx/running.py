"""Helpers: one-node modules, and running ONNX bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from uair.ir import Array, DType, Graph, Module, Node, Tensor, TensorType, constant
from uair.ir.module import clone_graph
from uair.ops.base import Operator
from uair.ops.elementwise import Cast
from uair.text import parse_type

PLAIN = frozenset(DType(name) for name in "bool i8 u8 i16 u16 i32 u32 i64 u64 f16 f32 f64 string".split())
"""Types that onnxruntime's Python interface passes as NumPy arrays; others come and go by a Cast in the model."""


def carrier(dtype: DType) -> DType:
    """The type in which values of `dtype` are fed and fetched."""
    if dtype in PLAIN or dtype in (DType.C64, DType.C128):
        return dtype
    return DType.I32 if dtype.is_integer else DType.F32


def one_node(
    op: Operator, operands: Sequence[Any], constants: Sequence[bool], types: Sequence[str | None] = ()
) -> tuple[Module, dict[str, Any]]:
    """A module of one node (and Casts at its borders), and what to feed it.

    Args:
        op: the node's operator.
        operands: their values.
        constants: which of them are constants.
        types: of the operands in text form; needed for those that are no tensors.
    """
    graph = Graph()
    feeds: dict[str, Any] = {}
    inputs: list[Tensor | None] = []
    for i, (value, fixed) in enumerate(zip(operands, constants, strict=True)):
        if value is None:
            inputs.append(None)
        elif not isinstance(value, np.ndarray) or (i < len(types) and str(types[i]).startswith("opt<")):
            feeds[f"x{i}"] = value
            inputs.append(graph.add_input(f"x{i}", parse_type(str(types[i]))))
        elif fixed:
            inputs.append(constant(value, f"c{i}"))
        else:
            inputs.append(_fed(graph, feeds, f"x{i}", value))
    if op.regions:
        op = op.with_regions([clone_graph(region) for region in op.regions])  # passes change graphs in place
    node = graph.append(Node(op, inputs, name="node"))
    for i, tensor in enumerate(node.outputs):
        through = carrier(tensor.type.dtype)
        if through is not tensor.type.dtype and tensor.type.is_tensor:
            tensor = graph.append(Node(Cast(to=through), [tensor])).output
        graph.add_output(f"y{i}", tensor)
    return Module("sample", {"main": graph}), feeds


def _fed(graph: Graph, feeds: dict[str, Any], name: str, value: Array) -> Tensor:
    dtype = DType.from_numpy(value.dtype)
    through = carrier(dtype)
    tensor = graph.add_input(name, TensorType(through, value.shape))
    if through is dtype:
        feeds[name] = value
        return tensor
    feeds[name] = value.astype(through.numpy)
    return graph.append(Node(Cast(to=dtype), [tensor])).output


def session(model: bytes | str) -> onnxruntime.InferenceSession:
    """A session without graph optimisations, silent, on one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model: bytes | str, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs by name."""
    ready = session(model)
    names = [o.name for o in ready.get_outputs()]
    taken = {i.name for i in ready.get_inputs()}
    values: Sequence[Any] = ready.run(names, {n: plain(v) for n, v in feeds.items() if n in taken})
    return dict(zip(names, values, strict=True))


def plain(value: Any) -> Any:
    """A feed in the form that onnxruntime takes: a map has Python's own numbers."""
    return {key: item.item() for key, item in value.items()} if isinstance(value, dict) else value


def check(model: bytes) -> onnx.ModelProto:
    """The model, after onnx's full check with strict shape inference."""
    proto = onnx.load_from_string(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def tolerance(dtype: DType) -> float:
    """Relative tolerance: two units in the last place for narrow types, 1e-5 for the others."""
    return {DType.F16: 2e-3, DType.BF16: 1.6e-2}.get(dtype, 1e-5)


def difference(got: Array, want: Array) -> str:
    """How two results differ, empty when they agree: exactly for integers, within the tolerance for floats."""
    dtype = DType.from_numpy(want.dtype)
    if got.shape != want.shape:
        return f"shape {got.shape} instead of {want.shape}"
    if not dtype.is_float:
        return "" if np.array_equal(got.astype(want.dtype), want) else f"{got.tolist()} instead of {want.tolist()}"
    a, b = got.astype(np.float64), want.astype(np.float64)
    if dtype.bits <= 8:
        return "" if np.array_equal(a, b, equal_nan=True) else f"{a.tolist()} instead of {b.tolist()}"
    bound = tolerance(dtype)
    close = np.isclose(a, b, rtol=bound, atol=bound * 0.1, equal_nan=True)
    return "" if close.all() else f"{a[~close].tolist()[:6]} instead of {b[~close].tolist()[:6]}"
