"""Stages that make a quantized model better, each kept only when samples that it did not learn from say that it does.

They cost a few more runs of the samples, which is why they are asked for (`effort = "high"`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from uair.ir.dtype import Array
from uair.passes.quantization.bias import correct_biases
from uair.passes.quantization.choose import Settings
from uair.passes.quantization.equalise import apply_equalisations, propose_equalisations
from uair.passes.quantization.placement import plan_quantization
from uair.passes.quantization.statistics import SpreadSamples, collect_statistics
from uair.passes.quantization.trial import Study, Trial, choose_trial
from uair.pipeline import PassContext

Samples: TypeAlias = Sequence[Mapping[str, Array]]

MOST_SAMPLES = 32
LEAST_SAMPLES = 8
HELD_OUT = 4
"""Every so many samples one is only for judging."""


@attrs.frozen
class Stage:
    """What became of a stage.

    Attributes:
        name: of the stage.
        changed: activations or biases that it changed.
        before: noise by signal at the outputs on the held-out samples without it.
        after: the same with it.
    """

    name: str
    changed: int
    before: float
    after: float

    @property
    def is_kept(self) -> bool:
        """Whether it made the held-out error smaller."""
        return self.changed > 0 and self.after < self.before

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "stage": self.name,
            "changed": self.changed,
            "before": round(self.before, 8),
            "after": round(self.after, 8),
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
        judging = spread.kept[HELD_OUT - 1 :: HELD_OUT]
        learning = [s for i, s in enumerate(spread.kept) if i % HELD_OUT != HELD_OUT - 1]
        noise = self._noise(self.study, self.trial, judging)
        noise = self._equalise(noise, learning, judging)
        self._correct_biases(noise, learning, judging)

    def _equalise(self, before: float, learning: Samples, judging: Samples) -> float:
        """Try it; the noise at the outputs then."""
        module, scheme = self.study.module, self.study.scheme
        found = propose_equalisations(self.study.plan, scheme, self.study.run(module), learning)
        changes = [c for c in found if self.context.fuel.draw(self.maker, c.readers[0])]
        if not changes:
            return self._note(Stage("equalise", 0, before, before))
        edits = apply_equalisations(module.main, changes)
        plan = plan_quantization(module.main, scheme, self.skip)
        statistics = collect_statistics(plan, self.study.run(module), self.samples)
        study = attrs.evolve(self.study, plan=plan, statistics=statistics)
        trial = choose_trial(study, self.settings)
        stage = Stage("equalise", len(changes), before, self._noise(study, trial, judging))
        if stage.is_kept:
            self.study, self.trial = study, trial
        else:
            edits.undo()
        return self._note(stage)

    def _correct_biases(self, before: float, learning: Samples, judging: Samples) -> float:
        """Try it; the noise at the outputs then."""
        results = correct_biases(self.study, self.trial.results, [*learning, *judging], len(judging))
        trial = attrs.evolve(self.trial, results=results)
        changed = sum(new is not old for new, old in zip(results, self.trial.results, strict=True))
        stage = Stage("bias-correction", changed, before, self._noise(self.study, trial, judging))
        if stage.is_kept:
            self.trial = trial
        return self._note(stage)

    def _note(self, stage: Stage) -> float:
        """Note what became of a stage; the noise behind it."""
        self.stages.append(stage)
        return stage.after if stage.is_kept else stage.before

    @staticmethod
    def _noise(study: Study, trial: Trial, samples: Samples) -> float:
        judge = attrs.evolve(study, statistics=attrs.evolve(study.statistics, kept=list(samples)))
        return judge.loss(trial.results, judge.references())
