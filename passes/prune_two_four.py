"""2:4 sparsity: half of the weights are zero, in the pattern that tensor cores skip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import attrs
import numpy as np

from uair.context import resolve
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ir.module import Module
from uair.passes.pruning import two_four
from uair.passes.pruning.fit import Sums
from uair.passes.pruning.names import nodes_named
from uair.passes.pruning.patches import at_places, is_sampled, read_patches
from uair.passes.pruning.pruner import split_samples
from uair.passes.pruning.report import calibration_entry, compare_outputs, identity
from uair.passes.quantization.channels import channel_axis
from uair.passes.quantization.statistics import Execution, Interpreter
from uair.pipeline import INTERPRETER, Pass, PassContext, service
from uair.preprocess import Preprocess
from uair.quant.calibration import Calibration, open_calibration
from uair.quant.errors import CalibrationSourceError
from uair.quant.scheme import CONVOLUTIONS

REPORT = "sparsity"
WIDEST = 4608
"""Weights per result channel above which none is updated: inverting the moments takes their cube."""
ROWS = 4
"""Places of results that are looked at, by the number of weights per result channel."""

RIDGE = 1e-2
"""How firmly weights are held while they make up for the sparse layers before them, by the mean energy of what they
read."""


@attrs.frozen
class PruneTwoFour(Pass):
    """Make two of every four weights zero along the channels that convolutions and matrix products sum over.

    Shapes stay as they are: only hardware that skips these zeros gains (NVIDIA's from Ampere on, with
    `kSPARSE_WEIGHTS`). What was done is in `context.reports["sparsity"]`.

    Attributes:
        criterion: "magnitude"; "wanda": by magnitude times the norm of what a weight meets; "update": the weights that
            stay make up for those that go (SparseGPT); or "auto": with samples, of these three the one with the least
            error for each layer on samples that are held out, "magnitude" without.
        skip: names of nodes or source nodes, with `*` and `?`, that keep their weights.
        calib: path of the calibration data, see uair.quant.calibration.
        limit: how many samples are used at most.
        samples: the calibration samples, mappings of arrays by input name; overrides `calib`.
        preprocess: how calibration images become inputs, by input name, for `calib`.
        interpreter: class of what runs a module.
    """

    name: ClassVar[str] = "prune-2-4"

    criterion: Literal["auto", "magnitude", "wanda", "update"] = "auto"
    skip: tuple[str, ...] = ()
    calib: str = ""
    limit: int = 32
    samples: Iterable[Mapping[str, Any]] | None = service()
    preprocess: Mapping[str, Preprocess] | None = service()
    interpreter: Any = service(INTERPRETER)

    def run(self, module: Module, context: PassContext) -> bool:
        """Change the weights of the main graph.

        Raises:
            UnknownNameError: `skip` names what does not exist; CalibrationSourceError, CalibrationDataError,
            EmptyCalibrationError: the samples.
        """
        graph = module.main
        samples = self._samples(module)
        learned, held = split_samples(samples)
        skipped, notes = nodes_named(graph, self.skip)
        reasons = {n: "skip" if n in skipped else two_four.refusal(n) for n in graph if _has_weight(n)}
        chosen = [n for n, reason in reasons.items() if not reason and context.fuel.draw(self.name, n)]
        original = module.clone()
        sparse = _Sparse(resolve(self.interpreter), self.criterion, learned, held)
        layers = sparse.run(module, chosen)
        outputs = compare_outputs(original, module, sparse.interpreter, held or learned)
        zeros = sum(entry["zeros"] for entry in layers)
        context.reports[REPORT] = {
            "summary": {
                "pass": self.spec,
                "calibration": calibration_entry(samples, len(learned) + len(held), len(held)),
                "sparse_layers": len(layers),
                "zeros": zeros,
                "parameters": sum(t.type.size for t in graph.constants()),
                "outputs": outputs,
            },
            "layers": layers,
            "skipped": [{**identity(node), "reason": reason} for node, reason in reasons.items() if reason],
            "notes": notes + (samples.notes if isinstance(samples, Calibration) else []),
        }
        return bool(layers)

    def _samples(self, module: Module) -> Calibration | None:
        if isinstance(self.samples, Calibration):
            return self.samples
        if self.samples is None and not self.calib:
            if self.criterion in ("wanda", "update"):
                raise CalibrationSourceError(
                    f"criterion={self.criterion} needs calibration data",
                    hint="give it with prune-2-4{calib=FOLDER}, or use criterion=magnitude",
                )
            return None
        types = {n: t.type for n, t in zip(module.main.input_names, module.main.inputs, strict=True)}
        source = self.calib if self.samples is None else self.samples
        return open_calibration(source, types, preprocess=self.preprocess, limit=self.limit)


def _has_weight(node: Node) -> bool:
    return node.op_type in (*CONVOLUTIONS, "Linear") or (
        node.op_type == "MatMul" and node.inputs[1] is not None and node.inputs[1].is_constant
    )


@attrs.define(eq=False)
class _Sparse:
    """Makes layers sparse in order, each behind the sparse ones before it, so that it makes up for these too.

    Attributes:
        interpreter: class of what runs a module.
        criterion: the pass's.
        learned: samples to learn from.
        held: samples to judge on.
    """

    interpreter: Callable[[Module], Interpreter]
    criterion: str
    learned: Sequence[Mapping[str, Array]]
    held: Sequence[Mapping[str, Array]]

    def run(self, module: Module, chosen: Sequence[Node]) -> list[dict[str, Any]]:
        """Change the weights; an entry of the report for each."""
        wanted = set(chosen)
        dense: list[Execution] = []
        sparse: list[Execution] = []
        if self.criterion != "magnitude" and self.learned:
            started = self.interpreter(module)
            dense = [started.start(sample) for sample in (*self.learned, *self.held)]
            sparse = [started.start(sample) for sample in (*self.learned, *self.held)]
        entries: list[dict[str, Any]] = []
        new: dict[Node, dict[int, Array]] = {}
        for node in module.main:
            replaced: dict[int, Array] = {}
            operands = [execution.value(_operand(node)) for execution in sparse] if node in wanted else []
            targets = [execution.advance() for execution in dense]
            if node in wanted:
                replaced, entry = self._layer(node, operands, [target[0] for target in targets])
                new[node] = replaced
                entries.append(entry)
            for execution in sparse:
                execution.advance(replaced)
        for node, changes in new.items():
            for i, value in changes.items():
                old = node.inputs[i]
                assert old is not None
                node.set_input(i, constant(value, old.name))
        return entries

    def _layer(
        self, node: Node, operands: Sequence[Array], targets: Sequence[Array]
    ) -> tuple[dict[int, Array], dict[str, Any]]:
        """The operands to replace, weight and bias, and the layer's entry of the report."""
        w = node.inputs[1]
        assert w is not None and w.data is not None
        rows = two_four.rows_of(node, w.numpy())
        found, criterion, errors = two_four.by_magnitude(rows), "magnitude", dict[str, float]()
        replaced: dict[int, Array] = {}
        op: Any = node.op
        if operands and getattr(op, "groups", 1) == 1 and is_sampled(node):
            layer = _Layer(node, rows, operands, targets, len(self.learned))
            criterion, way, errors = layer.best(self.criterion)
            found = way.rows
            bias = _bias(node)
            if bias is not None:
                replaced[2] = (bias.numpy() + way.shift).astype(bias.type.dtype.numpy)
        weight = two_four.weight_of(node, found, w.data.shape).astype(w.type.dtype.numpy)
        assert two_four.follows_pattern(two_four.rows_of(node, weight))
        entry = {
            **identity(node),
            "shape": list(weight.shape),
            "criterion": criterion,
            "zeros": int(weight.size - np.count_nonzero(weight)),
            "errors": {name: round(value, 8) for name, value in errors.items()},
        }
        return {1: weight, **replaced}, entry


