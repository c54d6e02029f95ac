"""Quantized convolutions whose results stay real: the same numbers, in the forms that onnxruntime computes fastest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import uair
from tests.quant.networks import Builder, mobile_cnn, samples
from uair.codegen.onnx.model import export
from uair.codegen.reference import run
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ir.module import Module
from uair.ops import Conv2D, Dequantize, HardSwish, Quantize
from uair.passes.float_results import FoldableWeights, IntegerSums
from uair.passes.quantize_int8 import QuantizeInt8
from uair.passes.unsigned_integers import UnsignedIntegers
from uair.pipeline import Pass, PassContext, PassManager, Verify
from uair.rewrite import Fuel

FORMS = (FoldableWeights(), UnsignedIntegers(), IntegerSums())


def changed(module: Module, *passes: Pass, fuel: Fuel | None = None) -> Module:
    context = PassContext() if fuel is None else PassContext(fuel=fuel)
    return PassManager(passes, [Verify()], context).run(module.clone())


def quantized() -> Module:
    return changed(mobile_cnn(), QuantizeInt8(samples=samples(8, (1, 3, 8, 8))))


def test_where_no_quantize_follows() -> None:
    """One group: integer sums. Several groups or transposed: Mul(Cast(weight)). With a Quantize behind: neither."""
    module = changed(quantized(), *FORMS)
    kinds = {node.name: node.op_type for node in module.main if node.op_type.startswith(("Integer", "Conv"))}
    assert kinds == {
        "stem": "IntegerConv2D",
        "depthwise": "Conv2D",
        "pointwise": "Conv2D",
        "halves": "Conv2D",
        "groups": "Conv2D",
        "up": "ConvTranspose2D",
        "last": "IntegerConv2D",
    }
    convolutions = [node for node in module.main if node.op_type.startswith("Conv")]
    weights = {n.name: w.producer for n in convolutions if (w := n.inputs[1]) is not None}
    assert {name: maker.op_type for name, maker in weights.items() if maker is not None} == {
        "depthwise": "Mul",
        "pointwise": "Dequantize",
        "halves": "Dequantize",
        "groups": "Mul",
        "up": "Mul",
    }
    assert not any(t.use_count == 0 for node in module.main for t in node.outputs), "nothing is left that nobody reads"


def test_the_numbers_are_the_same() -> None:
    """Foldable weights: bit for bit. Integer sums: to f32 rounding, on integers of the same steps."""
    module, feeds = quantized(), samples(1, (1, 3, 8, 8), seed=5)[0]
    (want,) = run(module, feeds).values()
    (folded,) = run(changed(module, FoldableWeights(dense=True)), feeds).values()
    np.testing.assert_array_equal(folded, want)
    (summed,) = run(changed(module, *FORMS), feeds).values()
    np.testing.assert_allclose(summed, want, atol=2e-2 * np.abs(want).max())
    assert np.abs(summed - want).mean() < 1e-3 * np.abs(want).max()


def test_zero_points_of_weights() -> None:
    """Another tool's u8 weights: the same zero point for all channels merges; different ones are subtracted."""
    feeds = samples(1, (1, 3, 8, 8), seed=5)[0]
    for points, kind in (([128, 128], "IntegerConv2D"), ([3, 128], "Conv2D")):
        b = Builder(1, 3, 8, 8)
        drawn = np.random.default_rng(0).integers(0, 256, (2, 3, 1, 1)).astype(np.uint8)
        scales, zeros = constant(np.array([0.1, 0.2], np.float32)), constant(np.array(points, np.uint8))
        w = b.add(Dequantize(axis=0), constant(drawn), scales, zeros, name="w")
        x = quantize(b)
        module = b.done(b.add(HardSwish(), b.add(Conv2D(), x, w, name="c")))
        lowered = changed(module, IntegerSums())
        (node,) = (n for n in lowered.main if n.name == "c" and n.op_type in ("Conv2D", "IntegerConv2D"))
        assert node.op_type == kind
        folded = changed(module, FoldableWeights(dense=True))
        assert Counter(n.op_type for n in folded.main)["Sub"] == 1
        (want,), (one,), (two,) = (run(m, feeds).values() for m in (module, lowered, folded))
        np.testing.assert_allclose(one, want, atol=1e-5 * np.abs(want).max())
        np.testing.assert_array_equal(two, want)


