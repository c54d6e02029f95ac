"""Loops that count get their number of runs; lists that they fill become stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import uair
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ir.verify import verify
from uair.ops import Add, Cast, Concat, Gather, Less, LogicalAnd, Loop, Mul, Reshape, Slice, Tanh, Unsqueeze
from uair.passes.counted_loops import CountedLoops
from uair.pipeline import PassContext

STEPS, WIDTH = 5, 3


def emit(graph: Graph, op: Any, *operands: Tensor | None) -> Tensor:
    return graph.append(Node(op, operands)).outputs[0]


def written(body: Graph, rows: Tensor, place: Tensor, row: Tensor) -> Tensor:
    """rows[:place] + row + rows[place + 1:] as TFLite's converter writes it."""
    wide = emit(body, Cast(to=DType.I64), place)
    at = emit(body, Reshape(shape=(1,)), wide)
    ahead = emit(body, Add(), at, constant(np.array([1], np.int64)))
    axes, steps = (0,), (1,)
    before = emit(body, Slice(axes=axes, starts=(0,), steps=steps), rows, None, at)
    behind = emit(body, Slice(axes=axes, ends=(2**31 - 1,), steps=steps), rows, ahead)
    return emit(body, Concat(axis=0), before, emit(body, Unsqueeze(axes=(0,)), row), behind)


def model(*, bound: int = STEPS, offset: int = 0, reads_rows: bool = False, first: int = 0) -> Module:
    """A state that is carried on, a list of what it was after every run, and one that no run reads."""
    graph = Graph("main")
    x = graph.add_input("x", TensorType(DType.F32, (STEPS, WIDTH)))
    body = Graph("body")
    body.add_input("run", TensorType(DType.I64, ()))
    body.add_input("goes_on", TensorType(DType.BOOL, ()))
    place = body.add_input("place", TensorType(DType.I32, ()))
    rows = body.add_input("rows", TensorType(DType.F32, (STEPS, WIDTH)))
    state = body.add_input("state", TensorType(DType.F32, (WIDTH,)))
    body.add_input("single", TensorType(DType.F32, (1, WIDTH)))
    now = emit(body, Gather(axis=0), x, place)
    after = emit(body, Tanh(), emit(body, Add(), now, state))
    where = emit(body, Add(), place, constant(np.int32(offset))) if offset else place
    filled = written(
        body, rows, where, emit(body, Mul(), after, emit(body, Gather(axis=0), rows, place)) if reads_rows else after
    )
    following = emit(body, Add(), place, constant(np.int32(1)))
    goes_on = emit(body, Less(), following, constant(np.int32(bound)))
    also = emit(body, Less(), following, constant(np.int32(bound + 3)))
    body.add_output("goes_on", emit(body, LogicalAnd(), goes_on, also))
    single = emit(body, Reshape(shape=(1, WIDTH)), after)
    for name, tensor in (("place", following), ("rows", filled), ("state", after), ("single", single)):
        body.add_output(name, tensor)
    zeros: Sequence[Any] = [np.zeros((STEPS, WIDTH)), np.zeros(WIDTH), np.zeros((1, WIDTH))]
    initial = [constant(np.int32(first)), *(constant(z.astype(np.float32)) for z in zeros)]
    loop = graph.append(Node(Loop(body=body), [None, constant(np.array(True)), *initial]))
    for name, tensor in zip(("place", "rows", "state", "single"), loop.outputs, strict=True):
        graph.add_output(name, tensor)
    return Module("m", {"main": graph})


def counted(module: Module) -> Loop | None:
    """The loop with its number of runs, which gives what it gave; None when it was left alone."""
    x = np.random.default_rng(4).normal(size=(STEPS, WIDTH)).astype(np.float32)
    before = uair.run(module.clone(), x)
    changed = CountedLoops().run(module, PassContext())
    verify(module)
    for name, value in uair.run(module, x).items():
        np.testing.assert_array_equal(value, before[name])
    (node,) = [n for n in module.main if isinstance(n.op, Loop)]
    assert (node.inputs[0] is not None) is changed
    assert isinstance(node.op, Loop)
    return node.op if changed else None


def test_list_becomes_a_stack() -> None:
    """What is left of the states is the one that is carried on; list and last value are stacks of the runs."""
    op = counted(model())
    assert op is not None and op.body is not None
    assert [t.name for t in op.body.inputs] == ["run", "condition", "state2"]
    assert len(op.body.outputs) == 4
    assert "Concat" not in {node.op_type for node in op.body}


