"""Running the float model over calibration samples: ranges of activations, and what quantization does to each node."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import attrs
import numpy as np

from uair.errors import UairError
from uair.ir.dtype import Array
from uair.ir.graph import Tensor
from uair.passes.quantization.placement import Plan, QuantizedNode
from uair.passes.quantization.used_range import UsedRange, used_ranges
from uair.quant.channel_range import ChannelRange
from uair.quant.errors import QuantizationError
from uair.quant.observers import RangeObserver
from uair.quant.parameters import Parameters
from uair.quant.reader import Sample

KEPT_SAMPLES = 8


class Execution(Protocol):
    """A run that goes on node by node: `uair.codegen.reference.interpreter.Execution`."""

    def value(self, tensor: Tensor) -> Any:
        """The value of a tensor that is a constant or still needed."""
        ...

    def fork(self) -> Execution:
        """A second run that stands at the same node; neither sees what the other does from here on."""
        ...

    def replace(self, tensor: Tensor, value: Any) -> None:
        """Let what comes use another value for a tensor."""
        ...

    def advance(self, replaced: Mapping[int, Any] | None = None) -> tuple[Any, ...]:
        """Run the next node, with other values for some of its operands if given; its results."""
        ...

    def go_on(self, count: int) -> None:
        """Run the next nodes, so many or all that there are."""
        ...


class Interpreter(Protocol):
    """What runs a module: `uair.codegen.reference.Interpreter`."""

    def run(
        self, feeds: Mapping[str, Any], *, observe: Callable[[Tensor, Array], None] | None = None
    ) -> dict[str, Array]:
        """The outputs; `observe` sees every input and every result in order."""
        ...

    def start(self, feeds: Mapping[str, Any], *, observe: Callable[[Tensor, Array], None] | None = None) -> Execution:
        """A run that stands in front of the first node; `observe` has seen the inputs, and sees what it goes on to."""
        ...


class SpreadSamples:
    """At most `limit` samples, spread evenly over all that come by."""

    def __init__(self, limit: int = KEPT_SAMPLES) -> None:
        self.limit = limit
        self.kept: list[Mapping[str, Array]] = []
        self._step = 1
        self._seen = 0

    def offer(self, sample: Mapping[str, Array]) -> None:
        """Keep every 2^k-th sample; when there are too many, every second of those goes and k grows."""
        if self.limit and self._seen % self._step == 0:
            self.kept.append(sample)
            if len(self.kept) > self.limit:
                self.kept = self.kept[::2]
                self._step *= 2
        self._seen += 1

    def passing(self, samples: Iterable[Mapping[str, Array]]) -> Iterator[Mapping[str, Array]]:
        """All samples, offered on their way."""
        for sample in samples:
            self.offer(sample)
            yield sample


@attrs.define(eq=False)
class Statistics:
    """What the calibration samples showed.

    Attributes:
        observers: by the tensor that stands for a group.
        kept: some of the samples.
        count: number of samples.
        channels: what all samples showed of the channels of the tensors that were asked for.
    """

    observers: dict[Tensor, RangeObserver]
    kept: list[Mapping[str, Array]]
    count: int
    channels: Mapping[Tensor, ChannelRange] = attrs.Factory(dict[Tensor, ChannelRange])


@attrs.frozen(eq=False)
class ChannelObserver:
    """Looks at the channels of some tensors while samples run.

    Attributes:
        axes: the axis of the channels of each wanted tensor.
        signals: those of which only the mean squares are wanted.
        found: what was seen.
    """

    axes: Mapping[Tensor, int] = attrs.Factory(dict[Tensor, int])
    signals: Collection[Tensor] = ()
    found: dict[Tensor, ChannelRange] = attrs.Factory(dict[Tensor, ChannelRange])

    def observe(self, tensor: Tensor, values: Array) -> None:
        """Take in a value of a sample, if it is wanted."""
        axis = self.axes.get(tensor)
        if axis is None:
            return
        if tensor not in self.found:
            self.found[tensor] = ChannelRange.empty(axis, values.shape[axis])
        if tensor in self.signals:
            self.found[tensor].observe_signal(values)
        else:
            self.found[tensor].observe(values)


Progress: TypeAlias = "Callable[[int], None]"
"""Is told how many samples are done."""


Watch: TypeAlias = "tuple[Tensor, UsedRange]"
"""A tensor, and the range beyond which its values count as the ends."""


def watches(plan: Plan) -> list[Watch]:
    """The tensors whose values decide parameters, each with the range that its group's users can tell apart."""
    used = used_ranges(plan)
    return [(tensor, used[plan.groups[tensor]]) for tensor in plan.observed()]