@pytest.mark.parametrize(
    ("op", "kernel", "extents"),
    [
        (Conv2D(pads=(2, 0, 1, 0), strides=(2, 1), dilations=(2, 1)), (3, 1), (9, 1)),
        (Conv2D(pads=(1, 0, 1, 1)), (3, 2), (9, 1)),
        (Conv2D(), (1, 1), (9, 1)),
        (Conv2D(), (3, 1), (9, 2)),
    ],
)
def test_columns_are_summed_as_rows(op: Conv2D, kernel: tuple[int, int], extents: tuple[int, int]) -> None:
    """A convolution over images of one column is one over images of one row, to the last bit; no other one is."""
    b = Builder(1, 3, *extents)
    drawn = np.random.default_rng(0).integers(0, 256, (2, 3, *kernel)).astype(np.uint8)
    w = b.add(Dequantize(), constant(drawn), constant(np.float32(0.1)), constant(np.uint8(128)), name="w")
    module = b.done(b.add(HardSwish(), b.add(op, quantize(b), w, name="c")))
    summed = changed(module, IntegerSums())
    (node,) = (n for n in summed.main if n.op_type == "IntegerConv2D")
    x = node.inputs[0]
    assert x is not None
    is_column = kernel == (3, 1) and extents == (9, 1)
    assert x.type.shape == ((1, 3, 1, 9) if is_column else (1, 3, *extents))
    assert Counter(n.op_type for n in summed.main)["Reshape"] == 2 * is_column
    feeds = samples(1, (1, 3, *extents), seed=5)[0]
    (want,), (got,) = (run(m, feeds).values() for m in (module, summed))
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def quantize(b: Builder) -> Tensor:
    scale, zero = constant(np.float32(0.03)), constant(np.uint8(120))
    return b.add(Dequantize(), b.add(Quantize(dtype=DType.U8), b.x, scale, zero), scale, zero, name="dx")


def test_fuel_stops_both() -> None:
    module = quantized()
    for last in FORMS[::2]:
        before = changed(module, UnsignedIntegers())
        after = changed(before, last, fuel=Fuel(0))
        assert [n.op_type for n in after.main] == [n.op_type for n in before.main]


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_onnxruntime_computes_it(level: str, tmp_path: Path) -> None:
    """At every level the interpreter's numbers; optimised, no weight is dequantized in a run."""
    module, feeds = changed(quantized(), *FORMS), samples(1, (1, 3, 8, 8), seed=5)[0]
    export(module, tmp_path / "m.onnx", opset=17)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), options, providers=["CPUExecutionProvider"])
    (want,), got = run(module, feeds).values(), np.asarray(session.run(None, feeds)[0])
    np.testing.assert_allclose(got, want, atol=2e-2 * np.abs(want).max())
    assert np.abs(got - want).mean() < 1e-3 * np.abs(want).max()


def test_an_artifact_has_these_forms(tmp_path: Path) -> None:
    """For all x86 processors integer sums; for those with VNNI, and i8, weights that are folded."""
    calibration = samples(8, (1, 3, 8, 8))
    for processors, sums in (("any", 2), ("vnni", 0)):
        artifact = uair.compile(
            mobile_cnn(),
            "cpu",
            output=tmp_path / processors,
            quantize=uair.Int8(calibration),
            options={"int8": processors},
        )
        operators = Counter(n.op_type for n in onnx.load(artifact.file("model.onnx")).graph.node)
        assert operators["ConvInteger"] == sums and operators["Cast"] == 5 - sums, operators
