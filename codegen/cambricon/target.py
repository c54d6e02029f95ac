"""The Cambricon targets: what is written for MagicMind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uair.artifact import ArtifactBuilder
from uair.codegen.cambricon.config import CambriconOptions, build_config
from uair.codegen.cambricon.ranges import ranges_header, ranges_json
from uair.codegen.cambricon.tool import MagicMind
from uair.codegen.onnx.interface import drop_unused_inputs, legal_interface, name_values, ports
from uair.codegen.onnx.target import OnnxTarget
from uair.codegen.standalone import standalone
from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.graph import Graph
from uair.ir.module import Module
from uair.names import IDENTIFIER, Namer
from uair.preprocess import Preprocess
from uair.request import CompileRequest, Int8
from uair.targets.options import TargetOptions, parse_options
from uair.targets.tool import VendorTool

MODEL, OUTPUT, CONFIG, SETTINGS = "model.onnx", "model.mm", "build.json", "settings.json"
RANGES, HEADER, BUILD, RUN, SCRIPT = "ranges.json", "set_ranges.h", "build.py", "run.py", "build.sh"
CALIBRATION = "calibration"
MANIFEST_KEY = "cambricon"
NAMES = r"[A-Za-z0-9_][A-Za-z0-9_./:-]*"
SHELL = """\
#!/bin/sh
# Builds model.mm with MagicMind; build.py tells its options, and what its exit status means.
set -eu
exec "${PYTHON:-python3}" "$(dirname "$0")/build.py" "$@"
"""


class CambriconTarget(OnnxTarget):
    """A chip that MagicMind builds ONNX for."""

    options: ClassVar[type[TargetOptions]] = CambriconOptions
    takes_buckets: ClassVar[bool] = True
    names: ClassVar[str | None] = NAMES

    def check_request(self, request: CompileRequest) -> None:
        """Refuse options that do not fit the chip.

        Raises:
            OptionError: see there.
        """
        super().check_request(request)
        options = parse_options(CambriconOptions, request.options, self.name)
        options.check(self.description.toolchain.soc_version, quantized=request.quantization is not None)

    def tool(self) -> VendorTool:
        """MagicMind."""
        return MagicMind()

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx, build.json, settings.json, build.py, build.sh, run.py; with INT8 the samples and ranges.

        Raises:
            MagicMindError: the shapes are not to be had.
            NotExpressible: an operator has no form at MagicMind's opset.
        """
        options = parse_options(CambriconOptions, request.options, self.name)
        quantized = request.quantization is not None
        written = module.clone()
        unused = drop_unused_inputs(written.main)
        graph = written.main
        inputs, outputs = list(graph.input_names), list(graph.output_names)
        before = [tensor.name for tensor in _values(graph)]
        legal_interface(graph, NAMES)
        name_values(graph, NAMES)
        renamed = dict(zip(before, (tensor.name for tensor in _values(graph)), strict=True))
        self.write_onnx(written, artifact.path_for(MODEL))
        shapes = _shapes(graph, inputs, request)
        normalized = _normalized(inputs, request.preprocess, options)
        config = build_config(
            self.description.toolchain.soc_version,
            options,
            graph.inputs,
            graph.outputs,
            quantized=quantized,
            wide=any(each.dtype is DType.I16 for each in request.ranges.values()),
            per_axis=not isinstance(request.quantization, Int8) or request.quantization.per_channel,
            normalized=normalized,
            shapes=shapes,
        )
        artifact.add_json(CONFIG, config)
        taken = _inputs(graph, inputs, shapes, normalized)
        if quantized:
            _write_samples(artifact, request, taken)
            ranges = {renamed[name]: each for name, each in request.ranges.items()}
            artifact.add_json(RANGES, ranges_json(ranges))
            artifact.add_text(HEADER, ranges_header(ranges))
        given = [{"name": new, "source": old} for new, old in zip(graph.output_names, outputs, strict=True)]
        settings = {
            "schema": 1,
            "model": MODEL,
            "output": OUTPUT,
            "quantized": quantized,
            "algorithm": options.calibration,
            "inputs": taken,
            "outputs": given,
        }
        artifact.add_json(SETTINGS, settings)
        for name in (BUILD, RUN):
            source = Path(__file__).with_name(name.replace(".py", "_script.py"))
            artifact.add_text(name, standalone(source))
        artifact.add_text(SCRIPT, SHELL, executable=True)
        artifact.manifest[MANIFEST_KEY] = {
            "model": OUTPUT,
            "arch": self.description.toolchain.soc_version,
            "inputs": taken,
            "outputs": given if request.buckets else ports(outputs, graph.output_names, graph.outputs),
            "unused_inputs": unused,
        }


def _values(graph: Graph) -> list[Any]:
    return [*graph.inputs, *(t for node in graph for t in node.outputs)]


def _shapes(graph: Graph, sources: Sequence[str], request: CompileRequest) -> list[list[tuple[int, ...]]]:
    """For every input the shapes to be taken; one for a fixed model."""
    if request.buckets:
        return [[tuple(bucket[source]) for bucket in request.buckets] for source in sources]
    return [[static(tensor.type.dims)] for tensor in graph.inputs]


def _normalized(
    sources: Sequence[str], preprocess: Mapping[str, Preprocess], options: CambriconOptions
) -> dict[int, Preprocess]:
    """The inputs that get a normalisation in front, by index; channels are axis 1 there."""
    if options.normalize == "host":
        return {}
    found = {i: preprocess[source] for i, source in enumerate(sources) if source in preprocess}
    return {i: each for i, each in found.items() if each.layout == "NCHW" and _normalises(each)}


def _normalises(preprocess: Preprocess) -> bool:
    mean, std = preprocess.per_channel()
    return any(m != 0 for m in mean) or any(s != 1 for s in std)


def _inputs(
    graph: Graph,
    sources: Sequence[str],
    shapes: Sequence[Sequence[tuple[int, ...]]],
    normalized: Mapping[int, Preprocess],
) -> list[dict[str, Any]]:
    """The inputs for settings.json: `dtype` is that of the samples, `feeds` that of what the compiled model takes."""
    folders = Namer(IDENTIFIER, default="input")
    taken: list[dict[str, Any]] = []
    for i, (name, source, tensor) in enumerate(zip(graph.input_names, sources, graph.inputs, strict=True)):
        dtype = str(np.dtype(tensor.type.dtype.numpy))
        entry = {
            "name": name,
            "source": source,
            "shape": list(shapes[i][0]),
            "dtype": dtype,
            "feeds": "uint8" if i in normalized else dtype,
            "folder": f"{CALIBRATION}/{folders.unique(source)}",
        }
        taken.append(entry)
    return taken


def _write_samples(artifact: ArtifactBuilder, request: CompileRequest, inputs: Sequence[Mapping[str, Any]]) -> None:
    """The calibration samples, normalised, a file for each sample and input."""
    for i, feeds in enumerate(request.samples or ()):
        for each in inputs:
            path = artifact.path_for(f"{each['folder']}/{i:04}.npy")
            np.save(path, np.ascontiguousarray(feeds[each["source"]]), allow_pickle=False)
