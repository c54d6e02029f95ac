"""Control flow: operators that run graphs.

The graphs are attributes. They see the tensors of the graph around them (an ordinary use); what changes from one run of
a graph to the next comes through its inputs. `execute` says what such an operator means, given a way to run a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, cast

import attrs
import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import Dim, InferredShape, symbols_of
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import copied_nodes
from uair.ir.types import TensorType, inferred
from uair.ops.base import (
    Ints,
    Operator,
    Results,
    Sample,
    Values,
    bad,
    case,
    normalize_axis,
    operator,
    require,
    unify_extents,
)
from uair.ops.elementwise import Add

FAMILY = "control"

Call: TypeAlias = Callable[[Graph, Sequence[Any]], "tuple[Any, ...]"]
"""Runs a graph on values of its inputs; gives the values of its outputs."""


class ControlFlow(Operator):
    """An operator that runs graphs."""

    takes_containers = True

    def execute(self, call: Call, *operands: Any) -> tuple[Any, ...]:
        """Results from operand values (None for an omitted operand); `call` runs a graph."""
        raise NotImplementedError

    def evaluate(self, *operands: Any) -> Values:
        """Refuse: graphs are run by the interpreter, which knows what they see of the graph around them.

        Raises:
            EvaluationError: always.
        """
        raise EvaluationError(f"{self.op_type} runs graphs: only an interpreter can evaluate it")


class Isolated(ControlFlow):
    """An operator that runs a graph once, which takes the operands as its inputs and sees nothing else around it.

    A subclass declares `body`. It means what the body means: the body's outputs are the results, the types that it
    recorded for them the result types, and it decomposes into the body's nodes.
    """

    body: Graph | None = None

    def result_count(self) -> int:
        return 0 if self.body is None else len(self.body.outputs)

    def infer(self, *operands: TensorType) -> Results:
        body = _graph(self.body, "body")
        taken, given = len(body.inputs), len(operands)
        require(taken == given, "the body takes {} values, {} are given", taken, given)
        for i, (formal, actual) in enumerate(zip(body.inputs, operands, strict=True)):
            require_fits(formal.type, actual, f"operand {i}")
        require(not body.captures(), "the body uses tensors of the graph around it")
        seen = seen_sizes(body, operands)
        return tuple(outside(t.type, seen) for t in body.outputs)

    def execute(self, call: Call, *operands: Any) -> tuple[Any, ...]:
        return call(_graph(self.body, "body"), operands)

    def decompose(self, *operands: Tensor) -> tuple[Tensor, ...]:
        """The body's nodes: what knows no such operator runs them in the node's place."""
        body = _graph(self.body, "body")
        copies = dict(zip(body.inputs, operands, strict=True))
        for _ in copied_nodes(body, copies):
            pass  # each is found again as the producer of what stands for its results
        return tuple(copies.get(t, t) for t in body.outputs)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 0 if self.body is None else sum(map(_flops, self.body))


def _flops(node: Node) -> int:
    operands = [None if t is None else t.type for t in node.inputs]
    return node.op.flops(operands, [t.type for t in node.outputs])


def joined(a: TensorType, b: TensorType, what: str) -> TensorType:
    """The type of a value that is of type `a` or of type `b`: what differs in the shape is open.

    Raises:
        InferenceFailure: they differ in more than the shape.
    """
    require(a.dtype is b.dtype and a.containers == b.containers, "{} is {} or {}", what, a, b)
    return attrs.evolve(inferred(a.dtype, join_shapes(a.shape, b.shape)), containers=a.containers)


def join_shapes(a: InferredShape | None, b: InferredShape | None) -> InferredShape | None:
    """The shape of a value that has one of two shapes: extents that differ are open, the rank when that differs."""
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple(p if p == q else None for p, q in zip(a, b, strict=True))


def seen_sizes(region: Graph, operands: Iterable[TensorType | None]) -> frozenset[str]:
    """The sizes that mean something outside of a region: those of its operands and of what it captures."""
    types = [*operands, *(t.type for t in region.captures())]
    return frozenset(name for t in types if t is not None for name in symbols_of(t.shape or ()))


def outside(t: TensorType, seen: frozenset[str]) -> TensorType:
    """A type from inside of a region as it is outside: sizes that only the region knows are open."""
    if t.shape is None or t.containers:
        return t
    return t.with_shape(tuple(d if seen.issuperset(symbols_of((d,))) else None for d in t.shape))


def require_fits(formal: TensorType, actual: TensorType, what: str) -> None:
    """Refuse a value that can never be what a graph's input says."""
    fits = formal.dtype is actual.dtype and formal.containers == actual.containers
    if formal.shape is not None and actual.shape is not None:
        fits &= len(formal.shape) == len(actual.shape)
        fits &= all(unify_extents(f, a) for f, a in zip(formal.shape, actual.shape, strict=False))
    require(fits, "{} is {}, the body takes {}", what, actual, formal)


