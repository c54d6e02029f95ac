"""Integers as u8: the same numbers, and none of onnxruntime's 16-bit sums saturate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import uair
from tests.quant.networks import Builder, samples, saturating, small_cnn
from uair.codegen.onnx.model import export
from uair.codegen.reference import run
from uair.context import Context
from uair.driver.standard import preparation
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops import (
    Add,
    Conv2D,
    Dequantize,
    DynamicQuantize,
    IntegerConv2D,
    IntegerLinear,
    IntegerMatMul,
    MatMul,
    Quantize,
    Transpose,
)
from uair.passes.quantize_int8 import QuantizeInt8
from uair.passes.signed_integers import SignedIntegers
from uair.passes.unsigned_integers import UnsignedIntegers
from uair.pipeline import Pass, PassContext, PassManager, Verify
from uair.rewrite import Fuel
from uair.text import parse_type

SCALE, ZERO = np.float32(0.05), np.int8(-7)


def changed(module: Module, *passes: Pass) -> Module:
    return PassManager(passes, [Verify()]).run(module.clone())


def stored(module: Module) -> set[DType]:
    """What the integers of 8 bits are."""
    tensors = (t for n in module.main for t in (*n.inputs, *n.outputs) if t is not None)
    return {t.type.dtype for t in tensors} & {DType.I8, DType.U8}


def equal(one: Module, other: Module, feeds: Any) -> bool:
    pairs = zip(run(one, feeds).values(), run(other, feeds).values(), strict=True)
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def test_a_quantized_network_is_the_same_one() -> None:
    module = changed(small_cnn(), QuantizeInt8(samples=samples()))
    unsigned = changed(module, UnsignedIntegers())
    assert stored(module) == {DType.I8} and stored(unsigned) == {DType.U8}
    assert equal(module, unsigned, samples(1, seed=3)[0])


def test_zero_points_move_along() -> None:
    """Given or not, of a tensor or of channels; a constant that is used twice is stored once."""
    b = Builder(1, 3, 4, 4)
    weight = constant(np.array([[-128, 127, 0], [1, -1, 5], [7, -90, 33]], np.int8).reshape(3, 3, 1, 1), "w")
    scales = constant(np.array([0.1, 0.2, 0.3], np.float32), "s")
    x = b.add(Quantize(), b.x, constant(SCALE), constant(ZERO), name="q")
    x = b.add(Dequantize(), x, constant(SCALE), constant(ZERO), name="dq")
    for name, offset in (("one", None), ("two", constant(np.array([3, 0, -128], np.int8)))):
        operands = (weight, scales) if offset is None else (weight, scales, offset)
        w = b.add(Dequantize(axis=0), *operands, name=f"{name}_w")
        x = b.add(Conv2D(), x, w, name=name)
    module = b.done(x)
    unsigned = changed(module, UnsignedIntegers())
    assert stored(unsigned) == {DType.U8} and equal(module, unsigned, samples(1, (1, 3, 4, 4))[0])
    weights = [n for n in unsigned.main if n.op_type == "Dequantize" and n.inputs[0] is not None and n.inputs[0].data]
    assert [n.inputs[2].numpy().tolist() for n in weights if n.inputs[2] is not None] == [[128] * 3, [131, 128, 0]]
    assert weights[0].inputs[0] is weights[1].inputs[0]


def test_what_stays_signed() -> None:
    """Inputs and outputs, what another operator reads, zero points that are computed, and blocks."""
    graph = Graph()
    x, offset = graph.add_input("x", parse_type("f32[2,4]")), graph.add_input("z", parse_type("i8[]"))
    given = graph.add_input("q", parse_type("i8[2,4]"))
    scale = constant(SCALE)

    def add(op: Any, *operands: Tensor | None) -> Tensor:
        return graph.append(op.node(*operands)).output

    moved = add(Transpose(perm=(1, 0)), add(Quantize(), x, scale))
    blocks = add(Dequantize(axis=1, block_size=2), constant(np.ones((2, 4), np.int8)), constant(np.ones((2, 2), "f4")))
    kept = [
        add(Dequantize(), given, scale),
        add(Transpose(perm=(1, 0)), add(Dequantize(), moved, scale)),
        add(Dequantize(), add(Quantize(), x, scale, offset), scale, offset),
        blocks,
    ]
    result = kept[0]
    for each in kept[1:]:
        result = add(Add(), result, each)
    graph.add_output("y", result)
    graph.add_output("p", add(Quantize(), result, scale))
    module = Module("signed", {"main": graph})
    before = len(module.main)
    unsigned = changed(module, UnsignedIntegers())
    assert stored(unsigned) == {DType.I8} and len(unsigned.main) == before


def test_rows_of_a_product() -> None:
    """One scale for each row: onnxruntime's integer kernels take zero points of columns, and fail with others."""
    b = Builder(2, 4)
    rows = constant(np.full(4, 0.5, np.float32))
    w = b.add(Dequantize(axis=0), constant(np.ones((4, 3), np.int8)), rows, name="w")
    module = b.done(b.add(MatMul(), b.x, w))
    assert stored(changed(module, UnsignedIntegers())) == {DType.I8}


