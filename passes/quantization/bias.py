"""Bias correction: the mean error that rounding leaves in each channel of a result is taken out of the bias.

Rounded weights and clipped activations shift the mean of a result, and a shift goes on through the whole model where
noise averages out (Nagel et al., arXiv 1906.04721, section 4.2). Each node is corrected behind the corrected nodes
before it; correcting all at once over-corrects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.lockstep import ChannelErrors, Decision, Step, walk
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

    def refine(step: Step) -> Decision:
        learned, checked = step.errors(step.result)
        found, change = bias_corrected(step.result, learned)
        is_better = checked.squared(change) < checked.squared()
        return Decision(found, step.result, change) if is_better else Decision(step.result, step.result)

    return walk(study, results, samples, held_out, refine)


def bias_corrected(result: NodeResult, learned: ChannelErrors) -> tuple[NodeResult, Array | float]:
    """A node with the mean of its errors in its bias, and what that adds to the channels of its results.

    A node without an integer bias stays as it is.
    """
    if result.constants.bias is None or not learned.samples:
        return result, 0.0
    return _shifted(result, learned.shift * (learned.samples / (learned.samples + PRIOR)))


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
