"""Nodes that constraints of the Horizon device files refuse, where the search of test_negative.py finds none."""

from __future__ import annotations

from tests.targets.helpers import make, tensor
from uair.context import Context
from uair.ir.graph import Graph, Node
from uair.ops import Add, Conv2D, ConvTranspose2D, Relu
from uair.targets import Support, Target
from uair.text import parse_type

X = "f32[1,4,64,64]"


def in_front_of_an_addition() -> Node:
    """A convolution of stride 4 whose result is added to something."""
    graph = Graph("main")
    x = graph.add_input("x", parse_type(X))
    conv = graph.append(Conv2D(strides=(4, 4)).node(x, tensor("=f32[4,4,4,4]")))
    graph.add_output("y", graph.append(Add().node(conv.output, conv.output)).output)
    return conv


NAMES = ("horizon_j5", "horizon_x5")
AT_MOST = {"horizon_j5": 65535, "horizon_x5": 32767}

NEGATIVE: list[tuple[Target, Node, Support, str]] = [
    (Context.default().target(name), node, Support.PARTIAL, clause)
    for name in NAMES
    for node, clause in (
        (make(Conv2D(), X, "=f32[8,4,33,33]"), "max(kernel) <= 31"),
        (make(Conv2D(), "f32[1,128,64,64]", "=f32[8,128,23,23]"),
         f"w.shape[1] * kernel_h * kernel_w <= {AT_MOST[name]}"),
        (make(Conv2D(dilations=(32, 32)), X, "=f32[8,4,1,1]"), "max(dilations) <= 16"),
        (in_front_of_an_addition(), 'max(strides) <= 2 or "Add" not in users'),
        (make(ConvTranspose2D(strides=(2, 2)), "f32[1,2048,4,4]", "=f32[2048,8,6,6]"),
         f"w.shape[0] * kernel_h * kernel_w <= {AT_MOST[name]}"),
    )
] + [
    (Context.default().target(name), make(Relu(), type_), Support.PARTIAL, clause)
    for name, type_, clause in (
        *((name, "f32[4097,1,1,1]", "max_batch <= 4096") for name in NAMES),
        *((name, "f32[1,65537,1,1]", "max_extent <= 65536") for name in NAMES),
        *((name, "f32[1,32768,32768,2]", "max_elements <= 1073741824") for name in NAMES),
        ("horizon_x3", "f32[129,1,1,1]", "max_batch <= 128"),
    )
] + [
    (Context.default().target("horizon_x3"), make(Conv2D(), "f32[1,1024,16,16]", "=f32[8,1024,7,7]"), Support.PARTIAL,
     "kernel_h * kernel_w * w.shape[1] <= 32768"),
]  # fmt: skip
