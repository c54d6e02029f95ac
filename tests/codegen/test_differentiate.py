"""Running modules backwards."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from tests.ops.test_control import branching
from tests.passes.pruning_helpers import conv, dense, transformer
from tests.quant.networks import Builder
from uair.codegen.reference import random_feeds, run
from uair.codegen.reference.differentiate import Differentiator
from uair.codegen.reference.errors import NoGradientError, SeedError
from uair.ir.dims import static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops import (
    Add,
    ArgMax,
    AvgPool2D,
    Cast,
    ConvTranspose2D,
    Dequantize,
    Gelu,
    GroupNorm,
    If,
    IntegerMatMul,
    Mul,
    Quantize,
    Relu,
    Reshape,
    Resize,
    Softmax,
    Split,
    Swish,
    Tanh,
    Transpose,
    Where,
)
from uair.ops.base import Operator
from uair.text import parse_module

STEP = 1e-2


def smooth() -> Module:
    """A convolutional network without kinks."""
    b = Builder(1, 3, 8, 8)
    x = b.add(Swish(), b.add(GroupNorm(groups=2), conv(b, b.x, 8), b.weight(8), b.weight(8)))
    y = b.add(Gelu(), conv(b, x, 8, groups=8))
    y = b.add(AvgPool2D(kernel=(2, 2), strides=(2, 2)), b.add(Add(), conv(b, y, 8, 1), x))
    z = b.add(ConvTranspose2D(strides=(2, 2)), y, b.weight(8, 4, 2, 2), b.weight(4))
    return b.done(b.add(Resize(sizes=(1, 4, 5, 11), mode="linear"), b.add(Tanh(), z)))


def input_name(module: Module) -> str:
    (name,) = module.main.input_names
    return name


@pytest.mark.parametrize("make", [transformer, smooth], ids=lambda f: f.__name__)
def test_gradients_of_a_network_are_central_differences(make: Callable[[], Module]) -> None:
    module = make()
    feeds, rng = random_feeds(module.main), np.random.default_rng(0)
    seeds = {name: rng.standard_normal(y.shape).astype(np.float32) for name, y in run(module, feeds).items()}
    weights = [t for t in module.main.constants() if t.type.rank >= 2]
    name = input_name(module)
    found = Differentiator(module, [module.main.input(name), *weights]).run(feeds, lambda _: seeds)
    assert set(found.gradients) == {module.main.input(name), *weights}

    def value(changed: Module, x: Array) -> float:
        return sum(float((y.astype(np.float64) * seeds[n]).sum()) for n, y in run(changed, {name: x}).items())

    direction = rng.standard_normal(feeds[name].shape).astype(np.float32)
    x = feeds[name]
    slope = (value(module, x + STEP * direction) - value(module, x - STEP * direction)) / (2 * STEP)
    assert float((found.gradients[module.main.input(name)] * direction).sum()) == pytest.approx(
        slope, rel=2e-2, abs=2e-3
    )
    for tensor in weights[:: max(1, len(weights) // 4)]:
        direction = rng.standard_normal(static(tensor.type.dims)).astype(np.float32)
        sides = [moved(module, tensor, factor * direction) for factor in (STEP, -STEP)]
        slope = (value(sides[0], x) - value(sides[1], x)) / (2 * STEP)
        assert float((found.gradients[tensor] * direction).sum()) == pytest.approx(slope, rel=2e-2, abs=2e-3)


def moved(module: Module, tensor: Tensor, change: Array) -> Module:
    """A copy in which a constant is another one."""
    copy = module.clone()
    for node, twin in zip(module.main, copy.main, strict=True):
        for i, t in enumerate(node.inputs):
            if t is tensor:
                twin.set_input(i, constant(tensor.numpy() + change))
    return copy


def test_what_comes_back_through_each_use_adds_up() -> None:
    b = Builder(1, 3, 8, 8)
    x = b.add(Relu(), conv(b, b.x, 6))
    y = conv(b, x, 6)
    z = b.add(Add(), b.add(Mul(), x, y), x)
    module = b.done(b.add(Tanh(), z))
    feeds, uses = random_feeds(module.main), x.uses
    shown: dict[tuple[Node, int], tuple[Array, Array]] = {}

    def observe_use(node: Node, i: int, value: Array, gradient: Array) -> None:
        shown[node, i] = value, gradient

    values: dict[Tensor, Array] = {}
    differentiator = Differentiator(module, [x], uses=uses)
    found = differentiator.run(
        feeds, lambda out: {n: y.copy() for n, y in out.items()}, observe=values.__setitem__, observe_use=observe_use
    )
    assert set(shown) == set(uses)
    np.testing.assert_allclose(sum(g for _, g in shown.values()), found.gradients[x], rtol=1e-5, atol=1e-6)
    for value, _ in shown.values():
        np.testing.assert_array_equal(value, values[x])


def test_a_use_is_shown_without_gradients_in_front_of_it() -> None:
    b = Builder(1, 6)
    quantized = b.add(Quantize(dtype=DType.I8), b.x, constant(np.float32(0.1)))
    x = b.add(Dequantize(), quantized, constant(np.float32(0.1)))
    y = dense(b, x, 4)
    module = b.done(y)
    assert y.producer is not None
    shown: list[Array] = []
    Differentiator(module, uses=[(y.producer, 0)]).run(
        random_feeds(module.main), lambda out: out, observe_use=lambda node, i, value, g: shown.append(g)
    )
    assert [g.shape for g in shown] == [(1, 6)]


def test_an_output_that_is_used_gets_both_gradients() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (3,)))
    a = graph.append(Tanh().node(x)).output
    c = graph.append(Mul().node(a, a)).output
    graph.add_output("a", a)
    graph.add_output("c", c)
    graph.add_output("again", a)
    module = Module(graphs={"main": graph})
    value = np.array([0.1, -0.5, 2], np.float32)
    ones = np.ones(3, np.float32)
    found = Differentiator(module, [x, a]).run({"x": value}, lambda _: {"a": ones, "c": ones, "again": ones})
    t = np.tanh(value)
    np.testing.assert_allclose(found.gradients[a], 2 + 2 * t, rtol=1e-6)
    np.testing.assert_allclose(found.gradients[x], (2 + 2 * t) * (1 - t * t), rtol=1e-5)
    only = Differentiator(module, [x]).run({"x": value}, lambda _: {"c": ones})
    np.testing.assert_allclose(only.gradients[x], 2 * t * (1 - t * t), rtol=1e-5)


def test_sizes_may_be_open() -> None:
    module = parse_module(
        """uair 1
