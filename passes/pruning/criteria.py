"""Which channels matter least.

Without data: the norm of the weights that make and read a channel (Li et al., arXiv 1608.08710, extended to all the
weights of a group as in Fang et al., arXiv 2301.12900), by the mean over the channels of the same weight.

With samples: how much the results of the layers that read a channel change when it is replaced by its mean, a closed
form in the covariance of what these layers read (the reconstruction error of ThiNet, Luo et al., arXiv 1707.06342, of
one channel at a time). It needs no gradients. It says what one layer sees; what that means for the model's outputs is
measured: some of the channels of a group are taken out, the model is run, and the noise at its outputs scales what the
layers see (a finite difference along the direction that pruning takes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor
from uair.ir.module import Module
from uair.passes.pruning.groups import Group
from uair.passes.pruning.labels import Labelling
from uair.passes.pruning.patches import is_sampled, read_patches
from uair.passes.pruning.remove import pruned_copy
from uair.passes.quantization.channels import WeightView
from uair.passes.quantization.statistics import Interpreter
from uair.passes.quantization.trial import Energies, decisive_tensors, has_channels
from uair.quant.comparison import FLOOR
from uair.quant.scheme import CONVOLUTIONS, TRANSPOSED

PLACES = 512
"""Places of a result per sample that are looked at."""
LEVELS = (0.25, 0.5)
"""Parts of a group that are taken out to measure what that does to the model's outputs."""


@attrs.frozen(eq=False)
class Ranking:
    """The atoms of a group from the least to the most important one.

    Attributes:
        group: the group.
        order: its atoms.
        noise: [n + 1]: what taking out the first k of them is predicted to do, rising.
    """

    group: Group
    order: Array
    noise: Array


# -------------------------------------------------------------------------------------------------------------- no data
def norm_scores(labelling: Labelling, groups: Sequence[Group], power: int) -> dict[int, float]:
    """By atom: the mean over the weights that it is cut from of |w|^power, by the mean over that weight's channels.

    Args:
        labelling: of the graph.
        groups: what is asked for.
        power: 1 or 2.
    """
    wanted = {atom for group in groups for atom in group.atoms.tolist()}
    sums = dict.fromkeys(wanted, 0.0)
    counts = dict.fromkeys(wanted, 0)
    for (node, i), labels in labelling.cuts.items():
        w = node.inputs[i]
        assert w is not None
        if w.type.rank < 2 or not w.type.dtype.is_float:
            continue
        magnitude = np.abs(w.numpy().astype(np.float64)) ** power
        for each in labels:
            axes = tuple(axis for axis in range(magnitude.ndim) if axis != each.axis)
            share = magnitude.mean(axis=axes)
            share = share / max(float(share.mean()), 1e-30)
            for atom, value in zip(each.atoms.tolist(), share.tolist(), strict=True):
                if atom in wanted:
                    sums[atom] += value
                    counts[atom] += 1
    return {atom: sums[atom] / max(counts[atom], 1) for atom in wanted}


def rank_by_scores(groups: Sequence[Group], scores: Mapping[int, float]) -> list[Ranking]:
    """Rankings by scores that say nothing across groups: every group loses a part of its own sum.

    The noise of a part p is -log(1 - p): it adds up over layers that follow each other, and a layer is never emptied.
    """
    found: list[Ranking] = []
    for group in groups:
        values = np.array([scores[atom] for atom in group.atoms.tolist()])
        order = np.argsort(values, kind="stable")
        lost = np.concatenate([[0.0], np.cumsum(values[order])]) / max(float(values.sum()), 1e-30)
        found.append(Ranking(group, group.atoms[order], -np.log(np.maximum(1 - lost, 1e-12))))
    return found


# -------------------------------------------------------------------------------------------------------------- samples
@attrs.define(eq=False)
class Reading:
    """What a layer reads of every channel, over samples.

    Attributes:
        node: the layer.
        mean: [C, taps].
        second: [C, taps, taps]: mean products.
        output: per channel of the result, mean and mean square.
        count: places.
    """

    node: Node
    mean: Array
    second: Array
    output: Array
    count: int = 0

    @property
    def can_shift(self) -> bool:
        """Whether the layer's bias can make up for a channel's mean."""
        return self.node.op_type in (*CONVOLUTIONS, "Linear")

    def spread(self) -> Array:
        """[C, taps, taps]: what is left of a channel when its mean is made up for, where it can be."""
        if not self.can_shift:
            return self.second
        centred: Array = self.second - self.mean[:, :, None] * self.mean[:, None, :]
        return centred


