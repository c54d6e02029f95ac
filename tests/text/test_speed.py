"""Printing and reading are linear in the number of nodes, and quick."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from tests.text.toys import TOYS, Mix
from uair.ir import DType, Graph, Location, Module, TensorType, constant
from uair.text import parse_module, print_module, weights_of

T = TypeVar("T")


def network(nodes: int) -> Module:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (1, 64, 56, 56)))
    w = constant(np.arange(64, dtype=np.float32), "w")
    for i in range(nodes):
        node = Mix(count=i % 7, axes=(1, 1), mode="tanh").node(x, w, name=f"layer{i}/conv")
        node.loc = Location.of(f"layer{i}/conv", "Conv")
        node.output.name = f"layer{i}"
        x = graph.append(node).output
    graph.add_output("y", x)
    return Module("m", {"main": graph})


def timed(function: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def test_twenty_thousand_nodes() -> None:
    module = network(20_000)
    weights = weights_of(module)
    parse_module("%x: f32[2]", context=TOYS)  # builds the grammars
    printing, text = timed(lambda: print_module(module))
    reading, again = timed(lambda: parse_module(text, context=TOYS, weights=weights))
    assert len(again.main) == 20_000
    assert printing < 2
    assert reading < 10


def test_linear() -> None:
    small, large = network(500), network(4_000)
    weights = weights_of(small)
    for module in (small, large):
        print_module(module)
    text = [print_module(m) for m in (small, large)]
    printing = [min(timed(lambda m=m: print_module(m))[0] for _ in range(3)) for m in (small, large)]  # type: ignore[misc]
    reading = [
        min(timed(lambda t=t: parse_module(t, context=TOYS, weights=weights))[0] for _ in range(2))  # type: ignore[misc]
        for t in text
    ]
    assert printing[1] < 2.5 * 8 * printing[0]
    assert reading[1] < 2.5 * 8 * reading[0]
