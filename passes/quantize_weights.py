"""Weights of 4 or 8 bits, computed with in floating point."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from uair.context import resolve
from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import Node
from uair.ir.module import Module
from uair.passes.quantization.placement import skipped_nodes, weight_axis
from uair.passes.quantization.report import identity, quality
from uair.passes.quantization.statistics import SpreadSamples
from uair.passes.quantization.trial import compare_outputs
from uair.passes.quantization.weight_sites import WeightSite, WeightWriter, find_sites
from uair.passes.quantization.weight_tuning import (
    Rounded,
    Ways,
    apply_change,
    apply_shift,
    batches,
    collect_moments,
    input_groups,
    tune,
)
from uair.pipeline import INTERPRETER, Pass, PassContext, service
from uair.preprocess import Preprocess
from uair.quant.calibration import Calibration, open_calibration
from uair.quant.comparison import ErrorSums
from uair.quant.errors import CalibrationSourceError, QuantizationError
from uair.quant.groups import GroupedWeight, choose_grid, stored_channels, stored_matrix, stored_table
from uair.quant.parameters import decibels
from uair.quant.scheme import WEIGHT_ONLY, WeightScheme

REPORT = "quantization"
DEFAULT_GROUP = {4: 128, 8: 0}


@attrs.frozen
class QuantizeWeights(Pass):
    """Store weights in 4 or 8 bits; the operators that read them compute in floating point.

    A Dequantize stands between the integers and their reader. Matrices (Linear, MatMul) get `bits`, with one scale for
    `group` neighbours along their inputs or one for each output channel; weights of convolutions and tables that are
    looked up get 8 bits with one scale for each output channel or row. With calibration samples matrices are rounded so
    that their products change little, see uair.passes.quantization.weight_tuning.

    Attributes:
        bits: of matrices: 4 or 8.
        group: how many neighbours share a scale; 0: all of an output channel. By default 128 for 4 bits and 0 for 8.
        symmetric: whether zero is the middle of the integers; by default for 8 bits only, and where the target takes no
            other.
        method: how matrices are rounded: "nearest", "gptq" (with feedback), "awq" (with scaled channels), or "auto":
            for each the best of these on samples that are held out, without samples to the nearest.
        calib: path of the calibration data, see uair.quant.calibration.
        limit: how many samples are used at most.
        skip: names of nodes, source nodes or operators, with `*` and `?`, that keep their weights.
        least: elements from which on a weight is worth it.
        quality: compare the outputs with the float model's on some of the samples, for the report.
        scheme: what the target takes.
        samples: the calibration samples, mappings of arrays by input name; overrides `calib`.
        preprocess: how calibration images become inputs, by input name, for `calib`.
        interpreter: class of what runs a module.
    """

    bits: Literal[4, 8] = 4
    group: int | None = None
    symmetric: bool | None = None
    method: Literal["auto", "nearest", "gptq", "awq"] = "auto"
    calib: str = ""
    limit: int = 64
    skip: tuple[str, ...] = ()
    least: int = 1024
    quality: bool = True
    scheme: WeightScheme = service(WEIGHT_ONLY)
    samples: Iterable[Mapping[str, Any]] | None = service()
    preprocess: Mapping[str, Preprocess] | None = service()
    interpreter: Any = service(INTERPRETER)

    def run(self, module: Module, context: PassContext) -> bool:
        """Quantize the weights of every graph.

        Raises:
            SchemeError: the target does not take such weights; UnknownNameError: `skip` names what does not exist;
            CalibrationSourceError, CalibrationDataError, EmptyCalibrationError: the samples.
        """
        ways = self._ways()
        skipped, unmatched = skipped_nodes(module.main, self.skip)
        found = find_sites(module.main, scheme=self.scheme, group=ways.group, skipped=skipped, least=self.least)
        samples = self._calibration(module)
        original = module.clone() if samples is not None and self.quality else None
        work = _Work(module, context, self.name, ways, self.scheme.blocks == "whole", found.left)
        if samples is not None and ways.method != "nearest":
            work.tune(found.sites, samples, resolve(self.interpreter))
        for site in found.sites:
            work.round(site)
        outputs: dict[str, ErrorSums] = {}
        if original is not None and work.entries:
            assert samples is not None
            outputs = compare_outputs(original, module, spread(samples), resolve(self.interpreter))
        context.reports[REPORT] = self._report(work, unmatched, samples, outputs)
        return bool(work.entries)

    def _ways(self) -> Ways:
        """What is tried.

        Raises:
            SchemeError: the target does not take such weights, or there is nothing to choose a method by.
        """
        group = DEFAULT_GROUP[self.bits] if self.group is None else self.group
        symmetric = self.symmetric
        if symmetric is None:
            symmetric = self.bits == 8 or self.scheme.symmetric == "only"
        self.scheme.require(self.bits, group, symmetric=symmetric)
        if self.method in ("gptq", "awq") and self.samples is None and not self.calib:
            raise CalibrationSourceError(
                f"method {self.method} needs calibration data",
                hint="give it with --calib, or quantize-weights{calib=FOLDER}",
            )
        return Ways(self.bits, group, symmetric, self.method)

    def _calibration(self, module: Module) -> Iterable[Mapping[str, Array]] | None:
        if isinstance(self.samples, Calibration) or (self.samples is None and not self.calib):
            return self.samples
        types = {n: t.type for n, t in zip(module.main.input_names, module.main.inputs, strict=True)}
        source = self.calib if self.samples is None else self.samples
        return open_calibration(source, types, preprocess=self.preprocess, limit=self.limit)

    def _report(
        self,
        work: _Work,
        unmatched: list[str],
        samples: Iterable[Mapping[str, Array]] | None,
        outputs: Mapping[str, ErrorSums],
    ) -> dict[str, Any]:
        """What was done, as plain data."""
        entries, left = work.entries, work.left
        notes = [f"skip pattern {pattern!r} fits no node" for pattern in unmatched]
        calibration: dict[str, Any] = {"samples": 0}
        if isinstance(samples, Calibration):
            notes += samples.notes
            calibration = {
                "samples": samples.count,
                "source": samples.description,
                "sha256": samples.digest(),
            }
        if not entries:
            notes.append("nothing was quantized: the graph has no constant weights that the target takes in few bits")
        return {
            "summary": {
                "pass": self.spec,
                "weights": f"weights of {self.bits} bits",
                "calibration": calibration,
                "quantized": len(entries),
                "float": len(left),
                "bytes": _total(entries),
                "outputs": {name: quality(c) for name, c in outputs.items()},
            },
            "nodes": entries,
            "skipped": [{**identity(node), "reason": reason} for node, reason in left],
            "notes": notes,
        }


@attrs.define(eq=False)
class _Work:
    """The state of one run.

    Attributes:
        module: that is changed.
        context: of the run.
        maker: the pass.
        ways: what is tried.
        in_blocks: whether the scales of a matrix lie in blocks also where there is one for each output channel.
        left: nodes that keep their weights, with the reason.
        entries: of the report.
    """

    module: Module
    context: PassContext
    maker: str
    ways: Ways
    in_blocks: bool
    left: list[tuple[Node, str]]
    entries: list[dict[str, Any]] = attrs.Factory(list[dict[str, Any]])
    done: set[WeightSite] = attrs.Factory(set[WeightSite])

    def tune(self, sites: list[WeightSite], samples: Iterable[Mapping[str, Array]], interpreter: Any) -> None:
        """Round the matrices of the main graph as the samples say is best."""
        graph = self.module.main
        for batch in batches(input_groups(sites, graph)):
            for group in collect_moments(batch, interpreter(self.module), samples):
                try:
                    tuned, change = tune(group, self.ways)
                except QuantizationError:  # the matrix is met again, alone
                    continue
                if not all(self.context.fuel.draw(self.maker, site.readers[0]) for site in group.sites):
                    self.done.update(sites)
                    return
                if change is not None:
                    apply_change(graph, change)
                for site, rounded in tuned:
                    if rounded.shift is not None:
                        apply_shift(site, rounded.shift)
                    weight = stored_matrix(rounded.q, rounded.grid, site.tensor.type.dtype, in_blocks=self.in_blocks)
                    self._write(site, weight, rounded)

    def round(self, site: WeightSite) -> None:
        """Round one constant to the nearest, if that was not done better."""
        if site in self.done or not self.context.fuel.draw(self.maker, site.readers[0]):
            return
        try:
            self._write(site, nearest(site, self.ways, in_blocks=self.in_blocks))
        except QuantizationError as error:
            self.left += [(node, error.message) for node in site.readers]

    def _write(self, site: WeightSite, weight: GroupedWeight, rounded: Rounded | None = None) -> None:
        self.entries += [_entry(reader, site, weight, rounded) for reader in site.readers]
        WeightWriter(self.maker).write(site, weight)
        self.done.add(site)


def nearest(site: WeightSite, ways: Ways, *, in_blocks: bool) -> GroupedWeight:
    """The integers of one constant, each the nearest; see `stored_matrix` for `in_blocks`.

    Raises:
        QuantizationError: it is not finite.
    """
    rows, dtype = site.rows(), site.tensor.type.dtype
    if site.kind == "matrix":
        grid = choose_grid(rows, ways.bits, ways.group, symmetric=ways.symmetric, scale_type=dtype, name=site.name)
        return stored_matrix(grid.nearest(rows), grid, dtype, in_blocks=in_blocks)
    grid = choose_grid(rows, 8, 0, symmetric=True, scale_type=dtype, name=site.name)
    q = grid.nearest(rows)
    if site.kind == "table":
        return stored_table(q, grid, dtype)
    shape = static(site.tensor.type.dims)
    axis = weight_axis(site.readers[0].op, len(shape))
    assert axis is not None
    return stored_channels(q, grid, shape, axis, dtype)


def spread(samples: Iterable[Mapping[str, Array]]) -> list[Mapping[str, Array]]:
    """Some of the samples, evenly."""
    kept = SpreadSamples()
    for sample in samples:
        kept.offer(sample)
    return kept.kept


def _entry(node: Node, site: WeightSite, weight: GroupedWeight, rounded: Rounded | None) -> dict[str, Any]:
    """A node's entry in the report; the quality is that of its products on the samples that are held out."""
    constants = [weight.integers.nbytes, weight.scale.nbytes]
    if weight.zero_point is not None:
        constants.append((weight.zero_point.size * weight.integers.dtype.bits + 7) // 8)
    entry: dict[str, Any] = {} if rounded is None else {"quality": _quality(rounded)}
    return {
        **identity(node),
        **entry,
        "weight": {
            "method": "nearest" if rounded is None else rounded.method,
            "tensor": site.name,
            "dtype": str(weight.integers.dtype),
            "axis": weight.axis,
            "group": weight.size,
            "scales": int(weight.scale.size),
            "bytes": sum(constants),
            "float_bytes": site.tensor.type.nbytes,
        },
    }


def _quality(rounded: Rounded) -> dict[str, float | None]:
    ratio = decibels(1.0, rounded.error)
    return {"sqnr_db": round(ratio, 2) if math.isfinite(ratio) else None, "cosine": round(rounded.cosine, 6)}


def _total(entries: list[dict[str, Any]]) -> dict[str, int]:
    """Bytes of all quantized weights, as integers with their scales and as floats; shared ones count once."""
    weights = {e["weight"]["tensor"]: e["weight"] for e in entries}.values()
    return {"stored": sum(w["bytes"] for w in weights), "float": sum(w["float_bytes"] for w in weights)}