module @m {
  graph @main(%x: f32[n,4]) -> (%z: f32[4,n]) {
    %y = Tanh(%x) : f32[n,4]
    %z = Reshape(%y) {shape = [4,n]} : f32[4,n]
  }
}
"""
    )
    x = module.main.input("x")
    differentiator = Differentiator(module, [x])
    for n in (2, 3):
        value = np.random.default_rng(n).standard_normal((n, 4)).astype(np.float32)
        found = differentiator.run({"x": value}, lambda out: {"z": np.ones_like(out["z"])})
        np.testing.assert_allclose(found.gradients[x], 1 - np.tanh(value) ** 2, rtol=1e-5, atol=1e-6)


def test_results_without_a_gradient_count_as_zero() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2, 5)))
    split = graph.append(Split(axis=1, sizes=(2, 3)).node(x))
    graph.add_output("y", split.outputs[1])
    module = Module(graphs={"main": graph})
    found = Differentiator(module, [x]).run({"x": np.zeros((2, 5), np.float32)}, lambda out: {"y": out["y"] + 1})
    np.testing.assert_array_equal(found.gradients[x], [[0, 0, 1, 1, 1]] * 2)


def test_what_the_outputs_do_not_depend_on_is_not_in_there() -> None:
    graph = Graph()
    x, other = (graph.add_input(name, TensorType(DType.F32, (3,))) for name in ("x", "other"))
    places = graph.append(ArgMax().node(other)).output
    floats = graph.append(Cast(to=DType.F32).node(places)).output
    graph.add_output("y", graph.append(Add().node(x, floats)).output)
    module = Module(graphs={"main": graph})
    feeds = {"x": np.zeros(3, np.float32), "other": np.arange(3, dtype=np.float32)}
    found = Differentiator(module, [x, other]).run(feeds, lambda out: {"y": np.ones_like(out["y"])})
    assert set(found.gradients) == {x}


# --------------------------------------------------------------------------------------------------------------- memory
def chain(op: object, length: int) -> Module:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (1 << 18,)))
    for _ in range(length):
        operands = (x, constant(np.float32(1.5))) if isinstance(op, Mul) else (x,)
        assert isinstance(op, (Mul, Gelu))
        x = graph.append(op.node(*operands)).output
    graph.add_output("y", x)
    return Module(graphs={"main": graph})


@pytest.mark.parametrize(("op", "least", "most"), [(Mul(), 2, 8), (Gelu(), 16, 28)], ids=["Mul", "Gelu"])
def test_only_what_is_read_is_kept(op: object, least: int, most: int) -> None:
    """16 nodes of 1 MiB: the products of Mul with a constant read nothing, those of Gelu its operand."""
    module = chain(op, 16)
    differentiator = Differentiator(module, [module.main.input("x")])
    feeds = {"x": np.ones(1 << 18, np.float32)}
    differentiator.run(feeds, lambda out: {"y": np.ones_like(out["y"])})
    tracemalloc.start()
    found = differentiator.run(feeds, lambda out: {"y": np.ones_like(out["y"])})
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.gradients
    assert least < peak / 2**20 < most
    assert now / 2**20 < 3, "the output and one gradient are left"


# --------------------------------------------------------------------------------------------------------------- errors
def quantized(move: Operator | None = None) -> tuple[Module, Tensor]:
    """x, in INT8 and back by a scale of 0.1 and a zero point of 3, perhaps moved meanwhile, times 3."""
    b = Builder(1, 6)
    q = b.add(Quantize(dtype=DType.I8), b.x, constant(np.float32(0.1)), constant(np.int8(3)))
    q = q if move is None else b.add(move, q)
    y = b.add(Dequantize(), q, constant(np.float32(0.1)), constant(np.int8(3)))
    return b.done(b.add(Mul(), y, constant(np.float32(3)))), b.x


@pytest.mark.parametrize("move", [None, Transpose(perm=(1, 0)), Reshape(shape=(2, 3))])
def test_quantization_is_straight_through_in_its_range(move: Operator | None) -> None:
    """As torch.fake_quantize_per_tensor_affine, for which 12.4 is the last number in range; it rounds to 127."""
    module, x = quantized(move)
    values = np.array([[0.04, -1.26, 12.4, 12.46, -13.1, -13.2]], np.float32)
    shape = np.array(values.shape)
    (name,) = module.main.input_names
    found = Differentiator(module, [x]).run({name: values}, lambda out: {n: np.ones_like(v) for n, v in out.items()})
    np.testing.assert_allclose(found.gradients[x], [[3, 3, 3, 0, 3, 0]], rtol=1e-6)
    assert found.gradients[x].shape == tuple(shape)


def test_products_of_integers_are_named() -> None:
    b = Builder(1, 6)
    q = b.add(Quantize(dtype=DType.I8), b.x, constant(np.float32(0.1)))
    node = IntegerMatMul().node(q, constant(np.ones((6, 2), np.int8)), name="product")
    b.graph.append(node)
    module = b.done(b.add(Dequantize(), node.output, constant(np.float32(0.1))))
    with pytest.raises(NoGradientError, match="no gradient through IntegerMatMul") as caught:
        Differentiator(module, [b.x])
    assert caught.value.node is node
    assert "product" in caught.value.place


def test_control_flow_has_no_gradient() -> None:
    module = branching()
    with pytest.raises(NoGradientError, match="through If") as caught:
        Differentiator(module, [module.main.input("x")])
    assert isinstance(caught.value.node, Node)
    assert isinstance(caught.value.node.op, If)


def test_integers_have_no_gradient() -> None:
    graph = Graph()
    c = graph.add_input("c", TensorType(DType.BOOL, (3,)))
    x = graph.add_input("x", TensorType(DType.F32, (3,)))
    graph.add_output("y", graph.append(Where().node(c, x, x)).output)
    with pytest.raises(NoGradientError, match="not floating-point"):
        Differentiator(Module(graphs={"main": graph}), [c])


@pytest.mark.parametrize("seeds", [{"z": np.ones(2, np.float32)}, {"y": np.ones(3, np.float32)}])
def test_seeds_must_fit(seeds: dict[str, Array]) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2,)))
    graph.add_output("y", graph.append(Softmax().node(x)).output)
    differentiator = Differentiator(Module(graphs={"main": graph}), [x])
    with pytest.raises(SeedError):
        differentiator.run({"x": np.zeros(2, np.float32)}, lambda _: seeds)
