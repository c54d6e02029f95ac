"""Foldings in a row round once: weights and biases are those of one folding in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import uair
from uair.codegen.reference import run
from uair.ir.data import ArrayData, ComputedData, Data
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ops import Add, BatchNorm, Conv2D, ConvTranspose2D, Mul, Relu
from uair.passes.fusion.exact import Scaled, exact, rounded, scaled
from uair.text import parse_module, parse_type

CHANNELS = 6


def numbers(*shape: int, seed: int, low: float = -1.0, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(seed).uniform(low, 1.0, shape).astype(dtype)


def chain(conv: Conv2D | ConvTranspose2D, w: Array) -> tuple[Module, dict[str, Array]]:
    """A convolution of relu(x * a), then a product, a sum, and BatchNorm."""
    values = {
        "a": np.array(0.3, w.dtype), "b": numbers(CHANNELS, seed=1, dtype=w.dtype),
        "c": numbers(1, CHANNELS, 1, 1, seed=2, dtype=w.dtype), "d": numbers(1, CHANNELS, 1, 1, seed=3, dtype=w.dtype),
        "scale": numbers(CHANNELS, seed=4, dtype=w.dtype), "shift": numbers(CHANNELS, seed=5, dtype=w.dtype),
        "mean": numbers(CHANNELS, seed=6, dtype=w.dtype), "var": numbers(CHANNELS, seed=7, low=0.5, dtype=w.dtype),
    }  # fmt: skip
    k = {name: constant(value, name) for name, value in values.items()}
    graph = Graph("main")
    x = graph.add_input("x", parse_type(f"{DType.from_numpy(w.dtype)}[1,4,7,7]"))

    def add(op: Any, *operands: Tensor) -> Tensor:
        return graph.append(Node(op, operands)).output

    y = add(conv, add(Mul(), add(Relu(), x), k["a"]), constant(w, "w"), k["b"])
    y = add(Add(), add(Mul(), y, k["c"]), k["d"])
    y = add(BatchNorm(epsilon=1e-3), y, k["scale"], k["shift"], k["mean"], k["var"])
    graph.add_output("y", y)
    return Module("chain", {"main": graph}), values


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_weights_and_bias_are_rounded_once(transposed: bool, groups: int) -> None:
    shape = (4, CHANNELS // groups, 3, 3) if transposed else (CHANNELS, 4 // groups, 3, 3)
    w = numbers(*shape, seed=0)
    module, values = chain((ConvTranspose2D if transposed else Conv2D)(groups=groups), w)
    feeds = {"x": numbers(1, 4, 7, 7, seed=9)}
    before = run(module, feeds)["y"]
    (conv,) = (n for n in uair.optimize(module).main if n.op_type.startswith("Conv"))
    assert sum(1 for _ in module.main) == (3 if transposed else 2)  # numbers in front stay there
    wide = {name: value.astype(np.float64).reshape(-1) for name, value in values.items()}
    factor = wide["scale"] / np.sqrt(wide["var"] + 1e-3)
    scale = factor * wide["c"]
    bias = (wide["b"] * wide["c"] + wide["d"] - wide["mean"]) * factor + wide["shift"]
    if transposed:
        rows = np.repeat(scale.reshape(groups, 1, -1), 4 // groups, axis=1).reshape(4, -1, 1, 1)
    else:
        rows = scale.reshape(-1, 1, 1, 1)
    weights = w * rows * (1 if transposed else wide["a"])
    assert conv.inputs[1] is not None and conv.inputs[2] is not None
    for got, want in ((conv.inputs[1], weights), (conv.inputs[2], bias)):
        np.testing.assert_allclose(exact(got), want, rtol=1e-14, atol=1e-15)
        assert got.type.dtype is DType.F32 and np.array_equal(got.numpy(), exact(got).astype(np.float32))
    np.testing.assert_allclose(run(module, feeds)["y"], before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16, DType.F64])
def test_other_types(dtype: DType) -> None:
    w = numbers(CHANNELS, 4, 3, 3, seed=0, dtype=dtype.numpy)
    module, _ = chain(Conv2D(), w)
    feeds = {"x": numbers(1, 4, 7, 7, seed=9, dtype=dtype.numpy)}
    before = run(module, feeds)["y"].astype(np.float64)
    uair.optimize(module)
    assert sum(1 for _ in module.main) == 2
    after = run(module, feeds)["y"]
    assert after.dtype == dtype.numpy
    steps = {DType.F16: 2**-10, DType.BF16: 2**-7, DType.F64: 2**-50}[dtype]
    np.testing.assert_allclose(after.astype(np.float64), before, atol=8 * steps * np.abs(before).max())


def test_numbers_that_the_type_has_are_a_plain_constant() -> None:
    for values in (np.array([0.5, -3.0]), np.array([1 / 3])):
        tensor = rounded(values, DType.F32, "c")
        assert np.array_equal(exact(tensor), values) and tensor.name == "c"
        assert np.array_equal(tensor.numpy(), values.astype(np.float32))


FACTORS = {
    "two numbers": ("f32[2,3]", [np.float32(0.1), np.float32(3)], 1),
    "a number and one for each column": ("f32[2,3]", [np.float32(0.1), numbers(3, seed=1)], 1),
    "rows and columns": ("f32[2,3]", [numbers(2, 1, seed=1), numbers(3, seed=2)], 2),
    "a larger result": ("f32[1,3]", [numbers(2, 1, seed=1), np.float32(2)], 2),
    "out of range": ("f32[2,3]", [np.float32(1e30), np.float32(1e30)], 2),
    "next to nothing": ("f32[2,3]", [np.float32(1e-30), np.float32(1e-15)], 2),
    "a zero": ("f32[2,3]", [np.array([1, 0, 2], np.float32), np.float32(2)], 1),
    "integers": ("i32[2,3]", [np.int32(2), np.int32(3)], 2),
    "of bf16": ("bf16[2,3]", [np.float32(0.5).astype(DType.BF16.numpy), np.float32(3).astype(DType.BF16.numpy)], 1),
}


@pytest.mark.parametrize(("type_", "factors", "left"), FACTORS.values(), ids=FACTORS)
def test_products_in_turn_are_one(type_: str, factors: list[Array], left: int) -> None:
    graph = Graph("main")
    y = x = graph.add_input("x", parse_type(type_))
    for factor in factors:
        y = graph.append(Node(Mul(), [y, constant(np.asarray(factor))])).output
    graph.add_output("y", y)
    module = Module("m", {"main": graph})
    feeds = {"x": (np.arange(6)[: x.type.size] + 1).reshape(x.type.dims).astype(x.type.dtype.numpy)}
    wants = run(module, feeds)
    found = uair.optimize(module)
    assert [node.op_type for node in found.main] == ["Mul"] * left
    got, want = (each["y"].astype(np.float64) for each in (run(found, feeds), wants))
    np.testing.assert_allclose(got, want, rtol=1e-2 if x.type.dtype is DType.BF16 else 1e-6)


def test_factors_of_rows_and_of_columns_stay_apart_and_round_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their product would take twice the room of the weight, for as long as the model is there."""
    monkeypatch.setattr("uair.passes.fusion.exact.AT_ONCE", 20)
    w, by_row, by_column = numbers(40, 10, 1, seed=0), numbers(40, 1, 1, seed=1), numbers(1, 10, 1, seed=2)
    factors = [by_row.astype(np.float64), by_column.astype(np.float64)]
    data: Data = ArrayData(w)
    for factor in (*factors, factors[1], np.array(0.3)):
        data = scaled(data, factor)
    assert isinstance(data, ComputedData) and isinstance(data.compute, Scaled)
    assert sum(factor.size for factor in data.compute.factors) <= 50
    expected = w * factors[0] * factors[1] ** 2 * 0.3
    np.testing.assert_array_equal(data.array(), expected.astype(np.float32))
    np.testing.assert_allclose(exact(constant(data)), expected, rtol=1e-15)


