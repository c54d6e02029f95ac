"""What every quantized node costs: how much closer the outputs come when it alone stays in float.

The model is run quantized, and in front of every quantized node a second run branches off that computes this node in
float, in the type that the device has for it, and goes on to the end quantized. The noise at the outputs against that
of the model that is quantized throughout is the gain, in decibels, averaged over the samples: one sample on which a
recurrent or attending model goes another way must not decide alone. A model of n nodes costs about n / 2 of its runs on
each sample, which is why it is asked for.

Gains do not add up. How much the first few nodes gain together is measured as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array, DType, narrowed
from uair.ir.graph import Node, Tensor
from uair.ir.module import Module
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.facts import node_name
from uair.passes.quantization.statistics import Execution, Interpreter
from uair.passes.quantization.trial import Energies, Study, decisive_tensors, has_channels
from uair.quant.parameters import Parameters
from uair.targets.check import node_flops

SILENT = 1e-15
"""Noise by signal that is none."""
DEAFENING = 1e15
"""Noise by signal where the type of the floats does not hold a value, so that what comes of it is no number."""
TOGETHER = (1, 2, 3, 5, 8, 13, 21, 34)
"""Numbers of nodes, the most costly first, that are tried in float together."""


def measure_sensitivity(
    study: Study, results: Sequence[NodeResult], device: Callable[[Module], Interpreter], float_type: DType
) -> dict[str, Any]:
    """The gain of every quantized node, and of the first few together.

    Args:
        study: the float model and what runs it.
        results: the quantized nodes.
        device: runs a module as the device does.
        float_type: what the device computes floats in.

    Returns:
        `samples`; `sqnr_db` of the outputs, per channel, with everything quantized; `nodes`, greatest gain first:
        `name`, `operator`, `gain_db`, `cost_percent` (share of the operations of the quantized nodes; None while sizes
        are open); `together`: `count`, `gain_db`, `sqnr_db`, `cost_percent` of the first so many nodes. Empty where the
        outputs cannot be compared.
    """
    decisive = set(decisive_tensors(study.module.main))
    reference = [{t: value for t, value in found.items() if t in decisive} for found in study.references()]
    if not results or not reference or not reference[0]:
        return {}
    branches, whole = _Branches.of(study, results, reference, float_type).losses()
    gains = {node: _gain(whole, losses) for node, losses in branches.items()}
    costs = _costs(results)
    order = sorted(results, key=lambda result: -gains[result.node])
    whole_device = attrs.evolve(study, run=device)
    return {
        "samples": len(reference),
        "sqnr_db": round(_gain([1.0] * len(whole), whole), 3),
        "nodes": [
            {
                "name": node_name(result.node),
                "operator": result.node.op_type,
                "gain_db": round(gains[result.node], 3),
                "cost_percent": costs.get(result.node),
            }
            for result in order
        ],
        "together": [
            _together(whole_device, results, order[:count], reference, whole, costs) for count in _counts(len(order))
        ],
    }


def _counts(nodes: int) -> list[int]:
    return [count for count in TOGETHER if count < nodes]


def _together(
    study: Study,
    results: Sequence[NodeResult],
    floats: Sequence[NodeResult],
    reference: list[dict[Tensor, Array]],
    whole: Sequence[float],
    costs: Mapping[Node, float],
) -> dict[str, Any]:
    left = {result.node for result in floats}
    losses = study.losses([result for result in results if result.node not in left], reference)
    known = [costs[node] for node in left if node in costs]
    return {
        "count": len(floats),
        "gain_db": round(_gain(whole, losses), 3),
        "sqnr_db": round(_gain([1.0] * len(losses), losses), 3),
        "cost_percent": round(sum(known), 3) if len(known) == len(left) else None,
    }


def _gain(above: Sequence[float], below: Sequence[float]) -> float:
    """Mean over the samples of the ratio in dB; what has no noise counts as `SILENT`, no numbers as `DEAFENING`."""
    ratios = [np.log10(_bounded(a) / _bounded(b)) for a, b in zip(above, below, strict=True)]
    return 10 * float(np.mean(ratios))


def _bounded(loss: float) -> float:
    return min(max(loss, SILENT), DEAFENING)


def _costs(results: Sequence[NodeResult]) -> dict[Node, float]:
    """Per cent of the operations of all quantized nodes."""
    flops = {result.node: node_flops(result.node) for result in results}
    total = sum(n for n in flops.values() if n is not None)
    return {node: round(100 * n / total, 3) for node, n in flops.items() if n is not None} if total else {}


@attrs.define(eq=False)
class _Branches:
    """The run that is quantized throughout, and those that branch off it.

    Attributes:
        study: with the samples.
        results: the quantized nodes by the node.
        reference: values of the decisive tensors in the float model, for every sample.
        constants: of the quantized nodes, as their integers leave them.
        stored: activations that are integers for all their users, with their parameters.
        sole: those of them that one quantized node reads: where that is in float, they are, too.
        float_type: what a node that stays float is computed in.
        floats: constants of nodes as that type holds them.
    """

    study: Study
    results: dict[Node, NodeResult]
    reference: list[dict[Tensor, Array]]
    constants: dict[Node, dict[int, Array]]
    stored: dict[Tensor, Parameters]
    sole: set[Tensor]
    float_type: DType
    floats: dict[Node, dict[int, Array]] = attrs.Factory(dict[Node, "dict[int, Array]"])

    @staticmethod
    def of(
        study: Study, results: Sequence[NodeResult], reference: list[dict[Tensor, Array]], float_type: DType
    ) -> _Branches:
        """Before the first run."""
        everywhere = study.scheme.placement == "all"
        stored = {r.item.operand(i): p for r in results for i, p in r.activations.items()} if everywhere else {}
        readers: dict[Tensor, set[Node]] = {}
        for r in results:
            for i in r.activations:
                readers.setdefault(r.item.operand(i), set()).add(r.node)
        sole = {tensor for tensor in stored if len(readers[tensor]) == 1}
        constants = {r.node: r.constants.values(r.item) for r in results}
        return _Branches(study, {r.node: r for r in results}, reference, constants, stored, sole, float_type)

    def losses(self) -> tuple[dict[Node, list[float]], list[float]]:
        """Noise by signal at the outputs on each sample, with each node in float, and with none."""
        interpreter = self.study.run(self.study.module)
        branches: dict[Node, list[float]] = {node: [] for node in self.results}
        whole: list[float] = []
        for sample, expected in zip(self.study.statistics.kept, self.reference, strict=True):
            run = interpreter.start(sample)
            found: dict[Tensor, Array] = {}
            unrounded: dict[Tensor, Array] = {}
            for node in self.study.module.main:
                if node in self.results:
                    branches[node].append(_loss(expected, self._branch(run.fork(), node, found, unrounded)))
                self._step(run, node, found, unrounded)
            whole.append(_loss(expected, found))
        return branches, whole

    def _branch(
        self, run: Execution, node: Node, found: Mapping[Tensor, Array], unrounded: Mapping[Tensor, Array]
    ) -> dict[Tensor, Array]:
        """The decisive tensors when a node, in front of which the run stands, is computed in float."""
        seen = dict(found)
        for tensor in node.inputs:
            if tensor is not None and tensor in unrounded:
                run.replace(tensor, narrowed(unrounded[tensor], self.float_type))
        self._in_float(run, node, seen)
        later = node.next
        while later is not None:
            self._step(run, later, seen, {})
            later = later.next
        return seen

    def _step(self, run: Execution, node: Node, found: dict[Tensor, Array], unrounded: dict[Tensor, Array]) -> None:
        """Run a node as it is quantized; what only one node reads is kept as it was before it became integers."""
        result = self.results.get(node)
        if result is None:
            self._in_float(run, node, found)
            return
        activations = {i: p.rounded(run.value(result.item.operand(i))) for i, p in result.activations.items()}
        self._note(node, run.advance({**activations, **self.constants[node]}), found)
        for i in result.activations:
            unrounded.pop(result.item.operand(i), None)
        for tensor in node.outputs:
            parameters = self.stored.get(tensor)
            if parameters is not None and tensor.use_count:
                if tensor in self.sole:
                    unrounded[tensor] = run.value(tensor)
                run.replace(tensor, parameters.rounded(run.value(tensor)))

    def _in_float(self, run: Execution, node: Node, found: dict[Tensor, Array]) -> None:
        """Run a node as the device computes floats: its constants and results rounded to the device's type."""
        if self.float_type is DType.F32 or self._is_exact(node):
            self._note(node, run.advance(), found)
            return
        if node not in self.floats:
            constants = [(i, t) for i, t in enumerate(node.inputs) if t is not None and t.is_constant]
            self.floats[node] = {i: narrowed(t.numpy(), self.float_type) for i, t in constants}
        values = [narrowed(value, self.float_type) for value in run.advance(self.floats[node])]
        for tensor, value in zip(node.outputs, values, strict=True):
            if tensor.use_count:
                run.replace(tensor, value)
        self._note(node, values, found)

    def _is_exact(self, node: Node) -> bool:
        """Whether a node that is not quantized is computed between integers only, of which the device makes sums."""
        is_branch = node in self.results
        reads = any(t in self.stored and not (is_branch and t in self.sole) for t in node.inputs if t is not None)
        users = [user for tensor in node.outputs for user in tensor.users]
        return reads and bool(users) and all(user in self.results for user in users)

    def _note(self, node: Node, values: Sequence[Any], found: dict[Tensor, Array]) -> None:
        """Keep what is decisive."""
        found.update((t, value) for t, value in zip(node.outputs, values, strict=True) if t in self.reference[0])


def _loss(expected: Mapping[Tensor, Array], found: Mapping[Tensor, Array]) -> float:
    """Noise by signal on one sample, as `Study.loss` has it."""
    sums = {tensor: Energies(has_channels(tensor)) for tensor in expected}
    for tensor, energies in sums.items():
        energies.add(expected[tensor], found[tensor])
    return float(np.mean([energies.loss() for energies in sums.values()]))
