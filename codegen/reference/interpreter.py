"""The interpreter: `evaluate` of one node after the other, with freeing of what is no longer needed.

Control flow runs its graphs by the same steps, each in a frame of its own that sees the values of the graph around it.

A value is an array of the tensor's logical shape, or of its layout's storage shape when the tensor has a layout that
permutes, blocks or pitches. Pack and Unpack convert. Any other operator computes on logical arrays: the interpreter
unpacks its operands and packs its results, so that a layout-aligned module runs like any other.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from uair.codegen.reference import memory
from uair.codegen.reference.arithmetic import is_exact
from uair.codegen.reference.errors import ResultTypeError
from uair.codegen.reference.feeds import check_feeds, is_stored, seems_to_hold, value_shape
from uair.codegen.reference.ownership import Owner
from uair.errors import EvaluationError, UairError
from uair.ir.data import ArrayData, SplatData
from uair.ir.dims import Dim, plain_symbol, static, substitute_shape
from uair.ir.dtype import Array, DType, narrowed
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module
from uair.ops.base import Operator
from uair.ops.control import Call, ControlFlow, Isolated
from uair.ops.layout import Pack
from uair.ops.placement import Placed, Transfer
from uair.rewrite.regions import without_groups

Observer: TypeAlias = Callable[[Tensor, Array], None]


MAX_RUNS = 10_000_000
"""Runs of a loop's body: hours of work. Models come from strangers, and some loops never end."""


@attrs.define(eq=False)
class _Step:
    """A node with what is decided before the first run.

    Attributes:
        node: the node.
        symbols: sizes that occur in the operator's attributes.
        dead: tensors whose last use this is, results that nobody uses included.
        packed: whether an operand or result has a layout that the values follow.
        regions: the steps of the graphs that the operator runs.
        nbytes: of its largest result, where the recorded types tell.
        exact: whether its results are never rounded, see uair.codegen.reference.arithmetic.
        bound: the sizes of the last run and the operator with them put in.
    """

    node: Node
    symbols: tuple[str, ...]
    dead: tuple[Tensor, ...]
    packed: bool
    regions: Mapping[Graph, tuple[_Step, ...]]
    nbytes: int
    exact: bool
    bound: tuple[tuple[int, ...], Operator] | None = None

    def operator(self, sizes: Mapping[str, int]) -> Operator:
        """The operator with its symbolic sizes replaced."""
        if not self.symbols:
            return self.node.op
        key = tuple(sizes[s] for s in self.symbols if s in sizes)
        if self.bound is None or self.bound[0] != key:
            values: dict[str, Dim] = {s: sizes[s] for s in self.symbols if s in sizes}
            self.bound = (key, self.node.op.substitute(values))
        return self.bound[1]


@attrs.define(eq=False)
class _Frame:
    """One run of a graph.

    Attributes:
        values: of the graph's tensors, as long as they are needed.
        sizes: numbers of the symbolic sizes; those of the graph around it, too.
        outer: the run of the graph around it.
        rounding: the type that floats are rounded to; None for the types of the module.
    """

    values: dict[Tensor, Any]
    sizes: dict[str, int]
    outer: _Frame | None = None
    rounding: DType | None = None

    @property
    def outermost(self) -> _Frame:
        """The run of the main graph."""
        frame = self
        while frame.outer is not None:
            frame = frame.outer
        return frame

    def find(self, tensor: Tensor) -> tuple[bool, Any]:
        """Whether a value is there, and the value."""
        frame: _Frame | None = self
        while frame is not None:
            if tensor in frame.values:
                return True, frame.values[tensor]
            frame = frame.outer
        return False, None


