"""Helpers: values for samples, one-node modules, and running ONNX bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime

from uair.ir import Array, DType, Graph, Module, Node, Tensor, TensorType, constant
from uair.ir.types import Container
from uair.ops.base import Operator, Sample
from uair.ops.elementwise import Cast
from uair.text import parse_type

PLAIN = frozenset(DType(name) for name in "bool i8 u8 i16 u16 i32 u32 i64 u64 f16 f32 f64 string".split())
"""Types that onnxruntime's Python interface passes as NumPy arrays; others come and go by a Cast in the model."""


def draw(type: TensorType, rng: np.random.Generator) -> Any:
    """Values of a type that exercise both signs and are exact in every float type; open extents in sequences are 2."""
    if type.containers:
        if type.containers[0] is Container.OPTIONAL:
            return draw(type.inner, rng)
        if type.containers[0] is not Container.SEQUENCE:
            names = [0, 2, 1] if type.containers[0] is Container.MAP_I64 else ["k0", "k2", "k1"]
            return {name: np.asarray(draw(type.inner, rng)) for name in names}
        return [draw(type.inner, rng) for _ in range(3)]
    extents = cast("tuple[Any, ...]", type.dims)
    shape = tuple(2 if d is None else d for d in extents)
    dtype = type.dtype
    if dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype is DType.STRING:
        return np.array([f"s{i}" for i in rng.integers(0, 9, int(np.prod(shape)))], object).reshape(shape)
    if dtype.is_integer:
        low, high = dtype.range
        return rng.integers(max(low, -20), min(high, 20) + 1, shape).astype(dtype.numpy)
    values = rng.standard_normal(shape).astype(np.float32)
    return values.astype(dtype.numpy)


def operands_of(sample: Sample, seed: int = 0) -> list[Any]:
    """Values of a sample's operands."""
    rng = np.random.default_rng(seed)
    return [
        None if o is None else draw(parse_type(o), rng) if isinstance(o, str) else np.asarray(o)
        for o in sample.operands
    ]


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
