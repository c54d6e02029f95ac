"""Trying whole quantizations on some of the samples, and measuring what they do to nodes and to the model's outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import attrs
import numpy as np

from uair.ir.dims import symbols_of
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module
from uair.passes.quantization.choose import (
    METHODS,
    NodeResult,
    Options,
    Settings,
    WeightCache,
    cached_weight,
    quantize_nodes,
    range_options,
)
from uair.passes.quantization.insert import Inserter
from uair.passes.quantization.parking import SMALL, Place, Store, Stored
from uair.passes.quantization.placement import Plan
from uair.passes.quantization.statistics import Interpreter, Statistics, Watch, comparable, display_name, run_until
from uair.passes.quantization.used_range import UsedRange
from uair.passes.quantization.weight_rounding import RoundedWeight, SeenInputs
from uair.quant.comparison import AT_ONCE, FLOOR, ErrorSums, OutputErrors
from uair.quant.errors import QuantizationError
from uair.quant.observers import RangeObserver
from uair.quant.scheme import COMPUTE, Scheme

SATURATING = ("Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid")
"""Functions whose results hide errors: where one ends the model, its operand is compared."""
ROUNDS = ((0, 4, 4.0), (2, 4, 2.0), (1, 4, 1.5), (3, 4, 1.0))
"""Parts of the kept samples that are run one after the other by the ways that are left: first sample, step, and how
many times as noisy as the best one a way may be for the parts that come. Two samples say little of outputs of few
numbers: on those of a text direction the best way of eight was 2.3 times as noisy as another. In 70 drawn sets of six
models all eight samples choose the same in 67; 3, 2 and 1.5 lose two more."""
JUDGED_WEIGHTS = (1, 3)
"""The samples from these on, with a step of 4, decide whether the weights stay as they were rounded: the first ones
alone where the nearest integers are no better there."""
CLEARLY_BETTER = 2.0
"""How many times less noisy the outputs must be with the nearest integers on these samples: each layer's weights were
judged on samples of their own, and four samples are wrong about the outputs by up to 2.5 dB. With the fitted weights of
three models the features of 200 to 500 other images were better in 35 of 36 cases; the four samples denied 11."""
OUTPUTS_SEEN = (2, 4)
"""The kept samples on which the model's outputs are looked at, too: the first one, and the step."""
FEW_NUMBERS = 256
"""An output of at most so many numbers is judged together with what it is computed from."""


@attrs.define(eq=False)
class Trial:
    """One way to quantize the model.

    Attributes:
        name: how its ranges were chosen.
        results: the quantized nodes.
        failed: nodes that could not be quantized, with the reason.
        losses: noise by signal at the outputs of all ways that were tried, by name; empty when only one was.
        rounding: "fitted" to what rounding does to the results of the layers, or "nearest" to the model's own.
        outputs: errors of the model's outputs on the samples of `OUTPUTS_SEEN`, by name; empty where it did not run
            them.
    """

    name: str = ""
    results: list[NodeResult] = attrs.Factory(list[NodeResult])
    failed: list[tuple[Node, str]] = attrs.Factory(list["tuple[Node, str]"])
    losses: dict[str, float] = attrs.Factory(dict[str, float])
    rounding: Literal["fitted", "nearest"] = "nearest"
    outputs: dict[str, OutputErrors] = attrs.Factory(dict[str, OutputErrors])


