"""Books that nodes, tensors and graphs keep of each other."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from uair.errors import ArityError, StillUsed, UnknownNameError
from uair.ir import DType, Graph, Module, Node, TensorType, constant
from uair.ir.verify import verify_graph
from uair.ops import Add, Linear, Relu, Sigmoid


def chain(length: int) -> Graph:
    """X -> Relu -> ... -> y."""
    graph = Graph()
    tensor = graph.add_input("x", TensorType(DType.F32, (2, 3)))
    for i in range(length):
        tensor = graph.append(Node(Relu(), (tensor,), name=f"n{i}")).output
    graph.add_output("y", tensor)
    return graph


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph]


def test_uses_follow_operands() -> None:
    graph = chain(1)
    (node,) = graph
    x = graph.inputs[0]
    assert list(x.uses) == [(node, 0)]
    other = graph.add_input("z", x.type)
    node.set_input(0, other)
    assert not x.uses
    assert list(other.uses) == [(node, 0)]


def test_a_node_outside_of_a_graph_uses_nothing() -> None:
    graph = chain(1)
    x = graph.inputs[0]
    before = x.uses
    Relu()(x)
    assert x.uses == before


def test_graph_outputs_are_uses() -> None:
    graph = chain(1)
    (node,) = graph
    assert node.output.is_output
    replacement = graph.append(Sigmoid().node(graph.inputs[0])).output
    node.output.replace_all_uses_with(replacement)
    assert graph.outputs == (replacement,)
    assert not node.output.is_output


def test_same_operand_twice_is_two_uses() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2,)))
    node = graph.append(Add().node(x, x))
    assert x.uses == ((node, 0), (node, 1))
    y = graph.add_input("y", x.type)
    x.replace_all_uses_with(y)
    assert node.inputs == (y, y)
    assert x.use_count == 0


def test_remove_refuses_while_results_are_used() -> None:
    graph = chain(2)
    first, second = graph
    with pytest.raises(StillUsed, match="n1"):
        graph.remove(first)
    graph.set_output(0, first.output)
    graph.remove(second)
    assert names(graph) == ["n0"]
    assert len(graph) == 1


def test_iteration_survives_removal_and_insertion() -> None:
    graph = chain(4)
    seen = []
    for node in graph:
        seen.append(node.name)
        if node.name == "n1":
            operand = node.inputs[0]
            assert operand is not None
            graph.insert_after(node, Node(Sigmoid(), (operand,), name="after"))
            graph.insert_before(node, Node(Sigmoid(), (operand,), name="before"))
            node.output.replace_all_uses_with(operand)
            graph.remove(node)
    assert seen == ["n0", "n1", "after", "n2", "n3"]
    assert names(graph) == ["n0", "before", "after", "n2", "n3"]
    assert [n.name for n in reversed(graph)] == ["n3", "n2", "after", "before", "n0"]


def test_iteration_goes_on_behind_several_removed_nodes() -> None:
    graph = chain(4)
    nodes = list(graph)
    seen = []
    for node in graph:
        seen.append(node.name)
        if node.name == "n0":
            graph.set_output(0, graph.inputs[0])
            for dead in reversed(nodes[:3]):
                dead.output.replace_all_uses_with(graph.inputs[0])
                graph.remove(dead)
    assert seen == ["n0", "n3"]


def test_move_before() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2,)))
    a, _, c = (graph.append(Node(Relu(), (x,), name=n)) for n in "abc")
    graph.move_before(a, c)
    assert names(graph) == ["c", "a", "b"]
    graph.move_before(graph.end, c)
    assert names(graph) == ["a", "b", "c"]
    assert [n.name for n in reversed(graph)] == ["c", "b", "a"]


def test_clone_is_independent_and_shares_data() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2,)))
    weights = constant(np.ones(2, np.float32), "w")
    graph.add_output("y", graph.append(Add().node(x, weights)).output)
    module = Module(graphs={"main": graph})
    copy = module.clone()
    (new,) = copy.main
    assert new.inputs[1] is not weights
    assert new.inputs[1] is not None and new.inputs[1].data is weights.data
    copy.main.set_output(0, copy.main.inputs[0])
    copy.main.remove(new)
    assert len(graph) == 1
    verify_graph(graph)


def test_a_dissolved_graph_is_gone_when_nobody_holds_it_and_its_original_stays() -> None:
    module = Module(graphs={"main": chain(3)})
    w = constant(np.ones((3, 3), np.float32))
    module.main.append(Node(Linear(), (module.main.inputs[0], w)))
    gc.collect()
    gc.disable()
    try:
        copy = module.clone()
        gone = [weakref.ref(each) for node in copy.main for each in (node, *node.outputs)]
        copy.dissolve()
        del copy
        assert len(gone) == 8
        assert all(each() is None for each in gone)
    finally:
        gc.enable()
    verify_graph(module.main)
    assert w.use_count == 1


def test_arity_is_checked_when_a_node_is_made() -> None:
    x = constant(np.ones(2, np.float32))
    with pytest.raises(ArityError, match="'b'"):
        Add().node(x)
    with pytest.raises(ArityError, match="at most 1"):
        Relu().node(x, x)


def test_unknown_input_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="its inputs are x"):
        chain(1).input("image")


def test_an_operand_that_was_left_out_can_be_given() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2, 4)))
    node = graph.append(Linear().node(x, constant(np.ones((3, 4), np.float32))))
    bias = constant(np.ones(3, np.float32))
    assert len(node.inputs) == 2
    node.set_input(2, bias)
    assert node.operand("bias") is bias
    assert bias.uses == ((node, 2),)
    with pytest.raises(ArityError):
        node.set_input(3, bias)
    assert len(node.inputs) == 3