def collect_readings(
    labelling: Labelling, interpreter: Interpreter, samples: Iterable[Mapping[str, Array]]
) -> dict[Node, Reading]:
    """What the layers that sum over channels read.

    Raises:
        UairError: from a sample or from the interpreter.
    """
    readers: dict[Tensor, list[Node]] = {}
    makers: dict[Tensor, Node] = {}
    for node in labelling.contractions:
        x = node.inputs[0]
        assert x is not None
        readers.setdefault(x, []).append(node)
        makers[node.output] = node
    found: dict[Node, Reading] = {}

    def observe(tensor: Tensor, values: Array) -> None:
        for node in readers.get(tensor, ()):
            found[node] = _read(node, values, found.get(node))
        maker = makers.get(tensor)
        if maker is not None:
            axis = _channel_axis(maker)
            rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
            found[maker].output = found[maker].output + np.stack([rows.mean(axis=1), np.square(rows).mean(axis=1)])

    count = 0
    for sample in samples:
        interpreter.run(sample, observe=observe)
        count += 1
    for reading in found.values():
        reading.mean, reading.second = reading.mean / reading.count, reading.second / reading.count
        reading.output = reading.output / max(count, 1)
    return found


def _channel_axis(node: Node) -> int:
    return 1 if node.op_type in (*CONVOLUTIONS, *TRANSPOSED) else node.output.type.rank - 1


def _read(node: Node, values: Array, reading: Reading | None) -> Reading:
    w = node.inputs[1]
    assert w is not None and w.data is not None
    if is_sampled(node):
        kernel = w.data.shape[2:] if node.op_type in CONVOLUTIONS else ()
        patches, _ = read_patches(node, values, kernel, PLACES)
    else:  # a transposed convolution reads single places; its taps are taken to be independent
        patches = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1, 1)[:, :PLACES]
    patches = patches.astype(np.float64)
    if reading is None:
        channels, _, taps = patches.shape
        reading = Reading(node, np.zeros((channels, taps)), np.zeros((channels, taps, taps)), np.zeros(()))
    reading.mean = reading.mean + patches.sum(axis=1)
    reading.second = reading.second + patches.swapaxes(1, 2) @ patches
    reading.count += patches.shape[1]
    return reading


def local_scores(labelling: Labelling, readings: Mapping[Node, Reading]) -> dict[int, float]:
    """By atom: the change that its removal makes in the results of the layers that read it, by their variance.

    Summed over the layers, the mean over each one's channels.
    """
    scores: dict[int, float] = {}
    for node, atoms in labelling.contractions.items():
        energy = _energies(readings[node])
        for atom, value in zip(atoms.tolist(), energy.tolist(), strict=True):
            scores[atom] = scores.get(atom, 0.0) + value
    return scores


def _energies(reading: Reading) -> Array:
    """[C]: mean over the layer's result channels of the energy that a channel adds, by their variance."""
    node = reading.node
    w = node.inputs[1]
    assert w is not None
    view = WeightView.of(node, w.numpy().astype(np.float64))
    variance = reading.output[1] - np.square(reading.output[0])
    variance = np.maximum(variance, 0) + FLOOR * max(float(variance.mean()), 0.0) + 1e-30
    spread = reading.spread()
    result = np.zeros(len(spread))
    inputs = view.inputs
    if spread.shape[1] != view.values.shape[2]:  # independent taps
        power = np.square(view.values).sum(axis=2) * spread[inputs, 0, 0]
        np.add.at(result, inputs, power / variance[:, None])
        return np.asarray(result / len(variance))
    per_group = np.unique(inputs[:, 0])
    for first in per_group:
        rows = inputs[:, 0] == first
        channels = inputs[rows][0]
        scaled = view.values[rows] / np.sqrt(variance[rows])[:, None, None]
        by_channel = scaled.transpose(1, 2, 0)  # [C, taps, M]
        products = by_channel @ by_channel.swapaxes(1, 2)
        result[channels] += (products * spread[channels]).sum(axis=(1, 2))
    return np.asarray(result / len(variance))


