"""Control flow: what graphs see and give, run by the interpreter; the books that the IR keeps of captured tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import uair
from uair.codegen.reference import Interpreter
from uair.errors import EvaluationError, InternalError, StillUsed, TypeInferenceError, VerificationError
from uair.ir.compare import difference
from uair.ir.dims import symbol
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ir.verify import verify
from uair.ops import Add, If, Loop, Mul, ReduceSum, Relu, Scan, SequenceConstruct, SequenceInsert
from uair.passes.canonicalise import Canonicalise
from uair.passes.eliminate_dead_code import EliminateDeadCode
from uair.pipeline import PassManager
from uair.text import parse_module, print_module

BOOL, I64 = TensorType(DType.BOOL, ()), TensorType(DType.I64, ())
X = TensorType(DType.F32, (symbol("n"), 2))


def put(graph: Graph, op: Any, *operands: Tensor | None) -> Tensor:
    return graph.append(Node(op, operands)).output


def branching() -> Module:
    """Y = relu(x) + x where c, else x * (x + x): the branches see x, and a sum that is made outside of them."""
    graph = Graph()
    condition, x = graph.add_input("c", BOOL), graph.add_input("x", X)
    total = put(graph, Add(), x, x)
    then, other = Graph("then"), Graph("other")
    then.add_output("y", put(then, Add(), put(then, Relu(), x), x))
    other.add_output("y", put(other, Mul(), x, total))
    graph.add_output("y", put(graph, If(then_branch=then, else_branch=other), condition))
    return Module("branching", {"main": graph})


def power(count: Tensor | None = None) -> Module:
    """State s, starting with x, is multiplied by x in each run; the sums of the states are stacked."""
    graph = Graph()
    runs, x = graph.add_input("runs", I64), graph.add_input("x", X)
    body = Graph("body")
    body.add_input("i", I64)
    goes_on, state = body.add_input("c", BOOL), body.add_input("s", X)
    product = put(body, Mul(), state, x)
    body.add_output("c", goes_on)
    body.add_output("s", product)
    body.add_output("sum", put(body, ReduceSum(axes=(0, 1), keepdims=False), product))
    node = graph.append(Node(Loop(body=body), [runs, None, x]))
    for name, tensor in zip(("y", "sums"), node.outputs, strict=True):
        graph.add_output(name, tensor)
    return Module("power", {"main": graph})


VALUES = np.array([[1, -2], [3, -4], [0.5, 6]], np.float32)


@pytest.mark.parametrize("condition", [True, False])
def test_only_the_branch_that_is_taken_counts(condition: bool) -> None:
    module = branching()
    verify(module)
    got = Interpreter(module).run({"c": np.array(condition), "x": VALUES})["y"]
    want = np.maximum(VALUES, 0) + VALUES if condition else VALUES * (VALUES + VALUES)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("runs", [0, 1, 4])
def test_states_go_from_run_to_run(runs: int) -> None:
    module = power()
    verify(module)
    got = Interpreter(module).run({"runs": np.array(runs), "x": VALUES})
    np.testing.assert_array_equal(got["y"], VALUES ** (runs + 1))
    assert got["sums"].shape == (runs,)
    np.testing.assert_allclose(got["sums"], [(VALUES ** (i + 2)).sum() for i in range(runs)], rtol=1e-6)


def test_a_state_that_grows_has_an_open_size() -> None:
    graph = Graph()
    body = Graph("body")
    body.add_input("i", I64)
    goes_on, state = body.add_input("c", BOOL), body.add_input("s", TensorType(DType.F32, (symbol("grown"),)))
    body.add_output("c", goes_on)
    body.add_output("s", put(body, uair.ops.Concat(axis=0), state, constant(np.ones(2, np.float32))))
    start = graph.add_input("start", TensorType(DType.F32, (1,)))
    graph.add_output("y", put(graph, Loop(body=body), constant(np.int64(3)), None, start))
    assert str(graph.outputs[0].type.dims[0]).startswith("u")
    module = Module("grows", {"main": graph})
    verify(module)
    result = Interpreter(module).run({"start": np.array([7], np.float32)})["y"]
    assert result.tolist() == [7, 1, 1, 1, 1, 1, 1]


def test_nested_graphs_see_all_around() -> None:
    """A Loop whose body decides by the run's number, in a branch of which x of the main graph is used."""
    graph = Graph()
    x = graph.add_input("x", X)
    body = Graph("body")
    number, goes_on, state = body.add_input("i", I64), body.add_input("c", BOOL), body.add_input("s", X)
    odd = put(body, uair.ops.Cast(to=DType.BOOL), put(body, uair.ops.Mod(), number, constant(np.int64(2))))
    then, other = Graph("then"), Graph("other")
    then.add_output("y", put(then, Add(), state, x))
    other.add_output("y", state)
    body.add_output("c", goes_on)
    body.add_output("s", put(body, If(then_branch=then, else_branch=other), odd))
    graph.add_output("y", put(graph, Loop(body=body), constant(np.int64(5)), None, x))
    module = Module("nested", {"main": graph})
    verify(module)
    assert [g.name for g in module.all_graphs()] == ["then", "other", "body", "main"]
    assert body.captures() == (x,)
    np.testing.assert_array_equal(Interpreter(module).run({"x": VALUES})["y"], VALUES * 3)
    assert difference(parse_module(print_module(module)), module) == ""
    copy = module.clone()
    assert difference(copy, module) == ""
    assert not set(copy.main.tensors()) & set(graph.tensors())
    verify(copy)