@attrs.define(eq=False)
class Study:
    """The float model with its plan and statistics, and what runs it.

    Attributes:
        module: the float model; not changed.
        plan: what is quantized.
        statistics: of the calibration samples.
        scheme: the target's.
        run: class of the interpreter.
        weights: integers of the weights, filled by `survey`; shared by all trials.
        unseen: tensors that the statistics lack, seen by `survey` on the kept samples.
    """

    module: Module
    plan: Plan
    statistics: Statistics
    scheme: Scheme
    run: Callable[[Module], Interpreter]
    weights: WeightCache = attrs.Factory(WeightCache)
    unseen: Sequence[Watch] = ()

    @contextmanager
    def quantized_copy(self, results: list[NodeResult]) -> Generator[tuple[Module, dict[Tensor, Tensor]]]:
        """A quantized copy of the model, and the copies of the float model's results, for as long as it is needed."""
        copy = self.module.clone()
        try:
            yield copy, self._quantize(copy, results)
        finally:
            copy.dissolve()

    def _quantize(self, copy: Module, results: list[NodeResult]) -> dict[Tensor, Tensor]:
        """Quantize a copy of the model; the copies of the model's results."""
        nodes = dict(zip(self.module.main, copy.main, strict=True))
        tensors = {a: b for node, twin in nodes.items() for a, b in zip(node.outputs, twin.outputs, strict=True)}
        plan = Plan(nodes=[attrs.evolve(result.item, node=nodes[result.node]) for result in results])
        inserter = Inserter.of(copy.main, plan, self.scheme)
        for result in results:
            item = attrs.evolve(result.item, node=nodes[result.node])
            inserter.quantize(item, result.activations, result.constants)
        inserter.connect_float_users()
        return tensors

    def on(self, samples: list[Mapping[str, Array]]) -> Study:
        """The same with other samples kept."""
        return attrs.evolve(self, statistics=attrs.evolve(self.statistics, kept=samples))

    def loss(self, results: list[NodeResult], reference: Sequence[Mapping[Tensor, Array]]) -> float:
        """Noise by signal where it counts, see `references`; the mean over channels and tensors."""
        energies = _no_energies(reference[0])
        for expected, actual in zip(reference, self._watch(results, reference), strict=True):
            _add_sample(energies, expected, actual)
        return mean_loss(energies)

    def losses(self, results: list[NodeResult], reference: Sequence[Mapping[Tensor, Array]]) -> list[float]:
        """The same for every kept sample alone."""
        found: list[float] = []
        for expected, actual in zip(reference, self._watch(results, reference), strict=True):
            energies = _no_energies(expected)
            _add_sample(energies, expected, actual)
            found.append(mean_loss(energies))
        return found

    def _watch(
        self, results: list[NodeResult], reference: Sequence[Mapping[Tensor, Array]]
    ) -> Iterator[dict[Tensor, Array]]:
        """For every kept sample the values that the tensors of `reference` have in the quantized model."""
        with self.quantized_copy(results) as (copy, tensors):
            watched = {tensors[t]: t for t in reference[0]}
            interpreter = self.run(copy)
            for sample in self.statistics.kept:
                yield _watched(interpreter, sample, watched)

    def references(self) -> list[dict[Tensor, Array]]:
        """Values of the tensors that are compared in the float model, for every kept sample.

        See `compared_tensors`: noise in a handful of numbers is an accident.
        """
        wanted = compared_tensors(self.module.main)
        result: list[dict[Tensor, Array]] = []
        interpreter = self.run(self.module)
        for sample in self.statistics.kept:
            found: dict[Tensor, Array] = {}

            def observe(tensor: Tensor, values: Array, found: dict[Tensor, Array] = found) -> None:
                if tensor in wanted:
                    found[tensor] = values

            run_until(interpreter, sample, wanted, observe)
            result.append(found)
        return result