def _require_scalar(t: TensorType | None, dtype: DType, what: str) -> None:
    if t is not None:
        extents = [d for d in t.shape or () if isinstance(d, int)]
        fits = t.dtype is dtype and not t.containers and all(d == 1 for d in extents)
        require(fits, "{} must be one {}, it is {}", what, dtype, t)


def _graph(graph: Graph | None, name: str) -> Graph:
    require(graph is not None, "{} is missing", name)
    return cast(Graph, graph)


def _truth(value: Array) -> bool:
    return bool(value.reshape(-1)[0])


@operator(inputs="condition", family=FAMILY)
class If(ControlFlow):
    """The results of `then_branch` when the condition holds, else those of `else_branch`. Only one is run.

    condition: one bool. Both graphs have no inputs and equally many outputs, of the same element types; where their
    shapes differ, the result's is open. Source: ONNX If.

    Attributes:
        then_branch: run when the condition is true.
        else_branch: run when it is false.
    """

    then_branch: Graph | None = None
    else_branch: Graph | None = None

    def result_count(self) -> int:
        return 0 if self.then_branch is None else len(self.then_branch.outputs)

    def infer(self, condition: TensorType) -> Results:
        then, other = _graph(self.then_branch, "then_branch"), _graph(self.else_branch, "else_branch")
        _require_scalar(condition, DType.BOOL, "the condition")
        require(not then.inputs and not other.inputs, "the branches of If take no inputs")
        counts = len(then.outputs), len(other.outputs)
        require(counts[0] == counts[1], "one branch has {} outputs, the other {}", *counts)
        types: list[TensorType] = []
        for i, (a, b) in enumerate(zip(then.outputs, other.outputs, strict=True)):
            seen_then, seen_else = outside(a.type, seen_sizes(then, ())), outside(b.type, seen_sizes(other, ()))
            types.append(joined(seen_then, seen_else, f"result {i}"))
        return tuple(types)

    def execute(self, call: Call, *operands: Any) -> tuple[Any, ...]:
        branch = self.then_branch if _truth(operands[0]) else self.else_branch
        return call(cast(Graph, branch), ())

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        f32 = TensorType(DType.F32, (2,))
        yield case(cls(then_branch=_constant_graph(1.0), else_branch=_constant_graph(2.0)), "bool[]")
        yield bad(cls(then_branch=_constant_graph(1.0)), "bool[]", because="else_branch is missing")
        both = {"then_branch": _constant_graph(1.0), "else_branch": _constant_graph(2.0)}
        yield bad(cls(**both), "f32[]", because="must be one bool")
        yield bad(cls(**{**both, "then_branch": _identity_graph(f32)}), "bool[]", because="take no inputs")


