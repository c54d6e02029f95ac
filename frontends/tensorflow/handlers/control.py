"""Functional control flow: If and While with functions as branches and bodies.

A loop whose condition compares counters with known bounds becomes a Loop with a number of runs, and its counters the
number of the run. What a body hands on as it is stays outside of the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import attrs

from uair.frontends.tensorflow.graphdef import FunctionDef, NodeDef, Ref
from uair.frontends.tensorflow.node import Family, Result, TensorList, TfNode, Value, Variable
from uair.ir.dims import Dim, InferredShape
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Tensor
from uair.ir.types import TensorType
from uair.ops import Add, Equal, Gather, If, Loop, NotEqual, Unsqueeze
from uair.ops.control import join_shapes

FAMILY = Family()
MAX_ATTEMPTS = 8
"""Imports of a body until the types of its states hold from run to run."""
_STEPS = 64


@FAMILY.op("Case", "StatelessCase")
def _case(n: TfNode) -> Result:
    """A number selects the branch; the last one when there is none of that number."""
    value = n.attribute("branches")
    branches = [n.importer.function(name, n.place) for name in (() if value is None else value.functions)]
    if not branches:
        n.refuse("it has no branches")
    number, arguments = n[0], n.inputs[1:]
    known = n.value_of(number)
    if len(branches) == 1 or known is not None and known.size == 1:
        at = 0 if known is None else int(known.reshape(-1).tolist()[0])
        return n.importer.call(n, branches[at if 0 <= at < len(branches) else -1], arguments)
    graphs = [_branch(n, branch, arguments) for branch in branches]
    return _selected(n, number, graphs, 0)


def _selected(n: TfNode, number: Tensor, graphs: Sequence[Graph], first: int) -> Result:
    """The results of the graph that a number selects, as one If inside of the other."""
    condition = n(Equal(), number, n.like(first, number))
    other = graphs[1]
    if len(graphs) > 2:
        other = Graph(f"{n.name}_{first + 1}")
        inner = _selected(n.inside(other), number, graphs[1:], first + 1)
        for i, value in enumerate(cast("Sequence[Tensor]", inner)):
            other.add_output(f"result{i}", value)
    return n.all(If(then_branch=graphs[0], else_branch=other), condition)


@FAMILY.op("If", "StatelessIf")
def _if(n: TfNode) -> Result:
    """A condition that is known selects its branch, which takes the node's place."""
    branches = [n.function(name) for name in ("then_branch", "else_branch")]
    condition, arguments = n[0], n.inputs[1:]
    known = n.value_of(condition)
    if known is not None and known.size == 1:
        truth = bool(known.reshape(-1).tolist()[0])
        return n.importer.call(n, branches[0 if truth else 1], arguments)
    if condition.type.dtype is not DType.BOOL:
        condition = n(NotEqual(), condition, n.like(0, condition))
    then, other = (_branch(n, branch, arguments) for branch in branches)
    for i, (one, another) in enumerate(zip(then.outputs, other.outputs, strict=True)):
        if one.type.dtype is not another.type.dtype:
            n.refuse(f"result {i} is {one.type} in then_branch and {another.type} in else_branch")
    return n.all(If(then_branch=then, else_branch=other), condition)


def _branch(n: TfNode, function: FunctionDef, arguments: Sequence[Value]) -> Graph:
    region = Graph(function.name)
    for i, value in enumerate(n.importer.call(n, function, arguments, region)):
        region.add_output(f"result{i}", _tensor(n, value, f"result {i} of {function.name!r}"))
    return region


def _tensor(n: TfNode, value: Value, what: str) -> Tensor:
    if isinstance(value, Variable):
        return n.importer.read(value)
    if not isinstance(value, Tensor):
        n.refuse(f"{what} is no tensor")
    return value