@attrs.define(eq=False)
class KeptJudge:
    """Measures quantizations on kept samples, by their numbers; no sample runs twice through the same model.

    What the float model computes is seen while it runs for something else; it lies in a temporary file where it is
    large.

    Attributes:
        study: the float model and what runs it.
        shows_outputs: whether errors of the model's outputs are wanted, too.
        wanted: the tensors that are compared.
        outputs: the outputs whose errors are wanted on the samples of `OUTPUTS_SEEN`, by name.
    """

    study: Study
    shows_outputs: bool = False
    outputs: Mapping[str, Tensor] = attrs.field(init=False)
    wanted: Collection[Tensor] = attrs.field(init=False)
    _store: Store = attrs.field(init=False, factory=Store)
    _expected: dict[int, dict[Tensor, Array | Place]] = attrs.field(init=False, factory=dict)
    _known: list[_Known] = attrs.field(init=False, factory=list)
    _copy: ExitStack = attrs.field(init=False, factory=ExitStack)
    _running: tuple[list[NodeResult], Interpreter, dict[Tensor, Tensor]] | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        graph = self.study.module.main
        self.wanted = compared_tensors(graph)
        found = measured_outputs(graph) if self.shows_outputs else {}
        self.outputs = {name: tensor for name, tensor in found.items() if tensor.producer is not None}

    def numbers(self, start: int, step: int) -> range:
        """Of every `step`-th kept sample."""
        return range(start, len(self.study.statistics.kept), step)

    def seen(self, number: int) -> Collection[Tensor]:
        """What `see` is to be told of a sample."""
        start, step = OUTPUTS_SEEN
        is_shown = number >= start and (number - start) % step == 0
        return dict.fromkeys((*self.wanted, *self.outputs.values())) if is_shown else self.wanted

    def see(self, number: int, tensor: Tensor, values: Array) -> None:
        """Take in what the float model computes for a tensor that is compared."""
        place = self._store.put(values) if values.nbytes > SMALL else values.copy()
        self._expected.setdefault(number, {})[tensor] = place

    def energies(self, results: list[NodeResult], numbers: range) -> dict[Tensor, Energies]:
        """Signal and noise of every tensor over some of the samples."""
        for known in self._known:
            if known.results is results and known.numbers == numbers:
                return known.energies
        interpreter, twins = self._quantized(results)
        found, errors = _no_energies(self.wanted), dict[str, OutputErrors]()
        for number in numbers:
            expected = Stored(self._store, self._reference(number))
            watched = {twins[t]: t for t in self.seen(number)}
            actual = _watched(interpreter, self.study.statistics.kept[number], watched)
            _add_sample(found, expected, {t: actual[t] for t in self.wanted})
            for name, tensor in self.outputs.items():
                if tensor in actual:
                    errors.setdefault(name, OutputErrors(name)).add(expected[tensor], actual[tensor])
        self._known.append(_Known(results, numbers, found, errors))
        return found

    def output_errors(self, results: list[NodeResult]) -> dict[str, OutputErrors]:
        """Errors of the outputs on the samples of `OUTPUTS_SEEN`; empty where these results did not run them."""
        numbers = self.numbers(*OUTPUTS_SEEN)
        found = (known.errors for known in self._known if known.results is results and known.numbers == numbers)
        return next(found, {})

    def close(self) -> None:
        """Let go of the quantized model that ran last."""
        self._running = None
        self._copy.close()

    def _quantized(self, results: list[NodeResult]) -> tuple[Interpreter, dict[Tensor, Tensor]]:
        """What runs the quantized model, and its tensors by the model's; it stays until another one is asked for."""
        if self._running is None or self._running[0] is not results:
            self.close()
            copy, tensors = self._copy.enter_context(self.study.quantized_copy(results))
            self._running = results, self.study.run(copy), tensors
        return self._running[1:]

    def _reference(self, number: int) -> Mapping[Tensor, Array | Place]:
        if number not in self._expected:
            seen = self.seen(number)
            sample = self.study.statistics.kept[number]
            for tensor, values in _watched(self.study.run(self.study.module), sample, {t: t for t in seen}).items():
                self.see(number, tensor, values)
        return self._expected[number]


@attrs.frozen(eq=False)
class _Known:
    """What a quantization did to some of the samples."""

    results: list[NodeResult]
    numbers: range
    energies: dict[Tensor, Energies]
    errors: dict[str, OutputErrors]


def choose_trial(study: Study, settings: Settings, *, shows_outputs: bool = False) -> Trial:
    """Decide all parameters. With "auto", the whole model is tried under each way of choosing ranges.

    The one with the least noise by signal at the model's outputs wins; with `shows_outputs` it knows what errors the
    outputs had.
    """
    judge = KeptJudge(study, shows_outputs)
    try:
        return _chosen(judge, settings)
    finally:
        judge.close()


def _chosen(judge: KeptJudge, settings: Settings) -> Trial:
    study = judge.study
    survey(study, settings, judge)
    options, refused = range_options(study.statistics, study.scheme, settings, study.plan.symmetric)
    ways = _ways(settings, options)
    if not judge.wanted:
        ways = ways[:1]
    trials = {way: _trial(study, settings, way, options, refused) for way in ways}
    best, losses = ways[0], dict[str, float]()
    if len(trials) > 1:
        losses = compare(judge, {way: trial.results for way, trial in trials.items()})
        best = min(ways, key=lambda way: losses[way])
    trial = _with_better_weights(judge, trials[best], lambda other: _trial(other, settings, best, options, refused))
    trial.losses = losses
    trial.outputs = judge.output_errors(trial.results)
    return trial


