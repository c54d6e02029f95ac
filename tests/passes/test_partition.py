"""Placement by cost: islands in a chain without cycles, as few as possible; what is not worth its copies goes along."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.driver.helpers import OPERATORS, ToyTarget, toy_target
from uair.codegen.reference import Interpreter, random_feeds
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ir.verify import verify
from uair.ops import Add, Conv2D, Dequantize, Expand, Identity, If, MatMul, NonZero, Relu, Reshape, Sin, Tanh
from uair.passes.partition import Partition, Placement, assemble, place_nodes, split
from uair.passes.partition.split import copies
from uair.pipeline import PassManager
from uair.text import parse_module

SIZE = (256, 256)


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyTarget:
    return toy_target(tmp_path, monkeypatch)


def put(graph: Graph, op: object, *operands: Tensor, name: str = "") -> Tensor:
    node = Node(op, operands, name=name, output_names=[name])  # type: ignore[arg-type]
    return graph.append(node).output


def random_graph(seed: int, nodes: int = 40) -> Graph:
    """Products and sums on the device, sines on the CPU, with edges to recent values; every loose end is an output."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    values = [graph.add_input("x", TensorType(DType.F32, SIZE)), graph.add_input("z", TensorType(DType.F32, SIZE))]
    for i in range(nodes):
        a, b = (values[max(0, len(values) - 1 - int(rng.integers(0, 6)))] for _ in range(2))
        kind = rng.random()
        name = f"n{i}"
        if kind < 0.25:
            values.append(put(graph, Sin(), a, name=name))
        elif kind < 0.6:
            values.append(put(graph, MatMul(), a, b, name=name))
        else:
            values.append(put(graph, Add(), a, b, name=name))
    for i, tensor in enumerate(values[2:]):
        if not tensor.use_count:
            graph.add_output(f"y{i}", tensor)
            tensor.name = f"y{i}"
    return graph


def chain(*kinds: str) -> Graph:
    """A chain: "c" a convolution, "s" a sine (on the CPU), "r" a small activation."""
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (1, 16, 32, 32)))
    weight = constant(np.random.default_rng(0).normal(0, 0.1, (16, 16, 3, 3)).astype(np.float32), "w")
    for i, kind in enumerate("".join(kinds)):
        if kind == "c":
            x = put(graph, Conv2D(pads=(1, 1, 1, 1)), x, weight, name=f"c{i}")
        else:
            x = put(graph, Sin() if kind == "s" else Relu(), x, name=f"{kind}{i}")
    graph.add_output("y", x)
    x.name = "y"
    return graph


def devices(placement: Placement) -> list[str]:
    return [island.device for island in placement.islands]


def longest_alternation(graph: Graph, on_cpu: set[Node]) -> int:
    """The most islands that any path of the graph needs."""
    best: dict[Node, int] = {}
    for node in graph:
        before = [t.producer for t in node.inputs if t is not None and t.producer is not None]
        best[node] = max((best[p] + ((p in on_cpu) != (node in on_cpu)) for p in before), default=1)
    return max(best.values())