def observe_tensors(
    wanted: Iterable[Watch],
    interpreter: Interpreter,
    samples: Iterable[Mapping[str, Array]],
    *,
    optional: Collection[Watch] = (),
    channels: ChannelObserver | None = None,
    progress: Progress | None = None,
    whole: bool = True,
) -> tuple[dict[Watch, RangeObserver], int]:
    """Run all samples once; statistics of tensors, and the number of samples.

    Args:
        wanted: the tensors, each with the range beyond which values count as its ends.
        interpreter: runs the float model.
        samples: feeds.
        optional: more of them, which are left out when they are not finite.
        channels: also sees all values.
        progress: is told how far it is.
        whole: run the model to its end, as a first run should: what fails there is told before anything is decided.

    Raises:
        QuantizationError: a value that is wanted is NaN or infinite; UairError from a sample or from the interpreter.
    """
    observers = {watch: RangeObserver(display_name(watch[0])) for watch in (*wanted, *optional)}
    seen = channels or ChannelObserver()
    by_tensor: dict[Tensor, list[Watch]] = {}
    for watch in observers:
        by_tensor.setdefault(watch[0], []).append(watch)
    count = 0
    faulty: list[tuple[Tensor, Array]] = []

    def observe(tensor: Tensor, values: Array) -> None:
        for watch in by_tensor.get(tensor, ()):
            if watch not in observers:
                continue
            try:
                observers[watch].observe(values, *watch[1])
            except QuantizationError:
                if watch not in optional:
                    faulty.append((tensor, values))
                    raise
                del observers[watch]
        seen.observe(tensor, values)

    wanted_tensors = {*by_tensor, *seen.axes}
    for sample in samples:
        try:
            run_until(interpreter, sample, None if whole else wanted_tensors, observe)
        except UairError as error:
            known = sample.place if isinstance(sample, Sample) else f"calibration sample {count}"
            error.place = error.place or known
            error.message += "".join(f"; {_where_it_arises(interpreter, sample, *each)}" for each in faulty)
            raise
        count += 1
        if progress is not None:
            progress(count)
    return observers, count


def _where_it_arises(interpreter: Interpreter, sample: Mapping[str, Array], tensor: Tensor, values: Array) -> str:
    """The node that a NaN of a tensor, or an infinity when it has none, goes back to in the run of a sample, in words.

    It is followed up the graph as long as an operand has such values, too.
    """
    kind, name = (np.isnan, "NaN") if np.isnan(values).any() else (np.isinf, "an infinity")
    bad: dict[Tensor, str] = {}

    def look(tensor: Tensor, values: Array) -> None:
        wrong = kind(values) if tensor.type.dtype.is_float and not tensor.type.containers else np.zeros(0)
        if wrong.any():
            at = ", ".join(map(str, np.argwhere(wrong)[0].tolist()))
            bad[tensor] = f"{name} at [{at}], {int(wrong.sum())} of {wrong.size} values"

    look(tensor, values)
    if tensor.producer is not None:
        run_until(interpreter, sample, {tensor}, look)
    while (node := tensor.producer) is not None and (above := next((t for t in node.inputs if t in bad), None)):
        tensor = above
    if node is None:
        return f"input {display_name(tensor)!r} holds {bad[tensor]}"
    return f"it arises in {node.op_type} {display_name(tensor)!r}, from {node.loc}: {bad[tensor]}"


def group_observers(plan: Plan, observers: Mapping[Watch, RangeObserver]) -> dict[Tensor, RangeObserver]:
    """What the tensors of each group showed together, by the one that stands for the group."""
    found = {root: RangeObserver(display_name(root)) for root in plan.groups.values()}
    for watch in watches(plan):
        found[plan.groups[watch[0]]].merge(observers[watch])
    return found