AROUND = "%q: f32[2,3,4]  %k: f32[2,4,5]  "
PRODUCTS = {
    "both operands": ("%s = Mul(%q, @a)  %t = Mul(@b, %k)  %y = MatMul(%s, %t)", 0.5, 0.25, 1),
    "the first one and the result": ("%s = Mul(%q, @a)  %p = MatMul(%s, %k)  %y = Mul(%p, @b)", 3.0, 0.25, 1),
    "the second one and the result": ("%t = Mul(%k, @a)  %p = MatMul(%q, %t)  %y = Mul(@b, %p)", -3.0, 0.25, 1),
    "all three": ("%s = Mul(%q, @a)  %t = Mul(%k, @b)  %p = MatMul(%s, %t)  %y = Mul(%p, @a)", 0.5, 0.25, 1),
    "a result that would grow": ("%s = Mul(%q, @a)  %p = MatMul(%s, %k)  %y = Mul(%p, @b)", 0.25, 4.0, 2),
    "next to nothing": ("%s = Mul(%q, @a)  %p = MatMul(%s, %k)  %y = Mul(%p, @b)", 0.25, 1e-4, 2),
    "a product that is used": ("%s = Mul(%q, @a)  %p = MatMul(%s, %k)  %z = Relu(%p)  %y = Mul(%p, @b)", 0.5, 0.5, 2),
}


@pytest.mark.parametrize(("text", "a", "b", "left"), PRODUCTS.values(), ids=PRODUCTS)
def test_numbers_around_a_product_meet(text: str, a: float, b: float, left: int) -> None:
    module = parse_module(f"constant @a = {a} : f32[]  constant @b = {b} : f32[]  {AROUND}{text}")
    feeds = {"q": numbers(2, 3, 4, seed=1), "k": numbers(2, 4, 5, seed=2)}
    want = run(module, feeds)["y"]
    found = uair.optimize(module)
    assert [node.op_type for node in found.main].count("Mul") == left
    np.testing.assert_allclose(run(found, feeds)["y"], want, rtol=1e-6, atol=1e-6)
