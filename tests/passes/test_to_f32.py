"""Whole models in f32: interface, weights, control flow, and what stays between Casts; against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.codegen.onnx.running import run as run_onnx
from uair import api
from uair.codegen.onnx import model_bytes
from uair.codegen.reference import run
from uair.frontends.onnx import load_bytes
from uair.ir.dtype import DType
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.passes.to_f32 import ToF32
from uair.pipeline import PassContext
from uair.rewrite import Fuel
from uair.text import parse_module


def converted(module: Module, context: PassContext | None = None, **options: object) -> Module:
    result = module.clone()
    ToF32(**options).run(result, context or PassContext())  # type: ignore[arg-type]
    verify(result)
    return result


def float_types(module: Module) -> set[DType]:
    return {
        t.type.dtype
        for graph in module.all_graphs()
        for t in (*graph.inputs, *(t for n in graph for t in (*n.inputs, *n.outputs) if t is not None), *graph.outputs)
        if t.type.dtype.is_float
    }


def network(kind: int) -> onnx.ModelProto:
    """A product, a mask with the type's least number, a Loop over a state, an If, a Cast."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    rng = np.random.default_rng(0)
    least = numpy_helper.from_array(np.array(np.finfo(dtype).min, dtype), "least")
    weight = numpy_helper.from_array((rng.normal(size=(6, 6)) / 3).astype(dtype), "w")
    half = numpy_helper.from_array(np.array(0.5, dtype), "half")
    state = helper.make_tensor_value_info("s", kind, [1, 3, 6, 6])
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["s", "half"], ["scaled"]),
            helper.make_node("Add", ["scaled", "a"], ["next"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            state,
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("next", kind, None)],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["a"]),
        helper.make_node("Loop", ["three", "", "a"], ["looped"], body=body),
        helper.make_node("Greater", ["looped", "half"], ["large"]),
        helper.make_node("Where", ["large", "looped", "least"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["y"], axis=3),
        helper.make_node("Cast", ["looped"], ["z"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["y"], ["k"], axis=1),
    ]
    outputs = {"y": kind, "z": TensorProto.FLOAT, "k": TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, [1, 3, 6, 6])],
        [helper.make_tensor_value_info(name, t, None) for name, t in outputs.items()],
        [weight, half, least, numpy_helper.from_array(np.array(3), "three")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("kind", "tolerance"), [(TensorProto.FLOAT16, 4e-3), (TensorProto.DOUBLE, 2e-6)])
def test_a_model_with_control_flow_against_onnxruntime(kind: int, tolerance: float) -> None:
    raw = network(kind).SerializeToString()
    module = converted(load_bytes(raw))
    assert float_types(module) == {DType.F32}
    x = np.random.default_rng(1).normal(size=(1, 3, 6, 6)).astype(np.float16)
    want = run_onnx(raw, {"x": x.astype(helper.tensor_dtype_to_np_dtype(kind))})
    feeds = {"x": x.astype(np.float32)}
    for got in (run(module, feeds), run_onnx(model_bytes(module, opset=17), feeds)):
        assert got["y"].dtype == got["z"].dtype == np.float32
        for name in ("y", "z"):
            np.testing.assert_allclose(got[name], want[name].astype(np.float64), rtol=tolerance, atol=tolerance)


def test_float64_in_the_middle_and_at_the_end() -> None:
    module = parse_module(
        "constant @c = 0.5 : f64[]  %x: f32[3]  %a = Cast(%x) {to = f64}  %b = Mul(%a, @c)  %e = Exp(%b)  "
        '%s = Cast(%b) {to = f32}  return "s" = %s, "e" = %e'
    )
    feeds = {"x": np.array([0.1, -2.0, 3.0], np.float32)}
    expected = run(module, feeds)
    context = PassContext()
    assert ToF32(types=("f64",), inputs=False).run(module, context)
    verify(module)
    assert context.reports["to-f32"] == ["output 'e' is f32 instead of f64"]
    actual = run(module, feeds)
    for key, value in expected.items():
        assert actual[key].dtype == np.float32
        np.testing.assert_allclose(actual[key], value, rtol=1e-6)
    assert not ToF32(types=("f64",), inputs=False).run(module, PassContext())


def test_inputs_only_when_asked_for() -> None:
    module = parse_module('%x: f64[3]  %y = Exp(%x)  return "y" = %y')
    assert not ToF32(inputs=False).run(module, PassContext())
    context = PassContext()
    assert float_types(converted(module, context)) == {DType.F32}
    assert context.reports["to-f32"] == ["input 'x' is f32 instead of f64", "output 'y' is f32 instead of f64"]


def test_what_is_in_the_bits_stays_between_casts() -> None:
    module = parse_module(
        "%x: f16[4]  %a = Neg(%x)  %i = BitCast(%a) {to = i16}  %b = BitCast(%i) {to = f16}  %y = Abs(%b)  "
        'return "y" = %y'
    )
    x = np.array([1, -2.5, 0, 60000], np.float16)
    wide = converted(module)
    assert [n.op_type for n in wide.main] == ["Neg", "Cast", "BitCast", "BitCast", "Cast", "Abs"]
    np.testing.assert_array_equal(run(wide, {"x": x.astype(np.float32)})["y"], run(module, {"x": x})["y"])


def test_numbers_beyond_f32() -> None:
    module = parse_module('constant @c = [1e300, -1e300, inf] : f64[3]  %x: f64[3]  %y = Add(%x, @c)  return "y" = %y')
    y = run(converted(module), {"x": np.zeros(3, np.float32)})["y"]
    greatest = np.finfo(np.float32).max
    np.testing.assert_array_equal(y, np.array([greatest, -greatest, np.inf], np.float32))


@pytest.mark.parametrize("units", range(4))
def test_fuel_ends_the_pass_in_a_sound_module(units: int) -> None:
    """What is not converted any more keeps its types between Casts."""
    module = parse_module('%x: f16[3]  %a = Exp(%x)  %b = Neg(%a)  %y = Abs(%b)  return "y" = %y')
    part = converted(module, PassContext(fuel=Fuel(units)))
    x = np.array([0.1, 1, 2], np.float16)
    want = run(module, {"x": x})["y"]
    np.testing.assert_allclose(run(part, {"x": x.astype(np.float32)})["y"], want, rtol=2e-3)


def test_the_hint_of_a_verdict_is_a_command_that_helps(tmp_path: Path) -> None:
    source, wide = tmp_path / "m.onnx", tmp_path / "wide.onnx"
    source.write_bytes(network(TensorProto.DOUBLE).SerializeToString())
    module = api.load(source)
    hints = {row.verdict.suggestion for row in api.check(module, "ascend310")[0].rows}
    assert any("uair opt MODEL -p to-f32 -o " in hint for hint in hints), hints
    api.run_pipeline(module, "to-f32,canonicalise")
    api.export_onnx(module, wide)
    assert not any("f64" in row.verdict.reason for row in api.check(wide, "ascend310")[0].rows)