class Interpreter:
    """Runs a module's main graph; prepared once, run many times. The graph must not change meanwhile.

    Args:
        module: what to run.
        keep_constants: keep the values of constants that are computed or lie in a mapped file from run to run. Without
            it they are had anew in every run and given back after their last use: memory holds few at a time.
        max_runs: how often one loop may run its body; more are refused as a loop that never ends.
        rounding: by the device of a Placed node the type that it holds floats in; by "" that of the main graph. See
            uair.codegen.reference.arithmetic.
    """

    def __init__(
        self,
        module: Module,
        *,
        keep_constants: bool = False,
        max_runs: int = MAX_RUNS,
        rounding: Mapping[str, DType] | None = None,
    ) -> None:
        self.graph = (without_groups(module) if rounding else module).main  # what is exact shows beside its neighbours
        self.max_runs = max_runs
        self.keep_constants = keep_constants
        self.rounding = dict(rounding or {})
        self._constants: dict[Tensor, Array] = {}
        self._steps = _plan(self.graph)
        memory.keep_freed_memory()
        memory.give_back()
        weakref.finalize(self, memory.give_back).atexit = False

    def run(self, feeds: Mapping[str, Any], *, observe: Observer | None = None) -> dict[str, Any]:
        """The outputs by name: arrays; a list of arrays for a sequence, a dict for a map, None for an empty optional.

        Args:
            feeds: arrays by input name, of exactly the inputs' element types; their shapes bind the symbolic sizes.
                For inputs that are no tensors, values as above.
            observe: called with every input and every result of a node as soon as it is there, in the graph's order;
                the array must not be written to. What happens inside of control flow is not observed.

        Raises:
            MissingFeedError, UnknownFeedError, FeedTypeError, FeedShapeError: the feeds do not fit the inputs.
            OpaqueError: the graph has a custom operator that UAIR does not know.
            EvaluationError: an operator cannot be evaluated on the values it gets.
            ResultTypeError: a result is not of its recorded type.
        """
        execution = self.start(feeds, observe=observe)
        execution.go_on(len(self._steps))
        return execution.outputs()

    def start(self, feeds: Mapping[str, Any], *, observe: Observer | None = None) -> Execution:
        """A run that stands in front of the first node; arguments and errors are those of `run`."""
        arrays, sizes = check_feeds(self.graph, feeds)
        frame = _Frame({}, sizes, rounding=self.rounding.get(""))
        for name, tensor in zip(self.graph.input_names, self.graph.inputs, strict=True):
            frame.values[tensor] = _rounded(arrays[name], frame.rounding)
            if observe is not None:
                observe(tensor, arrays[name])
        return Execution(self, self._steps, self._constants, frame, arrays, observe)


