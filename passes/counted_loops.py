"""Loops that count, with their number of runs, and lists that they fill, as stacks.

TFLite and others write a loop over the steps of a sequence with the condition `counter < steps` and a state that holds
the results of all steps, of which each run replaces one:

    Loop(none, true, 0, list, ...) { list' = Concat(list[:i], y, list[i+1:]); i' = i + 1; i' < 7 }
        ->  Loop(7, none, ...) { ... } with y stacked over the runs

A state that no run reads is what the last run gives. One that every run hands on, as tf2onnx writes what the body reads
from outside (weights, the bound itself), is what it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import Dim
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.inference import settle_sizes, settled_sizes
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops import Add, Cast, Concat, Gather, Identity, Less, LogicalAnd, Loop, Reshape, Slice, Squeeze, Unsqueeze
from uair.pipeline import Pass, PassContext
from uair.rewrite import insert_detached
from uair.rewrite.regions import copied

NAME = "counted-loops"
MOST_RUNS = 1 << 14
"""Runs for which the places that a loop writes to are looked at."""
_DEEPEST = 32
_SHAPING = (Reshape, Squeeze, Unsqueeze, Identity)


@attrs.frozen
class CountedLoops(Pass):
    """Give loops that count to a known bound their number of runs, and make stacks of the lists that they fill."""

    def run(self, module: Module, context: PassContext) -> bool:
        """Look at every Loop of every graph."""
        changed = False
        found: dict[str, Dim] = {}
        for graph in module.all_graphs():
            for node in list(graph):
                plan = _plan(node) if isinstance(node.op, Loop) else None
                if plan is None:
                    continue
                if not context.fuel.draw(NAME, node):
                    return changed
                for stack in node.outputs[len(node.inputs[2:]) :]:
                    found |= settled_sizes(stack.type, _of_runs(stack, plan.runs))
                _rewrite(graph, node, plan)
                context.statistics.count(NAME)
                changed = True
        settle_sizes(module, found)
        return changed


@attrs.frozen(eq=False)
class _Plan:
    """What becomes of a loop.

    Attributes:
        body: its graph.
        runs: how often it runs.
        counters: states that count, with what they are at first.
        lists: states of which every run writes one element, with that element.
        last: states that no run reads, with what every run gives.
        handed: states that every run hands on, with what they are.
        kept: the other states.
    """

    body: Graph
    runs: int
    counters: Mapping[int, int]
    lists: Mapping[int, Tensor]
    last: Mapping[int, Tensor]
    handed: Mapping[int, Tensor]
    kept: Sequence[int]


def _plan(node: Node) -> _Plan | None:
    """What is known of a Loop with a condition; None when it does not count to a known bound."""
    op = node.op
    assert isinstance(op, Loop)
    body = op.body
    if body is None or any(inner.regions for inner in body):
        return None
    most = np.array(MOST_RUNS) if node.inputs[0] is None else _value(node.inputs[0], {})
    (condition,) = node.inputs[1:2] or (None,)
    starts = np.array(True) if condition is None else _value(condition, {})
    states = body.inputs[2:]
    if most is None or starts is None or not starts.all() or body.inputs[1].use_count:
        return None
    results = body.outputs[1 : 1 + len(states)]
    given = node.inputs[2:]
    handed = {i: t for i, t in enumerate(given) if t is not None and results[i] is states[i]}
    counters = _counters(node, states, results)
    known = {states[i]: v for i, v in ((i, _value(t, {})) for i, t in handed.items()) if v is not None}
    runs = _runs(body.outputs[0], {results[i]: first for i, first in counters.items()}, known)
    if runs is None or not 0 < runs <= min(MOST_RUNS, int(most)):
        return None
    lists: dict[int, Tensor] = {}
    last: dict[int, Tensor] = {}
    for i, state in enumerate(states):
        if i in counters or i in handed:
            continue
        if not state.use_count:
            last[i] = results[i]
            continue
        element = _written(node, i, counters, runs)
        if element is not None:
            lists[i] = element
    kept = [i for i in range(len(states)) if not (i in counters or i in lists or i in last or i in handed)]
    return _Plan(body, runs, counters, lists, last, handed, kept)


def _counters(node: Node, states: Sequence[Tensor], results: Sequence[Tensor]) -> dict[int, int]:
    """The states that every run adds 1 to, with their first value."""
    found: dict[int, int] = {}
    for i, (state, result) in enumerate(zip(states, results, strict=True)):
        producer, given = result.producer, node.inputs[2 + i]
        if producer is None or not isinstance(producer.op, Add) or state not in producer.inputs:
            continue
        (other,) = [t for t in producer.inputs if t is not state] or [None]
        first = None if given is None else _value(given, {})
        step = None if other is None or other.data is None else other.numpy()
        if first is not None and step is not None and state.type.dtype.is_integer:
            if step.size == first.size == 1 and int(step.reshape(-1)[0]) == 1:
                found[i] = int(first.reshape(-1)[0])
    return found


def _runs(goes_on: Tensor, counted: Mapping[Tensor, int], known: Mapping[Tensor, Array]) -> int | None:
    """After how many runs one of the conditions next < bound does not hold; TensorFlow compares them as floats."""
    pending, bounds = [goes_on], list[int]()
    while pending and len(bounds) < _DEEPEST:
        node = pending.pop().producer
        if node is None:
            return None
        if isinstance(node.op, LogicalAnd):
            pending += [t for t in node.inputs if t is not None]
            continue
        if not isinstance(node.op, Less):
            return None
        a, b = (t for t in node.inputs if t is not None)
        if a.producer is not None and isinstance(a.producer.op, Cast) and a.type.dtype in (DType.F32, DType.F64):
            (a,) = (t for t in a.producer.inputs if t is not None)
        limit = _value(b, known)
        if a not in counted or limit is None or limit.size != 1:
            return None
        bounds.append(max(math.ceil(limit.reshape(-1)[0]) - counted[a], 1))
    return min(bounds) if bounds and not pending else None


def _value(tensor: Tensor, known: Mapping[Tensor, Array], depth: int = _DEEPEST) -> Array | None:
    """The value of a tensor that is computed from constants and from what is known."""
    if tensor in known:
        return known[tensor]
    if tensor.data is not None:
        return tensor.numpy() if tensor.data.size <= 64 else None
    node = tensor.producer
    if node is None or not depth or node.regions or not node.op.deterministic:
        return None
    operands = [None if t is None else _value(t, known, depth - 1) for t in node.inputs]
    if any(t is not None and v is None for t, v in zip(node.inputs, operands, strict=True)):
        return None
    try:
        return np.asarray(node.op.evaluate_all(operands)[tensor.index])
    except EvaluationError:  # the numbers do not fit: the run will tell
        return None


# ------------------------------------------------------------------------------------------------------- written lists
def _written(node: Node, i: int, counters: Mapping[int, int], runs: int) -> Tensor | None:
    """The element that every run puts to its own place of a list that has as many as there are runs."""
    op, given = node.op, node.inputs[2 + i]
    assert isinstance(op, Loop) and op.body is not None and given is not None
    state, result = op.body.inputs[2 + i], op.body.outputs[1 + i]
    join = result.producer
    if join is None or not isinstance(join.op, Concat) or join.op.axis != 0 or len(join.inputs) != 3:
        return None
    before, element, behind = join.inputs
    assert before is not None and element is not None and behind is not None
    shapes = given.type.shape, element.type.shape
    if shapes[0] is None or not shapes[0] or shapes[0][0] != runs or shapes[1] != (1, *shapes[0][1:]):
        return None
    parts = [t.producer for t in (before, behind)]
    if any(p is None or not isinstance(p.op, Slice) or p.inputs[0] is not state for p in parts):
        return None
    if state.use_count != 2 or any(not isinstance(d, int) for d in shapes[0]):
        return None
    marks = np.arange(runs).reshape(runs, *[1] * (len(shapes[0]) - 1))
    filled = np.broadcast_to(marks, [d for d in shapes[0] if isinstance(d, int)])
    for run in range(runs):
        known = {state: filled}
        known |= {op.body.inputs[2 + k]: np.array(first + run, _dtype(op, k)) for k, first in counters.items()}
        left, right = (_value(t, known) for t in (before, behind))
        if left is None or right is None:
            return None
        if not (np.array_equal(left, filled[:run]) and np.array_equal(right, filled[run + 1 :])):
            return None
    return element


def _dtype(op: Loop, k: int) -> np.dtype[np.generic]:
    assert op.body is not None
    return op.body.inputs[2 + k].type.dtype.numpy


# ----------------------------------------------------------------------------------------------------------- rewriting
def _rewrite(graph: Graph, node: Node, plan: _Plan) -> None:
    body, kept = plan.body, list(plan.kept)
    region = Graph(body.name)
    number = region.add_input("run", TensorType(DType.I64, ()))
    goes_on = region.add_input("condition", TensorType(DType.BOOL, ()))
    mapped: dict[Tensor, Tensor] = {body.inputs[0]: number}
    for i in kept:
        mapped[body.inputs[2 + i]] = region.add_input(f"state{i}", body.inputs[2 + i].type)
    mapped.update({body.inputs[2 + i]: t for i, t in plan.handed.items()})
    for i, first in plan.counters.items():
        mapped[body.inputs[2 + i]] = _counter(region, node, number, body.inputs[2 + i], first)
    stacked = {**plan.lists, **plan.last}
    scanned = body.outputs[1 + len(node.inputs[2:]) :]
    needed = _needed([*(body.outputs[1 + i] for i in kept), *stacked.values(), *scanned], body)
    for inner in body:
        if inner in needed:
            twin = region.append(copied(inner, mapped))
            mapped.update(zip(inner.outputs, twin.outputs, strict=True))
    region.add_output("goes_on", goes_on)
    for i in kept:
        region.add_output(f"state{i}", mapped.get(body.outputs[1 + i], body.outputs[1 + i]))
    for i, element in stacked.items():
        inner_most = _unshaped(element)
        region.add_output(f"stack{i}", mapped.get(inner_most, inner_most))
    for i, element in enumerate(scanned):
        region.add_output(f"scan{i}", mapped.get(element, element))
    made = Node(Loop(body=region), [constant(np.int64(plan.runs)), None, *(node.inputs[2 + i] for i in kept)])
    made.name = node.name
    _connect(graph, node, made, plan)


def _counter(region: Graph, node: Node, number: Tensor, state: Tensor, first: int) -> Tensor:
    """The number of the run as a counter."""
    loc = Location.fused([node.loc], by=NAME)
    value = region.append(Node(Cast(to=state.type.dtype), [number], loc=loc)).output
    if first:
        begin = constant(np.asarray(first, state.type.dtype.numpy))
        value = region.append(Node(Add(), [value, begin], loc=loc)).output
    if state.type.shape:
        value = region.append(Node(Reshape(shape=state.type.dims), [value], loc=loc)).output
    return value


def _needed(results: Sequence[Tensor], body: Graph) -> set[Node]:
    """The nodes of a body that some results come from."""
    found: set[Node] = set()
    pending = [t.producer for t in results]
    while pending:
        node = pending.pop()
        if node is not None and node.graph is body and node not in found:
            found.add(node)
            pending += [t.producer for t in node.inputs if t is not None]
    return found


def _unshaped(tensor: Tensor) -> Tensor:
    """What a tensor is behind operators that only change its shape."""
    while tensor.producer is not None and isinstance(tensor.producer.op, _SHAPING):
        inner = tensor.producer.inputs[0]
        if inner is None or len(tensor.producer.inputs) > 1:
            break
        tensor = inner
    return tensor


def _of_runs(stack: Tensor, runs: int) -> TensorType:
    return stack.type.with_shape((runs, *stack.type.shape[1:])) if stack.type.shape else stack.type


def _counted(stack: Tensor, runs: int) -> Tensor:
    stack.type = _of_runs(stack, runs)
    return stack


def _connect(graph: Graph, node: Node, made: Node, plan: _Plan) -> None:
    """Put the new loop in the place of the old one."""
    results: list[Tensor] = list(node.outputs)
    for place, i in enumerate(plan.kept):
        results[i] = made.outputs[place]
    for place, i in enumerate([*plan.lists, *plan.last], len(plan.kept)):
        stack = _counted(made.outputs[place], plan.runs)
        old = node.outputs[i]
        if i in plan.lists:
            results[i] = Reshape(shape=(plan.runs, *old.type.dims[1:]))(stack)
        else:
            results[i] = Reshape(shape=plan.last[i].type.dims)(Gather(axis=0)(stack, constant(np.int64(-1))))
    for i, tensor in plan.handed.items():
        results[i] = tensor
    for i, scan in enumerate(made.outputs[len(plan.kept) + len(plan.lists) + len(plan.last) :], len(node.inputs[2:])):
        results[i] = _counted(scan, plan.runs)
    for i, first in plan.counters.items():
        array = np.asarray(first + plan.runs, node.outputs[i].type.dtype.numpy)
        shape = [d for d in node.outputs[i].type.dims if isinstance(d, int)]
        results[i] = constant(np.broadcast_to(array, shape).copy())
    insert_detached(graph, node, [made.outputs[0], *results] if made.outputs else results, node.loc)
    for old, new in zip(node.outputs, results, strict=True):
        if new is not old:
            old.replace_all_uses_with(new)
            new.name = new.name or old.name
    graph.remove(node)
