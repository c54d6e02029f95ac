"""Making up for removed channels: what is left of the weights is fitted to what the layers gave before.

Layer by layer, in the graph's order: the layer's new weights and bias are those that give, for what the layer reads in
the pruned model, most nearly what it gave in the whole model (least squares; He et al., arXiv 1707.06168, section 3).
The fit starts from the weights as they are and is held to them (a ridge), as few samples say little about directions
that they hardly show. Layers that cannot be fitted get the mean error of each channel added to their bias. A layer
changes only where that makes its error smaller on samples that nothing was learned from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor, constant
from uair.ir.module import Module
from uair.passes.pruning.fit import Sums
from uair.passes.pruning.labels import Labelling, kept_places
from uair.passes.pruning.patches import at_places, is_sampled, read_patches
from uair.passes.quantization.channels import channel_axis
from uair.passes.quantization.statistics import Interpreter
from uair.quant.comparison import FLOOR
from uair.quant.scheme import CONVOLUTIONS, TRANSPOSED

RIDGES = (1e-3, 1e-2, 1e-1)
"""How firmly weights are held, by the mean energy of what they read."""
WIDEST = 2400
"""Weights per result channel above which only the bias is fitted: solving takes their cube."""
ROWS = 8
"""Places of results that are looked at, by the number of weights per result channel."""


@attrs.define(eq=False)
class Compensation:
    """What was tried.

    Attributes:
        fitted: layers whose weights were fitted.
        shifted: layers whose bias alone was.
        kept: layers that stay as they are, because neither helped.
    """

    fitted: int = 0
    shifted: int = 0
    kept: int = 0


def compensate(
    original: Module,
    pruned: Module,
    labelling: Labelling,
    removed: set[int],
    run: Callable[[Module], Interpreter],
    samples: Sequence[Mapping[str, Array]],
    held_out: int,
) -> Compensation:
    """Fit the pruned module's layers, in place.

    Args:
        original: the whole module.
        pruned: the same without the channels; its main graph's nodes correspond in order.
        labelling: of the original's main graph.
        removed: the standing atoms that are gone.
        run: class of the interpreter.
        samples: those to fit on, then those to judge on.
        held_out: how many of them are for judging.
    """
    result = Compensation()
    learned = len(samples) - held_out
    if not removed or learned < 1 or held_out < 1:
        return result
    whole: Interpreter = run(original)
    small: Interpreter = run(pruned)
    exact = [whole.start(sample) for sample in samples]
    less = [small.start(sample) for sample in samples]
    changed: set[Tensor] = set()
    for node, twin in zip(original.main, pruned.main, strict=True):
        expected = [execution.advance() for execution in exact]
        touched = _is_touched(labelling, node, removed, changed)
        replaced: dict[int, Array] = {}
        if touched and _has_bias(twin):
            operands = [execution.value(_operand(twin)) for execution in less]
            places = _places(labelling, node, removed)
            targets = [_taken(value[0], node, places) for value in expected]
            layer = _Layer(twin, operands, targets, learned)
            replaced = layer.fit()
            _count(result, replaced)
        for execution in less:
            execution.advance(replaced)
        for i, value in replaced.items():
            old = twin.inputs[i]
            assert old is not None
            twin.set_input(i, constant(value, old.name))
        if touched:
            changed.update(node.outputs)
    return result


def _is_touched(labelling: Labelling, node: Node, removed: set[int], changed: set[Tensor]) -> bool:
    atoms = labelling.contractions.get(node)
    if atoms is not None and not removed.isdisjoint(atoms.tolist()):
        return True
    return any(t in changed for t in node.inputs if t is not None)


def _has_bias(node: Node) -> bool:
    known = node.op_type in (*CONVOLUTIONS, *TRANSPOSED, "Linear")
    if not known or len(node.inputs) < 3:
        return False
    w, bias = node.inputs[1], node.inputs[2]
    return w is not None and bias is not None and w.is_constant and bias.is_constant and w.type.dtype is DType.F32


def _operand(node: Node) -> Tensor:
    x = node.inputs[0]
    assert x is not None
    return x


def _places(labelling: Labelling, node: Node, removed: set[int]) -> Array | None:
    """The channels of a node's result that stay; None for all."""
    labels = labelling.of(node.output)
    return None if labels is None else kept_places(labels.atoms, removed)


def _taken(value: Array, node: Node, places: Array | None) -> Array:
    return value if places is None else np.take(value, places, channel_axis(node, value.ndim))