@operator(inputs="trip_count? condition? states*", family=FAMILY)
class Loop(ControlFlow):
    """Runs `body` again and again: for (i = 0; i < trip_count and condition; i++).

    trip_count: one i64, no limit when omitted. condition: one bool, true when omitted. states: values that each run of
    the body takes and gives. The body takes the number of the run (i64 scalar), the condition (bool scalar) and the
    states; it gives the condition for the next run, the new states, and any number of tensors, which are stacked over
    all runs. Results: the states after the last run, and the stacks [runs, ...].

    A state whose shape changes from run to run has an open shape in the body's inputs. Source: ONNX Loop.

    Attributes:
        body: the graph.
    """

    body: Graph | None = None

    def result_count(self) -> int:
        return 0 if self.body is None else len(self.body.outputs) - 1

    def infer(
        self, trip_count: TensorType | None = None, condition: TensorType | None = None, *states: TensorType
    ) -> Results:
        body = _graph(self.body, "body")
        _require_scalar(trip_count, DType.I64, "the trip count")
        _require_scalar(condition, DType.BOOL, "the condition")
        taken, given = len(body.inputs), len(body.outputs)
        require(taken == 2 + len(states), "the body takes {} values, {} are given", taken, 2 + len(states))
        require(given >= 1 + len(states), "the body gives {} values for {} states and a condition", given, len(states))
        _require_scalar(body.inputs[0].type, DType.I64, "the body's number of the run")
        _require_scalar(body.inputs[1].type, DType.BOOL, "the body's condition")
        _require_scalar(body.outputs[0].type, DType.BOOL, "the condition that the body gives")
        seen = seen_sizes(body, states)
        types = _state_types(body.inputs[2:], states, [t.type for t in body.outputs[1 : 1 + len(states)]], seen)
        for tensor in body.outputs[1 + len(states) :]:
            types.append(_stacked(outside(tensor.type, seen), 0, None))
        return tuple(types)

    def execute(self, call: Call, *operands: Any) -> tuple[Any, ...]:
        body = cast(Graph, self.body)
        count, condition, *states = [*operands, None, None][: max(len(operands), 2)]
        limit = None if count is None else int(count.reshape(-1)[0])
        goes_on = condition is None or _truth(condition)
        stacks: list[list[Array]] = [[] for _ in body.outputs[1 + len(states) :]]
        run = 0
        while goes_on and (limit is None or run < limit):
            results = call(body, [np.asarray(run, np.int64), np.asarray(goes_on), *states])
            goes_on = _truth(results[0])
            states = list(results[1 : 1 + len(states)])
            for stack, value in zip(stacks, results[1 + len(states) :], strict=True):
                stack.append(value)
            run += 1
        return (*states, *_stacks(stacks, body.outputs[1 + len(states) :], [0] * len(stacks)))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(body=_counting_body()), np.array(3), np.array(True), "f32[2]")
        yield case(cls(body=_counting_body()), np.array(2), None, "f32[2]")
        yield case(cls(body=_counting_body()), np.array(2), np.array(False), "f32[2]")
        yield bad(cls(), "i64[]", because="body is missing")
        yield bad(cls(body=_counting_body()), "i64[]", "bool[]", because="takes 3 values")
        yield bad(cls(body=_counting_body()), "i64[]", "bool[]", "f32[3]", because="the body takes f32[2]")


@operator(inputs="operands*", family=FAMILY)
class Scan(ControlFlow):
    """Runs `body` once for each slice of some operands, in order.

    Operands: the initial states, then `scanned` tensors, which are cut into slices along their `input_axes`, all of the
    same number. The body takes the states and one slice of each; it gives the new states and any number of tensors,
    which are stacked along `output_axes`. Results: the states after the last run, and the stacks.
    Source: ONNX Scan (9).

    Attributes:
        body: the graph.
        scanned: number of operands that are cut into slices.
        input_axes: axis along which each is cut; 0 when not given.
        input_reverse: for each, 1 to go from the last slice to the first.
        output_axes: axis along which each output is stacked; 0 when not given.
        output_reverse: for each, 1 to put the first run's last.
    """

    body: Graph | None = None
    scanned: int = 1
    input_axes: Ints = ()
    input_reverse: Ints = ()
    output_axes: Ints = ()
    output_reverse: Ints = ()

    def result_count(self) -> int:
        return 0 if self.body is None else len(self.body.outputs)

    def infer(self, *operands: TensorType) -> Results:
        body = _graph(self.body, "body")
        require(1 <= self.scanned <= len(operands), "{} of {} operands are scanned", self.scanned, len(operands))
        taken, given, states = len(body.inputs), len(body.outputs), len(operands) - self.scanned
        require(taken == len(operands), "the body takes {} values, {} are given", taken, len(operands))
        require(given >= states, "the body gives {} values for {} states", given, states)
        length: Dim | None = None
        for i, t in enumerate(operands[states:]):
            extent = self._check_scanned(i, t, body.inputs[states + i].type)
            require(
                not (isinstance(length, int) and isinstance(extent, int)) or length == extent,
                "scanned operands have {} and {} slices", length, extent,
            )  # fmt: skip
            length = extent if not isinstance(length, int) else length
        seen = seen_sizes(body, operands)
        outputs = [t.type for t in body.outputs]
        types = _state_types(body.inputs[:states], operands[:states], outputs[:states], seen)
        for i, t in enumerate(outputs[states:]):
            types.append(_stacked(outside(t, seen), _at(self.output_axes, i), length))
        return tuple(types)

    def _check_scanned(self, i: int, t: TensorType, formal: TensorType) -> Dim | None:
        """The number of slices of a scanned operand."""
        require(not t.containers, "a scanned operand must be a tensor, it is {}", t)
        if t.shape is None:
            require(t.dtype is formal.dtype, "a slice is {}, the body takes {}", t.dtype, formal)
            return None
        require(t.shape, "a scalar has no slices")
        axis = normalize_axis(_at(self.input_axes, i), len(t.shape))
        require_fits(formal, t.with_shape(t.shape[:axis] + t.shape[axis + 1 :]), "a slice")
        return t.shape[axis]

    def execute(self, call: Call, *operands: Any) -> tuple[Any, ...]:
        body = cast(Graph, self.body)
        count = len(operands) - self.scanned
        states = list(operands[:count])
        slices = [np.moveaxis(x, _at(self.input_axes, i), 0) for i, x in enumerate(operands[count:])]
        slices = [x[::-1] if _at(self.input_reverse, i) else x for i, x in enumerate(slices)]
        if len({len(x) for x in slices}) != 1:
            raise EvaluationError(f"Scan: the operands have {', '.join(str(len(x)) for x in slices)} slices")
        stacks: list[list[Array]] = [[] for _ in body.outputs[count:]]
        for run in range(len(slices[0])):
            results = call(body, [*states, *(np.asarray(x[run]) for x in slices)])
            states = list(results[:count])
            for stack, value in zip(stacks, results[count:], strict=True):
                stack.append(value)
        ordered = [s[::-1] if _at(self.output_reverse, i) else s for i, s in enumerate(stacks)]
        axes = [_at(self.output_axes, i) for i in range(len(stacks))]
        return (*states, *_stacks(ordered, body.outputs[count:], axes))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        body = _identity_graph(TensorType(DType.F32, (2,)))
        yield case(cls(body=body), "f32[3,2]")
        yield case(cls(body=body, input_axes=(1,), output_axes=(-1,), input_reverse=(1,)), "f32[2,3]")
        yield bad(cls(), "f32[3,2]", because="body is missing")
        yield bad(cls(body=body, scanned=2), "f32[3,2]", because="2 of 1 operands are scanned")
        yield bad(cls(body=body), "f32[3,4]", because="the body takes f32[2]")


