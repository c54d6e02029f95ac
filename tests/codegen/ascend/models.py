"""Small models with random weights, from a fixed seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from uair.ir import Array, DType, Graph, Location, Module, Node, Tensor, TensorType, constant
from uair.ops import Add, Conv2D, ConvTranspose2D, Linear, MatMul, Relu, Reshape, TopK
from uair.ops.base import Operator


class Builder:
    """A graph under construction; every node is named after its first operand's use in the source."""

    def __init__(self, seed: int = 0) -> None:
        self.graph = Graph()
        self.random = np.random.default_rng(seed)

    def input(self, name: str, *shape: int) -> Tensor:
        return self.graph.add_input(name, TensorType(DType.F32, shape))

    def weight(self, name: str, *shape: int, scale: float = 0.3) -> Tensor:
        return constant((self.random.standard_normal(shape) * scale).astype(np.float32), name)

    def add(self, name: str, op: Operator, *operands: Tensor | None) -> Tensor:
        node = Node(op, operands, name=name, loc=Location.of(name, op.op_type), output_names=[f"{name}:0"])
        return self.graph.append(node).outputs[0]

    def module(self, name: str, **outputs: Tensor) -> Module:
        for key, tensor in outputs.items():
            self.graph.add_output(key, tensor)
        return Module(name, {"main": self.graph})


def cnn() -> Module:
    """Convolutions as Ascend quantizes them: dense, strided, depthwise, grouped, transposed, without bias."""
    b = Builder(1)
    x = b.input("image", 1, 3, 12, 10)
    t = b.add("stem/conv", Conv2D(strides=(2, 2), pads=(1, 1, 1, 1)), x, b.weight("w0", 8, 3, 3, 3), b.weight("b0", 8))
    t = b.add("stem/relu", Relu(), t)
    d = b.add("depth", Conv2D(groups=8, pads=(1, 1, 1, 1)), t, b.weight("w1", 8, 1, 3, 3), b.weight("b1", 8))
    g = b.add("group", Conv2D(groups=2, pads=(0, 1, 2, 1)), t, b.weight("w2", 8, 4, 3, 3))
    s = b.add("sum", Add(), d, g)
    up = b.add("up", ConvTranspose2D(strides=(2, 2), groups=2), s, b.weight("w3", 8, 3, 2, 2), b.weight("b3", 6))
    flat = b.add("flat", Reshape(shape=(1, 720)), up)
    y = b.add("head", Linear(), flat, b.weight("w4", 4, 720, scale=0.05), b.weight("b4", 4))
    return b.module("cnn", features=up, y=y)


def linear_net() -> Module:
    """Products of matrices and of batches, with and without bias, weights either way round."""
    b = Builder(2)
    x, r = b.input("tokens", 2, 5, 16), b.input("row", 3, 16)
    t = b.add("wide", Linear(), x, b.weight("w0", 24, 16), b.weight("b0", 24))
    t = b.add("relu", Relu(), t)
    t = b.add("narrow", Linear(transpose_w=False), t, b.weight("w1", 24, 8))
    t = b.add("product", MatMul(), t, b.weight("w2", 8, 6))
    q = b.add("gemm", Linear(), r, b.weight("w3", 7, 16), b.weight("b3", 7))
    q = b.add("gemm2", Linear(transpose_w=False), q, b.weight("w4", 7, 4))
    q = b.add("turned", MatMul(trans_b=True), q, b.weight("w5", 9, 4))
    return b.module("linear", tokens_out=t, row_out=q)


def concat_net() -> Module:
    """Concatenation of 24 and 24 channels between convolutions, which padding to whole blocks makes free."""
    from uair.ops import Concat

    b = Builder(3)
    x = b.input("x", 1, 16, 8, 8)
    left = b.add("left", Conv2D(), x, b.weight("w0", 24, 16, 1, 1), b.weight("b0", 24))
    right = b.add("right", Conv2D(pads=(1, 1, 1, 1)), x, b.weight("w1", 24, 16, 3, 3), b.weight("b1", 24))
    joined = b.add("joined", Concat(axis=1), b.add("relu", Relu(), left), right)
    y = b.add("read", Conv2D(), joined, b.weight("w2", 16, 48, 1, 1), b.weight("b2", 16))
    return b.module("concat", y=y)


def top_k() -> Module:
    """The two largest of a row and where they are."""
    b = Builder(4)
    x = b.input("x", 2, 9)
    node = Node(TopK(k=2), [x], name="top")
    b.graph.append(node)
    return b.module("top", values=node.outputs[0], indices=node.outputs[1])


def samples(module: Module, count: int = 8, seed: int = 7) -> list[dict[str, Array]]:
    """Random inputs, none of them centred at 0, so that zero points are not 0."""
    random = np.random.default_rng(seed)
    return [
        {n: _draw(random, t.type) for n, t in zip(module.main.input_names, module.main.inputs, strict=True)}
        for _ in range(count)
    ]


def _draw(random: Any, type_: TensorType) -> Array:
    shape: Sequence[int] = [d for d in type_.dims if isinstance(d, int)]
    return np.asarray(random.standard_normal(shape) + 0.7).astype(np.float32)