def mean_biases(labelling: Labelling, readings: Mapping[Node, Reading], removed: set[int]) -> dict[Node, Array]:
    """What the means of removed channels add to the results of the layers that read them, per result channel."""
    found: dict[Node, Array] = {}
    for node, atoms in labelling.contractions.items():
        reading = readings[node]
        gone = np.fromiter((atom in removed for atom in atoms.tolist()), bool, len(atoms))
        if not reading.can_shift or not gone.any():
            continue
        w = node.inputs[1]
        assert w is not None
        view = WeightView.of(node, w.numpy().astype(np.float64))
        mean = np.where(gone[:, None], reading.mean, 0.0)
        found[node] = np.einsum("mct,mct->m", view.values, mean[view.inputs])
    return found


# --------------------------------------------------------------------------------------------------------- measurements
@attrs.define(eq=False)
class Probe:
    """Runs pruned copies of a model and measures the noise at its outputs.

    Attributes:
        module: the whole model.
        labelling: of its main graph.
        run: class of the interpreter.
        samples: what is run.
    """

    module: Module
    labelling: Labelling
    run: Callable[[Module], Interpreter]
    samples: Sequence[Mapping[str, Array]]
    _expected: list[dict[Tensor, Array]] = attrs.Factory(list["dict[Tensor, Array]"])

    def noise(self, pruned: Module) -> float:
        """Mean over channels and outputs of noise by signal, where a pruned copy differs; 0 when it does nowhere."""
        wanted = {t: None for t in decisive_tensors(self.module.main)}
        if not self._expected:
            interpreter = self.run(self.module)
            self._expected = [_watched(interpreter, sample, {t: t for t in wanted}) for sample in self.samples]
        pairs = zip(self.module.main, pruned.main, strict=True)
        twins = {b: a for x, y in pairs for a, b in zip(x.outputs, y.outputs, strict=True) if a in wanted}
        energies = {t: Energies(has_channels(t)) for t in wanted}
        interpreter = self.run(pruned)
        for sample, expected in zip(self.samples, self._expected, strict=True):
            for tensor, values in _watched(interpreter, sample, twins).items():
                energies[tensor].add(expected[tensor], values)
        return float(np.mean([e.loss() for e in energies.values()])) if energies else 0.0

    def removed(self, atoms: set[int], biases: Mapping[Node, Array]) -> Module:
        """A copy of the model without these channels, see `remove_channels`."""
        return pruned_copy(self.module, self.labelling, atoms, biases)

    def without(self, readings: Mapping[Node, Reading], atoms: Array) -> float:
        """The noise without these channels, their means made up for."""
        removed = set(atoms.tolist())
        return self.noise(self.removed(removed, mean_biases(self.labelling, readings, removed)))


def _watched(
    interpreter: Interpreter, sample: Mapping[str, Array], names: Mapping[Tensor, Tensor]
) -> dict[Tensor, Array]:
    found: dict[Tensor, Array] = {}

    def observe(tensor: Tensor, values: Array) -> None:
        if tensor in names:
            found[names[tensor]] = values

    interpreter.run(sample, observe=observe)
    return found


def rank_by_output(
    groups: Sequence[Group], scores: Mapping[int, float], readings: Mapping[Node, Reading], probe: Probe
) -> list[Ranking]:
    """Rankings whose noise is that of the model's outputs."""
    found: list[Ranking] = []
    for group in groups:
        values = np.array([scores.get(atom, 0.0) for atom in group.atoms.tolist()])
        order = np.argsort(values, kind="stable")
        atoms = group.atoms[order]
        local = np.concatenate([[0.0], np.cumsum(values[order])])
        places, factors = [], []
        for level in LEVELS:
            k = max(1, round(level * len(atoms)))
            places.append(k)
            factors.append(probe.without(readings, atoms[:k]) / max(local[k], 1e-12))
        noise = local * np.interp(np.arange(len(atoms) + 1), places, factors)
        found.append(Ranking(group, atoms, np.maximum.accumulate(noise)))
    return found
