"""Graphs that plans are made of."""

from __future__ import annotations

import numpy as np

from uair.ir.graph import Graph, Node, constant
from uair.ir.module import Module
from uair.ops import Add, Conv2D, MatMul, Mul, Relu, Reshape
from uair.text import parse_type


def residual_block() -> tuple[Module, list[Node]]:
    """A convolution, an addition, an activation and a view, with their nodes."""
    graph = Graph()
    module = Module("m", {"main": graph})
    x = graph.add_input("x", parse_type("f32[1,64,8,8]"))
    weight = constant(np.zeros((64, 64, 1, 1), np.float32))
    nodes = [graph.append(Conv2D().node(x, weight, name="conv"))]
    nodes.append(graph.append(Add().node(nodes[0].output, x, name="add")))
    nodes.append(graph.append(Relu().node(nodes[1].output, name="relu")))
    nodes.append(graph.append(Reshape(shape=(1, 4096)).node(nodes[2].output, name="flat")))
    graph.add_output("y", nodes[3].output)
    return module, nodes


def chain(layers: int, width: int, rows: int = 16) -> Module:
    """Matrix products one behind the other, `width` by `width` each, with a multiplication behind every one."""
    graph = Graph()
    module = Module("chain", {"main": graph})
    tensor = graph.add_input("x", parse_type(f"f32[1,{rows},{width}]"))
    for i in range(layers):
        weight = constant(np.full((width, width), i, np.float32))
        tensor = graph.append(MatMul().node(tensor, weight, name=f"product {i}")).output
        tensor = graph.append(Mul().node(tensor, tensor, name=f"square {i}")).output
    graph.add_output("y", tensor)
    return module