def _count(result: Compensation, replaced: Mapping[int, Array]) -> None:
    if 1 in replaced:
        result.fitted += 1
    elif replaced:
        result.shifted += 1
    else:
        result.kept += 1


@attrs.define(eq=False)
class _Layer:
    """One layer with what it reads in the pruned model and what it gave in the whole one, per sample.

    Attributes:
        node: the pruned model's.
        operands: what it reads.
        targets: what it should give.
        learned: how many of the samples are to fit on.
    """

    node: Node
    operands: list[Array]
    targets: list[Array]
    learned: int

    def fit(self) -> dict[int, Array]:
        """The operands to replace: weight and bias, the bias alone, or none."""
        matrix, bias = self._weights()
        sums = Sums.empty(matrix.shape[1], matrix.shape[0])
        for rows, target in self._rows(0, self.learned, matrix.shape[1]):
            sums.add(rows, target - (rows @ matrix.T + bias))
        ways: list[tuple[Array | None, Array]] = [(None, sums.mean_error())]
        if self._is_fittable(matrix.shape[1]):
            changes = [sums.solve(ridge) for ridge in RIDGES]
            ways += [(change, sums.shift(change)) for change in changes]
        errors = np.zeros((len(ways) + 1, matrix.shape[0]))
        energy = np.zeros(matrix.shape[0])
        for rows, target in self._rows(self.learned, len(self.targets), matrix.shape[1]):
            error = target - (rows @ matrix.T + bias)
            energy += np.square(target).sum(axis=0)
            errors[-1] += np.square(error).sum(axis=0)
            for i, (change, shift) in enumerate(ways):
                better = error - shift if change is None else error - rows @ change.T - shift
                errors[i] += np.square(better).sum(axis=0)
        losses = (errors / (energy + FLOOR * energy.mean() + 1e-30)).mean(axis=1)
        best = int(np.argmin(losses))
        return {} if best == len(ways) or losses[best] >= losses[-1] else self._replaced(*ways[best])

    def _is_fittable(self, width: int) -> bool:
        op: Any = self.node.op
        groups = int(getattr(op, "groups", 1))
        return groups == 1 and is_sampled(self.node) and width <= WIDEST

    def _weights(self) -> tuple[Array, Array]:
        """The weight as [result channels, channels * taps] and the bias; no columns where only the bias is fitted."""
        w, bias = (t for t in self.node.inputs[1:] if t is not None)
        values, shift = w.numpy().astype(np.float64), bias.numpy().astype(np.float64)
        op: Any = self.node.op
        if self.node.op_type == "Linear":
            matrix = values if op.transpose_w else values.T
        else:
            matrix = values.reshape(len(values), -1)
        if not self._is_fittable(matrix.shape[1]):
            return np.zeros((len(shift), 0)), np.zeros_like(shift)
        return matrix, shift

    def _rows(self, first: int, last: int, width: int) -> Iterator[tuple[Array, Array]]:
        """What is read, [places, channels * taps], and what should come out, [places, result channels]."""
        axis = channel_axis(self.node, self.targets[0].ndim)
        limit = max(64, -(-ROWS * width // max(self.learned, 1)))
        w = self.node.inputs[1]
        assert w is not None and w.data is not None
        kernel = w.data.shape[2:] if self.node.op_type in CONVOLUTIONS else ()
        for operand, target in zip(self.operands[first:last], self.targets[first:last], strict=True):
            if width == 0:  # the mean error alone: of what the layer gives as it is
                error = np.moveaxis(target - self._evaluated(operand), axis, -1).reshape(-1, target.shape[axis])
                yield np.zeros((len(error), 0)), error.astype(np.float64)
                continue
            patches, places = read_patches(self.node, operand, kernel, limit)
            rows = patches.swapaxes(0, 1).reshape(patches.shape[1], -1).astype(np.float64)
            yield rows, at_places(target, axis, places).astype(np.float64)

    def _evaluated(self, operand: Array) -> Array:
        given = [operand, *(None if t is None else t.numpy() for t in self.node.inputs[1:])]
        result: Array = self.node.op.evaluate_all(given)[0]
        return result

    def _replaced(self, change: Array | None, shift: Array) -> dict[int, Array]:
        w, bias = (t for t in self.node.inputs[1:] if t is not None)
        new = {2: (bias.numpy() + shift).astype(np.float32)}
        if change is not None:
            op: Any = self.node.op
            swapped = self.node.op_type == "Linear" and not op.transpose_w
            new[1] = (w.numpy() + (change.T if swapped else change.reshape(w.numpy().shape))).astype(np.float32)
        return new
