"""Stages that make a quantized model better, each judged by samples that it did not learn from.

They cost some more runs of the samples, which is why they are asked for (`effort = "high"`). What the default makes of
all samples is where they start, and what stays unless another is better. The samples are four parts: what three of
them teach (ranges, factors of channels, scales, biases, by the default's own procedure and by that of a stage) is
judged on the fourth, four times, so that every sample has its say. What is kept in the end is learned from all of them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence

import attrs

from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.ops.gradients.base import NoGradientError
from uair.passes.quantization.choose import NodeResult, Settings
from uair.passes.quantization.equalise import Edits, Equalisation, apply_equalisations, propose_equalisations
from uair.passes.quantization.judging import Judge, Noise, Samples, Stage, StoredSample
from uair.passes.quantization.parking import Store
from uair.passes.quantization.placement import Plan, plan_quantization
from uair.passes.quantization.statistics import SpreadSamples, collect_statistics
from uair.passes.quantization.trial import Study, Trial, trials_of
from uair.passes.quantization.tuning import MakeDifferentiator, tune
from uair.pipeline import PassContext

MOST_SAMPLES = 32
LEAST_SAMPLES = 8
FAR = 3.0
"""How many times as noisy as the best way of choosing ranges a way may be on the parts that were judged so far; beyond
it is not taught by the other parts."""
FOLDS = 4
"""Parts of the samples, each of which judges what the others teach. Half of 32 samples teach too little: on the PP-OCR
recognizer equalised channels seem to gain 0.1 dB behind 16 samples and 3.1 dB behind 24."""
WORTH = 0.9
"""What a stage must make of the noise (0.46 dB). Other roundings of all weights gain 0.25 dB in front of magika's
softmax, beyond doubt, and lose 3.4 dB behind it: what a few samples make of it is an accident that so little cannot
turn."""


@attrs.define(eq=False)
class Fold:
    """A model that most of the samples taught.

    Attributes:
        study: of the model, with what these samples showed.
        results: how its nodes are quantized.
        samples: those that taught it.
        judge: of the other samples.
        judging: the numbers of these.
    """

    study: Study
    results: list[NodeResult]
    samples: Samples
    judge: Judge
    judging: list[int]


@attrs.define(eq=False)
class Candidate:
    """A way to quantize the model.

    Attributes:
        folds: what it makes of all samples but one part, for each part.
        noise: of every sample, by what other samples taught. Candidates are compared by nothing else: noise of
            samples that were learned from is less.
        way: how ranges are chosen.
        is_equalised: whether channels are equalised.
        is_tuned: whether parameters and biases are tuned then.
        changed: activations or nodes that the last stage has changed.
    """

    folds: Sequence[Fold]
    noise: Noise
    way: str
    is_equalised: bool
    is_tuned: bool = False
    changed: int = 0


@attrs.define(eq=False)
class Refinement:
    """A study with the best way to quantize it so far.

    Attributes:
        study: the float model, with what was changed about it.
        trial: how it is quantized.
        samples: the calibration samples, to be read as often as needed.
        settings: the user's.
        skip: what the user keeps in float.
        differentiator: class of what finds gradients.
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
    differentiator: MakeDifferentiator
    context: PassContext
    maker: str
    stages: list[Stage] = attrs.Factory(list[Stage])
    notes: list[str] = attrs.Factory(list[str])
    kept: Samples = ()
    _store: Store = attrs.Factory(Store)

    def run(self) -> None:
        """Try all stages."""
        spread = SpreadSamples(MOST_SAMPLES)
        for sample in self.samples:
            spread.offer(StoredSample(self._store, sample))
        if len(spread.kept) < LEAST_SAMPLES:
            self.notes.append(f"effort=high needs {LEAST_SAMPLES} samples or more, some of them to judge by: not done")
            return
        self.kept = spread.kept
        ranged = self.choose_ranges(self.taught())
        best = self._tune(self._equalise(ranged))
        self.trial = self._with_ranges(ranged.way)
        if best is not ranged:
            self._learn(best)

    # ---------------------------------------------------------------------------------------------------------- stages
    def choose_ranges(self, ways: Mapping[str, Candidate]) -> Candidate:
        """The default's way of choosing ranges, or the best of the others where that is better.

        The default compares its ways on samples that made the ranges, which do not show what ranges cut off of others.
        """
        known = ways[self.trial.name]
        best = min(ways.values(), key=_score)
        return self._staged("ranges", known, None if best is known else best)

    def _equalise(self, before: Candidate) -> Candidate:
        """With equalised channels, and the ranges that are best with them, where that helps."""
        has_changes = self._changes(self.study.module, self.study.plan, self.kept)
        equalised = min(self.taught(is_equalised=True).values(), key=_score) if has_changes else None
        return self._staged("equalise", before, equalised)

    def _tune(self, before: Candidate) -> Candidate:
        """With tuned parameters and biases where that helps.

        It goes downhill from what there is, where the other stages put something else in its place: it is undone
        where the samples that it did not learn from have more noise, by more than chance. They are too few to see a
        gain of half a decibel, which fresh samples show in nearly all cases.
        """
        losses: dict[int, float] = {}
        try:
            for fold in before.folds:
                losses.update(_losses(fold, tune(fold.study, fold.results, fold.samples, self.differentiator)))
                gc.collect()
        except NoGradientError as error:
            self.notes.append(f"effort=high: nothing was tuned: {error.message}")
            return self._staged("tuning", before, None)
        stage = Stage("tuning", len(before.folds[0].results), before.noise, _noise(losses), is_downhill=True)
        self.stages.append(stage)
        return attrs.evolve(before, noise=stage.after, is_tuned=True) if stage.is_kept else before

    def _staged(self, name: str, before: Candidate, after: Candidate | None) -> Candidate:
        """The better one of what was there before a stage and what it made, if anything."""
        made = before if after is None else after
        stage = Stage(name, 0 if after is None else after.changed, before.noise, made.noise, WORTH)
        self.stages.append(stage)
        return made if stage.is_kept else before

    # ---------------------------------------------------------------------------------------------------------- folds
    def taught(self, *, is_equalised: bool = False) -> dict[str, Candidate]:
        """What the default's procedure makes of all samples but each part, by the way of choosing ranges.

        Ways that are far noisier than the best one on the first parts are left out, but for the default's.

        Args:
            is_equalised: whether it is given equalised channels.
        """
        numbers = range(len(self.kept))
        losses: dict[str, dict[int, float]] = {}
        folds: dict[str, list[Fold]] = {}
        changed = 0
        for part in range(FOLDS):
            judging = list(numbers[part::FOLDS])
            samples = [self.kept[i] for i in numbers if i % FOLDS != part]
            study, n = self._study(samples, is_equalised=is_equalised)
            changed = max(changed, n if is_equalised else len(study.plan.nodes))
            judge = Judge.of(study, [self.kept[i] for i in judging], self._store)
            for way, trial in trials_of(study, self._settings).items():
                if part and way not in folds:
                    continue
                fold = Fold(study, trial.results, samples, judge, judging)
                folds.setdefault(way, []).append(fold)
                losses.setdefault(way, {}).update(_losses(fold, trial.results))
            gc.collect()  # graphs are cycles: the copies that were run would take room until they are looked through
            least = min(sum(found.values()) for found in losses.values())
            for way in [w for w, found in losses.items() if sum(found.values()) > FAR * least]:
                if way != self.trial.name:
                    del losses[way], folds[way]
        return {
            way: Candidate(found, _noise(losses[way]), way, is_equalised, False, changed)
            for way, found in folds.items()
        }

    @property
    def _settings(self) -> Settings:
        """The user's, but that weights are fitted only where that was better for the whole model."""
        is_fitted = self.settings.weight_rounding and self.trial.rounding == "fitted"
        return attrs.evolve(self.settings, weight_rounding=is_fitted)

    def _study(self, samples: Samples, *, is_equalised: bool) -> tuple[Study, int]:
        """The model as some samples show it, and how many of its activations are equalised."""
        module, plan, changes = self.study.module, self.study.plan, list[Equalisation]()
        if is_equalised:
            module = module.clone()
            plan = plan_quantization(module.main, self.study.scheme, self.skip)
            changes = self._changes(module, plan, samples)
            apply_equalisations(module.main, changes)
            plan = plan_quantization(module.main, self.study.scheme, self.skip)
        statistics = collect_statistics(plan, self.study.run(module), samples)
        return attrs.evolve(self.study, module=module, plan=plan, statistics=statistics, weights={}), len(changes)

    def _changes(self, module: Module, plan: Plan, samples: Samples) -> list[Equalisation]:
        """The channels that are worth equalising, as some samples show them."""
        scheme = self.study.scheme
        weights = scheme if self.settings.per_channel else attrs.evolve(scheme, per_channel=())
        return propose_equalisations(plan, weights, self.study.run(module), samples)

    # ------------------------------------------------------------------------------------------------------------ all
    def _with_ranges(self, way: str) -> Trial:
        """What all samples make of the model with ranges chosen in this way."""
        if way == self.trial.name:
            return self.trial
        trial = trials_of(self.study, self._settings)[way]
        return attrs.evolve(trial, losses=self.trial.losses, rounding=self.trial.rounding)

    def _learn(self, best: Candidate) -> None:
        """Do with all samples what is best; undone where it is not better on them than what there was before.

        How noisy a way is on other samples does not tell how noisy the very numbers are that it ends with: a step that
        is a little longer may make all roundings of a layer err to one side. What is tuned is undone where what
        there was is better by the same test: its noise on samples by which it was chosen is less than on others.
        """
        known = self._noise_of_all(self.study, self.trial.results)
        study, trial, edits = self.study, self.trial, Edits(self.study.module.main)
        if best.is_equalised:
            changes = self._changes(study.module, study.plan, self.kept)
            edits = apply_equalisations(
                study.module.main, [c for c in changes if self.context.fuel.draw(self.maker, c.readers[0])]
            )
            plan = plan_quantization(study.module.main, study.scheme, self.skip)
            statistics = collect_statistics(plan, study.run(study.module), self.samples)
            study = attrs.evolve(study, plan=plan, statistics=statistics, weights={})
            found = trials_of(study, self._settings)[best.way]
            trial = attrs.evolve(found, losses=trial.losses, rounding=trial.rounding)
        tried = [trial.results] if best.is_equalised else []
        if best.is_tuned:
            tried.insert(0, tune(study, trial.results, self.kept, self.differentiator))
        for results in tried:
            noise = self._noise_of_all(study, results)
            is_tuned = results is not trial.results
            if not known.is_better(noise) if is_tuned else Stage("all", 1, known, noise).is_kept:
                self.study, self.trial = study, attrs.evolve(trial, results=results, outputs={})
                return
        edits.undo()
        self.notes.append("effort=high: what all samples taught together is no better on them, and was undone")

    def _noise_of_all(self, study: Study, results: list[NodeResult]) -> Noise:
        judge = Judge.of(study, self.kept, self._store)
        noise = Noise(tuple(judge.losses(study, results, range(len(self.kept)))))
        judge.close()
        return noise


def _losses(fold: Fold, results: list[NodeResult]) -> dict[int, float]:
    """Noise of the samples that judge a fold, by number."""
    losses = fold.judge.losses(fold.study, results, range(len(fold.judging)))
    return dict(zip(fold.judging, losses, strict=True))


def _score(candidate: Candidate) -> float:
    """Both means of the noise count: one alone is that of the worst samples, or passes over them."""
    return candidate.noise.mean * candidate.noise.worst


def _noise(losses: Mapping[int, float]) -> Noise:
    return Noise(tuple(losses[i] for i in sorted(losses)))
