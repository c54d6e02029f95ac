"""Every element type through import, text and the writer: as input, initializer, constant, and in every stored form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.ops.test_conversion import values
from uair.codegen.onnx import export, model_bytes
from uair.codegen.onnx.schema import ONNX_TYPE
from uair.codegen.reference import Interpreter
from uair.frontends.onnx import load, load_bytes
from uair.ir import Array, DType, Module
from uair.ir.verify import verify
from uair.text import parse_module, print_module

NEWEST = onnx.defs.onnx_opset_version()
TYPES = [d for d in DType if d not in (DType.C64, DType.C128)]


def sample(dtype: DType, count: int) -> Array:
    """Numbers of a type, without NaN (their bits may be spelled in several ways)."""
    if dtype is DType.STRING:
        return np.array(["a", "", "é", '"quoted"'] * (count // 4 + 1), object)[:count]
    x = values(dtype)
    if dtype.is_float:
        with np.errstate(invalid="ignore"):  # NaNs that signal
            x = x[np.isfinite(x.astype(np.float64))]
    if dtype is DType.F8E8M0:
        x = x[1:]  # onnx's make_tensor writes 2^-127 as 2^-126
    return np.resize(x[:: max(len(x) // max(count, 1), 1)], count)


def tensor(name: str, x: Array, dtype: DType, raw: bool) -> TensorProto:
    """A stored tensor in raw bytes or in the field of its type."""
    if dtype is DType.STRING or raw:
        return numpy_helper.from_array(x, name)
    return helper.make_tensor(name, ONNX_TYPE[dtype], x.shape, x.reshape(-1), raw=False)


def proto(x: Array, dtype: DType, raw: bool) -> bytes:
    """A model that gives its input, an initializer and a constant, all of one type."""
    kind = ONNX_TYPE[dtype]
    values_of = {name: helper.make_tensor_value_info(name, kind, x.shape) for name in ("x", "p", "q", "r")}
    nodes = [
        helper.make_node("Identity", ["x"], ["p"]),
        helper.make_node("Identity", ["w"], ["q"]),
        helper.make_node("Constant", [], ["c"], value=tensor("c", x[::-1].copy(), dtype, raw)),
        helper.make_node("Identity", ["c"], ["r"]),
    ]
    graph = helper.make_graph(nodes, "g", [values_of["x"]], [values_of[n] for n in "pqr"], [tensor("w", x, dtype, raw)])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", NEWEST)])
    return bytes(model.SerializeToString())


def outputs(module: Module, x: Array) -> list[Any]:
    verify(module)
    return [np.asarray(v) for v in Interpreter(module).run({"x": x}).values()]


def assert_same(got: Array, want: Array) -> None:
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if want.dtype == object:
        assert got.tolist() == want.tolist()
    else:
        assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("count", [0, 1, 5, 40])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_there_and_back(dtype: DType, count: int, raw: bool) -> None:
    x = sample(dtype, count)
    module = load_bytes(proto(x, dtype, raw), name="types.onnx")
    for form in (module, load_bytes(model_bytes(module, opset=NEWEST), name="again.onnx")):
        for got, want in zip(outputs(form, x), (x, x, x[::-1]), strict=True):
            assert_same(got, want)
    if count < 32:
        text = print_module(module)
        again = parse_module(text)
        assert print_module(again) == text
        for got, want in zip(outputs(again, x), (x, x, x[::-1]), strict=True):
            assert_same(got, want)


@pytest.mark.parametrize("dtype", [d for d in TYPES if d is not DType.STRING], ids=str)
def test_large_tensors(dtype: DType, tmp_path: Path) -> None:
    """Mapped from the file, and from a file beside it."""
    x = sample(dtype, 9001)
    path, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    path.write_bytes(proto(x, dtype, raw=True))
    module = load(path)
    export(module, other, opset=NEWEST, external_data=True)
    for form in (module, load(other)):
        for got, want in zip(outputs(form, x), (x, x, x[::-1]), strict=True):
            assert_same(got, want)


@pytest.mark.parametrize("dtype", [d for d in TYPES if d is not DType.STRING], ids=str)
def test_onnx_reads_what_is_written(dtype: DType) -> None:
    x = sample(dtype, 21)
    module = load_bytes(proto(x, dtype, raw=True), name="types.onnx")
    written = onnx.load_from_string(model_bytes(module, opset=NEWEST))
    onnx.checker.check_model(written)
    stored = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    assert any(a.dtype == x.dtype and a.tobytes() == x.tobytes() for a in stored.values())


@pytest.mark.parametrize("dtype", [d for d in TYPES if d is not DType.STRING], ids=str)
def test_values_over_a_shape(dtype: DType) -> None:
    """ConstantOfShape and Shape in the types that their schemas allow."""
    schema = onnx.defs.get_schema("ConstantOfShape", NEWEST)
    name = f"tensor({TensorProto.DataType.Name(ONNX_TYPE[dtype]).lower()})"
    element = sample(dtype, 8)[5:6]
    fill = helper.make_node("ConstantOfShape", ["s"], ["y"], value=tensor("v", element, dtype, raw=True))
    nodes = [fill, helper.make_node("Shape", ["y"], ["n"])]
    results = [helper.make_tensor_value_info("y", ONNX_TYPE[dtype], [2, 3]),
               helper.make_tensor_value_info("n", TensorProto.INT64, [2])]  # fmt: skip
    shape = numpy_helper.from_array(np.array([2, 3]), "s")
    graph = helper.make_graph(nodes, "g", [], results, [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", NEWEST)])
    module = load_bytes(model.SerializeToString(), name="fill.onnx")
    got = Interpreter(module).run({})
    assert_same(np.asarray(got["y"]), np.full((2, 3), element[0]).astype(dtype.numpy))
    assert got["n"].tolist() == [2, 3]
    assert name in {t for c in schema.type_constraints for t in c.allowed_type_strs} or dtype.bits == 6