# ------------------------------------------------------------------------------------------------------------- islands
def test_a_copy_alone_is_nothing_that_the_device_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part with nothing but an Identity would be empty when its target has cleaned it up."""
    taking = toy_target(tmp_path, monkeypatch, operators=("Identity",))
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, SIZE))
    graph.add_output("y", put(graph, Identity(), put(graph, Sin(), x, name="wave"), name="copy"))
    assert place_nodes(graph, taking).fits_nothing


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(target: ToyTarget, seed: int) -> None:
    graph = random_graph(seed)
    placement = place_nodes(graph, target, min_island=1)
    placed = [node for island in placement.islands for node in island.nodes]
    assert sorted(map(id, placed)) == sorted(map(id, graph))
    on_cpu = {node for island in placement.islands if island.device == "cpu" for node in island.nodes}
    assert {node for node in graph if node.op_type == "Sin"} <= on_cpu == set(placement.reasons)
    number = {node: i for i, island in enumerate(placement.islands) for node in island.nodes}
    for node in placed:
        for tensor in node.inputs:
            assert tensor is None or tensor.producer is None or number[tensor.producer] <= number[node]
    assert len(placement.islands) <= longest_alternation(graph, on_cpu) + 1
    parts = split(graph, placement)
    whole = Module("whole", {"main": assemble(graph, parts)})
    verify(whole)
    feeds = random_feeds(graph, seed)
    feeds = {name: array * np.float32(0.1) for name, array in feeds.items()}
    want = Interpreter(Module("plain", {"main": graph})).run(feeds)
    for name, got in Interpreter(whole).run(feeds).items():
        np.testing.assert_array_equal(got, want[name])
    transfers = sum(node.op_type == "Transfer" for node in whole.main)
    assert transfers == len(copies(parts))


def test_a_branch_that_nobody_waits_for_goes_where_it_is_needed(target: ToyTarget) -> None:
    """A cheap node whose large result is only read behind the CPU's part is not computed before it."""
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, SIZE))
    vector = graph.add_input("v", TensorType(DType.F32, (1, 1)))
    wave = put(graph, Sin(), put(graph, MatMul(), x, x, name="first"), name="wave")
    square = put(graph, Add(), vector, constant(np.ones(SIZE, np.float32), "one"), name="square")
    y = put(graph, MatMul(), wave, square, name="y")
    graph.add_output("y", put(graph, MatMul(), y, x, name="last"))
    placement = place_nodes(graph, target, min_island=1)
    assert [[n.name for n in island.nodes] for island in placement.islands] == [
        ["first"], ["wave"], ["square", "y", "last"],
    ]  # fmt: skip


def test_few_nodes_between_nodes_on_the_cpu_go_along(target: ToyTarget) -> None:
    graph = chain("ccccsrscccc")
    assert devices(place_nodes(graph, target)) == ["toynpu", "cpu", "toynpu"]
    reasons = place_nodes(graph, target).reasons
    assert any("an island of 1 nodes between nodes on the CPU is too small" in reason for reason in reasons.values())
    kept = place_nodes(graph, target, pins={"r5": "toynpu"})
    assert devices(kept) == ["toynpu", "cpu", "toynpu", "cpu", "toynpu"]


def test_islands_that_copies_outweigh_go_along(target: ToyTarget) -> None:
    """Four activations take less time on the CPU than two copies of their data."""
    placement = place_nodes(chain("ccccsrrrrscccc"), target)
    assert devices(placement) == ["toynpu", "cpu", "toynpu"]
    assert any("takes longer than computing it on the CPU" in reason for reason in placement.reasons.values())


def test_convolutions_are_worth_their_copies(target: ToyTarget) -> None:
    assert devices(place_nodes(chain("ccccsccccscccc"), target)) == ["toynpu", "cpu", "toynpu", "cpu", "toynpu"]


def test_the_largest_island_stays_whatever_it_costs(target: ToyTarget) -> None:
    assert devices(place_nodes(chain("rs"), target)) == ["toynpu", "cpu"]


def test_a_node_that_makes_much_of_little_follows_its_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Expand in front of the CPU's part: its operand is copied, not its result."""
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, SIZE))
    small = put(graph, MatMul(), x, put(graph, MatMul(), x, x, name="a"), name="b")
    small = put(graph, Reshape(shape=(1, *SIZE)), small, name="c")
    large = put(graph, Expand(shape=(512, *SIZE)), small, name="expand")
    graph.add_output("y", put(graph, Sin(), large, name="wave"))
    more = toy_target(tmp_path, monkeypatch, name="more", operators=(*OPERATORS, "Expand"))
    placement = place_nodes(graph, more)
    assert [node.name for node in placement.islands[1].nodes] == ["expand", "wave"]
    assert "less are copied" in next(iter(placement.reasons.values()))


