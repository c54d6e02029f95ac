"""The pipeline of a compilation: from a module and a request to what is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from uair.context import Context
from uair.driver.partitioned import Partitioned, compile_parts, place, verdicts_by_node
from uair.driver.stages import Stages, open_samples, require_fit, require_quantizable
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.pipeline import Instrument, Measure, PassContext, PassManager, Verify
from uair.preprocess import Preprocess, PreprocessError
from uair.quant.errors import SchemeError
from uair.request import EFFORTS, CompileRequest, Int8

if TYPE_CHECKING:
    from uair.passes.shape_buckets import Buckets
    from uair.quant.calibration import Calibration
    from uair.targets.check import CheckReport


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
        partitioned: the parts, when the module does not run whole on the target.
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
    partitioned: Partitioned | None = None


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
    _require_scheme(request, target)
    module = source.clone()
    measure = Measure()
    context = PassContext()
    request = bind_values(module, request, context, measure)
    buckets, request = _resolve_buckets(module.main, request)
    bind = BindShapes(
        shapes=dict(request.shapes), sizes=dict(buckets.common), static=target.requires_static and not buckets.sizes
    )
    PassManager([bind], [Verify()], context).run(module)
    request = settle_preprocess(module.main, request)
    references = [in_bucket(module, sizes) for sizes in buckets.sizes]
    reference = references[0] if references else module.clone()
    samples = open_samples(request, module.main)
    request = attrs.evolve(request, samples=samples)
    stages = Stages(request, target, buckets, context, [Verify(), measure, *instruments])
    final = _fitted(module, stages, samples)
    sample = None if samples is None else samples.first
    return Compilation(target=target, reference=reference, context=context, measure=measure, sample=sample, **final)


def bind_values(module: Module, request: CompileRequest, context: PassContext, measure: Measure) -> CompileRequest:
    """Make the inputs with values constants; the request without the shapes that were for them.

    Raises:
        InputValueError, ShapeBindingError: a value or shape does not fit the model.
    """
    from uair.passes.bind_inputs import value_passes

    passes, shapes = value_passes(module.main, request.shapes, request.values)
    if passes:
        PassManager(passes, [Verify(), measure], context).run(module)
    return attrs.evolve(request, shapes=shapes)


def _fitted(module: Module, stages: Stages, samples: Calibration | None) -> dict[str, Any]:
    """The module brought to the target, whole if it fits, else in parts; the fields of a compilation that follow."""
    stages.prepare(module)
    plain = module
    verdict_of = _nodes(module)
    if stages.quantizes_early:
        plain = module.clone()
        verdict_of = dict(zip(_nodes(plain), _nodes(module), strict=True))
        stages.quantize(module, samples)
    reports = stages.check(module)
    if not stages.request.pins and not any(map(_refuses, reports)):
        return _whole(module, stages, samples, reports[0])
    if not stages.request.fallback or stages.target.fallback is None or stages.buckets.sizes:
        _require_no_pins(stages)
        for report in reports:
            require_fit(report)
    known = verdicts_by_node(module, reports[0])
    verdicts = {node: known[judged] for node, judged in verdict_of.items()}
    placement = place(plain, stages, verdicts, reports[0])
    if placement.is_whole:  # what does not fit are nodes that quantization put in
        require_fit(reports[0])
        return _whole(module, stages, samples, reports[0])
    parts = compile_parts(plain, placement, stages, samples)
    return {
        "request": stages.request,
        "module": parts.module,
        "emitted": parts.module,
        "report": reports[0],
        "partitioned": parts,
    }


def _whole(module: Module, stages: Stages, samples: Calibration | None, report: CheckReport) -> dict[str, Any]:
    emitted = stages.legalise(module, samples)
    request = attrs.evolve(stages.request, ranges=stages.ranges(module, emitted))
    return {"request": request, "module": module, "emitted": emitted, "report": report}


def _nodes(module: Module) -> dict[Node, Node]:
    return {node: node for graph in module.all_graphs() for node in graph}


def _refuses(report: CheckReport) -> bool:
    from uair.targets.verdict import Support

    return report.counts[Support.UNSUPPORTED] > 0


def _require_no_pins(stages: Stages) -> None:
    """Refuse pins where there are no parts.

    Raises:
        PinError: see there.
    """
    if stages.request.pins:
        from uair.passes.partition.place import PinError

        name = stages.target.name
        reason = (
            "fallback is off"
            if not stages.request.fallback
            else "several shapes are compiled for"
            if stages.buckets.sizes
            else f"{name} runs on the CPU itself"
        )
        raise PinError(f"nodes are pinned, but {reason}", hint="leave the pins out")


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


def settle_preprocess(graph: Graph, request: CompileRequest) -> CompileRequest:
    """The request with preprocessing whose layout is that of the input.

    Raises:
        PreprocessError: preprocessing is given for what is no image input of the model.
    """
    settled: dict[str, Preprocess] = {}
    for name, chosen in request.preprocess.items():
        if name not in graph.input_names:
            raise PreprocessError(
                f"preprocessing is given for {name!r}, which is no input",
                hint=f"the inputs are {', '.join(graph.input_names)}",
            )
        shape = graph.input(name).type.shape or ()
        chosen.image_size(shape)
        settled[name] = chosen.settled(shape)
    return attrs.evolve(request, preprocess=settled)


def _require_scheme(request: CompileRequest, target: Any) -> None:
    """Refuse INT8 for a device that has none, and settings for what its vendor's tool decides.

    Raises:
        SchemeError: see there.
    """
    if request.quantization is None:
        return
    require_quantizable(request.quantization, target)
    if not isinstance(request.quantization, Int8):
        return
    settings, described = request.quantization, target.description.quantization
    given = {
        "least_cosine": settings.least_cosine is not None and not (described is not None and described.wide),
        "most_float": settings.most_float is not None,
        "effort": settings.effort != EFFORTS[0],
    }
    wrong = [name for name, is_given in given.items() if is_given]
    if wrong and target.emits_float(request):
        raise SchemeError(
            f"{wrong[0]} is given, but for target {target.name!r} the vendor's tool decides what is quantized",
            hint="leave it out; `uair targets NAME` lists what that tool can be told",
        )
