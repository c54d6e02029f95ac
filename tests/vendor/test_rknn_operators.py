"""Operators between quantized convolutions: the toolkit's compiler must survive every change of number format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import uair
from tests.vendor import rknn
from uair.text import parse_module

pytestmark = pytest.mark.vendor
STEPS = (
    "%y = Neg(%x)",
    "%s = Sigmoid(%x)  %y = Exp(%s)",
    "%s = Softplus(%x)  %y = Div(%x, %s)",
    "%r = Relu(%x)  %y = Sqrt(%r)",
    "%y = Softmax(%x) {axis = 1}",
    "%y = LayerNorm(%x) {axis = 3}",
    "%y = Mish(%x)",
    "%y = Gelu(%x)",
    "%y = Swish(%x)",
    "%m = ReduceMax(%x) {axes = [1]}  %y = Sub(%x, %m)",
    "%y = InstanceNorm(%x)",
    "%y = Erf(%x)",
    "%g = Greater(%x, @zero)  %y = Where(%g, %x, @zero)",
    "%s = Sigmoid(%x)  %y = Minimum(%x, %s)",
    '%p = Pad(%x) {pads = [0,0,1,1,0,0,1,1], mode = "reflect"}  %y = MaxPool2D(%p) {kernel = [3,3]}',
    "%m = ReduceSum(%x) {axes = [2,3]}  %y = Mul(%x, %m)",
    "%y = LpNormalize(%x) {axis = 1}",
    "%y = Gather(%x, @order) {axis = 1}",
    "%y = AvgPool2D(%x) {kernel = [3,3], pads = [1,1,1,1]}",
    "%y = LRN(%x) {size = 3}",
    "%m = Abs(%x)  %n = Add(%m, @one)  %y = Log(%n)",
    "%y = Selu(%x)",
    "%y = CumSum(%x) {axis = 3}",
)
CONSTANTS = (
    "constant @zero = 0.0 : f32[]  constant @one = 1.0 : f32[]  constant @order = [3,1,0,2,7,6,5,4] : i64[8]  "
    "%x0: f32[1,8,16,16]  "
)


def chain() -> uair.Module:
    """A 1x1 convolution in front of every step, and one at the end."""
    rng = np.random.default_rng(0)
    text = CONSTANTS
    for i, step in enumerate((*STEPS, "%y = Sigmoid(%x)")):
        values = ",".join(repr(float(v)) for v in (rng.standard_normal(64) * 0.3).astype(np.float32))
        text += f"constant @w{i} = [{values}] : f32[8,8,1,1]  %c{i} = Conv2D(%x{i}, @w{i})  "
        names = {"x": f"c{i}", "y": f"x{i + 1}"} | {n: f"{n}_{i}" for n in "gmnprs"}
        for name, own in names.items():
            step = (
                step.replace(f"%{name} ", f"%{own} ").replace(f"%{name},", f"%{own},").replace(f"%{name})", f"%{own})")
            )
        text += step + "  "
    return parse_module(text)


@pytest.mark.parametrize("mode", ["float16", "int8"])
def test_between_convolutions(mode: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    samples = [{"x0": rng.standard_normal((1, 8, 16, 16)).astype(np.float32)} for _ in range(4)]
    artifact = uair.compile(
        chain(),
        "rk3588",
        output=tmp_path / "artifact",
        quantize=uair.Int8(samples) if mode == "int8" else None,
        golden=samples[0],
    )
    done = rknn.build(artifact, tmp_path / "build")
    assert done.cosine is not None and done.cosine > (0.999 if mode == "float16" else 0.99)


def test_normalization_and_names_of_two_inputs(tmp_path: Path) -> None:
    """The compiled model subtracts and divides; the second input is no image."""
    text = """constant @w = [0.5,-1.0,2.0] : f32[1,3,1,1]  "image:0" = %x: f32[1,3,8,8]  "scale;0" = %s: f32[1,1,1,8]
        %c = Conv2D(%x, @w)  %a = Mul(%c, %s)  %y = Sigmoid(%a)  return "y:0" = %y"""
    rng = np.random.default_rng(2)
    feeds = {
        "image:0": rng.uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32),
        "scale;0": rng.uniform(0.5, 1, (1, 1, 1, 8)).astype(np.float32),
    }
    preprocess = {"image:0": uair.Preprocess(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))}
    artifact = uair.compile(
        parse_module(text), "rk3588", output=tmp_path / "artifact", preprocess=preprocess, golden=feeds
    )
    done = rknn.build(artifact, tmp_path / "build")
    assert done.cosine is not None and done.cosine > 0.999


def test_convolutions_on_integers_are_computed_exactly(tmp_path: Path) -> None:
    """The simulator's integers are those of exact arithmetic with the artifact's own weights.

    The last convolution, whose result is float, is computed in float16: a unit matrix shows the integers before it.
    """
    rng = np.random.default_rng(5)
    shapes = {"w": (32, 3, 3, 3), "v": (32, 1, 3, 3), "u": (32, 32, 1, 1)}
    values = {name: (rng.standard_normal(shape) * 0.3).round(4) for name, shape in shapes.items()}
    text = "".join(
        f"constant @{name} = {array.ravel().tolist()} : f32[{','.join(map(str, array.shape))}]  "
        for name, array in (values | {"one": np.eye(32).reshape(32, 32, 1, 1)}).items()
    )
    module = parse_module(
        f"{text} %x: f32[1,3,16,16]  %a = Conv2D(%x, @w) {{pads = [1,1,1,1]}}  %b = Relu(%a)  "
        "%c = Conv2D(%b, @v) {pads = [1,1,1,1], groups = 32}  %d = Relu(%c)  %e = Conv2D(%d, @u)  %f = Relu(%e)  "
        "%y = Conv2D(%f, @one)"
    )
    samples = [{"x": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(4)]
    quantize = uair.Int8(samples, least_cosine=0.0)
    artifact = uair.compile(module, "rk3588", output=tmp_path / "a", quantize=quantize, golden=samples[0])
    exact = uair.run(uair.load(artifact.file("model.uair")), samples[0])
    np.savez(artifact.file("golden/outputs.npz"), **exact)
    row = rknn.build(artifact, tmp_path / "build").result["outputs"][0]
    assert row["max_abs"] <= 2e-3 * row["reference_max"]  # float16; a step of the integers is twice as much


def test_an_attention_block_on_integers_is_what_the_interpreter_says(tmp_path: Path) -> None:
    """The residual stream in float16, two products of activations, and Gelu as a part of the layer in front of it."""
    rng = np.random.default_rng(7)

    def weight(*shape: int, scale: float = 0.2) -> str:
        return f"{rng.normal(0, scale, shape).round(4).ravel().tolist()} : f32[{','.join(map(str, shape))}]"

    module = parse_module(
        "".join(f"constant @{name} = {weight(32, 32)}  " for name in "eqkvp")
        + f"constant @i = {weight(32, 3, 2, 2)}  constant @to = [1, 32, 16] : i64[3]  "
        + f"constant @m = {weight(64, 32)}  constant @r = {weight(32, 64)}  "
        + f"constant @t = {weight(1, 1, 32, scale=0.02)}  "
        + "constant @g = splat<1.0> : f32[32]  constant @z = splat<0.0> : f32[32]  %x: f32[1,3,8,8]  "
        "%j = Conv2D(%x, @i) {strides = [2,2]}  %jj = Reshape(%j, @to)  %h = Transpose(%jj) {perm = [0,2,1]}  "
        "%c = Concat(@t, %h) {axis = 1}  %n = LayerNorm(%c, @g, @z)  %qq = Linear(%n, @q)  "
        "%kk = Linear(%n, @k)  %vv = Linear(%n, @v)  %a = MatMul(%qq, %kk) {trans_b = true}  %s = Softmax(%a)  "
        "%o = MatMul(%s, %vv)  %l = Linear(%o, @p)  %b = Add(%c, %l)  %nn = LayerNorm(%b, @g, @z)  "
        "%u = Linear(%nn, @m)  %w = Gelu(%u)  %d = Linear(%w, @r)  %f = Add(%b, %d)  %fn = LayerNorm(%f, @g, @z)  "
        "%y = Linear(%fn, @e)"
    )
    samples = [{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(8)]
    quantize = uair.Int8(samples, least_cosine=0.0)
    artifact = uair.compile(module, "rk3588", output=tmp_path / "a", quantize=quantize, golden=samples[0])
    np.savez(artifact.file("golden/outputs.npz"), **uair.run(uair.load(artifact.file("model.uair")), samples[0]))
    done = rknn.build(artifact, tmp_path / "build")
    assert done.cosine is not None and done.cosine > 0.9995
    assert "ConvExGelu" in done.layers["npu"], done.layers
    assert not set(done.layers["cpu"]) - {"Reshape"}, done.layers["cpu"]
