"""Stages that make a quantized model better, each kept only when samples that it did not learn from say that it does.

They cost some more runs of the samples, which is why they are asked for (`effort = "high"`). The samples are two
halves: what is learned from one is judged on the other, ranges included, so that every sample has its say. What is kept
in the end is learned from all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from uair.ir.dtype import Array
from uair.ir.graph import Tensor
from uair.passes.quantization.bias import correct_biases
from uair.passes.quantization.choose import NodeResult, Settings
from uair.passes.quantization.equalise import Edits, apply_equalisations, propose_equalisations
from uair.passes.quantization.judging import Judge, Noise, Samples, Stage, StoredSample
from uair.passes.quantization.parking import Store
from uair.passes.quantization.placement import plan_quantization
from uair.passes.quantization.rounding import round_weights
from uair.passes.quantization.statistics import SpreadSamples, Statistics, collect_statistics, merged_observers
from uair.passes.quantization.trial import Ranges, Study, Trial, make_trial, ways_of
from uair.pipeline import PassContext
from uair.quant.observers import RangeObserver

Change: TypeAlias = "Callable[[Study, Sequence[NodeResult], Samples, int], list[NodeResult]]"
"""From samples, of which the last ones are held out, what becomes of the quantized nodes."""
Observers: TypeAlias = "Mapping[Tensor, RangeObserver]"

WHOLE = "minmax"
MOST_SAMPLES = 32
LEAST_SAMPLES = 8
HELD_OUT = 4
"""Every so manieth of the samples that are learned from only checks single nodes."""
CONVINCING = 0.9
"""The noise with equalisation, as a part of that without, at which it is made: the factors come from all samples, those
that judge them included."""
LEFT = 2
"""Ways of choosing ranges that all samples judge; half of the samples judge the others."""
HOPELESS = 1.15
"""Noise on one half, by that of the best way, from which on rounding is not tried on the other half."""


@attrs.define(eq=False)
class Half:
    """One half of the samples.

    Attributes:
        learning: numbers of the samples of the other half, those that check single nodes last.
        judging: of its own.
        observers: what the samples for learning showed.
    """

    learning: list[int]
    judging: list[int]
    observers: Observers


@attrs.define(eq=False)
class _Candidate:
    """A way to quantize the model.

    Attributes:
        study: of the model as it is, or equalised.
        ranges: how ranges are chosen.
        change: what then becomes of weights and biases; None: nothing.
        noise: without it having learned from the samples that judge it.
        changed: weights or biases that the change has changed.
    """

    study: Study
    ranges: Ranges
    change: Change | None
    noise: Noise
    changed: int = 0


@attrs.define(eq=False)
class _Rival:
    """The model as it is, or equalised: with ranges as they are, and with rounded weights."""

    plain: _Candidate
    rounded: _Candidate

    @property
    def rounding(self) -> Stage:
        return Stage("rounding", self.rounded.changed, self.plain.noise, self.rounded.noise)

    @property
    def best(self) -> _Candidate:
        return self.rounded if self.rounding.is_kept else self.plain


@attrs.define(eq=False)
class Refinement:
    """A study with the best way to quantize it so far.

    Attributes:
        study: the float model, with what was changed about it.
        trial: how it is quantized.
        samples: the calibration samples, to be read as often as needed.
        settings: the user's.
        skip: what the user keeps in float.
        context: draws fuel.
        maker: name of the pass, for the fuel.
        stages: what was tried.
        notes: what the user should know.
        kept: some of the samples, which all stages are tried on; filled by `run`.
    """

    study: Study
    trial: Trial
    samples: Iterable[Mapping[str, Array]]
    settings: Settings
    skip: Sequence[str]
    context: PassContext
    maker: str
    stages: list[Stage] = attrs.Factory(list[Stage])
    notes: list[str] = attrs.Factory(list[str])
    kept: Samples = ()
    _store: Store = attrs.Factory(Store)
    _known: Noise | None = None

    def run(self) -> None:
        """Try all stages."""
        spread = SpreadSamples(MOST_SAMPLES)
        for sample in self.samples:
            spread.offer(StoredSample(self._store, sample))
        if len(spread.kept) < LEAST_SAMPLES:
            self.notes.append(f"effort=high needs {LEAST_SAMPLES} samples or more, some of them to judge by: not done")
            return
        self.kept = spread.kept
        known = self.study
        best, edits = self._equalise()
        best = self._correct_biases(best)
        if best.change is None and best.study is known and best.ranges.name == self.trial.name:
            return
        found = self._final(best)
        if found is not None:
            self.study, self.trial = best.study, found
        elif edits is not None:
            edits.undo()

    def _final(self, best: _Candidate) -> Trial | None:
        """The best way, learned from all samples; None where it is not better on them than what there was before.

        How noisy a way is on other samples does not tell how noisy the very numbers are that it ends with: a step that
        is a little longer may make all roundings of a layer err to one side.
        """
        study = best.study
        trial = make_trial(study, self.settings, best.ranges)
        judge = Judge.of(study, self.kept, self._store)
        numbers = range(len(self.kept))
        plain, tried = trial.results, [trial.results]
        if best.change is not None:
            tried.insert(0, self._changed(study, plain, best.change, _ordered(numbers)))
        for results in tried:
            noise = Noise(tuple(judge.losses(study, results, numbers)))
            if self._known is None or Stage("all", 1, self._known, noise).is_kept:
                trial.results = results
                return trial
        self.notes.append("effort=high: what all samples taught together is no better on them, and was undone")
        return None

    # -------------------------------------------------------------------------------------------------------- stages
    def _equalise(self) -> tuple[_Candidate, Edits | None]:
        """The better one of the model as it is and with equalised channels, both with rounded weights; what undoes it.

        They are compared behind the rounding, because equalisation is what makes room for it. Whole ranges are tried as
        well behind it, because rounding and biases make up for much of what wide ranges cost.
        """
        study, module, scheme = self.study, self.study.module, self.study.scheme
        weights = scheme if self.settings.per_channel else attrs.evolve(scheme, per_channel=())
        found = propose_equalisations(study.plan, weights, study.run(module), self.kept)
        changes = [c for c in found if self.context.fuel.draw(self.maker, c.readers[0])]
        plain = self._rival(study, self.halves(study), whole=not changes, known=self.trial.name)
        if not changes:
            self.stages += [Stage("equalise", 0, plain.best.noise, plain.best.noise), plain.rounding]
            return plain.best, None
        edits = apply_equalisations(module.main, changes)
        return self._compare(plain, self._equalised(), len(changes), edits)

    def _equalised(self) -> _Rival:
        """What the equalised model, which the module now is, becomes."""
        plan = plan_quantization(self.study.module.main, self.study.scheme, self.skip)
        study = attrs.evolve(self.study, plan=plan)
        halves = self.halves(study)
        # Ranges are those of all samples, not only of the ones that are kept here.
        few = self.study.statistics.count <= len(self.kept)
        observers = merged_observers(half.observers for half in halves)
        kept = self.study.statistics.kept
        known = Statistics(observers, kept, self.study.statistics.count)
        study.statistics = known if few else collect_statistics(plan, study.run(study.module), self.samples)
        return self._rival(study, halves, whole=True)

    def _compare(self, plain: _Rival, equalised: _Rival, changes: int, edits: Edits) -> tuple[_Candidate, Edits | None]:
        """The better one, which the module is then, and what undoes it."""
        stage = Stage("equalise", changes, plain.best.noise, equalised.best.noise, CONVINCING)
        rival = equalised if stage.is_kept else plain
        self.stages += [stage, rival.rounding]
        if rival is equalised:
            return rival.best, edits
        edits.undo()
        return rival.best, None

    def _correct_biases(self, best: _Candidate) -> _Candidate:
        """With corrected biases where that helps; rounding has done it already."""
        stage, corrected = Stage("bias-correction", 0, best.noise, best.noise), best
        if best.change is None:
            judge = Judge.of(best.study, self.kept, self._store)
            corrected = self._judged(best.study, best.ranges, self.halves(best.study), judge, correct_biases)
            stage = Stage(stage.name, corrected.changed, best.noise, corrected.noise)
        self.stages.append(stage)
        return corrected if stage.is_kept else best

    # ------------------------------------------------------------------------------------------------------- judging
    def _rival(self, study: Study, halves: Sequence[Half], *, whole: bool, known: str = "") -> _Rival:
        """What the model becomes.

        Args:
            study: of the model.
            halves: of the samples.
            whole: whether rounding is also tried with whole ranges.
            known: name of the ranges that others must be better than; empty: the best ones are taken.
        """
        judge = Judge.of(study, self.kept, self._store)
        if known:
            self._known = Noise(tuple(judge.losses(study, self.trial.results, range(len(self.kept)))))
        plain = self.choose_ranges(study, halves, judge, known)
        ways = [plain.ranges]
        if whole and self.settings.method == "auto" and plain.ranges.name != WHOLE:
            ways.append(attrs.evolve(plain.ranges, name=WHOLE, methods=dict.fromkeys(plain.ranges.methods, WHOLE)))
        rounded = self._rounded(study, ways, halves, judge)
        judge.close()
        return _Rival(plain, rounded)

    def halves(self, study: Study) -> list[Half]:
        """Both halves, with what the model showed on the other one."""
        numbers = [list(range(i, len(self.kept), 2)) for i in (0, 1)]
        shown = [collect_statistics(study.plan, study.run(study.module), [self.kept[i] for i in n]) for n in numbers]
        return [Half(_ordered(numbers[1 - i]), numbers[i], shown[1 - i].observers) for i in (0, 1)]

    def choose_ranges(self, study: Study, halves: Sequence[Half], judge: Judge, known: str = "") -> _Candidate:
        """The best way to choose ranges.

        A range that the samples at hand made never shows what it does to others, which may leave it. So every half is
        judged with ranges of the other one. Ranges of both are what is used in the end: the greater noise counts.
        """
        ways = {way.name: way for way in ways_of(study, self.settings)}
        losses: dict[str, dict[int, float]] = {name: {} for name in ways}
        left = list(ways)
        for part in (0, 1):
            for half in halves:
                for name in left:
                    results = self._trial(study, ways[name], half).results
                    chosen = half.judging[part::2]
                    losses[name].update(zip(chosen, judge.losses(study, results, chosen), strict=True))
            left = sorted(left, key=lambda name: Noise(tuple(losses[name].values())).mean)[:LEFT]
            left += [known] if known in ways and known not in left else []
        noises: dict[str, Noise] = {}
        for name in left:
            results = make_trial(study, self.settings, ways[name]).results
            own = judge.losses(study, results, range(len(self.kept)))
            noises[name] = Noise(tuple(map(max, own, _in_order(losses[name]))))
        all_ = {name: Noise(tuple(found.values())).mean for name, found in losses.items()}
        best = min(noises, key=lambda name: noises[name].mean)
        if known in noises and not noises[best].is_better(noises[known]):
            best = known
        return _Candidate(study, attrs.evolve(ways[best], losses=all_), None, noises[best])

    def _rounded(self, study: Study, ways: Sequence[Ranges], halves: Sequence[Half], judge: Judge) -> _Candidate:
        """The best ranges for rounded weights, and the noise with these."""
        losses: list[dict[int, float]] = [{} for _ in ways]
        changed = [0 for _ in ways]
        left = list(range(len(ways)))
        for half in halves:
            for i in left:
                n, found = self._tried(study, ways[i], half, judge, round_weights)
                losses[i].update(found)
                changed[i] = max(changed[i], n)
            means = {i: Noise(tuple(losses[i].values())).mean for i in left}
            left = [i for i in left if means[i] <= HOPELESS * min(means.values())]
        best = min(left, key=lambda i: Noise(_in_order(losses[i])).mean)
        return _Candidate(study, ways[best], round_weights, Noise(_in_order(losses[best])), changed[best])

    def _judged(self, study: Study, ranges: Ranges, halves: Sequence[Half], judge: Judge, change: Change) -> _Candidate:
        """A change, judged on both halves."""
        parts = [self._tried(study, ranges, half, judge, change) for half in halves]
        losses = {i: loss for _, found in parts for i, loss in found.items()}
        return _Candidate(study, ranges, change, Noise(_in_order(losses)), max(n for n, _ in parts))

    def _tried(
        self, study: Study, ranges: Ranges, half: Half, judge: Judge, change: Change
    ) -> tuple[int, dict[int, float]]:
        """How many nodes a change changes that learns from one half, and the noise then on the other one's samples."""
        before = self._trial(study, ranges, half).results
        results = self._changed(study, before, change, half.learning)
        changed = sum(new is not old for new, old in zip(results, before, strict=True))
        return changed, dict(zip(half.judging, judge.losses(study, results, half.judging), strict=True))

    def _changed(
        self, study: Study, results: list[NodeResult], change: Change, learning: Sequence[int]
    ) -> list[NodeResult]:
        return change(study, results, [self.kept[i] for i in learning], len(learning) // HELD_OUT)

    def _trial(self, study: Study, ranges: Ranges, half: Half) -> Trial:
        """The model with ranges that the samples of a half did not make."""
        statistics = attrs.evolve(study.statistics, observers=dict(half.observers))
        return make_trial(attrs.evolve(study, statistics=statistics), self.settings, ranges)


def _ordered(numbers: Sequence[int]) -> list[int]:
    """The numbers with every `HELD_OUT`-th one behind the others."""
    held = list(numbers)[HELD_OUT - 1 :: HELD_OUT]
    return [i for i in numbers if i not in held] + held


def _in_order(losses: Mapping[int, float]) -> tuple[float, ...]:
    return tuple(losses[i] for i in sorted(losses))