@pytest.mark.parametrize("zero_point", [None, 3])
def test_integer_products(zero_point: int | None) -> None:
    """Constant weights of products with u8 operands; not of those with i8."""
    rng = np.random.default_rng(0)
    graph = Graph()
    x, signed = graph.add_input("x", parse_type("f32[2,4]")), graph.add_input("s", parse_type("i8[2,4]"))
    image = graph.add_input("i", parse_type("u8[1,4,3,3]"))
    w = constant(rng.integers(-128, 128, (4, 4)).astype(np.int8))
    kernel = constant(rng.integers(-128, 128, (2, 4, 1, 1)).astype(np.int8))
    offset = None if zero_point is None else constant(np.int8(zero_point))
    quantized = graph.append(DynamicQuantize().node(x)).outputs
    for name, node in (
        ("a", IntegerMatMul().node(quantized[0], w, quantized[2], offset)),
        ("b", IntegerLinear().node(quantized[0], w, quantized[2], offset, constant(np.arange(4, dtype=np.int32)))),
        ("c", IntegerConv2D().node(image, kernel, None, offset)),
        ("d", IntegerMatMul().node(signed, w, None, offset)),
    ):
        graph.add_output(name, graph.append(node).output)
    module = Module("products", {"main": graph})
    unsigned = changed(module, UnsignedIntegers())
    kinds = [n.inputs[1].type.dtype for n in unsigned.main if n.op_type.startswith("Integer") and n.inputs[1]]
    assert kinds == [DType.U8] * 3 + [DType.I8]
    feeds = {
        "x": rng.normal(size=(2, 4)).astype(np.float32),
        "s": rng.integers(-128, 128, (2, 4)).astype(np.int8),
        "i": rng.integers(0, 256, (1, 4, 3, 3)).astype(np.uint8),
    }
    assert equal(module, unsigned, feeds)


def test_onnxruntime_sums_exactly(tmp_path: Path) -> None:
    """Its optimized kernels give what every node by itself gives, on processors without VNNI too.

    There the same network with i8 weights is off by half of its greatest output.
    """
    module = saturating()
    unsigned = changed(module, UnsignedIntegers())
    verify(unsigned)
    feeds = {"x": np.random.default_rng(5).uniform(2, 2.55, (1, 16, 8, 8)).astype(np.float32)}
    export(unsigned, tmp_path / "u8.onnx", opset=17)
    session = onnxruntime.InferenceSession(tmp_path / "u8.onnx", providers=["CPUExecutionProvider"])
    (got,), (want,) = session.run(None, feeds), run(module, feeds).values()
    np.testing.assert_allclose(np.asarray(got), want, atol=1e-6 * np.abs(want).max())
    assert np.unique(want).size > 100


def test_fuel_ends_the_pass() -> None:
    module = changed(small_cnn(), QuantizeInt8(samples=samples()))
    PassManager([UnsignedIntegers()], [Verify()], PassContext(fuel=Fuel(0))).run(module)
    assert stored(module) == {DType.I8}


# ------------------------------------------------------------------------------------------------- the other direction
def test_there_and_back_is_the_same_network() -> None:
    module = changed(small_cnn(), QuantizeInt8(samples=samples()))
    unsigned = changed(module, UnsignedIntegers())
    signed = changed(unsigned, SignedIntegers())
    assert stored(signed) == {DType.I8}
    assert equal(unsigned, signed, samples(1, seed=3)[0])
    assert [n.op for n in signed.main] == [n.op for n in module.main]


def test_what_a_device_takes_decides() -> None:
    """Ascend has i8 only, Rockchip's tool reads u8; the numbers are those of the file's own u8."""
    signed = changed(small_cnn(), QuantizeInt8(samples=samples()))
    module = changed(signed, UnsignedIntegers())
    for target, want in (("ascend310", DType.I8), ("jetson_orin", DType.I8), ("rk3588", DType.U8), ("cpu", DType.U8)):
        assert stored(changed(module, *preparation(Context.default().target(target), module))) == {want}
    artifacts = [uair.compile(each, "ascend310") for each in (module, signed)]
    assert artifacts[0].manifest["verdicts"]["unsupported"] == 0
    one, other = (uair.run(artifact, samples(1, seed=3)[0]) for artifact in artifacts)
    assert all(np.array_equal(one[name], other[name]) for name in other)