@attrs.define(eq=False)
class Execution:
    """A run of the main graph that goes on node by node, so that several can be compared, or changed, on the way."""

    _interpreter: Interpreter
    _steps: tuple[_Step, ...]
    _constants: dict[Tensor, Array]
    _frame: _Frame
    _feeds: Mapping[str, Any]
    _observe: Observer | None
    _position: int = 0

    @property
    def node(self) -> Node | None:
        """The node that `advance` will run; None at the end."""
        return self._steps[self._position].node if self._position < len(self._steps) else None

    @property
    def operator(self) -> Operator:
        """The operator of that node, with numbers for the symbolic sizes that are known by now."""
        return self._steps[self._position].operator(self._frame.sizes)

    def value(self, tensor: Tensor) -> Any:
        """The value of a tensor that is a constant or still needed."""
        return self._value(tensor, self._frame)

    def replace(self, tensor: Tensor, value: Any) -> None:
        """Let what comes use another value for a tensor that was computed."""
        self._frame.values[tensor] = value

    def fork(self) -> Execution:
        """A second run that stands at the same node: values are shared, later ones are each run's own."""
        frame = attrs.evolve(self._frame, values=dict(self._frame.values), sizes=dict(self._frame.sizes))
        return attrs.evolve(self, frame=frame)

    def advance(self, replaced: Mapping[int, Any] | None = None) -> tuple[Any, ...]:
        """Run the next node, with other values for some of its operands if given; its results, which are read only."""
        step = self._steps[self._position]
        self._position += 1
        with np.errstate(all="ignore"):
            return self._run_step(step, self._frame, self._observe, replaced)

    def go_on(self, count: int) -> None:
        """Run the next nodes, so many or all that there are."""
        start = self._position
        with np.errstate(all="ignore"):
            for step in self._steps[start : start + count]:
                self._position += 1
                self._run_step(step, self._frame, self._observe)

    def outputs(self) -> dict[str, Any]:
        """The graph's outputs by name, at the end."""
        return self._collect(self._frame, list(self._feeds.values()))

    # ------------------------------------------------------------------- one node
    def _run_step(
        self, step: _Step, frame: _Frame, observe: Observer | None, replaced: Mapping[int, Any] | None = None
    ) -> tuple[Any, ...]:
        node = step.node
        operands = [None if t is None else self._value(t, frame) for t in node.inputs]
        for i, value in (replaced or {}).items():
            operands[i] = value
        if frame.rounding is not None and not step.exact:
            operands = [
                a if t is None or t.data is None else narrowed(a, frame.rounding)
                for t, a in zip(node.inputs, operands, strict=True)
            ]
        call = self._caller(step, frame) if step.regions else None
        results = _evaluate(step, operands, frame.sizes, call)
        values: list[Any] = []
        for tensor, value in zip(node.outputs, results, strict=True):
            _check_result(node, tensor, value, frame.sizes)
            if not step.exact:
                value = _rounded(value, frame.rounding)
            frame.values[tensor] = value
            values.append(value)
            if observe is not None:
                observe(tensor, value)
        self._forget(step, frame)
        return tuple(values)

    def _forget(self, step: _Step, frame: _Frame) -> None:
        """Let go of what nobody needs behind a step."""
        for tensor in step.dead:
            frame.values.pop(tensor, None)
            if tensor.data is not None and not self._interpreter.keep_constants:
                tensor.data.release()

    def _caller(self, step: _Step, frame: _Frame) -> Call:
        """What runs the graphs of a step's operator."""
        runs = itertools.count(1)
        op = step.node.op
        rounding = self._interpreter.rounding.get(op.device) if isinstance(op, Placed) else frame.rounding

        def call(graph: Graph, inputs: Sequence[Any]) -> tuple[Any, ...]:
            if next(runs) > self._interpreter.max_runs:
                raise EvaluationError(
                    f"{step.node.op_type} has run its body {self._interpreter.max_runs:,} times and goes on",
                    hint="check its condition and its trip count; `Interpreter(max_runs=...)` allows more",
                )
            inner = _Frame({}, dict(frame.sizes), frame, rounding)
            for tensor, value in zip(graph.inputs, inputs, strict=True):
                _check_result(step.node, tensor, value, inner.sizes)
                inner.values[tensor] = _rounded(value, rounding)
            for each in step.regions[graph]:
                self._run_step(each, inner, None)
            return tuple(self._value(tensor, inner) for tensor in graph.outputs)

        return call

    def _value(self, tensor: Tensor, frame: _Frame) -> Any:
        if tensor in frame.values:
            return frame.values[tensor]
        if frame.outer is not None:
            there, found = frame.outer.find(tensor)
            if there:
                return found
        data = tensor.data
        assert data is not None  # the verifier's rule: an operand is an input, a constant or an earlier result
        if isinstance(data, (ArrayData, SplatData)):
            return data.array()
        if self._interpreter.keep_constants:
            if tensor not in self._constants:
                self._constants[tensor] = data.array()
            return self._constants[tensor]
        home = frame.outermost  # a graph that runs again and again computes its constants once
        home.values[tensor] = data.array()
        return home.values[tensor]

    def _collect(self, frame: _Frame, feeds: Sequence[Any]) -> dict[str, Any]:
        """The outputs; copied where they would be views of a feed, of a constant, or of each other."""
        owner, graph = Owner(feeds), self._interpreter.graph
        named = zip(graph.output_names, graph.outputs, strict=True)
        return {name: owner.own(self._value(tensor, frame)) for name, tensor in named}


def _rounded(value: Any, dtype: DType | None) -> Any:
    return value if dtype is None else narrowed(value, dtype)


def run(
    module: Module,
    feeds: Mapping[str, Any],
    *,
    observe: Observer | None = None,
    rounding: Mapping[str, DType] | None = None,
) -> dict[str, Any]:
    """The outputs of a module's main graph by name; see `Interpreter`."""
    return Interpreter(module, rounding=rounding).run(feeds, observe=observe)


def _plan(graph: Graph) -> tuple[_Step, ...]:
    """The steps in order, each with the tensors that it uses last."""
    last: dict[Tensor, Node] = {}
    for node in graph:
        last.update((t, node) for t in (*node.outputs, *node.inputs) if t is not None)
        last.update((t, node) for region in node.regions for t in region.captures())
    kept = set(graph.outputs)
    dead: dict[Node, list[Tensor]] = {}
    for tensor, node in last.items():
        if tensor not in kept:
            dead.setdefault(node, []).append(tensor)
    return tuple(
        _Step(
            node,
            tuple(dict.fromkeys(node.op.symbols())),
            tuple(dead.get(node, ())),
            any(t is not None and is_stored(t.type.layout) for t in (*node.inputs, *node.outputs)),
            {region: _plan(region) for region in node.regions},
            memory.recorded_bytes(node),
            isinstance(node.op, (Isolated, Transfer)) or is_exact(node),
        )
        for node in graph
    )


