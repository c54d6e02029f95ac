"""Running an artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias

import numpy as np

from uair.artifact import Artifact, ArtifactError
from uair.context import Context
from uair.driver.describe import interface_type
from uair.ir.dtype import DType
from uair.ir.graph import Graph
from uair.ir.module import Module
from uair.ops.placement import Placed

Arithmetic: TypeAlias = Literal["float", "device"]


def run_artifact(artifact: Artifact, inputs: Any, arithmetic: Arithmetic | None = None) -> dict[str, Any]:
    """Outputs by name of an artifact.

    Args:
        artifact: what is run; its parts one after the other.
        inputs: arrays by input name, or one array.
        arithmetic: None: on the devices where there are some, in onnxruntime what is on the CPU, else in the reference
            interpreter. "float": everything in the interpreter, in the types of the module. "device": in the
            interpreter, floats rounded as each device holds them.
    """
    feeds = named(inputs, [entry["name"] for entry in artifact.manifest["inputs"]])
    feeds = _checked_feeds(artifact.manifest["inputs"], feeds)
    if arithmetic is not None:
        rounding = device_rounding(artifact.target) if arithmetic == "device" else {}
        return _interpret(_module(artifact), feeds, rounding)
    partitions = artifact.manifest.get("partitions", [])
    if len(partitions) > 1:
        return _run_parts(artifact, partitions, feeds)
    outputs: dict[str, Any] | None = Context.default().target(artifact.target).run(artifact, feeds)
    return _interpret(_module(artifact), feeds) if outputs is None else outputs


def device_rounding(target: str) -> dict[str, DType]:
    """The type that a target holds floats in, for the graph itself and for the parts placed on it.

    A device of integers only has none: what its integers stand for is in the module's Quantize and Dequantize nodes.
    """
    dtype = Context.default().target(target).description.dtypes.float
    return {"": dtype, target: dtype} if dtype.is_float else {}


def _run_parts(artifact: Artifact, partitions: Sequence[Mapping[str, Any]], feeds: Mapping[str, Any]) -> dict[str, Any]:
    """The parts in order, each on its device when this machine has it."""
    values = dict(feeds)
    bodies: dict[str, Module] = {}
    for entry in partitions:
        part = artifact.part(entry["folder"])
        given = {name: values[name] for name in entry["inputs"]}
        outputs = _run_part(part, given)
        if outputs is None:
            bodies = bodies or placed_modules(_module(artifact))
            outputs = _interpret(bodies[PurePosixPath(entry["folder"]).name], given)
        values.update(outputs)
    return {entry["name"]: values[entry["name"]] for entry in artifact.manifest["outputs"]}


def _run_part(part: Artifact, feeds: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a part's own runtime gives; None when there is none."""
    from uair.codegen.cpu.target import RuntimeMissing

    try:
        outputs: dict[str, Any] | None = Context.default().target(part.target).run(part, feeds)
    except RuntimeMissing:
        return None
    return outputs


def placed_modules(module: Module) -> dict[str, Module]:
    """The parts of a partitioned module by name, each as a module of its own."""
    return {
        node.name: Module(module.name, {"main": node.op.body})
        for node in module.main
        if isinstance(node.op, Placed) and node.op.body is not None
    }


def _module(artifact: Artifact) -> Module:
    from uair.text import load

    return load(artifact.file("model.uair"))


def _interpret(module: Module, feeds: Mapping[str, Any], rounding: Mapping[str, DType] | None = None) -> dict[str, Any]:
    from uair.codegen.reference import run as interpret

    return interpret(module, feeds, rounding=rounding)


def _checked_feeds(entries: Sequence[Mapping[str, Any]], feeds: Mapping[str, Any]) -> dict[str, Any]:
    """The values as arrays; what an artifact's inputs do not take is refused in the same words for every runtime.

    Raises:
        MissingFeedError, UnknownFeedError, FeedTypeError, FeedShapeError: see there.
        ArtifactError: the manifest's own types cannot be read.
    """
    from uair.codegen.reference import check_feeds
    from uair.text import TextError, parse_type

    graph = Graph("artifact")
    for entry in entries:
        try:
            graph.add_input(entry["name"], parse_type(interface_type(entry)))
        except TextError as error:
            raise ArtifactError(f"the manifest's input {entry['name']!r} has no type: {error.message}") from None
    return check_feeds(graph, feeds)[0]


def shapes_of(inputs: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of inputs that are arrays and have names."""
    if not isinstance(inputs, Mapping):
        return {}
    return {str(name): tuple(value.shape) for name, value in inputs.items() if isinstance(value, np.ndarray)}


def named(inputs: Any, names: Sequence[str]) -> dict[str, Any]:
    """Inputs by name."""
    if isinstance(inputs, Mapping):
        return {str(k): v for k, v in inputs.items()}
    if inputs is None:
        return {}
    if len(names) != 1:
        from uair.errors import ShapeBindingError

        raise ShapeBindingError(f"the model has {len(names)} inputs ({', '.join(names)}): give arrays by name")
    return {names[0]: inputs}
