"""The float and the quantized model side by side, one node at a time, on several samples.

What is decided for a node is decided knowing what the nodes before it have become: their errors reach it as they will
in the end. Runs stop at every node that is decided about and go on behind it, each in its turn, so that every node is
evaluated once per sample and model; what their values would take in memory together lies in a file meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor
from uair.passes.quantization.channels import channel_axis
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.parking import ParkedRun, Place, Store
from uair.passes.quantization.statistics import Execution
from uair.passes.quantization.trial import Study
from uair.quant.parameters import Parameters


@attrs.define(eq=False)
class ChannelErrors:
    """Differences between expected and actual results by channel, over samples.

    Attributes:
        total: [C], f64, sums of expected - actual.
        square: [C], f64, sums of the squares.
        mean: [C], f64, sums over samples of the mean differences.
        count: elements of a channel.
        samples: how many there were.
    """

    total: Array | float = 0.0
    square: Array | float = 0.0
    mean: Array | float = 0.0
    count: int = 0
    samples: int = 0

    def add(self, expected: Array, actual: Array, axis: int) -> None:
        """Take in one sample, whose channels lie along `axis`."""
        rows = np.moveaxis(expected - actual, axis, 0).reshape(expected.shape[axis], -1)
        total = rows.sum(axis=1, dtype=np.float64)
        self.total = self.total + total
        self.square = self.square + np.einsum("cr,cr->c", rows, rows).astype(np.float64)
        self.mean = self.mean + total / max(rows.shape[1], 1)
        self.count += rows.shape[1]
        self.samples += 1

    @property
    def shift(self) -> Array:
        """[C]: the mean over the samples of the mean difference."""
        return np.asarray(self.mean / max(self.samples, 1))

    def squared(self, change: Array | float = 0.0) -> float:
        """Sum of the squares if `change` [C] were added to the actual results."""
        found = self.square - 2 * self.total * change + self.count * np.square(change)
        return float(np.maximum(found, 0.0).sum())


@attrs.define(eq=False)
class Step:
    """A quantized node that both models have come to, on several samples.

    Attributes:
        result: how the node is quantized.
        learned: how many of the first samples may be learned from.
        held_out: how many of the last ones are checked on; with 0 all of them are.
    """

    result: NodeResult
    learned: int
    held_out: int
    _walk: _Walk

    @property
    def axis(self) -> int:
        """Of the channels of the result."""
        return channel_axis(self.result.node, self.result.node.output.type.rank)

    def inputs(self) -> Iterator[Array]:
        """The first operand of every sample that may be learned from, as integers leave it."""
        for i in range(self.learned):
            yield self._walk.operand(i)

    def errors(self, result: NodeResult) -> tuple[ChannelErrors, ChannelErrors]:
        """What the node's results are off by with these constants: to learn from, and to check on."""
        learned, checked = ChannelErrors(), ChannelErrors()
        for i, expected, actual in self._walk.evaluate(result):
            if i < self.learned:
                learned.add(expected, actual, self.axis)
            if i >= self.learned or not self.held_out:
                checked.add(expected, actual, self.axis)
        return learned, checked


@attrs.frozen(eq=False)
class Decision:
    """What becomes of a node.

    Attributes:
        result: how it is quantized.
        evaluated: the same, or with another bias: what was given to `Step.errors`.
        change: [C], what is added to the results of `evaluated`.
    """

    result: NodeResult
    evaluated: NodeResult
    change: Array | float = 0.0


Refine: TypeAlias = Callable[[Step], Decision]
"""What a node with an integer weight becomes."""


def walk(
    study: Study,
    results: Sequence[NodeResult],
    samples: Sequence[Mapping[str, Array]],
    held_out: int,
    refine: Refine,
) -> list[NodeResult]:
    """Show every quantized node with a constant weight to `refine`, in order; the results with what became of them.

    Args:
        study: the float model and what runs it.
        results: how its nodes are quantized.
        samples: feeds.
        held_out: how many of the last ones are not learned from.
        refine: what decides.
    """
    state = _Walk.start(study, results, samples)
    found: list[NodeResult] = []
    pending: list[Node] = []
    for node in study.module.main:
        result = state.by_node.get(node)
        if result is None or result.constants.weight is None or not is_read(node):
            pending.append(node)
            found += [] if result is None else [result]
            continue
        state.advance(pending, node)
        pending = []
        decision = refine(Step(result, len(samples) - held_out, held_out, state))
        state.settle(decision)
        found.append(decision.result)
    return found


# --------------------------------------------------------------------------------------------------------------- state
@attrs.define(eq=False)
class _Chosen:
    """The results of the node that was decided about last, which its users have not been given yet."""

    node: Node
    values: list[Place]
    change: Array | float