def _operand(node: Node) -> Tensor:
    x = node.inputs[0]
    assert x is not None
    return x


def _bias(node: Node) -> Tensor | None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return bias if bias is not None and bias.is_constant else None


@attrs.frozen(eq=False)
class _Way:
    """One way to make a layer sparse: its weights as rows, and what is added to the bias."""

    rows: Array
    shift: Array


@attrs.define(eq=False)
class _Layer:
    """One layer with what it reads in the sparse model and what it gave in the dense one, per sample.

    Attributes:
        node: the layer.
        rows: its weight, see `two_four.rows_of`.
        operands: what it reads.
        targets: what it should give.
        learned: how many of the samples are to learn from; the others are for judging.
    """

    node: Node
    rows: Array
    operands: Sequence[Array]
    targets: Sequence[Array]
    learned: int

    def best(self, criterion: str) -> tuple[str, _Way, dict[str, float]]:
        """The way with the least error on the samples to judge on; its name, and the errors by signal of all."""
        bias = _bias(self.node)
        sums = Sums.empty(self.rows.shape[1], len(self.rows), shifts=bias is not None)
        for read, lack in self._places(0, self.learned):
            sums.add(read, lack)
        moments = sums.moments()
        found = {"magnitude": two_four.by_magnitude(self.rows), "wanda": two_four.by_norms(self.rows, moments)}
        if self.rows.shape[1] <= WIDEST:
            found["update"] = two_four.updated(self.rows + sums.solve(RIDGE), moments)
        if criterion != "auto":
            chosen = criterion if criterion in found else "wanda"
            found = {chosen: found[chosen]}
        ways = {name: _Way(rows, sums.shift(rows - self.rows)) for name, rows in found.items()}
        errors = self._judge(ways)
        name = min(errors, key=lambda each: errors[each])
        return name, ways[name], errors

    def _judge(self, ways: Mapping[str, _Way]) -> dict[str, float]:
        errors, signal = dict.fromkeys(ways, 0.0), 1e-30
        first = self.learned if self.learned < len(self.targets) else 0
        for read, lack in self._places(first, len(self.targets)):
            signal += float(np.square(read @ self.rows.T + lack).sum())
            for name, way in ways.items():
                errors[name] += float(np.square(lack - read @ (way.rows - self.rows).T - way.shift).sum())
        return {name: error / signal for name, error in errors.items()}

    def _places(self, first: int, last: int) -> Iterator[tuple[Array, Array]]:
        """What is read, [places, n] in the order of `rows_of`, and what the dense weights' results lack there."""
        w, bias = self.node.inputs[1], _bias(self.node)
        assert w is not None and w.data is not None
        kernel = w.data.shape[2:] if self.node.op_type in CONVOLUTIONS else ()
        limit = max(64, -(-ROWS * self.rows.shape[1] // self.learned))
        axis = channel_axis(self.node, self.targets[0].ndim)
        for operand, target in zip(self.operands[first:last], self.targets[first:last], strict=True):
            patches, places = read_patches(self.node, operand, kernel, limit)  # [C, places, taps]
            read = patches.transpose(1, 2, 0).reshape(patches.shape[1], -1).astype(np.float64)
            gives = read @ self.rows.T + (0 if bias is None else bias.numpy())
            yield read, at_places(target, axis, places) - gives