def merged_observers(parts: Iterable[Mapping[Tensor, RangeObserver]]) -> dict[Tensor, RangeObserver]:
    """What several sets of samples showed together."""
    found: dict[Tensor, RangeObserver] = {}
    for part in parts:
        for root, observer in part.items():
            found.setdefault(root, RangeObserver(observer.name)).merge(observer)
    return found


def collect_statistics(
    plan: Plan,
    interpreter: Interpreter,
    samples: Iterable[Mapping[str, Array]],
    progress: Progress | None = None,
    axes: Mapping[Tensor, int] | None = None,
) -> Statistics:
    """Run all samples once. Values that the users of a tensor cannot tell apart count as the nearest one that they can.

    Of tensors in `axes`, with the axis of the channels, those that no node of the plan reads show signals only.

    Raises:
        QuantizationError: an activation is NaN or infinite; UairError from a sample or from the interpreter.
    """
    read = {item.operand(i) for item in plan.nodes for i in item.activations}
    signals = {tensor for tensor in axes or {} if tensor not in read}
    spread, channels = SpreadSamples(), ChannelObserver(axes or {}, signals)
    observers, count = observe_tensors(
        watches(plan), interpreter, spread.passing(samples), channels=channels, progress=progress
    )
    return Statistics(group_observers(plan, observers), spread.kept, count, channels.found)


def display_name(tensor: Tensor) -> str:
    """A name of a tensor for people."""
    if tensor.name:
        return tensor.name
    return (tensor.producer.name or tensor.producer.op_type) if tensor.producer is not None else "?"


def run_until(
    interpreter: Interpreter,
    feeds: Mapping[str, Any],
    wanted: Collection[Tensor] | None,
    observe: Callable[[Tensor, Array], None],
) -> None:
    """Run one sample as far as the last of some tensors of one graph, and show `observe` every value on the way.

    What is behind them is not computed: of a model's tail nobody may want anything. With None the run is whole.
    """
    if wanted is None:
        interpreter.run(feeds, observe=observe)
        return
    interpreter.start(feeds, observe=observe).go_on(_nodes_up_to(wanted))


def _nodes_up_to(tensors: Collection[Tensor]) -> int:
    """How many nodes of the graph must run for tensors of it to be there."""
    producers = {t.producer for t in tensors if t.producer is not None}
    graph = next((node.graph for node in producers), None)
    return max((i for i, node in enumerate(graph or (), 1) if node in producers), default=0)


def comparable(expected: Array, actual: Array) -> tuple[Array, Array]:
    """Both arrays in f64, 0 where both hold the same infinity or NaN; elsewhere such values differ by infinity."""
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    if not finite.all():
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        a = np.where(finite, a, 0.0)
        b = np.where(finite, b, np.where(same, 0.0, np.inf))
    return a, b


@attrs.define(eq=False)
class Comparison:
    """Sums for the signal-to-noise ratio and the cosine of a node's result over samples."""

    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    energy: float = 0.0

    def add(self, expected: Array, actual: Array) -> None:
        """Take in one sample's result."""
        a, b = expected.reshape(-1), actual.reshape(-1)
        if a.dtype != np.float32 or b.dtype != np.float32 or not math.isfinite(float(a @ a) + float(b @ b)):
            a, b = comparable(a, b)
        difference = a - b
        self.signal += float(a @ a)
        self.noise += float(difference @ difference)
        self.product += float(a @ b)
        self.energy += float(b @ b)

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the results; 1 when both are 0."""
        norm = (self.signal * self.energy) ** 0.5
        return self.product / norm if norm else float(self.signal == self.energy)


def rounded_operands(
    item: QuantizedNode,
    operands: list[Array | None],
    activations: Mapping[int, Parameters],
    constants: Mapping[int, Array],
) -> list[Array | None]:
    """Operands as integers would leave them: activations rounded, constants replaced."""
    result = list(operands)
    for i, parameters in activations.items():
        value = result[i]
        assert value is not None
        result[i] = parameters.rounded(value)
    for i, array in constants.items():
        result[i] = array
    return result
