"""Bias correction: the mean error that rounding leaves in each channel of a result is taken out of the bias.

Rounded weights and clipped activations shift the mean of a result, and a shift goes on through the whole model where
noise averages out (Nagel et al., arXiv 1906.04721, section 4.2). Each node is corrected behind the corrected nodes
before it; correcting all at once over-corrects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.passes.quantization.channels import channel_axis
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.lockstep import Step, squared_error, walk
from uair.passes.quantization.trial import Study
from uair.quant.parameters import Parameters

PRIOR = 2
"""Samples that say that there is no shift: what few samples show is trusted less."""


def correct_biases(
    study: Study, results: Sequence[NodeResult], samples: Sequence[Mapping[str, Array]], held_out: int
) -> list[NodeResult]:
    """The results with corrected biases.

    Args:
        study: the float model and what runs it.
        results: how its nodes are quantized.
        samples: those to learn the shifts from, then those to check them on.
        held_out: how many of the samples are only checked on. A node whose error a correction does not make smaller on
            them keeps its bias.
    """
    learned = len(samples) - held_out
    check = slice(learned, None) if held_out else slice(None)

    def refine(step: Step) -> tuple[NodeResult, list[Array]]:
        found, values = bias_corrected(step.result, step.expected, step.actual, learned)
        before, after = (squared_error(step.expected[check], each[check]) for each in (step.actual, values))
        return (found, values) if after < before else (step.result, step.actual)

    return walk(study, results, samples, refine)


def bias_corrected(
    result: NodeResult, expected: list[Array], actual: list[Array], learned: int
) -> tuple[NodeResult, list[Array]]:
    """A node with the mean error of the first `learned` samples in its bias, and its results then.

    A node without an integer bias stays as it is.
    """
    if result.constants.bias is None or not learned:
        return result, actual
    axis = channel_axis(result.node, expected[0].ndim)
    shift = _mean_error(expected[:learned], actual[:learned], axis) * (learned / (learned + PRIOR))
    corrected, change = _shifted(result, shift)
    shape = tuple(-1 if i == axis else 1 for i in range(expected[0].ndim))
    return corrected, [a + change.reshape(shape).astype(a.dtype) for a in actual]


def _mean_error(expected: Sequence[Array], actual: Sequence[Array], axis: int) -> Array:
    """[C]: the mean over samples and places of expected - actual."""
    total: Any = 0.0
    for e, a in zip(expected, actual, strict=True):
        difference = e.astype(np.float64) - a
        total = total + difference.mean(axis=tuple(i for i in range(e.ndim) if i != axis))
    return np.asarray(total / len(expected))


def _shifted(result: NodeResult, shift: Array) -> tuple[NodeResult, Array]:
    """The node with `shift` added to its bias as far as its integers can say it, and what was added."""
    assert result.constants.bias is not None
    parameters, integers = result.constants.bias
    least, greatest = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    moved = integers + np.rint(shift / parameters.scale.astype(np.float64)).reshape(integers.shape)
    new = np.clip(moved, least, greatest).astype(np.int32)
    change = (new.astype(np.float64) - integers) * parameters.scale
    pair: tuple[Parameters, Array] = (parameters, new)
    return attrs.evolve(result, constants=attrs.evolve(result.constants, bias=pair)), change.reshape(-1)
