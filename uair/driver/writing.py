"""Filling an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from uair.artifact import ArtifactBuilder
from uair.driver.describe import compare, describe_interface, describe_origin
from uair.driver.partitioned import CompiledPart, Partitioned, observe
from uair.driver.placement import combined, describe_part, describe_placement
from uair.driver.transform import Compilation
from uair.errors import EvaluationError
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.request import CompileRequest, Int8

if TYPE_CHECKING:
    from uair.targets.check import CheckReport

QUANTIZATION = "quantization"


def emit(state: Compilation, builder: ArtifactBuilder, *, golden: bool | Mapping[str, Any]) -> None:
    """Fill an artifact."""
    from uair.text import save

    module, parts = state.module, state.partitioned
    quantization = state.context.reports.get(QUANTIZATION) if parts is None else combined(parts.parts)
    builder.manifest |= {
        "target": state.request.target,
        **_described(module, state.request, state.target, state.report),
        **_describe_request(state),
        "pipeline": [step.spec for step in module.applied],
        "quantization": quantization["summary"] if quantization else None,
        "partitions": [_whole(state)] if parts is None else [describe_part(parts, each) for each in parts.parts],
    }
    builder.report |= {
        "check": state.report.to_json(),
        "rules": dict(sorted(state.context.statistics.applied.items())),
        "passes": [{"pass": r.name, "nodes": r.nodes, "changed": r.changed} for r in state.measure.records],
        **state.context.reports,
    }
    broken = _broken_weights(state)
    builder.report |= {"weights": broken} if broken else {}
    if parts is not None:
        builder.report |= {"placement": describe_placement(parts)}
        builder.report |= {QUANTIZATION: quantization} if quantization else {}
    save(module, builder.path_for("model.uair"))
    feeds = None
    if golden is not False:
        feeds = _write_golden(state, builder, None if golden is True else golden)
    if parts is None:
        _write_plan(module, state.target, builder)
        state.target.emit(state.emitted, builder, state.request)
    else:
        _emit_parts(parts, builder, feeds)


def _broken_weights(state: Compilation) -> list[str]:
    """Sentences about NaN and infinity in the model's own weights, which are all read to be written.

    Quantization to INT8 says so itself, of the weights as they are then.
    """
    from uair.passes.quantization.broken import broken_weights

    return [] if isinstance(state.request.quantization, Int8) else broken_weights(state.reference.main)


def _described(module: Module, request: CompileRequest, target: Any, report: CheckReport) -> dict[str, Any]:
    """What the manifests of an artifact and of its parts both tell."""
    graph = module.main
    return {
        "name": module.name,
        "inputs": describe_interface(graph.input_names, graph.inputs, request.preprocess),
        "outputs": describe_interface(graph.output_names, graph.outputs),
        "source": describe_origin(module.origin),
        "toolchain": target.toolchain(),
        "verdicts": report.summary(),
    }


def _whole(state: Compilation) -> dict[str, Any]:
    """The one part of a model that runs whole on its target."""
    nodes = len(state.report.rows)
    return {"target": state.request.target, "folder": "", "nodes": nodes, "flops": state.report.flops}


def _emit_parts(parts: Partitioned, builder: ArtifactBuilder, feeds: Mapping[str, Any] | None) -> None:
    """Write every part as an artifact in a folder of its own, with what it takes and gives in the golden run."""
    tensors = [t for each in parts.parts for t in (*each.part.taken, *each.part.given)]
    values = None if feeds is None else observe(parts.source, feeds, tensors)
    for each in parts.parts:
        own = ArtifactBuilder(builder.path_for(f"{each.folder}/manifest.json").parent)
        own.manifest |= {
            "target": each.target.name,
            **_described(each.module, each.request, each.target, each.report),
            "pipeline": [step.spec for step in each.module.applied],
            "quantization": each.context.reports.get(QUANTIZATION, {}).get("summary"),
        }
        own.report |= {"check": each.report.to_json(), **each.context.reports}
        if values is not None and all(t.type.is_tensor for t in (*each.part.taken, *each.part.given)):
            _write_part_golden(each, own, values)
        _write_plan(each.module, each.target, own)
        each.target.emit(each.emitted, own, each.request)
        own.finish()


def _write_plan(module: Module, target: Any, builder: ArtifactBuilder) -> None:
    """The plan of what runs on an accelerator: tiles, transfers, buffers, costs."""
    if target.description.has_plan:
        from uair.passes.plan import PLAN, plan

        builder.add_json(PLAN, plan(module, target.description).to_json())


def _write_part_golden(each: CompiledPart, own: ArtifactBuilder, values: Mapping[str, Any]) -> None:
    """What the original model computes on the way: the part's inputs and outputs."""
    own.add_arrays("golden/inputs.npz", {t.name: values[t.name] for t in each.part.taken})
    own.add_arrays("golden/outputs.npz", {t.name: values[t.name] for t in each.part.given})
    own.manifest["golden"] = {"inputs": "golden/inputs.npz", "outputs": "golden/outputs.npz"}


def _describe_request(state: Compilation) -> dict[str, Any]:
    """Options and buckets, when there are any."""
    from uair.targets.options import parse_options, plain

    request, target = state.request, state.target
    options = plain(parse_options(target.options, request.options, request.target))
    buckets = [{name: list(shape) for name, shape in bucket.items()} for bucket in request.buckets]
    return ({"options": options} if options else {}) | ({"buckets": buckets} if buckets else {})


def _write_golden(
    state: Compilation, builder: ArtifactBuilder, given: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """One input, which is returned, the original model's output for it, and how far the compiled module's is from that.

    There are none for a model with open sizes or with custom operators, which the interpreter cannot run; none when the
    values are no tensors; and none when the model refuses numbers drawn at random (then the report says so).
    """
    from uair.codegen.reference import run as interpret
    from uair.codegen.reference.errors import ResultTypeError

    graph = state.reference.main
    tensors = all(t.type.is_static for t in graph.inputs) and all(t.type.is_tensor for t in graph.outputs)
    if not tensors or any(node.op_type == "Opaque" for inner in state.reference.all_graphs() for node in inner):
        return None
    feeds = golden_feeds(state) if given is None else {name: np.asarray(array) for name, array in given.items()}
    try:
        expected = interpret(state.reference, feeds)
    except (EvaluationError, ResultTypeError) as error:
        if given is not None or state.sample is not None:
            raise
        builder.report["golden"] = {"refused": error.message}  # an index or a number of runs that makes no sense
        return None
    actual = interpret(state.module, feeds)
    builder.add_arrays("golden/inputs.npz", feeds)
    builder.add_arrays("golden/outputs.npz", expected)
    builder.manifest["golden"] = {
        "inputs": "golden/inputs.npz",
        "outputs": "golden/outputs.npz",
        "compiled_against_reference": {name: compare(expected[name], actual[name]) for name in expected},
    }
    return feeds


def golden_feeds(state: Compilation) -> dict[str, Array]:
    """The first calibration sample, or numbers drawn with a fixed seed."""
    if state.sample is not None:
        return dict(state.sample)
    from uair.codegen.reference import random_feeds

    return random_feeds(state.reference.main)
