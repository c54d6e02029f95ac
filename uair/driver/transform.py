"""The pipeline of a compilation: from a module and a request to what is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from uair.context import Context
from uair.driver.naming import name_tensors
from uair.errors import UairError
from uair.ir.dtype import Array
from uair.ir.graph import Graph
from uair.ir.module import Module
from uair.pipeline import Instrument, Measure, Pass, PassContext, PassManager, Verify
from uair.preprocess import Preprocess, PreprocessError
from uair.quant.tensor_range import ranges_of
from uair.request import CompileRequest

if TYPE_CHECKING:
    from uair.passes.shape_buckets import Buckets
    from uair.quant.calibration import Calibration
    from uair.quant.tensor_range import TensorRange
    from uair.targets.check import CheckReport


class DoesNotFit(UairError):
    """A target does not take some nodes of a model, not even rewritten; every kind is listed with reason and help."""

    code = "UAIR-E0520"
    title = "Model does not fit the target"


def standard_passes() -> list[Pass]:
    """The target-independent part of every pipeline."""
    from uair.passes.canonicalise import Canonicalise
    from uair.passes.fuse import Fuse

    return [Canonicalise(), Fuse()]


@attrs.define(eq=False)
class Compilation:
    """State of one compilation.

    Attributes:
        request: what was asked for, with the samples and ranges that the target is told.
        target: the target.
        reference: the model as it was read, with its shapes bound.
        module: the final module.
        emitted: the module that the target writes: `module`, or the float one where the target states quantization
            beside it.
        context: what the passes reported.
        measure: the passes' times.
        report: the verdict on every node.
        sample: the first calibration sample.
    """

    request: CompileRequest
    target: Any
    reference: Module
    module: Module
    emitted: Module
    context: PassContext
    measure: Measure
    report: CheckReport
    sample: Mapping[str, Array] | None


def transform(source: Module, request: CompileRequest, instruments: Sequence[Instrument]) -> Compilation:
    """Run the pipeline of the request's target on a copy of the module.

    Raises:
        DoesNotFit: the target does not take some nodes.
        UairError: from a pass.
    """
    from uair.passes.bind_shapes import BindShapes
    from uair.passes.shape_buckets import in_bucket

    target = Context.default().target(request.target)
    target.check_request(request)
    module = source.clone()
    measure = Measure()
    context = PassContext()
    buckets, request = _resolve_buckets(module.main, request)
    bind = BindShapes(
        shapes=dict(request.shapes), sizes=dict(buckets.common), static=target.requires_static and not buckets.sizes
    )
    PassManager([bind], [Verify()], context).run(module)
    _require_preprocess_fits(module.main, request.preprocess)
    references = [in_bucket(module, sizes) for sizes in buckets.sizes]
    reference = references[0] if references else module.clone()
    calibration = _calibration(request, module.main)
    request = attrs.evolve(request, samples=calibration)
    steps = _Steps(request, target, buckets, context, [Verify(), measure, *instruments])
    emitted, report = steps.legal(module, calibration)
    request = attrs.evolve(request, ranges=steps.ranges(module, emitted))
    sample = None if calibration is None else calibration.first
    return Compilation(request, target, reference, module, emitted, context, measure, report, sample)


@attrs.frozen
class _Steps:
    """The stages of the pipeline after the shapes are bound."""

    request: CompileRequest
    target: Any
    buckets: Buckets
    context: PassContext
    watchers: Sequence[Instrument]

    def legal(self, module: Module, calibration: Calibration | None) -> tuple[Module, CheckReport]:
        """Fuse, quantize and legalise a module in place; the module to write, and the verdicts before legalisation."""
        quantization = _quantization(self.request, self.target, calibration)
        late = self.target.description.emits_float
        self._run([*standard_passes(), *self.target.prepare(), *(() if late else quantization)], module)
        report = self._check(module)
        self._run(self.target.legalise(), module)
        if quantization:
            name_tensors(module, self.target.names)
        if not quantization or not late:
            return module, report
        emitted = module.clone()
        self._run(quantization, module)
        return emitted, report

    def ranges(self, module: Module, emitted: Module) -> dict[str, TensorRange]:
        """How the activations of a quantized module are quantized, by the name of the tensor in the emitted one."""
        if self.request.quantization is None:
            return {}
        known = {tensor.name for tensor in emitted.main.tensors()}
        return {tensor.name: found for tensor, found in ranges_of(module.main).items() if tensor.name in known}

    def _run(self, passes: Sequence[Pass], module: Module) -> None:
        PassManager(passes, self.watchers, self.context).run(module)

    def _check(self, module: Module) -> CheckReport:
        """The verdicts, of the first bucket where there are several.

        Raises:
            DoesNotFit: see `require_fit`.
        """
        from uair.passes.shape_buckets import in_bucket
        from uair.targets.check import check_module

        modules = [in_bucket(module, sizes) for sizes in self.buckets.sizes] or [module]
        reports = [check_module(each, self.target) for each in modules]
        for report in reports:
            require_fit(report)
        return reports[0]


def _resolve_buckets(graph: Graph, request: CompileRequest) -> tuple[Buckets, CompileRequest]:
    """The buckets asked for, and the request with the shape of every input in each.

    Raises:
        BucketError, ShapeBindingError: they do not fit the model.
    """
    from uair.passes.shape_buckets import Buckets, resolve_buckets

    if not request.buckets:
        return Buckets({}, (), ()), request
    buckets = resolve_buckets(graph, request.buckets, request.shapes)
    return buckets, attrs.evolve(request, buckets=buckets.shapes)


def _require_preprocess_fits(graph: Graph, preprocess: Mapping[str, Preprocess]) -> None:
    """Refuse preprocessing for what is no image input of the model.

    Raises:
        PreprocessError: see there.
    """
    for name, chosen in preprocess.items():
        if name not in graph.input_names:
            raise PreprocessError(
                f"preprocessing is given for {name!r}, which is no input",
                hint=f"the inputs are {', '.join(graph.input_names)}",
            )
        chosen.image_size(graph.input(name).type.shape or ())


def require_fit(report: CheckReport) -> None:
    """Refuse a module with nodes that the target does not take.

    Raises:
        DoesNotFit: naming every kind of node, its reason and what would help.
    """
    from uair.targets.verdict import Support

    refused = [row for row in report.rows if row.verdict.support is Support.UNSUPPORTED]
    if not refused:
        return
    lines: dict[str, list[str]] = {}
    for row in refused:
        help_text = f" ({row.verdict.suggestion})" if row.verdict.suggestion else ""
        lines.setdefault(f"{row.op_type}: {row.verdict.reason}{help_text}", []).append(row.node)
    shown = [f"   {what}: {', '.join(n[:3])}" + (f" and {len(n) - 3} more" * (len(n) > 3)) for what, n in lines.items()]
    raise DoesNotFit(
        f"{len(refused)} of {len(report.rows)} nodes do not fit {report.target}",
        window="\n".join(shown[:20]),
        hint=f"`uair check MODEL --target {report.target}` shows every node with the source of the answer",
    )


def _calibration(request: CompileRequest, graph: Graph) -> Calibration | None:
    """The calibration samples, when quantization is asked for."""
    if request.quantization is None:
        return None
    from uair.quant.calibration import open_calibration

    return open_calibration(
        request.quantization.calibration,
        {n: t.type for n, t in zip(graph.input_names, graph.inputs, strict=True)},
        preprocess=request.preprocess,
        limit=request.quantization.samples,
    )


def _quantization(request: CompileRequest, target: Any, samples: Calibration | None) -> list[Pass]:
    """The quantization pass, when asked for."""
    settings = request.quantization
    if settings is None:
        return []
    from uair.codegen.reference import Interpreter
    from uair.passes.quantize_int8 import QuantizeInt8

    return [
        QuantizeInt8(
            per_channel=settings.per_channel,
            skip=settings.skip,
            scheme=target.quantization,
            samples=samples,
            interpreter=Interpreter,
        )
    ]
