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

WHOLE = "minmax"
MOST_SAMPLES = 32
LEAST_SAMPLES = 8
HELD_OUT = 4
"""Every so many samples one is only for judging."""
CONVINCING = 0.8
"""The noise with equalisation, as a part of that without, at which it is made: ranges of equalised channels are drawn
tight around the samples at hand, which other samples leave."""


WORST = 1.1
"""What the noise of the worst samples may grow to, as a multiple."""


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

    @property
    def worst(self) -> float:
        """The arithmetic mean of all samples, in which the worst ones count most."""
        return sum(self.held_out + self.learned) / len(self.held_out + self.learned)

    def is_better(self, other: Noise) -> bool:
        """Whether it is less than another: held out, on all samples together, and on the worst ones.

        What is held out are few samples: that all others agree makes an accident less likely.
        """
        is_less = self.together < other.together and self.mean < other.mean
        return is_less and self.worst <= WORST * other.worst


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
        convincing: what the noise must shrink to, as a part of what it was.
    """

    name: str
    changed: int
    before: Noise
    after: Noise
    convincing: float = 1.0

    @property
    def is_kept(self) -> bool:
        """Whether it made the noise less."""
        is_great = self.after.together <= self.convincing * self.before.together
        return self.changed > 0 and is_great and self.after.is_better(self.before)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "stage": self.name,
            "changed": self.changed,
            "before": round(self.before.mean, 8),
            "after": round(self.after.mean, 8),
            "worst_before": round(self.before.worst, 8),
            "worst_after": round(self.after.worst, 8),
            "kept": self.is_kept,
        }


@attrs.define(eq=False)
class _Candidate:
    """A way to quantize the model, with its noise and the stages that made it."""

    study: Study
    trial: Trial
    noise: Noise
    stages: list[Stage]


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
        best = self._equalise(folds, learning, judging)
        self.study, self.trial = best.study, best.trial
        self.stages += best.stages
        self._correct_biases(best, learning, judging)

    def _equalise(self, folds: Sequence[Samples], learning: Samples, judging: Samples) -> _Candidate:
        """The better one of the model as it is and with equalised channels, both with rounded weights.

        They are compared behind the rounding, because equalisation is what makes room for it.
        """
        module, scheme = self.study.module, self.study.scheme
        weights = scheme if self.settings.per_channel else attrs.evolve(scheme, per_channel=())
        found = propose_equalisations(self.study.plan, weights, self.study.run(module), learning)
        changes = [c for c in found if self.context.fuel.draw(self.maker, c.readers[0])]
        plain = self._best(folds, self.study, learning, judging, whole=not changes)
        if not changes:
            plain.stages.insert(0, Stage("equalise", 0, plain.noise, plain.noise))
            return plain
        edits = apply_equalisations(module.main, changes)
        plan = plan_quantization(module.main, scheme, self.skip)
        statistics = collect_statistics(plan, self.study.run(module), self.samples)
        study = attrs.evolve(self.study, plan=plan, statistics=statistics)
        equalised = self._best(folds, study, learning, judging, whole=True)
        stage = Stage("equalise", len(changes), plain.noise, equalised.noise, CONVINCING)
        best = equalised if stage.is_kept else plain
        best.stages.insert(0, stage)
        if best is plain:
            edits.undo()
        return best

    def _best(
        self, folds: Sequence[Samples], study: Study, learning: Samples, judging: Samples, *, whole: bool
    ) -> _Candidate:
        """With rounded weights, the better one of the best ranges and, where asked for, whole ones.

        Rounding and biases make up for much of what wide ranges cost, but not for what narrow ones cut off.
        """
        chosen = self.choose_ranges(folds, study)[0]
        ways = [chosen]
        if whole and self.settings.method == "auto" and chosen.name != WHOLE:
            ways.append(attrs.evolve(chosen, name=WHOLE, methods=dict.fromkeys(chosen.methods, WHOLE)))
        candidates = [self._round(study, make_trial(study, self.settings, way), learning, judging) for way in ways]
        return min(candidates, key=lambda candidate: candidate.noise.together)

    def _round(self, study: Study, trial: Trial, learning: Samples, judging: Samples) -> _Candidate:
        """A trial with rounded weights, or as it is where that does not help."""
        before = self._noise(study, trial, learning, judging)
        stage, rounded = self._changed("rounding", round_weights, study, trial, before, learning, judging)
        return _Candidate(study, rounded, stage.after if stage.is_kept else before, [stage])

    def _correct_biases(self, best: _Candidate, learning: Samples, judging: Samples) -> None:
        stage, self.trial = self._changed(
            "bias-correction", correct_biases, best.study, best.trial, best.noise, learning, judging
        )
        self.stages.append(stage)

    def _changed(
        self,
        name: str,
        change: Change,
        study: Study,
        trial: Trial,
        before: Noise,
        learning: Samples,
        judging: Samples,
    ) -> tuple[Stage, Trial]:
        """What became of a change of the nodes' constants, and the trial then."""
        results = change(study, trial.results, [*learning, *judging], len(judging))
        changed = sum(new is not old for new, old in zip(results, trial.results, strict=True))
        new_trial = attrs.evolve(trial, results=results)
        after = self._noise(study, new_trial, learning, judging) if changed else before
        stage = Stage(name, changed, before, after)
        return stage, new_trial if stage.is_kept else trial

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

    @staticmethod
    def _noise(study: Study, trial: Trial, learning: Samples, judging: Samples) -> Noise:
        found: list[tuple[float, ...]] = []
        for samples in (judging, learning):
            judge = attrs.evolve(study, statistics=attrs.evolve(study.statistics, kept=list(samples)))
            found.append(tuple(judge.losses(trial.results, judge.references())))
        return Noise(*found)
