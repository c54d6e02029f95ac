"""Small ONNX models, and their comparison with onnxruntime."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# onnx.helper and onnxruntime leave type arguments open.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from uair.codegen.reference import Interpreter
from uair.frontends.onnx import load_bytes
from uair.ir.dtype import Array, DType
from uair.ir.module import Module
from uair.ir.verify import verify

Nodes = Sequence[onnx.NodeProto]

F32, I64 = TensorProto.FLOAT, TensorProto.INT64


def rng(seed: int = 0) -> np.random.Generator:
    """Random numbers, the same for the same seed."""
    return np.random.default_rng(seed)


def floats(*shape: int, seed: int = 0) -> Array:
    """Normally distributed f32 numbers."""
    return rng(seed).standard_normal(shape).astype(np.float32)


def model(
    nodes: Nodes,
    inputs: Mapping[str, Any],
    outputs: Sequence[str] = ("y",),
    *,
    constants: Mapping[str, Array] | None = None,
    opset: int = 17,
    ir_version: int = 8,
    **more: Any,
) -> onnx.ModelProto:
    """A model.

    Args:
        nodes: its nodes.
        inputs: by name an array (whose type and shape are declared), or (element type, shape).
        outputs: names; their types are left open.
        constants: initializers.
        opset: of the default domain; com.microsoft is imported too when a node is of it.
        ir_version: of the model.
        more: of `make_graph` (value_info, sparse_initializer) and `make_model` (functions).
    """
    values = []
    for name, given in inputs.items():
        kind, shape = given if isinstance(given, tuple) else (helper.np_dtype_to_tensor_dtype(given.dtype), given.shape)
        values.append(helper.make_tensor_value_info(name, kind, shape))
    results = []
    for name in outputs:
        value = onnx.ValueInfoProto()
        value.name = name
        results.append(value)
    stored = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    functions = more.pop("functions", [])
    graph = helper.make_graph(list(nodes), "g", values, results, stored, **more)
    imports = [helper.make_opsetid("", opset)]
    domains = {n.domain for n in nodes if n.domain} | {f.domain for f in functions}
    imports += [helper.make_opsetid(domain, 1) for domain in sorted(domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, functions=functions)


def one(op_type: str, *inputs: str, outputs: Any = ("y",), domain: Any = "", **attributes: Any) -> Any:
    """A node."""
    return helper.make_node(op_type, list(inputs), list(outputs), domain=domain, **attributes)


def imported(proto: onnx.ModelProto) -> Module:
    """The verified module of a model."""
    module = load_bytes(proto.SerializeToString(), name="test.onnx")
    verify(module)
    return module


def interpreted(module: Module, feeds: Mapping[str, Any]) -> list[Array]:
    """Outputs of the reference interpreter in order."""
    results = Interpreter(module).run(feeds)
    return [results[name] for name in module.main.output_names]


def onnxruntime_outputs(proto: onnx.ModelProto, feeds: Mapping[str, Any]) -> list[Array]:
    """Outputs of onnxruntime, without its optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(r) for r in session.run(None, dict(feeds))]


def check(proto: onnx.ModelProto, feeds: Mapping[str, Any], *, rtol: float = 1e-5, atol: float = 1e-6) -> Module:
    """Import, interpret, and compare type, shape and values with onnxruntime."""
    module = imported(proto)
    got, want = interpreted(module, feeds), onnxruntime_outputs(proto, feeds)
    assert len(got) == len(want)
    for mine, theirs in zip(got, want, strict=True):
        assert DType.from_numpy(mine.dtype) is DType.from_numpy(theirs.dtype)
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine.astype(np.float64), theirs.astype(np.float64), rtol=rtol, atol=atol)
    return module


def op_types(module: Module) -> list[str]:
    """Operators of the main graph in order."""
    return [node.op_type for node in module.main]
