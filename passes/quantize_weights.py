"""Weights of 4 or 8 bits, computed with in floating point."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from uair.ir.graph import Node
from uair.ir.module import Module
from uair.passes.quantization.placement import skipped_nodes, weight_axis
from uair.passes.quantization.report import identity
from uair.passes.quantization.weight_sites import WeightSite, WeightWriter, find_sites
from uair.pipeline import Pass, PassContext
from uair.quant.errors import QuantizationError
from uair.quant.groups import GroupedWeight, choose_grid, stored_channels, stored_matrix, stored_table
from uair.quant.scheme import WEIGHT_ONLY, WeightScheme

REPORT = "quantization"
DEFAULT_GROUP = {4: 128, 8: 0}


@attrs.frozen
class QuantizeWeights(Pass):
    """Store weights in 4 or 8 bits; the operators that read them compute in floating point.

    A Dequantize stands between the integers and their reader. Matrices (Linear, MatMul) get `bits`, with one scale for
    `group` neighbours along their inputs or one for each output channel; weights of convolutions and tables that are
    looked up get 8 bits with one scale for each output channel or row. Needs no data.

    Attributes:
        bits: of matrices: 4 or 8.
        group: how many neighbours share a scale; 0: all of an output channel. By default 128 for 4 bits and 0 for 8.
        symmetric: whether zero is the middle of the integers; by default for 8 bits only.
        skip: names of nodes, source nodes or operators, with `*` and `?`, that keep their weights.
        least: elements from which on a weight is worth it.
        scheme: what the target takes.
    """

    bits: Literal[4, 8] = 4
    group: int | None = None
    symmetric: bool | None = None
    skip: tuple[str, ...] = ()
    least: int = 1024
    scheme: WeightScheme = attrs.field(default=WEIGHT_ONLY, metadata={"option": False}, repr=False, eq=False)

    def run(self, module: Module, context: PassContext) -> bool:
        """Quantize the weights of every graph.

        Raises:
            SchemeError: the target does not take such weights; UnknownNameError: `skip` names what does not exist.
        """
        group = DEFAULT_GROUP[self.bits] if self.group is None else self.group
        symmetric = self.bits == 8 if self.symmetric is None else self.symmetric
        self.scheme.require(self.bits, group, symmetric=symmetric)
        skipped, unmatched = skipped_nodes(module.main, self.skip)
        found = find_sites(module.main, operators=self.scheme.operators, skipped=skipped, least=self.least)
        writer = WeightWriter(self.name)
        entries: list[dict[str, Any]] = []
        changed = False
        for site in found.sites:
            if not context.fuel.draw(self.name, site.readers[0]):
                break
            try:
                weight = self._quantized(site, group, symmetric=symmetric)
            except QuantizationError as error:
                found.left += [(node, error.message) for node in site.readers]
                continue
            entries += [_entry(reader, site, weight) for reader in site.readers]
            writer.write(site, weight)
            changed = True
        context.reports[REPORT] = self._report(entries, found.left, unmatched)
        return changed

    def _quantized(self, site: WeightSite, group: int, *, symmetric: bool) -> GroupedWeight:
        """The integers of one constant."""
        rows, dtype = site.rows(), site.tensor.type.dtype
        if site.kind == "matrix":
            grid = choose_grid(rows, self.bits, group, symmetric=symmetric, scale_type=dtype, name=site.name)
            return stored_matrix(grid.nearest(rows), grid, dtype)
        grid = choose_grid(rows, 8, 0, symmetric=True, scale_type=dtype, name=site.name)
        q = grid.nearest(rows)
        if site.kind == "table":
            return stored_table(q, grid, dtype)
        shape = site.tensor.numpy().shape
        axis = weight_axis(site.readers[0].op, len(shape))
        assert axis is not None
        return stored_channels(q, grid, shape, axis, dtype)

    def _report(
        self, entries: list[dict[str, Any]], left: list[tuple[Node, str]], unmatched: list[str]
    ) -> dict[str, Any]:
        """What was done, as plain data."""
        notes = [f"skip pattern {pattern!r} fits no node" for pattern in unmatched]
        if not entries:
            notes.append("nothing was quantized: the graph has no constant weights that the target takes in few bits")
        return {
            "summary": {
                "pass": self.spec,
                "weights": f"{self.bits} bits",
                "calibration": {"samples": 0},
                "quantized": len(entries),
                "float": len(left),
                "bytes": _total(entries),
                "outputs": {},
            },
            "nodes": entries,
            "skipped": [{**identity(node), "reason": reason} for node, reason in left],
            "notes": notes,
        }


def _entry(node: Node, site: WeightSite, weight: GroupedWeight) -> dict[str, Any]:
    """A node's entry in the report."""
    constants = [weight.integers.nbytes, weight.scale.nbytes]
    if weight.zero_point is not None:
        constants.append((weight.zero_point.size * weight.integers.dtype.bits + 7) // 8)
    return {
        **identity(node),
        "weight": {
            "tensor": site.name,
            "dtype": str(weight.integers.dtype),
            "axis": weight.axis,
            "group": weight.size,
            "scales": int(weight.scale.size),
            "bytes": sum(constants),
            "float_bytes": site.tensor.type.nbytes,
        },
    }


def _total(entries: list[dict[str, Any]]) -> dict[str, int]:
    """Bytes of all quantized weights, as integers with their scales and as floats; shared ones count once."""
    weights = {e["weight"]["tensor"]: e["weight"] for e in entries}.values()
    return {"stored": sum(w["bytes"] for w in weights), "float": sum(w["float_bytes"] for w in weights)}
