"""The report of a quantization: plain data, for report.json and for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from uair.ir.graph import Node
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.facts import node_name
from uair.passes.quantization.placement import Plan
from uair.passes.quantization.quality import Quality
from uair.passes.quantization.statistics import Statistics, display_name
from uair.passes.quantization.trial import Trial
from uair.quant.calibration import Calibration
from uair.quant.comparison import ErrorSums
from uair.quant.parameters import Parameters
from uair.quant.scheme import Scheme


@attrs.frozen(eq=False)
class Findings:
    """What was found out about a quantization before it was written into the graph.

    Attributes:
        quality: how far nodes and outputs are off; empty when it was not measured.
        ranges: facts about the range of every quantized activation, by node and operand number.
        worst: histograms and ranges of channels of the worst tensors, see `facts.worst_tensors`.
        sensitivity: see `sensitivity.measure_sensitivity`; empty when it was not asked for.
    """

    quality: Quality = attrs.Factory(Quality)
    ranges: Mapping[tuple[Node, int], dict[str, Any]] = attrs.Factory(dict["tuple[Node, int]", "dict[str, Any]"])
    worst: Mapping[str, Any] = attrs.Factory(dict[str, Any])
    sensitivity: Mapping[str, Any] = attrs.Factory(dict[str, Any])


def make_report(
    plan: Plan,
    trial: Trial,
    findings: Findings,
    samples: Iterable[Any],
    statistics: Statistics | None,
    *,
    spec: str,
    scheme: Scheme,
) -> dict[str, Any]:
    """What was done, as plain data.

    Returns:
        `summary` (numbers of nodes, scheme, calibration digest, quality of the outputs), `nodes` (per quantized node
        its parameters and the quality of its result), `skipped` (per float node of the scheme's operators the reason),
        `notes`; where the model was measured also `outputs` (with groups of channels), `histograms` and `channels` of
        the worst tensors, and where it was asked for `sensitivity`.
    """
    notes = [f"skip pattern {pattern!r} fits no node" for pattern in plan.unmatched]
    calibration: dict[str, Any] = {"samples": statistics.count if statistics else 0}
    if isinstance(samples, Calibration):
        notes += samples.notes
        calibration["source"] = samples.description
        if statistics is not None:
            calibration["sha256"] = samples.digest()
    if not trial.results:
        notes.append("nothing was quantized: the graph has no operator that the scheme computes on integers")
    return {
        "summary": {
            "pass": spec,
            "scheme": scheme.to_mapping(),
            "calibration": calibration,
            "quantized": len(trial.results),
            "ranges": trial.name,
            "rounding": trial.rounding,
            "trials": {name: round(loss, 8) for name, loss in trial.losses.items()},
            "float": len(plan.float_nodes),
            "outputs": {name: quality(o.errors) for name, o in findings.quality.outputs.items()},
        },
        "nodes": [_entry(result, findings) for result in trial.results],
        "skipped": [{**identity(node), "reason": reason} for node, reason in plan.float_nodes],
        "notes": notes,
        "outputs": [output.to_json() for output in findings.quality.outputs.values()],
        **findings.worst,
        **({"sensitivity": findings.sensitivity} if findings.sensitivity else {}),
    }


def identity(node: Node) -> dict[str, Any]:
    """Names by which people know a node."""
    return {
        "name": node_name(node),
        "operator": node.op_type,
        "sources": [str(source) for source in node.loc.sources],
    }


def _entry(result: NodeResult, findings: Findings) -> dict[str, Any]:
    entry = identity(result.node)
    operands = result.node.op.params
    entry["activations"] = {
        operands[min(i, len(operands) - 1)].name if not operands[-1].variadic else str(i): {
            "tensor": _tensor_name(result.node, i),
            "range": list(parameters.range),
            "method": result.methods[i],
            **parameters.to_json(),
            **findings.ranges.get((result.node, i), {}),
        }
        for i, parameters in result.activations.items()
    }
    if result.constants.weight is not None:
        entry["weight"] = _weight(result.constants.weight[0])
        entry["bias"] = "i32" if result.constants.bias is not None else "float"
    if result.constants.widened:
        entry["scales_widened_for_bias"] = result.constants.widened
    alone, accumulated = (e.get(result.node) for e in (findings.quality.alone, findings.quality.accumulated))
    if alone is not None and accumulated is not None and (alone.signal or alone.energy):
        entry["quality"] = quality(alone)
        entry["accumulated"] = quality(accumulated)
    return entry


def _tensor_name(node: Node, i: int) -> str:
    """Name of the float tensor that operand i stands for now."""
    tensor = node.inputs[i]
    while tensor is not None and tensor.producer is not None and tensor.producer.op_type in ("Dequantize", "Quantize"):
        tensor = tensor.producer.inputs[0]
    return "" if tensor is None else display_name(tensor)


def _weight(parameters: Parameters) -> dict[str, Any]:
    """Of a per-channel scale only the extremes: the numbers themselves are in the graph."""
    scale = parameters.scale
    return {
        "dtype": str(parameters.dtype),
        "axis": parameters.axis,
        "scales": int(scale.size),
        "scale_min": float(scale.min()),
        "scale_max": float(scale.max()),
    }


def quality(errors: ErrorSums) -> dict[str, float | None]:
    """Signal to noise in decibels (None: no noise, or not only numbers), cosine and mean shift."""
    return {
        "sqnr_db": round(errors.sqnr, 2) if math.isfinite(errors.sqnr) else None,
        "cosine": round(errors.cosine, 6),
        "mean_shift": float(f"{errors.mean_shift:.4g}"),
    }
