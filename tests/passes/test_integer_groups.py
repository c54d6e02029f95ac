"""Products of integers with the scales behind them: what onnxruntime computes as one is a group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

import uair
from uair.passes.form_groups import FormGroups
from uair.pipeline import PassManager

Nodes = list[NodeProto]
make = helper.make_node

QUANTIZED = make("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
PRODUCT = make("MatMulInteger", ["q", "w", "z", "wz"], ["a"])
CAST = make("Cast", ["a"], ["c"], to=TensorProto.FLOAT)
SCALE = make("Mul", ["s", "ws"], ["t"])
FRONT = [QUANTIZED, PRODUCT, CAST]


def scaled(name: str) -> Nodes:
    """Up to the product with both scales."""
    return [*FRONT, SCALE, make("Mul", ["c", "t"], [name])]


def twice(scale: str) -> Nodes:
    """Two products of the same integers; the second one's scale may be the first one's."""
    second = [make("MatMulInteger", ["q", "v", "z", "wz"], ["a2"]), make("Cast", ["a2"], ["c2"], to=TensorProto.FLOAT)]
    if scale != "t":
        second.append(make("Mul", ["s", "wide"], [scale]))
    return [*scaled("m"), *second, make("Mul", ["c2", scale], ["m2"]), make("Sub", ["m", "m2"], ["y"])]


CONSTANTS: dict[str, np.ndarray] = {
    "w": np.arange(-64, 64, dtype=np.int8).reshape(16, 8),
    "v": np.arange(64, -64, -1, dtype=np.int8).reshape(16, 8),
    "k": np.arange(-72, 72, dtype=np.int8).reshape(8, 2, 3, 3),
    "wz": np.array(0, np.int8),
    "ws": np.array(0.02, np.float32),
    "wide": np.linspace(0.01, 0.02, 8, dtype=np.float32),
    "b": np.linspace(-1, 1, 8, dtype=np.float32),
    "map": np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8),
    "two": np.array([2, 2, 8], np.int64),
}
MODELS: dict[str, Callable[[], Nodes]] = {
    "scales": lambda: scaled("y"),
    "scales by column": lambda: [*FRONT, make("Mul", ["s", "wide"], ["t"]), make("Mul", ["c", "t"], ["y"])],
    "bias": lambda: [*scaled("m"), make("Add", ["m", "b"], ["y"])],
    "bias in front": lambda: [*scaled("m"), make("Add", ["b", "m"], ["y"])],
    "sum with a map": lambda: [*scaled("m"), make("Add", ["m", "map"], ["y"])],
    "bias and activation": lambda: [*scaled("m"), make("Add", ["m", "b"], ["n"]), make("Relu", ["n"], ["y"])],
    "view in front of the bias": lambda: [
        *scaled("m"),
        make("Reshape", ["m", "two"], ["n"]),
        make("Add", ["n", "b"], ["y"]),
    ],
    "integers read twice": lambda: twice("t2"),
    "scale read twice": lambda: twice("t"),
    "one scale": lambda: [*FRONT, make("Mul", ["c", "ws"], ["y"])],
    "no scale": lambda: [QUANTIZED, PRODUCT, make("Cast", ["a"], ["y"], to=TensorProto.FLOAT)],
    "integers returned": lambda: [*scaled("m"), make("Cast", ["q"], ["f"], to=TensorProto.FLOAT)],
    "two computed operands": lambda: [
        QUANTIZED,
        make("Transpose", ["x"], ["xt"], perm=[1, 0]),
        make("DynamicQuantizeLinear", ["xt"], ["q2", "s2", "z2"]),
        make("MatMulInteger", ["q", "q2", "z", "z2"], ["a"]),
        CAST,
        make("Mul", ["s", "s2"], ["t"]),
        make("Mul", ["c", "t"], ["y"]),
    ],
}


def model_of(nodes: Nodes) -> onnx.ModelProto:
    read = {name for node in nodes for name in node.input}
    made = [name for node in nodes for name in node.output]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in made if n not in read and n != "z"]
    constants = [numpy_helper.from_array(array, name) for name, array in CONSTANTS.items() if name in read]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 16])
    graph = helper.make_graph(nodes, "g", [x], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def left_by_onnxruntime(path: Path, folder: Path) -> int:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return len(onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("name", MODELS)
def test_groups_are_what_onnxruntime_computes_as_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model_of(MODELS[name]()), path)
    module = uair.optimize(uair.load(path))
    plain = module.clone()
    PassManager([FormGroups()]).run(module)
    uair.export_onnx(plain, path)
    assert len(module.main) == left_by_onnxruntime(path, tmp_path)
    x = np.random.default_rng(0).standard_normal((4, 16)).astype(np.float32)
    for want, got in zip(uair.run(plain, {"x": x}).values(), uair.run(module, {"x": x}).values(), strict=True):
        np.testing.assert_array_equal(got, want)
