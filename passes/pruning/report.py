"""The report of a pruning: plain data, for report.json and for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.passes.pruning.groups import Group
from uair.passes.pruning.labels import Labelling
from uair.passes.quantization.statistics import Comparison, Interpreter
from uair.passes.quantization.trial import Energies, has_channels, is_comparable
from uair.quant.calibration import Calibration
from uair.quant.parameters import decibels


def identity(node: Node) -> dict[str, Any]:
    """A node by its names in the user's model."""
    return {
        "name": node.name or (node.outputs[0].name if node.outputs else ""),
        "operator": node.op_type,
        "sources": [str(source) for source in node.loc.sources],
    }


def group_entry(group: Group, labelling: Labelling, removed: set[int]) -> dict[str, Any]:
    """A group: its layers, and which of their channels are gone."""
    atoms = {p.node: p.atoms for p in labelling.producers}
    layers: list[dict[str, Any]] = []
    for node in group.producers:
        gone = [i for i, atom in enumerate(atoms[node].tolist()) if atom in removed]
        layers.append({**identity(node), "channels": len(atoms[node]), "removed": gone})
    count = sum(atom in removed for atom in group.atoms.tolist())
    return {"units": len(group.atoms), "removed": count, "layers": layers}


def amounts(before: int, after: int) -> dict[str, Any]:
    """A quantity before and after."""
    return {"before": before, "after": after, "share": round(after / before, 6) if before else 1.0}


def compare_outputs(
    original: Module, pruned: Module, run: Callable[[Module], Interpreter], samples: Sequence[Mapping[str, Array]]
) -> dict[str, dict[str, float | None]]:
    """The model's floating-point outputs before and after: noise by signal, SQNR and cosine; None for no noise."""
    graph: Graph = original.main
    whole, small = run(original), run(pruned)
    comparisons: dict[str, tuple[Comparison, Energies]] = {}
    for sample in samples:
        expected, actual = whole.run(sample), small.run(sample)
        for name, tensor in zip(graph.output_names, graph.outputs, strict=True):
            if is_comparable(tensor, graph) and expected[name].dtype.kind == "f":
                pair = comparisons.setdefault(name, (Comparison(), Energies(has_channels(tensor))))
                for each in pair:
                    each.add(expected[name], actual[name])
    return {name: _quality(*pair) for name, pair in comparisons.items()}


def _quality(comparison: Comparison, energies: Energies) -> dict[str, float | None]:
    ratio = decibels(comparison.signal, comparison.noise)
    return {
        "noise": float(np.format_float_positional(energies.loss(), precision=6, fractional=False)),
        "sqnr_db": round(ratio, 2) if math.isfinite(ratio) else None,
        "cosine": round(comparison.cosine, 6),
    }


def calibration_entry(samples: Iterable[Any] | None, count: int, held_out: int) -> dict[str, Any] | None:
    """What the samples were; None without any."""
    if samples is None:
        return None
    entry: dict[str, Any] = {"samples": count, "held_out": held_out}
    if isinstance(samples, Calibration):
        entry["source"] = samples.description
        entry["sha256"] = samples.digest()
    return entry