def _evaluate(step: _Step, operands: list[Any], sizes: Mapping[str, int], call: Call | None) -> tuple[Any, ...]:
    """The results of a step; `call` runs the graphs that its operator has."""
    node = step.node
    if step.packed:
        operands = [
            None if t is None or a is None else _logical(t, a, sizes)
            for t, a in zip(node.inputs, operands, strict=True)
        ]
    op = step.operator(sizes)
    if memory.exceeds(step.nbytes):
        raise memory.too_large(node, f"needs {step.nbytes:,} bytes, and there are {memory.limit():,}", place_of(node))
    try:
        if isinstance(op, ControlFlow) and call is not None:
            results = op.execute(call, *operands)
            results = tuple(_sized(t, a, sizes) for t, a in zip(node.outputs, results, strict=True))
        else:
            results = op.evaluate_all(operands)
    except UairError as error:
        error.place = error.place or place_of(node)
        raise
    except MemoryError as error:
        raise memory.too_large(node, f"does not fit into memory: {error}", place_of(node)) from None
    except Exception as error:
        given = ", ".join(_type_text(a) for a in operands)
        raise EvaluationError(
            f"{node.op_type} failed on ({given}): {type(error).__name__}: {error}",
            place=place_of(node),
            hint="check the values that reach this node (observe its operands); if they are as expected, report it",
        ) from error
    for result in results:
        if isinstance(result, np.ndarray) and memory.exceeds(
            result.nbytes
        ):  # a view that repeats a few elements beyond measure
            raise memory.too_large(node, f"stands for {result.nbytes:,} bytes", place_of(node))
    if step.packed and not isinstance(op, Pack):
        results = tuple(
            t.type.layout.pack(a) if is_stored(t.type.layout) else a for t, a in zip(node.outputs, results, strict=True)
        )
    return results


def _sized(tensor: Tensor, value: Any, sizes: Mapping[str, int]) -> Any:
    """A stack over no runs with the extents that the sizes around it tell: the operator knows plain numbers only."""
    shape = tensor.type.shape
    if tensor.type.containers or shape is None or value.size or len(shape) != value.ndim:
        return value
    known = substitute_shape(shape, dict(sizes))
    extents = [d if isinstance(d, int) and not got else got for d, got in zip(known, value.shape, strict=True)]
    return value if 0 not in extents else np.zeros(extents, value.dtype)


def _logical(tensor: Tensor, array: Array, sizes: Mapping[str, int]) -> Array:
    """The logical array of an operand. Constants are held as logical arrays whatever their layout."""
    if tensor.data is not None or not is_stored(tensor.type.layout):
        return array
    values: dict[str, Dim] = dict(sizes)
    return tensor.type.layout.unpack(array, static(substitute_shape(tensor.type.dims, values)))


def _type_text(value: Any) -> str:
    """The type of a value, for messages."""
    if isinstance(value, (list, dict)):
        return f"{'a sequence' if isinstance(value, list) else 'a map'} of {len(value)}"
    return "-" if value is None else f"{value.dtype}{list(value.shape)}"


def _check_result(node: Node, tensor: Tensor, array: Any, sizes: dict[str, int]) -> None:
    """Compare a result with its recorded type, and bind the sizes that only the data decides."""
    t = tensor.type
    if t.containers:
        if not seems_to_hold(array, t):
            raise _result_error(node, tensor, array)
        return
    if not isinstance(array, np.ndarray):
        raise _result_error(node, tensor, array)
    if array.dtype != t.dtype.numpy and not (t.dtype is DType.STRING and array.dtype.kind in "OUST"):
        raise _result_error(node, tensor, array)
    if t.shape is None:
        return
    expected = value_shape(t) if is_stored(t.layout) else t.shape
    if array.shape == expected:
        return
    if len(array.shape) != len(expected):
        raise _result_error(node, tensor, array)
    if not all(_fits(got, want, sizes) for got, want in zip(array.shape, expected, strict=True)):
        raise _result_error(node, tensor, array)


def _fits(got: int, want: Dim, sizes: dict[str, int]) -> bool:
    """Whether an extent is as recorded; a size that has no number yet gets one."""
    if isinstance(want, int):
        return got == want
    size = plain_symbol(want)
    return size is None or sizes.setdefault(size, got) == got


def _result_error(node: Node, tensor: Tensor, value: Any) -> ResultTypeError:
    return ResultTypeError(
        f"{node.op_type} gave {_type_text(value)} for {tensor!r}",
        place=place_of(node),
        hint="the model's own shape annotations contradict its computation: drop them, or bind other input shapes",
    )


def place_of(node: Node) -> str:
    """The node in the words of the source model."""
    return f"node {node.name or (node.outputs[0].name if node.outputs else '') or node.op_type!r}, {node.loc}"