# --------------------------------------------------------------------------------------------------------------- loops
@attrs.frozen(eq=False)
class _Plan:
    """What is known of a loop before its body is imported.

    Attributes:
        fixed: states that every run hands on as they are.
        counters: states that every run adds 1 to, with what they are at first.
        runs: how often the body runs, when that is known: a number, or a size of the model.
        bound: what holds the number of runs when it is a size.
    """

    fixed: frozenset[int]
    counters: dict[int, int]
    runs: Dim | None
    bound: Tensor | None = None


@FAMILY.op("While", "StatelessWhile")
def _while(n: TfNode) -> Result:
    condition, body = n.function("cond"), n.function("body")
    if len(body.results) != len(n.inputs):
        n.refuse(f"the body gives {len(body.results)} values for {len(n.inputs)} states")
    plan = _plan(n, condition, body)
    if plan.runs == 0:
        return list(n.inputs)
    return _Loop(n, condition, body, plan).run()


def _plan(n: TfNode, condition: FunctionDef, body: FunctionDef) -> _Plan:
    names = [argument.name for argument in body.arguments]
    fixed = frozenset(i for i, ref in enumerate(body.results) if _behind(body, ref).name == names[i])
    counters: dict[int, int] = {}
    for i, ref in enumerate(body.results):
        node = body.body.nodes.get(_behind(body, ref).name)
        if i not in fixed and node is not None and _adds_one(n, body, node, names[i]):
            value = n.inputs[i]
            first = n.value_of(value) if isinstance(value, Tensor) else None
            if first is not None and first.size == 1 and isinstance(first.reshape(-1).tolist()[0], int):
                counters[i] = first.reshape(-1).tolist()[0]
    return _Plan(fixed, counters, *_runs(n, condition, fixed, counters))


def _behind(function: FunctionDef, ref: Ref) -> Ref:
    """What a value is behind nodes that only pass it on."""
    for _ in range(_STEPS):
        node = function.body.nodes.get(ref.name)
        if node is None or node.op != "Identity" or not node.inputs:
            break
        ref = node.inputs[0]
    return ref


def _adds_one(n: TfNode, body: FunctionDef, node: NodeDef, name: str) -> bool:
    if node.op not in ("Add", "AddV2") or len(node.inputs) != 2:
        return False
    sources = [_behind(body, ref) for ref in node.inputs]
    others = [s for s in sources if s.name != name]
    return len(others) == 1 and _constant(n, body, others[0]) == 1


def _constant(n: TfNode, function: FunctionDef, ref: Ref) -> int | None:
    """The integer that a Const of a function holds."""
    from uair.frontends.tensorflow.tensors import tensor_data

    node = function.body.nodes.get(ref.name)
    if node is None or node.op != "Const" or "value" not in node.attributes:
        return None
    data = tensor_data(node.attributes["value"].message.message(8), n.place)
    return int(data.array().reshape(-1)[0]) if data.size == 1 and data.dtype.is_integer else None


def _runs(
    n: TfNode, condition: FunctionDef, fixed: frozenset[int], counters: dict[int, int]
) -> tuple[Dim | None, Tensor | None]:
    """How often the body runs: the condition is a conjunction of counter < bound with known bounds.

    Bounds that are sizes must all be the same one, of counters that begin at 0: the second value holds it then.
    """
    names = [argument.name for argument in condition.arguments]
    pending, bounds, holder = [condition.results[0]], list[Dim](), None
    while pending and len(bounds) < _STEPS:
        node = condition.body.nodes.get(_behind(condition, pending.pop()).name)
        if node is not None and node.op == "LogicalAnd":
            pending.extend(node.inputs)
            continue
        if node is None or node.op != "Less" or len(node.inputs) != 2:
            return None, None
        counter, limit = (_behind(condition, ref) for ref in node.inputs)
        i = names.index(counter.name) if counter.name in names else -1
        bound: Dim | None = _constant(n, condition, limit)
        if bound is None and limit.name in names and names.index(limit.name) in fixed:
            value = n.inputs[names.index(limit.name)]
            bound = _size(n, value)
            holder = value if isinstance(value, Tensor) and not isinstance(bound, int) else holder
        if i not in counters or bound is None or not isinstance(bound, int) and counters[i]:
            return None, None
        bounds.append(max(bound - counters[i], 0) if isinstance(bound, int) else bound)
    if all(isinstance(b, int) for b in bounds):
        return (min(b for b in bounds if isinstance(b, int)), None) if bounds else (None, None)
    return (bounds[0], holder) if all(b == bounds[0] for b in bounds) else (None, None)


