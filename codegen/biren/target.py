"""The Biren targets: ONNX and a script that builds and runs it with pysuinfer."""

from __future__ import annotations

from pathlib import Path

from uair.artifact import ArtifactBuilder
from uair.codegen.biren.tool import PySuInfer
from uair.codegen.onnx.interface import drop_unused_inputs, ports
from uair.codegen.onnx.target import OnnxTarget
from uair.codegen.onnx.written import check_symmetric_qdq
from uair.codegen.standalone import standalone
from uair.codegen.tensorrt.weights import FloatWeights
from uair.ir.module import Module
from uair.ops import Quantize
from uair.pipeline import Pass
from uair.request import CompileRequest
from uair.targets.tool import VendorTool

MODEL, ENGINE, SETTINGS = "model.onnx", "model.bin", "build.json"
BUILD, SCRIPT = "build_pysuinfer.py", "build.sh"
MANIFEST_KEY = "biren"
UNCERTAIN = [
    "the opset that suInfer reads",
    "which operators suInfer takes, beyond those of the vendor's demos",
    "that suInfer reads QuantizeLinear and DequantizeLinear (inferred from the vendor's MLPerf harness)",
    "that floats are computed in bf16 without being asked",
]
"""What no source settles."""


class BirenTarget(OnnxTarget):
    """A Biren card, driven by suInfer."""

    def legalise(self) -> tuple[Pass, ...]:
        """Decompose and clean up; weights become floats between Quantize and Dequantize, as for TensorRT."""
        return (*super().legalise(), FloatWeights())

    def tool(self) -> VendorTool:
        """Pysuinfer."""
        return PySuInfer()

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx, build_pysuinfer.py with build.json, and build.sh.

        Raises:
            NotExpressible: an operator has no form at the opset.
        """
        written = module.clone()
        unused = drop_unused_inputs(written.main)
        inputs, outputs = list(written.main.input_names), list(written.main.output_names)
        path = artifact.path_for(MODEL)
        self.write_onnx(written, path)
        check_symmetric_qdq(path, "suInfer")
        taken = ports(inputs, inputs, written.main.inputs)
        given = ports(outputs, outputs, written.main.outputs)
        quantized = any(isinstance(node.op, Quantize) for node in written.main)
        settings = {
            "schema": 1,
            "model": MODEL,
            "engine": ENGINE,
            "inputs": taken,
            "outputs": given,
            "golden": artifact.golden_files(),
            "cosine": 0.9 if quantized else 0.99,
        }
        artifact.add_json(SETTINGS, settings)
        script = standalone(Path(__file__).with_name("build_script.py"))
        artifact.add_text(BUILD, script, executable=True)
        artifact.add_text(SCRIPT, SHELL, executable=True)
        artifact.manifest[MANIFEST_KEY] = {
            "engine": ENGINE,
            "inputs": taken,
            "outputs": given,
            "unused_inputs": unused,
            "quantized": quantized,
            "uncertain": UNCERTAIN,
        }


SHELL = """\
#!/bin/sh
# Builds model.bin with pysuinfer on the card of this machine, runs it, and compares with the reference result.
#
#   PYTHON=/path/to/python sh build.sh [--device N] [--run-only]
#
# PYTHON is a Python that has pysuinfer 1.4 (suInfer 2.0, BIRENSUPA in /usr/local/birensupa).
set -eu
exec "${PYTHON:-python3}" "$(dirname "$0")/build_pysuinfer.py" "$@"
"""
