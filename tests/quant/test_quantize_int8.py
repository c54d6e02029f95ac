"""The pass: what it quantizes, what it leaves, what it reports, and how good it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.quant.networks import Builder, all_products, branches, samples, scheme_of, small_cnn
from uair.api import export_onnx
from uair.artifact import to_json
from uair.codegen.reference import run
from uair.context import Context
from uair.errors import UnknownNameError
from uair.ir.dtype import DType
from uair.ir.graph import Node, constant
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops import Add, Conv2D, Dequantize, Exp, GlobalAvgPool, Linear, Neg, Quantize, Sqrt
from uair.passes.quantize_int8 import QuantizeInt8
from uair.pipeline import PassContext, PassManager
from uair.pipeline_syntax import parse_pipeline
from uair.quant.errors import CalibrationSourceError, EmptyCalibrationError, QuantizationError, SchemeError
from uair.quant.parameters import sqnr
from uair.quant.scheme import Scheme
from uair.rewrite import Fuel
from uair.text import parse_module


def quantize(module: Module, feeds: Any = None, context: PassContext | None = None, **options: Any) -> dict[str, Any]:
    """Quantize in place, verified; the report."""
    context = context or PassContext()
    feeds = samples() if feeds is None else feeds
    PassManager([QuantizeInt8(samples=feeds, **options)], context=context).run(module)
    report: dict[str, Any] = context.reports["quantization"]
    assert json.loads(to_json(report))["summary"]["quantized"] == report["summary"]["quantized"]
    return report


def by_name(module: Module, name: str) -> Node:
    return next(node for node in module.main if node.name == name)


def reads_integers(node: Node, i: int) -> bool:
    tensor = node.inputs[i]
    return tensor is not None and tensor.producer is not None and isinstance(tensor.producer.op, Dequantize)


def test_only_operands_of_operators_with_weights_are_quantized() -> None:
    module = small_cnn()
    report = quantize(module)
    for name in ("stem", "depthwise", "no_bias", "fc"):
        assert reads_integers(by_name(module, name), 0)
        assert reads_integers(by_name(module, name), 1)
    for name in ("relu1", "residual", "pool", "gap", "prob"):
        assert not reads_integers(by_name(module, name), 0)
    assert reads_integers(by_name(module, "fc"), 2)
    assert report["summary"]["quantized"] == 4
    assert report["skipped"] == []
    # relu1 feeds a quantized convolution and a float addition: one pair, and the addition takes the real tensor
    assert len([n for n in module.main if isinstance(n.op, Quantize)]) == 4
    assert by_name(module, "residual").inputs[1] is by_name(module, "relu1").output


def test_integers_and_scales_in_the_graph() -> None:
    module = small_cnn()
    before = small_cnn()
    quantize(module, scheme=scheme_of("cpu"))
    stem = by_name(module, "stem")
    x, w, bias = (t.producer for t in stem.inputs if t is not None)
    assert x is not None and w is not None and bias is not None
    weight, scale = w.inputs[0], w.inputs[1]
    assert weight is not None and scale is not None
    assert weight.type.dtype is DType.I8
    assert weight.numpy().min() >= -127
    assert scale.numpy().shape == (8,)
    original = by_name(before, "stem").inputs[1]
    assert original is not None
    error = np.abs(w.op.evaluate_all([weight.numpy(), scale.numpy(), np.zeros(8, np.int8)])[0] - original.numpy())
    assert (error.reshape(8, -1).max(axis=1) <= 20 * scale.numpy()).all()
    integers, bias_scale = bias.inputs[0], bias.inputs[1]
    assert integers is not None and bias_scale is not None and x.inputs[1] is not None
    assert integers.type.dtype is DType.I32
    assert np.array_equal(bias_scale.numpy(), x.inputs[1].numpy() * scale.numpy())


def test_quality_and_report() -> None:
    module, reference = small_cnn(), small_cnn()
    report = quantize(module)
    for feeds in samples(4, seed=99):
        want, got = run(reference, feeds), run(module, feeds)
        assert sqnr(want["y1"], got["y1"]) > 30
    assert report["summary"]["outputs"]["y1"]["sqnr_db"] > 30
    assert report["summary"]["calibration"]["samples"] == 16
    assert len(report["summary"]["calibration"]["sha256"]) == 64
    assert set(report["summary"]["trials"]) == {"minmax", "percentile", "mse"}
    assert report["summary"]["ranges"] == min(report["summary"]["trials"], key=report["summary"]["trials"].get)
    entries = {entry["name"]: entry for entry in report["nodes"]}
    stem = entries["stem"]
    assert stem["operator"] == "Conv2D"
    assert stem["sources"] == ["Conv2D 'source/stem'"]
    assert stem["activations"]["x"]["tensor"] == "x"
    assert stem["activations"]["x"]["dtype"] == "i8"
    assert stem["weight"]["scales"] == 8
    assert stem["bias"] == "i32"
    assert entries["no_bias"]["bias"] == "float"
    assert all(entry["quality"]["sqnr_db"] > 30 for entry in entries.values())


def test_results_do_not_depend_on_the_run() -> None:
    from uair.ir.compare import difference

    one, two = small_cnn(), small_cnn()
    assert quantize(one) == quantize(two)
    assert difference(one, two) == ""


def test_locations_and_names() -> None:
    module = small_cnn()
    quantize(module)
    for node in module.main:
        assert node.loc.sources
        if isinstance(node.op, (Quantize, Dequantize)):
            assert "quantize-int8" in node.loc.by


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_one_way_of_choosing_ranges(method: str) -> None:
    module = small_cnn()
    report = quantize(module, range=method)
    assert report["summary"]["ranges"] == method
    assert report["summary"]["trials"] == {}
    assert {a["method"] for e in report["nodes"] for a in e["activations"].values()} == {method}
    assert report["summary"]["outputs"]["y1"]["sqnr_db"] > 25


def test_minmax_covers_what_was_seen() -> None:
    module = small_cnn()
    feeds = samples(8)
    report = quantize(module, feeds, range="minmax")
    low, high = report["nodes"][0]["activations"]["x"]["range"]
    values = np.stack([f["x"] for f in feeds])
    assert low == pytest.approx(float(values.min()), rel=0.02)
    assert high == pytest.approx(float(values.max()), rel=0.02)


def test_every_kind_of_product() -> None:
    feeds = samples(16, (1, 4, 6, 6))
    module = all_products()
    report = quantize(module, feeds)
    assert {e["name"] for e in report["nodes"]} == {
        "transposed", "down", "matmul", "matmul_t", "linear", "batched"
    }  # fmt: skip
    assert [(e["name"], e["reason"]) for e in report["skipped"]] == [("attention", "its weight is not a constant")]
    axes = {e["name"]: (e["weight"]["axis"], e["weight"]["scales"]) for e in report["nodes"]}
    assert axes == {
        "transposed": (1, 3), "down": (0, 4), "matmul": (1, 7), "matmul_t": (0, 9), "linear": (1, 4),
        "batched": (None, 1),
    }  # fmt: skip
    assert report["summary"]["outputs"]["y"]["sqnr_db"] > 25
    both = all_products()
    report = quantize(both, feeds, scheme=Scheme(two_activations=True))
    assert reads_integers(by_name(both, "attention"), 0)
    assert reads_integers(by_name(both, "attention"), 1)


def test_granularity_follows_scheme_and_option() -> None:
    feeds = samples(16, (1, 4, 6, 6))
    report = quantize(all_products(), feeds, target="ascend310")
    scales = {e["name"]: e["weight"]["scales"] for e in report["nodes"]}
    assert scales == {"transposed": 3, "down": 4, "matmul": 1, "matmul_t": 1, "linear": 1, "batched": 1}
    report = quantize(all_products(), feeds, per_channel=False)
    assert {e["weight"]["scales"] for e in report["nodes"]} == {1}


@pytest.mark.parametrize("dtype", [DType.I8, DType.U8])
@pytest.mark.parametrize("symmetric", [False, True])
def test_schemes_of_activations_and_biases(dtype: DType, *, symmetric: bool) -> None:
    module = small_cnn()
    report = quantize(module, scheme=Scheme(activation=dtype, symmetric=symmetric, bias=None))
    assert report["summary"]["outputs"]["y1"]["sqnr_db"] > 22
    assert not reads_integers(by_name(module, "fc"), 2)
    zero_points = [a["zero_point"] for e in report["nodes"] for a in e["activations"].values()]
    if symmetric:
        assert set(zero_points) == {0 if dtype is DType.I8 else 128}


def test_regions_are_quantized_whole_up_to_the_last_weight() -> None:
    module = branches()
    report = quantize(module, samples(16, (1, 3, 6, 6)), target="rk3588")
    for name in ("left", "right", "concat", "last", "factor"):
        assert reads_integers(by_name(module, name), 0), name
    assert reads_integers(by_name(module, "factor"), 1)  # the constant factor
    assert {e["name"] for e in report["skipped"]} == {"tail_relu", "tail_concat"}
    assert not reads_integers(by_name(module, "tail_relu"), 0)
    # Concat keeps integers: its operands and its result share scale and zero point
    concat = by_name(module, "concat")
    shared = [t.producer.inputs[1].numpy() for t in concat.inputs if t is not None and t.producer is not None]  # type: ignore[union-attr]
    result = by_name(module, "last").inputs[0]
    assert result is not None and result.producer is not None and result.producer.inputs[1] is not None
    assert shared[0] == shared[1] == result.producer.inputs[1].numpy()
    assert report["summary"]["outputs"]["y"]["sqnr_db"] > 25


WIDE = np.array([-20, 20, 0.5, 1], np.float32).reshape(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("op", "low", "high"),
    [
        ("HardSwish", -3.0, 20.0),
        ("HardSigmoid {alpha = 0.5, beta = 0.5}", -1.0, 1.0),
        ("Clip {min = -2.0, max = 6.0}", -2.0, 6.0),
        ("Sigmoid", -20.0, 20.0),
    ],
)
def test_integers_are_not_spent_on_values_that_make_no_difference(op: str, low: float, high: float) -> None:
    """Below -3 HardSwish is 0: what the Concat in front of it moves is covered from there on."""
    name, _, attributes = op.partition(" ")
    text = "constant @w = [1.0] : f32[1,1,1,1]  %x: f32[1,1,2,2]  %c = Conv2D(%x, @w)  "
    text += (
        f"%m = Concat(%c, %c) {{axis = 1}}  %a = {name}(%m) {attributes}  %r = Slice(%a) {{axes = [1], starts = [0],"
    )
    text += " ends = [1], steps = [1]}  %y = Conv2D(%r, @w)"
    module = parse_module(text)
    quantize(
        module, [{"x": np.array([-20, 20, 0.5, 1], np.float32).reshape(1, 1, 2, 2)}], target="rk3588", range="minmax"
    )
    pair = next(node for node in module.main if node.op_type == "Concat").inputs[0].producer  # type: ignore[union-attr]
    scale, zero = (t.numpy().item() for t in pair.inputs[1:] if t is not None)  # type: ignore[union-attr]
    assert (-128 - zero) * scale == pytest.approx(low, abs=scale)
    assert (127 - zero) * scale == pytest.approx(high, abs=scale)


def test_what_else_reads_a_value_decides_too() -> None:
    """The sum needs the values below -3 that HardSwish does not."""
    text = "constant @w = [1.0] : f32[1,1,1,1]  %x: f32[1,1,2,2]  %c = Conv2D(%x, @w)  "
    module = parse_module(text + "%a = HardSwish(%c)  %s = Add(%a, %c)  %y = Conv2D(%s, @w)")
    quantize(
        module, [{"x": np.array([-20, 20, 0.5, 1], np.float32).reshape(1, 1, 2, 2)}], target="rk3588", range="minmax"
    )
    pair = next(node for node in module.main if node.op_type == "HardSwish").inputs[0].producer  # type: ignore[union-attr]
    scale, zero = (t.numpy().item() for t in pair.inputs[1:] if t is not None)  # type: ignore[union-attr]
    assert (-128 - zero) * scale == pytest.approx(-20, abs=scale)


def test_what_is_computed_in_float_is_moved_in_float() -> None:
    text = (
        "constant @w = [1.0,2.0] : f32[2,1,1,1]  %x: f32[1,1,2,2]  %e = Exp(%x)  %r = Reshape(%e) {shape = [1,1,4,1]}  "
    )
    module = parse_module(text + "%c = Conv2D(%r, @w)  %t = Reshape(%c) {shape = [2,1,2,2]}  %y = Conv2D(%t, @w)")
    report = quantize(module, [{"x": np.ones((1, 1, 2, 2), np.float32)}], target="rk3588")
    first, second = (node for node in module.main if node.op_type == "Reshape")
    assert not reads_integers(first, 0)
    assert reads_integers(second, 0)
    assert [e["reason"] for e in report["skipped"]] == ["it only moves what is computed in float"]


def test_activation_functions_are_computed_with_the_node_before() -> None:
    module = small_cnn()
    report = quantize(module, target="rk3588")
    assert not reads_integers(by_name(module, "relu1"), 0)
    assert not reads_integers(by_name(module, "relu2"), 0)
    assert [reads_integers(by_name(module, "residual"), i) for i in (0, 1)] == [False, True]
    assert reads_integers(by_name(module, "gap"), 0)
    assert report["summary"]["outputs"]["y1"]["sqnr_db"] > 20
    compute = small_cnn()
    assert quantize(compute, target="rk3588", placement="compute")["summary"]["quantized"] == 4


@pytest.mark.parametrize("pattern", ["fc", "source/fc", "Linear", "source/f*", "f?"])
def test_skipping(pattern: str) -> None:
    module = small_cnn()
    report = quantize(module, skip=(pattern,))
    assert [(e["name"], e["reason"]) for e in report["skipped"]] == [("fc", f"skipped by {pattern!r}")]
    assert not reads_integers(by_name(module, "fc"), 0)


def test_skip_patterns_that_fit_nothing() -> None:
    with pytest.raises(UnknownNameError, match="'head', which is no node"):
        quantize(small_cnn(), skip=("head",))
    assert "skip pattern 'head*' fits no node" in quantize(small_cnn(), skip=("head*",))["notes"]


def test_nothing_to_quantize() -> None:
    b = Builder(1, 4)
    module = b.done(b.add(Exp(), b.x))
    report = quantize(module, [{"x": np.zeros((1, 4), np.float32)}])
    assert report["summary"]["quantized"] == 0
    assert any("nothing was quantized" in note for note in report["notes"])
    assert len(module.main) == 1


def test_nodes_that_cannot_be_quantized_stay_float_with_a_reason() -> None:
    b = Builder(1, 4)
    product = b.add(Linear(), b.x, constant(np.full((3, 4), np.inf, np.float32), "w_inf"), name="infinite")
    ok = b.add(Linear(), b.x, b.weight(3, 4), name="fine")
    module = b.done(ok, product)
    feeds = [{"x": np.random.default_rng(i).uniform(0.1, 1, (1, 4)).astype(np.float32)} for i in range(4)]
    report = quantize(module, feeds)
    assert [(e["name"], e["reason"]) for e in report["skipped"]] == [
        ("infinite", "weight 'w_inf' has values that are not finite")
    ]
    b = Builder(1, 4)
    module = b.done(b.add(Linear(), b.x, b.weight(3, 4), name="wide"))
    report = quantize(module, feeds, scheme=Scheme(scale_max=1e-5))
    assert report["summary"]["quantized"] == 0
    assert "the target allows 1e-05" in report["skipped"][0]["reason"]


def test_other_element_types_stay_as_they_are() -> None:
    from uair.ir.graph import Graph
    from uair.ir.types import TensorType

    module = Module("half", {"main": Graph()})
    x = module.main.add_input("x", TensorType(DType.F16, (1, 4)))
    node = Linear().node(x, constant(np.ones((2, 4), np.float16)), name="half")
    module.main.add_output("y", module.main.append(node).output)
    report = quantize(module, [{"x": np.ones((1, 4), np.float16)}])
    assert report["skipped"][0]["reason"] == "its element type is f16"


def test_shared_activations_and_weights() -> None:
    b = Builder(1, 3, 4, 4)
    w = b.weight(3, 3, 1, 1)
    first = b.add(Conv2D(), b.x, w, name="first")
    second = b.add(Conv2D(), first, w, name="second")
    third = b.add(Conv2D(), first, b.weight(2, 3, 1, 1), name="third")
    module = b.done(second, third, first)
    quantize(module, samples(4, (1, 3, 4, 4)))
    assert len([n for n in module.main if isinstance(n.op, Quantize)]) == 2
    assert by_name(module, "second").inputs[0] is by_name(module, "third").inputs[0]
    assert module.main.outputs[2] is by_name(module, "first").output  # "compute": other users take the real tensor


def test_activations_that_are_not_finite() -> None:
    b = Builder(1, 4)
    module = b.done(b.add(Linear(), b.add(Exp(), b.x, name="exp"), b.weight(2, 4)))
    with pytest.raises(QuantizationError, match="'exp' takes the value inf") as caught:
        quantize(module, [{"x": np.full((1, 4), 1e3, np.float32)}])
    assert caught.value.place == "calibration sample 0"
    assert "it arises in Exp 'exp', from Exp 'source/exp': an infinity at [0, 0], 4 of 4 values" in caught.value.message
    assert len(module.main) == 2


def test_a_nan_is_followed_to_the_node_that_made_it() -> None:
    """Not the node whose result was looked at; and the sample is counted."""
    b = Builder(1, 4)
    root = b.add(Sqrt(), b.x, name="root")
    last = b.add(Neg(), b.add(Add(), root, root, name="twice"), name="negative")
    module = b.done(b.add(Linear(), last, b.weight(2, 4)))
    good, bad = np.ones((1, 4), np.float32), np.array([[1, 1, -2, 1]], np.float32)
    with pytest.raises(QuantizationError, match="'negative' takes the value nan") as caught:
        quantize(module, [{"x": good}, {"x": bad}])
    assert caught.value.place == "calibration sample 1"
    assert "it arises in Sqrt 'root', from Sqrt 'source/root': NaN at [0, 2], 1 of 4 values" in caught.value.message


def test_missing_samples_and_schemes() -> None:
    with pytest.raises(CalibrationSourceError, match="needs calibration data"):
        PassManager([QuantizeInt8()]).run(small_cnn())
    with pytest.raises(EmptyCalibrationError):
        quantize(small_cnn(), [])
    with pytest.raises(SchemeError, match="'reference' does not run quantized models"):
        quantize(small_cnn(), target="reference")


def test_fuel_limits_the_number_of_quantized_nodes() -> None:
    module = small_cnn()
    quantize(module, context=PassContext(fuel=Fuel(limit=2)))
    verify(module)
    assert reads_integers(by_name(module, "depthwise"), 0)
    assert not reads_integers(by_name(module, "no_bias"), 0)


def test_from_the_command_line_syntax(tmp_path: Path) -> None:
    for i, feeds in enumerate(samples(4)):
        np.save(tmp_path / f"{i}.npy", feeds["x"])
    text = f'quantize-int8{{calib="{tmp_path}" range=minmax skip=[fc] per-channel=false limit=3}}'
    (pass_,) = parse_pipeline(text, Context.default())
    context = PassContext()
    module = small_cnn()
    PassManager([pass_], context=context).run(module)
    report = context.reports["quantization"]
    assert report["summary"]["calibration"]["samples"] == 3
    assert report["summary"]["quantized"] == 3
    assert "range=minmax" in module.applied[-1].spec
    assert QuantizeInt8(samples=samples(), interpreter=run).spec == "quantize-int8"


@pytest.mark.parametrize("target", ["cpu", "ascend310", "rk3588"])
@pytest.mark.parametrize("network", [small_cnn, all_products, branches])
def test_onnxruntime_agrees_with_the_interpreter(target: str, network: Any, tmp_path: Path) -> None:
    module: Module = network()
    shape = tuple(d for d in module.main.inputs[0].type.dims if isinstance(d, int))
    quantize(module, samples(8, shape), target=target)
    export_onnx(module, tmp_path / "q.onnx", opset=17)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(tmp_path / "q.onnx", options, providers=["CPUExecutionProvider"])
    for feeds in samples(4, shape, seed=7):
        want = run(module, feeds)
        for output, got in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            # sums in another order move a value across a rounding boundary now and then: one step of an operand
            assert sqnr(want[output.name], np.asarray(got)) > 40


def test_the_skipping_operand_of_a_residual_sum() -> None:
    module = small_cnn()
    report = quantize(module, scheme=scheme_of("jetson_orin"))
    residual = by_name(module, "residual")
    assert [reads_integers(residual, i) for i in (0, 1)] == [False, True]
    assert reads_integers(by_name(module, "gap"), 0), "a mean in front of an operator with a weight is quantized too"
    assert not reads_integers(by_name(module, "pool"), 0), "pooling takes what comes"
    assert report["summary"]["quantized"] == 6


def test_sums_that_end_no_branch() -> None:
    b = Builder(1, 4, 6, 6)
    conv = b.add(Conv2D(), b.x, b.weight(4, 4, 1, 1), name="conv")
    used_twice = b.add(Add(), conv, b.x, name="used_twice")
    with_constant = b.add(Add(), b.add(Conv2D(), used_twice, b.weight(4, 4, 1, 1)), b.weight(1, 4, 1, 1), name="shift")
    broadcast = b.add(Conv2D(), b.add(GlobalAvgPool(), with_constant), b.weight(4, 4, 1, 1), name="small")
    last = b.add(Conv2D(), b.add(Add(), with_constant, broadcast, name="broadcast"), b.weight(4, 4, 1, 1), name="last")
    tail = b.add(Add(), last, conv, name="tail")
    module = b.done(tail, conv)
    report = quantize(module, samples(shape=(1, 4, 6, 6)), scheme=scheme_of("jetson_orin"))
    for name in ("used_twice", "shift", "broadcast", "tail"):
        assert not any(reads_integers(by_name(module, name), i) for i in (0, 1)), name
    reasons = [entry["reason"] for entry in report["skipped"]]
    assert reasons.count("it ends no residual branch") == 3
    assert reasons.count("no operator with a weight follows: the end of the graph stays float") == 1
