"""Models with channels last computed with channels first: the fewest transposes, and the same numbers."""

from __future__ import annotations

import time
from typing import Literal

import numpy as np
import pytest

import uair
from uair.frontends.common.builder import Builder
from uair.frontends.common.layout import TRANSPOSES, channels_first, channels_last, settle
from uair.frontends.common.node import SourceNode
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ir.verify import verify
from uair.ops import (
    Add,
    ArgMax,
    Concat,
    Conv1D,
    Conv2D,
    Flip,
    Gelu,
    HardSigmoid,
    HardSwish,
    LayerNorm,
    Linear,
    Mul,
    Pad,
    ReduceMean,
    Relu,
    Reshape,
    RMSNorm,
    Slice,
    Softmax,
    Split,
)
from uair.passes.propagate_layout import PropagateLayout
from uair.passes.propagate_layout.moves import Pointwise
from uair.pipeline import PassContext
from uair.rewrite import Fuel


class Model:
    """A model with channels last under construction."""

    def __init__(self, *shape: int) -> None:
        self.module = Module("m", {"main": Graph("main")})
        self.graph = self.module.main
        self.x = self.graph.add_input("x", TensorType(DType.F32, shape))
        self.node = SourceNode(Builder(), self.graph, op_type="op", name="n", loc=Location.of("n"), place="n")
        self.rng = np.random.default_rng(0)

    def weights(self, *shape: int) -> Tensor:
        return constant(self.rng.standard_normal(shape).astype(np.float32))

    def conv(self, x: Tensor, outputs: int, kernel: int = 3) -> Tensor:
        channels = x.type.dims[-1]
        assert isinstance(channels, int)
        rank = len(x.type.dims) - 2
        op = Conv2D(pads=(kernel // 2,) * 4) if rank == 2 else Conv1D(pads=(kernel // 2,) * 2)
        weight = self.weights(outputs, channels, *[kernel] * rank)
        return channels_last(self.node, self.node(op, channels_first(self.node, x), weight))

    def run(self, x: Array) -> list[Array]:
        return list(uair.run(self.module, {"x": x}).values())


def types(module: Module) -> list[str]:
    return [node.op_type for node in module.main]


def squeeze_and_excite(m: Model) -> None:
    """A block of MobileNetV3: the product's second operand has extents of 1."""
    y = m.node(HardSwish(), m.conv(m.x, 8))
    s = m.node(ReduceMean(axes=(1, 2), keepdims=True), y)
    s = m.node(HardSigmoid(), m.conv(m.node(Relu(), m.conv(s, 4, 1)), 8, 1))
    y = m.node(Mul(), y, s)
    m.graph.add_output("y", m.node(ReduceMean(axes=(1, 2), keepdims=False), m.conv(y, 6)))


def everything(m: Model) -> None:
    """What can change form, between two convolutions."""
    y = m.conv(m.x, 8)
    y = m.node(Add(), y, m.weights(8))
    y = m.node(Mul(), m.weights(16, 8), y)
    a, b = m.node.all(Split(axis=3, sizes=(3, 5)), y)
    y = m.node(Concat(axis=-1), m.node(Softmax(axis=-1), a), m.node(Flip(axes=(1,)), b))
    y = m.node(Pad(pads=(0, 1, 2, 0, 0, 3, 0, 0)), y)
    y = m.node(Slice(axes=(1, 2), starts=(1, 0), ends=(17, 15), steps=(1, 2)), y)
    m.graph.add_output("y", m.node(ArgMax(axis=3, keepdims=False), m.conv(y, 5)))


def residual(m: Model) -> None:
    """A sum over a block, and a second use of what is in front of it."""
    y = m.node(Relu(), m.conv(m.x, 4))
    z = m.node(Add(), y, m.conv(m.node(Relu(), m.conv(y, 4)), 4))
    m.graph.add_output("y", m.node(ReduceMean(axes=(1, 2), keepdims=False), m.node(Concat(axis=3), z, y)))


def sequence(m: Model) -> None:
    """Three axes, where both transposes are the same permutation."""
    y = m.node(Relu(), m.conv(m.x, 4))
    y = m.conv(m.node(Add(), y, m.weights(4)), 6)
    m.graph.add_output("y", m.node(ReduceMean(axes=(1,), keepdims=False), m.node(Relu(), y)))


IMAGE = (2, 16, 16, 3)


@pytest.mark.parametrize(
    ("build", "shape", "left"),
    [
        pytest.param(squeeze_and_excite, IMAGE, 1, id="squeeze-and-excite"),
        pytest.param(everything, IMAGE, 1, id="everything"),
        pytest.param(residual, IMAGE, 1, id="residual"),
        pytest.param(sequence, (2, 16, 3), 1, id="sequence"),
    ],
)
@pytest.mark.parametrize("channels", ["last", "first"])
def test_fewest_transposes_are_left(
    build: object, shape: tuple[int, ...], left: int, channels: Literal["first", "last"]
) -> None:
    assert callable(build)
    model, settled = Model(*shape), Model(*shape)
    build(model)
    build(settled)
    before = sum(t == "Transpose" for t in types(model.module))
    assert before >= 4
    found = settle(settled.module, channels=channels)
    verify(settled.module)
    assert found == (left if channels == "last" else 0) == types(settled.module).count("Transpose")
    assert settled.module.metadata["transposes"] == str(found)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    given = np.moveaxis(x, -1, 1) if channels == "first" else x
    for a, b in zip(model.run(x), settled.run(np.ascontiguousarray(given)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_free_interface_leaves_alone_what_it_would_not_help() -> None:
    model = Model(*IMAGE)
    m = model
    flat = m.node(Reshape(shape=(2, 768)), m.x)
    m.graph.add_output("y", m.node(Linear(), flat, m.weights(5, 768)))
    m.graph.add_output("z", m.node(Relu(), m.conv(m.x, 4)))
    settle(m.module, channels="first")
    verify(m.module)
    assert m.module.main.inputs[0].type.dims in {(2, 3, 16, 16), IMAGE}
    assert types(m.module).count("Transpose") == 1


def test_flattening_goes_into_the_weight() -> None:
    model, fused = Model(*IMAGE), Model(*IMAGE)
    for m in (model, fused):
        y = m.node(Relu(), m.conv(m.x, 4))
        flat = m.node(Reshape(shape=(2, 16 * 16 * 4)), y)
        m.graph.add_output("y", m.node(Linear(), flat, m.weights(5, 16 * 16 * 4), m.weights(5)))
    settle(fused.module)
    uair.optimize(fused.module)
    assert types(fused.module).count("Transpose") == 1  # in front of the convolution
    x = np.random.default_rng(1).standard_normal(IMAGE).astype(np.float32)
    for a, b in zip(model.run(x), fused.run(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


def convnext(m: Model) -> None:
    """Two blocks of ConvNeXt between a stem and a head: LayerNorm and Linear over the channels of images."""
    y = norm(m, m.conv(m.x, 8))
    for _ in range(2):
        z = norm(m, m.conv(y, 8))
        z = m.node(Gelu(), m.node(Linear(), z, m.weights(16, 8), m.weights(16)))
        y = m.node(Add(), y, m.node(Linear(transpose_w=False), z, m.weights(16, 8), m.weights(8)))
    m.graph.add_output("y", m.node(ReduceMean(axes=(1, 2), keepdims=False), m.conv(norm(m, y), 5)))


def norm(m: Model, y: Tensor) -> Tensor:
    return m.node(LayerNorm(axis=3, epsilon=1e-3), y, m.weights(8), m.weights(8))


def rms_of_series(m: Model) -> None:
    y = m.node(RMSNorm(axis=-1), m.conv(m.x, 8), m.weights(8))
    m.graph.add_output("y", m.conv(m.node(Linear(), y, m.weights(6, 8)), 4))


@pytest.mark.parametrize(
    ("build", "shape", "pointwise", "left"),
    [
        pytest.param(convnext, IMAGE, "convolution", 7, id="convnext"),
        pytest.param(convnext, IMAGE, "arithmetic", 1, id="convnext spelled out"),
        pytest.param(rms_of_series, (2, 16, 3), "kept", 4, id="rms"),
        pytest.param(rms_of_series, (2, 16, 3), "arithmetic", 2, id="rms spelled out"),
    ],
)
def test_what_works_on_channels_is_rewritten_where_that_saves_transposes(
    build: object, shape: tuple[int, ...], pointwise: Pointwise, left: int
) -> None:
    assert callable(build)
    model, settled = Model(*shape), Model(*shape)
    build(model)
    build(settled)
    PropagateLayout(pointwise=pointwise).run(settled.module, PassContext())
    PassContext().apply_rules(settled.module, TRANSPOSES)
    verify(settled.module)
    assert types(settled.module).count("Transpose") == left
    spelled = pointwise == "arithmetic"
    assert ("Linear" in types(settled.module)) is not spelled
    assert bool({"LayerNorm", "RMSNorm"} & set(types(settled.module))) is not spelled
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    for a, b in zip(model.run(x), settled.run(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_linear_between_convolutions_is_one_itself() -> None:
    model, settled = Model(*IMAGE), Model(*IMAGE)
    for m in (model, settled):
        y = m.node(Relu(), m.node(Linear(), m.conv(m.x, 8), m.weights(6, 8), m.weights(6)))
        m.graph.add_output("y", m.conv(y, 4))
    assert settle(settled.module) == 2
    assert [t for t in types(settled.module) if t != "Transpose"] == ["Conv2D", "Conv2D", "Relu", "Conv2D"]
    x = np.random.default_rng(1).standard_normal(IMAGE).astype(np.float32)
    for a, b in zip(model.run(x), settled.run(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_what_saves_no_transpose_stays_as_it_is() -> None:
    m = Model(*IMAGE)
    y = m.node(LayerNorm(axis=3), m.conv(m.x, 8), m.weights(8), m.weights(8))
    m.graph.add_output("y", m.node(Linear(), y, m.weights(6, 8)))
    PropagateLayout(pointwise="arithmetic").run(m.module, PassContext())
    verify(m.module)
    assert types(m.module).count("Transpose") == 2
    assert {"LayerNorm", "Linear"} < set(types(m.module))


def test_normalizations_beyond_the_fuel_stay_whole() -> None:
    m = Model(*IMAGE)
    convnext(m)
    PropagateLayout(pointwise="arithmetic").run(m.module, PassContext(fuel=Fuel(limit=2)))
    verify(m.module)
    assert types(m.module).count("LayerNorm") == 2


def test_time_follows_the_number_of_nodes() -> None:
    def seconds(blocks: int) -> float:
        m = Model(*IMAGE)
        y = m.conv(m.x, 4)
        for _ in range(blocks):
            y = m.node(Add(), y, m.conv(m.node(Relu(), y), 4))
        m.graph.add_output("y", y)
        start = time.process_time()
        assert settle(m.module) == 2
        return time.process_time() - start

    few, many = (min(seconds(blocks) for _ in range(3)) for blocks in (40, 320))
    assert many < 16 * max(few, 0.02)
