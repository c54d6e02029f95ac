"""Small networks for the tests of quantization."""

from __future__ import annotations

import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops import (
    Add,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Dequantize,
    GlobalAvgPool,
    HardSwish,
    Linear,
    MatMul,
    MaxPool2D,
    Mul,
    Quantize,
    Relu,
    Reshape,
    Softmax,
    Transpose,
)
from uair.ops.base import Operator
from uair.quant.scheme import Scheme
from uair.targets import load_description


class Builder:
    """Appends nodes to a graph, with drawn weights."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.module = Module("net")
        from uair.ir.graph import Graph

        self.graph = self.module.graphs["main"] = Graph()
        self.x = self.graph.add_input("x", TensorType(DType.F32, shape))
        self.x.name = "x"
        self.rng = np.random.default_rng(seed)
        self.count = 0

    def weight(self, *shape: int, scale: float = 0.3) -> Tensor:
        self.count += 1
        return constant((self.rng.normal(size=shape) * scale).astype(np.float32), f"w{self.count}")

    def add(self, op: Operator, *operands: Tensor, name: str = "") -> Tensor:
        node = op.node(*operands, name=name or f"{op.op_type}_{len(self.graph)}")
        node.loc = Location.of(f"source/{node.name}", op.op_type)
        for i, tensor in enumerate(node.outputs):
            tensor.name = node.name if len(node.outputs) == 1 else f"{node.name}.{i}"
        return self.graph.append(node).outputs[0]

    def done(self, *outputs: Tensor) -> Module:
        for i, tensor in enumerate(outputs):
            self.graph.add_output(f"y{i}" if i else "y", tensor)
        return self.module


def mobile_cnn() -> Module:
    """Convolutions in front of HardSwish, dense, depthwise, in groups and transposed; two in front of a Relu."""
    b = Builder(1, 3, 8, 8)
    x = b.add(Conv2D(pads=(1, 1, 1, 1)), b.x, b.weight(8, 3, 3, 3), b.weight(8), name="stem")
    x = b.add(HardSwish(), x)
    x = b.add(Conv2D(pads=(1, 1, 1, 1), groups=8), x, b.weight(8, 1, 3, 3), b.weight(8), name="depthwise")
    x = b.add(HardSwish(), x)
    x = b.add(Relu(), b.add(Conv2D(), x, b.weight(8, 8, 1, 1), b.weight(8), name="pointwise"))
    x = b.add(Relu(), b.add(Conv2D(groups=2), x, b.weight(8, 4, 1, 1), name="halves"))
    x = b.add(HardSwish(), b.add(Conv2D(groups=2), x, b.weight(4, 4, 1, 1), name="groups"))
    x = b.add(HardSwish(), b.add(ConvTranspose2D(strides=(2, 2)), x, b.weight(4, 4, 2, 2), b.weight(4), name="up"))
    return b.done(b.add(Conv2D(), x, b.weight(2, 4, 1, 1), b.weight(2), name="last"))


def small_cnn() -> Module:
    """Convolution, residual, depthwise, pooling, linear, softmax."""
    b = Builder(1, 3, 8, 8)
    c1 = b.add(Conv2D(pads=(1, 1, 1, 1)), b.x, b.weight(8, 3, 3, 3), b.weight(8), name="stem")
    r1 = b.add(Relu(), c1, name="relu1")
    c2 = b.add(Conv2D(pads=(1, 1, 1, 1), groups=8), r1, b.weight(8, 1, 3, 3), b.weight(8), name="depthwise")
    s = b.add(Add(), c2, r1, name="residual")
    p = b.add(MaxPool2D(kernel=(2, 2), strides=(2, 2)), s, name="pool")
    c3 = b.add(Conv2D(), p, b.weight(6, 8, 1, 1), name="no_bias")
    g = b.add(GlobalAvgPool(), b.add(Relu(), c3, name="relu2"), name="gap")
    flat = b.add(Reshape(shape=(1, 6)), g, name="flatten")
    logits = b.add(Linear(), flat, b.weight(5, 6), b.weight(5), name="fc")
    return b.done(b.add(Softmax(), logits, name="prob"), logits)


def all_products() -> Module:
    """Every kind of operator with a weight that has one or two spatial axes, and a product of activations."""
    b = Builder(1, 4, 6, 6, seed=1)
    t = b.add(ConvTranspose2D(strides=(2, 2), groups=2), b.x, b.weight(4, 3, 2, 2), b.weight(6), name="transposed")
    c = b.add(Conv2D(strides=(2, 2)), t, b.weight(4, 6, 2, 2), name="down")
    m = b.add(Reshape(shape=(4, 36)), c, name="rows")
    a = b.add(MatMul(), m, b.weight(36, 7), name="matmul")
    a2 = b.add(MatMul(trans_b=True), a, b.weight(9, 7), name="matmul_t")
    q = b.add(Linear(transpose_w=False), a2, b.weight(9, 4), b.weight(4), name="linear")
    batch = b.add(MatMul(), b.add(Reshape(shape=(2, 2, 4)), q), b.weight(2, 4, 3), name="batched")
    k = b.add(Transpose(perm=(1, 0)), q, name="transpose")
    scores = b.add(MatMul(), q, k, name="attention")
    return b.done(scores, batch)


def branches() -> Module:
    """Branches joined by Concat, with a constant factor and a tail behind the last operator with a weight."""
    b = Builder(1, 3, 6, 6, seed=2)
    left = b.add(Conv2D(), b.x, b.weight(4, 3, 1, 1), b.weight(4), name="left")
    right = b.add(Conv2D(), b.x, b.weight(4, 3, 1, 1, scale=2), b.weight(4), name="right")
    factor = b.add(Mul(), right, b.weight(1, 4, 1, 1), name="factor")
    joined = b.add(Concat(axis=1), left, factor, name="concat")
    last = b.add(Conv2D(), joined, b.weight(2, 8, 1, 1), name="last")
    tail = b.add(Concat(axis=1), last, b.add(Relu(), last, name="tail_relu"), name="tail_concat")
    return b.done(tail)


def samples(n: int = 16, shape: tuple[int, ...] = (1, 3, 8, 8), seed: int = 5) -> list[dict[str, Array]]:
    """Feeds for input x."""
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(n)]


def saturating() -> Module:
    """A convolution and a product whose pairs of products leave 16 bits: 255 steps of x times 127 of w."""
    b = Builder(1, 16, 8, 8)

    def integers(x: Tensor, step: float, name: str) -> Tensor:
        scale, offset = constant(np.float32(step)), constant(np.int8(-128))
        return b.add(Dequantize(), b.add(Quantize(), x, scale, offset, name=name), scale, offset, name=f"{name}_back")

    def weight(axis: int, *shape: int) -> Tensor:
        values = np.random.default_rng(axis).choice(np.array([-127, 126, 127], np.int8), shape)
        scales = np.full(shape[axis], 0.01, np.float32)
        return b.add(Dequantize(axis=axis), constant(values), constant(scales), name="w")

    x = b.add(Conv2D(), integers(b.x, 0.01, "x"), weight(0, 16, 16, 3, 3), name="conv")
    x = integers(b.add(Relu(), x, name="r"), 1, "m")
    return b.done(b.add(MatMul(), x, weight(1, 6, 5), name="product"))


def scheme_of(target: str) -> Scheme:
    """The scheme in a target's description."""
    described = load_description(target).quantization
    assert described is not None
    return described.scheme
