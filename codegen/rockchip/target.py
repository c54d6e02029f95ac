"""The Rockchip targets: what is written for rknn-toolkit2."""

from __future__ import annotations

from typing import ClassVar

from uair.artifact import ArtifactBuilder
from uair.codegen.onnx import Emitters
from uair.codegen.onnx.interface import drop_unused_inputs, legal_interface, ports
from uair.codegen.onnx.target import OnnxTarget
from uair.codegen.rockchip.emitters import EMITTERS
from uair.ir.module import Module
from uair.passes.canonicalise import Canonicalise
from uair.passes.finite_constants import FiniteConstants
from uair.passes.flatten_linear import FlattenLinear
from uair.passes.fold_long_convolutions import FoldLongConvolutions
from uair.pipeline import Pass
from uair.request import CompileRequest

MODEL, RKNN = "model.onnx", "model.rknn"
MANIFEST_KEY = "rockchip"
NAMES = "[A-Za-z][A-Za-z0-9_]*"
"""rknn-toolkit2 2.5.0 raises KeyError for names with ':' or ';', in its build as in its simulator."""
LONGEST_KERNEL, LONGEST_STRIDE = 31, 7
"""Of a convolution that the NPU does in one step; the operator list 2.3.2 says so, and the toolkit splits longer ones."""


class RockchipTarget(OnnxTarget):
    """A chip with an NPU that rknn-toolkit2 compiles ONNX for."""

    emitters: ClassVar[Emitters | None] = EMITTERS
    names: ClassVar[str | None] = NAMES

    def prepare(self) -> tuple[Pass, ...]:
        """Long convolutions into channel blocks, matrix products of matrices, finite masks."""
        channels = max(self.description.alignment.channels.values())
        fold = FoldLongConvolutions(kernel=LONGEST_KERNEL, stride=LONGEST_STRIDE, channels=channels)
        return (fold, FlattenLinear(), FiniteConstants(), Canonicalise())

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx, build.json, build.py and build.sh.

        Raises:
            NotExpressible: an operator has no form at the toolkit's opset.
        """
        written = module.clone()
        unused = drop_unused_inputs(written.main)
        inputs, outputs = list(written.main.input_names), list(written.main.output_names)
        legal_interface(written.main, NAMES)
        self.write_onnx(written, artifact.path_for(MODEL))
        artifact.manifest[MANIFEST_KEY] = {
            "model": RKNN,
            "inputs": ports(inputs, written.main.input_names, written.main.inputs),
            "outputs": ports(outputs, written.main.output_names, written.main.outputs),
            "unused_inputs": unused,
        }