def _with_better_weights(judge: KeptJudge, fitted: Trial, make: Callable[[Study], Trial]) -> Trial:
    """The trial, or the same with all weights rounded to the nearest where the outputs are clearly better then."""
    study = judge.study
    if not any(r.shift is not None or r.is_fitted for r in study.weights.values()):
        return fitted
    fitted.rounding = "fitted"
    parts = [part for part in (judge.numbers(start, 4) for start in JUDGED_WEIGHTS) if part]
    if not parts or not judge.wanted:
        return fitted
    limit = study.scheme.weight_limit
    store, nearest = Store(), dict[Tensor, RoundedWeight]()
    for tensor, rounded in study.weights.items():
        if rounded.is_fitted:
            nearest[tensor] = RoundedWeight.nearest(tensor.numpy(), rounded.parameters, limit).parked(store)
            _let_go(tensor)
        else:
            nearest[tensor] = attrs.evolve(rounded, shift=None)
    plain = make(attrs.evolve(study, weights=nearest))
    before, after = dict[Tensor, Energies](), dict[Tensor, Energies]()
    for number, part in enumerate(parts, 1):
        for sums, trial in ((before, fitted), (after, plain)):
            _merge(sums, judge.energies(trial.results, part))
        times = CLEARLY_BETTER if number == len(parts) else 1.0
        if mean_loss(after) * times >= mean_loss(before):
            return fitted
    study.weights.update(nearest)
    return plain


def _let_go(weight: Tensor) -> None:
    """The numbers of a weight were read for now: those of a mapped file need not stay in memory."""
    if weight.data is not None:
        weight.data.release()


def trials_of(study: Study, settings: Settings) -> dict[str, Trial]:
    """A trial for every way of choosing ranges, by the way's name, without a comparison."""
    survey(study, settings)
    options, refused = range_options(study.statistics, study.scheme, settings, study.plan.symmetric)
    return {way: _trial(study, settings, way, options, refused) for way in _ways(settings, options)}


def survey(study: Study, settings: Settings, judge: KeptJudge | None = None) -> None:
    """One run of the kept samples through the float model, for all that is to be known of it.

    `study.weights` is filled, and the statistics with what was unseen; `judge` sees what it will compare with.
    """
    seen = SeenInputs(study.plan if settings.weight_rounding else Plan(), study.weights)
    if study.unseen or seen.readers:
        _look(study, seen, judge)
    weighted = [(item.operand(item.weight), item) for item in study.plan.nodes if item.weight is not None]
    store = Store()
    # The largest come first: what smaller ones leave behind in memory has no room for them.
    for weight, item in sorted(weighted, key=lambda each: each[0].type.size, reverse=True):
        if weight not in study.weights:
            try:
                nearest = cached_weight(item, study.scheme, settings, study.weights)
            except QuantizationError:
                continue  # quantize_nodes meets it again, and reports it
            study.weights[weight] = seen.rounded(item, nearest, study.scheme.weight_limit).parked(store)
            _let_go(weight)


def _look(study: Study, seen: SeenInputs, judge: KeptJudge | None) -> None:
    """The run of `survey`."""
    observers: dict[Tensor, list[tuple[RangeObserver, UsedRange]]] = {}
    for tensor, used in study.unseen:
        name, root = display_name(tensor), study.plan.groups[tensor]
        observer = study.statistics.observers.setdefault(root, RangeObserver(name))
        observers.setdefault(tensor, []).append((observer, used))
    interpreter = study.run(study.module)
    for number, sample in enumerate(study.statistics.kept):
        compared: Collection[Tensor] = () if judge is None else judge.seen(number)

        def observe(
            tensor: Tensor, values: Array, number: int = number, compared: Collection[Tensor] = compared
        ) -> None:
            for observer, used in observers.get(tensor, ()):
                observer.observe(values, *used)
            for node in seen.readers.get(tensor, ()):
                seen.see(number, node, values)
            if judge is not None and tensor in compared:
                judge.see(number, tensor, values)

        run_until(interpreter, sample, {*observers, *seen.readers, *compared}, observe)
    study.unseen = ()


def _ways(settings: Settings, options: Options) -> tuple[str, ...]:
    """The ways of choosing ranges that are tried; one where nothing depends on them."""
    if settings.method != "auto":
        return (settings.method,)
    return METHODS if options else METHODS[:1]


