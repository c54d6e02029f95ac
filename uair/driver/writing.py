"""Filling an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from uair.artifact import ArtifactBuilder
from uair.driver.describe import compare, describe_interface, describe_origin
from uair.driver.transform import Compilation
from uair.errors import EvaluationError
from uair.ir.dtype import Array


def emit(state: Compilation, builder: ArtifactBuilder, *, golden: bool | Mapping[str, Any]) -> None:
    """Fill an artifact."""
    from uair.text import save

    module, request, report = state.module, state.request, state.report.to_json()
    builder.manifest |= {
        "target": request.target,
        "name": module.name,
        "inputs": describe_interface(module.main.input_names, module.main.inputs, request.preprocess),
        "outputs": describe_interface(module.main.output_names, module.main.outputs),
        "source": describe_origin(module.origin),
        **_describe_request(state),
        "pipeline": [step.spec for step in module.applied],
        "quantization": state.context.reports.get("quantization", {}).get("summary"),
        "toolchain": state.target.toolchain(),
        "verdicts": state.report.summary(),
    }
    builder.report |= {
        "check": report,
        "rules": dict(sorted(state.context.statistics.applied.items())),
        "passes": [{"pass": r.name, "nodes": r.nodes, "changed": r.changed} for r in state.measure.records],
        **state.context.reports,
    }
    save(module, builder.path_for("model.uair"))
    if golden is not False:
        _write_golden(state, builder, None if golden is True else golden)
    state.target.emit(state.emitted, builder, request)


def _describe_request(state: Compilation) -> dict[str, Any]:
    """Options and buckets, when there are any."""
    from uair.targets.options import parse_options, plain

    request, target = state.request, state.target
    options = plain(parse_options(target.options, request.options, request.target))
    buckets = [{name: list(shape) for name, shape in bucket.items()} for bucket in request.buckets]
    return ({"options": options} if options else {}) | ({"buckets": buckets} if buckets else {})


def _write_golden(state: Compilation, builder: ArtifactBuilder, given: Mapping[str, Any] | None) -> None:
    """One input, the original model's output for it, and how far the compiled module's is from that.

    There are none for a model with open sizes or with custom operators, which the interpreter cannot run; none when the
    values are no tensors; and none when the model refuses numbers drawn at random (then the report says so).
    """
    from uair.codegen.reference import run as interpret
    from uair.codegen.reference.errors import ResultTypeError

    graph = state.reference.main
    tensors = all(t.type.is_static for t in graph.inputs) and all(t.type.is_tensor for t in graph.outputs)
    if not tensors or any(node.op_type == "Opaque" for inner in state.reference.all_graphs() for node in inner):
        return
    feeds = golden_feeds(state) if given is None else {name: np.asarray(array) for name, array in given.items()}
    try:
        expected = interpret(state.reference, feeds)
    except (EvaluationError, ResultTypeError) as error:
        if given is not None or state.sample is not None:
            raise
        builder.report["golden"] = {"refused": error.message}  # an index or a number of runs that makes no sense
        return
    actual = interpret(state.module, feeds)
    builder.add_arrays("golden/inputs.npz", feeds)
    builder.add_arrays("golden/outputs.npz", expected)
    builder.manifest["golden"] = {
        "inputs": "golden/inputs.npz",
        "outputs": "golden/outputs.npz",
        "compiled_against_reference": {name: compare(expected[name], actual[name]) for name in expected},
    }


def golden_feeds(state: Compilation) -> dict[str, Array]:
    """The first calibration sample, or numbers drawn with a fixed seed."""
    if state.sample is not None:
        return dict(state.sample)
    from uair.codegen.reference import random_feeds

    return random_feeds(state.reference.main)
