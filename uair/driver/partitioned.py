"""Compiling a model in parts: what the target takes for the target, the rest for the CPU."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from uair.artifact import write_arrays
from uair.context import Context
from uair.driver.naming import name_tensors
from uair.driver.stages import Stages, require_fit
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import AppliedPass, Module
from uair.ir.types import TensorType
from uair.pipeline import PassContext
from uair.request import CompileRequest

if TYPE_CHECKING:
    from uair.passes.partition import Part, Placement
    from uair.quant.calibration import Calibration
    from uair.targets.check import CheckReport
    from uair.targets.verdict import NodeVerdict


@attrs.define(eq=False)
class CompiledPart:
    """One part, ready to be written.

    Attributes:
        part: which one; its graph is the final one.
        target: that it is written by.
        request: as the target is told.
        emitted: the module that the target writes.
        module: the final module of the part alone.
        context: what the passes reported.
        report: the verdict on every node.
    """

    part: Part
    target: Any
    request: CompileRequest
    emitted: Module
    module: Module
    context: PassContext
    report: CheckReport

    @property
    def folder(self) -> str:
        """Where its files are in the artifact."""
        return f"parts/{self.part.name}"


@attrs.define(eq=False)
class Partitioned:
    """A model in parts.

    Attributes:
        source: the whole module before it was cut, with the names that the parts' inputs and outputs have.
        module: the whole module after: a chain of Placed nodes.
        placement: where every node runs, and why.
        parts: in order of execution.
    """

    source: Module
    module: Module
    placement: Placement
    parts: list[CompiledPart]


def verdicts_by_node(module: Module, report: CheckReport) -> dict[Node, NodeVerdict]:
    """The verdicts of a report on a module."""
    nodes = [node for graph in module.all_graphs() for node in graph]
    return {node: row.verdict for node, row in zip(nodes, report.rows, strict=True)}


def place(module: Module, stages: Stages, verdicts: Mapping[Node, NodeVerdict], report: CheckReport) -> Placement:
    """Where every node of a module runs, which then has names of its own for all tensors.

    Raises:
        DoesNotFit: nothing that computes would run on the target.
        UnknownNameError, PinError: a pin cannot be followed.
    """
    from uair.passes.partition import place_nodes

    request = stages.request
    placement = place_nodes(
        module.main, stages.target, verdicts=verdicts, pins=request.pins, min_island=request.min_island
    )
    if placement.fits_nothing:
        require_fit(report)
    name_tensors(module, stages.target.names)
    return placement


def compile_parts(module: Module, placement: Placement, stages: Stages, samples: Calibration | None) -> Partitioned:
    """Cut a module, and bring each part into the form that its target writes.

    Args:
        module: prepared and named, float; not changed.
        placement: of its nodes.
        stages: of the whole.
        samples: for quantization.
    """
    from uair.passes.partition import Partition, assemble, split

    parts = split(module.main, placement)
    spool = None if samples is None else _Spool.filled(module, parts, samples)
    compiled = [_compile_part(module, part, stages, spool) for part in parts]
    whole = module.clone()
    whole.graphs["main"] = assemble(module.main, parts)
    pinned = tuple(pattern for pattern, device in stages.request.pins.items() if device == "cpu")
    cut = Partition(target=stages.target.name, cpu=pinned, min_island=stages.request.min_island)
    whole.applied.append(AppliedPass(cut.spec, changed=True))
    for each in compiled:
        whole.applied += each.module.applied
    return Partitioned(module, whole, placement, compiled)


def _compile_part(whole: Module, part: Part, stages: Stages, spool: _Spool | None) -> CompiledPart:
    target = Context.default().target(part.device)
    on_device = target is stages.target
    module = Module(whole.name, {"main": part.graph}, whole.origin, [], dict(whole.metadata))
    request = _request(stages.request, part, target.name, on_device=on_device)
    context = PassContext(fuel=stages.context.fuel, statistics=stages.context.statistics)
    samples = None
    if spool is not None and on_device:
        samples = spool.calibration(part.graph, request)
        request = attrs.evolve(request, samples=samples)
    own = Stages(request, target, stages.buckets, context, stages.watchers)
    if own.quantizes_early:
        own.quantize(module, samples)
    (report,) = own.check(module)
    require_fit(report, refused_by="" if on_device else stages.target.name)
    emitted = own.legalise(module, samples)
    request = attrs.evolve(request, ranges=own.ranges(module, emitted))
    part.graph = module.main
    return CompiledPart(part, target, request, emitted, module, context, report)


def _request(request: CompileRequest, part: Part, target: str, *, on_device: bool) -> CompileRequest:
    """What the target of a part is told: what concerns its inputs, and options only if they are meant for it."""
    inputs = set(part.graph.input_names)
    return attrs.evolve(
        request,
        target=target,
        shapes={name: shape for name, shape in request.shapes.items() if name in inputs},
        preprocess={name: chosen for name, chosen in request.preprocess.items() if name in inputs},
        options=request.options if on_device else {},
        quantization=request.quantization if on_device else None,
        samples=None,
        pins={},
    )


def observe(module: Module, feeds: Mapping[str, Any], tensors: Iterable[Tensor]) -> dict[str, Any]:
    """The values of some tensors of a module's main graph, by their names, for one input."""
    from uair.codegen.reference import Interpreter

    wanted = set(tensors)
    values: dict[str, Any] = {}

    def keep(tensor: Tensor, value: Any) -> None:
        if tensor in wanted:
            values[tensor.name] = value.copy() if isinstance(value, np.ndarray) else value

    Interpreter(module).run(feeds, observe=keep)
    return values


@attrs.define(eq=False)
class _Spool:
    """What the inputs of parts on the device are for each calibration sample, kept in files.

    Attributes:
        folder: that holds them, as long as the object lives.
        source: where the samples come from, for reports.
        types: of the values by name.
        count: number of samples.
    """

    folder: tempfile.TemporaryDirectory[str]
    source: str
    types: dict[str, TensorType]
    count: int = 0

    @staticmethod
    def filled(module: Module, parts: Iterable[Part], samples: Calibration) -> _Spool:
        """Run the whole module on every sample."""
        tensors = dict.fromkeys(t for part in parts if part.device != "cpu" for t in part.taken)
        folder = tempfile.TemporaryDirectory(prefix="uair-samples-")
        spool = _Spool(folder, samples.description, {t.name: t.type for t in tensors})
        weakref.finalize(spool, folder.cleanup)
        for feeds in samples:
            values = observe(module, feeds, tensors)
            with spool.file(spool.count).open("wb") as file:
                write_arrays(file, values)
            spool.count += 1
        return spool

    def file(self, number: int) -> Path:
        """The file of one sample."""
        return Path(self.folder.name) / f"{number:05}.npz"

    def calibration(self, graph: Graph, request: CompileRequest) -> Calibration:
        """The samples for one part."""
        from uair.quant.calibration import open_calibration

        types = {name: self.types[name] for name in graph.input_names}
        samples = _PartSamples(self, types)
        found = open_calibration(samples, types, preprocess=request.preprocess, limit=max(self.count, 1))
        found.description = self.source
        return found


@attrs.frozen(eq=False)
class _PartSamples:
    """The samples of some inputs, as often as one likes."""

    spool: _Spool
    types: Mapping[str, TensorType]

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for number in range(self.spool.count):
            with np.load(self.spool.file(number), allow_pickle=False) as archive:
                yield {name: archive[name].view(t.dtype.numpy) for name, t in self.types.items()}