def test_scan_backwards_along_another_axis() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2, 3)))
    start = graph.add_input("start", TensorType(DType.F32, (2,)))
    body = Graph("body")
    state, item = (body.add_input(name, TensorType(DType.F32, (2,))) for name in ("s", "v"))
    total = put(body, Add(), state, item)
    body.add_output("s", total)
    body.add_output("sums", total)
    op = Scan(body=body, input_axes=(1,), input_reverse=(1,), output_axes=(1,), output_reverse=(1,))
    for name, tensor in zip(("last", "sums"), graph.append(Node(op, [start, x])).outputs, strict=True):
        graph.add_output(name, tensor)
    assert graph.outputs[1].type == TensorType(DType.F32, (2, 3))
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    got = Interpreter(Module("scan", {"main": graph})).run({"x": values, "start": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(got["sums"], values[:, ::-1].cumsum(1)[:, ::-1])
    np.testing.assert_array_equal(got["last"], values.sum(1))


def test_runs_that_cannot_be_stacked() -> None:
    graph = Graph()
    body = Graph("body")
    number, goes_on = body.add_input("i", I64), body.add_input("c", BOOL)
    numbers = put(body, uair.ops.Range(), constant(np.int64(0)), number, constant(np.int64(1)))
    body.add_output("c", goes_on)
    body.add_output("v", numbers)
    graph.add_output("y", put(graph, Loop(body=body), constant(np.int64(2)), None))
    with pytest.raises(EvaluationError, match="different shapes to stack"):
        Interpreter(Module("stack", {"main": graph})).run({})


# ----------------------------------------------------------------------------------- books
def test_what_a_region_captures_is_used() -> None:
    module = branching()
    graph = module.main
    x, total, node = graph.input("x"), next(iter(graph)).output, next(n for n in graph if n.op_type == "If")
    assert total.use_count == 1
    with pytest.raises(StillUsed, match="Mul"):
        graph.remove(next(iter(graph)))
    graph.set_output(0, x)
    graph.remove(node)
    assert total.use_count == 0
    graph.append(node)
    assert total.use_count == 1
    graph.remove(node)
    PassManager([EliminateDeadCode()]).run(module)
    assert len(graph) == 0


def test_a_use_before_the_definition_is_found_in_a_region() -> None:
    module = branching()
    graph = module.main
    first, node = next(iter(graph)), next(n for n in graph if n.op_type == "If")
    graph.move_before(first, node)
    with pytest.raises(VerificationError, match="is defined"):
        verify(module)


def test_rewriting_inside_keeps_the_books() -> None:
    module = branching()
    other = next(n for n in module.main if n.op_type == "If").regions[1]
    x = module.main.input("x")
    mul = next(iter(other))
    mul.set_input(1, x)
    assert next(iter(module.main)).output.use_count == 0
    assert (mul, 1) in x.use_set
    with pytest.raises(InternalError, match="is not in graph"):
        other.insert_before(next(iter(module.main)), Node(Relu(), [x]))


def test_a_decided_branch_takes_the_node_s_place() -> None:
    module = branching()
    graph = module.main
    node = next(n for n in graph if n.op_type == "If")
    node.set_input(0, constant(np.array(False)))
    want = Interpreter(module).run({"c": np.array(True), "x": VALUES})["y"]
    PassManager([Canonicalise()]).run(module)
    verify(module)
    assert [n.op_type for n in module.main] == ["Add", "Mul"]
    np.testing.assert_array_equal(Interpreter(module).run({"c": np.array(True), "x": VALUES})["y"], want)


def test_passes_go_into_regions() -> None:
    """The sum of constants in the body becomes a constant; what the body gives stays the same."""
    module = power()
    body = next(iter(module.main)).regions[0]
    two = put(body, Add(), constant(np.float32(1)), constant(np.float32(1)))
    body.set_output(1, put(body, Mul(), body.outputs[1], two))
    want = Interpreter(module).run({"runs": np.array(2), "x": VALUES})
    uair.optimize(module)
    verify(module)
    assert [n.op_type for n in body] == ["Mul", "ReduceSum", "Mul"]
    got = Interpreter(module).run({"runs": np.array(2), "x": VALUES})
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


def test_states_and_results_of_other_types_are_refused() -> None:
    body = next(iter(power().main)).regions[0]
    states = [Tensor(TensorType(DType.F64, (3, 2)))]
    with pytest.raises(TypeInferenceError, match=r"state 0 is f64\[3,2\], the body takes f32\[n,2\]"):
        Node(Loop(body=body), [None, None, *states])
    then, other = Graph("then"), Graph("other")
    then.add_output("y", constant(np.float32(1)))
    other.add_output("y", constant(np.int64(1)))
    with pytest.raises(TypeInferenceError, match=r"result 0 is f32\[\] or i64\[\]"):
        Node(If(then_branch=then, else_branch=other), [Tensor(BOOL)])


def test_sequences_are_values() -> None:
    """Inserting makes a new sequence: the one it was made from stays as it is."""
    graph = Graph()
    a = graph.add_input("a", X)
    first = put(graph, SequenceConstruct(), a)
    graph.add_output("first", first)
    graph.add_output("longer", put(graph, SequenceInsert(), first, a))
    got = Interpreter(Module("sequences", {"main": graph})).run({"a": VALUES})
    assert [len(got[name]) for name in ("first", "longer")] == [1, 2]
    assert not np.may_share_memory(got["longer"][0], VALUES)
    np.testing.assert_array_equal(got["longer"][1], VALUES)