def _at(values: Ints, i: int) -> int:
    return values[i] if i < len(values) else 0


def _state_types(
    formals: Sequence[Any], initial: Sequence[TensorType], final: Sequence[TensorType], seen: frozenset[str]
) -> list[TensorType]:
    """Types of the states after the last run: the initial ones when there is none, else what the body gives."""
    types: list[TensorType] = []
    for i, (formal, first, last) in enumerate(zip(formals, initial, final, strict=True)):
        require_fits(formal.type, first, f"state {i}")
        require_fits(formal.type, last, f"state {i} that the body gives")
        types.append(joined(first, outside(last, seen), f"state {i}"))
    return types


def _stacked(t: TensorType, axis: int, length: Dim | None) -> TensorType:
    """The type of equal values stacked along an axis."""
    require(not t.containers, "only tensors can be stacked over the runs, not {}", t)
    if t.shape is None:
        return inferred(t.dtype, None)
    at = normalize_axis(axis, len(t.shape) + 1)
    shape: InferredShape = (*t.shape[:at], length, *t.shape[at:])
    return inferred(t.dtype, shape)


def _stacks(stacks: Sequence[list[Array]], outputs: Sequence[Any], axes: Sequence[int]) -> list[Array]:
    """The values of all runs, stacked; without any run, extents that only a run decides are 0."""
    results: list[Array] = []
    for values, tensor, axis in zip(stacks, outputs, axes, strict=True):
        if not values:
            shape = [d if isinstance(d, int) else 0 for d in tensor.type.shape or ()]
            shape.insert(axis if axis >= 0 else axis + len(shape) + 1, 0)
            results.append(np.zeros(shape, tensor.type.dtype.numpy))
        else:
            if len({v.shape for v in values}) != 1:
                shapes = ", ".join(sorted({str(list(v.shape)) for v in values}))
                raise EvaluationError(f"the runs of the body gave tensors of different shapes to stack: {shapes}")
            results.append(np.stack(values, axis))
    return results


# ---------------------------------------------------------------------- samples
def _constant_graph(value: float) -> Graph:
    graph = Graph("branch")
    graph.add_output("y", constant(np.full(2, value, np.float32), "y"))
    return graph


def _identity_graph(t: TensorType) -> Graph:
    graph = Graph("body")
    graph.add_output("y", graph.add_input("x", t))
    return graph


def _counting_body() -> Graph:
    """Adds 1 to a state of two numbers, and stacks it."""
    graph = Graph("body")
    graph.add_input("i", TensorType(DType.I64, ()))
    goes_on = graph.add_input("condition", TensorType(DType.BOOL, ()))
    state = graph.add_input("state", TensorType(DType.F32, (2,)))
    total = graph.append(Node(Add(), [state, constant(np.float32(1), "one")], name="add")).output
    graph.add_output("goes_on", goes_on)
    graph.add_output("state", total)
    graph.add_output("history", total)
    return graph
