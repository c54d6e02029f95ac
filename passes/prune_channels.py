"""Channel pruning: whole channels go, so that any device computes less."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from uair.context import resolve
from uair.ir.module import Module
from uair.ops.gradients.base import NoGradientError
from uair.passes.pruning.choose import Budget, choose_channels
from uair.passes.pruning.cost import open_node
from uair.passes.pruning.criteria import Ranking
from uair.passes.pruning.errors import PruningBudgetError
from uair.passes.pruning.pruner import Pruner, split_samples
from uair.passes.pruning.report import calibration_entry, group_entry, identity
from uair.pipeline import DIFFERENTIATOR, INTERPRETER, Pass, PassContext, service
from uair.preprocess import Preprocess
from uair.quant.calibration import Calibration, open_calibration
from uair.quant.errors import CalibrationSourceError
from uair.targets import load_description

REPORT = "pruning"


def stated_multiple(target: str) -> int:
    """How many channels the units of a target take at a time, for all its element types; 1 where it is not said.

    Raises:
        UnknownNameError: there is no such target.
    """
    if not target:
        return 1
    channels = load_description(target).alignment.channels
    return math.lcm(*channels.values()) if channels else 1


@attrs.frozen
class PruneChannels(Pass):
    """Remove the channels of convolutions and matrix products whose removal changes the outputs least.

    Channels that belong together (of what meets in a sum, of grouped and depthwise convolutions, of normalization, of
    reshaped heads) go together; those that reach an input, an output or an operator that needs them all stay. What was
    removed is in `context.reports["pruning"]`.

    Attributes:
        flops: at most this part of the floating-point operations is left, from 0 to 1; 1: any number.
        parameters: at most this part of the parameters is left.
        criterion: "norm" of the weights; "output": what the layers that read a channel see of it, scaled by what
            removing channels of its group does to the outputs, needs samples; "taylor": squared gradients of the
            outputs by gates on the channels, needs samples; "random"; or "auto": "taylor" with samples,
            or "output" where an operator has no gradient, "norm" without.
        power: of the weights' magnitudes for "norm", 1 or 2.
        compensate: "none"; "mean": the means of removed channels go into the biases of the layers that read them;
            "weights": these layers are fitted as well; "auto": "weights" with samples, "none" without.
        multiple: the number of channels that a layer keeps is a multiple of this; 0: of what the units of `target` take
            at a time, 1 without a target.
        least: channels that a layer keeps at least.
        target: name of the target whose device file says what channels are a multiple of.
        heads: whether whole heads of an Attention go too.
        skip: names of nodes or source nodes, with `*` and `?`, that keep their channels.
        calib: path of the calibration data, see uair.quant.calibration.
        limit: how many samples are used at most.
        seed: of "random".
        samples: the calibration samples, mappings of arrays by input name; overrides `calib`.
        preprocess: how calibration images become inputs, by input name, for `calib`.
        interpreter: class of what runs a module.
        differentiator: class of what runs it backwards.
    """

    flops: float = 1.0
    parameters: float = 1.0
    criterion: Literal["auto", "norm", "output", "taylor", "random"] = "auto"
    power: int = 2
    compensate: Literal["auto", "none", "mean", "weights"] = "auto"
    multiple: int = 0
    least: int = 4
    target: str = ""
    heads: bool = False
    skip: tuple[str, ...] = ()
    calib: str = ""
    limit: int = 64
    seed: int = 0
    samples: Iterable[Mapping[str, Any]] | None = service()
    preprocess: Mapping[str, Preprocess] | None = service()
    interpreter: Any = service(INTERPRETER)
    differentiator: Any = service(DIFFERENTIATOR)

    def run(self, module: Module, context: PassContext) -> bool:
        """Prune the main graph.

        Raises:
            PruningBudgetError: the budget cannot be reached, or means nothing; UnknownNameError: `skip` or `target`
            names what does not exist; NoGradientError: criterion=taylor, and an operator has no gradient;
            CalibrationSourceError, CalibrationDataError, EmptyCalibrationError: the samples.
        """
        samples = self._samples(module)
        learned, held = split_samples(samples)
        backwards = resolve(self.differentiator)
        pruner = Pruner(
            module, resolve(self.interpreter), learned, held, skip=self.skip, backwards=backwards, heads=self.heads
        )
        self._check(pruner)
        compensate = self.compensate if self.compensate != "auto" else ("none" if samples is None else "weights")
        shifts = compensate != "none"
        criterion, rankings = self._rank(pruner, shifts=shifts)
        budget = self._budget(pruner, shifts=shifts)
        chosen = choose_channels(rankings, pruner.costs, budget)
        removed: set[int] = set()
        for ranking, k in zip(rankings, chosen, strict=True):
            if k and context.fuel.draw(self.name, ranking.group.producers[0]):
                removed.update(ranking.order[:k].tolist())
        pruner.prune(removed, compensate)
        context.reports[REPORT] = {
            "summary": {
                "pass": self.spec,
                "criterion": criterion,
                "compensate": compensate,
                "multiple": budget.multiple,
                "calibration": calibration_entry(samples, len(pruner.learned) + len(pruner.held), len(pruner.held)),
                **pruner.amounts(),
                "stages": pruner.stages,
                "outputs": pruner.compare_outputs(),
            },
            "groups": [group_entry(g, pruner.labelling, removed) for g in pruner.groups],
            "fixed": [{**identity(node), "reason": reason} for node, reason in pruner.fixed.items()],
            "notes": pruner.notes + (samples.notes if isinstance(samples, Calibration) else []),
        }
        return bool(removed)

    def _rank(self, pruner: Pruner, *, shifts: bool) -> tuple[str, list[Ranking]]:
        """The criterion that was used, and the rankings."""
        criterion: str = self.criterion
        if criterion == "auto":
            criterion = "taylor" if pruner.samples else "norm"
        try:
            return criterion, pruner.rank(criterion, power=self.power, seed=self.seed, shifts=shifts)
        except NoGradientError as error:
            if self.criterion != "auto":
                raise
            pruner.notes.append(f"criterion=output, because {error.message}, {error.place}")
            return "output", pruner.rank("output")

    def _check(self, pruner: Pruner) -> None:
        for name, value in (("flops", self.flops), ("parameters", self.parameters)):
            if not 0 < value <= 1:
                raise PruningBudgetError(f"{name}={value:g} is no part of the whole", hint="give a number from 0 to 1")
        if self.multiple < 0 or self.least < 1:
            raise PruningBudgetError("`multiple` and `least` are numbers of channels", hint="give at least 1")
        node = open_node(pruner.original.main)
        if self.flops < 1 and node is not None:
            raise PruningBudgetError(
                f"the operations of {node!r} are not known: its sizes are open",
                place=str(node.loc),
                hint="fix the sizes of the inputs (--shape x=1,3,224,224), or give the budget as parameters=",
            )
        if not pruner.samples and (self.criterion in ("output", "taylor") or self.compensate in ("mean", "weights")):
            raise CalibrationSourceError(
                f"criterion={self.criterion} compensate={self.compensate} needs calibration data",
                hint="give it with prune-channels{calib=FOLDER}, or use criterion=norm compensate=none",
            )

    def _budget(self, pruner: Pruner, *, shifts: bool) -> Budget:
        """The budget; a bias that a layer gets to make up for channels is paid for beforehand."""
        operations, parameters = pruner.new_biases() if shifts else (0, 0)
        costs = pruner.costs
        return Budget(
            self.flops * costs.flops - operations if self.flops < 1 else None,
            self.parameters * costs.parameters - parameters if self.parameters < 1 else None,
            self.multiple or stated_multiple(self.target),
            self.least,
        )

    def _samples(self, module: Module) -> Calibration | None:
        if isinstance(self.samples, Calibration):
            return self.samples
        source = self.calib if self.samples is None else self.samples
        if self.samples is None and not self.calib:
            return None
        types = {n: t.type for n, t in zip(module.main.input_names, module.main.inputs, strict=True)}
        return open_calibration(source, types, preprocess=self.preprocess, limit=self.limit)
