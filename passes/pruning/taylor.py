"""The Taylor criterion: what closing a channel's gate does to the outputs, from gradients.

Every channel gets a gate z, 1 as long as it is there, at each place where a layer reads it. The gradient of a loss L
by z is the sum over these places of (x - m) dL/dx, where m is what the channel becomes when it goes: its mean if that
is made up for, else 0. A channel's importance is the mean over the samples of (dL/dz)^2 (Molchanov et al., arXiv
1906.10771, section 3.1, with the gates of section 3.2); that of several is the sum.

There are no labels, and a loss that compares the outputs with those of the whole model has no gradient there: the
whole model is its minimum. Instead L = u . y, where u has random signs, by the root of the mean square of each output
channel. The mean over u of (dL/dz)^2 is |dy/dz|^2 by the signal: the noise by signal that closing the gate makes at
the outputs, to first order in y. That is what pruned models are judged by, for any kind of output, and it compares
layers with each other. Outputs are taken in front of a final softmax or sigmoid, which hides what happens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor
from uair.ir.module import Module
from uair.passes.pruning.criteria import Ranking
from uair.passes.pruning.groups import Group
from uair.passes.pruning.labels import Labelling
from uair.passes.quantization.trial import decisive_tensors, has_channels
from uair.quant.comparison import FLOOR


class Differentiator(Protocol):
    """What runs a module backwards: `uair.codegen.reference.Differentiator`."""

    def run(
        self,
        feeds: Mapping[str, Any],
        seeds: Callable[[dict[str, Any]], Mapping[str, Array]],
        *,
        observe_use: Callable[[Node, int, Array, Array], None] | None = None,
    ) -> Any:
        """Forwards and backwards; `observe_use` sees values and gradients of the uses that were asked for."""
        ...


def reads_of(labelling: Labelling) -> list[Node]:
    """Where channels end: nodes that sum over those of operand 0. In a product of activations it stands for both."""
    found: list[Node] = []
    for node in labelling.graph:
        labels = labelling.of(node.inputs[0]) if node.inputs else None
        if labels is None:
            continue
        if node in labelling.contractions or (node.op_type == "MatMul" and labels.axis == _summed_axis(node)):
            found.append(node)
    return found


def _summed_axis(node: Node) -> int:
    op: Any = node.op
    x = node.inputs[0]
    assert x is not None
    return x.type.rank - (2 if op.trans_a else 1)


def gate_gradients(
    module: Module,
    labelling: Labelling,
    make: Callable[..., Differentiator],
    samples: Sequence[Mapping[str, Array]],
    means: Mapping[Node, Array],
    *,
    seed: int = 0,
) -> Array:
    """[samples, atoms]: the gradients of the gates by standing atom.

    Args:
        module: the whole model.
        labelling: of its main graph.
        make: class of the differentiator.
        samples: what is run.
        means: by node that reads, the mean of each channel that is made up for, [C].
        seed: of the random directions.

    Raises:
        NoGradientError: there is no gradient through a node.
        UairError: from the interpreter.
    """
    copy = module.clone()
    twins = dict(zip(module.main, copy.main, strict=True))
    outputs = _Outputs({})
    for tensor in decisive_tensors(module.main):
        assert tensor.producer is not None  # inputs that are outputs decide nothing
        name = f"decisive{len(copy.main.output_names)}"
        while name in copy.main.output_names:
            name += "_"
        outputs.tensors[name] = tensor
        copy.main.add_output(name, twins[tensor.producer].outputs[tensor.index])
    readers = {twins[node]: node for node in reads_of(labelling)}
    differentiator = make(copy, uses=[(twin, 0) for twin in readers])
    for sample in samples:
        differentiator.run(sample, outputs.observe)
    rng = np.random.default_rng(seed)
    found = np.zeros(
        (len(samples), 1 + max((int(v.atoms.max(initial=0)) for v in labelling.values.values()), default=0))
    )
    for row, sample in zip(found, samples, strict=True):

        def observe(twin: Node, i: int, value: Array, gradient: Array, row: Array = row) -> None:
            node = readers[twin]
            labels = labelling.of(node.inputs[i])
            assert labels is not None
            np.add.at(row, labels.atoms, _by_channel(value, gradient, labels.axis, means.get(node)))

        differentiator.run(sample, lambda values: outputs.directions(values, rng), observe_use=observe)
    return found


def _by_channel(value: Array, gradient: Array, axis: int, mean: Array | None) -> Array:
    """[C]: the sum of (value - mean) gradient over all other axes."""
    others = tuple(a for a in range(value.ndim) if a != axis)
    wide = gradient.astype(np.float64)
    total: Array = (value * wide).sum(axis=others)
    return total if mean is None else total - mean * wide.sum(axis=others)


@attrs.define(eq=False)
class _Outputs:
    """The outputs with their signal over samples: the mean over channels is taken of noise by signal.

    Attributes:
        tensors: by name.
        signals: by name, summed squares, of each channel where there are channels.
        count: samples.
    """

    tensors: dict[str, Tensor]
    signals: dict[str, Array] = attrs.Factory(dict[str, Array])
    count: int = 0

    def observe(self, outputs: Mapping[str, Any]) -> dict[str, Array]:
        """Take in one sample; no gradient is asked for."""
        self.count += 1
        for name, tensor in self.tensors.items():
            y = outputs[name].astype(np.float64)
            axes = tuple(i for i in range(y.ndim) if i != 1) if has_channels(tensor) else None
            self.signals[name] = self.signals.get(name, np.zeros(())) + np.square(y).sum(axis=axes)
        return {}

    def directions(self, outputs: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Array]:
        """Random signs, scaled such that the mean of the squared product with noise is the noise by signal."""
        return {name: self._direction(name, outputs[name], rng) for name in self.tensors}

    def _direction(self, name: str, y: Array, rng: np.random.Generator) -> Array:
        signal = self.signals[name] / self.count
        signal = signal + FLOOR * signal.mean() + 1e-30
        scale: Array = 1 / np.sqrt(signal * (signal.size * len(self.tensors)))
        if scale.ndim:
            scale = scale.reshape(-1, *(1,) * (y.ndim - 2))
        return np.asarray(np.where(rng.random(y.shape) < 0.5, -scale, scale))


def rank_by_gates(groups: Sequence[Group], gradients: Array) -> list[Ranking]:
    """Rankings whose noise is the mean over the samples of the squared gradients, summed over what goes."""
    importance = np.square(gradients).mean(axis=0)
    found: list[Ranking] = []
    for group in groups:
        order = np.argsort(importance[group.atoms], kind="stable")
        atoms = group.atoms[order]
        found.append(Ranking(group, atoms, np.concatenate([[0.0], np.cumsum(importance[atoms])])))
    return found