def _size(n: TfNode, value: Value) -> Dim | None:
    """The number or the size that a tensor of one element holds."""
    found = n.dims(value) if isinstance(value, Tensor) and value.type.rank in (0, 1) else None
    return found[0] if found is not None and len(found) == 1 else None


class _Loop:
    """One loop being imported."""

    def __init__(self, n: TfNode, condition: FunctionDef, body: FunctionDef, plan: _Plan) -> None:
        self.n = n
        self.condition = condition
        self.body = body
        self.plan = plan
        dropped = set(plan.counters) if plan.runs is not None else set[int]()
        self.replaced = dropped
        self.states = [i for i in range(len(n.inputs)) if i not in plan.fixed and i not in dropped]
        self.carried = [i for i in self.states if self._initial(i) is not None]
        self.written = [i for i in self.states if i not in self.carried]

    def _initial(self, i: int) -> Tensor | None:
        """The tensor that a state is at first; None for a list that is only written."""
        value = self.n.inputs[i]
        if isinstance(value, TensorList):
            return value.items
        return _tensor(self.n, value, f"state {i}")

    def run(self) -> list[Value]:
        """Emit the loop; its results in the node's order."""
        n, plan = self.n, self.plan
        region, results = self._settled()
        initial = [cast(Tensor, self._initial(i)) for i in self.carried]
        stacks = [self._write(results, i) for i in self.written]
        region.add_output("goes_on", self._goes_on(region, results))
        for i in self.carried:
            region.add_output(f"state{i}", self._carried_result(results, i))
        for i, (_, value) in zip(self.written, stacks, strict=True):
            region.add_output(f"stack{i}", value)
        runs = None if plan.runs is None else self._number_of_runs()
        first = None if plan.runs is not None else self._condition_of(n.inputs, None)
        last = n.all(Loop(body=region), runs, first, *initial)
        return self._results(last, [last_only for last_only, _ in stacks])

    def _results(self, last: Sequence[Tensor], last_only: Sequence[bool]) -> list[Value]:
        n, values = self.n, list(self.n.inputs)
        for place, i in enumerate(self.carried):
            given = values[i]
            values[i] = attrs.evolve(given, items=last[place]) if isinstance(given, TensorList) else last[place]
        for place, i in enumerate(self.written):
            stack = last[len(self.carried) + place]
            if self.plan.runs is not None and stack.type.shape is not None:
                stack.type = stack.type.with_shape((self.plan.runs, *stack.type.shape[1:]))
            if last_only[place]:
                stack = n(Unsqueeze(axes=(0,)), n(Gather(axis=0), stack, n.of(-1)))
            values[i] = TensorList(cast(TensorList, values[i]).dtype, stack)
        for i in self.replaced:
            counter, runs = cast(Tensor, values[i]), self.plan.runs
            if isinstance(runs, int):
                values[i] = n.like(self.plan.counters[i] + runs, counter)
            else:
                number = n.cast(self._number_of_runs(), counter.type.dtype)
                first = self.plan.counters[i]
                values[i] = n(Add(), number, n.like(first, counter)) if first else number
        return values

    def _number_of_runs(self) -> Tensor:
        if isinstance(self.plan.runs, int):
            return self.n.of(self.plan.runs)
        assert self.plan.bound is not None
        return self.n.cast(self.n.single(self.plan.bound), DType.I64)

    # ------------------------------------------------------------------ the body
    def _settled(self) -> tuple[Graph, list[Value]]:
        """The body as a graph whose inputs have types that hold in every run, and what it gives."""
        shapes: list[InferredShape | None] = [cast(Tensor, self._initial(i)).type.shape for i in self.carried]
        for _ in range(MAX_ATTEMPTS):
            region, results = self._imported(shapes)
            wider = list(shapes)
            for place, i in enumerate(self.carried):
                given = self._carried_result(results, i).type
                own = region.inputs[2 + place].type
                if given.dtype is not own.dtype:
                    self.n.refuse(f"state {i} is {own} at first, the body gives {given}")
                if given.shape != own.shape:
                    wider[place] = join_shapes(shapes[place], given.shape)
            if wider == shapes:
                return region, results
            region.release()
            shapes = wider
        self.n.refuse("the shapes of its states change from run to run without end")

    def _imported(self, shapes: Sequence[InferredShape | None]) -> tuple[Graph, list[Value]]:
        n = self.n
        region = Graph(self.body.name)
        number = region.add_input("run", TensorType(DType.I64, ()))
        region.add_input("condition", TensorType(DType.BOOL, ()))
        arguments = list(n.inputs)
        for i, shape in zip(self.carried, shapes, strict=True):
            first = cast(Tensor, self._initial(i))
            named = None if shape is None else tuple(
                n.importer.sizes.named(f"{n.name}.{i}.{axis}") if d is None else d for axis, d in enumerate(shape)
            )  # fmt: skip
            tensor = region.add_input(f"state{i}", TensorType(first.type.dtype, named))
            given = arguments[i]
            arguments[i] = attrs.evolve(given, items=tensor) if isinstance(given, TensorList) else tensor
        for i in self.written:
            arguments[i] = attrs.evolve(cast(TensorList, arguments[i]), state=i)
        inner = n.inside(region)
        for i in self.replaced:
            counter = inner.cast(number, cast(Tensor, n.inputs[i]).type.dtype)
            if self.plan.counters[i]:
                counter = inner(Add(), counter, inner.like(self.plan.counters[i], counter))
            arguments[i] = counter
        self.counter_values = [arguments[i] for i in self.replaced]
        return region, n.importer.call(n, self.body, arguments, region)

    def _carried_result(self, results: Sequence[Value], i: int) -> Tensor:
        value = results[i]
        if isinstance(value, TensorList):
            value = cast(Any, value.items)
        return _tensor(self.n, value, f"state {i}")

    def _write(self, results: Sequence[Value], i: int) -> tuple[bool, Tensor]:
        """What a run writes to a list, and whether it always writes to the first of one element."""
        n, value = self.n, results[i]
        if not isinstance(value, TensorList) or value.state != i or len(value.written) != 1:
            n.refuse(
                "a list is not written exactly once in each run of the loop",
                "write one element in each run to a tf.TensorArray of fixed size",
            )
        index, element = value.written[0]
        if (
            index is not None
            and any(index is counter for counter in self.counter_values)
            and self._starts_at_zero(index)
        ):
            return False, element
        count = None if value.count is None else n.value_of(value.count)
        if index is None and count is not None and count.size == 1 and not count.any():
            return False, element  # added at the end of a list that was empty
        known = None if index is None else n.value_of(index)
        numbers = [None if v is None or v.size != 1 else v.reshape(-1).tolist()[0] for v in (known, count)]
        if numbers == [0, 1]:
            return True, element
        n.refuse(
            "a list is written at places that are not the numbers of the runs, or the number of runs is not known",
            "give the model's inputs fixed shapes, so that the number of steps is known",
        )

    def _starts_at_zero(self, index: Tensor | None) -> bool:
        places = [i for i, t in zip(self.replaced, self.counter_values, strict=True) if t is index]
        return all(self.plan.counters[i] == 0 for i in places)

    # ------------------------------------------------------------------ the condition
    def _goes_on(self, region: Graph, results: Sequence[Value]) -> Tensor:
        """Whether another run follows: what came in when the number of runs is known."""
        if self.plan.runs is not None:
            return region.inputs[1]
        return self._condition_of(results, region)

    def _condition_of(self, values: Sequence[Value], region: Graph | None) -> Tensor:
        (result,) = self.n.importer.call(self.n, self.condition, values, region)[:1]
        return _tensor(self.n, result, "the condition")
