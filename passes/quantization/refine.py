"""Stages that make a quantized model better, each kept only when samples that it did not learn from say that it does.

They cost a few more runs of the samples, which is why they are asked for (`effort = "high"`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from uair.ir.dtype import Array
from uair.passes.quantization.bias import correct_biases
from uair.passes.quantization.choose import NodeResult, Settings
from uair.passes.quantization.equalise import apply_equalisations, propose_equalisations
from uair.passes.quantization.placement import plan_quantization
from uair.passes.quantization.rounding import round_weights
from uair.passes.quantization.statistics import SpreadSamples, Statistics, collect_statistics, merged_observers
from uair.passes.quantization.trial import Ranges, Study, Trial, make_trial, ways_of
from uair.pipeline import PassContext

Samples: TypeAlias = Sequence[Mapping[str, Array]]
Change: TypeAlias = "Callable[[Study, Sequence[NodeResult], Samples, int], list[NodeResult]]"
"""From samples, of which the last ones are held out, what becomes of the quantized nodes."""

MOST_SAMPLES = 32
LEAST_SAMPLES = 8
HELD_OUT = 4
"""Every so many samples one is only for judging."""
WORST = 1.5
"""What the noise of the worst sample that is held out may grow to, as a multiple."""


@attrs.frozen
class Noise:
    """Noise by signal at the outputs, sample by sample.

    Attributes:
        held_out: of the samples that nothing is learned from.
        learned: of the others.
    """

    held_out: tuple[float, ...]
    learned: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of the samples that are held out; geometric, so that no single sample decides."""
        return _geometric_mean(self.held_out)

    @property
    def together(self) -> float:
        """Of all samples, in the same way."""
        return _geometric_mean(self.held_out + self.learned)

    def is_better(self, other: Noise) -> bool:
        """Whether it is less than another: held out, on all samples together, and not much worse on the worst one.

        What is held out are few samples: that all others agree makes an accident less likely.
        """
        return (
            self.together < other.together
            and self.mean < other.mean
            and max(self.held_out) <= WORST * max(other.held_out)
        )


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(max(v, 1e-30)) for v in values) / len(values))


@attrs.frozen
class Stage:
    """What became of a stage.

    Attributes:
        name: of the stage.
        changed: activations, weights or biases that it changed.
        before: the noise without it.
        after: the noise with it.
    """

    name: str
    changed: int
    before: Noise
    after: Noise

    @property
    def is_kept(self) -> bool:
        """Whether it made the noise less."""
        return self.changed > 0 and self.after.is_better(self.before)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "stage": self.name,
            "changed": self.changed,
            "before": round(self.before.mean, 8),
            "after": round(self.after.mean, 8),
            "worst_before": round(max(self.before.held_out), 8),
            "worst_after": round(max(self.after.held_out), 8),
            "kept": self.is_kept,
        }


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

    def run(self) -> None:
        """Try all stages."""
        spread = SpreadSamples(MOST_SAMPLES)
        for sample in self.samples:
            spread.offer(sample)
        if len(spread.kept) < LEAST_SAMPLES:
            self.notes.append(f"effort=high needs {LEAST_SAMPLES} samples or more, some of them to judge by: not done")
            return
        folds = [spread.kept[i::HELD_OUT] for i in range(HELD_OUT)]
        learning, judging = [sample for fold in folds[:-1] for sample in fold], folds[-1]
        noise = self._equalise(folds)
        noise = self._try("rounding", round_weights, noise, learning, judging)
        self._try("bias-correction", correct_biases, noise, learning, judging)

    def _equalise(self, folds: Sequence[Samples]) -> Noise:
        """Try it, and choose the ranges again; the noise then."""
        module, scheme = self.study.module, self.study.scheme
        learning, judging = [sample for fold in folds[:-1] for sample in fold], folds[-1]
        found = propose_equalisations(self.study.plan, scheme, self.study.run(module), learning)
        changes = [c for c in found if self.context.fuel.draw(self.maker, c.readers[0])]
        ranges, before = self.choose_ranges(folds, self.study)
        stage = Stage("equalise", 0, before, before)
        if changes:
            edits = apply_equalisations(module.main, changes)
            plan = plan_quantization(module.main, scheme, self.skip)
            statistics = collect_statistics(plan, self.study.run(module), self.samples)
            study = attrs.evolve(self.study, plan=plan, statistics=statistics)
            equalised, after = self.choose_ranges(folds, study)
            stage = Stage("equalise", len(changes), before, after)
            if stage.is_kept:
                ranges, self.study = equalised, study
            else:
                edits.undo()
        self.stages.append(stage)
        self.trial = make_trial(self.study, self.settings, ranges)
        return self._noise(self.study, self.trial, learning, judging)

    def choose_ranges(self, folds: Sequence[Samples], study: Study) -> tuple[Ranges, Noise]:
        """The best way to choose ranges, and the noise of it.

        A range that the samples at hand made never shows what it does to others, which may leave it. So every sample is
        judged with ranges of the samples that are not in its fold; what is used in the end are ranges of all.
        """
        observed = [collect_statistics(study.plan, study.run(study.module), fold).observers for fold in folds]
        ways = ways_of(study, self.settings)
        losses: dict[str, list[tuple[float, ...]]] = {way.name: [] for way in ways}
        for i, fold in enumerate(folds):
            others = merged_observers(part for j, part in enumerate(observed) if j != i)
            judge = attrs.evolve(study, statistics=Statistics(others, list(fold), study.statistics.count))
            reference = judge.references()
            for way in ways:
                losses[way.name].append(tuple(judge.losses(make_trial(judge, self.settings, way).results, reference)))
        noises = {
            name: Noise(found[-1], tuple(x for part in found[:-1] for x in part)) for name, found in losses.items()
        }
        best = min(ways, key=lambda way: noises[way.name].together)
        return attrs.evolve(best, losses={name: noise.together for name, noise in noises.items()}), noises[best.name]

    def _try(self, name: str, change: Change, before: Noise, learning: Samples, judging: Samples) -> Noise:
        """Try a change of the nodes' constants; the noise then."""
        results = change(self.study, self.trial.results, [*learning, *judging], len(judging))
        changed = sum(new is not old for new, old in zip(results, self.trial.results, strict=True))
        trial = attrs.evolve(self.trial, results=results)
        after = self._noise(self.study, trial, learning, judging) if changed else before
        stage = Stage(name, changed, before, after)
        self.stages.append(stage)
        if stage.is_kept:
            self.trial = trial
        return after if stage.is_kept else before

    @staticmethod
    def _noise(study: Study, trial: Trial, learning: Samples, judging: Samples) -> Noise:
        found: list[tuple[float, ...]] = []
        for samples in (judging, learning):
            judge = attrs.evolve(study, statistics=attrs.evolve(study.statistics, kept=list(samples)))
            found.append(tuple(judge.losses(trial.results, judge.references())))
        return Noise(*found)
