"""Mixed precision: which parts of a model stay in float so that its outputs stay close to the float model's.

Some layers bear 8 bits badly: spectrograms whose logarithm shows the rounding of quiet sounds, narrow channels behind
few filters, gates of recurrent layers. Nobody can tell which by looking, so they are measured: the model is cut into
segments of neighbouring nodes, and each is quantized alone, which tells what its rounding costs the outputs. Then the
costly ones stay in float, as few as make the outputs good enough.

Models that shuffle channels stay quantized throughout: rknn-toolkit2 2.5.0 makes convolutions of shuffles, and where a
part of the model is float it may fail at another convolution with "Invalid w_par['dtype'] = float16".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from uair.ir.dtype import Array
from uair.ir.graph import Node
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.statistics import Comparison
from uair.passes.quantization.trial import Study, is_comparable
from uair.quant.scheme import COMPUTE
from uair.targets.steps import shuffled

MOST_SEGMENTS = 24
"""Segments that a model is cut into at most; each is run by itself."""
RANKING = 2
"""Samples by which segments are ranked; what is chosen is checked on all."""


def split_precision(
    study: Study, results: list[NodeResult], least: float
) -> tuple[list[NodeResult], list[tuple[Node, str]]]:
    """The nodes that stay quantized, and those that stay in float with the reason.

    Args:
        study: the float model and what runs it.
        results: the nodes that could be quantized, in order.
        least: lowest cosine similarity that every output shall have on every sample at hand; 0: whatever it is.
    """
    if least <= 0 or not results or any(map(shuffled, study.module.main)):
        return results, []
    outputs = _Outputs(study)
    before = outputs.worst_cosine(results)
    if before >= least:
        return results, []
    segments = cut(results)
    few = attrs.evolve(study, statistics=attrs.evolve(study.statistics, kept=study.statistics.kept[:RANKING]))
    reference = few.references()
    losses = [few.loss(segment, reference) for segment in segments]
    order = sorted(range(len(segments)), key=lambda i: -losses[i])

    def without(count: int) -> list[NodeResult]:
        left = set(order[count:])
        return [result for i, segment in enumerate(segments) if i in left for result in segment]

    low, high = 1, len(segments)  # with all segments in float nothing is lost
    while low < high:
        middle = (low + high) // 2
        if outputs.worst_cosine(without(middle)) >= least:
            high = middle
        else:
            low = middle + 1
    kept = without(low)
    stay = {result.node for result in kept}
    reason = f"its part of the model stays float: quantized throughout, an output has cosine {before:.4f}"
    return kept, [(result.node, reason) for result in results if result.node not in stay]


class _Outputs:
    """The float model's comparable outputs on every sample that is kept."""

    def __init__(self, study: Study) -> None:
        graph = study.module.main
        self.study = study
        self.names = [
            name
            for name, tensor in zip(graph.output_names, graph.outputs, strict=True)
            if tensor.type.dtype.is_float and is_comparable(tensor, graph)
        ]
        exact = study.run(study.module)
        self.expected = [self._of(exact.run(sample)) for sample in study.statistics.kept]

    def _of(self, results: Mapping[str, Any]) -> dict[str, Array]:
        return {name: results[name] for name in self.names}

    def worst_cosine(self, results: list[NodeResult]) -> float:
        """The lowest of an output on a sample; 1 for a model without comparable outputs."""
        if not results or not self.names:
            return 1.0
        rounded = self.study.run(self.study.quantized_copy(results)[0])
        worst = 1.0
        for sample, expected in zip(self.study.statistics.kept, self.expected, strict=True):
            actual = rounded.run(sample)
            for name in self.names:
                comparison = Comparison()
                comparison.add(expected[name], actual[name])
                worst = min(worst, comparison.cosine)
        return worst


def cut(results: Sequence[NodeResult]) -> list[list[NodeResult]]:
    """Neighbouring nodes in segments of about equal numbers, each from an operator with a weight on.

    What activates, pools or moves its results stays with it: rknn-toolkit2 fails on channel shuffles and activations of
    which a part is in float16.
    """
    size = -(-len(results) // MOST_SEGMENTS)
    segments: list[list[NodeResult]] = []
    for result in results:
        if segments and (len(segments[-1]) < size or result.node.op_type not in COMPUTE):
            segments[-1].append(result)
        else:
            segments.append([result])
    return segments
