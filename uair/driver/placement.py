"""The parts of a model in words and numbers, for manifests and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uair.driver.partitioned import CompiledPart, Partitioned

QUANTIZATION = "quantization"
LISTS = ("outputs", "histograms", "channels")
"""Lists in a report on quantization that are there when the result was measured."""


def describe_part(parts: Partitioned, each: CompiledPart) -> dict[str, Any]:
    """One entry of the manifest's `partitions`."""
    island = parts.placement.islands[each.part.index]
    total = sum(other.flops for other in parts.placement.islands)
    return {
        "target": each.target.name,
        "folder": each.folder,
        "nodes": len(island.nodes),
        "flops": island.flops,
        "flops_share": island.flops / total if total else None,
        "inputs": list(each.part.graph.input_names),
        "outputs": list(each.part.graph.output_names),
    }


def describe_placement(parts: Partitioned) -> dict[str, Any]:
    """Islands, copies between them, and what runs on the CPU and why; for the report."""
    from uair.passes.partition.split import copies

    found = copies([each.part for each in parts.parts])
    prices = parts.placement.prices
    return {
        **parts.placement.to_json(),
        "copies": [
            {
                "tensor": copy.tensor,
                "part": copy.source,
                "read_by": list(copy.destinations),
                "from": copy.from_device,
                "to": copy.to_device,
                "bytes": copy.bytes,
                "seconds": prices.copy(copy.bytes),
            }
            for copy in found
        ],
        "bytes_copied": sum(copy.bytes for copy in found),
    }


def combined(parts: Sequence[CompiledPart]) -> dict[str, Any] | None:
    """The report on quantization of all parts together; None when nothing was quantized."""
    reports = [each.context.reports[QUANTIZATION] for each in parts if QUANTIZATION in each.context.reports]
    if not reports:
        return None
    summaries = [report["summary"] for report in reports]
    return {
        "summary": {
            **summaries[0],
            "quantized": sum(s["quantized"] for s in summaries),
            "float": sum(s["float"] for s in summaries),
            "outputs": {name: value for s in summaries for name, value in s["outputs"].items()},
            "parts": len(summaries),
        },
        "nodes": [node for report in reports for node in report["nodes"]],
        "skipped": [node for report in reports for node in report["skipped"]],
        "notes": list(dict.fromkeys(note for report in reports for note in report["notes"])),
        **{key: [each for report in reports for each in report.get(key, ())] for key in LISTS},
        **_sensitivity(reports),
    }


def _sensitivity(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of one part, as of a model that is compiled whole; of several, whose gains are at outputs of their own, each."""
    found = [report["sensitivity"] for report in reports if "sensitivity" in report]
    if not found:
        return {}
    return {"sensitivity": found[0]} if len(found) == 1 else {"sensitivity_of_parts": found}