def compare(judge: KeptJudge, trials: Mapping[str, list[NodeResult]]) -> dict[str, float]:
    """Noise by signal of several quantizations over the kept samples, by name.

    What is far noisier than the best on some of the samples does not run the others: its noise is taken to stay as many
    times as great. Where only one is left, that one does not run them either.
    """
    left, sums = dict(trials), {name: dict[Tensor, Energies]() for name in trials}
    far: dict[str, float] = {}
    losses = dict.fromkeys(trials, 0.0)
    for start, step, far_from in ROUNDS:
        part = judge.numbers(start, step)
        if len(left) < 2 or not part:
            break
        for name, results in left.items():
            _merge(sums[name], judge.energies(results, part))
        losses = {name: mean_loss(sums[name]) for name in left}
        least = min(losses.values())
        far |= {name: loss / least for name, loss in losses.items() if loss > far_from * least > 0}
        # The other way round: the one that ran last is there still.
        left = {name: left[name] for name in reversed(left) if name not in far}
    return {name: far[name] * min(losses.values()) if name in far else losses[name] for name in trials}


def _trial(
    study: Study,
    settings: Settings,
    way: str,
    options: Options,
    refused: Mapping[Tensor, str],
) -> Trial:
    """All parameters, with ranges chosen in one way."""
    chosen = {root: (found[way], way) for root, found in options.items()}
    results, failed = quantize_nodes(study.plan, chosen, refused, study.scheme, settings=settings, cache=study.weights)
    return Trial(way, results, failed)