@pytest.mark.parametrize("how", [{"offset": 1}, {"reads_rows": True}, {"bound": STEPS - 1}, {"first": 1}])
def test_other_lists_are_carried_on(how: dict[str, Any]) -> None:
    """Written at other places, read by the runs, or not filled: the list stays a state, and the loop still counts."""
    op = counted(model(**how) if "offset" not in how else model(bound=STEPS - 1, **how))
    assert op is not None and op.body is not None
    assert len(op.body.inputs) == 4


def test_open_bounds_are_left_alone() -> None:
    module = model()
    (node,) = [n for n in module.main if isinstance(n.op, Loop)]
    assert isinstance(node.op, Loop) and node.op.body is not None
    less = next(n for n in node.op.body if isinstance(n.op, Less))
    less.set_input(1, module.main.add_input("bound", TensorType(DType.I32, ())))
    assert not CountedLoops().run(module, PassContext())


def handing_on(*, bound: Tensor | None = None, most: int | None = None) -> Module:
    """As tf2onnx writes a loop: the counter compared as a float, bound and weight handed on, results as a stack."""
    graph = Graph("main")
    x = graph.add_input("x", TensorType(DType.F32, (STEPS, WIDTH)))
    given = graph.add_input("bound", TensorType(DType.I32, ())) if bound is None else bound
    body = Graph("body")
    body.add_input("run", TensorType(DType.I64, ()))
    body.add_input("goes_on", TensorType(DType.BOOL, ()))
    place = body.add_input("place", TensorType(DType.I32, ()))
    state = body.add_input("state", TensorType(DType.F32, (WIDTH,)))
    steps = body.add_input("steps", TensorType(DType.I32, ()))
    weight = body.add_input("weight", TensorType(DType.F32, (WIDTH,)))
    after = emit(
        body, Tanh(), emit(body, Add(), emit(body, Gather(axis=0), x, place), emit(body, Mul(), state, weight))
    )
    following = emit(body, Add(), place, constant(np.int32(1)))
    compared = [emit(body, Cast(to=DType.F32), t) for t in (following, steps)]
    body.add_output("goes_on", emit(body, Less(), *compared))
    for name, tensor in (("place", following), ("state", after), ("steps", steps), ("weight", weight), ("scan", after)):
        body.add_output(name, tensor)
    runs = None if most is None else constant(np.int64(most))
    start, zeros = constant(np.int32(0)), constant(np.zeros(WIDTH, np.float32))
    scale = constant(np.array([0.5, -1, 2], np.float32))
    loop = graph.append(Node(Loop(body=body), [runs, constant(np.array(True)), start, zeros, given, scale]))
    stack = loop.outputs[-1]
    flat = emit(graph, Reshape(shape=(1, stack.type.dims[0] * WIDTH)), stack)
    for name, tensor in zip(("place", "state", "steps", "weight", "flat"), (*loop.outputs[:-1], flat), strict=True):
        graph.add_output(name, tensor)
    return Module("m", {"main": graph})


@pytest.mark.parametrize("most", [None, 2**31 - 1])
def test_what_every_run_hands_on_is_read_from_outside(most: int | None) -> None:
    module = handing_on(bound=constant(np.int32(STEPS)), most=most)
    feeds = {"x": np.random.default_rng(0).normal(size=(STEPS, WIDTH)).astype(np.float32)}
    want = uair.run(module, feeds)
    assert CountedLoops().run(module, PassContext())
    verify(module)
    (loop,) = (n for n in module.main if isinstance(n.op, Loop))
    assert len(loop.inputs) == 3
    assert module.main.outputs[-1].type.shape == (1, STEPS * WIDTH)
    got = uair.run(module, feeds)
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name])


def test_a_bound_that_is_an_input_or_above_the_limit_is_left() -> None:
    assert not CountedLoops().run(handing_on(), PassContext())
    assert not CountedLoops().run(handing_on(bound=constant(np.int32(STEPS)), most=2), PassContext())


def test_a_loop_with_nothing_but_a_number_of_runs_is_left() -> None:
    graph, body = Graph("main"), Graph("body")
    run = body.add_input("run", TensorType(DType.I64, ()))
    body.add_output("goes_on", body.add_input("goes_on", TensorType(DType.BOOL, ())))
    body.add_output("scan", emit(body, Cast(to=DType.F32), run))
    graph.add_output("scan", emit(graph, Loop(body=body), constant(np.int64(STEPS))))
    assert not CountedLoops().run(Module("m", {"main": graph}), PassContext())
