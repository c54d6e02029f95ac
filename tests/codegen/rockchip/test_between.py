"""Quantize and Dequantize in the file between operators that rknn-toolkit2 computes together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import uair
from uair.codegen.rockchip.between import interval_between, state_between
from uair.codegen.rockchip.weights import state_symmetric
from uair.ir import Module
from uair.ir.verify import verify
from uair.ops import Add, Conv2D, Dequantize, Quantize
from uair.targets import load_description
from uair.text import parse_module

WEIGHTS = "constant @w = [1, 2, 3, 4] : i8[2,2,1,1]  constant @ws = [0.5, 0.25] : f32[2]  constant @i = 0 : i8[]  "
SCALES = "constant @s = 0.1 : f32[]  constant @z = -28 : i8[]  constant @t = 0.05 : f32[]  constant @n = -128 : i8[]  "
CONVOLUTION = (
    WEIGHTS + SCALES + "%x: f32[1,2,4,4]  %q = Quantize(%x, @s, @z)  %d = Dequantize(%q, @s, @z)  "
    "%v = Dequantize(@w, @ws) {axis = 0}  %c = Conv2D(%d, %v)  "
)
END = "%r = Quantize(%a, @t, @n)  %y = Dequantize(%r, @t, @n)"
HIGH = 0.05 * 255


def graph_of(middle: str) -> Module:
    return parse_module(CONVOLUTION + middle + END)


def convolution(module: Module) -> object:
    return next(node for node in module.main if isinstance(node.op, Conv2D))


@pytest.mark.parametrize(
    ("middle", "low", "high"),
    [
        ("%a = HardSwish(%c)  ", -3, HIGH),
        ("%a = Swish(%c)  ", -8, HIGH),
        ("%g = Sigmoid(%c)  %a = Mul(%c, %g)  ", -8, HIGH),
        ("%a = Clip(%c) {min = -1.0, max = 6.0}  ", -1, 6),
        ("%a = HardSigmoid(%c) {alpha = 0.25, beta = 0.5}  ", -2, 2),
        ("%a = Sigmoid(%c)  ", -8, 8),
        ("%a = Add(%d, %c)  ", 0 - 0.1 * 155, HIGH + 0.1 * 100),
        ("%e = Add(%c, %d)  %a = Relu(%e)  ", 0 - 0.1 * 155, HIGH + 0.1 * 100),
    ],
)
def test_the_range_is_that_of_the_result_seen_from_before(middle: str, low: float, high: float) -> None:
    module = graph_of(middle)
    found = interval_between(convolution(module))  # type: ignore[arg-type]
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)
    state_between(module.main)
    verify(module)
    quantizers = [user for user in convolution(module).output.users]  # type: ignore[attr-defined]
    assert [type(user.op) for user in quantizers] == [Quantize]
    dequantize = next(iter(quantizers[0].output.users))
    assert isinstance(dequantize.op, Dequantize)
    assert {user.name for user in dequantize.output.users} == {
        node.name for node in module.main if dequantize.output in node.inputs
    }
    state_between(module.main)
    assert sum(isinstance(node.op, Quantize) for node in module.main) == 3


@pytest.mark.parametrize("middle", ["%a = Relu(%c)  ", "%a = Gelu(%c)  ", "%f = Relu(%c)  %a = Tanh(%f)  "])
def test_other_convolutions_stay(middle: str) -> None:
    """Relu needs nothing; what the toolkit does not join has a pair of its own already, or is float."""
    assert interval_between(convolution(graph_of(middle))) is None  # type: ignore[arg-type]


def test_scales_of_symmetric_activations_are_divided() -> None:
    module = parse_module(
        "constant @s = 0.5 : f32[]  constant @i = 0 : i8[]  constant @z = 3 : i8[]  %x: f32[4]  "
        "%q = Quantize(%x, @s, @i)  %d = Dequantize(%q, @s, @i)  %r = Quantize(%d, @s, @z)  %y = Dequantize(%r, @s, @z)"
    )
    state_symmetric(module.main)
    scales = [node.inputs[1] for node in module.main]
    assert scales[0] is scales[1]
    assert [float(t.numpy()) for t in scales if t is not None] == pytest.approx([0.5 * 127 / 128] * 2 + [0.5] * 2)


def residual() -> Module:
    """Two convolutions with activation functions, a sum with a third one, an activation behind the sum."""
    rng = np.random.default_rng(5)
    shapes = {"w": (8, 3, 3, 3), "v": (8, 1, 3, 3), "u": (8, 8, 1, 1), "t": (4, 8, 1, 1)}
    text = "".join(
        f"constant @{name} = {rng.normal(size=np.prod(shape)).round(3).tolist()} : f32[{','.join(map(str, shape))}]  "
        for name, shape in shapes.items()
    )
    return parse_module(
        f"{text} %x: f32[1,3,8,8]  %a = Conv2D(%x, @w) {{pads = [1,1,1,1]}}  %b = HardSwish(%a)  "
        "%c = Conv2D(%b, @v) {pads = [1,1,1,1], groups = 8}  %d = Swish(%c)  %e = Conv2D(%d, @u)  %f = Add(%b, %e)  "
        "%g = HardSwish(%f)  %y = Conv2D(%g, @t)"
    )


@pytest.mark.parametrize("level", [3, 2])
def test_what_the_toolkit_joins_has_no_rounding_in_the_module(tmp_path: Path, level: int) -> None:
    """Except below level 3, where the toolkit follows the file; in the file the pairs are always there."""
    samples = [{"x": np.random.default_rng(i).normal(size=(1, 3, 8, 8)).astype(np.float32)} for i in range(4)]
    artifact = uair.compile(
        residual(),
        "rk3588",
        output=tmp_path / "out",
        quantize=uair.Int8(samples, least_cosine=0.0),
        options={"optimization_level": level},
    )
    held = uair.load(artifact.file("model.uair")).main
    bare = [node for node in held if isinstance(node.op, Conv2D) and not _is_quantized(node)]
    sums = [node for node in held if isinstance(node.op, Add)]
    assert len(bare) == (4 if level == 3 else 1)  # the last one's result is the output
    assert all(_is_quantized(node) for node in sums)  # before HardSwish, which the toolkit does not join to a sum
    proto = onnx.load(str(artifact.file("model.onnx")))
    makers = {name: node for node in proto.graph.node for name in node.output}
    for node in proto.graph.node:
        if node.op_type in ("HardSwish", "Sigmoid", "Add"):
            assert {makers[name].op_type for name in node.input} == {"DequantizeLinear"}


def _is_quantized(node: object) -> bool:
    return any(isinstance(user.op, Quantize) for user in node.output.users)  # type: ignore[attr-defined]


def test_the_device_file_says_what_is_joined() -> None:
    described = load_description("rk3588").quantization
    assert described is not None
    assert described.scheme.fused_sums
    assert "Gelu" not in described.scheme.fused_to_convolution
    assert "HardSwish" in described.scheme.fused_to_convolution
