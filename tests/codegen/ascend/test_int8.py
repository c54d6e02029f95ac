"""INT8 for Ascend: what is written, executed by an evaluator of its own, is what UAIR's interpreter computes."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

import uair
from tests import zoo
from tests.codegen.ascend import device, models
from uair.artifact import Artifact
from uair.ir import Array, DType, Module, constant
from uair.ir.verify import verify
from uair.ops import Conv2D, Dequantize, MatMul, Quantize, Relu
from uair.pipeline import PassContext
from uair.request import Int8


@functools.cache
def artifact(name: str, folder: Path) -> tuple[Artifact, Sequence[dict[str, Array]]]:
    """A model compiled with INT8, and inputs it was not calibrated with."""
    if name == "ppocr_cls":
        model = zoo.models()[name]
        made = uair.compile(
            model.path,
            "ascend310",
            output=folder / name,
            shapes=dict(model.shapes),
            quantize=Int8(calibration=model.calibration(4)),
        )
        return made, [dict(model.feeds(seed)) for seed in range(2)]
    build: Callable[[], Module] = {"cnn": models.cnn, "linear": models.linear_net}[name]
    module = build()
    data = models.samples(module, 12)
    made = uair.compile(module, "ascend310", output=folder / name, quantize=Int8(calibration=data[:8]))
    return made, data[8:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("int8")


NAMES = ["cnn", "linear", "ppocr_cls"]


@pytest.mark.parametrize("name", NAMES)
def test_the_deploy_graph_computes_what_the_interpreter_does(name: str, folder: Path) -> None:
    made, feeds = artifact(name, folder)
    inputs = {e["source"]: e["name"] for e in made.manifest["ascend"]["inputs"]}
    outputs = {e["source"]: e["name"] for e in made.manifest["ascend"]["outputs"]}
    module = uair.load(made.file("model.uair"))
    for sample in feeds:
        want = uair.run(module, sample)
        got = device.run(made.file("model.onnx"), {inputs[k]: v for k, v in sample.items()})
        for key, expected in want.items():
            np.testing.assert_array_equal(got[outputs[key]], expected)


@pytest.mark.parametrize("target", ["ascend310p", "ascend310b", "ascend910b"])
@pytest.mark.parametrize("build", [models.cnn, models.linear_net], ids=lambda f: f.__name__)
def test_the_other_chips_have_the_same_form_at_opset_13(
    target: str, build: Callable[[], Module], tmp_path: Path
) -> None:
    data = models.samples(build(), 6)
    made = uair.compile(build(), target, output=tmp_path / "out", quantize=Int8(calibration=data[:4]))
    assert [e.version for e in onnx.load(made.file("model.onnx")).opset_import] == [13]
    module = uair.load(made.file("model.uair"))
    inputs = {e["source"]: e["name"] for e in made.manifest["ascend"]["inputs"]}
    got = device.run(made.file("model.onnx"), {inputs[k]: v for k, v in data[5].items()})
    outputs = {e["source"]: e["name"] for e in made.manifest["ascend"]["outputs"]}
    for key, expected in uair.run(module, data[5]).items():
        np.testing.assert_array_equal(got[outputs[key]], expected)


@pytest.mark.parametrize("name", NAMES)
def test_integers_come_from_ascend_operators_only(name: str, folder: Path) -> None:
    made, _ = artifact(name, folder)
    graph = onnx.load(made.file("model.onnx")).graph
    kinds = Counter(node.op_type for node in graph.node)
    assert not kinds["QuantizeLinear"] and not kinds["DequantizeLinear"]
    assert kinds["AscendQuant"] == kinds["AscendDequant"] > 0
    makers = {output: node for node in graph.node for output in node.output}
    types = {t.name: t.data_type for t in graph.initializer}
    for node in graph.node:
        if node.op_type != "AscendDequant":
            continue
        layer = makers[node.input[0]]
        if layer.op_type == "Add":  # the bias of a batch of products, added to the integers
            assert types[layer.input[1]] == onnx.TensorProto.INT32
            layer = makers[layer.input[0]]
        assert layer.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
        assert types[layer.input[1]] == onnx.TensorProto.INT8
        assert len(layer.input) < 3 or types[layer.input[2]] == onnx.TensorProto.INT32
        assert types[node.input[1]] == onnx.TensorProto.UINT64
        quant = makers[layer.input[0]]
        assert (quant.op_type, quant.name, node.name) == (
            "AscendQuant",
            f"{layer.name}.quant",
            f"{layer.name}.dequant",
        )


def test_every_layer_has_a_quantizer_of_its_own(folder: Path) -> None:
    made, _ = artifact("cnn", folder)
    graph = onnx.load(made.file("model.onnx")).graph
    quants = [node for node in graph.node if node.op_type == "AscendQuant"]
    assert len({q.output[0] for q in quants}) == len(quants) == 5
    shared = Counter(q.input[0] for q in quants)
    assert max(shared.values()) == 2, "the depthwise and the grouped convolution read the same tensor"


def test_scales_are_per_channel_for_convolutions_and_single_for_matrices(folder: Path) -> None:
    for name, want in (("cnn", [8, 8, 8, 6, 1]), ("linear", [1, 1, 1, 1, 1, 1])):
        made, _ = artifact(name, folder)
        graph = onnx.load(made.file("model.onnx")).graph
        sizes = {t.name: t.dims for t in graph.initializer}
        found = [list(sizes[n.input[1]]) for n in graph.node if n.op_type == "AscendDequant"]
        assert sorted(found, reverse=True) == [[n] for n in want]


def test_linear_of_rank_two_is_gemm_and_of_more_is_matmul_then_add(folder: Path) -> None:
    made, _ = artifact("linear", folder)
    kinds = {n.name: n.op_type for n in onnx.load(made.file("model.onnx")).graph.node}
    assert kinds["gemm"] == kinds["gemm2"] == "Gemm"
    assert kinds["wide"] == kinds["narrow"] == kinds["product"] == kinds["turned"] == "MatMul"
    assert kinds["wide.bias"] == "Add"


def test_quantization_is_close_to_the_float_model(folder: Path) -> None:
    for name in NAMES:
        made, _ = artifact(name, folder)
        for key, error in made.manifest["golden"]["compiled_against_reference"].items():
            assert error["cosine"] > 0.99, (name, key, error)


def test_the_record_names_every_layer_with_its_scales(folder: Path) -> None:
    made, _ = artifact("cnn", folder)
    text = made.file("record.txt").read_text()
    graph = onnx.load(made.file("model.onnx")).graph
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    for entry in text.split("record {\n")[1:]:
        lines = [line.strip().split(": ") for line in entry.splitlines() if ": " in line]
        key = lines[0][1].strip('"')
        scale_d = np.float32(dict(lines)["scale_d"])
        scales = np.array([v for k, v in lines if k == "scale_w"], np.float32)
        packed = arrays[f"{key}.dequant.param"].astype(np.uint32).view(np.float32)
        np.testing.assert_array_equal(scales * scale_d, packed)
        quant = next(n for n in graph.node if n.name == f"{key}.quant")
        attributes = {a.name: a.f for a in quant.attribute if a.type == onnx.AttributeProto.FLOAT}
        assert attributes == {"scale": np.float32(1 / np.float64(scale_d)), "offset": float(dict(lines)["offset_d"])}
    assert text.count("record {") == 5


# ------------------------------------------------------------------------------------------------ what has no such form
def lower(module: Module) -> PassContext:
    from uair.codegen.ascend.lower import LowerToAscend

    context = PassContext()
    LowerToAscend().run(module, context)
    verify(module)
    return context


def pair(b: models.Builder, name: str, x: uair.Tensor, dtype: DType = DType.I8, zero: int = 3) -> uair.Tensor:
    scale, point = constant(np.float32(0.05)), constant(np.array(zero, dtype.numpy))
    q = b.add(f"{name}/q", Quantize(dtype=dtype), x, scale, point)
    return b.add(f"{name}/dq", Dequantize(), q, scale, point)


def weight(b: models.Builder, *shape: int) -> uair.Tensor:
    values = constant(b.random.integers(-127, 128, shape).astype(np.int8))
    return b.add("wdq", Dequantize(), values, constant(np.float32(0.01)))


def test_quantization_of_a_models_own_stays_and_computes_the_same() -> None:
    b = models.Builder()
    x = b.input("x", 1, 4, 4, 4)
    kept = b.add("relu", Relu(), pair(b, "a", x))
    module = b.module("m", y=kept)
    feed = {"x": np.linspace(-9, 9, 64, dtype=np.float32).reshape(1, 4, 4, 4)}
    want = uair.run(module.clone(), feed)["y"]
    lower(module)
    assert [n.op_type for n in module.main] == ["AscendQuant", "AscendAntiQuant", "Relu"]
    np.testing.assert_allclose(uair.run(module, feed)["y"], want, atol=0.05)


@pytest.mark.parametrize("kind", ["u8", "two-activations", "two-scales", "batch-of-weights"])
def test_layers_that_stay_float_say_why(kind: str) -> None:
    b = models.Builder()
    x = b.input("x", 2, 3, 4)
    if kind == "u8":
        y = b.add("layer", MatMul(), pair(b, "a", x, DType.U8), weight(b, 4, 5))
        reason = "Ascend computes on i8"
    elif kind == "two-activations":
        other = pair(b, "b", b.input("z", 2, 4, 3))
        y, reason = b.add("layer", MatMul(), pair(b, "a", x), other), "its weight is not a constant"
    elif kind == "two-scales":
        values = constant(b.random.integers(-127, 128, (4, 5)).astype(np.int8))
        w = b.add("wdq", Dequantize(axis=1), values, constant(np.full(5, 0.01, np.float32)))
        y, reason = b.add("layer", MatMul(), pair(b, "a", x), w), "matrices with one scale"
    else:
        y, reason = b.add("layer", MatMul(), pair(b, "a", x), weight(b, 2, 4, 5)), "products by a constant matrix"
    module = b.module("m", y=y)
    if kind == "u8":
        with pytest.raises(uair.UairError, match="gives i8"):
            lower(module)
        return
    feeds = models.samples(module, 1)[0]
    want = uair.run(module.clone(), feeds)["y"]
    context = lower(module)
    (row,) = context.reports["ascend"]["float"]
    assert (row["name"], row["operator"]) == ("layer", "MatMul") and reason in row["reason"]
    assert not context.reports["ascend"]["layers"]
    np.testing.assert_allclose(uair.run(module, feeds)["y"], want, atol=0.2)


def test_a_layer_that_uair_prepared_but_ascend_refuses_reads_real_numbers_again() -> None:
    b = models.Builder()
    x = b.input("x", 2, 3, 4)
    y = b.add("layer", MatMul(), x, b.weight("w", 2, 4, 5))
    module = b.module("m", y=y)
    made = uair.compile(module, "ascend310", quantize=Int8(calibration=models.samples(module)))
    kinds = [n.op_type for n in onnx.load(made.file("model.onnx")).graph.node]
    assert kinds == ["MatMul"]


def test_a_float_bias_is_added_to_the_real_result() -> None:
    b = models.Builder()
    x = b.input("x", 1, 4, 6, 6)
    y = b.add("conv", Conv2D(), pair(b, "a", x), weight(b, 5, 4, 3, 3), b.weight("bias", 5))
    module = b.module("m", y=y)
    feeds = models.samples(module, 1)[0]
    want = uair.run(module.clone(), feeds)["y"]
    lower(module)
    assert [n.op_type for n in module.main] == ["AscendQuant", "IntegerConv2D", "AscendDequant", "Add"]
    np.testing.assert_allclose(uair.run(module, feeds)["y"], want, atol=1e-4)