@attrs.define(eq=False)
class _Walk:
    """All runs, behind the last node that was decided about or in front of the next one's users.

    Attributes:
        by_node: how nodes are quantized.
        stored: activations that are integers for all their users, with their parameters.
        exact: of the float model, one for each sample.
        rounded: of the quantized model.
        store: where values are.
    """

    by_node: dict[Node, NodeResult]
    stored: dict[Tensor, Parameters]
    exact: list[ParkedRun]
    rounded: list[ParkedRun]
    store: Store
    _node: Node | None = None
    _operands: list[dict[int, Place]] = attrs.Factory(list["dict[int, Place]"])
    _expected: list[Place] = attrs.Factory(list[Place])
    _evaluated: list[tuple[NodeResult, list[Place]]] = attrs.Factory(list["tuple[NodeResult, list[Place]]"])
    _chosen: _Chosen | None = None

    @staticmethod
    def start(study: Study, results: Sequence[NodeResult], samples: Sequence[Mapping[str, Array]]) -> _Walk:
        """In front of the first node."""
        interpreter, store = study.run(study.module), Store()
        exact, rounded = ([ParkedRun(interpreter.start(s), store) for s in samples] for _ in range(2))
        for run in (*exact, *rounded):
            run.park(())
        return _Walk({r.node: r for r in results}, _stored(study, results), exact, rounded, store)

    def advance(self, nodes: Sequence[Node], last: Node) -> None:
        """Run all samples up to and with `last` in the float model, and up to it in the quantized one."""
        used = list(dict.fromkeys(t for node in (*nodes, last) for t in read_by(node)))
        chosen, self._chosen, self._node = self._chosen, None, last
        for i, (exact, rounded) in enumerate(zip(self.exact, self.rounded, strict=True)):
            exact.fetch(used)
            for _ in nodes:
                exact.run.advance()
            self._expected.append(self.store.put(exact.run.advance()[0]))
            exact.park(used)
            if chosen is not None:
                self._give(chosen, i)
            rounded.fetch(used)
            for node in nodes:
                self._run(node, rounded)
            self._operands.append(self._taken(self.by_node[last], rounded))
            rounded.run.skip([None])
            rounded.park(used)

    def _give(self, chosen: _Chosen, i: int) -> None:
        """Let the users of a node have its results in one sample."""
        value, tensor = self.store.get(chosen.values[i]), chosen.node.output
        self.store.free(chosen.values[i])
        if isinstance(chosen.change, np.ndarray):
            axis = channel_axis(chosen.node, value.ndim)
            shape = tuple(-1 if j == axis else 1 for j in range(value.ndim))
            value += chosen.change.reshape(shape).astype(value.dtype)
        parameters = self.stored.get(tensor)
        self.rounded[i].replace(tensor, value if parameters is None else parameters.rounded(value))

    def _run(self, node: Node, run: ParkedRun) -> None:
        """Run a node that nothing is decided about in the quantized model."""
        result = self.by_node.get(node)
        if result is None:
            run.run.advance()
            return
        run.run.advance(_activations(result, run.run) | result.constants.values(result.item))
        for tensor in node.outputs:
            parameters = self.stored.get(tensor)
            if parameters is not None and tensor.use_count:
                run.replace(tensor, parameters.rounded(run.run.value(tensor)))

    def _taken(self, result: NodeResult, run: ParkedRun) -> dict[int, Place]:
        """The operands of a node that are no constants, as integers leave them."""
        rounded = _activations(result, run.run)
        varying = {i: t for i, t in enumerate(result.node.inputs) if t is not None and not t.is_constant}
        return {i: self.store.put(rounded[i] if i in rounded else run.run.value(t)) for i, t in varying.items()}

    def operand(self, i: int) -> Array:
        """The first operand of the node in a sample."""
        return self.store.get(self._operands[i][0])

    def evaluate(self, result: NodeResult) -> Iterator[tuple[int, Array, Array]]:
        """The samples' numbers and the node's expected and actual results with these constants."""
        constants = result.constants.values(result.item)
        places: list[Place] = []
        self._evaluated.append((result, places))
        fixed: list[Array | None] = [None if t is None or not t.is_constant else t.numpy() for t in result.node.inputs]
        for i, taken in enumerate(self._operands):
            operands = list(fixed)
            for j, value in {**{j: self.store.get(place) for j, place in taken.items()}, **constants}.items():
                operands[j] = value
            with np.errstate(all="ignore"):
                actual = result.node.op.evaluate_all(operands)[0]
            places.append(self.store.put(actual))
            yield i, self.store.get(self._expected[i]), actual

    def settle(self, decision: Decision) -> None:
        """Let what was decided be what the node's users get."""
        assert self._node is not None
        for result, places in self._evaluated:
            if result is decision.evaluated:
                self._chosen = _Chosen(self._node, places, decision.change)
            else:
                self._free(places)
        for taken in self._operands:
            self._free(taken.values())
        self._free(self._expected)
        self._operands, self._expected, self._evaluated = [], [], []

    def _free(self, places: Iterable[Place]) -> None:
        for place in places:
            self.store.free(place)


def is_read(node: Node) -> bool:
    """Whether anything reads a node's first result."""
    return bool(node.output.use_count) or (node.graph is not None and node.output in node.graph.outputs)


def read_by(node: Node) -> list[Tensor]:
    """The values that a node reads, those that graphs in it capture included."""
    captured = [t for region in node.regions for t in region.captures()]
    return [t for t in (*node.inputs, *captured) if t is not None and not t.is_constant]


def _stored(study: Study, results: Sequence[NodeResult]) -> dict[Tensor, Parameters]:
    """Activations that are integers for all their users, with their parameters."""
    if study.scheme.placement != "all":
        return {}
    return {r.item.operand(i): p for r in results for i, p in r.activations.items()}


def _activations(result: NodeResult, run: Execution) -> dict[int, Array]:
    """The operands of a quantized node that are integers, as these leave them."""
    return {i: p.rounded(run.value(result.item.operand(i))) for i, p in result.activations.items()}
