"""The steps of channel pruning, on one module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.passes.pruning.compensate import compensate
from uair.passes.pruning.cost import Costs, open_node
from uair.passes.pruning.criteria import (
    Probe,
    Ranking,
    Reading,
    collect_readings,
    local_scores,
    mean_biases,
    norm_scores,
    rank_by_output,
    rank_by_scores,
)
from uair.passes.pruning.groups import find_groups
from uair.passes.pruning.labels import Labelling
from uair.passes.pruning.names import nodes_named
from uair.passes.pruning.propagate import label_graph
from uair.passes.pruning.remove import remove_channels
from uair.passes.pruning.report import amounts, compare_outputs
from uair.passes.pruning.taylor import Differentiator, gate_gradients, rank_by_gates
from uair.passes.quantization.statistics import Interpreter

Samples = Sequence[Mapping[str, Array]]

HELD = 4
"""Every HELD-th sample is kept to judge on."""
PROBED = 4
"""Samples that are run to measure what taking out a part of a group does."""


def split_samples(samples: Iterable[Mapping[str, Array]] | None) -> tuple[Samples, Samples]:
    """The samples to learn from, and those to judge on: none where there are few."""
    every = [] if samples is None else list(samples)
    if len(every) < 2 * HELD:
        return every, []
    return [s for i, s in enumerate(every) if i % HELD], every[::HELD]


class Pruner:
    """A module that loses channels, beside a copy of what it was.

    Attributes:
        original: the copy.
        labelling: of the original's main graph.
        groups: what may go.
        fixed: producers that keep all channels, with the reason.
        costs: of the original, with what is chosen taken out.
        stages: what was tried to make up for removed channels, as plain data.
        notes: for the report.
    """

    def __init__(
        self,
        module: Module,
        run: Callable[[Module], Interpreter],
        learned: Samples,
        held: Samples,
        *,
        skip: Sequence[str] = (),
        backwards: Callable[..., Differentiator] | None = None,
        heads: bool = False,
    ) -> None:
        """Label the module.

        Args:
            module: it is pruned in place.
            run: class of the interpreter.
            learned: samples to learn from.
            held: samples to judge on.
            skip: patterns of names of nodes that keep their channels.
            backwards: class of the differentiator, for the criterion "taylor".
            heads: whether whole heads of an Attention may go.

        Raises:
            UnknownNameError: a name in `skip` without wildcards fits no node.
        """
        self.module, self.run, self.learned, self.held = module, run, learned, held
        self.backwards = backwards
        self.original = module.clone()
        self.labelling = label_graph(self.original.main, heads=heads)
        groups, self.fixed = find_groups(self.labelling)
        skipped, self.notes = nodes_named(self.original.main, skip)
        self.groups = [g for g in groups if skipped.isdisjoint(g.producers)]
        self.fixed.update((node, "skip") for g in groups for node in g.producers if not skipped.isdisjoint(g.producers))
        self.costs = Costs.of(self.labelling, flops=open_node(self.original.main) is None)
        self.stages: list[dict[str, Any]] = []
        self._before = self.costs.flops, self.costs.parameters
        self._readings: dict[Node, Reading] | None = None

    @property
    def samples(self) -> Samples:
        """All of them."""
        return [*self.learned, *self.held]

    @property
    def readings(self) -> dict[Node, Reading]:
        """What the layers that sum over channels read, on the samples to learn from."""
        if self._readings is None:
            self._readings = collect_readings(self.labelling, self.run(self.original), self.learned)
        return self._readings

    # -------------------------------------------------------------------------------------------------------- choosing
    def rank(self, criterion: str, *, power: int = 2, seed: int = 0, shifts: bool = False) -> list[Ranking]:
        """The channels of every group from the least to the most important one.

        Args:
            criterion: "norm", "output", "taylor" or "random".
            power: of the magnitudes for "norm".
            seed: of "random", and of the directions of "taylor".
            shifts: whether the means of removed channels will be made up for, which "taylor" takes into account.

        Raises:
            NoGradientError: "taylor" and an operator without a gradient.
        """
        if criterion == "taylor":
            return rank_by_gates(self.groups, self._gate_gradients(seed, shifts=shifts))
        if criterion == "output":
            scores = local_scores(self.labelling, self.readings)
            probed = self.learned[:: max(1, len(self.learned) // PROBED)][:PROBED]
            probe = Probe(self.original, self.labelling, self.run, probed)
            return rank_by_output(self.groups, scores, self.readings, probe)
        if criterion == "random":
            atoms = [atom for group in self.groups for atom in group.atoms.tolist()]
            order = np.random.default_rng(seed).random(len(atoms)) * 1e-6
            return rank_by_scores(self.groups, {a: 1 + float(v) for a, v in zip(atoms, order, strict=True)})
        return rank_by_scores(self.groups, norm_scores(self.labelling, self.groups, power))

    def _gate_gradients(self, seed: int, *, shifts: bool) -> Array:
        assert self.backwards is not None
        means = {node: r.mean.mean(axis=1) for node, r in self.readings.items() if r.can_shift} if shifts else {}
        return gate_gradients(self.original, self.labelling, self.backwards, self.learned, means, seed=seed)

    def new_biases(self) -> tuple[int, int]:
        """Operations and parameters of the biases that layers without one may get to make up for channels."""
        operations = parameters = 0
        for node, reading in self.readings.items():
            if reading.can_shift and (len(node.inputs) < 3 or node.inputs[2] is None):
                operations += node.output.type.size if self._before[0] else 0
                parameters += reading.output.shape[-1]
        return operations, parameters

    # -------------------------------------------------------------------------------------------------------- removing
    def prune(self, removed: set[int], how: str) -> None:
        """Take channels out of the module and make up for them.

        Args:
            removed: standing atoms of the labelling.
            how: "none", "mean" or "weights".
        """
        graph = self.module.main
        if how == "none" or not removed:
            remove_channels(self.labelling, removed, {}, graph)
            return
        biases = mean_biases(self.labelling, self.readings, removed)
        if not self.held:
            self.notes.append(f"too few samples to judge on: fewer than {2 * HELD}; only means are made up for")
            remove_channels(self.labelling, removed, biases, graph)
            return
        judge = Probe(self.original, self.labelling, self.run, self.held)
        plain, shifted = judge.removed(removed, {}), judge.removed(removed, biases)
        before, after = judge.noise(plain), judge.noise(shifted)
        kept = after < before
        self.stages.append(_stage("mean", before, after, kept=kept))
        # the fit needs biases: of zeros where means do not help
        if not kept:
            biases = {node: np.zeros_like(bias) for node, bias in biases.items()} if how == "weights" else {}
        best = min(before, after)
        remove_channels(self.labelling, removed, biases, graph)
        if how == "weights":
            self._fit(removed, judge, best)

    def _fit(self, removed: set[int], judge: Probe, before: float) -> None:
        old = [node.inputs for node in self.module.main]
        samples, held = self.samples, len(self.held)
        done = compensate(self.original, self.module, self.labelling, removed, self.run, samples, held)
        after = judge.noise(self.module)
        kept = after < before
        if not kept:
            for node, inputs in zip(self.module.main, old, strict=True):
                for i, tensor in enumerate(inputs):
                    if node.inputs[i] is not tensor:
                        node.set_input(i, tensor)
        self.stages.append({**_stage("weights", before, after, kept=kept), "layers": attrs.asdict(done)})

    # ------------------------------------------------------------------------------------------------------- reporting
    def amounts(self) -> dict[str, Any]:
        """Operations (None while sizes are open) and parameters, before and after."""
        now = Costs.of(label_nothing(self.module.main), flops=bool(self._before[0]))
        flops = amounts(self._before[0], now.flops) if self._before[0] else None
        return {"flops": flops, "parameters": amounts(self._before[1], now.parameters)}

    def compare_outputs(self) -> dict[str, Any]:
        """The outputs before and after, on samples that nothing was learned from where there are such."""
        return compare_outputs(self.original, self.module, self.run, self.held or self.learned)


def label_nothing(graph: Graph) -> Labelling:
    """The labelling of a graph that loses nothing."""
    return Labelling(graph)


def _stage(name: str, before: float, after: float, *, kept: bool) -> dict[str, Any]:
    return {"name": name, "noise_before": round(before, 8), "noise_after": round(after, 8), "kept": kept}