def test_dequantized_weights_are_in_each_part_that_reads_them(target: ToyTarget) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, SIZE))
    integers = constant(np.random.default_rng(0).integers(-9, 9, SIZE).astype(np.int8), "w")
    weight = put(graph, Dequantize(), integers, constant(np.float32(0.01), "s"), constant(np.int8(0), "z"), name="d")
    a = put(graph, MatMul(), x, weight, name="a")
    wave = put(graph, Sin(), put(graph, Add(), a, weight, name="b"), name="wave")
    graph.add_output("y", put(graph, MatMul(), put(graph, Sin(), put(graph, Add(), wave, weight), name="w2"), weight))
    parts = split(graph, place_nodes(graph, target, min_island=1))
    assert all(not any(t.name == "d" for t in part.taken) for part in parts)
    assert sum(node.op_type == "Dequantize" for part in parts for node in part.graph) >= 2


def test_control_flow_goes_with_what_is_in_it(target: ToyTarget) -> None:
    """An If whose branch holds what the device lacks is the CPU's as a whole, with what the branch sees."""
    graph = Graph()
    condition = graph.add_input("c", TensorType(DType.BOOL, ()))
    x = graph.add_input("x", TensorType(DType.F32, SIZE))
    seen = put(graph, MatMul(), x, x, name="seen")
    then, other = Graph("then"), Graph("other")
    then.add_output("t", put(then, Sin(), seen, name="inside"))
    other.add_output("o", put(other, Tanh(), seen))
    made = graph.append(Node(If(then_branch=then, else_branch=other), [condition], name="choice", output_names=["k"]))
    graph.add_output("y", put(graph, MatMul(), made.output, x, name="y"))
    placement = place_nodes(graph, target, min_island=1)
    assert devices(placement) == ["toynpu", "cpu", "toynpu"]
    parts = split(graph, placement)
    assert [t.name for t in parts[1].taken] == ["c", "seen"] or [t.name for t in parts[1].taken] == ["seen", "c"]
    whole = Module("whole", {"main": assemble(graph, parts)})
    verify(whole)
    feeds = {"c": np.array(True), "x": np.random.default_rng(0).normal(0, 0.1, SIZE).astype(np.float32)}
    np.testing.assert_array_equal(
        Interpreter(whole).run(feeds)["y"], Interpreter(Module("p", {"main": graph})).run(feeds)["y"]
    )


def test_sizes_of_the_run_stay_on_the_cpu(target: ToyTarget) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, SIZE))
    found = put(graph, NonZero(), put(graph, MatMul(), x, x, name="product"), name="found")
    graph.add_output("y", put(graph, Reshape(shape=(-1,)), found, name="flat"))
    placement = place_nodes(graph, target, min_island=1)
    assert [[n.name for n in island.nodes] for island in placement.islands] == [["product"], ["found", "flat"]]
    assert list(placement.reasons.values())[1] == "its sizes are known only when the model runs"


# ------------------------------------------------------------------------------------------------------------ the pass
def test_the_pass_by_text() -> None:
    module = parse_module("%x: f32[1,8]  %a = NonZero(%x)")
    manager = PassManager([Partition(target="reference")])
    assert [n.op_type for n in manager.run(module).main] == ["NonZero"]
    text = "%x: f32[1,3,8,8]  %a = Relu(%x)  %n = NonZero(%a)"
    cut = PassManager([Partition(target="rk3588")]).run(parse_module(text))
    assert [n.op_type for n in cut.main] == ["Placed", "Transfer", "Placed"]


def timed(graph: Graph, target: ToyTarget) -> float:
    start = time.process_time()
    split(graph, place_nodes(graph, target))
    return time.process_time() - start


def test_time_grows_with_the_graph(target: ToyTarget) -> None:
    """Four times the nodes take about four times as long, not sixteen times."""
    small, large = random_graph(0, 500), random_graph(0, 2000)
    timed(small, target)
    fastest = min(timed(small, target) for _ in range(2))
    assert timed(large, target) < 10 * max(fastest, 0.02)
