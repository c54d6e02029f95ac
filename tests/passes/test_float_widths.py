"""Passes that change the width of floats: f32 in 16 bits, bf16 in f32, weights in bf16; and pooling as an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.quant.networks import Builder, samples, small_cnn
from uair.codegen.reference import run
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops import Add, Cast, Conv2D, Exp, If, Linear, Mul, Relu, Softmax
from uair.passes.narrow_floats import NarrowFloats
from uair.passes.pool_as_image import PoolAsImage
from uair.passes.quantize_int8 import QuantizeInt8
from uair.passes.store_weights import StoreWeights
from uair.passes.widen_floats import WidenFloats
from uair.pipeline import Pass, PassContext, PassManager, Verify
from uair.rewrite import Fuel
from uair.targets import load_description
from uair.text import parse_type


def changed(module: Module, *passes: Pass) -> Module:
    return PassManager(passes, [Verify()]).run(module.clone())


def operands(module: Module) -> list[Tensor]:
    """What is dequantized."""
    return [t for n in module.main if n.op_type == "Dequantize" and (t := n.inputs[0]) is not None]


def types(module: Module, op: str) -> list[DType]:
    return [n.outputs[0].type.dtype for n in module.main if n.op_type == op]


@pytest.mark.parametrize(("to", "tolerance"), [("f16", 5e-3), ("bf16", 5e-2)])
def test_a_network_in_16_bits(to: Any, tolerance: float) -> None:
    module = small_cnn()
    narrow = changed(module, NarrowFloats(to=to))
    assert set(types(narrow, "Conv2D")) == {DType(to)} == set(types(narrow, "Add")) == set(types(narrow, "Linear"))
    assert types(narrow, "Softmax") == [DType.F32]
    assert [t.type.dtype for t in (*narrow.main.inputs, *narrow.main.outputs)] == [DType.F32] * 3
    feeds = samples(1)[0]
    for got, want in zip(run(narrow, feeds).values(), run(module, feeds).values(), strict=True):
        np.testing.assert_allclose(got, want, atol=tolerance * np.abs(want).max())


def test_integers_stay_what_they_are_in_16_bits() -> None:
    module = small_cnn()
    described = load_description("jetson_orin").quantization
    assert described is not None
    quantized = changed(module, QuantizeInt8(samples=samples(), scheme=described.scheme))
    narrow = changed(quantized, NarrowFloats())
    assert set(types(narrow, "Dequantize")) == {DType.F16}
    before, after = ([t.numpy() for t in operands(m) if t.is_constant] for m in (quantized, narrow))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_what_f16_cannot_hold() -> None:
    b = Builder(2, 4)
    small = b.add(Add(), b.x, constant(np.float32(1e-12), "epsilon"), name="small")
    large = b.add(Add(), small, constant(np.float32(-1e9), "mask"), name="large")
    narrow = changed(b.done(b.add(Softmax(), large, name="p")), NarrowFloats())
    assert types(narrow, "Add") == [DType.F32, DType.F16]
    (mask,) = (n.inputs[1].numpy() for n in narrow.main if n.name == "large" and n.inputs[1] is not None)
    assert mask == np.float16(-65504)
    verify(narrow)


def test_kept_operators_and_users_in_graphs() -> None:
    b = Builder(1, 4)
    r = b.add(Relu(), b.x, name="r")
    e = b.add(Exp(), r, name="e")
    m = b.add(Mul(), e, r, name="m")
    inner = Graph("then")
    inner.add_output("a", inner.append(Relu().node(m)).output)
    other = Graph("else")
    other.add_output("a", other.append(Exp().node(r)).output)
    condition = b.graph.add_input("c", parse_type("bool[]"))
    chosen = b.add(If(then_branch=inner, else_branch=other), condition, name="choice")
    module = b.done(chosen)
    narrow = changed(module, NarrowFloats(keep=("Mul",)))
    assert types(narrow, "Relu")[0] is DType.F16
    assert (types(narrow, "Exp"), types(narrow, "Mul")) == ([DType.F32], [DType.F32])
    for flag in (True, False):
        feeds = {"x": samples(1, (1, 4))[0]["x"], "c": np.array(flag)}
        np.testing.assert_allclose(run(narrow, feeds)["y"], run(module, feeds)["y"], rtol=2e-3)


def bf16_net() -> Module:
    graph = Graph()
    x = graph.add_input("x", parse_type("bf16[1,3,6,6]"))
    weight = constant(np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(DType.BF16.numpy), "w")
    conv = graph.append(Conv2D().node(x, weight, name="conv")).output
    relu = graph.append(Relu().node(conv, name="relu")).output
    graph.add_output("y", relu)
    graph.add_output("z", graph.append(Cast(to=DType.F32).node(relu, name="cast")).output)
    return Module("bf16", {"main": graph})


def test_bf16_is_computed_in_f32_and_rounded_as_before() -> None:
    module = bf16_net()
    wide = changed(module, WidenFloats())
    assert all(n.op_type == "Cast" or n.outputs[0].type.dtype is DType.F32 for n in wide.main)
    assert [t.type.dtype for t in wide.main.outputs] == [DType.BF16, DType.F32]
    feeds = {"x": np.random.default_rng(2).normal(size=(1, 3, 6, 6)).astype(DType.BF16.numpy)}
    got, want = run(wide, feeds), run(module, feeds)
    np.testing.assert_allclose(got["z"], want["z"], rtol=2**-7, atol=2**-7)


def test_weights_in_bf16() -> None:
    b = Builder(1, 64)
    shared = b.weight(64, 64)
    one = b.add(Linear(), b.x, shared, b.weight(64), name="one")
    module = b.done(b.add(Linear(), one, shared, name="two"))
    stored = changed(module, StoreWeights())
    casts = [n for n in stored.main if n.op_type == "Cast"]
    assert len(casts) == 1, "a weight that is used twice is stored once"
    assert casts[0].inputs[0] is not None and casts[0].inputs[0].type.dtype is DType.BF16
    feeds = samples(1, (1, 64))[0]
    got, want = run(stored, feeds)["y"], run(module, feeds)["y"]
    np.testing.assert_allclose(got, want, atol=1e-2 * np.abs(want).max())
    assert not np.array_equal(got, want)


MAKERS: dict[str, Callable[[], Pass]] = {"narrow": NarrowFloats, "store": lambda: StoreWeights(least=4)}


@pytest.mark.parametrize("name", MAKERS)
def test_fuel_ends_the_pass(name: str) -> None:
    module = small_cnn()
    context = PassContext(fuel=Fuel(0))
    assert PassManager([MAKERS[name]()], [Verify()], context).run(module) is module
    assert len(module.main) == len(small_cnn().main)


def test_pooling_as_an_image_changes_nothing_else() -> None:
    module = small_cnn()
    assert not PoolAsImage().run(module, PassContext())
