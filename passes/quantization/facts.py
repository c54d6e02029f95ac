"""Facts for people about the chosen ranges: what was seen, what is cut off, how many of the integers are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.placement import weight_axis
from uair.passes.quantization.quality import Quality
from uair.passes.quantization.statistics import display_name
from uair.passes.quantization.trial import Study
from uair.quant.observers import RangeObserver
from uair.quant.parameters import Parameters
from uair.quant.ranges import percentile_range

CENTRAL = 99.9
"""Per cent of the values, the range of which is told beside the chosen one."""
WORST = 8
"""Nodes whose tensors are shown: those whose results lose most when only they are quantized."""
BINS = 64
MOST_CHANNELS = 64


def range_facts(observer: RangeObserver, parameters: Parameters) -> dict[str, Any]:
    """What a range means for the values that were seen, by their histogram.

    Returns:
        `observed` (least and greatest value), `central` (range of the central 99.9 %), `clipped_percent` (values beyond
        the range by more than rounding, half a step), `codes` (how many different integers stand for the values).
    """
    if not observer.count:
        return {}
    centres, counts = observer.histogram()
    low, high = parameters.range
    half = float(parameters.scale) / 2
    outside = (centres < low - half) | (centres > high + half)
    codes = parameters.quantize(centres.astype(np.float32))  # in order, as the centres are
    return {
        "observed": _rounded([observer.minimum, observer.maximum]),
        "central": _rounded(percentile_range(observer, CENTRAL)),
        "clipped_percent": float(f"{100 * counts[outside].sum() / observer.count:.3g}"),
        "codes": 1 + int(np.count_nonzero(codes[1:] != codes[:-1])),
    }


def worst_tensors(study: Study, results: Sequence[NodeResult], quality: Quality) -> dict[str, Any]:
    """Histograms of the activations of the worst nodes, and the ranges of single channels there.

    Returns:
        `histograms`: `node`, `tensor`, `range` (the chosen one), `low`, `high` (of the histogram), `counts`.
        `channels`: `node`, `tensor`, `kind` ("activation" or "weight"), `low` and `high` (each channel's, or those of
        neighbours together where there are more than 64), `range`.
    """
    worst = sorted(quality.alone, key=lambda node: quality.alone[node].sqnr)[:WORST]
    by_node = {result.node: result for result in results}
    chosen = [by_node[node] for node in worst]
    by_read = {result.item.operand(0): result for result in chosen if 0 in result.activations}
    return {
        "histograms": [h for result in chosen for h in _histograms(study, result)],
        "channels": [
            *(c for result in by_read.values() for c in _activation_channels(quality, result)),
            *(c for result in chosen for c in _weight_channels(result)),
        ],
    }


def _histograms(study: Study, result: NodeResult) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for i, parameters in result.activations.items():
        tensor = result.item.operand(i)
        observer = study.statistics.observers.get(study.plan.groups[tensor])
        if observer is None or not observer.count or not observer.maximum > observer.minimum:
            continue
        centres, counts = observer.histogram()
        low, high = observer.minimum, observer.maximum
        index = np.clip(((centres - low) / (high - low) * BINS).astype(np.int64), 0, BINS - 1)
        found.append(
            {
                "node": node_name(result.node),
                "tensor": display_name(tensor),
                "range": _rounded(parameters.range),
                "low": low,
                "high": high,
                "counts": np.bincount(index, counts, minlength=BINS).astype(np.int64).tolist(),
            }
        )
    return found


def _activation_channels(quality: Quality, result: NodeResult) -> list[dict[str, Any]]:
    """What the float model showed of the channels that a node reads first, if that becomes integers."""
    if result.node not in quality.channels:
        return []
    name = display_name(result.item.operand(0))
    ends = result.activations[0].range
    return [_channels(node_name(result.node), name, "activation", *quality.channels[result.node], ends)]


def _weight_channels(result: NodeResult) -> list[dict[str, Any]]:
    item, pair = result.item, result.constants.weight
    if item.weight is None or pair is None:
        return []
    parameters, integers = pair
    values = parameters.dequantize(integers.array())
    axis = weight_axis(result.node.op, values.ndim)
    if axis is None:
        return []
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = float(parameters.scale.max())
    least, greatest = parameters.dtype.range
    ends = (scale * least, scale * greatest)
    name = display_name(item.operand(item.weight))
    return [_channels(node_name(result.node), name, "weight", values.min(axis=others), values.max(axis=others), ends)]


def _channels(
    node: str, tensor: str, kind: str, low: Array, high: Array, chosen: tuple[float, float]
) -> dict[str, Any]:
    step = -(-low.size // MOST_CHANNELS) or 1
    starts = np.arange(0, low.size, step)
    return {
        "node": node,
        "tensor": tensor,
        "kind": kind,
        "together": step,
        "low": _rounded(np.minimum.reduceat(low, starts).tolist()),
        "high": _rounded(np.maximum.reduceat(high, starts).tolist()),
        "range": _rounded(chosen),
    }


def node_name(node: Node) -> str:
    """The name of a node in reports."""
    return node.name or (node.outputs[0].name if node.outputs else "")


def _rounded(values: Sequence[float]) -> list[float]:
    """Four digits say enough about the ends of a range."""
    return [float(f"{v:.4g}") for v in values]


def facts_by_operand(study: Study, results: Sequence[NodeResult]) -> dict[tuple[Node, int], dict[str, Any]]:
    """`range_facts` of every quantized activation, by node and operand number; groups are looked at once."""
    known: dict[tuple[Tensor, int], dict[str, Any]] = {}
    found: dict[tuple[Node, int], dict[str, Any]] = {}
    for result in results:
        for i, parameters in result.activations.items():
            root = study.plan.groups[result.item.operand(i)]
            key = root, id(parameters)
            if key not in known and root in study.statistics.observers:
                known[key] = range_facts(study.statistics.observers[root], parameters)
            found[result.node, i] = known.get(key, {})
    return found