@attrs.define(eq=False)
class Energies:
    """Signal and noise of a tensor over samples, per channel (axis 1) or of the whole."""

    per_channel: bool
    signal: Array | float = 0.0
    noise: Array | float = 0.0

    def add(self, expected: Array, actual: Array) -> None:
        """Take in one sample, some channels or elements at a time: in f64 they are as large as all that a run holds."""
        sums = [self._sums(a, b) for a, b in self._pieces(expected, actual)]
        signal, noise = zip(*sums, strict=True)
        self.signal = self.signal + (np.concatenate(signal) if self.per_channel else sum(signal))
        self.noise = self.noise + (np.concatenate(noise) if self.per_channel else sum(noise))

    def _pieces(self, expected: Array, actual: Array) -> Iterator[tuple[Array, Array]]:
        """The two by parts: of the channels, or of all elements."""
        if self.per_channel:
            step = max(AT_ONCE * expected.shape[1] // max(expected.size, 1), 1)
            for start in range(0, max(expected.shape[1], 1), step):
                yield expected[:, start : start + step], actual[:, start : start + step]
        else:
            a, b = expected.reshape(-1), actual.reshape(-1)
            for start in range(0, max(a.size, 1), AT_ONCE):
                yield a[start : start + AT_ONCE], b[start : start + AT_ONCE]

    def _sums(self, expected: Array, actual: Array) -> tuple[Any, Any]:
        """Of squares, of what is expected and of the differences."""
        a, b = comparable(expected, actual)
        axes = tuple(i for i in range(a.ndim) if i != 1) if self.per_channel else None
        return np.square(a).sum(axis=axes), np.square(a - b).sum(axis=axes)

    def merge(self, other: Energies) -> None:
        """Take in what was summed over other samples."""
        self.signal, self.noise = self.signal + other.signal, self.noise + other.noise

    def loss(self) -> float:
        """Mean over the channels of noise by signal."""
        return float(np.mean(self.noise / (self.signal + FLOOR * np.mean(self.signal) + 1e-30)))


def mean_loss(energies: Mapping[Tensor, Energies]) -> float:
    """The mean over tensors of noise by signal; 0 of none."""
    return float(np.mean([e.loss() for e in energies.values()])) if energies else 0.0


def _merge(sums: dict[Tensor, Energies], found: Mapping[Tensor, Energies]) -> None:
    """Let sums take in what was found on other samples."""
    for tensor, energies in found.items():
        sums.setdefault(tensor, Energies(energies.per_channel)).merge(energies)


def _watched(
    interpreter: Interpreter, sample: Mapping[str, Array], watched: Mapping[Tensor, Tensor]
) -> dict[Tensor, Array]:
    """The values on a sample, by what the watched tensors stand for."""
    found: dict[Tensor, Array] = {}

    def observe(tensor: Tensor, values: Array) -> None:
        original = watched.get(tensor)
        if original is not None:
            found[original] = values

    run_until(interpreter, sample, watched, observe)
    return found


def _no_energies(tensors: Iterable[Tensor]) -> dict[Tensor, Energies]:
    return {t: Energies(has_channels(t)) for t in tensors}


def _add_sample(
    energies: Mapping[Tensor, Energies], expected: Mapping[Tensor, Array], actual: Mapping[Tensor, Array]
) -> None:
    """Let energies take in what tensors are on one more sample."""
    for tensor, values in actual.items():
        energies[tensor].add(expected[tensor], values)


def compare_outputs(
    module: Module, quantized: Module, samples: Iterable[Mapping[str, Array]], run: Callable[[Module], Interpreter]
) -> dict[str, ErrorSums]:
    """The floating-point outputs of two modules.

    Outputs whose size depends on the data, and sequences, are left out: they need not fit together.
    """
    graph, comparisons = module.main, dict[str, ErrorSums]()
    names = [n for n, t in zip(graph.output_names, graph.outputs, strict=True) if is_comparable(t, graph)]
    exact, rounded = run(module), run(quantized)
    for sample in samples:
        actual, expected = rounded.run(sample), exact.run(sample)
        for name in names:
            if expected[name].dtype.kind == "f":
                comparisons.setdefault(name, ErrorSums()).add(expected[name], actual[name])
    return comparisons


def measured_outputs(graph: Graph) -> dict[str, Tensor]:
    """The floating-point outputs that a quantized model can be compared in, by name.

    Outputs whose size depends on the data, and sequences, are left out: they need not fit together.
    """
    named = zip(graph.output_names, graph.outputs, strict=True)
    return {name: tensor for name, tensor in named if is_comparable(tensor, graph) and tensor.type.dtype.is_float}


def has_channels(tensor: Tensor) -> bool:
    """Whether axis 1 of a tensor is channels: there is an axis behind it, and its extent is the same in every run."""
    dims = tensor.type.dims
    return len(dims) > 2 and isinstance(dims[1], int)


def is_comparable(tensor: Tensor, graph: Graph) -> bool:
    """Whether a value of the graph has the same size in the float and in the quantized model: the inputs decide it."""
    known = {name for t in graph.inputs for name in symbols_of(t.type.shape or ())}
    t = tensor.type
    return t.is_tensor and t.shape is not None and known.issuperset(symbols_of(t.shape))


def decisive_tensors(graph: Graph) -> list[Tensor]:
    """What quantizations are compared by: the floating-point outputs, before a final softmax or sigmoid.

    In the place of an output that is no tensor, or whose size depends on the data, stands what it is computed from:
    the boxes and scores in front of a suppression.
    """
    found: dict[Tensor, None] = {}
    pending = [_unsaturated(tensor) for tensor in reversed(graph.outputs)]
    seen: set[Tensor] = set()
    while pending:
        tensor = pending.pop()
        producer = tensor.producer
        if producer is None or tensor in seen:
            continue
        seen.add(tensor)
        if not is_comparable(tensor, graph):
            captured = [t for region in producer.regions for t in region.captures()]
            pending.extend(reversed([*(t for t in producer.inputs if t is not None), *captured]))
        elif tensor.type.dtype.is_float:
            found[tensor] = None
    return list(found)


def compared_tensors(graph: Graph) -> list[Tensor]:
    """The decisive tensors, and for those of few numbers the features that they are computed from."""
    return list(dict.fromkeys(t for each in decisive_tensors(graph) for t in (each, *_features(each))))


def _features(tensor: Tensor) -> tuple[Tensor, ...]:
    """Of a tensor of few numbers, the operand of the operator with a weight that it comes from; else nothing."""
    if not all(isinstance(d, int) for d in tensor.type.dims) or tensor.type.size > FEW_NUMBERS:
        return ()
    node = tensor.producer
    while node is not None and node.op_type not in COMPUTE and len(node.outputs) == 1 and node.inputs:
        node = None if node.inputs[0] is None else node.inputs[0].producer
    operand = node.inputs[0] if node is not None and node.op_type in COMPUTE else None
    is_value = operand is not None and operand.producer is not None and not operand.is_constant
    return (operand,) if operand is not None and is_value and operand.type.dtype.is_float else ()


def _unsaturated(tensor: Tensor) -> Tensor:
    """The operand of the final softmax or sigmoid that gives `tensor`; `tensor` itself without one."""
    producer = tensor.producer
    if producer is not None and producer.op_type in SATURATING and producer.inputs[0] is not None:
        return producer.inputs[0]
    return tensor
